"""Coordinates: every conversion has an inverse, and resizing is what a resampler does."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tapkit import coords

sides = st.integers(1, 4000)
points = st.lists(st.tuples(st.floats(-10, 5000), st.floats(-10, 5000)), min_size=1, max_size=5)


@given(points, sides, sides, sides, sides)
def test_resizing_back_gives_the_points_again(xy: list, height: int, width: int, h: int, w: int) -> None:
    there = coords.resize(np.array(xy), (height, width), (h, w))
    np.testing.assert_allclose(coords.resize(there, (h, w), (height, width)), xy, rtol=1e-9, atol=1e-6)


@given(points, sides, sides)
def test_normalising_flipping_and_centring_are_undone_by_their_inverses(xy: list, height: int, width: int) -> None:
    array, size = np.array(xy), (height, width)
    np.testing.assert_allclose(coords.from_normalized(coords.to_normalized(array, size), size), array, atol=1e-6)
    np.testing.assert_allclose(coords.flip_y(coords.flip_y(array, height), height), array, atol=1e-6)
    np.testing.assert_allclose(coords.from_centers(coords.to_centers(array)), array, atol=1e-9)


@given(st.integers(2, 400), st.integers(2, 400), st.integers(2, 400), st.integers(2, 400))
def test_align_corners_keeps_the_centres_of_the_corner_pixels(height: int, width: int, h: int, w: int) -> None:
    corner = coords.resize_centers(np.array([width - 1.0, height - 1.0]), (height, width), (h, w))
    np.testing.assert_allclose(corner, (w - 1, h - 1))
    assert coords.resize_centers(np.zeros(2), (height, width), (h, w)).tolist() == [0, 0]


def test_resize_agrees_with_torchs_half_pixel_resampling() -> None:
    ramp = torch.arange(64.0)[None, None, None].expand(1, 1, 8, 64) + 0.5  # value = x of the pixel's centre
    small = F.interpolate(ramp, (8, 16), mode="bilinear", antialias=True, align_corners=False)
    centres = coords.from_centers(np.stack([np.arange(16.0), np.zeros(16)], 1))
    expected = coords.resize(centres, (8, 16), (8, 64))[:, 0]
    np.testing.assert_allclose(small[0, 0, 4, 2:-2], expected[2:-2], atol=1e-4)


def test_grid_sample_reads_the_pixel_that_was_meant() -> None:
    image = torch.rand(1, 1, 5, 7)
    xy = coords.from_centers(torch.tensor([[3.0, 2.0], [6.0, 4.0]]))
    read = F.grid_sample(image, coords.to_grid_sample(xy, (5, 7))[None, None], align_corners=False)
    torch.testing.assert_close(read.flatten(), image[0, 0, [2, 4], [3, 6]])


def test_kind_dtype_and_place_follow_the_input() -> None:
    for xy in (np.zeros((2, 2), np.float32), torch.zeros(2, 2, dtype=torch.float64)):
        assert coords.resize(xy, (3, 4), (5, 6)).dtype == xy.dtype
        assert type(coords.flip_y(xy, 3)) is type(xy)
    inside = coords.inside(torch.tensor([[1.0, 1.0], [9.0, 1.0]]), (3, 4))
    assert inside.tolist() == [True, False]
