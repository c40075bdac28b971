"""Motion-based clustering: which points move as one rigid body, explained by a model of bodies seen by a camera.

After Vecerik et al., RoboTAP (arXiv:2308.15975), section III-B and the published description of its clustering. Every
cluster has a motion of four degrees of freedom per frame (turn about the view, and a shift in x, y, z), every point a
place in space for each cluster it may belong to; a point belongs to the cluster that reprojects it best. The number of
clusters grows by splits and then shrinks by deletions; which one is decided by optimising all candidates at once.
A network makes motions smooth in time; it only shapes the optimisation.

Three things are ours, each for a fault that kept the published way from finding bodies on made scenes
(benchmarks/rigid_clusters.py):

- Published, places are learned as well, by Adam, through a network of the points' states. There a place is fitted on
  the cluster alone that the point belongs to: on every other its error is that of a place nobody has fitted, so it
  never moves to where it belongs, and a cluster that could be spared looks needed. Here the motions alone are learned,
  and a point's place is the best one for a cluster's motion, in closed form (variable projection: G. Golub and
  V. Pereyra, SIAM J. Numer. Anal. 1973): every error compares the best that both can do.
- A place far in front of its body or behind it turns a shift of the camera into one of the picture, and so lets one
  body be two; depths within a body cost something.
- Two forks of a cluster that begin as noise has it may follow one body in one demonstration and another in the next,
  and stay so. They begin with the two halves of the cluster's points whose residuals differ most, over all frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tapkit.errors import UsageError

Stage = Literal["split", "delete", "settle"]

_FRAME, _KERNEL = 128, 128
"""Width of the state of a frame, and frames that the smoothing in time spans."""
_DEPTHS = (0.5, 2.0)
"""Depths that make sense, for a focal length of one picture: a body may come four times as near."""
_FLAT = 0.1
"""Weight of a point's own depth, squared, against the squared errors."""


@dataclass(frozen=True)
class RigidOptions:
    """How the model is fitted. The defaults of the numbers of clusters are for small tables, not for kitchens."""

    clusters: int = 7
    """How many there are in the end."""
    most: int = 12
    """How many there are in between. (Published: 25 and 15; its notebook: 12 and 7.)"""
    steps: int = 200
    """Steps of the optimiser between two changes of their number. (Published: 500, but places are learned there.)"""
    points_at_once: int = 2048
    frames_at_once: int = 1024
    """A step uses so many points and frames, chosen at random."""
    rate: float = 0.05
    """Of Adam."""
    degrees: int = 4
    """4, or 6 for free turns in space, which let one body explain several: not recommended."""
    focal: float = 1.0
    """In units of the picture. Wrong for most cameras; the result hardly depends on it."""
    variance: float | None = None
    """None: a point counts for its best cluster alone. A number (1e-4): for all, by their likelihood (EM); helps where
    the former is stuck."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.clusters <= self.most:
            raise UsageError(f"clusters must be from 1 to most={self.most}, got {self.clusters}")
        if self.steps < 1 or self.points_at_once < 1 or self.frames_at_once < 1:
            raise UsageError("steps, points_at_once and frames_at_once must be at least 1")
        if self.degrees not in (4, 6):
            raise UsageError(f"degrees must be 4 or 6, got {self.degrees}")

    @property
    def total(self) -> int:
        """Steps in all."""
        return (2 * self.most - self.clusters) * self.steps


class _Block(nn.Module):
    """A residual block with batch norm on its narrow part."""

    def __init__(self, width: int, inner: int, norm_first: bool) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm = nn.BatchNorm1d(inner, momentum=0.01)
        self.norm_first = norm_first

    def forward(self, x: Tensor) -> Tensor:
        inner = self.down(x)
        inner = self.norm(inner).relu() if self.norm_first else self.norm(inner.relu())
        out: Tensor = x + self.up(inner)
        return out


class _FrameStates(nn.Module):
    """A state of every frame, smooth in time within each demonstration."""

    def __init__(self, lengths: list[int], random: torch.Generator) -> None:
        super().__init__()
        self.lengths = lengths
        self.free = nn.Parameter(_truncated((sum(lengths), 64), random))
        self.smooth = nn.Conv1d(64, 64, _KERNEL, groups=64)
        self.norm = nn.BatchNorm1d(64, momentum=0.01)
        self.first = nn.Linear(64, _FRAME)
        self.blocks = nn.Sequential(_Block(_FRAME, 64, False), _Block(_FRAME, 64, False))

    def forward(self) -> Tensor:
        """States [F,128] of all frames."""
        around = (_KERNEL // 2, _KERNEL - 1 - _KERNEL // 2)
        clips = torch.split(self.free, self.lengths)
        parts = [self.smooth(functional.pad(part.T[None], around))[0].T for part in clips]
        states: Tensor = self.blocks(self.first(self.norm(torch.cat(parts))).relu())
        return states


def _truncated(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Standard normal numbers, none beyond two."""
    return nn.init.trunc_normal_(torch.empty(shape), std=1.0, a=-2.0, b=2.0, generator=random)


def _unit(vector: Tensor) -> Tensor:
    return functional.normalize(vector, dim=-1, eps=1e-6)


def orthonormal(raw: Tensor, degrees: int) -> Tensor:
    """Orthonormal [...,3,3] from any [...,3,3]: turns about the view alone (4 degrees of freedom), or free (6).

    All are of one hand, the left one: places are free, and take that up.
    """
    if degrees == 4:
        first = torch.zeros_like(raw[..., 0, :])
        first[..., 2] = 1.0
        second = _unit(raw[..., 1, :] * raw.new_tensor([1.0, 1.0, 0.0]))
    else:
        first = _unit(raw[..., 0, :])
        second = raw[..., 1, :]
        second = _unit(second - (second * first).sum(-1, keepdim=True) * first)
    # What is left of the third row, of that hand, is their product whatever the row was: without a difference of
    # nearly equal numbers.
    return torch.stack([torch.linalg.cross(first, second), second, first], dim=-2)


class _Motions(nn.Module):
    """What gives the clusters' motions, [C,128,3,4] each: base, and two copies for splits."""

    def __init__(self, random: torch.Generator) -> None:
        super().__init__()
        self.parts = nn.ParameterList()
        self._fork(_truncated((1, _FRAME, 3, 4), random), random)

    def _fork(self, base: Tensor, random: torch.Generator) -> None:
        parts = (base, *(base + 1e-6 * torch.randn(base.shape, generator=random) for _ in "12"))
        self.parts = nn.ParameterList([nn.Parameter(part) for part in parts])

    def split(self, which: int, random: torch.Generator) -> None:
        """Replace a cluster by its two forks; all clusters are forked anew."""
        base, first, second = (part.detach() for part in self.parts)
        base = torch.cat([base, second[which : which + 1]])
        base[which] = first[which]
        self._fork(base, random)

    def delete(self, which: int, optimiser: torch.optim.Adam) -> None:
        """Drop a cluster, also from what the optimiser remembers."""
        for number, old in enumerate(list(self.parts)):
            keep = torch.arange(len(old)) != which
            fresh = nn.Parameter(old.detach()[keep])
            memory = optimiser.state.pop(old, {})
            if memory:
                optimiser.state[fresh] = {k: v[keep] if v.shape == old.shape else v for k, v in memory.items()}
            group = optimiser.param_groups[0]["params"]
            group[next(i for i, each in enumerate(group) if each is old)] = fresh
            self.parts[number] = fresh


class _Model:
    """Tracks, and the bodies that are to explain them."""

    def __init__(self, xy: Tensor, visible: Tensor, lengths: list[int], options: RigidOptions) -> None:
        self.random = torch.Generator().manual_seed(options.seed)
        self.options = options
        self.frames = _FrameStates(lengths, self.random)
        self.motions = _Motions(self.random)
        seen = visible.T
        x, y = (torch.where(visible, xy[..., axis], 0).T / options.focal for axis in (0, 1))
        self.observed = torch.stack([seen.to(xy), x, y, x * x + y * y])
        """[4,F,N]: visible or not, x, y and the square of their length; 0 where it is not."""

    def sample(self) -> tuple[Tensor | slice, Tensor | slice]:
        """Frames and points that a step uses."""
        sizes = (self.options.frames_at_once, self.options.points_at_once)
        counts = self.observed.shape[1:]
        few = (torch.randperm(n, generator=self.random)[:size] for n, size in zip(counts, sizes, strict=True))
        frames, points = (slice(None) if n <= size else part for n, size, part in zip(counts, sizes, few, strict=True))
        return frames, points

    def errors(self, observed: Tensor, frames: Tensor | slice, forks: bool) -> list[Tensor]:
        """Squared errors [C,p], summed over the frames: of the base and, if asked for, of both forks.

        `observed` [4,f,p]: of those frames.
        """
        parts = list(self.motions.parts)[: 3 if forks else 1]
        raw = self._raw(torch.cat(parts), frames)
        if raw.requires_grad:
            raw.register_hook(lambda slope: slope.clamp(-100, 100))  # type: ignore[no-untyped-call]
        errors, _ = errors_of(raw, observed, self.options.degrees)
        return list(errors.chunk(len(parts)))

    def _raw(self, motions: Tensor, frames: Tensor | slice) -> Tensor:
        """Motions [C,f,3,4] before they are made rotations."""
        return torch.einsum("fk,ckij->cfij", 0.01 * self.frames()[frames], motions)

    @torch.no_grad()
    def sides(self) -> Tensor:
        """On which side of its cluster each point is, bool [N]: by the sign of its residuals along the direction in
        which those of the cluster's points differ most.

        The direction is one of all frames together. Forks that part as noise has it follow one body in one
        demonstration and another one in the next, each of them, and never come out of that.
        """
        raw = self._raw(self.motions.parts[0], slice(None))
        errors, places = errors_of(raw, self.observed, self.options.degrees)
        own, out = errors.argmin(0), torch.zeros(errors.shape[1], dtype=torch.bool)
        for cluster in range(len(raw)):
            points = (own == cluster).nonzero()[:, 0]
            if len(points) < 2:
                continue
            residual = _residuals(
                raw[cluster], places[cluster, points], self.observed[..., points], self.options.degrees
            )
            direction = torch.linalg.eigh(residual @ residual.T)[1][:, -1]
            out[points] = direction > 0
        return out


def errors_of(raw: Tensor, observed: Tensor, degrees: int) -> tuple[Tensor, Tensor]:
    """Squared errors [C,p] of points whose places are the best for each cluster's motion, and these places (X, 1)
    [C,p,4].

    A point at X is seen at x = (R1 X + t1) / d and y = (R2 X + t2) / d, d = R3 X + t3 + 1. Times d / d0, with d0
    the depth of the cluster's origin, both are linear in X: (A - x C) (X, 1) / d0 = 0 with A = (R1, t1) and
    C = (R3, t3 + 1). Their squares are a quadratic form in (X, 1), whose sums over the frames are products of matrices.

    Args:
        raw: motions [C,f,3,4] before they are made rotations.
        observed: [4,f,p], see `_Model`, in units of the focal length.
        degrees: of freedom, 4 or 6.
    """
    rows, depth, outside = _projection(raw, degrees)
    across, down, ahead = rows.unbind(-2)  # [C,f,4]
    ahead_across, ahead_down = _outer(ahead, across), _outer(ahead, down)
    terms = torch.stack(
        [
            _outer(across, across) + _outer(down, down),
            -(ahead_across + ahead_across.mT),
            -(ahead_down + ahead_down.mT),
            _outer(ahead, ahead),
        ],
        dim=1,
    )  # [C,4,f,4,4]
    row, column = torch.triu_indices(4, 4)
    upper = (terms / depth.square()[:, None, :, None, None])[..., row, column]  # [C,4,f,10]
    clusters, frames = raw.shape[:2]
    sums = upper.permute(0, 3, 1, 2).reshape(clusters * 10, 4 * frames) @ observed.flatten(0, 1)
    form = sums.reshape(clusters, 10, -1).mT  # [C,p,10]
    seen = (1 / depth.square()) @ observed[0]
    with torch.no_grad():  # at the best place the slope is that with the place held
        place = _places(form, seen, row, column)
    twice = torch.where(row == column, 1.0, 2.0)
    errors = (form * place[..., row] * place[..., column] * twice).sum(-1)
    flat = _FLAT * seen * place[..., 2].square()
    return errors.clamp(min=0) + flat + (2 * 0.1**2 * outside.square()) @ observed[0], place


def _projection(raw: Tensor, degrees: int) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices [...,3,4] that take (X, 1) to the picture, depths of the origin [...], and how far these make no sense.

    What makes no sense is made to hurt: published, by noise on the errors, whose mean is taken here.
    """
    nearest, farthest = _DEPTHS
    depth = raw[..., 2, 3] + 1
    outside = (nearest - depth).clamp(min=0) + (depth - farthest).clamp(min=0)
    depth = depth.clamp(nearest, farthest)
    shift = torch.stack([raw[..., 0, 3], raw[..., 1, 3], depth], -1)
    return torch.cat([orthonormal(raw[..., :3], degrees), shift[..., None]], -1), depth, outside


def _residuals(raw: Tensor, places: Tensor, observed: Tensor, degrees: int) -> Tensor:
    """What a cluster's motion [F,3,4] leaves of its points: [p,2F] for places [p,4] and observed [4,F,p]."""
    seen, x, y, _ = observed
    rows, depth, _ = _projection(raw, degrees)
    u, v, d = torch.einsum("fij,pj->ifp", rows, places) / depth[:, None]
    return torch.cat([u * seen - x * d, v * seen - y * d]).T


def _outer(first: Tensor, second: Tensor) -> Tensor:
    return first[..., :, None] * second[..., None, :]


def _places(form: Tensor, seen: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Places (X, 1) [C,p,4] that make the quadratic form [C,p,10] least; X = 0 where nothing is known."""
    whole = form.new_zeros(*form.shape[:2], 4, 4)
    whole[..., row, column] = form
    whole[..., column, row] = form
    ridge = torch.diag_embed(seen[..., None] * form.new_tensor([1e-6, 1e-6, _FLAT]) + 1e-6)
    place = torch.linalg.solve(whole[..., :3, :3] + ridge, -whole[..., :3, 3])
    return torch.cat([place, torch.ones_like(place[..., :1])], -1)


def _best(errors: Tensor, seen: Tensor, variance: float | None) -> Tensor:
    """Loss of every candidate: errors [K,C,p] of its clusters -> [K]."""
    if variance is None:
        return errors.amin(1).sum(1) / seen
    scaled = -errors / variance
    with torch.no_grad():  # how large each cluster is
        share = torch.full(errors.shape[:2], 1 / errors.shape[1])
        for _ in range(3):
            share = functional.softmax(scaled + share.clamp(min=1e-9).log()[..., None], dim=1).mean(2)
    return -(variance / seen) * torch.logsumexp(scaled + share.clamp(min=1e-9).log()[..., None], dim=1).sum(1)


def _candidates(errors: list[Tensor], splitting: bool) -> Tensor:
    """Errors of the clusters if one of them were split (or deleted), for each of them: [K,C',p]."""
    base = errors[0]
    count = len(base)
    without = base[None].expand(count, -1, -1).masked_fill(torch.eye(count, dtype=torch.bool)[..., None], torch.inf)
    if not splitting:
        return without
    return torch.cat([without, errors[1][:, None], errors[2][:, None]], dim=1)


def _of_one(candidates: Tensor) -> Tensor:
    """`masked_fill` with infinity has no slope where it is not the least; for sums of exponents it is left out."""
    return candidates.nan_to_num(posinf=1e6)


def cluster_rigid(
    xy: np.ndarray,
    visible: np.ndarray,
    lengths: list[int],
    options: RigidOptions | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> np.ndarray:
    """Clusters of tracks [N] int64 from 0.

    Args:
        xy: [N,F,2] in units of the picture (x by its width, y by its height), demonstrations one after the other.
        visible: [N,F] bool.
        lengths: frames of each demonstration; their sum is F.
        progress: called with steps done and steps in all.
    """
    options = options or RigidOptions()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)  # the network begins with numbers from there, too
        model = _Model(torch.from_numpy(xy).float(), torch.from_numpy(visible), lengths, options)
        _fit(model, progress)
    with torch.no_grad():
        return model.errors(model.observed, slice(None), forks=False)[0].argmin(0).numpy()


def _fit(model: _Model, progress: Callable[[int, int], object] | None) -> None:
    """Splits until there are enough clusters, then deletions until there are as few as wanted, which then settle."""
    options = model.options
    optimiser, done, count = _optimiser(model), 0, 1
    stages: list[Stage] = ["split"] * (options.most - 1) + ["delete"] * (options.most - options.clusters) + ["settle"]
    for stage in stages:
        average: Tensor | None = None
        sides = model.sides() if stage == "split" else None
        for step in range(options.steps):
            halvings = sum(done >= share * options.total for share in (0.25, 0.5, 0.75))
            optimiser.param_groups[0]["lr"] = options.rate * min(1.0, (step + 1) / 20) * 0.5**halvings
            losses = _step(model, optimiser, stage, sides if step < options.steps // 2 else None)
            average = losses if average is None else 0.9 * average + 0.1 * losses
            done += 1
            if progress is not None:
                progress(done, options.total)
        assert average is not None
        which = int(average.argmin())
        if stage == "split":
            model.motions.split(which, model.random)
            optimiser = _optimiser(model)
            count += 1
        elif stage == "delete":
            model.motions.delete(which, optimiser)
            count -= 1


def _optimiser(model: _Model) -> torch.optim.Adam:
    parameters = [*model.frames.parameters(), *model.motions.parameters()]
    return torch.optim.Adam(parameters, lr=model.options.rate, betas=(0.9, 0.99))


def _step(model: _Model, optimiser: torch.optim.Adam, stage: Stage, sides: Tensor | None) -> Tensor:
    """One step on a random part of the tracks; returns the loss of each candidate [C], or [1] where there is none.

    `sides` [N] bool: which of two forks a point belongs to; None: the better one.
    """
    frames, points = model.sample()
    observed = model.observed[:, frames][:, :, points]
    errors = model.errors(observed, frames, forks=stage == "split")
    if sides is not None:
        errors[1:] = [e.masked_fill(sides[points] == bool(k), torch.inf) for k, e in enumerate(errors[1:])]
    candidates = errors[0][None] if stage == "settle" else _of_one(_candidates(errors, stage == "split"))
    losses = _best(candidates, observed[0].sum().clamp(min=1), model.options.variance)
    if sides is not None:
        loss = losses.mean()  # all forks part
    elif stage == "delete":  # those that may be deleted before the end, and three more
        loss = losses.sort().values[: len(losses) - model.options.clusters + 3].mean()
    else:
        loss = losses.min()
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    every = [p for group in optimiser.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(every, 1e-3)
    optimiser.step()
    return losses.detach()
