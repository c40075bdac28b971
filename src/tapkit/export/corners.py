"""Four points as the corners of a quadrilateral, for corner pins."""

from __future__ import annotations

import numpy as np

from tapkit.errors import UsageError
from tapkit.export.format import Job


def corner_rows(job: Job, corners: str = "", reference: int | None = None) -> tuple[list[int], np.ndarray, int]:
    """Rows of the points at the upper left, upper right, lower right, lower left.

    `corners` are their ids in that order, joined by commas; without it there must be four points, which are
    sorted around their middle on the reference frame, the upper left being the one with the least x + y.
    Returns the rows, the frames [T] bool with keys of all four, and the reference frame (the first of them).
    """
    ids = job.tracks.ids.tolist()
    if corners:
        wanted = [name.strip() for name in corners.split(",")]
        missing = [name for name in wanted if name not in ids]
        if missing:
            raise UsageError(f"no point to be written is called {missing[0]!r}")
        rows = [ids.index(name) for name in wanted]
    else:
        rows = list(range(len(ids)))
    if len(set(rows)) != 4:
        raise UsageError(f"a corner pin needs four points, got {len(set(rows))}: name them (corners=ul,ur,lr,ll)")
    together: np.ndarray = np.all(job.keys.key[rows], axis=0)
    if not together.any():
        raise UsageError("the four corners are never there on the same frame: use gaps=interpolate or when=valid")
    frame = int(together.argmax()) if reference is None else reference
    if not (0 <= frame < len(together) and together[frame]):
        raise UsageError(f"not all four corners are there on the reference frame {frame}")
    if not corners:
        xy = job.keys.xy[rows, frame]
        offset = xy - xy.mean(0)
        turn = np.argsort(np.arctan2(offset[:, 1], offset[:, 0]))  # y down: this is clockwise on the screen
        begin = int(np.argmin(xy[turn].sum(1)))
        rows = [rows[i] for i in np.roll(turn, -begin)]
    return rows, together, frame
