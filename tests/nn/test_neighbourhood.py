"""Correlations around points, against bilinear sampling of whole correlation maps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tapkit.nn.neighbourhood import correlate, sample_clamped


def oracle(levels: list[torch.Tensor], template: torch.Tensor, frame: int, xy: torch.Tensor) -> torch.Tensor:
    """One point and feature: build each level's map, sample it on the 7x7 grid with zeros outside."""
    parts = []
    for number, level in enumerate(levels):
        height, width = level.shape[1:3]
        products = (level[frame] @ template / template.shape[0] ** 0.5)[None, None]
        dx, dy = torch.meshgrid(torch.arange(-3.0, 4), torch.arange(-3.0, 4), indexing="ij")
        x, y = xy[0] / 2**number + dx, xy[1] / 2**number + dy
        grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)[None]
        parts.append(F.grid_sample(products, grid, align_corners=True).flatten())
    return torch.cat(parts)


@pytest.fixture
def pyramid() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 20 >> n, 26 >> n, 16, generator=generator) for n in range(3)]


def test_products_around_a_point_are_samples_of_the_correlation_map(pyramid: list[torch.Tensor]) -> None:
    generator = torch.Generator().manual_seed(1)
    xy = torch.rand(150, 2, generator=generator) * torch.tensor([36.0, 30.0]) - 5  # inside, at the border, outside
    frames = torch.randint(0, 3, (150,), generator=generator)
    templates = torch.randn(150, 2, 16, generator=generator)
    found = correlate(pyramid, templates, frames, xy)
    for row in range(150):
        for k in range(2):
            expected = oracle(pyramid, templates[row, k], int(frames[row]), xy[row])
            torch.testing.assert_close(found[row, k], expected, atol=2e-5, rtol=0)


def test_far_outside_there_is_nothing_and_not_a_number_stays_one(pyramid: list[torch.Tensor]) -> None:
    xy = torch.tensor([[1e9, 5.0], [-1e9, -1e9], [float("nan"), 3.0]])
    found = correlate(pyramid, torch.ones(3, 1, 16), torch.zeros(3, dtype=torch.long), xy)
    assert (found[:2] == 0).all()
    assert found[2].isnan().any()


def test_half_precision_maps_give_float32_products(pyramid: list[torch.Tensor]) -> None:
    xy, frames, templates = torch.tensor([[7.3, 9.8]]), torch.zeros(1, dtype=torch.long), torch.ones(1, 1, 16)
    exact = correlate(pyramid, templates, frames, xy)
    found = correlate([level.bfloat16() for level in pyramid], templates, frames, xy)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0)


def test_no_points_give_no_products(pyramid: list[torch.Tensor]) -> None:
    empty = torch.zeros(0, dtype=torch.long)
    assert correlate(pyramid, torch.zeros(0, 1, 16), empty, torch.zeros(0, 2)).shape == (0, 1, 147)


def test_clamped_samples_repeat_the_border(pyramid: list[torch.Tensor]) -> None:
    level = pyramid[0]
    xy = torch.tensor([[3.25, 4.5], [-2.0, 4.5], [40.0, 19.0]])
    found = sample_clamped(level, torch.tensor([1, 2, 0]), xy)
    left, right = level[1, 4:6, 3].mean(0), level[1, 4:6, 4].mean(0)
    torch.testing.assert_close(found[0], 0.75 * left + 0.25 * right)
    torch.testing.assert_close(found[1], level[2, 4:6, 0].mean(0))
    torch.testing.assert_close(found[2], level[0, 19, 25])
