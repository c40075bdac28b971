"""The best path of each point through the whole clip, by dynamic programming, with a state for being hidden.

On each frame a point is where the first run has it, or where its surroundings carried it, or hidden. What speaks for
each is added up over the clip, less what it costs to go from one to another; the best path and the best ones through
every other state come from one pass forwards and one backwards (A. Viterbi, IEEE Trans. Information Theory, 1967; the
best path through each state: max-marginals). The weights were set by hand; docs/models/strand-clip.md says on what.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.constants import constant_like
from tapkit.models.base import Prediction, Size
from tapkit.models.strand.frame_motion import moved, near_frame, unit_of

RUN, CARRIED, HIDDEN = range(3)
"""The states."""
LONGEST = 24.0
"""Pixels of a frame of 256x256 (of that many pixels, whatever its shape): a longer step is a jump."""
NEAR = 8.0
"""And so near an answer is right, for the confidence."""


class Seen(NamedTuple):
    """All that is known of N points on T frames."""

    places: Tensor
    """[N,T,2,2] by the first run, and carried by the surroundings."""
    sure: Tensor
    """[N,T] P(visible) P(right) of the first run."""
    likely: Tensor
    """[N,T] `runs.First.likely`."""
    refuted: Tensor
    """[N,T] bool, `verified.Verdict`."""
    confirmed: Tensor
    """[N,T] bool."""
    fits_first: Tensor
    """[N,T] how well the query's pixels fit where the first run has the point."""
    fits_carried: Tensor
    """[N,T] and where the surroundings carried it."""


class Paths(NamedTuple):
    """What dynamic programming yields."""

    weights: Tensor
    """[N,T,3] the best path through each state, less the best of all: 0 on the best path."""
    guess: Tensor
    """[N,T,2] where a point is if it is hidden: where it was seen last, carried on."""


def evidence(seen: Seen, unit: float) -> Tensor:
    """What speaks for each place rather than for being hidden [N,T,2], about as log odds."""
    apart = (seen.places[:, :, RUN] - seen.places[:, :, CARRIED]).square().sum(-1).sqrt()
    # The warped pixels know about rotation; where both places are the same they may answer for it.
    fits = torch.where(apart < 2 * unit, torch.maximum(seen.fits_first, seen.fits_carried), seen.fits_first)
    run = 1.0 + 0.7 * torch.logit(seen.sure.clamp(0.02, 0.98)) + (2 * (fits - 0.5)).clamp(-0.5, 0.5)
    run = run + 0.6 * (seen.likely.clamp(-20, -7) + 7) - 4.0 * seen.refuted + 1.5 * seen.confirmed
    carried = 20 * (seen.fits_carried - 0.75).clamp(-0.3, 0.15) - 1.5
    return torch.stack([run, carried], -1)


def best_paths(seen: Seen, motions: Tensor, t: Tensor, size: Size) -> Paths:
    """Paths from queries on frames t [N] on; `motions` are those of the surroundings."""
    unit = unit_of(size)
    gain = torch.nn.functional.pad(evidence(seen, unit), (0, 1))
    count, frames = t.shape[0], gain.shape[1]
    forwards = gain.new_full((count, frames, 3), -1e6)
    forwards[torch.arange(count, device=t.device), t, RUN] = 0
    costs = gain.new_zeros(count, frames, 3, 3)
    guess = seen.places[:, :, RUN].clone()
    for frame in range(1, frames):
        before = torch.cat([seen.places[:, frame - 1], guess[:, frame - 1, None]], 1)
        costs[:, frame] = _changes(before, seen.places[:, frame], motions[frame - 1], unit)
        reached, origin = (forwards[:, frame - 1, :, None] - costs[:, frame]).max(1)
        later = t < frame
        forwards[:, frame] = torch.where(later[:, None], reached + gain[:, frame], forwards[:, frame])
        left = before.gather(1, origin[:, HIDDEN, None, None].expand(-1, 1, 2))[:, 0]
        carried_on = near_frame(moved(motions[frame - 1], left), size)
        guess[:, frame] = torch.where(later[:, None], carried_on, guess[:, frame])
    backwards = torch.zeros_like(forwards)
    for frame in range(frames - 1, 0, -1):
        after = backwards[:, frame] + gain[:, frame]
        backwards[:, frame - 1] = (after[:, None] - costs[:, frame]).amax(2)
    weights = forwards + backwards
    return Paths(weights - weights.amax(-1, keepdim=True), guess)


def _changes(before: Tensor, after: Tensor, motion: Tensor, unit: float) -> Tensor:
    """What it costs to go on from `before` [N,3,2], the last one hidden, to `after` [N,2,2] or hidden: [N,3,3]."""
    with_frame = moved(motion, before.flatten(0, 1)).view_as(before)
    step = after - before[:, :HIDDEN]
    # A place moves on as its own kind does, if that is no jump.
    own = torch.where((step.square().sum(-1, keepdim=True) < (LONGEST * unit) ** 2), step, 0.0)
    missed = (before[:, :HIDDEN, None] + own[:, :, None] - after[:, None]).square().sum(-1)
    seen = torch.log1p(missed / (1.5 * unit) ** 2)
    odd = torch.log1p((after - with_frame[:, :HIDDEN]).square().sum(-1) / (10 * unit) ** 2)
    seen = seen + torch.diag_embed(0.5 * odd)
    found = 1.0 + 0.5 * torch.log1p((after - with_frame[:, HIDDEN:]).square().sum(-1) / (6 * unit) ** 2)
    visible = torch.cat([seen, found[:, None]], 1)
    hidden = constant_like([1.0, 1.0, 0.0], visible).expand(len(before), 3)
    return torch.cat([visible, hidden[:, :, None]], 2)


def answers(seen: Seen, paths: Paths, t: Tensor, xy: Tensor, size: Size) -> Prediction:
    """Positions and probabilities of queries t [N], xy [N,2], along the best paths; frames before t mean nothing."""
    unit = unit_of(size)
    state = paths.weights.argmax(-1)
    visible = torch.sigmoid(paths.weights[..., :HIDDEN].amax(-1) - paths.weights[..., HIDDEN])
    places = torch.cat([seen.places, paths.guess[:, :, None]], 2)
    chosen = _along(places, state)
    share = paths.weights.softmax(-1)
    near = (places - chosen[:, :, None]).square().sum(-1) < (NEAR * unit) ** 2
    # A hidden point is where it was not seen: what its place is worth is that of the run, if it is near.
    confidence = (share[..., :HIDDEN] * near[..., :HIDDEN]).sum(-1)
    rows = torch.arange(len(t), device=t.device)
    chosen[rows, t], visible[rows, t], confidence[rows, t] = xy, 1.0, 1.0
    return Prediction(chosen, visible, confidence)


def _along(places: Tensor, state: Tensor) -> Tensor:
    """Positions [N,T,2] of the states [N,T].

    Where a point is hidden: between the places where it was seen before and after, unless the first run has both, which
    then knows better; and after it was seen last, where the first run has it.
    """
    frames = state.shape[1]
    picked = places.gather(2, state[..., None, None].expand(*state.shape, 1, 2))[:, :, 0]
    number = torch.arange(frames, device=state.device)
    shown = state != HIDDEN
    before = torch.where(shown, number, -1).cummax(1).values
    after = torch.where(shown, number, frames).flip(1).cummin(1).values.flip(1)
    known = after < frames
    first, last = before.clamp(min=0), after.clamp(max=frames - 1)
    share = ((number - first) / (last - first).clamp(min=1))[..., None].to(picked.dtype)
    start, end = (picked.gather(1, index[..., None].expand(-1, -1, 2)) for index in (first, last))
    between = torch.lerp(start, end, share)
    run_only = state.gather(1, first) == RUN
    run_only &= ~known | (state.gather(1, last) == RUN)
    run = places[:, :, RUN]
    hidden = torch.where(run_only[..., None], run, torch.where(known[..., None], between, places[:, :, HIDDEN]))
    return torch.where(shown[..., None], picked, hidden)
