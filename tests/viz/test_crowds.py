"""How an overlay changes with the number of points and the size of the picture."""

from __future__ import annotations

import numpy as np
import pytest

from tapkit.errors import UsageError
from tapkit.types import FrameResult, Queries, VideoInfo
from tapkit.viz import Drawer, Style, palettes
from tapkit.viz.draw import dot_radius

INFO = VideoInfo(320, 240)
GREY = np.full((240, 320, 3), 128, np.uint8)


def moving(count: int, frame: int, visible: float = 1.0) -> FrameResult:
    place = np.arange(count)
    xy = np.stack([20 + place % 40 * 7.0 + 2 * frame, 20 + place // 40 * 7.0], 1).astype(np.float32)
    ones = np.ones(count, np.float32)
    return FrameResult(frame, place, xy, visible * ones, ones)


def drawn(count: int, style: Style, visible: float = 1.0) -> np.ndarray:
    """The tenth frame, without its dots: they are where they would be without trails."""
    drawer = Drawer(INFO, style)
    for frame in range(9):
        drawer.advance(moving(count, frame, visible))
    return drawer.draw(GREY, moving(count, 9, visible))


def test_few_points_differ_in_hue_wherever_they_are_and_many_do_by_place() -> None:
    close = Queries.at(0, [(100 + 2 * i, 100) for i in range(12)])
    few = Drawer(INFO, Style(radius=3.0, shade=0.0), queries=close)
    rows = FrameResult(0, np.arange(12), close.xy, np.ones(12, np.float32), np.ones(12, np.float32))
    rgb = few._rgb(few._rows(rows))
    np.testing.assert_allclose(rgb, palettes.by_number(np.arange(12)))
    apart = np.abs(rgb[:, None] - rgb[None]).max(-1) + np.eye(12)
    assert apart.min() > 0.08, "two of twelve points look the same"
    many = Drawer(INFO, Style(), queries=Queries.grid(INFO.size, 5))
    result = moving(25, 0)
    np.testing.assert_allclose(
        many._rgb(many._rows(result)), palettes.by_position(Queries.grid(INFO.size, 5).xy, INFO.size)
    )


def test_colours_do_not_change_when_points_are_added_later() -> None:
    drawer = Drawer(INFO, Style())
    first = drawer._rgb(drawer._rows(moving(3, 0)))
    later = drawer._rgb(drawer._rows(moving(60, 1)))
    np.testing.assert_array_equal(first, later[:3])


@pytest.mark.parametrize(("count", "trails"), [(40, True), (1000, True), (1001, False)])
def test_trails_are_off_in_a_thicket_unless_asked_for(count: int, trails: bool) -> None:
    plain = drawn(count, Style(trail=0, color="white"))
    assert bool((drawn(count, Style(color="white")) != plain).any()) is trails
    assert (drawn(count, Style(trail=24, color="white")) != plain).any()


@pytest.mark.parametrize(("count", "trails"), [(100, True), (101, False)])
def test_trails_of_hidden_points_are_off_where_there_are_many(count: int, trails: bool) -> None:
    plain = drawn(count, Style(trail=0, color="white"), visible=0.0)
    assert bool((drawn(count, Style(color="white"), visible=0.0) != plain).any()) is trails
    assert (drawn(count, Style(trail=24, color="white"), visible=0.0) != plain).any()


def test_dots_grow_with_the_resolution() -> None:
    sizes = [dot_radius((height, height * 16 // 9), 4) for height in (360, 720, 1080, 2160)]
    np.testing.assert_allclose(np.array(sizes) / sizes[0], [1, 2, 3, 6], rtol=1e-6)


def test_a_file_that_is_no_font_is_refused(tmp_path) -> None:
    (tmp_path / "a.ttf").write_text("no font")
    with pytest.raises(UsageError, match="no font that can be used"):
        Drawer(INFO, Style(labels=True, font=tmp_path / "a.ttf")).draw(GREY, moving(1, 0))
