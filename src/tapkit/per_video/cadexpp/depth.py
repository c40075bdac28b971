"""The depth that a fit of CaDeX++ begins with: given, or guessed. The authors take it from a monocular network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit import storage
from tapkit.coords import Size
from tapkit.errors import UsageError
from tapkit.per_video.cadexpp.geometry import map_size
from tapkit.per_video.cadexpp.options import GUESSED
from tapkit.per_video.prepare.flows import PairFlows
from tapkit.per_video.prepare.guessed_depth import guessed_depth, plane
from tapkit.per_video.prepare.store import Prepared


def initial_depth(prepared: Prepared, flows: PairFlows, depth: str) -> Tensor:
    """Depth maps float32 [N,h,w] of `map_size`. Raises `UsageError`, `StorageError` for files that do not fit."""
    size, frames = prepared.size, len(prepared)
    cells = map_size(size)
    if min(cells) < 2:
        raise UsageError(f"{size[1]}x{size[0]} pixels are too few for CaDeX++: its depth maps are 0.3 of that")
    if depth not in GUESSED:
        return _resized(torch.from_numpy(read_depth(Path(depth), frames)), cells)
    return plane(frames, cells) if depth == "plane" else guessed_depth(flows, cells)


def read_depth(path: Path, frames: int) -> np.ndarray:
    """Depth float32 [N,h,w] from a .npy file, or from a folder of one for each frame. Raises `UsageError`."""
    files = sorted(path.glob("*.npy")) if path.is_dir() else [path]
    if not path.exists():
        raise UsageError(f"depth is motion, plane, a .npy file or a folder of them; there is no {path}")
    with storage.reading(path, "depth"):
        parts = [np.load(file, allow_pickle=False) for file in files]
        depth = parts[0] if len(parts) == 1 and not path.is_dir() else np.stack(parts) if parts else np.zeros(0)
    if depth.ndim != 3 or len(depth) != frames:
        raise UsageError(f"depth of {path} must be [{frames},h,w], a map for each frame, got {list(depth.shape)}")
    if not np.isfinite(depth).all() or not (depth > 0).all():
        raise UsageError(f"depth of {path} must be finite and more than 0 everywhere")
    return depth.astype(np.float32)


def _resized(depth: Tensor, cells: Size) -> Tensor:
    """Maps [N,h,w] with the nearest values at cells of another size, corners aligned with corners."""
    return F.interpolate(depth[:, None], cells, mode="nearest")[:, 0]
