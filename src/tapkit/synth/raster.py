"""A z-buffer of triangles in plain tensor operations: pairs of triangle and pixel, then the nearest one each.

Works on the CPU and the GPU, without loops over triangles or pixels. Depth enters as 1/w, which is linear on the
screen, so hidden surfaces and surface positions are exact in perspective.
"""

from __future__ import annotations

import torch
from torch import Tensor

NOTHING = -1
TOUCHING, CLEARLY = 0.0015, 0.02
"""By how much 1/w must be larger to hide: where triangles are tested exactly, and where they are only near."""
_NEIGHBOURS = tuple((across, down) for down in (-1, 0, 1) for across in (-1, 0, 1))


def rasterise(xy: Tensor, near: Tensor, size: tuple[int, int], supersample: int = 1, closed: bool = False) -> Tensor:
    """Which triangle is seen at each sub-pixel centre.

    Args:
        xy: float [M,F,3,2], corners of F triangles in M pictures, in pixels, corner origin.
        near: float [M,F,3], 1/w of the corners; triangles with a corner that is not positive are left out.
        size: (height, width).
        supersample: samples per pixel along each axis.
        closed: the triangles enclose a body and wind clockwise seen from its inside: those that face away are hidden
            by others and are left out. Else both sides are seen.

    Returns:
        int64 [M, height*supersample, width*supersample], index of the triangle or `NOTHING`.
    """
    pictures, faces = xy.shape[:2]
    height, width = size[0] * supersample, size[1] * supersample
    xy = xy.flatten(0, 1) * supersample
    near = near.flatten(0, 1)
    limit = xy.new_tensor([width, height])
    first = (xy.amin(1) - 0.5).ceil().clamp_min(0).minimum(limit)
    last = (xy.amax(1) - 0.5).floor().clamp_min(-1).minimum(limit - 1)
    span = (last - first + 1).clamp_min(0)
    area = doubled_area(xy)
    usable = (near > 0).all(-1) & (area.abs() > 1e-9) & torch.isfinite(xy).flatten(1).all(-1) & (span > 0).all(-1)
    if closed:
        usable &= area < 0
    kept = usable.nonzero()[:, 0]
    xy, near, first, span = xy[kept], near[kept], first[kept], span[kept]
    count = (span[:, 0] * span[:, 1]).long()
    triangle = torch.repeat_interleave(torch.arange(len(kept), device=xy.device), count)
    place = (torch.arange(len(triangle), device=xy.device) - (count.cumsum(0) - count)[triangle]).float()
    # Where a triangle's pairs begin, its weights there, and by how much these and the depth grow per sub-pixel.
    planes = _planes(xy, near, first + 0.5)
    own = torch.cat([span[:, :1], first[:, 1:] * width + first[:, :1], planes], 1)[triangle]
    down = ((place + 0.5) / own[:, 0]).floor()
    across = place - down * own[:, 0]
    values = own[:, 2:6].addcmul(own[:, 6:10], across[:, None]).addcmul_(own[:, 10:14], down[:, None])
    inside = ((values[:, 0] >= 0) & (values[:, 1] >= 0) & (values[:, 2] >= 0)).nonzero()[:, 0]
    triangle, depth = kept[triangle[inside]], values[inside, 3]
    pixel = (own[inside, 1] + down[inside] * width + across[inside]).long()
    pixel += triangle.div(faces, rounding_mode="floor") * (height * width)
    nearest = depth.new_zeros(pictures * height * width).scatter_reduce_(0, pixel, depth, "amax")
    wins = (depth == nearest[pixel]).nonzero()[:, 0]
    seen = torch.full((pictures * height * width,), NOTHING, dtype=torch.int64, device=xy.device)
    # Of triangles at exactly the same depth the last one counts, on every device.
    seen.scatter_reduce_(0, pixel[wins], triangle[wins] % faces, "amax")
    return seen.view(pictures, height, width)


def _planes(xy: Tensor, near: Tensor, origin: Tensor) -> Tensor:
    """Three weights and 1/w of triangles [n,3,2] as planes over the screen, seen from `origin` [n,2].

    Returns:
        float [n,12]: the four values at the origin, their change per pixel to the right, and per pixel down.
    """
    value = barycentric(xy, origin)
    a, b, c = xy.unbind(1)
    area = doubled_area(xy)[:, None]
    right = torch.stack([b[:, 1] - c[:, 1], c[:, 1] - a[:, 1], a[:, 1] - b[:, 1]], -1) / area
    down = torch.stack([c[:, 0] - b[:, 0], a[:, 0] - c[:, 0], b[:, 0] - a[:, 0]], -1) / area
    return torch.cat([part for w in (value, right, down) for part in (w, (w * near).sum(-1, keepdim=True))], -1)


def doubled_area(triangle: Tensor) -> Tensor:
    """Signed double area of triangles [...,3,2] -> [...]."""
    a, b = triangle[..., 1, :] - triangle[..., 0, :], triangle[..., 2, :] - triangle[..., 0, :]
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def barycentric(triangle: Tensor, point: Tensor) -> Tensor:
    """Screen weights of points [...,2] in triangles [...,3,2] -> [...,3], sum 1; all >= 0 inside."""
    corner = triangle - point[..., None, :]
    x, y = corner[..., 0], corner[..., 1]
    twice = torch.stack(
        [
            x[..., 1] * y[..., 2] - x[..., 2] * y[..., 1],
            x[..., 2] * y[..., 0] - x[..., 0] * y[..., 2],
            x[..., 0] * y[..., 1] - x[..., 1] * y[..., 0],
        ],
        -1,
    )
    total = twice.sum(-1, keepdim=True)
    return twice / torch.where(total.abs() < 1e-12, 1e-12, total)


def surface_weights(weights: Tensor, near: Tensor) -> Tensor:
    """Screen weights [...,3] of triangles with 1/w `near` [...,3] as weights on the surface itself [...,3]."""
    scaled = weights * near
    return scaled / scaled.sum(-1, keepdim=True)


def covered(
    xy: Tensor, near: Tensor, seen: Tensor, supersample: int, point: Tensor, depth: Tensor | None = None
) -> Tensor:
    """Whether something of the rasterised pictures lies over points.

    The triangles seen at the 3x3 sub-pixels about a point are tested exactly, at the point itself. Where triangles are
    smaller than sub-pixels the one over the point may be none of them: then what is seen at the point's own sub-pixel
    decides, if it is clearly nearer, or has neighbours on all sides.

    Args:
        xy, near: corners as given to `rasterise`.
        seen: what it returned, in any type of integer.
        point: [M,n,2] in pixels.
        depth: [M,n], 1/w of the points; None: any triangle covers.

    Returns:
        bool [M,n].
    """
    pictures, height, width = seen.shape
    base = (point * supersample).floor().long()
    picture = torch.arange(pictures, device=xy.device)[:, None]
    found = torch.zeros(point.shape[:2], dtype=torch.bool, device=xy.device)
    surrounded = torch.ones_like(found)
    for across, down in _NEIGHBOURS:
        row = (base[..., 1] + down).clamp(0, height - 1)
        column = (base[..., 0] + across).clamp(0, width - 1)
        face = seen[picture, row, column].long()
        there = face.clamp_min(0)
        weights = barycentric(xy[picture, there], point)
        over = (face != NOTHING) & (weights >= 0).all(-1)
        surrounded &= face != NOTHING
        if depth is not None:
            corners = near[picture, there]
            plane = (weights * corners).sum(-1)
            over &= plane > depth * (1 + TOUCHING)
            if across == down == 0:
                plane = plane.clamp(corners.amin(-1), corners.amax(-1))
                found |= (face != NOTHING) & (plane > depth * (1 + CLEARLY))
        found |= over
    return found | surrounded if depth is None else found
