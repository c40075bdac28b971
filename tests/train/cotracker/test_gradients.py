"""One training step against a plain second implementation of the papers' losses, parameter by parameter."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tapkit.models.cotracker.network3 import CoTracker3Config, CoTracker3Network, Estimate, Pyramid
from tapkit.train.batch import Batch
from tapkit.train.config import Stage
from tapkit.train.cotracker.recipe import CoTrackerTraining, initialise
from tapkit.train.cotracker.settings import CoTrackerSettings

SIZES = CoTracker3Config(channels=(8, 8, 16, 16), features=16, width=16, depth=1, hidden=8, embedding=4)
STAGE = Stage(1, 64, 28, 1, 5)
T = 28
STARTS = [0, 0, 3, 13, 18]
"""Frames of the queries: two at the beginning, one in the second half of the first window, one only in later ones."""


@pytest.fixture(autouse=True)
def float64(monkeypatch):
    """In double precision, also what the networks keep in single: rounding is then no excuse."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def batch(frames: int = T) -> Batch:
    """One clip in which points are seen and hidden by turns, with a known first visible frame."""
    generator = torch.Generator().manual_seed(3)
    video = F.interpolate(torch.rand(frames, 3, 9, 9, generator=generator), (64, 64), mode="bicubic")
    xy = 8 + 48 * torch.rand(1, len(STARTS), frames, 2, generator=generator)
    visible = torch.rand(1, len(STARTS), frames, generator=generator) < 0.6
    for row, start in enumerate(STARTS):
        visible[0, row, :start], visible[0, row, start] = False, True
    return Batch(video.mul(255).clamp(0, 255).byte()[None], xy, visible, torch.ones_like(visible))


def network(times: int) -> CoTracker3Network:
    torch.manual_seed(0)
    made = CoTracker3Network(times, SIZES)
    initialise(made)
    for head, size in (("flow_head", 0.5), ("vis_conf_head", 0.1)):  # points move as far as Huber is straight
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


@pytest.mark.parametrize("carry", [False, True])
def test_a_step_of_cotracker3_online_is_the_papers_loss_over_chained_windows(carry):
    clip, settings = batch(), CoTrackerSettings(iterations=2, carry_gradients=carry, sizes=SIZES)
    made = network(16)
    found, total = ours(made, settings, "cotracker3-online", clip)
    made.zero_grad()
    loss = plain_loss3(made, clip, 16, 2, whole=False, carry=carry)
    loss.backward()
    assert total == pytest.approx(float(loss.detach()), rel=1e-9)
    same(found, gradients(made))


def test_a_step_of_cotracker3_offline_is_the_papers_loss():
    clip = batch()
    settings = CoTrackerSettings(iterations=2, before_query=True, sizes=SIZES)
    made = network(60)
    found, total = ours(made, settings, "cotracker3-offline", clip)
    made.zero_grad()
    loss = plain_loss3(made, clip, T, 2, whole=True, carry=False)
    loss.backward()
    assert total == pytest.approx(float(loss.detach()), rel=1e-9)
    same(found, gradients(made))
