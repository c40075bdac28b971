"""What the refinement learns from: pairs of the same points, under a loss that falls and that nothing unseen enters."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tapkit.errors import UsageError, WeightsError
from tapkit.models.strand.network import Network
from tapkit.train.config import Stage
from tapkit.train.strand.presets import LITE0_REFINEMENT
from tapkit.train.strand.recipe import RECIPE, build
from tapkit.train.strand.refinement import drawn, refinement_losses

STAGE = Stage(1, 64, 3, 2, 12, task="matching", train_encoder=False)
SMALL = replace(LITE0_REFINEMENT, stages=(STAGE,), cache=None)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def training():
    return build(SMALL, CPU)


def test_a_pair_is_one_point_on_two_frames_of_its_clip_on_which_it_is_visible(drift):
    batch = drift().batch(STAGE, 0)
    visible = batch.visible.clone()
    visible[:, ::2, 1] = False
    xy = torch.where(visible[..., None], batch.xy, torch.nan)
    pairs = drawn(batch._replace(xy=xy, visible=visible), torch.Generator().manual_seed(0))
    frames = batch.video.shape[1]
    every = {
        (clip * frames + one, clip * frames + other, *place.tolist(), *there.tolist())
        for clip in range(2)
        for point in range(12)
        for one, place in enumerate(xy[clip, point])
        for other, there in enumerate(xy[clip, point])
        if one != other and visible[clip, point, one] and visible[clip, point, other]
    }
    found = {
        (int(asked), int(owner), *query.tolist(), *target.tolist())
        for query, asked, target, owner in zip(*pairs, strict=True)
    }
    assert found == every


def test_a_batch_in_which_nothing_is_seen_twice_costs_nothing(training, drift):
    batch = drift().batch(STAGE, 0)
    loss = next(training.losses(batch._replace(visible=torch.zeros_like(batch.visible)), STAGE, 0))
    assert loss.total == 0 and all(part == 0 for part in loss.parts.values())
    loss.total.backward()


def test_only_the_refinement_learns_and_what_it_is_asked_for_it_learns(drift):
    training = build(SMALL, CPU)
    training.prepare(STAGE)
    learning = [name for name, parameter in training.network.named_parameters() if parameter.requires_grad]
    assert learning and all(name.startswith("refine.") for name in learning)
    assert not training.network.encoder.training and training.statistics(STAGE) == []
    batch = drift().batch(STAGE, 0)
    optimizer = torch.optim.Adam([p for p in training.network.parameters() if p.requires_grad], 3e-3)
    losses = []
    for _ in range(12):
        loss = next(training.losses(batch, STAGE, 7))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(float(loss.total.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert set(loss.parts) == {"refinement", "refined_within_2"}


def test_with_features_that_learn_it_learns_along(drift):
    together = replace(STAGE, train_encoder=True)
    training = build(SMALL, CPU)
    training.prepare(together)
    loss = next(training.losses(drift().batch(together, 0), together, 0))
    assert set(loss.parts) == {"matching", "position", "matching_accuracy", "refinement", "refined_within_2"}
    loss.total.backward()
    named = dict(training.network.named_parameters())
    for name in ("refine.cells.weight", "encoder.to_fine.conv.weight"):
        assert named[name].grad.any()


def test_larger_errors_have_larger_losses(training, drift):
    batch = drift().batch(STAGE, 0)
    refine, maps = training.network.refine, training.network.encode(batch.video.flatten(0, 1))
    patches = training.network.config.patches

    def loss(shift: float) -> float:
        with torch.no_grad():
            refine.place.bias[0] = shift
            parts = refinement_losses(refine, maps, batch, patches, 0)
            refine.place.bias[0] = 0.0
        return float(parts["refinement"])

    assert loss(0.0) < loss(1.0) < loss(3.0)


def test_without_one_there_is_nothing_to_learn_with_features_that_stand_still():
    plain = build(replace(SMALL, settings=replace(SMALL.settings, refine=False)), CPU)
    with pytest.raises(UsageError, match="there is none"):
        plain.prepare(STAGE)


def test_weights_without_it_are_begun_from_and_those_with_half_of_it_are_not(training):
    torch.manual_seed(5)
    weights = Network(replace(training.network.config, refine=False)).state_dict()
    config = RECIPE.fitting(SMALL, weights)
    assert config.settings.refine
    begun = build(config, CPU).network
    RECIPE.load(begun, weights, "strand")
    torch.testing.assert_close(begun.state_dict()["score.0.weight"], weights["score.0.weight"])
    own = {name: tensor for name, tensor in begun.state_dict().items() if name.startswith("refine.enter.")}
    with pytest.raises(WeightsError):
        RECIPE.load(begun, {**weights, **own}, "strand")
    plain = replace(SMALL, settings=replace(SMALL.settings, refine=False))
    assert RECIPE.fitting(plain, begun.state_dict()).settings.refine
