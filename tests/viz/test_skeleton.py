"""Edges of skeletons on footage."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tapkit.cli.main import app
from tapkit.errors import UsageError
from tapkit.types import FrameResult, Queries, Tracks, VideoInfo
from tapkit.video import open_video
from tapkit.video.writer import VideoWriter
from tapkit.viz.draw import Drawer, Style, draw_frame

PLAIN = {"trail": 0, "shade": 0.0, "radius": 5.0, "color": "#ff0000"}


def pair(visible: float = 1.0) -> Tracks:
    """Two points 100 px apart on a level line, over 2 frames."""
    xy = np.tile(np.array([[20.0, 40.0], [120.0, 40.0]])[:, None], (1, 2, 1))
    seen = np.array([[1.0, 1.0], [1.0, visible]])
    ones = np.ones((2, 2))
    info = VideoInfo(140, 80, Fraction(25), 2)
    queries = Queries([0, 0], xy[:, 0], np.array(["a", "b"]))
    return Tracks(xy, seen, ones, ones > 0, queries, info, skeleton=(("a", "b"),))


def drawn(tracks: Tracks, frame: int = 1, **style: object) -> np.ndarray:
    """Whether pixels are red: the columns of the row between the two points."""
    image = draw_frame(np.zeros((80, 140, 3), np.uint8), tracks, frame, Style(**{**PLAIN, **style}))
    return np.asarray(image[39:41, 28:112, 0].max(0) > 100)


def test_an_edge_is_a_line_between_its_points() -> None:
    assert drawn(pair()).all()
    assert not drawn(pair().with_(skeleton=())).any()


def test_it_is_dashed_where_a_point_is_occluded_and_absent_where_those_are_hidden() -> None:
    assert 0.2 < drawn(pair(0.0)).mean() < 0.8
    assert not drawn(pair(0.0), occluded="hide").any()


def test_it_is_absent_where_a_point_is_not_known() -> None:
    tracks = pair()
    valid = tracks.valid.copy()
    valid[1, 1] = False
    assert not drawn(tracks.with_(valid=valid)).any()
    assert drawn(tracks.with_(valid=valid), frame=0).all()


def test_rows_may_come_in_any_order() -> None:
    tracks = pair()
    drawer = Drawer(tracks.video, Style(**PLAIN), queries=tracks.queries, skeleton=tracks.skeleton)  # type: ignore[arg-type]
    one = np.ones(2, np.float32)
    result = FrameResult(0, np.array([1, 0]), tracks.xy[::-1, 0], one, one)
    image = drawer.draw(np.zeros((80, 140, 3), np.uint8), result)
    assert (image[39:41, 28:112, 0].max(0) > 100).all()


def test_no_edge_runs_through_a_hollow_point() -> None:
    tracks = pair(0.0)
    image = draw_frame(np.zeros((80, 140, 3), np.uint8), tracks, 1, Style(**{**PLAIN, "radius": 9.0}))  # type: ignore[arg-type]
    assert image[39:41, 118:122, 0].max() < 30


def test_edges_need_the_points_that_they_name() -> None:
    with pytest.raises(UsageError, match="no point is called 'a'"):
        Drawer(pair().video, skeleton=(("a", "b"),))


def test_the_commands_take_edges(tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    picture = np.random.default_rng(0).integers(0, 60, (80, 140, 3), dtype=np.uint8)
    with VideoWriter(video, pair().video, quality="high") as writer:
        for t in range(2):
            writer.write(picture, t / 25)

    def run(*arguments: str) -> None:
        assert app.main([*arguments, "--quiet"], prog_name="tapkit", standalone_mode=False) in (None, 0)

    tracks, again = tmp_path / "t.npz", tmp_path / "again.npz"
    run(
        "track", str(video), "--at", "0,20,40", "--at", "0,120,40", "--model", "lucas-kanade", "--skeleton", "0-1",
        "-o", str(tracks), "--overlay", str(tmp_path / "overlay.mp4"),
    )  # fmt: skip
    assert Tracks.load(tracks).skeleton == (("0", "1"),)
    run("track", str(video), "--points", str(tracks), "--model", "lucas-kanade", "-o", str(again))
    assert Tracks.load(again).skeleton == (("0", "1"),)
    plain = Tracks.load(tracks).with_(skeleton=()).save(tmp_path / "plain.npz")
    look = ("--trail", "0", "--color", "#ff0000", "--radius", "4")
    run("draw", str(video), str(plain), str(tmp_path / "none.mp4"), *look)
    run("draw", str(video), str(plain), str(tmp_path / "named.mp4"), "--skeleton", "0-1", *look)

    def changed(name: str) -> float:
        """How much brighter than the footage the row between the two points is."""
        with open_video(tmp_path / name) as source:
            return float(
                (source.read(1).image[38:42, 40:100].astype(int).max(-1) - picture[38:42, 40:100].max(-1)).mean()
            )

    assert min(changed("named.mp4"), changed("overlay.mp4")) > changed("none.mp4") + 15
    with pytest.raises(UsageError, match="no point is called 'tail'"):
        run("draw", str(video), str(plain), str(tmp_path / "x.mp4"), "--skeleton", "0-tail")
    with pytest.raises(UsageError, match="no point is called 'tail'"):
        run("track", str(video), "--at", "0,20,40", "--skeleton", "0-tail", "-o", str(tmp_path / "y.npz"))
    assert not (tmp_path / "y.npz").exists() and not list(tmp_path.glob("*.partial"))
