"""Where the picture moves from each frame to the next and back, at a working size that keeps the search quick."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tapkit.errors import ShapeError

if TYPE_CHECKING:
    from tapkit.video.base import Source

LARGEST = 640
"""Pixels of the longer side at which motion is computed and kept."""

Told = Callable[[int, int], object]
"""Progress: frames done, and in all."""


class Motion(Protocol):
    """The motion of a clip. Fields are [n,h,w,2], a displacement (x, y) for each pixel, valid at its centre."""

    name: str
    """For the provenance: "dis"."""
    frames: int
    scale: tuple[float, float]
    """(x, y): pixels of the fields in one of the video."""

    def prepare(self, start: int, stop: int, told: Told | None = None) -> None:
        """Make sure that the motion between frames start..stop (excluded) is known."""
        ...

    def forward(self, start: int, stop: int) -> np.ndarray:
        """From frame t to t + 1, for t in start..stop (excluded). To be looked at only; may lie on disk."""
        ...

    def backward(self, start: int, stop: int) -> np.ndarray:
        """From frame t + 1 to t."""
        ...


class KnownMotion:
    """Motion that is in memory: `forward` and `backward` are [T-1,h,w,2], of a video of `size` (height, width)."""

    def __init__(
        self, forward: np.ndarray, backward: np.ndarray, size: tuple[int, int] | None = None, name: str = "known"
    ) -> None:
        if forward.ndim != 4 or forward.shape[3] != 2 or forward.shape != backward.shape:
            raise ShapeError(f"motion is [T-1,h,w,2] both ways, got {list(forward.shape)} and {list(backward.shape)}")
        self.name, self.frames = name, len(forward) + 1
        height, width = size or forward.shape[1:3]
        self.scale = (forward.shape[2] / width, forward.shape[1] / height)
        self._fields = (forward.astype(np.float32), backward.astype(np.float32))

    def prepare(self, start: int, stop: int, told: Told | None = None) -> None:
        """Everything is known."""

    def forward(self, start: int, stop: int) -> np.ndarray:
        """See `Motion.forward`."""
        return self._fields[0][start:stop]

    def backward(self, start: int, stop: int) -> np.ndarray:
        """See `Motion.backward`."""
        return self._fields[1][start:stop]


class FlowMotion:
    """Motion by an optical-flow model, computed where it is first needed and kept in a temporary file.

    `video` is not closed here. Memory: a few frames; disk: 1.8 MB for a frame of 640x360. Raises what building the
    model does (`UsageError`, `WeightsError`, `MissingExtra`).
    """

    def __init__(self, video: Source, model: str = "dis", largest: int = LARGEST) -> None:
        from tapkit.flow.known import build_flow

        self.name = model
        self._video, self._model = video, build_flow(model)
        assert video.info.frames is not None  # a clip of a project is counted
        self.frames: int = video.info.frames
        height, width = video.info.size
        share = min(largest / max(height, width), 1.0)
        self._size = (max(round(height * share), 32), max(round(width * share), 32))
        self.scale = (self._size[1] / width, self._size[0] / height)
        self._known = np.zeros(max(self.frames - 1, 0), bool)
        self._lock = threading.Lock()
        self._file: Any = None
        self._store: np.ndarray | None = None

    def prepare(self, start: int, stop: int, told: Told | None = None) -> None:
        """See `Motion.prepare`: the stretches that are not known yet, each read once."""
        with self._lock:
            missing = np.flatnonzero(~self._known[start : max(stop - 1, start)]) + start
            if not len(missing):
                return
            done = 0

            def so_far(now: int) -> None:
                if told is not None:
                    told(done + now, len(missing))

            for run in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1):
                self._compute(int(run[0]), int(run[-1]) + 1, so_far)
                done += len(run)

    def _compute(self, first: int, last: int, told: Callable[[int], object]) -> None:
        """The pairs (t, t + 1) for t in first..last (excluded)."""
        from tapkit.flow.stream import Pairs, flows
        from tapkit.video.span import Span

        store = self._opened()
        part = _Resized(Span(self._video, first, last + 1), self._size)
        for pair in flows(self._model, part, Pairs((1, -1))):  # type: ignore[arg-type]  # what flows asks of a source
            later = max(pair.first, pair.second)
            t = first + later - 1
            store[t, int(pair.first > pair.second)] = pair.xy
            if pair.first > pair.second:
                self._known[t] = True
                told(later)

    def _opened(self) -> np.ndarray:
        if self._store is None:
            self._file = tempfile.TemporaryFile(prefix="tapkit-motion-")  # noqa: SIM115  (it lives as long as this)
            shape = (max(self.frames - 1, 1), 2, *self._size, 2)
            self._store = np.memmap(self._file, np.float16, "w+", shape=shape)
        return self._store

    def forward(self, start: int, stop: int) -> np.ndarray:
        """See `Motion.forward`."""
        return self._opened()[start:stop, 0]

    def backward(self, start: int, stop: int) -> np.ndarray:
        """See `Motion.backward`."""
        return self._opened()[start:stop, 1]


class _Resized:
    """A source whose frames come at another size, and which says that it is of that size."""

    def __init__(self, source: Source, size: tuple[int, int]) -> None:
        from dataclasses import replace

        self._source, self._size = source, size
        self.info = replace(source.info, width=size[1], height=size[0])

    def frames(self, size: Sequence[int] | None = None) -> Any:
        """All frames; at `size` if a model asks for another one."""
        return self._source.frames(size=self._size if size is None else (size[0], size[1]))


def at(fields: np.ndarray, which: np.ndarray | int, xy: np.ndarray) -> np.ndarray:
    """Bilinear values of fields [n,h,w,2] at points [...,2] (corner origin), each of its own field `which` [...].

    Outside of the picture those of the border hold.
    """
    height, width = fields.shape[1:3]
    x = (xy[..., 0] - 0.5).clip(0, width - 1)  # a field's first value holds at (0.5, 0.5)
    y = (xy[..., 1] - 0.5).clip(0, height - 1)
    left, top = x.astype(int), y.astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    u, v = (x - left)[..., None], (y - top)[..., None]
    upper = fields[which, top, left] * (1 - u) + fields[which, top, right] * u
    lower = fields[which, bottom, left] * (1 - u) + fields[which, bottom, right] * u
    value: np.ndarray = upper * (1 - v) + lower * v
    return value
