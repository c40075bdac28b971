"""Where results are collected while tracking runs: in memory, or in a folder on disk that survives a crash.

Both hold, for N points, one record a frame: xy [N,2], visible [N], confidence [N], valid [N]. The disk form keeps
nothing in memory: 17 bytes a point and frame go straight to `frames.bin`, frame after frame, so that a clip of any
length can be tracked and an interrupted run can go on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from tapkit.errors import StorageError


class Record(NamedTuple):
    """Results of all N points on one frame, or of some points on all T frames (then with an axis more)."""

    xy: np.ndarray
    visible: np.ndarray
    confidence: np.ndarray
    valid: np.ndarray


class Results(Protocol):
    """Write by frame, read by frame or by point."""

    count: int
    frames: int

    def write(
        self, frame: int, rows: np.ndarray, xy: np.ndarray, visible: np.ndarray, confidence: np.ndarray
    ) -> None: ...

    def at(self, frame: int) -> Record: ...

    def points(self, start: int, stop: int) -> Record: ...

    def flush(self) -> None: ...


class MemoryResults:
    """Results in memory; grows with the clip."""

    def __init__(self, count: int, frames: int | None = None) -> None:
        self.count, self.frames = count, 0
        self._record = self._empty(frames or 64)
        if frames:
            self.frames = frames

    def _empty(self, frames: int) -> Record:
        shape = (frames, self.count)
        return Record(
            np.zeros((*shape, 2), np.float32),
            np.zeros(shape, np.float32),
            np.zeros(shape, np.float32),
            np.zeros(shape, bool),
        )

    def write(self, frame: int, rows: np.ndarray, xy: np.ndarray, visible: np.ndarray, confidence: np.ndarray) -> None:
        """Results of the points `rows` on `frame`."""
        capacity = len(self._record.valid)
        if frame >= capacity:
            grown = self._empty(max(frame + 1, 2 * capacity))
            for new, old in zip(grown, self._record, strict=True):
                new[:capacity] = old
            self._record = grown
        self.frames = max(self.frames, frame + 1)
        for whole, part in zip(self._record, (xy, visible, confidence, True), strict=True):
            whole[frame, rows] = part

    def at(self, frame: int) -> Record:
        """All points on one frame."""
        if frame >= self.frames:
            return Record(*(part[0] * 0 for part in self._record))
        return Record(*(part[frame] for part in self._record))

    def points(self, start: int, stop: int) -> Record:
        """Points start..stop on all frames: [n,T,...]."""
        return Record(*(part[: self.frames, start:stop].swapaxes(0, 1) for part in self._record))

    def flush(self) -> None:
        """Nothing to do."""


class DiskResults:
    """Results in `path`, a flat file of one fixed-size record a frame; opening an existing one goes on with it."""

    def __init__(self, path: Path, count: int) -> None:
        self.path, self.count = path, count
        self._fields = np.dtype(
            [
                ("xy", "<f4", (count, 2)),
                ("visible", "<f4", (count,)),
                ("confidence", "<f4", (count,)),
                ("valid", "?", (count,)),
            ]
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error
        self._held: tuple[int, np.ndarray] | None = None
        self.frames = os.fstat(self._file).st_size // max(self._fields.itemsize, 1)

    def write(self, frame: int, rows: np.ndarray, xy: np.ndarray, visible: np.ndarray, confidence: np.ndarray) -> None:
        """Results of the points `rows` on `frame`."""
        record = self._open(frame)
        for name, part in (("xy", xy), ("visible", visible), ("confidence", confidence), ("valid", True)):
            record[name][rows] = part
        self.frames = max(self.frames, frame + 1)

    def _open(self, frame: int) -> np.ndarray:
        """The record of `frame`, kept in memory until another one is wanted."""
        if self._held is None or self._held[0] != frame:
            self.flush()
            self._held = (frame, self._read(frame))
        return self._held[1]

    def _read(self, frame: int) -> np.ndarray:
        size = self._fields.itemsize
        raw = bytearray(size)
        if frame < self.frames:
            os.lseek(self._file, frame * size, os.SEEK_SET)
            data = os.read(self._file, size)
            raw[: len(data)] = data
        return np.frombuffer(raw, self._fields)[0]  # a writable view, since the buffer is a bytearray

    def flush(self) -> None:
        """Write what is held back."""
        if self._held is None:
            return
        frame, record = self._held
        try:
            os.lseek(self._file, frame * self._fields.itemsize, os.SEEK_SET)
            data = memoryview(record.tobytes())
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            raise StorageError(
                f"cannot write {self.path}: {error.strerror}; what was written before is kept"
            ) from error

    def at(self, frame: int) -> Record:
        """All points on one frame."""
        record = self._held[1] if self._held is not None and self._held[0] == frame else self._read(frame)
        return Record(*(np.array(record[name]) for name in Record._fields))

    def points(self, start: int, stop: int) -> Record:
        """Points start..stop on all frames: [n,T,...]."""
        self.flush()
        shape = (stop - start, self.frames)
        out = Record(
            np.zeros((*shape, 2), np.float32),
            np.zeros(shape, np.float32),
            np.zeros(shape, np.float32),
            np.zeros(shape, bool),
        )
        for first, block in self._blocks():
            span = slice(first, first + len(block))
            for name, part in zip(Record._fields, out, strict=True):
                part[:, span] = block[name][:, start:stop].swapaxes(0, 1)
        return out

    def _blocks(self, limit: int = 4 << 20) -> Iterator[tuple[int, np.ndarray]]:
        """Records in blocks of at most about `limit` bytes."""
        size = max(self._fields.itemsize, 1)
        step = max(limit // size, 1)
        for first in range(0, self.frames, step):
            os.lseek(self._file, first * size, os.SEEK_SET)
            wanted = min(step, self.frames - first) * size
            parts = []
            while wanted > 0 and (data := os.read(self._file, wanted)):
                parts.append(data)
                wanted -= len(data)
            raw = b"".join(parts)
            yield first, np.frombuffer(raw[: len(raw) // size * size], self._fields)

    def close(self) -> None:
        """Flush and close."""
        if self._file >= 0:
            try:
                self.flush()
            finally:
                os.close(self._file)
                self._file = -1
