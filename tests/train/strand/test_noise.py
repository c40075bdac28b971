"""Noise in training: templates decay, maps get noise, motion drifts, matches are wrong; all from a seed."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tapkit.models.strand.encoder import Maps
from tapkit.models.strand.matching import around_best
from tapkit.models.strand.network import Network, Points
from tapkit.train.batch import Batch
from tapkit.train.strand.noise import EXCLUDED, NOWHERE, DriftNoise, TemplateDecay, best_elsewhere

CPU = torch.device("cpu")
COUNT = 200


def points() -> Points:
    patches = tuple(
        F.normalize(torch.randn(COUNT, 9, c, generator=torch.Generator().manual_seed(c)), dim=-1)
        for c in (64, 128, 128)
    )
    empty = torch.zeros(COUNT, 2)
    return Points(patches, patches, torch.zeros(COUNT, 4), empty, empty, torch.ones(COUNT), torch.zeros(COUNT, 121))


def similarity(a: Points, b: Points) -> torch.Tensor:
    return F.cosine_similarity(a.query[1], b.query[1], dim=-1).mean(1)


def test_half_of_the_templates_decay_frame_by_frame_and_the_memory_does_not():
    begin = points()
    decay = TemplateDecay(0.9, COUNT, CPU, 3)
    now, courses = begin, []
    for _ in range(8):
        now = decay(now)
        courses.append(similarity(begin, now))
    decayed = courses[-1] < 0.999
    assert 0.35 < decayed.float().mean() < 0.65
    assert (courses[-1][~decayed] > 0.999).all()
    assert courses[0][decayed].mean() > courses[3][decayed].mean() > courses[-1][decayed].mean()
    assert courses[-1].min() > 0.9**8 - 0.15
    torch.testing.assert_close(now.query[1].norm(dim=-1).mean(), torch.tensor(1.0), atol=0.05, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(begin.memory, now.memory, strict=True))


def test_maps_get_noise_of_another_strength_in_each_batch_and_keep_their_length():
    maps = Maps(*(F.normalize(torch.ones(1, 2, 4, 4, c), dim=-1) for c in (64, 128, 128, 0)))
    similarities = []
    for seed in range(8):
        noisy = TemplateDecay(0.9, 1, CPU, seed, 1.0).noisy(maps)
        torch.testing.assert_close(noisy.fine.norm(dim=-1), torch.ones(1, 2, 4, 4))
        similarities.append(float(F.cosine_similarity(noisy.coarse, maps.coarse, dim=-1).mean()))
    assert min(similarities) < 0.9 and max(similarities) - min(similarities) > 0.1
    again = TemplateDecay(0.9, 1, CPU, 7, 1.0).noisy(maps)
    assert all(torch.equal(a, b) for a, b in zip(noisy, again, strict=True))


def test_templates_that_keep_everything_do_not_change():
    decay = TemplateDecay(1.0, COUNT, CPU, 0)
    begin = points()
    maps = Maps(*(torch.rand(1, 2, 4, 4, c) for c in (64, 128, 128, 0)))
    assert decay(begin) is begin and decay.noisy(maps) is maps


def small() -> Batch:
    """One clip of 64x64 pixels; only its size matters."""
    seen = torch.ones(1, 4, 6, dtype=torch.bool)
    return Batch(torch.zeros(1, 6, 3, 64, 64, dtype=torch.uint8), torch.zeros(1, 4, 6, 2), seen, seen)


def test_motion_drifts_steadily_for_some_points_and_few_are_outliers():
    moved, similar = torch.zeros(400, 2), torch.ones(400, 2)
    noise = DriftNoise(0.5, 400, small(), seed=0)
    frames = [noise(moved, similar) for _ in range(30)]
    lengths = torch.stack([xy.norm(dim=-1) for xy, _ in frames])
    outlier = torch.stack([sure.lt(1).any(-1) for _, sure in frames])
    assert 0.01 < outlier.float().mean() < 0.03
    assert (lengths[~outlier] < 0.21).all(), "drift is slow, in pixels of this frame"
    assert (lengths[outlier] > 0.49).all() and (lengths[outlier] < 6.01).all()
    still = (lengths.masked_fill(outlier, 0) == 0).all(0)
    assert 0.4 < still.float().mean() < 0.6, "half of the points never drift"
    # Drift keeps its direction for a while: it adds up.
    total = torch.stack([xy for xy, _ in frames]).masked_fill(outlier[..., None], 0).sum(0).norm(dim=-1)
    alone = lengths.masked_fill(outlier, 0).square().sum(0).sqrt()
    assert total[~still].mean() > 1.5 * alone[~still].mean()


def test_without_a_share_nothing_drifts():
    moved, similar = torch.rand(5, 2), torch.rand(5, 2)
    assert all(a is b for a, b in zip(DriftNoise(0.0, 5, small(), 0)(moved, similar), (moved, similar), strict=True))


def test_a_share_of_the_true_places_is_excluded_and_never_where_none_is_known():
    truth = torch.rand(500, 2)
    truth[:100] = torch.nan
    excluded = torch.stack(
        [DriftNoise(0.5, 500, small(), seed, hard_negatives=0.3).excluded(truth) for seed in range(4)]
    )
    chosen = (excluded == truth).all(-1)
    assert not chosen[:, :100].any() and 0.25 < chosen[:, 100:].float().mean() < 0.35
    assert (excluded[~chosen] < -1e5).all()


def test_a_hard_negative_is_the_best_place_that_is_not_excluded():
    network = Network().eval()
    queries = torch.tensor([[22.0, 30.0], [46.0, 94.0]])
    generator = torch.Generator().manual_seed(7)
    maps = Maps(
        *(
            F.normalize(torch.randn(1, 128 // stride, 128 // stride, channels, generator=generator), dim=-1)
            for stride, channels in zip((4, 8, 16, 16), (64, 128, 128, 0), strict=True)
        )
    )
    with torch.no_grad():
        state = network.begin(maps, torch.zeros(2, dtype=torch.long), queries)
        network.temperature.fill_(4.0)
        matching = network.match(maps, state, queries)
    cost, found = matching.cost, matching.xy
    other = best_elsewhere(cost, torch.tensor([[22.0, 30.0], [NOWHERE, NOWHERE]]), (32, 32))
    torch.testing.assert_close(found, queries, atol=0.2, rtol=0)
    assert (other[0] - queries[0]).abs().amax() > EXCLUDED - 4
    assert torch.equal(other[1], found[1])
    assert torch.equal(found, around_best(cost, 32) * 4)
