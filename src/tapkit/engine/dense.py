"""Dense tracking: every pixel of one frame through the clip, under a memory budget, onto disk.

The points are an ordinary result, row by row of the grid, in an ordinary store (`tapkit.types.storage`), with one more
attribute that says how the grid lies; `tapkit.load_dense` folds it back into pictures. Joint models track every k-th
pixel together, k as small as the budget allows, so that each group covers the whole frame (the authors' dense mode does
the same with interleaved grids).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tapkit.engine.control import Control, Progress
from tapkit.engine.offline import Direction
from tapkit.engine.tracker import Tracker
from tapkit.errors import QueryError, StorageError, UsageError, require
from tapkit.export.dense_files import load_dense
from tapkit.types import Queries, VideoInfo
from tapkit.types.dense import ARRAYS
from tapkit.video.using import using

DEFAULT_MEMORY = "2GB"
"""What the network may take beside the program itself, unless said otherwise."""


def track_dense(
    tracker: Tracker,
    video: Any,
    path: str | Path,
    frame: int = 0,
    step: int = 1,
    memory: str | int | None = DEFAULT_MEMORY,
    direction: Direction = "both",
    progress: Callable[[Progress], object] | None = None,
    control: Control | None = None,
) -> Path:
    """Track every `step`-th pixel, in both directions, of frame `frame` of a clip.

    Args:
        tracker: any; made for CoTracker3 offline, which encodes the clip once whatever the number of points.
        video: anything `tapkit.open_video` takes.
        path: a .zarr folder to write; an interrupted run is resumed when called again.
        frame: the frame whose pixels are tracked.
        step: pixels between two points; the first lies in the middle of the first step x step cell.
        memory: budget of the network ("2GB"); None: no limit.
        direction: as in `Tracker.track`.
        progress, control: as in `Tracker.track`.

    Returns:
        `path`: arrays xy [N,T,2] f4 (pixels of the video, corner origin), visible, confidence [N,T] f4, valid [N,T]
        bool, query_xy [N,2], query_t [N]; N = rows x columns, row by row; attribute "dense" (JSON) with frame, step,
        rows, columns.

    Raises `UsageError` for a bad step or another ending than .zarr, `QueryError` for a frame outside the clip,
    `MemoryBudgetError` for a budget that not even one point fits into.
    """
    path = Path(path)
    if path.suffix.lower() != ".zarr":
        raise UsageError(f"dense tracks are stored as .zarr, got {path.name!r}")
    zarr = require("zarr", "zarr")
    with using(video) as source:
        queries, rows, columns = dense_queries(source.info, frame, step)
        tracker.track_to(path, source, queries, direction, memory, progress, control=control)
    layout = {"frame": frame, "step": step, "rows": rows, "columns": columns}
    zarr.open_group(str(path), mode="r+").attrs["dense"] = json.dumps(layout)
    return path


def dense_queries(info: VideoInfo, frame: int, step: int) -> tuple[Queries, int, int]:
    """The centres of all step x step cells of a frame, row by row, and how many rows and columns there are."""
    if step < 1 or step > min(info.size):
        raise UsageError(f"step must lie between 1 and the frame's smaller side {min(info.size)}, got {step}")
    if frame < 0 or (info.frames is not None and frame >= info.frames):
        end = "" if info.frames is None else f"..{info.frames - 1}"
        raise QueryError(f"frame {frame} is outside the clip (frames 0{end})")
    rows, columns = info.height // step, info.width // step
    x, y = np.meshgrid((np.arange(columns) + 0.5) * step, (np.arange(rows) + 0.5) * step)
    return Queries.at(frame, np.stack([x.ravel(), y.ravel()], 1)), rows, columns


def dense_grid(path: str | Path, name: str = "xy", start: int = 0, stop: int | None = None) -> np.ndarray:
    """An array of a dense result (see `tapkit.load_dense`) as pictures, frames `start` to `stop` (excluded) only.

    -> [T,rows,columns,2] for "xy", [T,rows,columns] for "visible", "confidence", "valid". Raises `StorageError` for
    a store that is none of `track_dense`, `UsageError` for an array it does not have.
    """
    if not Path(path).exists():
        raise StorageError(f"{path} is not a result of dense tracking: it does not exist")
    dense = load_dense(path)
    if name not in ARRAYS:
        raise UsageError(f'a dense result has "xy", "visible", "confidence" and "valid", not {name!r}')
    found: np.ndarray = getattr(dense, name)[start:stop]
    return found
