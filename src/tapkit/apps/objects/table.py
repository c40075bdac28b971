"""Results: which object is where on which frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tapkit.types import VideoInfo

if TYPE_CHECKING:
    from tapkit.apps.objects.track import Track


class _Row(NamedTuple):
    frame: int
    number: int
    box: tuple[float, ...]
    score: float
    interpolated: bool


class Rows:
    """Collects results. Those of a track wait until it is confirmed, carried boxes until a detection follows them."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []
        self._waiting: dict[int, list[_Row]] = {}
        self._labels: dict[int, str] = {}

    def add(self, frame: int, track: Track, interpolated: bool = False) -> None:
        """The box of a track on one frame."""
        score = 0.0 if interpolated else track.score
        row = _Row(frame, track.number, tuple(track.carried.tolist()), score, interpolated)
        self._waiting.setdefault(track.number, []).append(row)
        self._labels[track.number] = track.label

    def confirm(self, number: int) -> None:
        """What waits of this track counts."""
        self._rows += self._waiting.pop(number, [])

    def forget(self, number: int) -> None:
        """What waits of this track does not count."""
        self._waiting.pop(number, None)

    def table(self, video: VideoInfo) -> ObjectTracks:
        """All results, by frame, then by id."""
        rows = sorted(self._rows)
        return ObjectTracks(
            np.array([row.frame for row in rows], np.int64),
            np.array([row.number for row in rows], np.int64),
            np.array([row.box for row in rows], np.float64).reshape(-1, 4),
            np.array([row.score for row in rows], np.float64),
            np.array([self._labels[row.number] for row in rows], np.str_),
            np.array([row.interpolated for row in rows], bool),
            video,
        )


@dataclass(frozen=True, eq=False)
class ObjectTracks:
    """Boxes with identities: K rows, by frame, then by id."""

    frame: np.ndarray
    """[K] int64, counted from 0."""
    id: np.ndarray
    """[K] int64, counted from 1."""
    xyxy: np.ndarray
    """[K,4] float64 left, top, right, bottom in pixels, corner origin."""
    score: np.ndarray
    """[K] float64 of the detection; 0 where there was none."""
    label: np.ndarray
    """[K] str: the class that most detections of the object had."""
    interpolated: np.ndarray
    """[K] bool: no detection, the box was carried there by the object's points."""
    video: VideoInfo

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, chosen: np.ndarray) -> ObjectTracks:
        """Some rows: [K] bool or indices."""
        return ObjectTracks(
            self.frame[chosen], self.id[chosen], self.xyxy[chosen], self.score[chosen],
            self.label[chosen], self.interpolated[chosen], self.video,
        )  # fmt: skip

    @property
    def ids(self) -> list[int]:
        """All objects."""
        return [int(each) for each in np.unique(self.id)]

    def at(self, frame: int) -> ObjectTracks:
        """The rows of one frame."""
        low, high = np.searchsorted(self.frame, [frame, frame + 1])
        return self[np.arange(low, high)]

    def detected(self) -> ObjectTracks:
        """Without the boxes that were carried there by points."""
        return self[~self.interpolated]

    @property
    def names(self) -> list[str]:
        """[K] "car 3", or "3" for an object without a class."""
        return [f"{label} {number}".strip() for label, number in zip(self.label, self.id, strict=True)]
