"""Plots: every kind, every file, long and many curves, hostile names."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from tapkit.cli.main import app
from tapkit.errors import UsageError
from tapkit.motion import Scale
from tapkit.types import Queries, Tracks, VideoInfo
from tapkit.viz.plots import KINDS, plot, thinned, write_plot


def made(count: int, frames: int, names: list[str] | None = None) -> Tracks:
    random = np.random.default_rng(0)
    xy = 200 + np.cumsum(random.normal(0, 2, (count, frames, 2)), 1)
    seen = (random.random((count, frames)) > 0.1).astype(np.float32)
    ids = np.array(names or [f"p{row}" for row in range(count)])
    ones = np.ones((count, frames))
    return Tracks(xy, seen, ones, ones.astype(bool), Queries(np.zeros(count, int), xy[:, 0], ids),
                  VideoInfo(640, 480, frames=frames))  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_names_its_axes_with_units(kind: str) -> None:
    figure = plot(made(3, 20), (kind,), scale=Scale(0.5, "mm"))  # type: ignore[arg-type]
    (ax,) = figure.axes
    unit = {"speed": "mm/s", "visible": "P(visible)", "confidence": "confidence"}.get(kind, "mm")
    assert unit in ax.get_ylabel()
    assert ax.get_xlabel() == ("x (mm)" if kind == "paths" else "time (s)")


def test_curves_are_the_positions_and_stop_where_a_point_is_not_seen() -> None:
    tracks = made(2, 30)
    line = plot(tracks, ("x",)).axes[0].get_lines()[1]
    x = np.asarray(line.get_ydata(), float)
    np.testing.assert_array_equal(np.isnan(x), ~tracks.visible_at()[1])
    np.testing.assert_allclose(x[tracks.visible_at()[1]], tracks.xy[1, tracks.visible_at()[1], 0], rtol=1e-6)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".html"])
def test_files(tmp_path: Path, suffix: str) -> None:
    first = write_plot(made(4, 20), tmp_path / f"a{suffix}", ("x", "paths"))
    second = write_plot(made(4, 20), tmp_path / f"b{suffix}", ("x", "paths"))
    assert first.read_bytes() == second.read_bytes()
    if suffix == ".png":
        assert Image.open(first).width > 800
    elif suffix == ".svg":
        assert ElementTree.parse(first).getroot().tag.endswith("svg")


def test_names_are_text(tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", "$x^2$", "_hidden", r"\frac{", "a & b"]
    text = write_plot(made(5, 10, names), tmp_path / "a.html").read_text()
    assert "<script" not in text and "&lt;script&gt;" in text
    assert "_hidden" in text and "$x^2$" in text


def test_long_curves_keep_their_extremes() -> None:
    values = np.random.default_rng(0).normal(0, 1, (3, 9_001))
    values[1, 4_000] = 50
    values[2, 100:900] = np.nan
    at, thin = thinned(np.arange(9_001) / 30, values, 300)
    assert thin.shape == (3, len(at)) and thin.shape[1] <= 2 * 301
    assert (np.diff(at) >= 0).all()
    np.testing.assert_array_equal(np.nanmax(thin, 1), np.nanmax(values, 1))
    np.testing.assert_array_equal(np.nanmin(thin, 1), np.nanmin(values, 1))
    assert np.isnan(thin[2, (at > 5) & (at < 28)]).all()


def test_many_points_make_small_files(tmp_path: Path) -> None:
    assert write_plot(made(60, 3000), tmp_path / "a.svg", ("x",)).stat().st_size < 1_000_000


def test_odd_requests_are_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no plot 'z'"):
        plot(made(1, 5), ("z",))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="written as"):
        write_plot(made(1, 5), tmp_path / "a.gif")
    with pytest.raises(UsageError, match="no points"):
        plot(made(2, 5)[[]])


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(3, 12).save(tmp_path / "clip.tracks.npz")
    source = str(tmp_path / "clip.tracks.npz")
    app.main(["plot", source, "--what", "speed", "--smooth", "5"], standalone_mode=False)
    assert capsys.readouterr().out.strip() == str(tmp_path / "clip.plot.png")
    app.main(["stats", source], standalone_mode=False)
    assert "path_length_px" in capsys.readouterr().out.splitlines()[0]
    app.main(["stats", source, str(tmp_path / "s.csv"), "--scale", "2 um", "--points", "p1"], standalone_mode=False)
    assert (tmp_path / "s.csv").read_text().splitlines()[1].startswith("p1,")
    with pytest.raises(UsageError, match="--force"):
        app.main(["stats", source, str(tmp_path / "s.csv")], standalone_mode=False)
