"""The rollout: without noise it is the network's own step, and gradients are cut where they should be."""

from __future__ import annotations

import pytest
import torch

from tapkit.models.strand.network import Network, follow
from tapkit.nn.alignment import grey_pyramid
from tapkit.train.batch import first_visible, sample_queries
from tapkit.train.config import Stage
from tapkit.train.strand.noise import DriftNoise
from tapkit.train.strand.rollout import noisy_step, rollout, track_batch
from tapkit.train.strand.settings import StrandSettings

STAGE = Stage(1, 64, 6, 2, 8)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(3)
    return Network().eval()


def started(network, batch):
    """Points of the first frame's queries, maps of the second frame, and where pixels led."""
    owner = torch.arange(2).repeat_interleave(STAGE.points)
    points = network.begin(network.encode(batch.video[:, 0]), owner, batch.xy[:, :, 0].flatten(0, 1))
    before, after = (grey_pyramid(batch.video[:, t]) for t in (0, 1))
    return points, network.encode(batch.video[:, 1]), follow(before, after, points.xy)


@torch.no_grad()
def test_a_step_without_noise_is_the_networks_own(network, drift):
    batch = drift().batch(STAGE, 0)
    points, maps, led = started(network, batch)
    truth = batch.xy[:, :, 1].flatten(0, 1)
    clean = network.step(maps, points, *led)
    noise = DriftNoise(0.0, len(truth), batch, 0)
    same = noisy_step(network, maps, points, led, truth, noise)
    # Training looks at all cells of the frame, the network alone under the promising ones.
    assert same[1].cost.numel() and not clean[1].cost.numel()
    torch.testing.assert_close(clean[1]._replace(cost=same[1].cost), same[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(clean[0], same[0], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_hard_negatives_move_matches_and_nothing_that_is_learned_from_their_logits(network, drift):
    batch = drift().batch(STAGE, 0)
    points, maps, led = started(network, batch)
    truth = batch.xy[:, :, 1].flatten(0, 1)
    clean = noisy_step(network, maps, points, led, truth, DriftNoise(0.0, len(truth), batch, 0))[1]
    wrong = noisy_step(network, maps, points, led, truth, DriftNoise(0.0, len(truth), batch, 0, 1.0))[1]
    assert torch.equal(clean.cost, wrong.cost)
    apart = (wrong.candidates[:, 1] - truth).abs().amax(-1)
    assert (apart > 16).all(), "found away from the true place"
    assert torch.equal(clean.candidates[:, 0], wrong.candidates[:, 0])


def test_chunks_cover_the_clip_and_frozen_features_get_no_gradient(network, drift):
    batch = drift().batch(STAGE, 0)
    queries = sample_queries(batch.visible, torch.Generator().manual_seed(0))
    network.zero_grad(set_to_none=True)
    frames = 0
    for chunk in rollout(network, batch, queries, StrandSettings(), truncate=2, encoder=False):
        sum(chunk.parts.values()).backward()
        frames += chunk.frames
    assert frames == STAGE.frames - 1
    assert all(p.grad is None for p in network.encoder.parameters())
    assert network.recurrent.of_state.weight.grad.abs().sum() > 0


def test_predictions_begin_with_the_query(network, drift):
    batch = drift().batch(STAGE, 1)
    visible = batch.visible.clone()
    visible[:, ::2, :2] = False
    queries = first_visible(visible)
    found = track_batch(network, batch, queries)
    assert set(queries.frames) >= {0, 2}
    for clip, point in torch.cartesian_prod(torch.arange(2), torch.arange(STAGE.points)).tolist():
        start = int(queries.frame[clip, point])
        if start < STAGE.frames:
            assert torch.equal(found.xy[clip, point, start], batch.xy[clip, point, start])
            assert found.visible[clip, point, start] == 1 and (found.visible[clip, point, :start] == 0).all()
