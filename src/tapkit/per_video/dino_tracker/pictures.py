"""Features as pictures: their three main directions as colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit import storage
from tapkit.per_video.dino_tracker.head import unit
from tapkit.per_video.method import Picture


def as_colours(maps: Tensor) -> np.ndarray:
    """Feature maps [F,C,h,w] as colours uint8 [F,h,w,3]: the three main directions of all of them together."""
    count, channels, height, width = maps.shape
    rows = unit(maps.permute(0, 2, 3, 1).reshape(-1, channels).double())
    rows = rows - rows.mean(0)
    axes = torch.linalg.eigh(rows.T @ rows)[1][:, -3:].flip(1)
    along = rows @ axes
    low, high = along.quantile(0.02, 0), along.quantile(0.98, 0)
    colours = ((along - low) / (high - low).clamp(min=1e-12)).clamp(0, 1) * 255
    found: np.ndarray = colours.round().to(torch.uint8).view(count, height, width, 3).numpy()
    return found


def feature_pictures(folder: Path, frames: Sequence[np.ndarray], raw: Tensor, refined: Tensor) -> list[Picture]:
    """One picture: frames [h,w,3] in a row, below them their frozen features [F,C,h,w], and the refined ones.

    Both kinds are coloured by the same directions, so that they may be compared.
    """
    from PIL import Image

    size = frames[0].shape[:2]
    colours = as_colours(torch.cat([raw, refined]))
    large = F.interpolate(torch.from_numpy(colours).permute(0, 3, 1, 2).float(), size, mode="nearest")
    tiles = large.permute(0, 2, 3, 1).to(torch.uint8).numpy()
    rows = (frames, tiles[: len(frames)], tiles[len(frames) :])
    sheet = np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)
    with storage.atomic(folder / "features.png") as part:
        Image.fromarray(sheet).save(part, format="PNG")
    return [Picture("features.png", "frames; frozen features; refined features (their main directions as colours)")]
