"""A pool of made clips on disk, from which lessons are cut: for processors that make clips slower than they learn.

A clip is used many times, each time another cut in space and time, mirrored, turned, played backwards or faster, with
other light. Clip i is made from i alone when it is first asked for, so a run that was cut off goes on with the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from tapkit.errors import StorageError
from tapkit.train.config import Pool, Stage
from tapkit.train.data import bounce
from tapkit.train.lesson import VALIDATION, Lesson, Lessons
from tapkit.train.trouble import another_picture, another_view, random_light, troubled

FIRST_SEED = 2 * VALIDATION
"""Of the clips; larger than those of lessons and of validation clips."""
SPANS = (4, 8, 16, 32)
"""The frames of a lesson of pairs lie within so many frames of a clip."""
SWAY = 16
"""Pixels by which the cuts of such frames differ."""


class _Clip(NamedTuple):
    """One clip of the pool."""

    video: np.ndarray
    """[T,S,S,3] uint8, read from disk as needed."""
    xy: np.ndarray
    """[N,T,2]."""
    visible: np.ndarray
    """[N,T]."""


class PooledLessons:
    """Lessons cut from the clips that `make` makes, which are kept in `folder` (4.7 MB for 24 frames of 256x256)."""

    def __init__(self, make: Lessons, pool: Pool, folder: Path, device: torch.device) -> None:
        self.make, self.pool, self.folder, self.device = make, pool, folder, device
        self.description = f"cuts of {pool.clips} {make.description}"

    def lesson(self, stage: Stage, seed: int) -> Lesson:
        """See `Lessons.lesson`. Each clip's light, direction, orientation and place are drawn from the seed."""
        if seed >= VALIDATION:
            return self.make.lesson(stage, seed)
        random = np.random.default_rng(seed)
        cut: Callable[..., Lesson] = _frames if stage.task == "pairs" else _piece
        numbers = random.integers(self.pool.clips, size=stage.batch)
        parts = [_turned(cut(self.clip(int(number)), stage, random), random) for number in numbers]
        trouble = _other_pictures if stage.task == "pairs" else self._troubled
        parts = [trouble(part, random) for part in parts]
        return Lesson(*(torch.stack(field).to(self.device) for field in zip(*parts, strict=True)))

    def _troubled(self, lesson: Lesson, random: np.random.Generator) -> Lesson:
        """Trouble by other clips of the pool."""
        frames, size = len(lesson.video), lesson.video.shape[-1]

        def other() -> Tensor:
            clip = self.clip(int(random.integers(self.pool.clips)))
            start, place = random.integers(len(clip.video)), random.integers(0, clip.video.shape[1] - size + 1, 2)
            times = bounce(start + np.arange(frames), len(clip.video))
            piece = clip.video[times, place[1] : place[1] + size, place[0] : place[0] + size]
            return torch.from_numpy(np.ascontiguousarray(piece)).permute(0, 3, 1, 2)

        return troubled(lesson, other, random)

    def clip(self, number: int) -> _Clip:
        """Clip `number` of the pool, made now if it is not there. Raises `StorageError`."""
        video, tracks = self.folder / f"{number:05d}.npy", self.folder / f"{number:05d}.npz"
        try:
            if not tracks.is_file():
                self._write(number, video, tracks)
            with np.load(tracks) as found:
                return _Clip(np.load(video, mmap_mode="r"), found["xy"], found["visible"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise StorageError(f"the pool of clips in {self.folder} cannot be read or written: {error}") from error

    def _write(self, number: int, video: Path, tracks: Path) -> None:
        pool = self.pool
        speed = pool.speeds[number % len(pool.speeds)]
        stage = Stage(1, pool.size, pool.frames, 1, pool.points, speed, pool.solids)
        made = self.make.lesson(stage, FIRST_SEED + number)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Another process of the run may be at the same clip: each writes its own file, and tracks come last.
        mark = f".{os.getpid()}"
        with open(video.with_suffix(mark), "wb") as file:
            np.save(file, made.video[0].permute(0, 2, 3, 1).contiguous().cpu().numpy())
        os.replace(video.with_suffix(mark), video)
        with open(tracks.with_suffix(mark), "wb") as file:
            np.savez(file, xy=made.xy[0].cpu().numpy(), visible=made.visible[0].cpu().numpy())
        os.replace(tracks.with_suffix(mark), tracks)


def _frames(clip: _Clip, stage: Stage, random: np.random.Generator) -> Lesson:
    """Frames of a clip in any order, each cut out at a slightly different place, each with its own light."""
    length, side = clip.video.shape[:2]
    size = min(stage.size, side)
    span = int(np.clip(random.choice(SPANS), stage.frames, length))
    times = random.integers(length - span + 1) + random.choice(span, stage.frames, replace=False)
    place = random.integers(0, side - size + 1, 2) + random.integers(-SWAY, SWAY + 1, (stage.frames, 2))
    return _cut(clip, times, place.clip(0, side - size), size, stage.points, random, True)


def _other_pictures(lesson: Lesson, random: np.random.Generator) -> Lesson:
    """Every frame from another view and in another light."""
    lesson = another_view(lesson, random)
    video = torch.stack([another_picture(frame, random) for frame in lesson.video.float()])
    return lesson._replace(video=video.clamp(0, 255).byte())


def _piece(clip: _Clip, stage: Stage, random: np.random.Generator) -> Lesson:
    """Successive frames, or every second one."""
    length, side = clip.video.shape[:2]
    size, pace = min(stage.size, side), 1
    if 2 * stage.frames - 1 <= length and random.random() < 0.2:
        pace = 2
    first = random.integers(length - pace * (min(stage.frames, length) - 1))
    times = np.arange(first, length, pace)[: stage.frames]
    if len(times) < stage.frames:  # a pool of short clips: there and back
        times = bounce(np.arange(stage.frames), length)
    if random.random() < 0.5:
        times = times[::-1]
    place = np.broadcast_to(random.integers(0, side - size + 1, 2), (stage.frames, 2))
    return _cut(clip, times, place, size, stage.points, random, False)


def _cut(
    clip: _Clip,
    times: np.ndarray,
    place: np.ndarray,
    size: int,
    points: int,
    random: np.random.Generator,
    flicker: bool,
) -> Lesson:
    """Squares of `size` at place [T,2] of some frames, with `points` points of which most are seen there often.

    The light is one for all frames, or (`flicker`) another on each.
    """
    frames = []
    gain = random_light(random)
    for time, (x, y) in zip(times, place, strict=True):
        if flicker:
            gain = random_light(random)
        frame = clip.video[time, y : y + size, x : x + size].astype(np.float32)
        frames.append((frame * gain[0] + gain[1]).clip(0, 255).astype(np.uint8))
    xy = clip.xy[:, times] - place.astype(np.float32)
    visible = clip.visible[:, times] & ((xy >= 0) & (xy < size)).all(-1)
    # Points that are seen at all, those that are hidden in between not less often than others.
    likely = visible.any(1) + 0.2 * visible.mean(1) + 1e-3
    rows = random.choice(len(xy), points, replace=points > len(xy), p=likely / likely.sum())
    video = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()
    seen = torch.from_numpy(visible[rows])
    return Lesson(video, torch.from_numpy(xy[rows]), seen, torch.ones_like(seen))


def _turned(lesson: Lesson, random: np.random.Generator) -> Lesson:
    """Mirrored or not, rows and columns swapped or not."""
    video, xy, size = lesson.video, lesson.xy, lesson.video.shape[-1]
    if random.random() < 0.5:
        video, xy = video.flip(-1), torch.stack([size - xy[..., 0], xy[..., 1]], -1)
    if random.random() < 0.5:
        video, xy = video.transpose(-1, -2), xy.flip(-1)
    return lesson._replace(video=video.contiguous(), xy=xy)
