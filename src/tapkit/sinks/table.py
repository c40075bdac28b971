"""Tables: final results by point and frame, in memory, or in a file that survives a crash.

Both hold, for N points (rows), one record a frame: xy [N,2], visible, confidence, valid, keyframe [N]. The one on disk
keeps nothing in memory: 18 bytes a point and frame go straight to the file, frame after frame, so that a clip of any
length can be tracked and an interrupted run can be resumed. Rows may be more than were announced: tables grow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from tapkit.errors import StorageError
from tapkit.sinks.base import Sink
from tapkit.types import FrameResult
from tapkit.types.storage import Block
from tapkit.video.base import Frame

FIELDS = (("xy", "<f4"), ("visible", "<f4"), ("confidence", "<f4"), ("valid", "?"), ("keyframe", "?"))


class Table(Sink, Protocol):
    """Filled as a sink; read by frame or by point."""

    count: int
    """Points, N."""
    frames: int
    """One more than the last frame of which anything is known."""

    def at(self, frame: int) -> FrameResult:
        """What is known of one frame, valid points only."""

    def points(self, rows: slice | np.ndarray) -> Block:
        """Some points on all frames: xy [n,T,2], NaN where not valid, the others [n,T]."""

    def flush(self) -> None:
        """Write what is held back."""


class MemoryTable:
    """A table in memory; grows with the clip."""

    def __init__(self, count: int = 0, frames: int | None = None) -> None:
        self.count, self.frames = count, frames or 0
        self._room = self._empty(frames or 64, count)

    def _empty(self, frames: int, count: int) -> Block:
        return {name: np.zeros((frames, count, 2) if name == "xy" else (frames, count), kind) for name, kind in FIELDS}

    def frame(self, frame: Frame) -> None:
        """See `Sink`; the table does not keep pictures."""

    def result(self, result: FrameResult) -> None:
        """Keep a final result."""
        if not result.final:
            return
        length, count = self._room["valid"].shape
        self.count = max(self.count, int(result.rows.max(initial=-1)) + 1)
        if result.frame >= length or self.count > count:
            longer = max(result.frame + 1, 2 * length) if result.frame >= length else length
            wider = max(self.count, 2 * count) if self.count > count else count
            grown = self._empty(longer, wider)
            for name, old in self._room.items():
                grown[name][:length, :count] = old
            self._room = grown
        self.frames = max(self.frames, result.frame + 1)
        for name, values in _values(result):
            self._room[name][result.frame, result.rows] = values

    def at(self, frame: int) -> FrameResult:
        """See `Table`."""
        if frame >= self.frames:
            return _of_record(frame, self._empty(1, 0), 0)
        return _of_record(frame, self._room, frame)

    def points(self, rows: slice | np.ndarray) -> Block:
        """See `Table`."""
        block = {name: part[: self.frames, rows].swapaxes(0, 1).copy() for name, part in self._room.items()}
        return _hidden_where_invalid(block)

    def flush(self) -> None:
        """Nothing is held back."""

    def finish(self) -> None:
        """Nothing to close."""


class DiskTable:
    """A table in `path`, a flat file of one fixed-size record a frame; an existing file is continued."""

    def __init__(self, path: Path, count: int = 0) -> None:
        self.path, self.count = path, count
        self._record = _record_type(count)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error
        self._held: tuple[int, np.ndarray] | None = None
        self.frames = os.fstat(self._file).st_size // max(self._record.itemsize, 1)

    def frame(self, frame: Frame) -> None:
        """See `Sink`; the table does not keep pictures."""

    def result(self, result: FrameResult) -> None:
        """Keep a final result."""
        if not result.final:
            return
        needed = int(result.rows.max(initial=-1)) + 1
        if not needed:
            return
        if needed > self.count:
            self._widen(max(needed, 2 * self.count))
        record = self._open(result.frame)
        for name, values in _values(result):
            record[name][result.rows] = values
        self.frames = max(self.frames, result.frame + 1)

    def _open(self, frame: int) -> np.ndarray:
        """The record of `frame`, kept in memory until another one is wanted."""
        if self._held is None or self._held[0] != frame:
            self.flush()
            self._held = (frame, self._read(frame))
        return self._held[1]

    def _read(self, frame: int) -> np.ndarray:
        size = self._record.itemsize
        raw = bytearray(size)
        if frame < self.frames:
            os.lseek(self._file, frame * size, os.SEEK_SET)
            data = os.read(self._file, size)
            raw[: len(data)] = data
        record: np.ndarray = np.frombuffer(raw, self._record)[0]  # a writable view: the buffer is a bytearray
        return record

    def flush(self) -> None:
        """See `Table`. Raises `StorageError` (full disk)."""
        if self._held is None:
            return
        frame, record = self._held
        try:
            self._write(frame, record)
        except OSError as error:
            raise StorageError(
                f"cannot write {self.path}: {error.strerror}; what was written before is kept"
            ) from error

    def _write(self, frame: int, records: np.ndarray) -> None:
        """Write one record or several, the first of which is that of `frame`. Raises OSError."""
        os.lseek(self._file, frame * self._record.itemsize, os.SEEK_SET)
        data = memoryview(records.tobytes())
        while data:
            data = data[os.write(self._file, data) :]

    def _widen(self, count: int) -> None:
        """Make room for more points: every record is written anew, which doubling makes rare."""
        self.flush()
        wider = DiskTable(self.path.with_name(self.path.name + ".wider"), count)
        try:
            os.ftruncate(wider._file, 0)
            for first, records in self._blocks():
                room = np.zeros(len(records), wider._record)
                for name, _ in FIELDS:
                    room[name][:, : self.count] = records[name]
                wider._write(first, room)
            os.replace(wider.path, self.path)
        except OSError as error:
            os.close(wider._file)
            wider.path.unlink(missing_ok=True)
            raise StorageError(f"cannot write {self.path}: {error.strerror}") from error
        os.close(self._file)
        self._file, self._record, self._held, self.count = wider._file, wider._record, None, count

    def at(self, frame: int) -> FrameResult:
        """See `Table`."""
        if not self.count:
            return _of_record(
                frame, {name: np.zeros((1, 0, 2) if name == "xy" else (1, 0), k) for name, k in FIELDS}, 0
            )
        held = self._held is not None and self._held[0] == frame
        record = self._held[1] if held else self._read(frame)  # type: ignore[index]
        return _of_record(frame, {name: record[name][None] for name, _ in FIELDS}, 0)

    def points(self, rows: slice | np.ndarray) -> Block:
        """See `Table`. Reads the whole file, however few the points: ask for many at once."""
        self.flush()
        shape = (len(np.arange(self.count)[rows]), self.frames)
        out = {name: np.zeros((*shape, 2) if name == "xy" else shape, kind) for name, kind in FIELDS}
        for first, records in self._blocks():
            for name, part in out.items():
                part[:, first : first + len(records)] = records[name][:, rows].swapaxes(0, 1)
        return _hidden_where_invalid(out)

    def _blocks(self, limit: int = 4 << 20) -> Iterator[tuple[int, np.ndarray]]:
        """Records in blocks of at most about `limit` bytes."""
        size = self._record.itemsize
        step = max(limit // max(size, 1), 1)
        for first in range(0, self.frames if size else 0, step):
            os.lseek(self._file, first * size, os.SEEK_SET)
            wanted = min(step, self.frames - first) * size
            parts = []
            while wanted > 0 and (data := os.read(self._file, wanted)):
                parts.append(data)
                wanted -= len(data)
            raw = b"".join(parts)
            yield first, np.frombuffer(raw[: len(raw) // size * size], self._record)

    def finish(self) -> None:
        """Flush. The file stays open for reading: see `close`."""
        if self._file >= 0:
            self.flush()

    def close(self) -> None:
        """Flush and close the file; a second call does nothing."""
        if self._file >= 0:
            try:
                self.flush()
            finally:
                os.close(self._file)
                self._file = -1


def _record_type(count: int) -> np.dtype[np.void]:
    return np.dtype([(name, kind, (count, 2) if name == "xy" else (count,)) for name, kind in FIELDS])


def _values(result: FrameResult) -> Iterator[tuple[str, np.ndarray | bool]]:
    """Every field of a record, for the rows of a result."""
    yield from (("xy", result.xy), ("visible", result.visible), ("confidence", result.confidence), ("valid", True))
    yield "keyframe", False if result.keyframe is None else result.keyframe


def _of_record(frame: int, records: Block, index: int) -> FrameResult:
    rows = np.flatnonzero(records["valid"][index])
    xy, visible, confidence, keyframe = (
        records[name][index][rows] for name in ("xy", "visible", "confidence", "keyframe")
    )
    return FrameResult(frame, rows, xy, visible, confidence, keyframe=keyframe if keyframe.any() else None)


def _hidden_where_invalid(block: Block) -> Block:
    if not block["valid"].all():
        block["xy"][~block["valid"]] = np.nan
    return block
