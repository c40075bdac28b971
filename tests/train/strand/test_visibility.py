"""Fitting what visibility is read from: what is collected, and that it is learned."""

from __future__ import annotations

import pytest
import torch

from tapkit.errors import UsageError
from tapkit.models.strand.encoder import StrandConfig
from tapkit.models.strand.evidence import COUNT, Verify
from tapkit.models.strand.network import Network
from tapkit.train.config import Stage
from tapkit.train.strand.settings import StrandSettings
from tapkit.train.strand.visibility import Seen, collect, fit_visibility

STAGE = Stage(1, 64, 6, 1, 8)
QUIET = StrandSettings(template_decay=1.0, feature_noise=0.0, drift_noise=0.0, hard_negatives=0.0)


def test_what_is_collected_is_what_the_network_says_and_what_is_true(drift):
    torch.manual_seed(3)
    network = Network(StrandConfig(evidence=True)).eval()
    batch = drift().batch(STAGE, 0)
    batch = batch._replace(visible=batch.visible.clone())
    batch.visible[:, :, 3] = False
    own = network.verify
    seen = collect(network, batch, QUIET, 0)
    assert network.verify is own, "the network is as it was"
    assert seen.numbers.shape == (len(seen.before), COUNT) and seen.hidden.shape[1] == network.config.hidden
    assert 0 < len(seen.before) <= STAGE.points * (STAGE.frames - 1)
    assert set(seen.truth.unique().tolist()) <= {0.0, 1.0}
    assert (seen.truth[:, 0] == 0).any() and (seen.truth[:, 0] == 1).any()
    assert torch.isfinite(seen.before).all() and not seen.before.requires_grad


def test_a_network_without_the_part_is_refused(drift):
    with pytest.raises(UsageError, match="evidence"):
        collect(Network().eval(), drift().batch(STAGE, 0), QUIET, 0)


def made(count: int, seed: int) -> Seen:
    """Answers that are always called visible, and are if the query's middle cell agrees (the first number)."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(count, COUNT, generator=generator)
    truth = (numbers[:, :1] > 0.5).float().repeat(1, 2)
    return Seen(numbers, torch.zeros(count, 16), torch.full((count, 2), 2.0), truth, torch.ones(count, 2))


def test_the_fit_finds_what_tells_visible_from_occluded_and_starts_from_no_change():
    torch.manual_seed(0)
    verify = Verify(16)
    judged = made(500, 99)
    assert (verify(judged.numbers, judged.hidden) == 0).all()
    before, after = fit_visibility(verify, [made(500, seed) for seed in range(10)], steps=150, rate=2e-2)
    assert after < 0.5 * before
    said = (judged.before + verify(judged.numbers, judged.hidden))[:, 0] > 0
    assert (said == (judged.truth[:, 0] > 0)).float().mean() > 0.9
