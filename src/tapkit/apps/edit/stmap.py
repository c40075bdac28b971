"""The warp of a region as pictures, for other programs: STMaps in OpenEXR, 32-bit float, one for each frame.

R = x / W, G = 1 - y / H (Nuke's origin is at the bottom left), B = what is seen, A = 1 where the map is known. The
inverse map lies on frame t and says where each of its pixels is on the reference frame: with it, an artwork made for
the reference frame is put onto frame t. The forward map lies on the reference frame and pulls frame t back onto it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tapkit.apps.edit.composite import Report
from tapkit.apps.edit.follow import Followed
from tapkit.apps.edit.footage import DeepSequence
from tapkit.apps.edit.mesh import STEP, Box, Warp
from tapkit.apps.edit.sampling import enlarged
from tapkit.apps.edit.support import Support
from tapkit.coords import flip_y, to_normalized
from tapkit.types import VideoInfo


def write_stmaps(
    found: Followed, path: str | Path, info: VideoInfo, *, inverse: bool = True, report: Report | None = None
) -> Path:
    """Write the STMaps of a region that was followed.

    Args:
        path: NAME.####.exr or NAME.%04d.exr; frames are numbered as the video numbers them.
        info: of the video.
        inverse: from frame t to the reference frame; False: from the reference frame to frame t.

    Raises `UsageError`, `StorageError`. Returns the path.
    """
    size = info.size
    whole = Box(0, 0, size[1], size[0])
    support = Support(found.prepared, found.warp, "soft")
    with DeepSequence(path, info) as files:
        for t in range(found.motion.frames):
            places = found.warp.back(t, whole) if inverse else _forward(found.warp, t, whole)
            seen = support.alpha(t, whole, lambda: np.zeros((*size, 3), np.uint8), t) if inverse else None
            unit = to_normalized(flip_y(places.astype(np.float64), size[0]), size)
            known = np.isfinite(places).all(-1) & (np.abs(unit) < 10).all(-1)
            shown = np.ones(size) if seen is None else seen
            planes = [unit[..., 0] * known, unit[..., 1] * known, shown * float(found.motion.presence[t]), known]
            files.write(np.stack(planes, -1).astype(np.float32))
            if report is not None:
                report(t + 1, found.motion.frames)
    return Path(path)


def _forward(warp: Warp, t: int, box: Box) -> np.ndarray:
    """Where the pixels of the reference frame are on frame t, [h,w,2] float32."""
    grid = box.grid(STEP)
    there = warp.forward(t, grid.reshape(-1, 2).astype(np.float64))
    return enlarged(np.nan_to_num(there, posinf=1e6, neginf=-1e6).reshape(grid.shape), STEP, box.size)
