"""CaDeX++'s camera and depth maps. Pixels are index coordinates; the principal point is (w/2, h/2)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.coords import Size
from tapkit.errors import UsageError
from tapkit.per_video.prepare.masks import grid

MAP_SHARE = 0.3
"""Sides of the depth maps, in sides of the frame."""
BOX_SHARE = 0.8
"""Of the distance from the median to the nearer extreme, half a side of the box that is normalised."""


def focal(size: Size) -> float:
    """Focal length, pixels, of a field of view of 40 degrees across."""
    return size[1] / (2 * math.tan(math.radians(20)))


def map_size(size: Size) -> Size:
    """(height, width) of the depth maps of frames of `size`."""
    return math.floor(MAP_SHARE * size[0]), math.floor(MAP_SHARE * size[1])


def unproject(pixels: Tensor, depth: Tensor, size: Size) -> Tensor:
    """Pixels [...,2] at depths [...]: [...,3]."""
    centre = pixels.new_tensor([size[1] / 2, size[0] / 2])
    return torch.cat([(pixels - centre) / focal(size) * depth[..., None], depth[..., None]], -1)


def project(points: Tensor, size: Size) -> Tensor:
    """Pixels [...,2] of points [...,3]."""
    centre = points.new_tensor([size[1] / 2, size[0] / 2])
    return points[..., :2] / points[..., 2:] * focal(size) + centre


def nearest(maps: Tensor, pixels: Tensor, size: Size, clamp: bool = True) -> Tensor:
    """The nearest cells of maps [P,C,h,w] to pixels [P,K,2] of frames of `size`: [P,K,C]; corners meet corners. Pixels
    outside are brought to the border, or read 0 (`clamp` false)."""
    places = 2 * pixels / pixels.new_tensor([size[1] - 1, size[0] - 1]) - 1
    places = places.clamp(-1, 1) if clamp else places
    found = F.grid_sample(maps, places[:, :, None], mode="nearest", align_corners=True)
    return found[..., 0].transpose(1, 2)


def gradients(maps: Tensor) -> Tensor:
    """Of maps [N,h,w], how much each cell's neighbours to the left and above differ: [N,2,h,w]; 0 at borders."""
    left = F.pad(maps, (1, 0), mode="replicate")[..., :-1]
    above = F.pad(maps[:, None], (0, 0, 1, 0), mode="replicate")[:, 0, :-1]
    return torch.stack([left - maps, above - maps], 1)


def gradients_at(maps: Tensor, pixels: Tensor, size: Size, clamp: bool = True) -> Tensor:
    """`gradients` of maps [P,h,w] at pixels [P,K,2] of frames of `size`, as the optimised maps are read: [P,K,2].

    The last pixels of a row or column lie beyond the last cell's half; the original reads 0 there (`clamp` false),
    which pulls the depth beside them towards zero.
    """
    height, width = maps.shape[-2:]
    cells = pixels * pixels.new_tensor([width / size[1], height / size[0]])
    centre = nearest(maps[:, None], cells, (height, width), clamp)
    found = []
    for step in ((1.0, 0.0), (0.0, 1.0)):
        beside = (cells - cells.new_tensor(step)).clamp(min=0)
        found.append(nearest(maps[:, None], beside, (height, width), clamp) - centre)
    return torch.cat(found, -1)


def box(maps: Tensor, size: Size) -> Tensor:
    """The box [2,3] around what is seen: the middle of all pixels of all frames at the depths of `maps` [N,h,w].

    Raises `UsageError` if there is none, as for depth that is the same everywhere.
    """
    pixels = grid(size, maps.device).to(maps).reshape(1, -1, 2).expand(len(maps), -1, -1)
    points = unproject(pixels, nearest(maps[:, None], pixels, size)[..., 0], size).reshape(-1, 3)
    middle = points.median(0).values
    half = BOX_SHARE * torch.minimum(middle - points.amin(0), points.amax(0) - middle)
    if not bool((half > 0).all()):
        raise UsageError(
            "the initial depth maps give no box to work in: they are constant, or more than half of all pixels are at "
            "their nearest or farthest"
        )
    return torch.stack([middle - half, middle + half])
