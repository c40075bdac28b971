"""Motion-based clustering: which points move as one rigid body, explained by a model of bodies seen by a camera.

After Vecerik et al., RoboTAP (arXiv:2308.15975), section III-B and the published description of its clustering. Every
cluster has a motion of four degrees of freedom per frame (turn about the view, and a shift in x, y, z), every point a
place in space for each cluster it may belong to; a point belongs to the cluster that reprojects it best. The number of
clusters grows by splits and then shrinks by deletions; which one is decided by optimising all candidates at once.
The networks below only shape the optimisation: motions smooth in time, and similar tracks get similar places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tapkit.errors import UsageError

_POINT, _FRAME, _KERNEL = 64, 128, 128
"""Widths of the states of a point and of a frame, and frames that the smoothing in time spans."""


@dataclass(frozen=True)
class RigidOptions:
    """How the model is fitted. The defaults of the numbers of clusters are for small tables, not for kitchens."""

    clusters: int = 7
    """How many there are in the end."""
    most: int = 12
    """How many there are in between. (Published: 25 and 15; its notebook: 12 and 7.)"""
    steps: int = 500
    """Steps of the optimiser between two changes of their number."""
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
        return max(2 * self.most - self.clusters - 1, 1) * self.steps


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


class _PointStates(nn.Module):
    """A state of every point, from a free vector and from how like its track is to some tracks."""

    def __init__(self, xy: Tensor, visible: Tensor, random: torch.Generator) -> None:
        super().__init__()
        count = min(384, len(xy))
        chosen = torch.randperm(len(xy), generator=random)[:count]
        self.free = nn.Parameter(torch.zeros(len(xy), _POINT))
        self.centroids = nn.Parameter(xy[chosen].clone())
        self.weights = nn.Parameter(visible[chosen].clone())
        self.mix = nn.Linear(count, _POINT)
        self.norm = nn.BatchNorm1d(_POINT, momentum=0.01)
        self.first = nn.Linear(_POINT, _POINT)
        self.blocks = nn.Sequential(_Block(_POINT, 32, True), _Block(_POINT, 32, True))

    def forward(self, points: Tensor, frames: Tensor, xy: Tensor, visible: Tensor) -> Tensor:
        """States [p,64] of some points; `xy` [p,f,2] and `visible` [p,f] are theirs on some frames."""
        weights, centroids = self.weights[:, frames].abs(), self.centroids[:, frames]
        masked = xy * visible[..., None]
        total = visible @ weights.T + 1e-6
        squares = (masked * xy).sum(-1) @ weights.T + visible @ (weights * centroids.square().sum(-1)).T
        cross = masked.flatten(1) @ (weights[..., None] * centroids).flatten(1).T
        near = functional.softmax(-10 * (squares - 2 * cross) / total, dim=1)
        x = self.norm(self.free[points] + self.mix(near))
        states: Tensor = self.blocks(self.first(x).relu())
        return states


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


class _Bodies(nn.Module):
    """Places of all points on all clusters, and what gives the clusters' motions: base, and two copies for splits."""

    def __init__(self, points: int, random: torch.Generator) -> None:
        super().__init__()
        places, motions = _truncated((1, points, 3, _POINT), random), _truncated((1, _FRAME, 3, 4), random)
        forked = [(places, motions), *((_near(places, random), _near(motions, random)) for _ in "12")]
        self.places = nn.ParameterList([nn.Parameter(p) for p, _ in forked])
        self.motions = nn.ParameterList([nn.Parameter(m) for _, m in forked])

    def split(self, which: int, random: torch.Generator) -> None:
        """Replace a cluster by its two forks; all clusters are forked anew."""
        for parts in (self.places, self.motions):
            base, first, second = (part.detach() for part in parts)
            base = torch.cat([base, second[which : which + 1]])
            base[which] = first[which]
            for number, value in enumerate((base, _near(base, random), _near(base, random))):
                parts[number] = nn.Parameter(value)

    def delete(self, which: int, optimiser: torch.optim.Adam) -> None:
        """Drop a cluster, also from what the optimiser remembers."""
        for parts in (self.places, self.motions):
            for number, old in enumerate(list(parts)):
                keep = torch.arange(len(old)) != which
                fresh = nn.Parameter(old.detach()[keep])
                memory = optimiser.state.pop(old, {})
                if memory:
                    optimiser.state[fresh] = {k: v[keep] if v.shape == old.shape else v for k, v in memory.items()}
                group = optimiser.param_groups[0]["params"]
                group[next(i for i, each in enumerate(group) if each is old)] = fresh
                parts[number] = fresh


def _near(value: Tensor, random: torch.Generator) -> Tensor:
    return value + 1e-6 * torch.randn(value.shape, generator=random)


class _Model:
    """Tracks, and the bodies that are to explain them."""

    def __init__(self, xy: Tensor, visible: Tensor, lengths: list[int], options: RigidOptions) -> None:
        self.random = torch.Generator().manual_seed(options.seed)
        self.xy, self.visible, self.options = xy, visible, options
        self.points = _PointStates(xy, visible, self.random)
        self.frames = _FrameStates(lengths, self.random)
        self.bodies = _Bodies(len(xy), self.random)

    def errors(self, points: Tensor, frames: Tensor, forks: bool, noisy: bool) -> list[Tensor]:
        """Squared errors [C,p], summed over the frames: of the base and, if asked for, of both forks."""
        xy, visible = self.xy[points][:, frames], self.visible[points][:, frames]
        state = self.points(points, frames, xy, visible)
        motion = 0.01 * self.frames()[frames]
        found = []
        for number in range(3 if forks else 1):
            place = 0.01 * torch.einsum("cpik,pk->cip", self.bodies.places[number][:, points], state)
            raw = torch.einsum("fk,ckij->cfij", motion, self.bodies.motions[number])
            if raw.requires_grad:
                raw.register_hook(lambda slope: slope.clamp(-100, 100))  # type: ignore[no-untyped-call]
            found.append(self._error(place, raw, xy, visible, noisy))
        return found

    def _error(self, place: Tensor, raw: Tensor, xy: Tensor, visible: Tensor, noisy: bool) -> Tensor:
        """Of clusters with places [C,3,p] and motions [C,f,3,4] before they are made rotations: [C,p]."""
        rotation = orthonormal(raw[..., :3], self.options.degrees)
        clusters, frames = raw.shape[:2]
        moved = torch.bmm(rotation.reshape(clusters, frames * 3, 3), place).reshape(clusters, frames, 3, -1)
        x, y, z = (moved + raw[..., 3:]).unbind(2)  # each [C,f,p]
        depth = (z + 1).clamp(0.5, 2)
        if noisy:  # depths that make no sense are made to hurt
            outside = (z - 2).clamp(min=0) + (0.5 - z).clamp(min=0)
            noise = 0.1 * torch.randn(z.shape, generator=self.random) * outside
        else:
            noise = torch.zeros(())
        u = self.options.focal * x / depth + noise - xy[..., 0].T
        v = self.options.focal * y / depth + noise - xy[..., 1].T
        return ((u * u + v * v) * visible.T).sum(1)


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
        torch.manual_seed(options.seed)  # the networks begin with numbers from there, too
        model = _Model(torch.from_numpy(xy).float(), torch.from_numpy(visible).float(), lengths, options)
        _fit(model, progress)
    everything = torch.arange(len(xy)), torch.arange(xy.shape[1])
    for part in (model.points, model.frames):
        part.eval()
    with torch.no_grad():
        return model.errors(*everything, forks=False, noisy=False)[0].argmin(0).numpy()


def _fit(model: _Model, progress: Callable[[int, int], object] | None) -> None:
    """Splits until there are enough clusters, then deletions until there are as few as wanted."""
    options = model.options
    optimiser, total, done = _optimiser(model), options.total, 0
    count, splitting = 1, options.most > 1
    while splitting or count > options.clusters:
        average: Tensor | None = None
        for step in range(options.steps):
            halvings = sum(done >= share * total for share in (0.25, 0.5, 0.75))
            optimiser.param_groups[0]["lr"] = options.rate * min(1.0, (step + 1) / 20) * 0.5**halvings
            losses = _step(model, optimiser, splitting)
            average = losses if average is None else 0.9 * average + 0.1 * losses
            done += 1
            if progress is not None:
                progress(done, total)
        assert average is not None
        which = int(average.argmin())
        if splitting:
            model.bodies.split(which, model.random)
            optimiser = _optimiser(model)
            count += 1
            splitting = count < options.most
        else:
            model.bodies.delete(which, optimiser)
            count -= 1


def _optimiser(model: _Model) -> torch.optim.Adam:
    parameters = [p for part in (model.points, model.frames, model.bodies) for p in part.parameters()]
    return torch.optim.Adam(parameters, lr=model.options.rate, betas=(0.9, 0.99))


def _step(model: _Model, optimiser: torch.optim.Adam, splitting: bool) -> Tensor:
    """One step on a random part of the tracks; returns the loss of each candidate [C]."""
    options = model.options
    count, length = model.visible.shape
    points = torch.randperm(count, generator=model.random)[: options.points_at_once]
    frames = torch.randperm(length, generator=model.random)[: options.frames_at_once]
    candidates = _candidates(model.errors(points, frames, forks=splitting, noisy=True), splitting)
    seen = model.visible[points][:, frames].sum().clamp(min=1)
    losses = _best(_of_one(candidates), seen, options.variance)
    if splitting:
        loss = losses.min()
    else:  # those that may be deleted before the end, and three more
        loss = losses.sort().values[: len(losses) - options.clusters + 3].mean()
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    every = [p for group in optimiser.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(every, 1e-3)
    optimiser.step()
    return losses.detach()
