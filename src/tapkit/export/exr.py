"""Dense tracks as pictures: STMaps and motion-vector passes, 32-bit float EXR, one file for each frame.

Both lie on the pixels of the reference frame, on which the points were queried. An STMap says for each of its pixels
where that bit of the scene is on frame t: R = x / W, G = 1 - y / H (Nuke's STMap node then pulls frame t back onto
the reference frame: it stabilises), B = P(visible), A = 1 where the tracker gave an answer. A motion pass has the same
as pixels to go, forward.u right and forward.v up.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import coords
from tapkit.errors import UsageError, require
from tapkit.export.format import Format, Job
from tapkit.export.select import select

EXTRA = "exr"


class _Grid:
    """Points queried on one frame at the crossings of a regular grid: rows y [h], columns x [w], order [h,w]."""

    def __init__(self, job: Job) -> None:
        queries = job.tracks.queries
        self.x, column = np.unique(queries.xy[:, 0], return_inverse=True)
        self.y, row = np.unique(queries.xy[:, 1], return_inverse=True)
        if len(set(queries.t.tolist())) != 1 or len(self.x) * len(self.y) != len(queries):
            raise UsageError(
                "STMaps and motion vectors need one point on each crossing of a grid, all queried on the same frame: "
                f"these {len(queries)} points have {len(self.x)} columns, {len(self.y)} rows and "
                f"{len(set(queries.t.tolist()))} query frames"
            )
        self.order = np.empty((len(self.y), len(self.x)), int)
        self.order[row, column] = np.arange(len(queries))
        height, width = job.video.size
        self.across, self.down = _weights(self.x, width), _weights(self.y, height)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values [N] of the points as a picture [H,W]: bilinear between them, constant beyond the outermost."""
        return np.asarray(self.down @ values[self.order] @ self.across.T)

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """The value of the nearest point, [H,W]."""
        return np.asarray(values[self.order][self.down.argmax(1)][:, self.across.argmax(1)])


def _weights(ticks: np.ndarray, length: int) -> np.ndarray:
    """Linear interpolation from `ticks` to the pixel centres 0.5, 1.5, ...: [length, ticks]."""
    centers = np.arange(length) + 0.5
    return np.stack([np.interp(centers, ticks, unit) for unit in np.eye(len(ticks))], 1)


def _frames(
    job: Job, target: Path, channels: Callable[[Any, np.ndarray, np.ndarray, np.ndarray], dict[str, Any]]
) -> None:
    """Write one file for each frame; `channels` gets the displacement [H,W,2], P(visible) and valid [H,W]."""
    exr = require("OpenEXR", EXTRA)
    grid = _Grid(job)
    held = select(job.tracks, "all").xy
    pixels = np.stack(np.meshgrid(np.arange(job.video.width) + 0.5, np.arange(job.video.height) + 0.5), -1)
    header = {
        "compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage,
        "pixelAspectRatio": float(job.video.pixel_aspect),
    }  # fmt: skip
    for t, number in enumerate(job.numbers.tolist()):
        moved = held[:, t] - job.tracks.queries.xy
        shift = np.stack([grid.spread(moved[:, axis]) for axis in (0, 1)], -1)
        visible = grid.spread(job.tracks.visible[:, t].astype(float))
        valid = grid.nearest(job.keys.key[:, t].astype(float))
        planes = channels(pixels, shift, visible, valid)
        file = exr.File(header, {name: np.ascontiguousarray(plane, np.float32) for name, plane in planes.items()})
        file.write(str(target.with_name(f"{target.stem}.{number:04d}.exr")))


def _stmap(job: Job, target: Path) -> None:
    def channels(pixels: np.ndarray, shift: np.ndarray, visible: np.ndarray, valid: np.ndarray) -> dict[str, Any]:
        unit = coords.to_normalized(coords.flip_y(pixels + shift, job.video.height), job.video.size)
        return {"R": unit[..., 0], "G": unit[..., 1], "B": visible, "A": valid}

    _frames(job, target, channels)


def _motion(job: Job, target: Path) -> None:
    def channels(pixels: np.ndarray, shift: np.ndarray, visible: np.ndarray, valid: np.ndarray) -> dict[str, Any]:
        up = shift * (1.0, -1.0)
        return {"forward.u": up[..., 0], "forward.v": up[..., 1], "visible.Y": visible, "A": valid}

    _frames(job, target, channels)


def _size(job: Job, **_: Any) -> float:
    """Four float planes; ZIP takes smooth ones to about half."""
    return job.tracks.frames * job.video.width * job.video.height * 8.0


STMAP = Format(
    "stmap", ".exr", "STMaps, 32-bit EXR (NAME.0001.exr ...)", _stmap, first_frame=1, keeps_start=True, occlusion=True,
    timing="index", square_only=False, keeps_empty=True, size=_size,
)  # fmt: skip
MOTION = Format(
    "motion", ".exr", "motion vectors, 32-bit EXR (forward.u, forward.v)", _motion, first_frame=1, keeps_start=True,
    occlusion=True, timing="index", square_only=False, keeps_empty=True, size=_size,
)  # fmt: skip
