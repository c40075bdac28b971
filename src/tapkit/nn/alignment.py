"""Where small patches of one frame are in the next, to a fraction of a pixel: Lucas-Kanade on batches of points.

B. Lucas and T. Kanade, An Iterative Image Registration Technique (IJCAI 1981), coarse to fine (J.-Y. Bouguet, 2000),
with the patches' means and contrasts made equal (J. Shi and C. Tomasi, CVPR 1994, section 4, without the affine part).
Positions are pixels, corner origin. No gradients.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant_like

LEVELS = 3
"""Sizes of the frame that are gone through: a quarter, a half, whole."""
RADIUS = 4
"""A patch has (2r+1)^2 pixels, at each size."""
STEPS = 4
"""Gauss-Newton steps at each size."""
LONGEST = 2.0
"""A step is cut off at so many pixels of its size."""


class _Template(NamedTuple):
    """The pixels around a point, K = (2r+1)^2. What there is of x and of y lies in planes, [B,2,N,...], so that whole
    rows of pixels are worked on at once."""

    patch: Tensor
    """[B,1,N,K] without their mean."""
    contrast: Tensor
    """[B,1,N,1]."""
    slopes: Tensor
    """[B,2,N,K] in x and in y, without their mean."""


def grey_pyramid(frames: Tensor) -> tuple[Tensor, ...]:
    """Frames [B,3,H,W], sides multiples of 4 -> float32 [B,1,H,W] and halves of it, the whole one first."""
    return pyramid(frames.float().mean(1, keepdim=True))


def pyramid(grey: Tensor) -> tuple[Tensor, ...]:
    """Frames in grey, float32 [B,1,H,W], and halves of it, the whole one first."""
    levels = [grey]
    for _ in range(LEVELS - 1):
        levels.append(F.avg_pool2d(levels[-1], 2))
    return tuple(levels)


@torch.no_grad()
def align(
    before: tuple[Tensor, ...],
    after: tuple[Tensor, ...],
    xy: Tensor,
    begin: Tensor | None = None,
    levels: int = LEVELS,
) -> tuple[Tensor, Tensor]:
    """Follow points from one frame to the next.

    Args:
        before: pyramid of B frames (`grey_pyramid`).
        after: pyramid of the frames that follow.
        xy: float32 [B,N,2], where the points are in `before`.
        begin: [B,N,2], by how much they are thought to have moved; None: not at all.
        levels: how many sizes are gone through, up to the whole one: fewer do where `begin` is good.

    Returns:
        Where they are in `after` [B,N,2], and the similarity of the patches there, correlation -1..1 [B,N].
    """
    start = _planes(xy)
    moved = torch.zeros_like(start) if begin is None else _planes(begin)
    similarity = torch.zeros_like(xy[..., 0])
    for level in range(levels - 1, -1, -1):
        first, second, scale = before[level], after[level], 2.0**level
        places = start / scale
        template = _template(_sample(first, places + _square(RADIUS + 1, xy)))
        grid = _grid(second, places + _square(RADIUS, xy))
        offset = _descend(template, second, grid, moved / scale)
        moved = offset * scale
        if level == 0:
            similarity = _likeness(template, _at(second, grid, offset))
    return xy + _points(moved), similarity


def around(image: Tensor, xy: Tensor) -> Tensor:
    """Pixels of [B,1,H,W] around xy [B,N,2] for `find`: [B,N,(2r+3)^2], one more on each side for slopes."""
    return _sample(image, _planes(xy) + _square(RADIUS + 1, xy))[:, 0]


@torch.no_grad()
def find(wide: Tensor, image: Tensor, xy: Tensor) -> tuple[Tensor, Tensor]:
    """Where pixels that were taken by `around` [B,N,(2r+3)^2] are in [B,1,H,W], looked for from xy [B,N,2] on.

    Returns their place [B,N,2], two or three pixels away at most if it is to be trusted, and the similarity there,
    correlation -1..1 [B,N].
    """
    grid = _grid(image, _planes(xy) + _square(RADIUS, xy))
    template = _template(wide[:, None])
    offset = _descend(template, image, grid, torch.zeros_like(grid[..., :1]))
    return xy + _points(offset), _likeness(template, _at(image, grid, offset))


def _descend(template: _Template, image: Tensor, grid: Tensor, offset: Tensor) -> Tensor:
    """`STEPS` steps of the offset [B,2,N,1] of a template from the places of `grid` [B,2,N,K] in image [B,1,H,W]."""
    patch, contrast, slopes = template
    # The step for what is left of the differences is the inverse of a matrix times their products with the slopes.
    # These have no mean, so that of the pixels found need not be taken off.
    own, other = _inverse(slopes)
    unit = _unit(image)
    wanted = (slopes * patch).sum(-1, keepdim=True)
    for _ in range(STEPS):
        found = _read(image, grid + offset * unit)
        mean = found.mean(-1, keepdim=True)
        spread = (torch.addcmul(found.square().mean(-1, keepdim=True), mean, mean, value=-1) + 1.0).sqrt()
        got = (slopes * found).sum(-1, keepdim=True)
        left = wanted - got * (contrast / spread).clamp(0.5, 2.0)
        step = own * left + other * left.flip(1)
        offset = offset + step.clamp(-LONGEST, LONGEST)
    return offset


def _template(wide: Tensor) -> _Template:
    """What is looked for, of pixels [B,1,N,(2r+3)^2]."""
    side = 2 * RADIUS + 3
    wide = wide.view(*wide.shape[:3], side, side)
    patch, contrast = _centred(wide[..., 1:-1, 1:-1].flatten(3))
    across, down = wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2], wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]
    slopes = torch.cat([across, down], 1).flatten(3) * 0.5
    return _Template(patch, contrast, slopes - slopes.mean(-1, keepdim=True))


def _likeness(template: _Template, found: Tensor) -> Tensor:
    """The correlation -1..1 [B,N] of a template with the pixels found [B,1,N,K]."""
    centred, spread = _centred(found)
    return ((template.patch * centred).mean(-1) / (template.contrast * spread)[..., 0])[:, 0]


def _inverse(slopes: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of the structure matrix of slopes [B,2,N,K]: by what the sum of a plane counts for its own plane
    [B,2,N,1] and for the other one [B,1,N,1].

    A little on the diagonal: where there is nothing to hold on to, a patch stays.
    """
    squares = slopes.square().sum(-1, keepdim=True) + 10.0
    cross = (slopes[:, :1] * slopes[:, 1:]).sum(-1, keepdim=True)
    determinant = squares[:, :1] * squares[:, 1:] - cross.square()
    return squares.flip(1) / determinant, -cross / determinant


def _square(radius: int, like: Tensor) -> Tensor:
    """Offsets (x, y) of the pixels of a square, row by row [2,1,(2r+1)^2]."""
    ticks = [float(tick) for tick in range(-radius, radius + 1)]
    x, y = ticks * len(ticks), [tick for tick in ticks for _ in ticks]
    return constant_like([x, y], like)[:, None]


def _planes(xy: Tensor) -> Tensor:
    """[B,N,2] -> [B,2,N,1]."""
    return xy.transpose(1, 2)[..., None]


def _points(planes: Tensor) -> Tensor:
    """[B,2,N,1] -> [B,N,2]."""
    return planes[..., 0].transpose(1, 2)


def _unit(image: Tensor) -> Tensor:
    """A pixel of [B,1,H,W] as `grid_sample` counts, [2,1,1]."""
    return (2 / constant_like([image.shape[3], image.shape[2]], image))[:, None, None]


def _grid(image: Tensor, places: Tensor) -> Tensor:
    """Places [B,2,N,K] pixels as `grid_sample` counts in an image [B,1,H,W]."""
    return places * _unit(image) - 1


def _at(image: Tensor, grid: Tensor, offset: Tensor) -> Tensor:
    """Bilinear samples of [B,1,H,W] at a `_grid` [B,2,N,K] moved by [B,2,N,1] pixels; the border goes on: [B,1,N,K]."""
    return _read(image, grid + offset * _unit(image))


def _sample(image: Tensor, places: Tensor) -> Tensor:
    """The same at places [B,2,N,K] pixels."""
    return _read(image, _grid(image, places))


def _read(image: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(image, grid.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)


def _centred(patch: Tensor) -> tuple[Tensor, Tensor]:
    """Patches [...,K] without their means, and their contrast [...,1]: the standard deviation and a little."""
    centred = patch - patch.mean(-1, keepdim=True)
    return centred, (centred.square().mean(-1, keepdim=True) + 1.0).sqrt()
