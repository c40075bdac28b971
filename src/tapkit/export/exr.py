"""Dense tracks as pictures: STMaps and motion-vector passes, 32-bit float EXR, one file for each frame.

Both lie on the pixels of the reference frame, on which the points were queried. An STMap says for each of its pixels
where that bit of the scene is on frame t: R = x / W, G = 1 - y / H (Nuke's STMap node then pulls frame t back onto
the reference frame: it stabilises), B = P(visible), A = 1 where the tracker gave an answer. A motion pass has the same
as pixels to go, forward.u right and forward.v up. `write_dense` writes those of dense results of any kind, field by
field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import coords, storage
from tapkit.coords import Size
from tapkit.errors import UsageError, require
from tapkit.export.format import LARGEST, Format, Job
from tapkit.export.select import select
from tapkit.types import VideoInfo
from tapkit.types.dense import Dense

EXTRA = "exr"


Planes = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, VideoInfo], dict[str, Any]]
"""Channels of one file, out of the pixels' centres and their displacement [H,W,2], P(visible) and valid [H,W]."""


class _Grid:
    """Values at the crossings of a regular grid, columns x [w] and rows y [h], as pictures of `size`."""

    def __init__(self, x: np.ndarray, y: np.ndarray, size: Size) -> None:
        self.across, self.down = _weights(x, size[1]), _weights(y, size[0])
        self.whole = (len(y), len(x)) == size  # every pixel has its own value

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values [h,w] as a picture [H,W]: bilinear between them, constant beyond the outermost."""
        return values if self.whole else np.asarray(self.down @ values @ self.across.T)

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """The nearest of the values [h,w], [H,W]."""
        return values if self.whole else np.asarray(values[self.down.argmax(1)][:, self.across.argmax(1)])


def _grid_of(job: Job) -> tuple[_Grid, np.ndarray]:
    """The grid at whose crossings the points were queried on one frame, and which point is at each [h,w]."""
    queries = job.tracks.queries
    x, column = np.unique(queries.xy[:, 0], return_inverse=True)
    y, row = np.unique(queries.xy[:, 1], return_inverse=True)
    if len(set(queries.t.tolist())) != 1 or len(x) * len(y) != len(queries):
        raise UsageError(
            "STMaps and motion vectors need one point on each crossing of a grid, all queried on the same frame: "
            f"these {len(queries)} points have {len(x)} columns, {len(y)} rows and "
            f"{len(set(queries.t.tolist()))} query frames"
        )
    order = np.empty((len(y), len(x)), int)
    order[row, column] = np.arange(len(queries))
    return _Grid(x, y, job.video.size), order


def _weights(ticks: np.ndarray, length: int) -> np.ndarray:
    """Linear interpolation from `ticks` to the pixel centres 0.5, 1.5, ...: [length, ticks]."""
    centers = np.arange(length) + 0.5
    return np.stack([np.interp(centers, ticks, unit) for unit in np.eye(len(ticks))], 1)


class _Files:
    """Writes the planes of one frame after the other."""

    def __init__(self, video: VideoInfo, planes: Planes) -> None:
        self.exr = require("OpenEXR", EXTRA)
        self.video, self.planes = video, planes
        self.pixels = np.stack(np.meshgrid(np.arange(video.width) + 0.5, np.arange(video.height) + 0.5), -1)
        self.header = {
            "compression": self.exr.ZIP_COMPRESSION, "type": self.exr.scanlineimage,
            "pixelAspectRatio": float(video.pixel_aspect),
        }  # fmt: skip

    def write(self, path: Path, grid: _Grid, shift: np.ndarray, visible: np.ndarray, valid: np.ndarray) -> None:
        """`shift` [h,w,2], `visible`, `valid` [h,w] at the crossings of the grid."""
        moved = np.stack([grid.spread(shift[..., axis]) for axis in (0, 1)], -1)
        seen, known = grid.spread(visible.astype(float)), grid.nearest(valid.astype(float))
        planes = self.planes(self.pixels, moved, seen, known, self.video)
        ready = {name: np.ascontiguousarray(plane, np.float32) for name, plane in planes.items()}
        self.exr.File(self.header, ready).write(str(path))


def numbered(path: Path, numbers: Sequence[int]) -> list[Path]:
    """The files of frames of these numbers: NAME.0001.exr for NAME.exr."""
    return [path.with_name(f"{path.stem}.{number:04d}.exr") for number in numbers]


def _frames(job: Job, target: Path, planes: Planes) -> None:
    """Write one file for each frame of tracks."""
    files = _Files(job.video, planes)
    grid, order = _grid_of(job)
    held = select(job.tracks, "all").xy
    paths = numbered(target, job.numbers.tolist())
    for t in range(job.tracks.frames):
        moved = held[:, t] - job.tracks.queries.xy
        files.write(paths[t], grid, moved[order], job.tracks.visible[:, t][order], job.keys.key[:, t][order])


def stmap_planes(
    pixels: np.ndarray, shift: np.ndarray, visible: np.ndarray, valid: np.ndarray, video: VideoInfo
) -> dict[str, Any]:
    """R = x / W, G = 1 - y / H, B = P(visible), A = valid."""
    unit = coords.to_normalized(coords.flip_y(pixels + shift, video.height), video.size)
    return {"R": unit[..., 0], "G": unit[..., 1], "B": visible, "A": valid}


def motion_planes(
    pixels: np.ndarray, shift: np.ndarray, visible: np.ndarray, valid: np.ndarray, video: VideoInfo
) -> dict[str, Any]:
    """forward.u right, forward.v up, pixels; visible.Y, A."""
    up = shift * (1.0, -1.0)
    return {"forward.u": up[..., 0], "forward.v": up[..., 1], "visible.Y": visible, "A": valid}


PLANES: Mapping[str, Planes] = {"stmap": stmap_planes, "motion": motion_planes}
"""By name of the format."""


def write_dense(
    dense: Dense, path: str | Path, form: str, *, start_frame: int | None = None, largest: float = LARGEST
) -> list[Path]:
    """Write a dense result as "stmap" or "motion", one file for each of its fields, in flat memory.

    Args:
        dense: tracks of a frame's cells, or flow.
        path: NAME.exr; the files are NAME.0001.exr ..., numbered by the frame a field leads to where all begin on the
            same one, else by the frame they begin on (NAME.0001_0003.exr where several do).
        start_frame: number of frame 0; None: the clip's own, else 1.
        largest: refuse to write more bytes than this.

    Returns the files. Raises `UsageError`, `StorageError`, `MissingExtra`. Nothing appears before all is written.
    """
    if form not in PLANES:
        raise UsageError(f"dense results are written as {' or '.join(PLANES)}, not as {form!r}")
    path = Path(path)
    estimate = len(dense) * dense.video.width * dense.video.height * 8.0
    if estimate > largest:
        raise UsageError(
            f"{form} would take about {estimate / 1e9:.1f} GB, more than {largest / 1e9:.1f}: allow it (--force)"
        )
    wanted = dense_files(dense, path, start_frame)
    files = _Files(dense.video, PLANES[form])
    start = dense.start
    grid = _Grid(start[0, :, 0].astype(float), start[:, 0, 1].astype(float), dense.size)
    with storage.staged(path) as target:
        for file, field in zip(wanted, dense.fields(), strict=True):
            known = field.valid & np.isfinite(field.xy).all(-1)
            shift = np.where(known[..., None], field.xy - start, 0).astype(float)
            files.write(target.with_name(file.name), grid, shift, np.where(known, field.visible, 0), known)
    return wanted


def dense_files(dense: Dense, path: Path, start_frame: int | None) -> list[Path]:
    """The files that `write_dense` writes."""
    number = (dense.video.start_frame or 1) if start_frame is None else start_frame
    return [path.with_name(f"{path.stem}.{name}.exr") for name in _numbered(dense, number)]


def _numbered(dense: Dense, number: int) -> list[str]:
    """Numbers of the fields' files."""
    if dense.one_frame:
        return [f"{frame + number:04d}" for frame in dense.second.tolist()]
    if len(set(dense.first.tolist())) == len(dense):
        return [f"{frame + number:04d}" for frame in dense.first.tolist()]
    pairs = zip(dense.first.tolist(), dense.second.tolist(), strict=True)
    return [f"{first + number:04d}_{second + number:04d}" for first, second in pairs]


def _stmap(job: Job, target: Path) -> None:
    _frames(job, target, stmap_planes)


def _motion(job: Job, target: Path) -> None:
    _frames(job, target, motion_planes)


def _size(job: Job, **_: Any) -> float:
    """Four float planes; ZIP takes smooth ones to about half."""
    return job.tracks.frames * job.video.width * job.video.height * 8.0


STMAP = Format(
    "stmap", ".exr", "STMaps, 32-bit EXR (NAME.0001.exr ...)", _stmap, first_frame=1, keeps_start=True, occlusion=True,
    timing="index", square_only=False, keeps_empty=True, size=_size, files=numbered,
)  # fmt: skip
MOTION = Format(
    "motion", ".exr", "motion vectors, 32-bit EXR (forward.u, forward.v)", _motion, first_frame=1, keeps_start=True,
    occlusion=True, timing="index", square_only=False, keeps_empty=True, size=_size, files=numbered,
)  # fmt: skip
