"""Demonstrations: what the camera on the gripper saw while it was led through the task, and what the gripper did."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapkit import storage
from tapkit.errors import ShapeError, StorageError, UsageError
from tapkit.types import VideoInfo
from tapkit.video import open_video
from tapkit.video.base import Frame
from tapkit.video.writer import VideoWriter


@dataclass(frozen=True, eq=False)
class Demonstration:
    """One recording: pictures small enough to be held, and the gripper's state at each."""

    frames: np.ndarray
    """[T,H,W,3] uint8 RGB."""
    closed: np.ndarray
    """[T] bool: whether the gripper is closed (or closing) at that picture."""
    height: np.ndarray | None = None
    """[T] metres along the approach, upwards, from anywhere; None: not recorded. Tells how far to retreat."""

    def __post_init__(self) -> None:
        frames, closed = np.asarray(self.frames), np.asarray(self.closed)
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
            raise ShapeError(f"a demonstration's frames are [T,H,W,3] uint8, got {frames.dtype} {list(frames.shape)}")
        if closed.shape != (len(frames),):
            raise ShapeError(
                f"a demonstration needs the gripper's state at each of its {len(frames)} frames, got {closed.shape}"
            )
        object.__setattr__(self, "frames", frames)
        object.__setattr__(self, "closed", closed.astype(bool))
        if self.height is not None:
            height = np.asarray(self.height, np.float64)
            if height.shape != (len(frames),) or not np.isfinite(height).all():
                raise ShapeError(f"heights must be {len(frames)} numbers, one a frame, got {height.shape}")
            object.__setattr__(self, "height", height)

    def __len__(self) -> int:
        """Frames."""
        return len(self.frames)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.frames.shape[1]), int(self.frames.shape[2])

    @property
    def events(self) -> tuple[Event, ...]:
        """What the gripper does, in order."""
        changes = np.flatnonzero(self.closed[1:] != self.closed[:-1]) + 1
        return tuple(Event(int(t), bool(self.closed[t])) for t in changes)

    def every(self, step: int) -> Demonstration:
        """Every `step`-th frame of it."""
        height = None if self.height is None else self.height[::step]
        return replace(self, frames=self.frames[::step], closed=self.closed[::step], height=height)


class Event(NamedTuple):
    """The gripper closes or opens: the first frame on which it is told so."""

    frame: int
    closes: bool


def check_demonstrations(demonstrations: Sequence[Demonstration]) -> tuple[bool, ...]:
    """Whether the gripper closes (or opens) at each event, which all must share. Raises `UsageError`."""
    if len(demonstrations) < 2:
        raise UsageError(
            f"at least two demonstrations are needed to see what they have in common, got {len(demonstrations)}"
        )
    sizes = {each.size for each in demonstrations}
    if len(sizes) > 1:
        raise UsageError(f"all demonstrations must have pictures of one size, got {sorted(sizes)}")
    sequences = [tuple(event.closes for event in each.events) for each in demonstrations]
    if not sequences[0]:
        raise UsageError("the gripper does nothing in the first demonstration: stages end where it closes or opens")
    for number, sequence in enumerate(sequences):
        if sequence != sequences[0]:
            raise UsageError(
                f"demonstration {number + 1} has the gripper events {_words(sequence)}, "
                f"the first one has {_words(sequences[0])}: all must show the same sequence"
            )
    for number, each in enumerate(demonstrations):
        starts = [0, *(event.frame for event in each.events)]
        if min(np.diff(starts), default=0) < 3:
            raise UsageError(f"demonstration {number + 1} has a stage of less than 3 frames")
    return sequences[0]


def _words(sequence: tuple[bool, ...]) -> str:
    return ", ".join("close" if closes else "open" for closes in sequence) or "none"


def read_demonstration(video: str | Path, gripper: str | Path | None = None) -> Demonstration:
    """A video and a table beside it (VIDEO.gripper.csv): columns `frame` and `closed` (0 or 1), perhaps `height`.

    A row holds from its frame on until the next row's. Raises `UsageError` for a table that is not so.
    """
    path = Path(gripper) if gripper is not None else Path(video).with_suffix(".gripper.csv")
    rows = _rows(path)
    with open_video(str(video)) as source:
        frames = np.stack([frame.image for frame in source.frames()])
    starts = np.array([row[0] for row in rows])
    if starts[0] != 0 or (np.diff(starts) <= 0).any() or starts[-1] >= len(frames):
        raise UsageError(f"frames in {path} must begin with 0, increase, and be less than {len(frames)}")
    row = np.searchsorted(starts, np.arange(len(frames)), side="right") - 1
    closed = np.array([each[1] for each in rows])[row]
    heights = [each[2] for each in rows]
    known = len(rows) == len(frames) and None not in heights
    return Demonstration(frames, closed, np.array(heights, np.float64) if known else None)


def _rows(path: Path) -> list[tuple[int, bool, float | None]]:
    storage.check_file(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        found = [
            (int(row["frame"]), bool(int(row["closed"])), float(row["height"]) if row.get("height") else None)
            for row in table
        ]
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise UsageError(
            f"{path} must be a table with the columns frame and closed (0 or 1), and perhaps height"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot read {path}: {storage.reason(error)}") from error
    if not found:
        raise UsageError(f"{path} has no rows")
    return found


def write_demonstration(path: str | Path, demonstration: Demonstration, fps: float = 15.0) -> Path:
    """As a video and its table of the gripper; returns the video's path. Raises `StorageError`."""
    path = Path(path)
    height, width = demonstration.size
    info = VideoInfo(width, height, fps, len(demonstration))  # type: ignore[arg-type]  # it takes numbers too
    with VideoWriter(path, info, quality="high") as writer:
        for index, image in enumerate(demonstration.frames):
            writer.write(Frame(index, info.time_of(index), image))
    heights = demonstration.height if demonstration.height is not None else [None] * len(demonstration)
    lines = ["frame,closed,height"]
    for index, (closed, level) in enumerate(zip(demonstration.closed, heights, strict=True)):
        lines.append(f"{index},{int(closed)},{'' if level is None else format(level, '.4f')}")
    storage.write_text(path.with_suffix(".gripper.csv"), "\n".join(lines) + "\n")
    return path
