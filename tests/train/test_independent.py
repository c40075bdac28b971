"""Trackers whose points do not influence each other: groups of points give the gradients of all at once, and the loss
is that of a plain second implementation of the papers'."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tapkit.models.locotrack.network import SMALL, Estimate, LocoTrackNetwork
from tapkit.models.pips.network2 import Pips2, Pips2Options
from tapkit.models.tapir.network import Tapir, TapirConfig
from tapkit.nn.global_matching import to_unit_range
from tapkit.train.batch import Batch
from tapkit.train.config import Stage
from tapkit.train.locotrack.recipe import LocoTrackTraining
from tapkit.train.pips2.recipe import Pips2Training
from tapkit.train.pips2.settings import Pips2Settings
from tapkit.train.queries import QuerySampling
from tapkit.train.tapir.recipe import TapirTraining
from tapkit.train.tapir.settings import MatchingSettings

FRAMES, POINTS = 5, 5
pytestmark = pytest.mark.usefixtures("float64")


def batch(side: int) -> Batch:
    """One clip; the first point is never queried, the others on frames 0 to 2."""
    generator = torch.Generator().manual_seed(3)
    video = F.interpolate(torch.rand(FRAMES, 3, 9, 9, generator=generator), (side, side), mode="bicubic")
    xy = side * torch.rand(1, POINTS, FRAMES, 2, generator=generator)
    visible = torch.rand(1, POINTS, FRAMES, generator=generator) < 0.6
    visible[0, 0] = False
    for row, start in enumerate((0, 1, 2, 0), 1):
        visible[0, row, :start], visible[0, row, start] = False, True
    return Batch(video.mul(255).clamp(0, 255).byte()[None], xy, visible, torch.ones_like(visible))


def step(training, clip: Batch, side: int) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of a step, and its gradients."""
    stage = Stage(1, side, FRAMES, 1, POINTS)
    training.prepare(stage)
    training.network.zero_grad()
    total = 0.0
    for loss in training.losses(clip, stage, 0):
        total += float(loss.total.detach())
        loss.total.backward()
    return total, {n: p.grad.clone() for n, p in training.network.named_parameters() if p.grad is not None}


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal to 1e-6 of the largest entry of the parameter's gradient; some parameters have none but rounding."""
    assert set(found) == set(expected)
    largest = max(float(value.abs().max()) for value in expected.values())
    for name, value in expected.items():
        assert float((found[name] - value).abs().max()) <= 1e-6 * float(value.abs().max()) + 1e-11 * largest, name


def plain_tapir_loss(xy, occluded, uncertain, truth, visible) -> torch.Tensor:
    """Section 11 of the spec for one estimate, entry by entry."""
    total = torch.zeros(())
    for n in range(len(xy)):
        for t in range(xy.shape[1]):
            label = torch.tensor(float(not visible[n, t]))
            total = total + F.binary_cross_entropy_with_logits(occluded[n, t], label)
            if visible[n, t]:
                error = (xy[n, t] - truth[n, t]).square().sum().sqrt()
                total = total + 0.05 * (0.5 * error**2 if error < 4 else 4 * (error - 2))
                far = (error.detach() > 6).float()
                total = total + F.binary_cross_entropy_with_logits(uncertain[n, t], far)
    return total / visible.numel()


def first_visible(clip: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows of the points that are queried, the frames, the positions."""
    rows = torch.arange(1, POINTS)
    t = clip.visible[0, rows].int().argmax(-1)
    return rows, t, clip.xy[0, rows, t]


def test_a_step_of_tapir_is_the_papers_loss():
    torch.manual_seed(0)
    network = Tapir(TapirConfig(initial_resolution=(64, 64), blocks=2))
    clip = batch(64)
    settings = MatchingSettings(QuerySampling(), points_at_once=3)
    total, found = step(TapirTraining(network, settings), clip, 64)

    network.zero_grad()
    rows, t, at = first_visible(clip)
    maps = network.encode(to_unit_range(clip.video[0]), (64, 64))
    of_query = network.query_features([maps], torch.cat([t[:, None], at / 64], 1))
    start = network.match(maps.lowres, of_query.lowres[0])
    xy = start.xy.clone()
    xy[t, torch.arange(len(t))] = at
    states = [start._replace(xy=xy)]
    states += list(network.refine(states[0], [network.pyramid(maps)], [(64, 64)], of_query))
    assert len(states) == 5
    truth, visible = 4 * clip.xy[0, rows], clip.visible[0, rows]
    loss = sum(
        plain_tapir_loss(4 * s.xy.transpose(0, 1), s.occlusion.T, s.expected_dist.T, truth, visible) for s in states
    )
    loss.backward()
    assert total == pytest.approx(loss.item(), rel=1e-8)
    same(found, {n: p.grad for n, p in network.named_parameters() if p.grad is not None})


class AtOwnSize(LocoTrackTraining):
    """Features of frames as they are, a sixteenth of the work."""

    @property
    def encode(self):
        return lambda frames: self.network.maps(to_unit_range(frames))


def test_a_step_of_locotrack_is_the_papers_loss():
    torch.manual_seed(0)
    network, clip = LocoTrackNetwork(SMALL), batch(64)
    settings = MatchingSettings(QuerySampling(), points_at_once=3)
    total, found = step(AtOwnSize(network, settings, "locotrack-small"), clip, 64)

    network.zero_grad()
    rows, t, at = first_visible(clip)
    maps = network.maps(to_unit_range(clip.video[0]))
    known = torch.cat([t[:, None], 4 * at], 1)
    points = network.point_features(maps, maps, known)
    states = [network.match(maps, points, known)]
    for _ in range(4):
        states.append(network.step(maps, points, Estimate(*(x.detach() for x in states[-1]))))
    truth, visible = 4 * clip.xy[0, rows], clip.visible[0, rows]
    loss = sum(plain_tapir_loss(*state, truth, visible) for state in states)
    loss.backward()
    assert total == pytest.approx(loss.item(), rel=1e-8)
    same(found, {n: p.grad for n, p in network.named_parameters() if p.grad is not None})


def test_a_step_of_pips2_is_the_papers_loss():
    torch.manual_seed(0)
    network, clip = Pips2(Pips2Options(iterations=2, input_size=None)), batch(128)
    network.dtype = torch.float64
    clip = Batch(*(part[:, :4] if part.ndim == 5 else part[:, :, :4] for part in clip))
    clip.xy[0, 4, 3] = float("nan")  # not known: it counts nowhere
    clip.visible[0, 4, 3] = False
    settings = Pips2Settings(iterations=2, disturbed=False, points_at_once=1)
    total, found = step(Pips2Training(network, settings), clip, 128)

    network.zero_grad()
    rows = clip.visible[0, :, 0].nonzero()[:, 0]
    truth = clip.xy[0, rows] - 0.5
    levels = network.encode(clip.video[0].float())
    frames = torch.arange(4).expand(len(rows), -1)
    steps, _ = network.iterate(levels, frames, truth[:, :1].expand(-1, 4, -1) / 8)
    loss = torch.zeros(())
    for n in range(len(rows)):
        known = ~truth[n].isnan().any(-1)
        for i, made in enumerate(steps):
            error = (8 * made.free[n] - truth[n])[known].abs().sum(-1) / 2
            loss = loss + 0.8 ** (1 - i) / 2 * error.sum() / (known.sum() + 1e-6) / len(rows)
    loss.backward()
    assert total == pytest.approx(loss.item(), rel=1e-8)
    same(found, {n: p.grad for n, p in network.named_parameters() if p.grad is not None})


def test_tracks_of_pips2_begin_between_the_truth_and_anywhere_or_without_motion():
    with torch.device("meta"):  # only its rule is asked
        training = Pips2Training(Pips2(Pips2Options(iterations=1, input_size=None)), Pips2Settings())
    truth = torch.full((200, 8, 2), 30.0)
    start = training.start(
        truth, torch.ones(200, 8).bool(), truth[:, 0] - 5, (64, 96), torch.Generator().manual_seed(0)
    )
    assert (start[:, 0] == 25).all() and start.min() >= 0 and start[..., 0].max() < 96 and start[..., 1].max() < 64
    still = (start == 25).all((1, 2))
    assert 70 < still.sum() < 130
    apart = (start[~still, 1:] - 30).norm(dim=-1).mean(1)
    assert apart.min() < 3 and apart.max() > 20
