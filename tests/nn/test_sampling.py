"""Sampling between pixels, against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from tapkit.nn.correlation import SMALL_MAP, correlation_volume, local_correlation, track_correlation
from tapkit.nn.sampling import blend, integer_patch, sample


def by_hand(image: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """Bilinear sample of image [h,w,C] at (x, y), the border repeated."""
    height, width = image.shape[:2]
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    x0, y0 = math.floor(x), math.floor(y)
    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
    fx, fy = x - x0, y - y0
    top = image[y0, x0] * (1 - fx) + image[y0, x1] * fx
    return top * (1 - fy) + (image[y1, x0] * (1 - fx) + image[y1, x1] * fx) * fy


POSITIONS = [(2.3, 1.6), (0.0, 0.0), (-3.2, 2.5), (6.0, 4.0), (40.0, -50.0), (5.999, 3.001), (3.0, 9.7)]


@pytest.fixture
def maps() -> torch.Tensor:
    return torch.randn(2, 5, 7, 4, generator=torch.Generator().manual_seed(1))


def test_samples_are_bilinear_and_repeat_the_border(maps: torch.Tensor) -> None:
    xy = torch.tensor(POSITIONS)
    ours = sample(maps.permute(0, 3, 1, 2), xy.expand(2, -1, -1))
    theirs = torch.stack([torch.stack([by_hand(image, x, y) for x, y in POSITIONS]) for image in maps])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_samples_keep_the_shape_of_their_positions(maps: torch.Tensor) -> None:
    assert sample(maps.permute(0, 3, 1, 2), torch.zeros(2, 3, 6, 2)).shape == (2, 3, 6, 4)


def test_zero_padding_reads_nothing_outside(maps: torch.Tensor) -> None:
    values = sample(maps[:1].permute(0, 3, 1, 2), torch.tensor([[[-5.0, 2.0], [2.0, 2.0]]]), padding="zeros")
    assert values[0, 0].abs().max() == 0
    torch.testing.assert_close(values[0, 1], maps[0, 2, 2])


def test_blended_whole_pixels_are_the_samples_of_the_window_x_slow(maps: torch.Tensor) -> None:
    index = torch.tensor([0, 1, 0, 1, 0, 1, 0])
    pixels, fraction = integer_patch(maps, index, torch.tensor(POSITIONS), 2)
    window = blend(pixels, fraction)
    for row, (x, y) in enumerate(POSITIONS):
        for i in range(5):
            for j in range(5):
                expected = by_hand(maps[index[row]], x + i - 2, y + j - 2)
                torch.testing.assert_close(window[row, i, j], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_positions_that_are_no_numbers_read_finite_values(maps: torch.Tensor, bad: float) -> None:
    pixels, fraction = integer_patch(maps, torch.tensor([0]), torch.tensor([[bad, 1.0]]), 3)
    assert blend(pixels, fraction).isfinite().all()


def test_local_correlation_is_the_product_with_each_sample(maps: torch.Tensor) -> None:
    index = torch.tensor([1, 0, 1, 0, 1, 0, 1])
    features = torch.randn(7, 4, generator=torch.Generator().manual_seed(2))
    ours = local_correlation(maps, index, torch.tensor(POSITIONS), features, 1)
    assert ours.shape == (7, 9)
    for row, (x, y) in enumerate(POSITIONS):
        expected = [by_hand(maps[index[row]], x + i, y + j) @ features[row] for i in (-1, 0, 1) for j in (-1, 0, 1)]
        torch.testing.assert_close(ours[row], torch.stack(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize("size", [(5, 7), (SMALL_MAP, 2)])
def test_tracks_look_at_the_map_of_each_frame(size: tuple[int, int], inference: bool) -> None:
    maps = torch.randn(2, *size, 4, generator=torch.Generator().manual_seed(4))
    xy = torch.tensor(POSITIONS[:6]).view(3, 2, 2)
    features = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode(inference):
        ours = track_correlation(maps, xy, features, 2)
    expected = local_correlation(maps, torch.tensor([0, 1] * 3), xy.flatten(0, 1), features.flatten(0, 1), 2)
    torch.testing.assert_close(ours, expected.view(3, 2, 25), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("inference", [True, False])
def test_the_volume_holds_all_products_of_two_windows(maps: torch.Tensor, inference: bool) -> None:
    xy = torch.tensor([[[2.3, 1.6], [4.1, 3.3]], [[-1.0, 2.0], [6.5, 0.2]], [[3.0, 3.0], [50.0, 1.0]]])
    support = torch.randn(3, 9, 4, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode(inference):
        ours = correlation_volume(maps, xy, support, 1)
    assert ours.shape == (3, 2, 81)
    for n in range(3):
        for s in range(2):
            x, y = xy[n, s].tolist()
            window = torch.stack([by_hand(maps[s], x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
            torch.testing.assert_close(ours[n, s], (window @ support[n].T).flatten(), atol=1e-5, rtol=1e-5)
