"""The last stage: what a point's visibility and confidence are read from, fitted to synthetic clips by itself.

`models.strand.evidence` corrects both answers by a small network whose inputs need no gradients. So clips are tracked
once, without gradients, what it saw and what is true is kept, and the small network is fitted to that in seconds: many
more points than a step of tracking could be learned from, and at the end of a run, when all else stands still
(calibration of a finished network: C. Guo et al., ICML 2017, of which this is the version with inputs).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.errors import UsageError
from tapkit.models.strand.encoder import Maps
from tapkit.models.strand.evidence import UNVERIFIED, Verify
from tapkit.models.strand.network import Network, Points
from tapkit.train.batch import Batch, sample_queries
from tapkit.train.strand.noise import DriftNoise, TemplateDecay
from tapkit.train.strand.rollout import advance, encode_frames
from tapkit.train.strand.settings import StrandSettings

BATCH = 4096
"""Rows of a step of the fit."""


class Seen(NamedTuple):
    """R answers of a tracker, and what was true."""

    numbers: Tensor
    """[R,COUNT] what `Verify` was given."""
    hidden: Tensor
    """[R,hidden], and the state beside it."""
    before: Tensor
    """[R,2] logits of visibility and confidence without the correction."""
    truth: Tensor
    """[R,2] whether the point was visible, and whether the answer was within the confidence's radius: 0 or 1."""
    weight: Tensor
    """[R,2] what the row counts in each."""


class _Recorder(nn.Module):
    """A `Verify` that keeps what it was given and what it said."""

    def __init__(self, inner: Verify) -> None:
        super().__init__()
        self.inner = inner
        self.kept: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, numbers: Tensor, hidden: Tensor) -> Tensor:
        more: Tensor = self.inner(numbers, hidden)
        self.kept = numbers, hidden, more
        return more


@torch.no_grad()
def collect(network: Network, batch: Batch, settings: StrandSettings, seed: int) -> Seen:
    """Track the points of a batch, with the noise of training, and keep every answer whose truth is known.

    Raises `UsageError` for a network without the part that is to be fitted.
    """
    if network.verify is None:
        raise UsageError("this network has no evidence to read visibility from")
    own = network.verify
    recorder = _Recorder(own)
    network.verify = recorder  # type: ignore[assignment]
    try:
        return _collect(network, recorder, batch, settings, seed)
    finally:
        network.verify = own


def _collect(network: Network, recorder: _Recorder, batch: Batch, settings: StrandSettings, seed: int) -> Seen:
    queries = sample_queries(batch.visible & batch.known, torch.Generator().manual_seed(seed))
    count = queries.frame.numel()
    decay = TemplateDecay(settings.template_decay, count, batch.xy.device, seed, settings.feature_noise)
    noise = DriftNoise(settings.drift_noise, count, batch, seed, settings.hard_negatives)
    maps = decay.noisy(encode_frames(network, batch.video))
    scale = 256.0 / max(batch.video.shape[-2:])
    points: Points | None = None
    rows: list[Seen] = []
    for time in range(batch.video.shape[1]):
        here = Maps(*(level[:, time] for level in maps))
        points, step = advance(network, here, points, batch, queries, time, noise)
        points = None if points is None else decay(points)
        if step is None or recorder.kept is None:
            continue
        numbers, hidden, more = recorder.kept
        xy, visible, known = (part[:, :, time].flatten(0, 1) for part in (batch.xy, batch.visible, batch.known))
        placed = torch.isfinite(xy).all(-1)
        right = (step.xy - torch.nan_to_num(xy)).square().sum(-1).sqrt() * scale < settings.confidence_radius
        # What a jump has lowered is not the network's to correct.
        asked = (queries.frame < time).flatten() & known & ~(step.visible == UNVERIFIED)
        weights = torch.stack([asked.float(), (asked & placed).float() * torch.where(visible, 1.0, 0.3)], -1)
        before = torch.stack([step.visible, step.confidence], -1) - more
        truth = torch.stack([visible, right], -1).float()
        rows.append(Seen(*(part[asked].float() for part in (numbers, hidden, before, truth, weights))))
    return _joined(rows)


def _joined(rows: Iterable[Seen]) -> Seen:
    return Seen(*(torch.cat(parts) for parts in zip(*rows, strict=True)))


def fit_visibility(verify: Verify, clips: Iterable[Seen], steps: int = 1500, rate: float = 2e-3) -> tuple[float, float]:
    """Fit `verify` to what was collected. Returns the loss on the last fifth of the clips before and after: these are
    not learned from, and the best state on them is kept."""
    clips = list(clips)
    held = max(len(clips) // 5, 1)
    learned, judged = _joined(clips[:-held]), _joined(clips[-held:])
    optimizer = torch.optim.AdamW(verify.parameters(), lr=rate, weight_decay=1e-2)
    random = torch.Generator().manual_seed(0)
    first = best = float(_loss(verify, judged).detach())
    kept = {name: value.clone() for name, value in verify.state_dict().items()}
    for step in range(steps):
        rows = torch.randint(len(learned.before), (BATCH,), generator=random)
        optimizer.zero_grad()
        _loss(verify, Seen(*(part[rows] for part in learned))).backward()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / steps)
        optimizer.step()
        if step % 50 == 49:
            now = float(_loss(verify, judged).detach())
            if now < best:
                best, kept = now, {name: value.clone() for name, value in verify.state_dict().items()}
    verify.load_state_dict(kept)
    return first, best


def _loss(verify: Verify, seen: Seen) -> Tensor:
    logits = seen.before + verify(seen.numbers, seen.hidden)
    losses = F.binary_cross_entropy_with_logits(logits, seen.truth, reduction="none")
    return ((losses * seen.weight).sum(0) / seen.weight.sum(0).clamp(min=1)).sum()
