"""Global matching of strand: all cells, and the promising ones alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tapkit.models.strand.encoder import Maps
from tapkit.models.strand.matching import Sought, around_best, coarse_to_fine, everywhere

CELLS = (12, 20)
"""Of the map of stride 16."""


def smooth_maps(batch: int, seed: int, known: int = 0) -> Maps:
    """Unit vectors that belong together: what is at a place on one map is there, blurred, on the others."""
    generator = torch.Generator().manual_seed(seed)
    height, width = CELLS
    wide = torch.randn(batch, 32, height, width, generator=generator)
    levels = []
    for factor in (4, 2, 1):
        level = F.interpolate(wide, size=(factor * height, factor * width), mode="bilinear")
        level = level + 0.4 * torch.randn(level.shape, generator=generator)
        levels.append(F.normalize(level, dim=1).permute(0, 2, 3, 1).contiguous())
    more = wide[:, :known] + 0.4 * torch.randn(batch, known, height, width, generator=generator)
    return Maps(*levels, F.normalize(more, dim=1).permute(0, 2, 3, 1).contiguous())


def sought(maps: Maps, count: int, seed: int) -> Sought:
    """The features of `count` random cells of each frame, some of them expected elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([maps.fine.shape[2] * 4.0, maps.fine.shape[1] * 4.0])
    xy = torch.rand(len(maps.fine) * count, 2, generator=generator) * size
    owner = torch.arange(len(maps.fine)).repeat_interleave(count)
    features = []
    for level, stride in zip(maps.levels, (4, 8, 16, 16), strict=False):
        cell = (xy / stride).long()
        features.append(8 * level[owner, cell[:, 1], cell[:, 0]])
    expected = xy + 30 * torch.randn(xy.shape, generator=generator)
    scale, power = (torch.rand(len(xy), generator=generator) * factor + 0.5 for factor in (60, 2))
    return Sought(tuple(features), expected, scale, power)


@pytest.mark.parametrize("known", [0, 24])
def test_coarse_to_fine_finds_what_looking_everywhere_finds(known):
    for seed in range(3):
        maps = smooth_maps(2, seed, known)
        wanted = sought(maps, 40, seed)
        whole, some = everywhere(maps, wanted), coarse_to_fine(maps, wanted)
        same = ((whole.xy - some.xy).abs().amax(-1) < 1e-3).float().mean()
        assert same > 0.95
        found = (whole.best - some.best).abs() < 1e-4
        assert (whole.best >= some.best - 1e-4).all() and found.float().mean() > 0.95
        places = torch.cat([whole.xy[:40], torch.tensor([-50.0, 900.0]).expand(40, 2)])
        torch.testing.assert_close(whole.near(places), some.near(places), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("known", [0, 24])
def test_looking_under_every_cell_is_looking_everywhere(known):
    maps = smooth_maps(1, 5, known)
    wanted = sought(maps, 30, 5)
    whole, all_of_it = everywhere(maps, wanted), coarse_to_fine(maps, wanted, promising=10**6)
    torch.testing.assert_close(whole.xy, all_of_it.xy, rtol=0, atol=1e-3)
    torch.testing.assert_close(whole.best, all_of_it.best)


def test_a_point_does_not_depend_on_the_others():
    maps = smooth_maps(1, 6)
    wanted = sought(maps, 30, 6)
    one = Sought(tuple(f[:1] for f in wanted.features), *(part[:1] for part in wanted[1:]))
    torch.testing.assert_close(coarse_to_fine(maps, one).xy, coarse_to_fine(maps, wanted).xy[:1], rtol=0, atol=1e-3)


def test_the_best_cell_is_refined_by_its_neighbours_and_not_beyond_the_border():
    cost = torch.full((2, 6 * 8), -50.0)
    cost[0, 2 * 8 + 5] = cost[0, 2 * 8 + 6] = 0.0  # between columns 5 and 6 of row 2
    cost[1, 0] = 0.0
    torch.testing.assert_close(around_best(cost, 8), torch.tensor([[6.0, 2.5], [0.5, 0.5]]))
