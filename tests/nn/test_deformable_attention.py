"""Deformable attention against its formula, written as loops (Deformable DETR, equation 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tapkit.nn.deformable_attention import (
    CHUNK,
    Corners,
    DeformableAttention,
    Pyramid,
    attend_sampled,
    attend_sampled_tokens,
    corners,
    gather_sum,
    weighted_corners,
)
from tapkit.nn.packed import pack

PYRAMID = Pyramid(((5, 7), (3, 4), (1, 2)))


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bilinear(level: Tensor, x: float, y: float) -> Tensor:
    """A map [h,w,C] at a position, pixel centres at integers; nothing outside."""
    height, width = level.shape[:2]
    total = torch.zeros(level.shape[2])
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += (1 - abs(x - column)) * (1 - abs(y - row)) * level[row, column]
    return total


def by_loops(values: Tensor, xy: Tensor, weight: Tensor) -> Tensor:
    """values [S,H,c], xy [Q,H,L,P,2], weight [Q,H,L,P] -> [Q,H*c]."""
    maps = PYRAMID.split(values.flatten(1))
    out = torch.zeros(len(xy), *values.shape[1:])
    for q in range(xy.shape[0]):
        for h in range(xy.shape[1]):
            for level, whole in enumerate(maps):
                own = whole.unflatten(-1, values.shape[1:])[:, :, h]
                for p in range(xy.shape[3]):
                    x, y = xy[q, h, level, p].tolist()
                    out[q, h] += weight[q, h, level, p] * bilinear(own, x, y)
    return out.flatten(1)


def test_levels_follow_one_another() -> None:
    assert PYRAMID.tokens == 35 + 12 + 2
    assert PYRAMID.starts == (0, 35, 47)
    tokens = torch.arange(49.0)[:, None]
    assert PYRAMID.split(tokens)[1][1, 2, 0] == 35 + 4 + 2
    assert PYRAMID.extents(tokens).tolist() == [[7, 5], [4, 3], [2, 1]]


def test_samples_are_those_of_the_formula() -> None:
    """Inside, at the border, outside; on whole pixels too."""
    values = seeded(49, 2, 3)
    xy = seeded(6, 2, 3, 4, 2, seed=1) * 4 + 2
    xy[0, 0, 0, 0] = torch.tensor([6.0, 4.0])
    xy[0, 0, 0, 1] = torch.tensor([-0.5, 4.75])
    xy[0, 0, 0, 2] = torch.tensor([-1e9, 1e9])
    xy[1, 0, 0, 0] = torch.tensor([6.25, -0.75])
    xy[1, 0, 2, 0] = torch.tensor([0.5, 0.25])
    weight = seeded(6, 2, 3, 4, seed=2)
    torch.testing.assert_close(attend_sampled(values, PYRAMID, xy, weight), by_loops(values, xy, weight))


def test_the_module_is_softmax_weighted_samples_projected() -> None:
    """Against loops, over more queries than one chunk; packed for the CPU as well."""
    torch.manual_seed(0)
    module = DeformableAttention(16, heads=2, levels=3, points=2).eval().requires_grad_(False)
    tokens, query = seeded(49, 16), seeded(CHUNK + 3, 16, seed=1)
    base = seeded(CHUNK + 3, 3, 2, seed=2)
    out = module(query, tokens, PYRAMID, base)
    for row in (0, 7, CHUNK + 2):
        g = query[row]
        offsets = (module.sampling_offsets.weight @ g + module.sampling_offsets.bias).view(2, 3, 2, 2)
        weights = (module.attention_weights.weight @ g + module.attention_weights.bias).view(2, 6).softmax(1)
        values = (tokens @ module.value_proj.weight.T + module.value_proj.bias).view(49, 2, 8)
        xy = base[row, None, :, None] + offsets
        summed = by_loops(values, xy[None], weights.view(1, 2, 3, 2))
        expected = summed[0] @ module.output_proj.weight.T + module.output_proj.bias
        torch.testing.assert_close(out[row], expected, atol=1e-5, rtol=1e-4)
    pack(module)
    torch.testing.assert_close(module(query, tokens, PYRAMID, base), out, atol=1e-5, rtol=1e-4)


def test_projecting_after_sampling_is_the_same() -> None:
    """Also outside the levels, where projected tokens have no bias."""
    matrix, bias, tokens = seeded(6, 16), seeded(6, seed=5), seeded(49, 16)
    xy, weight = seeded(5, 2, 3, 4, 2, seed=1) * 5, seeded(5, 2, 3, 4, seed=2)
    expected = attend_sampled((tokens @ matrix.T + bias).view(49, 2, 3), PYRAMID, xy, weight)
    found = corners(xy, PYRAMID)
    one_by_one = Corners(found.token.flatten(-3), (found.weight * weight[..., None]).flatten(-3))
    for read in (one_by_one, weighted_corners(xy, PYRAMID, weight)):
        ours = attend_sampled_tokens(tokens, read, matrix.view(2, 3, 16), bias.view(2, 3))
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_gradients_reach_values_positions_and_weights() -> None:
    """By finite differences, away from whole pixels."""
    values = seeded(49, 1, 2).double().requires_grad_()
    xy = (torch.tensor([[0.3, 1.4], [2.6, 0.7]]).double().view(1, 1, 1, 2, 2) + torch.zeros(1, 1, 3, 2, 2)).detach()
    xy.requires_grad_()
    weight = seeded(1, 1, 3, 2, seed=4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda *a: attend_sampled(a[0], PYRAMID, a[1], a[2]), (values, xy, weight))


def test_a_level_of_one_pixel_has_that_pixel_only() -> None:
    one = Pyramid(((1, 1), (1, 3)))
    values = seeded(4, 1, 2)
    xy = torch.tensor([[[0.25, -0.5]], [[1.5, 0.5]]]).view(1, 1, 2, 1, 2)
    expected = 0.75 * 0.5 * values[0, 0] + 0.5 * 0.5 * (values[2, 0] + values[3, 0])
    torch.testing.assert_close(attend_sampled(values, one, xy, torch.ones(1, 1, 2, 1))[0], expected)


def test_what_is_not_a_number_stays_with_its_query() -> None:
    xy = seeded(2, 1, 3, 1, 2) + 1
    xy[0, 0, 0, 0, 0] = torch.nan
    out = attend_sampled(seeded(49, 1, 2), PYRAMID, xy, torch.ones(2, 1, 3, 1))
    assert out[0].isnan().all() and out[1].isfinite().all()


def test_no_queries_are_no_rows() -> None:
    assert gather_sum(seeded(4, 3), torch.zeros(0, 2, 8, dtype=torch.long), torch.zeros(0, 2, 8)).shape == (0, 2, 3)
    module = DeformableAttention(16, heads=2, levels=3, points=2)
    assert module(torch.zeros(0, 16), seeded(49, 16), PYRAMID, torch.zeros(0, 3, 2)).shape == (0, 16)
