"""A cache of synthetic clips on disk, cropped into batches: for processors that synthesise more slowly than they learn.

A clip is used many times, each time another crop in space and time, flipped, transposed, reversed or at twice the
speed, with another exposure. Clip i is synthesised from i alone when it is first needed, so that a resumed run finds
the same clips.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from tapkit import storage
from tapkit.errors import StorageError, UsageError
from tapkit.train.augment import affine_views, augment_clip, photometric_jitter, random_exposure
from tapkit.train.batch import VALIDATION_SEEDS, Batch, BatchSource
from tapkit.train.config import ClipCache, Stage
from tapkit.train.sources import bounce

FIRST_SEED = 2 * VALIDATION_SEEDS
"""Of the clips; larger than those of batches and of validation clips."""
SPANS = (4, 8, 16, 32)
"""The frames of a matching batch lie within so many frames of a clip."""
BESIDE = 3.0
"""By so much more often points are drawn in tracking that have a neighbour which goes elsewhere."""
NEIGHBOUR, ELSEWHERE = 12.0, 6.0
"""Pixels: how near it is, and how differently it goes in the course of a piece."""
SWAY = 16
"""Pixels by which the crops of such frames differ."""


class CachedClip(NamedTuple):
    """One clip of the cache."""

    video: np.ndarray
    """[T,S,S,3] uint8, read from disk as needed."""
    xy: np.ndarray
    """[N,T,2]."""
    visible: np.ndarray
    """[N,T]."""


class CachedSource:
    """Crops of the clips of `source`, which are kept in `folder` (4.7 MB for 24 frames of 256x256)."""

    def __init__(self, source: BatchSource, cache: ClipCache, folder: Path, device: torch.device) -> None:
        self.source, self.cache, self.folder, self.device = source, cache, folder, device
        count = f"{cache.clips} and {cache.long} long" if cache.long else f"{cache.clips}"
        self.description = f"crops of {count} {source.description}"

    def batch(self, stage: Stage, seed: int) -> Batch:
        """See `BatchSource.batch`. Each clip's exposure, direction, orientation and crop are drawn from the seed."""
        if seed >= VALIDATION_SEEDS:
            return self.source.batch(stage, seed)
        if stage.height not in (None, stage.size):
            raise UsageError(f"crops of cached clips are squares, not {stage.size}x{stage.height}")
        random = np.random.default_rng(seed)
        crop: Callable[..., Batch] = _frames if stage.task == "matching" else _piece
        numbers = random.choice(self.cache.numbers(stage.frames), size=stage.batch)
        parts = [_flipped(crop(self.clip(int(number)), stage, random), random) for number in numbers]
        augment = _augment_frames if stage.task == "matching" else self._augment_clip
        parts = [augment(part, random) for part in parts]
        return Batch(*(torch.stack(field).to(self.device) for field in zip(*parts, strict=True)))

    def _augment_clip(self, part: Batch, random: np.random.Generator) -> Batch:
        """Augmentation with other clips of the cache."""
        frames, size = len(part.video), part.video.shape[-1]

        def other() -> Tensor:
            clip = self.clip(int(random.integers(self.cache.clips)))
            start, place = random.integers(len(clip.video)), random.integers(0, clip.video.shape[1] - size + 1, 2)
            times = bounce(start + np.arange(frames), len(clip.video))
            piece = clip.video[times, place[1] : place[1] + size, place[0] : place[0] + size]
            return torch.from_numpy(np.ascontiguousarray(piece)).permute(0, 3, 1, 2)

        return augment_clip(part, other, random)

    def clip(self, number: int) -> CachedClip:
        """Clip `number` of the cache, synthesised now if it is not there. Raises `StorageError`."""
        video, tracks = self.folder / f"{number:05d}.npy", self.folder / f"{number:05d}.npz"
        try:
            if not tracks.is_file():
                self._write(number, video, tracks)
            with np.load(tracks) as found:
                return CachedClip(np.load(video, mmap_mode="r"), found["xy"], found["visible"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise StorageError(f"the clip cache in {self.folder} cannot be read or written: {error}") from error

    def _write(self, number: int, video: Path, tracks: Path) -> None:
        cache = self.cache
        speed = cache.speeds[number % len(cache.speeds)]
        crowded = float(cache.is_crowded(number))
        stage = Stage(1, cache.size, cache.length(number), 1, cache.points, speed, cache.solids, crowded)
        new = self.source.batch(stage, FIRST_SEED + number)
        # Another process of the run may be at the same clip: each writes its own file, and tracks come last.
        with storage.atomic(video) as part, open(part, "wb") as file:
            np.save(file, new.video[0].permute(0, 2, 3, 1).contiguous().cpu().numpy())
        with storage.atomic(tracks) as part, open(part, "wb") as file:
            np.savez(file, xy=new.xy[0].cpu().numpy(), visible=new.visible[0].cpu().numpy())


def _frames(clip: CachedClip, stage: Stage, random: np.random.Generator) -> Batch:
    """Frames of a clip in any order, each cropped at a slightly different place, each with its own exposure."""
    length, side = clip.video.shape[:2]
    size = min(stage.size, side)
    span = int(np.clip(random.choice(SPANS), stage.frames, length))
    times = random.integers(length - span + 1) + random.choice(span, stage.frames, replace=False)
    place = random.integers(0, side - size + 1, 2) + random.integers(-SWAY, SWAY + 1, (stage.frames, 2))
    return _crop(clip, times, place.clip(0, side - size), size, stage.points, random, True)


def _augment_frames(part: Batch, random: np.random.Generator) -> Batch:
    """Every frame from another view and with other colours."""
    part = affine_views(part, random)
    video = torch.stack([photometric_jitter(frame, random) for frame in part.video.float()])
    return part._replace(video=video.clamp(0, 255).byte())


def _piece(clip: CachedClip, stage: Stage, random: np.random.Generator) -> Batch:
    """Successive frames, or every second one."""
    length, side = clip.video.shape[:2]
    size, pace = min(stage.size, side), 1
    if 2 * stage.frames - 1 <= length and random.random() < 0.2:
        pace = 2
    first = random.integers(length - pace * (min(stage.frames, length) - 1))
    times = np.arange(first, length, pace)[: stage.frames]
    if len(times) < stage.frames:  # cached clips are shorter: forwards and backwards
        times = bounce(np.arange(stage.frames), length)
    if random.random() < 0.5:
        times = times[::-1]
    place = np.broadcast_to(random.integers(0, side - size + 1, 2), (stage.frames, 2))
    return _crop(clip, times, place, size, stage.points, random, False)


def _crop(
    clip: CachedClip,
    times: np.ndarray,
    place: np.ndarray,
    size: int,
    points: int,
    random: np.random.Generator,
    flicker: bool,
) -> Batch:
    """Squares of `size` at place [T,2] of some frames, with `points` points of which most are seen there often.

    The exposure is one for all frames, or (`flicker`) another on each.
    """
    frames = []
    gain = random_exposure(random)
    for time, (x, y) in zip(times, place, strict=True):
        if flicker:
            gain = random_exposure(random)
        frame = clip.video[time, y : y + size, x : x + size].astype(np.float32)
        frames.append((frame * gain[0] + gain[1]).clip(0, 255).astype(np.uint8))
    xy = clip.xy[:, times] - place.astype(np.float32)
    visible = clip.visible[:, times] & ((xy >= 0) & (xy < size)).all(-1)
    # Points that are visible at all, those that are occluded in between not less often than others.
    likely = visible.any(1) + 0.2 * visible.mean(1) + 1e-3
    if not flicker:
        likely = likely * (1 + BESIDE * beside_others(clip, int(times[0]), int(times[-1])))
    rows = random.choice(len(xy), points, replace=points > len(xy), p=likely / likely.sum())
    video = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()
    seen = torch.from_numpy(visible[rows])
    return Batch(video, torch.from_numpy(xy[rows]), seen, torch.ones_like(seen))


def beside_others(clip: CachedClip, first: int, last: int) -> np.ndarray:
    """Which points [N] bool have a neighbour that goes elsewhere from one frame to the other: they lie at the border of
    something that moves, where it is hardest to say what a point belongs to, and where people put their points."""
    before, after = clip.xy[:, first], clip.xy[:, last]
    seen = clip.visible[:, first] & clip.visible[:, last]
    apart = np.linalg.norm(before[:, None] - before[None], axis=-1)
    otherwise = np.linalg.norm((after - before)[:, None] - (after - before)[None], axis=-1)
    result: np.ndarray = ((apart < NEIGHBOUR) & (otherwise > ELSEWHERE) & seen & seen[:, None]).any(1)
    return result


def _flipped(part: Batch, random: np.random.Generator) -> Batch:
    """Mirrored or not, rows and columns swapped or not."""
    video, xy, size = part.video, part.xy, part.video.shape[-1]
    if random.random() < 0.5:
        video, xy = video.flip(-1), torch.stack([size - xy[..., 0], xy[..., 1]], -1)
    if random.random() < 0.5:
        video, xy = video.transpose(-1, -2), xy.flip(-1)
    return part._replace(video=video.contiguous(), xy=xy)
