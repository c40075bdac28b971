"""Reading flow fields at points, following them, and checking them by going back.

Fields are [P,2,h,w], one vector for each pixel, valid at the pixel's centre; points are corner origin, so that the
field's row i, column j is met at (j + 0.5, i + 0.5). Outside the frame the border's vectors hold ("replicate").
"""

from __future__ import annotations

import torch
from torch import Tensor

from tapkit import coords
from tapkit.nn.sampling import Padding, sample


def at_points(maps: Tensor, xy: Tensor, padding: Padding = "border") -> Tensor:
    """Bilinear values of maps [P,C,h,w] at points [P,...,2] -> [P,...,C]."""
    return sample(maps, coords.to_centers(xy), padding)


def follow(flow: Tensor, xy: Tensor) -> Tensor:
    """Where points [P,...,2] go by flow [P,2,h,w]."""
    return xy + at_points(flow, xy)


def pixel_centers(size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """(x, y) of all pixels, corner origin: [h,w,2] float32."""
    y, x = torch.meshgrid(
        torch.arange(size[0], device=device) + 0.5, torch.arange(size[1], device=device) + 0.5, indexing="ij"
    )
    return torch.stack([x, y], -1)


def chained(first: Tensor, second: Tensor) -> Tensor:
    """The field a -> c out of a -> b and b -> c, [P,2,h,w] each: first + second at where the first leads."""
    ends = pixel_centers((first.shape[-2], first.shape[-1]), first.device) + first.permute(0, 2, 3, 1)
    return first + at_points(second, ends).permute(0, 3, 1, 2)


def round_trip(forward: Tensor, backward: Tensor, xy: Tensor) -> Tensor:
    """How far points [P,...,2] end from where they began after going by `forward` and back by `backward`: [P,...]."""
    miss: Tensor = torch.linalg.vector_norm(follow(backward, follow(forward, xy)) - xy, dim=-1)
    return miss


def round_trip_field(forward: Tensor, backward: Tensor) -> Tensor:
    """`round_trip` of every pixel, [P,h,w]."""
    miss: Tensor = torch.linalg.vector_norm(chained(forward, backward), dim=1)
    return miss
