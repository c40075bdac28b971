"""One training step against a plain second implementation of the papers' losses, parameter by parameter."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tapkit.models.cotracker.network2 import TOKEN, CoTracker2Network
from tapkit.models.cotracker.network3 import CoTracker3Config, CoTracker3Network, Estimate, Pyramid
from tapkit.models.cotracker.transformer import SpaceTimeTransformer
from tapkit.nn.encoder import PointEncoder
from tapkit.train.batch import Batch
from tapkit.train.config import Stage
from tapkit.train.cotracker.recipe import CoTrackerTraining, initialise
from tapkit.train.cotracker.settings import CoTrackerSettings
from tapkit.train.cotracker.unroll import Points, Unrolled

SIZES = CoTracker3Config(channels=(8, 8, 16, 16), features=16, width=16, depth=1, hidden=8, embedding=4)
STAGE = Stage(1, 64, 28, 1, 5)
T = 28
STARTS = [0, 0, 3, 9, 18]
"""Frames of the queries: at the beginning, in the second half of the first window, only in later ones."""


def batch(frames: int = T) -> Batch:
    """One clip in which points are seen and hidden by turns, with a known first visible frame."""
    generator = torch.Generator().manual_seed(3)
    video = F.interpolate(torch.rand(frames, 3, 9, 9, generator=generator), (64, 64), mode="bicubic")
    xy = 8 + 48 * torch.rand(1, len(STARTS), frames, 2, generator=generator)
    visible = torch.rand(1, len(STARTS), frames, generator=generator) < 0.6
    for row, start in enumerate(min(start, frames - 4) for start in STARTS):
        visible[0, row, :start], visible[0, row, start] = False, True
    return Batch(video.mul(255).clamp(0, 255).byte()[None], xy, visible, torch.ones_like(visible))


def network(times: int, motion: float = 0.5) -> CoTracker3Network:
    torch.manual_seed(0)
    made = CoTracker3Network(times, SIZES)
    initialise(made)
    for head, size in (("flow_head", motion), ("vis_conf_head", 0.1)):  # points move as far as Huber is straight
        torch.nn.init.normal_(made.updateformer.get_submodule(head).weight, std=size)
    return made


def gradients(trained: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in trained.named_parameters() if p.grad is not None}


def ours(made, settings: CoTrackerSettings, model: str, clip: Batch, stage: Stage = STAGE):
    """The gradients of a step as the trainer makes it, and the loss."""
    training = CoTrackerTraining(made, settings, model)
    training.prepare(stage)
    made.zero_grad()
    total = 0.0
    for loss in training.losses(clip, stage, 0):
        total += float(loss.total.detach())
        loss.total.backward()
    return gradients(made), total


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal to 1e-7 of the largest entry of the parameter's gradient; the loss does not depend on some parameters
    (biases that instance norms take away), whose gradients are rounding beside the largest of all."""
    assert set(found) == set(expected)
    largest = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        bound = 1e-7 * float(value.abs().max()) + 1e-12 * largest
        assert float((found[name] - value).abs().max()) <= bound, name


def plain_loss3(made, clip: Batch, span: int, iterations: int, whole: bool, carry: bool) -> torch.Tensor:
    """The spec's windows and loss of CoTracker3, all with one graph. Positions here are cells x 4 = pixels."""
    length, step = clip.video.shape[1], span if whole else span // 2
    t, xy, seen = torch.tensor(STARTS), clip.xy[0] - 0.5, clip.visible[0]
    maps = made.encode(clip.video[0].float())
    support = made.support(maps, t, xy[torch.arange(len(t)), t] / 4)
    firsts = [0] if whole else list(range(0, (length - span + step - 1) // step * step + 1, step))
    total, before = 0.0, None
    for first in firsts:
        index = torch.arange(first, first + span).clamp(max=length - 1)
        here = Pyramid(*(level[index] for level in maps))
        start_xy = (xy[torch.arange(len(t)), t] / 4)[:, None].repeat(1, span, 1)
        logits = [torch.zeros(len(t), span), torch.zeros(len(t), span)]
        if before is not None:
            for n in range(len(t)):
                if t[n] < first + span - step:
                    for s in range(span):
                        source = min(s + step, span - 1)
                        start_xy[n, s] = before.xy[0, n, source].detach()
                        for which, logit in enumerate((before.visible, before.confidence)):
                            value = logit[0, n, source]
                            logits[which] = logits[which].clone()
                            logits[which][n, s] = value if carry else value.detach()
        begun = (t < first + span).float()[:, None, None]
        given = Pyramid(*((level * begun)[None] for level in support))
        start = Estimate(start_xy[None], logits[0][None], logits[1][None])
        estimates = list(made.refine(here, start, given, iterations))
        before = estimates[-1]
        real = min(first + span, length) - first
        window = 0.0
        for m, estimate in enumerate(estimates):
            p = 4 * estimate.xy[0, :, :real]
            truth, v = xy[:, first : first + real], seen[:, first : first + real]
            frames = torch.arange(first, first + real)
            valid = torch.ones_like(v) if whole else frames >= t[:, None]
            d = (p - truth).abs()
            h = torch.where(d <= 6, 0.5 * d * d, 6 * (d - 3)).mean(-1)
            weight = 0.8 ** (iterations - 1 - m) / iterations
            window = window + 0.05 * weight * (h * (v & valid)).sum() / ((v & valid).sum() + 1e-6)
            window = window + 0.01 * weight * (d.mean(-1) * (~v & valid)).sum() / ((~v & valid).sum() + 1e-6)
            near = ((p - truth).norm(dim=-1) <= 12).float()
            bce = F.binary_cross_entropy
            window = window + bce(estimate.visible[0, :, :real].sigmoid(), v.float()) / iterations
            wrong = bce(estimate.confidence[0, :, :real].sigmoid(), near, reduction="none")
            window = window + (wrong * v).mean() / iterations
        total = total + window / len(firsts)
    return total


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("carry", [False, True])
def test_a_step_of_cotracker3_online_is_the_papers_loss_over_chained_windows(carry):
    clip, settings = batch(), CoTrackerSettings(iterations=2, carry_gradients=carry, sizes=SIZES)
    made = network(16)
    found, total = ours(made, settings, "cotracker3-online", clip)
    made.zero_grad()
    loss = plain_loss3(made, clip, 16, 2, whole=False, carry=carry)
    loss.backward()
    assert total == pytest.approx(loss.item(), rel=1e-9)
    same(found, gradients(made))


@pytest.mark.usefixtures("float64")
def test_a_step_of_cotracker3_offline_is_the_papers_loss():
    clip = batch()
    settings = CoTrackerSettings(iterations=2, before_query=True, sizes=SIZES)
    made = network(60)
    found, total = ours(made, settings, "cotracker3-offline", clip)
    made.zero_grad()
    loss = plain_loss3(made, clip, T, 2, whole=True, carry=False)
    loss.backward()
    assert total == pytest.approx(loss.item(), rel=1e-9)
    same(found, gradients(made))


@pytest.mark.usefixtures("float64")
def test_the_gradients_of_a_chain_are_those_of_each_window_alone():
    """Each window is taken by itself, begun from the (detached) end of the one before."""
    clip, settings = batch(24), CoTrackerSettings(iterations=2, sizes=SIZES)
    made = network(16)
    whole, _ = ours(made, settings, "cotracker3-online", clip)
    training = CoTrackerTraining(made, settings, "cotracker3-online")
    alone = []
    for wanted in (0, 1):
        made.zero_grad()
        for number, loss in enumerate(training.losses(clip, STAGE, 0)):
            if number == wanted:
                loss.total.backward()
        alone.append(gradients(made))
    assert any(float((a - b).abs().max()) > 1e-3 for a, b in zip(*(g.values() for g in alone), strict=True))
    same(whole, {name: alone[0][name] + alone[1][name] for name in whole})


def test_what_is_trained_is_what_the_tracker_does():
    """The last iteration of the windows, joined, is the tracker's answer for the same points without support."""
    clip, settings = batch(), CoTrackerSettings(iterations=2, sizes=SIZES)
    made = network(16, motion=0.03)
    training = CoTrackerTraining(made, settings, "cotracker3-online")
    queries = settings.queries.draw(clip, torch.Generator().manual_seed(0))
    said = training.predict(clip, queries)
    t = queries.frame[0]
    points = Points(t, (clip.xy[0, torch.arange(len(t)), t] - 0.5) / 4)
    joined = torch.zeros_like(clip.xy[0])
    visible = torch.zeros_like(joined[..., 0])
    with torch.no_grad():
        for window in Unrolled(training.unrollable(), clip.video[0], points, False).windows():
            span = slice(window.frames.start, window.frames.stop)
            joined[:, span] = 4 * window.tracks[-1].xy[:, : len(window.frames)] + 0.5
            visible[:, span] = window.tracks[-1].visible[:, : len(window.frames)].sigmoid()
    after = torch.arange(T) > t[:, None]
    assert float((said.xy[0] - joined)[after].abs().max()) < 1e-3
    assert float((said.visible[0] - visible)[after].abs().max()) < 1e-4


def network2() -> CoTracker2Network:
    """CoTracker2 with a small encoder and a small transformer, as it has no sizes of its own to choose."""
    torch.manual_seed(0)
    with torch.device("meta"):
        made = CoTracker2Network(8)
    made = made.to_empty(device="cpu")
    made.fnet = PointEncoder(4, (8, 8, 8, 8))
    made.updateformer = SpaceTimeTransformer(TOKEN, 1, {"flow_head": 2 + 128}, 16)
    made.position_table = torch.rand(made.position_table.shape)
    made.time_table = torch.rand(made.time_table.shape)
    made = made.double()
    initialise(made)
    torch.nn.init.ones_(made.norm.weight)
    torch.nn.init.zeros_(made.norm.bias)
    # Small: at 969 radians a cell, larger updates of untrained weights make rounding grow without end.
    torch.nn.init.normal_(made.updateformer.flow_head.weight, std=0.003)
    return made


@pytest.mark.usefixtures("float64")
def test_a_step_of_cotracker2_is_the_papers_loss_over_chained_windows():
    clip, settings = batch(16), CoTrackerSettings(loss="cotracker2", iterations=2)
    made, span, step = network2(), 8, 4
    found, total = ours(made, settings, "cotracker2", clip)
    made.zero_grad()
    t, xy, seen = torch.tensor(STARTS).clamp(max=12), clip.xy[0] - 0.5, clip.visible[0]
    rows = torch.arange(len(t))
    maps = made.encode(clip.video[0].float())
    feature = made.query_feature(maps, t, xy[rows, t] / 4)
    loss, before = torch.zeros(()), None
    for first in range(0, 9, step):
        frames = torch.arange(first, first + span)
        start = (xy[rows, t] / 4)[:, None].repeat(1, span, 1)
        logits = torch.full((len(t), span), 10.0)
        if before is not None:
            old = t < first + span - step
            index = torch.arange(step, step + span).clamp(max=span - 1)
            start[old], logits[old] = before[0][old][:, index].detach(), before[1][old][:, index].detach()
        mask = (frames >= t[:, None]) & ((frames >= first + step) | (first == 0))
        active = t < first + span
        here = type(maps)(*(level[frames] for level in maps))
        given = (start[None], logits[None], mask[None], active[None], feature[None])
        steps = list(made.refine(here, *given, 2))
        before = steps[-1][0][0], made.vis_predictor(steps[-1][1])[0, ..., 0]
        valid = frames >= t[:, None]
        truth, v = xy[:, first : first + span], seen[:, first : first + span]
        for m, (p, _) in enumerate(steps):
            error = (4 * p[0] - truth).abs().mean(-1)
            loss = loss + 0.8 ** (1 - m) / 2 * (error * valid).sum() / (valid.sum() + 1e-6) / len(t)
        wrong = F.softplus(-torch.where(v, 1.0, -1.0) * before[1].sigmoid())
        for some in (v & valid, ~v & valid):
            loss = loss + 10 * (wrong * some).sum() / (some.sum() + 1e-6) / len(t)
    loss.backward()
    assert total == pytest.approx(loss.item(), rel=1e-9)
    same(found, gradients(made))
