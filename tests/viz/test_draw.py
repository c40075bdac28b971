"""Drawer: what a viewer sees of visible, occluded, moving, unsure and many points."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tapkit.errors import ShapeError, UsageError
from tapkit.types import FrameResult, Provenance, Queries, Tracks, VideoInfo
from tapkit.video.base import Frame, Size, Source
from tapkit.viz import Drawer, Style, contact_sheet, draw_frame, draw_video, legend, result_at

INFO = VideoInfo(120, 80, Fraction(25))
GREY = np.full((80, 120, 3), 128, np.uint8)
GREY.setflags(write=False)
PLAIN = Style(radius=4.0, shade=0.0, color="#ffffff")


def result(frame: int, *points: tuple[float, float], visible: float = 1.0, confidence: float = 1.0) -> FrameResult:
    count = len(points)
    return FrameResult(
        frame,
        np.arange(count),
        np.array(points, np.float32).reshape(-1, 2),
        np.full(count, visible, np.float32),
        np.full(count, confidence, np.float32),
    )


def tracks(frames: int = 12, count: int = 3) -> Tracks:
    start = np.stack([np.linspace(20, 40, count), np.linspace(20, 60, count)], 1)
    xy = start[:, None] + np.arange(frames)[:, None] * np.array([5.0, 0.0])
    return Tracks(
        xy, np.ones(xy.shape[:2]), np.ones(xy.shape[:2]), np.ones(xy.shape[:2], bool),
        Queries(np.zeros(count, int), start, np.arange(count)), VideoInfo(120, 80, Fraction(25), frames=frames),
    )  # fmt: skip


class Greys(Source):
    """A grey clip that counts how often it is read."""

    def __init__(self, frames: int, size: Size = (80, 120)) -> None:
        self.info = VideoInfo(size[1], size[0], Fraction(25), frames=frames)
        self.reads = 0

    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1, size: Size | None = None
    ) -> Iterator[Frame]:
        for index in range(start, self.info.frames if stop is None else stop, step):
            self.reads += 1
            yield Frame(index, self.info.time_of(index), np.full((*self.info.size, 3), 128, np.uint8))


def changed(image: np.ndarray) -> np.ndarray:
    return (image != GREY).any(-1)


def test_a_dot_is_drawn_on_a_copy_at_the_pixel_it_names() -> None:
    image = Drawer(INFO, PLAIN).draw(GREY, result(0, (10.5, 20.5)))
    rows, columns = np.nonzero(changed(image))
    assert (rows.min() + rows.max(), columns.min() + columns.max()) == (40, 20)
    assert image[20, 10].tolist() == [255, 255, 255]
    assert (GREY == 128).all()


def test_an_occluded_point_is_hollow_dashed_or_hidden() -> None:
    hollow, dashed, hidden = (
        Drawer(INFO, Style(radius=8.0, shade=0.0, color="white", occluded=occluded)).draw(
            GREY, result(0, (60.5, 40.5), visible=0.1)
        )
        for occluded in ("hollow", "dashed", "hide")
    )
    assert not changed(hollow)[37:44, 57:64].any() and changed(hollow)[40, 53]
    assert not changed(dashed)[37:44, 57:64].any()
    assert 0.3 < (dashed > 180).sum() / (hollow > 180).sum() < 0.8
    assert not changed(hidden).any()


def test_no_trail_runs_through_a_hollow_point() -> None:
    drawer = Drawer(INFO, Style(radius=8.0, shade=0.0, color="white"))
    for t in range(8):
        image = drawer.draw(GREY, result(t, (20.5 + 5 * t, 40.5), visible=0.0 if t == 7 else 1.0))
    assert not changed(image)[37:44, 52:59].any()
    assert changed(image)[40, 25:40].all()


def test_the_threshold_is_the_authors_unless_the_style_says_otherwise() -> None:
    rows = result(0, (60.5, 40.5), visible=0.7, confidence=0.7)
    source = Provenance(visible_rule="visible*confidence", visible_threshold=0.6)
    style = Style(radius=8.0, confidence_opacity=False)

    def filled(style: Style, source: Provenance) -> bool:
        return bool(changed(Drawer(INFO, style, source=source).draw(GREY, rows))[40, 60])

    assert not filled(style, source)  # 0.49 < 0.6
    assert filled(style, Provenance(visible_threshold=0.6))
    assert filled(Style(radius=8.0, threshold=0.4), source)


def test_unsure_points_are_fainter() -> None:
    inside = [
        int(Drawer(INFO, PLAIN).draw(GREY, result(0, (60.5, 40.5), confidence=c))[40, 60, 0]) for c in (0.1, 0.5, 1.0)
    ]
    assert 128 < inside[0] < inside[1] < inside[2] == 255


def test_a_trail_fades_and_thins_and_is_gone_after_its_length() -> None:
    drawer = Drawer(INFO, Style(radius=4.0, shade=0.0, color="white", trail=10, trail_width=1.5))
    for t in range(16):
        image = drawer.draw(GREY, result(t, (10.0 + 6 * t, 40.5)))
    light = image[40, :, 0].astype(int) - 128
    assert light[80] > light[65] > light[50] > 0
    assert not light[: 10 + 6 * 5].any()  # older than ten frames
    thick = (image[..., 0] > 128).sum(0)
    assert thick[88] > thick[52]


def test_a_trail_over_an_occluded_span_has_gaps() -> None:
    drawer = Drawer(INFO, Style(radius=4.0, shade=0.0, color="white", trail=40))
    for t in range(18):
        image = drawer.draw(GREY, result(t, (10.0 + 6 * t, 40.5), visible=0.0 if 5 <= t <= 12 else 1.0))
    line = image[40, :, 0].astype(int) - 128
    gaps = np.flatnonzero(line[12:105] <= 3) + 12
    assert len(gaps) > 10
    assert gaps.min() >= 10 + 6 * 4 and gaps.max() <= 10 + 6 * 13


def test_a_leap_or_a_new_beginning_draws_no_line() -> None:
    drawer = Drawer(INFO, PLAIN)
    drawer.draw(GREY, result(0, (10.0, 10.0)))
    leap = drawer.draw(GREY, result(1, (100.0, 60.0)))
    assert not changed(leap)[:50].any()
    back = drawer.draw(GREY, result(0, (100.0, 58.0)))
    assert changed(back).sum() <= np.pi * 5**2


def test_a_final_result_replaces_the_provisional_one_of_the_same_frame() -> None:
    drawer, alone = Drawer(INFO, PLAIN), Drawer(INFO, PLAIN)
    for t in range(4):
        drawer.draw(GREY, result(t, (20.0 + 5 * t, 40.0)))
        alone.draw(GREY, result(t, (20.0 + 5 * t, 40.0)))
    drawer.draw(GREY, result(4, (44.0, 40.0)))
    for x in (40.0, 45.0):
        again = drawer.draw(GREY, result(4 if x == 40.0 else 5, (x, 40.0)))
    alone.draw(GREY, result(4, (40.0, 40.0)))
    expected = alone.draw(GREY, result(5, (45.0, 40.0)))
    assert np.abs(again.astype(int) - expected)[:, :35].max() == 0


def test_memory_does_not_grow_with_the_video() -> None:
    drawer = Drawer(INFO, Style(trail=8))
    rng = np.random.default_rng(0)
    for t in range(300):
        rows = result(t, *(rng.uniform(0, 80, (20, 2)).tolist()))
        drawer.draw(GREY, rows._replace(rows=np.arange(20) + t // 3 * 20))
    assert len(drawer._trails._pieces) <= 2 * 8
    assert len(drawer._colours) <= 4096 + 5 * 20


def test_points_may_come_go_and_have_no_position() -> None:
    drawer = Drawer(INFO, Style(labels=True))
    drawer.draw(GREY, result(0))
    drawer.draw(GREY, result(1, (10.0, 10.0), (50.0, 50.0)))
    rows = result(2, (12.0, 10.0), (float("nan"), float("nan")), (1e9, -1e9))
    assert changed(drawer.draw(GREY, rows)).any()
    assert not changed(drawer.draw(GREY, result(80))).any()


def test_colours_follow_the_query_not_the_present_place() -> None:
    queries = Queries(np.array([5]), np.array([[110.5, 40.5]]), np.array(["0"]))
    style = Style(radius=6.0, shade=0.0, color="position")
    known = Drawer(INFO, style, queries=queries).draw(GREY, result(0, (20.5, 40.5)))[40, 20]
    there = Drawer(INFO, style).draw(GREY, result(0, (110.5, 40.5)))[40, 110]
    here = Drawer(INFO, style).draw(GREY, result(0, (20.5, 40.5)))[40, 20]
    assert np.abs(known.astype(int) - there).max() <= 3
    assert np.abs(known.astype(int) - here).max() > 60


def test_other_colour_modes_grid_dim_and_labels_change_the_picture() -> None:
    rows = result(0, (30.5, 40.5), (70.5, 40.5))
    ids = Drawer(INFO, Style(radius=6.0, color="id")).draw(GREY, rows)
    assert np.abs(ids[40, 30].astype(int) - ids[40, 70]).max() > 40
    sure, unsure = (
        Drawer(INFO, Style(radius=6.0, color="confidence", confidence_opacity=False)).draw(
            GREY, result(0, (30.5, 40.5), confidence=c)
        )[40, 30]
        for c in (1.0, 0.0)
    )
    assert int(sure[1]) > int(sure[0]) and int(unsure[0]) > int(unsure[1])
    assert Drawer(INFO, Style(dim=0.5)).draw(GREY, result(0))[0, 0].tolist() == [64, 64, 64]
    lines = changed(Drawer(INFO, Style(grid=20)).draw(GREY, result(0)))
    assert lines[20].all() and lines[:, 20].all() and not lines[10, 10]
    plain = changed(Drawer(INFO, PLAIN).draw(GREY, rows))
    named = changed(Drawer(INFO, Style(radius=4.0, shade=0.0, color="#ffffff", labels=True)).draw(GREY, rows))
    beside = named & ~plain
    assert beside[30:51, 35:50].any() and beside[30:51, 75:90].any() and not beside[:25].any()


def test_dots_shrink_in_a_crowd_and_grow_with_the_frame() -> None:
    def radius(width: int, height: int, count: int) -> float:
        return Drawer(VideoInfo(width, height), queries=Queries.of(np.ones((count, 3))))._radius

    assert radius(1920, 1080, 10) == pytest.approx(2.25 * radius(854, 480, 10), rel=0.01)
    assert radius(854, 480, 2000) < radius(854, 480, 400) <= radius(854, 480, 10)


def test_draw_frame_shows_what_the_video_shows(tmp_path: Path) -> None:
    found = tracks()
    drawer = Drawer(found.video, queries=found.queries, source=found.source)
    for t in range(8):
        image = drawer.draw(GREY, result_at(found, t))
    assert np.array_equal(draw_frame(GREY, found, 7), image)
    done: list[tuple[int, int]] = []
    path = draw_video(Greys(12), found, tmp_path / "shot_%03d.png", progress=lambda *now: done.append(now))
    with av.open(str(tmp_path / "shot_007.png")) as container:
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.array_equal(shown, image)
    assert done == [(i + 1, 12) for i in range(12)]
    assert path == tmp_path / "shot_%03d.png"


def test_a_drawn_video_has_the_timing_of_its_source(tmp_path: Path) -> None:
    path = draw_video(Greys(12), tracks(), tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        times = [float(f.pts * f.time_base) for f in container.decode(video=0)]
    assert times == pytest.approx(np.arange(12) / 25)


def test_tracks_of_another_clip_and_impossible_styles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="64x48 but the tracks are of one of 120x80"):
        draw_video(Greys(12, (48, 64)), tracks(), tmp_path / "a.mp4")
    with pytest.raises(ShapeError, match=r"\[80, 120, 3\]"):
        draw_frame(np.zeros((48, 64, 3), np.uint8), tracks(), 0)
    with pytest.raises(UsageError, match="no frame 99"):
        draw_frame(GREY, tracks(), 99)
    wrong = [{"dim": 2}, {"trail": -1}, {"radius": 0}, {"grid": 1}, {"occluded": "gone"}, {"color": "no such colour"}]
    for values in wrong:
        with pytest.raises(UsageError):
            Style(**values)


def test_a_contact_sheet_reads_only_the_frames_it_shows() -> None:
    source = Greys(12)
    sheet = contact_sheet(source, tracks(), 4, columns=2, width=400)
    assert sheet.shape[1] == 400 and source.reads == 4
    colourful = np.ptp(sheet.astype(int), axis=-1) > 60
    half = sheet.shape[0] // 2
    assert all(part.any() for part in (colourful[:half, :200], colourful[:half, 200:], colourful[half:]))
    with pytest.raises(UsageError, match="no sheet"):
        contact_sheet(source, tracks(), frames=[], width=400)


@pytest.mark.parametrize("color", ["position", "id", "confidence", "tomato"])
def test_every_colour_mode_has_a_legend(color: str) -> None:
    picture = legend(Style(color=color), width=300)
    assert picture.shape[1] == 300
    assert (np.ptp(picture.astype(int), axis=-1) > 60).mean() > 0.2


def test_points_in_doubt_have_a_ring_in_the_video(tmp_path: Path) -> None:
    made = tracks(frames=30)
    xy, confidence = made.xy.copy(), made.confidence.copy()
    xy[..., 0] = xy[:, :1, 0] + np.arange(30) * 0.5
    xy[0, 15:, 0] += 50
    confidence[2, 20:] = 0.3
    doubtful = made.with_(xy=xy, confidence=confidence)

    def drawn(**style: bool) -> np.ndarray:
        file = draw_video(Greys(30), doubtful, tmp_path / f"{len(style)}" / "%03d.png", Style(trail=0, **style))
        from PIL import Image

        return np.stack([np.asarray(Image.open(each)) for each in sorted(file.parent.glob("*.png"))]).astype(int)

    plain, marked = drawn(marks=False), drawn()
    changed = (plain != marked).any((1, 2, 3))
    assert np.flatnonzero(changed).tolist() == list(range(15, 30))
    red = marked[16][(plain[16] != marked[16]).any(-1)].mean(0)
    amber = marked[28][(plain[28] != marked[28]).any(-1)].mean(0)
    assert red[0] > red[1] + 40 and amber[0] > amber[1] > amber[2] + 20
