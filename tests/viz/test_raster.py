"""The raster: shapes are where they should be, and cover what geometry says."""

from __future__ import annotations

import numpy as np
import pytest

from tapkit.viz.raster import Canvas, Discs, Strokes

WHITE = np.ones((1, 3), np.float32)


def disc(x: float, y: float, radius: float, size: tuple[int, int] = (40, 40), fill: float = 1.0) -> np.ndarray:
    """A white disc on black, red channel [H,W] in 0..1."""
    image = np.zeros((*size, 3), np.uint8)
    shapes = Discs(
        np.array([[x, y]], np.float32), WHITE, np.array([fill], np.float32), np.ones(1, np.float32), np.zeros(1, bool)
    )
    Canvas(*size).discs(image, shapes, radius, 1.0, 0.0, 0.0)
    return image[..., 0] / 255.0


def stroke(a: tuple[float, float], b: tuple[float, float], radius: float, dashed: bool = False) -> np.ndarray:
    """A white stroke on black, red channel [60,60] in 0..1."""
    image = np.zeros((60, 60, 3), np.uint8)
    one = np.ones((1, 2), np.float32)
    shapes = Strokes(
        np.array([a], np.float32), np.array([b], np.float32), radius * one, one, WHITE, np.zeros(1, np.float32),
        np.array([dashed]),
    )  # fmt: skip
    Canvas(60, 60).strokes(image, shapes, 0.0, 0.0, 4.0)
    return image[..., 0] / 255.0


def centroid(cover: np.ndarray) -> tuple[float, float]:
    """(x, y) of the centre of mass, corner origin."""
    y, x = np.mgrid[: cover.shape[0], : cover.shape[1]] + 0.5
    return float((x * cover).sum() / cover.sum()), float((y * cover).sum() / cover.sum())


def test_a_dot_at_a_pixel_centre_is_centred_on_that_pixel() -> None:
    cover = disc(10.5, 20.5, 3.0)
    rows, columns = np.nonzero(cover)
    assert (rows.min() + rows.max(), columns.min() + columns.max()) == (40, 20)
    around = cover[16:25, 6:15]
    assert np.array_equal(around, around[::-1]) and np.array_equal(around, around[:, ::-1])
    assert centroid(cover) == pytest.approx((10.5, 20.5), abs=1e-6)


@pytest.mark.parametrize(("x", "y"), [(12.0, 17.0), (12.31, 17.84), (20.99, 9.01)])
def test_dots_between_pixels_are_where_they_belong_and_as_large(x: float, y: float) -> None:
    cover = disc(x, y, 5.0)
    assert centroid(cover) == pytest.approx((x, y), abs=0.03)
    assert cover.sum() == pytest.approx(np.pi * 25, rel=0.02)


def test_a_ring_leaves_what_is_inside_alone() -> None:
    cover = disc(20.5, 20.5, 8.0, fill=0.0)
    assert cover[17:24, 17:24].max() == 0
    assert cover[20, 13] > 0.5


@pytest.mark.parametrize("end", [(50.0, 30.0), (30.0, 50.0), (48.0, 41.0), (10.0, 15.0), (12.0, 55.0), (30.0, 30.0)])
def test_a_stroke_covers_a_capsule(end: tuple[float, float]) -> None:
    start = np.array([30.0, 30.0])
    cover = stroke((30.0, 30.0), end, 2.5)
    along = np.array(end) - start
    length = float(np.hypot(*along))
    assert cover.sum() == pytest.approx(5 * length + np.pi * 2.5**2, rel=0.02)
    assert centroid(cover) == pytest.approx(tuple(start + along / 2), abs=0.05)


def test_the_pieces_of_a_straight_path_look_like_one() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    points = np.stack([np.linspace(8, 52, 12), np.linspace(12, 40, 12)], 1).astype(np.float32)
    one = np.ones((11, 2), np.float32)
    shapes = Strokes(
        points[:-1], points[1:], 2 * one, one, np.ones((11, 3), np.float32), np.zeros(11, np.float32),
        np.zeros(11, bool),
    )  # fmt: skip
    Canvas(60, 60).strokes(image, shapes, 0.0, 0.0, 4.0)
    assert np.abs(image[..., 0] / 255.0 - stroke((8, 12), (52, 40), 2.0)).max() < 0.02


def test_dashes_leave_gaps_of_the_length_asked_for() -> None:
    cover = stroke((6.0, 30.0), (54.0, 30.0), 2.0, dashed=True)[29, 10:50]
    assert cover.mean() == pytest.approx(0.5, abs=0.05)
    assert np.count_nonzero(np.diff((cover > 0.5).astype(int)) == 1) == 5  # 40 px / (4 + 4)


def test_shapes_across_and_beyond_the_border_are_cut() -> None:
    assert disc(0.0, 0.0, 5.0).sum() == pytest.approx(np.pi * 25 / 4, rel=0.05)
    assert disc(-50.0, 1e6, 5.0).sum() == 0
    assert stroke((-1e5, 30.5), (1e5, 30.5), 0.5)[30].min() > 0.9
    assert stroke((200.0, 200.0), (210.0, 220.0), 3.0).sum() == 0


def test_overlapping_strokes_do_not_pile_up() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    two = np.ones((2, 2), np.float32)
    shapes = Strokes(
        np.array([[10, 30], [30, 10]], np.float32), np.array([[50, 30], [30, 50]], np.float32), 2 * two, 0.5 * two,
        np.ones((2, 3), np.float32), np.zeros(2, np.float32), np.zeros(2, bool),
    )  # fmt: skip
    Canvas(60, 60).strokes(image, shapes, 0.0, 0.0, 4.0)
    assert image.max() == 128
