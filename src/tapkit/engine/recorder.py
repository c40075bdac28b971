"""Recorder: keeps what a live session says, on disk, and stores it as tracks when the session is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from tapkit.engine.results import DiskResults
from tapkit.engine.tracker import blocks
from tapkit.types import FrameResult, Provenance, Queries, VideoInfo
from tapkit.types.storage import Block, Stored, check_suffix, write


class Recorder:
    """Records the points of `queries`; what a session says of others is left out.

    A context manager: on leaving it, also by Ctrl-C or an error, everything recorded so far is stored at `path`
    (.npz, .zarr, .csv, .parquet). While it runs, memory does not grow.
    """

    def __init__(self, path: str | Path, info: VideoInfo, queries: Queries, source: Provenance) -> None:
        self.path, self.info, self.queries, self.source = Path(path), info, queries, source
        check_suffix(self.path)
        self._rows = {name: row for row, name in enumerate(queries.ids.tolist())}
        self._times: list[float] = []
        self._spool = self.path.with_name(self.path.name + ".recording")
        self._spool.unlink(missing_ok=True)
        self._results = DiskResults(self._spool, len(queries))

    def frame(self, time: float) -> None:
        """A frame was shown at `time` seconds; call once for each, in order."""
        self._times.append(time)

    def add(self, result: FrameResult) -> None:
        """Keep what is final about one frame."""
        known = np.array([name in self._rows for name in result.ids.tolist()], bool)
        rows = np.array([self._rows[name] for name in result.ids[known].tolist()], int)
        self._results.write(result.frame, rows, result.xy[known], result.visible[known], result.confidence[known])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        frames = max(len(self._times), self._results.frames)
        try:
            if frames:
                times = (
                    np.array(self._times) if len(self._times) == frames and (np.diff(self._times) > 0).all() else None
                )
                info = replace(self.info, frames=frames, times=times)
                started = self.queries.t < frames
                rows = np.flatnonzero(started)
                read = blocks(self._results, frames)
                queries = self.queries[rows]
                write(Stored(queries, info, self.source, frames, lambda a, b: _pick(read, rows[a:b])), self.path)
        finally:
            self._results.close()
            self._spool.unlink(missing_ok=True)


def _pick(read: Callable[[int, int], Block], rows: np.ndarray) -> Block:
    """Rows that need not be neighbours, out of a reader of spans."""
    if not len(rows):
        return read(0, 0)
    first = int(rows[0])
    return {name: part[rows - first] for name, part in read(first, int(rows[-1]) + 1).items()}
