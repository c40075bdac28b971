"""Dense results on footage: what is drawn where, for tracks and for flow."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import tapkit
from tapkit.cli.main import main
from tapkit.errors import ShapeError, UsageError
from tapkit.export import flow_files
from tapkit.types import Dense, Provenance, Queries, Tracks, VideoInfo
from tapkit.viz.dense import DenseDrawer, DenseStyle, draw_dense, splat, usual_displacement
from tapkit.viz.draw import Drawer, Style, result_at
from tapkit.viz.flow_wheel import flow_colors

HEIGHT, WIDTH, FRAMES = 48, 64, 4


def dense_of(step: int, per_frame: tuple[float, float], frames: int = FRAMES) -> Dense:
    """Cells of frame 0 that move by so much a frame; the left quarter is hidden from frame 2 on."""
    rows, columns = HEIGHT // step, WIDTH // step
    x, y = np.meshgrid((np.arange(columns) + 0.5) * step, (np.arange(rows) + 0.5) * step)
    start = np.stack([x, y], -1).astype(np.float32)
    t = np.arange(frames, dtype=np.float32)
    xy = start + t[:, None, None, None] * np.float32(per_frame)
    visible = np.ones((frames, rows, columns), np.float32)
    visible[2:, :, : columns // 4] = 0
    arrays = {"xy": xy, "visible": visible, "confidence": visible, "valid": np.ones(visible.shape, bool)}
    return Dense(
        "tracks", np.zeros(frames, int), np.arange(frames), step, rows, columns,
        VideoInfo(WIDTH, HEIGHT, Fraction(25), frames), lambda name, a, b: arrays[name][a:b], Provenance("dot"),
    )  # fmt: skip


def grey(value: int = 100) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), value, np.uint8)


def fields(dense: Dense) -> list:
    return list(dense.fields())


@pytest.mark.parametrize("step", [1, 4])
def test_flow_colours_are_where_the_cells_are_by_then(step: int) -> None:
    dense = dense_of(step, (8.0, 4.0))
    style = DenseStyle("flow", scale=10.0, opacity=1.0)
    picture = DenseDrawer(dense, style).draw(grey(), fields(dense)[1])
    colour = flow_colors(np.float32([[[8, 4]]]), 10.0)[0, 0]
    covered = picture[4 + 1 : -1, 8 + 1 : -1]
    assert np.abs(covered.astype(int) - colour).max() <= 1
    assert (picture[:3] == 100).all() and (picture[:, :7] == 100).all(), "nothing has come here"


def test_what_is_hidden_or_still_shows_the_footage() -> None:
    dense = dense_of(4, (8.0, 0.0))
    style = DenseStyle("flow", scale=10.0, opacity=1.0)
    picture = DenseDrawer(dense, style).draw(grey(), fields(dense)[2])
    hidden = slice(16, 16 + WIDTH // 4)  # the left quarter is here by now
    assert (picture[:, hidden][:, 1:-1] == 100).all() and (picture[:, hidden.stop + 1 : -1] != 100).any(-1).all()
    still = dense_of(4, (0.0, 0.0))
    assert (DenseDrawer(still, style).draw(grey(), fields(still)[1]) == 100).all()
    unsure = DenseStyle("flow", scale=10.0, opacity=1.0, dots=Style(threshold=-1.0))
    shown = DenseDrawer(dense, unsure).draw(grey(), fields(dense)[2])
    assert (shown[:, hidden][:, 1:-1] != 100).any(-1).all()


def test_stretched_cells_leave_no_colour_of_their_own_in_the_gaps() -> None:
    rgb, alpha = splat(np.float32([[2.5, 2.5], [12.5, 2.5]]), np.float32([[200, 0, 0]] * 2), np.ones(2), (5, 16), 1)
    assert alpha[2, 2] == 1 and alpha[2, 12] == 1 and alpha.sum() == 2 and (rgb[2, 2] == [200, 0, 0]).all()
    rgb, alpha = splat(np.float32([[3.0, 3.0]]), np.float32([[9, 9, 9]]), np.ones(1), (6, 6), 2)
    assert (alpha[2:4, 2:4] == 1).all() and alpha.sum() == 4


def test_single_pixels_that_stretching_leaves_out_are_filled() -> None:
    dense = dense_of(1, (0.0, 0.0))
    stretched = fields(dense)[1]
    stretched.xy[..., 0] = 8 + 1.15 * (dense.start[..., 0] - 8)
    picture = DenseDrawer(dense, DenseStyle("flow", scale=1.0, opacity=1.0)).draw(grey(), stretched)
    assert (picture[2:-2, 16:-2] != 100).any(-1).all()


def test_the_grid_is_carried_along_and_torn_where_motion_changes() -> None:
    dense = dense_of(1, (6.0, 2.0))
    style = DenseStyle("grid", spacing=16, opacity=1.0)
    drawer = DenseDrawer(dense, style)
    before, after = (drawer.draw(grey(0), fields(dense)[t]) for t in (0, 1))
    lines = [set(np.flatnonzero((picture > 60).any(-1)[:, 34].ravel()).tolist()) for picture in (before, after)]
    assert lines[0] >= {8, 24, 40} and lines[1] >= {10, 26, 42} and 16 not in lines[0] | lines[1]
    columns = set(np.flatnonzero((after > 60).any(-1)[18]).tolist())
    assert columns >= {14, 30, 46, 62} and 22 not in columns
    torn = fields(dense)[1]
    torn.xy[:, 32:] += 20
    picture = drawer.draw(grey(0), torn)
    assert not (picture[:, 41:56] > 60).any(), "no line leads over the gap"


def test_dots_are_those_of_single_points(tmp_path: Path) -> None:
    dense = dense_of(8, (3.0, 1.0))
    queries = Queries.at(0, dense.start.reshape(-1, 2))
    parts = {
        name: np.asarray(getattr(dense, name)).reshape(FRAMES, len(queries), -1).swapaxes(0, 1).squeeze()
        for name in ("xy", "visible", "confidence", "valid")
    }
    tracks = Tracks(**parts, queries=queries, video=dense.video, source=dense.source)
    drawer, single = DenseDrawer(dense), Drawer(dense.video, queries=queries, source=dense.source)
    for field in dense.fields():
        np.testing.assert_array_equal(drawer.draw(grey(), field), single.draw(grey(), result_at(tracks, field.second)))


def test_full_colour_is_what_most_cells_stay_below() -> None:
    assert usual_displacement(dense_of(4, (3.0, 4.0))) == pytest.approx(15)  # on the last frame
    assert usual_displacement(dense_of(4, (0.0, 0.0))) == 1


def test_bad_styles_and_frames_are_refused() -> None:
    for options, message in [
        ({"kind": "lines"}, "style must be one of dots, flow, grid"),
        ({"scale": 0.0}, "longer than 0 pixels"),
        ({"spacing": 1}, "at least 2 pixels"),
        ({"opacity": 2.0}, "from 0 to 1"),
    ]:
        with pytest.raises(UsageError, match=message):
            DenseStyle(**options)
    dense = dense_of(4, (1.0, 1.0))
    with pytest.raises(ShapeError, match=r"\[48,64,3\]"):
        DenseDrawer(dense, DenseStyle("flow")).draw(grey()[:-1], fields(dense)[0])


def test_a_video_of_another_size_is_refused(tmp_path: Path) -> None:
    dense = dense_of(4, (1.0, 1.0))
    clip = np.zeros((FRAMES, HEIGHT, WIDTH + 2, 3), np.uint8)
    with tapkit.open_video(clip) as source, pytest.raises(UsageError, match=r"66x48 but the dense result is .* 64x48"):
        draw_dense(source, dense, tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


# -- as a person runs it -------------------------------------------------------------------------------------


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["tapkit", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    """A clip, and beside it a dense result (cells of 4 pixels) and the flow to the next frame."""
    zarr = pytest.importorskip("zarr")
    from tapkit.video.writer import VideoWriter

    info = VideoInfo(WIDTH, HEIGHT, Fraction(25), FRAMES)
    with VideoWriter(tmp_path / "shot.mp4", info) as out:
        for t in range(FRAMES):
            out.write(grey(50 + 20 * t), t / 25)
    dense = dense_of(4, (3.0, 0.0))
    parts = {
        name: np.asarray(getattr(dense, name)).reshape(FRAMES, dense.rows * dense.columns, -1).swapaxes(0, 1).squeeze()
        for name in ("xy", "visible", "confidence", "valid")
    }
    queries = Queries.at(0, dense.start.reshape(-1, 2))
    Tracks(**parts, queries=queries, video=info, source=dense.source).save(tmp_path / "shot.dense.zarr")
    layout = {"frame": 0, "step": 4, "rows": dense.rows, "columns": dense.columns}
    zarr.open_group(str(tmp_path / "shot.dense.zarr"), mode="r+").attrs["dense"] = json.dumps(layout)
    (tmp_path / "shot.flow").mkdir()
    note = {"model": "dis", "options": {}, "pairs": "next", "format": "flo", "size": [HEIGHT, WIDTH]}
    (tmp_path / "shot.flow" / "flow.json").write_text(json.dumps(note))
    for t in range(FRAMES - 1):
        flow_files.write_flo(tmp_path / "shot.flow" / f"{t:06d}_{t + 1:06d}.flo", np.full((HEIGHT, WIDTH, 2), 5.0))
    return tmp_path / "shot.mp4"


@pytest.mark.parametrize("ending", [".dense.zarr", ".flow"])
@pytest.mark.parametrize("style", ["dots", "flow", "grid"])
def test_all_styles_of_all_results_are_drawn(
    shot: Path, monkeypatch: pytest.MonkeyPatch, style: str, ending: str
) -> None:
    out = shot.with_name("frames") / "%02d.png"
    code = run(monkeypatch, "draw", shot, shot.with_name("shot" + ending), out, "--style", style, "--trail", "0", "-q")
    assert code == 0
    pictures = [np.asarray(tapkit.open_video(out.parent).read(t).image).astype(int) for t in range(FRAMES)]
    spread = [int(np.ptp(picture[8:-8, 24:-8], axis=-1).max()) for picture in pictures]
    # Nothing leads to the first frame by flow, and nothing has moved there in tracks.
    assert (spread[0] < 12) == (style == "flow" or ending == ".flow"), spread
    assert min(spread[1:]) > 40, spread


def test_results_are_told_and_exported(
    shot: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("OpenEXR")
    assert run(monkeypatch, "info", shot.with_name("shot.dense.zarr"), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    wanted = {"dense": "tracks", "fields": 4, "frame": 0, "cells": "16x12", "step": 4, "model": "dot"}
    assert {name: facts[name] for name in wanted} == wanted
    assert run(monkeypatch, "info", shot.with_name("shot.flow")) == 0
    assert "flow" in capsys.readouterr().out
    assert run(monkeypatch, "export", shot.with_name("shot.flow"), shot.with_name("a.exr"), "--to", "stmap", "-q") == 0
    assert run(monkeypatch, "export", shot.with_name("shot.dense.zarr"), "--to", "motion", "-q") == 0
    assert len(list(shot.parent.glob("a.*.exr"))) == 3 and len(list(shot.parent.glob("shot.dense.motion.*.exr"))) == 4
    assert run(monkeypatch, "export", shot.with_name("shot.flow"), "--to", "nuke", "-q") != 0
    assert "stmap or motion" in capsys.readouterr().err
    assert run(monkeypatch, "export", shot.with_name("shot.flow"), "--to", "stmap", "--points", "3", "-q") != 0
    assert "--points" in capsys.readouterr().err


def test_styles_of_dense_results_are_not_for_single_points(
    shot: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    points = Tracks.load(shot.with_name("shot.dense.zarr"))[["0", "5"]]
    points.save(tmp_path / "points.npz")
    assert run(monkeypatch, "draw", shot, tmp_path / "points.npz", tmp_path / "a.mp4", "--style", "grid") != 0
    assert "are for dense results" in capsys.readouterr().err
    (tmp_path / "shot.flow" / "000000_000002.flo").write_bytes(
        (tmp_path / "shot.flow" / "000000_000001.flo").read_bytes()
    )
    assert run(monkeypatch, "draw", shot, tmp_path / "shot.flow", tmp_path / "b.mp4", "--style", "flow") != 0
    assert "several fields lead to the same frame" in capsys.readouterr().err
