"""Fading: queries lose their likeness, maps get noise, both from a seed; switched off it changes nothing."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tapkit.models.strand.network import Maps, Points
from tapkit.train.unroll import Fading

CPU = torch.device("cpu")
COUNT = 200


def points() -> Points:
    patches = tuple(
        F.normalize(torch.randn(COUNT, 9, c, generator=torch.Generator().manual_seed(c)), dim=-1)
        for c in (64, 128, 128)
    )
    empty = torch.zeros(COUNT, 2)
    return Points(patches, patches, torch.zeros(COUNT, 4), empty, empty, torch.ones(COUNT))


def likeness(a: Points, b: Points) -> torch.Tensor:
    return F.cosine_similarity(a.query[1], b.query[1], dim=-1).mean(1)


def test_half_of_the_queries_fade_frame_by_frame_and_the_memory_does_not():
    begin = points()
    fading = Fading(0.9, COUNT, CPU, 3)
    now, courses = begin, []
    for _ in range(8):
        now = fading(now)
        courses.append(likeness(begin, now))
    faded = courses[-1] < 0.999
    assert 0.35 < faded.float().mean() < 0.65
    assert (courses[-1][~faded] > 0.999).all()
    assert courses[0][faded].mean() > courses[3][faded].mean() > courses[-1][faded].mean()
    assert courses[-1].min() > 0.9**8 - 0.15
    torch.testing.assert_close(now.query[1].norm(dim=-1).mean(), torch.tensor(1.0), atol=0.05, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(begin.memory, now.memory, strict=True))


def test_maps_get_noise_of_another_strength_in_each_lesson_and_keep_their_length():
    maps = Maps(*(F.normalize(torch.ones(1, 2, 4, 4, c), dim=-1) for c in (64, 128, 128)))
    likenesses = []
    for seed in range(8):
        hazy = Fading(0.9, 1, CPU, seed, 1.0).hazy(maps)
        torch.testing.assert_close(hazy.fine.norm(dim=-1), torch.ones(1, 2, 4, 4))
        likenesses.append(float(F.cosine_similarity(hazy.coarse, maps.coarse, dim=-1).mean()))
    assert min(likenesses) < 0.9 and max(likenesses) - min(likenesses) > 0.1
    again = Fading(0.9, 1, CPU, 7, 1.0).hazy(maps)
    assert all(torch.equal(a, b) for a, b in zip(hazy, again, strict=True))


def test_who_keeps_everything_changes_nothing():
    fading = Fading(1.0, COUNT, CPU, 0)
    begin = points()
    maps = Maps(*(torch.rand(1, 2, 4, 4, c) for c in (64, 128, 128)))
    assert fading(begin) is begin and fading.hazy(maps) is maps
