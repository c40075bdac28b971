"""Sub-pixel refinement: every position is aligned again to the patch around its point on the frame it was asked for.

Trackers work at some 256 to 512 pixels, so their noise in a large frame is several pixels. Here a patch of the
full-size frame is matched to the reference patch, in the shape that the points around it say it has taken (an affine
map), by the inverse compositional form of Lucas and Kanade's method (S. Baker and I. Matthews, IJCV 2004), with
contrast and brightness made equal. A position is moved only if the patches are alike afterwards and it has not moved
far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tapkit import registry
from tapkit.errors import ShapeError, UsageError
from tapkit.types import Tracks
from tapkit.video.base import Source
from tapkit.video.using import using

ALIKE = 0.85
"""Least normalised cross-correlation of the patches."""
FARTHEST = 3.0
"""Pixels, at the scale that the tracker works at, by which a position may move."""
STEPS = 12
ROUNDS = 2
"""The shapes of the patches come from the points themselves: refined ones say them better."""
NEAREST = 12
"""Points around a point that say how its patch is turned and stretched."""
LONGEST_STEP = 2.0
_SAMPLES = 2_000_000
"""Places that are read at a time."""


@dataclass(frozen=True)
class RefineOptions:
    """How positions are refined."""

    radius: int = 10
    """A patch has (2 radius + 1)^2 pixels: 10 to 20 are usual."""
    alike: float = ALIKE
    farthest: float | None = None
    """Pixels of the video; None: 3 pixels at the scale that the tracker works at, 3 of the video at least."""

    def __post_init__(self) -> None:
        if not 2 <= self.radius <= 60:
            raise UsageError(f"a patch has a radius of 2 to 60 pixels, got {self.radius}")
        if not 0 <= self.alike <= 1:
            raise UsageError(f"alike is a correlation of 0 to 1, got {self.alike}")


def refine_tracks(
    tracks: Tracks,
    video: Any = None,
    options: RefineOptions | None = None,
    report: Callable[[int, int | None], object] | None = None,
) -> Tracks:
    """Tracks whose visible positions are refined against the patches of their query frames; see the module.

    Args:
        tracks: of any tracker.
        video: the video that was tracked; None: the one that the tracks name.
        options: how.
        report: called with (frames done, frames in all).

    Positions that a human set, and those whose patches are not alike, stay as they are. The change is noted in
    `source.options["edits"]`. Raises `ShapeError` for another video, `UsageError` where none is known.
    """
    options = options or RefineOptions()
    if video is None:
        from tapkit.video.span import footage_of

        video = footage_of(tracks.video)
    with using(video) as source:
        if source.info.size != tracks.video.size or source.info.frames != tracks.frames:
            raise ShapeError(
                f"the tracks are of {tracks.frames} frames of {tracks.video.width}x{tracks.video.height}, the video "
                f"has {source.info.frames} of {source.info.width}x{source.info.height}"
            )
        return _Refiner(tracks, options).run(source, report)


class _Refiner:
    def __init__(self, tracks: Tracks, options: RefineOptions) -> None:
        self.tracks, self.options = tracks, options
        self.farthest = options.farthest or FARTHEST * max(_scale(tracks), 1.0)
        self.seen = tracks.visible_at() & np.isfinite(tracks.xy).all(-1)
        human = tracks.keyframe if tracks.keyframe is not None else np.zeros_like(self.seen)
        self.movable = self.seen & ~human
        asked = tracks.queries.t
        self.movable[np.arange(len(asked)), asked] = False
        self.xy = np.array(tracks.xy)
        """[N,T,2], refined so far."""
        self.start = np.asarray(tracks.queries.xy, np.float64)
        self.near = _neighbours(tracks, self.seen)
        ticks = torch.arange(-options.radius, options.radius + 1, dtype=torch.float32)
        self.offsets = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(-1, 2)

    def run(self, source: Source, report: Callable[[int, int | None], object] | None) -> Tracks:
        patches = self._patches(source)
        count = 0
        for frame in source.frames():
            rows = np.flatnonzero(self.movable[:, frame.index] & patches.usable)
            if len(rows):
                count += self._frame(_grey(frame.image), patches, rows, frame.index)
            if report is not None:
                report(frame.index + 1, self.tracks.frames)
        edit = {"refine": self.options.radius, "positions": count}
        made = self.tracks.source
        options = {**made.options, "edits": [*made.options.get("edits", []), edit]}
        return self.tracks.with_(xy=self.xy, source=replace(made, options=options))

    def _frame(self, grey: torch.Tensor, patches: _Patches, rows: np.ndarray, t: int) -> int:
        """Refine the positions of one frame; how many were moved."""
        at_once = max(_SAMPLES // len(self.offsets), 1)
        parts = [rows[begin : begin + at_once] for begin in range(0, len(rows), at_once)]
        given = self.tracks.xy
        for _ in range(ROUNDS):
            found = [self._align(grey, patches, part, t) for part in parts]
            for part, (moved, accepted) in zip(parts, found, strict=True):
                self.xy[part, t] = np.where(accepted[:, None], moved, given[part, t])
        return sum(int(accepted.sum()) for _, accepted in found)

    def _patches(self, source: Source) -> _Patches:
        """The reference patches of all points, each on its query frame."""
        count, size = len(self.tracks), len(self.offsets)
        out = _Patches(torch.zeros(count, size), torch.zeros(count, 2, size), np.zeros(count, bool))
        for frame in np.unique(self.tracks.queries.t).tolist():
            grey = _grey(source.read(int(frame)).image)
            rows = np.flatnonzero(self.tracks.queries.t == frame)
            places = torch.from_numpy(self.start[rows]).float()[:, None] + self.offsets
            right, below = torch.tensor([0.5, 0.0]), torch.tensor([0.0, 0.5])
            template, spread = _centred(_read(grey, places))
            slopes = torch.stack(
                [_read(grey, places + step) - _read(grey, places - step) for step in (right, below)], 1
            )
            slopes = slopes - slopes.mean(-1, keepdim=True)
            out.template[rows], out.slopes[rows] = template / spread, slopes / spread[:, None]
            height, width = source.info.size
            inside = ((self.start[rows] >= 0) & (self.start[rows] <= (width, height))).all(1)
            structure = torch.einsum("nik,njk->nij", out.slopes[rows], out.slopes[rows])
            firm = torch.linalg.eigvalsh(structure)[:, 0].numpy() > 1e-4 * size
            out.usable[rows] = inside & firm & (spread[:, 0].numpy() > 1.5)
        return out

    def _align(self, grey: torch.Tensor, patches: _Patches, rows: np.ndarray, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Refined positions [n,2] of some points on a frame, and which of them are accepted [n] bool."""
        shape = torch.from_numpy(self._shapes(rows, t)).float()
        given = torch.from_numpy(np.asarray(self.tracks.xy[rows, t], np.float32))
        begin = torch.from_numpy(self.xy[rows, t])
        template, slopes = patches.template[rows], patches.slopes[rows]
        size = template.shape[1]
        structure = torch.einsum("nik,njk->nij", slopes, slopes) + 1e-4 * size * torch.eye(2)
        gain = torch.linalg.solve(structure, slopes)
        around = torch.einsum("nij,kj->nki", shape, self.offsets)
        at = begin.clone()
        for _ in range(STEPS):
            found, spread = _centred(_read(grey, at[:, None] + around))
            step = torch.einsum("nik,nk->ni", gain, found / spread - template)
            move = torch.einsum("nij,nj->ni", shape, step)
            length = move.norm(dim=1, keepdim=True).clamp(min=1e-9)
            at = at - move * (LONGEST_STEP / length).clamp(max=1)
            if float(length.max()) < 0.003:
                break
        found, spread = _centred(_read(grey, at[:, None] + around))
        alike = (found / spread * template).mean(1)
        shift = (at - given).norm(dim=1)
        height, width = self.tracks.video.size
        within = ((at >= 0) & (at <= torch.tensor([width, height]))).all(1)
        accepted = (alike > self.options.alike) & (shift < self.farthest) & within
        return at.numpy(), accepted.numpy()

    def _shapes(self, rows: np.ndarray, t: int) -> np.ndarray:
        """[n,2,2]: how the surroundings of each point are turned and stretched since its query frame."""
        near = self.near[rows]  # [n,k]
        asked = self.tracks.queries.t[rows]
        before = self.xy[near, asked[:, None]].astype(np.float64)
        after = self.xy[near, t].astype(np.float64)
        known = self.seen[near, t] & self.seen[near, asked[:, None]] & (near != rows[:, None])
        a = np.where(known[..., None], before - self.start[rows][:, None], 0)
        b = np.where(known[..., None], after - self.xy[rows, t][:, None], 0)
        out = np.tile(np.eye(2), (len(rows), 1, 1))
        weight = known.astype(float)
        for _ in range(4):  # Huber weights against single neighbours on another surface
            w = weight[..., None]
            scatter = np.einsum("nki,nkj->nij", a * w, a) + 1e-6 * np.eye(2)
            across = np.einsum("nki,nkj->nij", b * w, a)
            values = np.linalg.eigvalsh(scatter)
            fine = (known.sum(1) >= 4) & (values[:, 0] > 1e-2 * values[:, 1])
            found = across @ np.linalg.inv(scatter)
            out[fine] = found[fine]
            residual = np.linalg.norm(b - np.einsum("nij,nkj->nki", out, a), axis=-1)
            weight = np.where(known, np.minimum(1, 1.0 / np.maximum(residual, 1e-6)), 0)
        scale = np.sqrt(np.abs(np.linalg.det(out)))
        wild = (scale < 0.25) | (scale > 4) | (np.linalg.det(out) <= 0)
        out[wild] = np.eye(2)
        return out


@dataclass(frozen=True, eq=False)
class _Patches:
    template: torch.Tensor
    """[N,K], mean 0, spread 1."""
    slopes: torch.Tensor
    """[N,2,K], of the template."""
    usable: np.ndarray
    """[N] bool: patches with something to hold on to."""


def _neighbours(tracks: Tracks, seen: np.ndarray) -> np.ndarray:
    """Rows of the points nearest to each on its query frame [N,k]."""
    count = len(tracks)
    k = min(NEAREST + 1, count)
    out = np.zeros((count, k), np.int64)
    for frame in np.unique(tracks.queries.t).tolist():
        rows = np.flatnonzero(tracks.queries.t == frame)
        there = np.where(seen[:, frame, None], tracks.xy[:, frame], 1e6).astype(np.float64)
        square = ((there[None] - tracks.queries.xy[rows][:, None].astype(np.float64)) ** 2).sum(-1)
        out[rows] = np.argpartition(square, k - 1, 1)[:, :k]
    return out


def _scale(tracks: Tracks) -> float:
    """Pixels of the video for one pixel of what the tracker looks at."""
    cards = registry.cards()
    card = cards.get(tracks.source.model)
    longest = tracks.source.options.get("longest") if card is not None else None
    if card is not None and card.input_size is not None:
        return max(tracks.video.width / card.input_size[1], tracks.video.height / card.input_size[0])
    if isinstance(longest, (int, float)) and longest > 0:
        return max(tracks.video.size) / float(longest)
    return 1.0


def _grey(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).float().mean(-1)[None, None]


def _read(grey: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Bicubic samples of [1,1,H,W] at places [n,K,2] -> [n,K]."""
    height, width = grey.shape[2:]
    grid = places * torch.tensor([2 / width, 2 / height]) - 1
    return F.grid_sample(grey, grid[None], mode="bicubic", padding_mode="border", align_corners=False)[0, 0]


def _centred(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values [n,K] without their means, and their standard deviations [n,1] (at least a little)."""
    centred = values - values.mean(-1, keepdim=True)
    return centred, centred.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-3)
