"""Correlations of point features with a small neighbourhood of a feature map.

The samples of a square window with steps of one pixel share one fractional offset. So the products are taken with the
whole pixels around the position and their bilinear blend comes last: equal up to rounding to sampling the map (or a
whole correlation map) first, with a quarter of the reads and no sampled features in memory.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from tapkit.nn.exporting import exporting
from tapkit.nn.measured import Faster
from tapkit.nn.packed import can_pack, onednn
from tapkit.nn.sampling import blend, integer_cells, integer_patch, split

SMALL_MAP = 3072
"""On maps of at most so many cells a CPU multiplies with all of them sooner than it fetches those around a position."""
KERNEL = Faster("the kernel for correlation volumes")
"""What is known of `tapkit.nn.correlation_kernel` on this machine's GPUs."""


def local_correlation(maps: Tensor, index: Tensor, xy: Tensor, features: Tensor, radius: int) -> Tensor:
    """Products of a feature with a window of bilinear samples around a position.

    Args:
        maps: [B,h,w,C], contiguous.
        index: int64 [P], the map of each position.
        xy: float32 [P,2], map pixels, centres at integers.
        features: [P,C], one for each position.
        radius: r; the window is (2r+1) x (2r+1) samples, one map pixel apart.

    Returns:
        [P,(2r+1)^2], the x offset being the slow index. Outside the map the border is repeated.
    """
    pixels, fraction = integer_patch(maps, index, xy, radius)
    products = torch.bmm(pixels.flatten(1, 2).to(features.dtype), features[..., None])
    return blend(products.view(pixels.shape[:3]), fraction).flatten(1)


def track_correlation(maps: Tensor, xy: Tensor, features: Tensor, radius: int) -> Tensor:
    """`local_correlation` of whole tracks, each frame with the map of its own.

    Args:
        maps: [S,h,w,C], contiguous: one for each frame.
        xy: float32 [N,S,2], map pixels, centres at integers.
        features: [N,S,C].
        radius: r.

    Returns:
        [N,S,(2r+1)^2], as `local_correlation`.
    """
    count, frames = xy.shape[:2]
    height, width = maps.shape[1:3]
    plain = torch.is_grad_enabled() or torch.compiler.is_compiling() or exporting()
    if plain or height * width > SMALL_MAP or not can_pack(features):
        index = torch.arange(frames, device=maps.device).repeat(count)
        return local_correlation(maps, index, xy.flatten(0, 1), features.flatten(0, 1), radius).view(count, frames, -1)
    cells, fraction = integer_cells((height, width), xy.flatten(0, 1), radius)
    cells = cells.view(count, frames, -1)
    products = features.new_empty(count, frames, cells.shape[-1])
    for frame, pixels in enumerate(maps.flatten(1, 2).to(features.dtype)):
        own = onednn("_linear_pointwise", features[:, frame].contiguous(), pixels, None, "none", [], "")
        products[:, frame] = own.gather(1, cells[:, frame])
    side = 2 * radius + 2
    return blend(products.view(-1, side, side), fraction).view(count, frames, -1)


def correlation_volume(maps: Tensor, xy: Tensor, support: Tensor, radius: int) -> Tensor:
    """All products of a window around a moving position with the window around the query: a 4D volume.

    Args:
        maps: [S,h,w,C], contiguous: one for each frame.
        xy: float32 [N,S,2]: where each point is on each frame, map pixels.
        support: [N,(2r+1)^2,C]: the features around each query.
        radius: r.

    Returns:
        [N,S,(2r+1)^4]: index of the current window (x slow) outer, of the query's window inner. Outside the map the
        border is repeated. (CoTracker3, section 3.1; LocoTrack, section 3.1.)

    On a GPU with Triton one kernel does all of it, where that was measured to be faster.
    """
    if maps.device.type == "cuda" and len(xy) and _may_use_kernel():
        from tapkit.nn.correlation_kernel import volume

        def kernel() -> Tensor:
            base, fraction = split(xy.flatten(0, 1), (maps.shape[1], maps.shape[2]), radius)
            return volume(maps, base, fraction, support, radius)

        size = (xy.shape[0] * xy.shape[1]).bit_length()
        kind = (maps.device, maps.dtype, support.dtype, maps.shape[3], radius, size)
        if KERNEL.wins(kind, kernel, lambda: _volume_in_steps(maps, xy, support, radius)):
            return kernel()
    return _volume_in_steps(maps, xy, support, radius)


def _may_use_kernel() -> bool:
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling() or exporting()) and _has_triton()


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def _volume_in_steps(maps: Tensor, xy: Tensor, support: Tensor, radius: int) -> Tensor:
    """`correlation_volume` by PyTorch's operators."""
    count, frames = xy.shape[:2]
    index = torch.arange(frames, device=maps.device).repeat(count)
    pixels, fraction = integer_patch(maps, index, xy.flatten(0, 1), radius)
    pixels = pixels.to(support.dtype).view(count, -1, maps.shape[-1])
    products = _products(pixels, support).view(count * frames, 2 * radius + 2, 2 * radius + 2, -1)
    return blend(products, fraction).view(count, frames, -1)


def _products(pixels: Tensor, support: Tensor) -> Tensor:
    """pixels [N,M,C] times support [N,K,C] -> [N,M,K]."""
    if torch.is_grad_enabled() or exporting() or not can_pack(support):
        return torch.bmm(pixels, support.transpose(1, 2))
    # oneDNN multiplies by these narrow matrices twice as fast as MKL.
    products = pixels.new_empty(len(pixels), pixels.shape[1], support.shape[1])
    for out, x, weight in zip(products, pixels, support, strict=True):
        out.copy_(onednn("_linear_pointwise", x, weight, None, "none", [], ""))
    return products
