"""The depth that a fit of CaDeX++ begins with: given, or guessed from motion and from what gets hidden.

The authors take it from a monocular network. Where there is none, what moves against the rest of the picture is taken
to be in front of it; if it is mostly that which gets hidden, behind it. The rest is a plane, nearer at the bottom.
"""

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
from tapkit.per_video.prepare.flows import HIDDEN, PairFlows
from tapkit.per_video.prepare.store import Prepared

FAR, SLOPE, STEP = 2.3, 0.3, 0.7
"""Depth at the top of the plane, how much nearer its bottom is, and how far what moves stands out of it."""
STEPS = (-3, -2, -1, 1, 2, 3)
"""Distances of the frames against which motion is looked at."""
ROUNDS = 8
"""Of the robust fit of the picture's own motion."""


def initial_depth(prepared: Prepared, flows: PairFlows, depth: str) -> Tensor:
    """Depth maps float32 [N,h,w] of `map_size`. Raises `UsageError`, `StorageError` for files that do not fit."""
    size, frames = prepared.size, len(prepared)
    cells = map_size(size)
    if min(cells) < 2:
        raise UsageError(f"{size[1]}x{size[0]} pixels are too few for CaDeX++: its depth maps are 0.3 of that")
    if depth not in GUESSED:
        return _resized(torch.from_numpy(read_depth(Path(depth), frames)), cells)
    plane = FAR - SLOPE * torch.linspace(0, 1, cells[0])[:, None].expand(frames, *cells)
    if depth == "plane":
        return plane.contiguous()
    moving = [foreground(flows, index) for index in range(frames)]
    maps = torch.stack([share for share, _ in moving])
    hidden = torch.stack([lost for _, lost in moving])
    in_front = float((hidden * (maps < 0.5)).sum()) >= float((hidden * (maps >= 0.5)).sum())
    return plane - (STEP if in_front else -STEP) * F.adaptive_avg_pool2d(maps[:, None], cells)[:, 0]


def foreground(flows: PairFlows, index: int) -> tuple[Tensor, Tensor]:
    """Of a frame: how much each pixel moves against the picture [h,w] 0..1, and in how many frames it gets hidden."""
    shares, hidden = [], []
    for step in STEPS:
        if index + step in flows.targets(index):
            flow = torch.from_numpy(np.asarray(flows.flow(index, index + step), np.float32)) / abs(step)
            mask = torch.from_numpy(np.array(flows.mask(index, index + step)))
            apart = (flow - dominant(flow)).norm(dim=-1)
            usual = apart.median().clamp(min=0.25)
            shares.append((apart / usual).square() / (9 + (apart / usual).square()))
            hidden.append((mask & HIDDEN) > 0)
    share = torch.stack(shares).median(0).values
    return F.avg_pool2d(share[None, None], 5, 1, 2, count_include_pad=False)[0, 0], torch.stack(hidden).float().sum(0)


def dominant(flow: Tensor) -> Tensor:
    """The affine motion that most of a flow field [h,w,2] follows, as a field."""
    height, width = flow.shape[:2]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    basis = torch.stack([torch.ones_like(x), x, y], -1).reshape(-1, 3)
    values, weight = flow.reshape(-1, 2), torch.ones(height * width)
    fitted = values
    for _ in range(ROUNDS):
        normal = basis.T @ (basis * weight[:, None]) + 1e-6 * torch.eye(3)
        fitted = basis @ torch.linalg.solve(normal, basis.T @ (values * weight[:, None]))
        apart = (values - fitted).norm(dim=-1)
        weight = 1 / (1 + (apart / apart.median().clamp(min=0.1)).square()) ** 2
    return fitted.reshape(height, width, 2)


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
