"""Deformable attention against its formula as loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tapkit.nn.deformable_attention import by_grid_sample, deformable_attention

SIZES = ((5, 7), (3, 2), (1, 1))


def by_hand(image: Tensor, x: float, y: float) -> Tensor:
    """Bilinear sample of image [D,h,w] at (x, y) in [0,1], zeros outside."""
    channels, height, width = image.shape
    column, row = x * width - 0.5, y * height - 0.5
    total = torch.zeros(channels, dtype=image.dtype)
    for j in (math.floor(column), math.floor(column) + 1):
        for i in (math.floor(row), math.floor(row) + 1):
            if 0 <= j < width and 0 <= i < height:
                total += (1 - abs(column - j)) * (1 - abs(row - i)) * image[:, i, j]
    return total


def loops(values: list[Tensor], points: Tensor, weights: Tensor) -> Tensor:
    batch, queries, heads, levels, count = weights.shape
    out = torch.zeros(batch, queries, heads, values[0].shape[2])
    for b in range(batch):
        for q in range(queries):
            for h in range(heads):
                for level in range(levels):
                    for k in range(count):
                        x, y = points[b, q, h, level, k].tolist()
                        out[b, q, h] += weights[b, q, h, level, k] * by_hand(values[level][b, h], x, y)
    return out.flatten(2)


def drawn(batch: int = 2, queries: int = 4, heads: int = 3, depth: int = 5) -> tuple[list[Tensor], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(batch, heads, depth, *size, generator=generator) for size in SIZES]
    points = torch.rand(batch, queries, heads, len(SIZES), 4, 2, generator=generator) * 1.6 - 0.3
    points[0, 0, 0, 0, :3] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5 / 7, 0.5 / 5]])
    return values, points, torch.rand(batch, queries, heads, len(SIZES), 4, generator=generator)


@pytest.mark.parametrize("way", [deformable_attention, by_grid_sample])
def test_it_is_the_weighted_sum_of_samples(way: object) -> None:
    values, points, weights = drawn()
    torch.testing.assert_close(way(values, points, weights), loops(values, points, weights))  # type: ignore[operator]


def test_maps_of_any_layout_give_the_same() -> None:
    values, points, weights = drawn()
    tokens = [maps.permute(0, 3, 4, 1, 2).contiguous().permute(0, 3, 4, 1, 2) for maps in values]
    assert not tokens[0].is_contiguous()
    ours = deformable_attention(tokens, points, weights)
    torch.testing.assert_close(ours, deformable_attention(values, points, weights), atol=0, rtol=0)


def test_positions_far_outside_read_nothing() -> None:
    values, points, weights = drawn()
    for far in (-1e9, 1e9, 3.0):
        assert deformable_attention(values, torch.full_like(points, far), weights).abs().max() == 0


def test_gradients_are_those_of_grid_sample() -> None:
    values, points, weights = drawn(batch=1)
    points = points + 0.0123  # off the cells' centres, where the slope jumps
    found = []
    for way in (deformable_attention, by_grid_sample):
        leaves = [part.clone().requires_grad_() for part in (*values, points, weights)]
        (way(leaves[:-2], *leaves[-2:]).square().sum()).backward()
        found.append([leaf.grad for leaf in leaves])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
