"""Image resizing as the authors' scripts do it, on any device."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from tapkit.coords import Size

_LOBES = 3
_BAND = 32
"""Output pixels whose (overlapping) input pixels are multiplied together."""


@lru_cache(maxsize=16)
def _bands(size: int, new_size: int, device: torch.device) -> tuple[tuple[int, Tensor], ...]:
    """The resize of one axis, by bands of the output: where the band's input begins, and its weights [out,in]."""
    scale = size / new_size
    support = _LOBES * max(scale, 1.0)
    centres = (np.arange(new_size) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(int), 0)
    last = np.minimum((centres + support + 0.5).astype(int), size)
    bands = []
    for start in range(0, new_size, _BAND):
        rows = slice(start, start + _BAND)
        low, high = int(first[rows].min()), int(last[rows].max())
        inputs = np.arange(low, high)
        distance = (inputs + 0.5 - centres[rows, None]) / max(scale, 1.0)
        weights = np.sinc(distance) * np.sinc(distance / _LOBES) * (np.abs(distance) < _LOBES)
        weights *= (inputs >= first[rows, None]) & (inputs < last[rows, None])
        weights /= weights.sum(1, keepdims=True)
        with torch.inference_mode(False):
            bands.append((low, torch.from_numpy(weights.astype(np.float32)).to(device)))
    return tuple(bands)


def _along_last(images: Tensor, new_size: int) -> Tensor:
    """float images [...,n] resized along the last axis, rounded as an 8-bit image is."""
    bands = _bands(images.shape[-1], new_size, images.device)
    parts = [images[..., low : low + w.shape[1]] @ w.T for low, w in bands]
    return torch.cat(parts, -1).add_(0.5).floor_().clamp_(0, 255)


def resize_lanczos(frames: Tensor, size: Size) -> Tensor:
    """uint8 frames [B,C,H,W] resized to `size` with the Lanczos filter of Pillow (and so of mediapy), as uint8.

    Corner aligned; when shrinking, the filter is widened, so nothing aliases. First along x, then along y (the other
    way round if only y shrinks), with a rounding to 8 bits in between, all as Pillow 13 does it: results differ from
    Pillow's by one grey level at most.
    """
    height, width = (int(side) for side in frames.shape[-2:])
    if (height, width) == tuple(size):
        return frames
    images = frames.float()
    rows_first = size[0] < height and size[1] > width
    for axis in (-2, -1) if rows_first else (-1, -2):
        if images.shape[axis] != size[axis]:
            images = _along_last(images.transpose(axis, -1), size[axis]).transpose(axis, -1)
    return images.to(torch.uint8).contiguous()
