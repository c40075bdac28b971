"""Recorder: keeps what a live run says, on disk, and stores it as tracks when the run is over."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from tapkit.sinks.table import DiskTable
from tapkit.types import FrameResult, Provenance, Queries, VideoInfo
from tapkit.types.storage import Block, Stored, check_suffix, write
from tapkit.video.base import Frame


class Recorder:
    """Records every point that is ever answered for, those that are added while it runs too.

    At `finish`, also after Ctrl-C or an error, everything recorded so far is stored at `path` (.npz, .zarr, .csv,
    .parquet). While it runs, memory does not grow with the frames. A point's query is its first answer, which is the
    query itself. Raises `UsageError` for another ending of `path`, `StorageError` where it cannot be written.
    """

    def __init__(self, path: str | Path, info: VideoInfo, source: Provenance) -> None:
        self.path, self.info, self.source = Path(path), info, source
        check_suffix(self.path)
        self._times: list[float] = []
        spool = self.path.with_name(f".{self.path.name}.{os.getpid()}.recording")
        spool.unlink(missing_ok=True)
        self._table = DiskTable(spool)
        self._names: np.ndarray | None = None
        self._begun = np.zeros(0, np.int64)
        """First frame of each row; -1: not answered for yet."""
        self._first_xy = np.zeros((0, 2), np.float32)

    def frame(self, frame: Frame) -> None:
        """See `Sink`."""
        self._times.append(frame.time)

    def result(self, result: FrameResult) -> None:
        """See `Sink`."""
        if not result.final:
            return
        self._names = result.names if result.names is not None else self._names
        self._note_queries(result)
        self._table.result(result)

    def _note_queries(self, result: FrameResult) -> None:
        missing = int(result.rows.max(initial=-1)) + 1 - len(self._begun)
        if missing > 0:
            self._begun = np.concatenate([self._begun, np.full(missing, -1)])
            self._first_xy = np.concatenate([self._first_xy, np.zeros((missing, 2), np.float32)])
        fresh = self._begun[result.rows] < 0
        self._begun[result.rows[fresh]] = result.frame
        self._first_xy[result.rows[fresh]] = result.xy[fresh]

    def finish(self) -> None:
        """See `Sink`: store what has been recorded; nothing, if no frame came."""
        frames = max(len(self._times), self._table.frames)
        try:
            if frames:
                self._store(frames)
        finally:
            self._table.close()
            self._table.path.unlink(missing_ok=True)

    def _store(self, frames: int) -> None:
        times = np.array(self._times)
        rising = len(times) == frames and (np.diff(times) > 0).all()
        info = replace(self.info, frames=frames, times=times if rising else None)
        rows = np.flatnonzero(self._begun >= 0)
        names = np.arange(len(self._begun)).astype(np.str_) if self._names is None else self._names
        names = _distinct(names[rows])
        queries = Queries(self._begun[rows], self._first_xy[rows], names)

        def read(start: int, stop: int) -> Block:
            return _until(self._table.points(rows[start:stop]), frames)

        write(Stored(queries, info, self.source, frames, read), self.path)


def _distinct(names: np.ndarray) -> np.ndarray:
    """The names, those made different that were given again after a point of that name had been removed."""
    given, out = set(names.tolist()), []
    used: set[str] = set()
    for name in names.tolist():
        number, free = 2, name
        while free in used or (free != name and free in given):
            free, number = f"{name} ({number})", number + 1
        used.add(free)
        out.append(free)
    return np.array(out, np.str_) if out else np.zeros(0, np.str_)


def _until(block: Block, frames: int) -> Block:
    """The block with as many frames as the clip has, empty at the end where nothing was said."""
    missing = frames - block["valid"].shape[1]
    if missing <= 0:
        return block
    return {
        name: np.concatenate(
            [
                part,
                np.full(
                    (part.shape[0], missing, *part.shape[2:]),
                    np.nan if name == "xy" else 0,
                    part.dtype,
                ),
            ],
            axis=1,
        )
        for name, part in block.items()
    }
