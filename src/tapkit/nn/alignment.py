"""Where small patches of one frame are in the next, to a fraction of a pixel: Lucas-Kanade on batches of points.

B. Lucas and T. Kanade, An Iterative Image Registration Technique (IJCAI 1981), coarse to fine (J.-Y. Bouguet, 2000),
with the patches' means and contrasts made equal (J. Shi and C. Tomasi, CVPR 1994, section 4, without the affine part).
Positions are pixels, corner origin. No gradients.

Patches are small and few, so time goes with the number of operations, not with their size. Within, places are counted
as `grid_sample` does, from -1 to 1 over a side: the same at all sizes of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant, table

LEVELS = 3
"""Sizes of the frame that are gone through: a quarter, a half, whole."""
RADIUS = 4
"""A patch has (2r+1)^2 pixels, at each size."""
STEPS = 4
"""Gauss-Newton steps at each size."""
LONGEST = 2.0
"""A step is cut off at so many pixels of its size."""
FLAT = 10.0
"""Added to the squares of the slopes of a patch: where there is nothing to hold on to, a patch stays."""


class Aligned(NamedTuple):
    """Where N points of B frames are in the next ones."""

    xy: Tensor
    """[B,N,2] pixels."""
    similarity: Tensor
    """[B,N] of the patches there, correlation -1..1."""
    missed: Tensor
    """[B,N] pixels by which the way back from there misses where the point was."""


BILINEAR, BORDER = 0, 1
"""What `grid_sampler` calls these; `F.grid_sample`, which asks for words, takes a good part of a small one's time."""
KEPT = 3 * (2 * RADIUS + 1) ** 2 + 3
"""Numbers of a `template`."""


class _Template(NamedTuple):
    """The pixels around a point, K = (2r+1)^2. What there is of x and of y lies in planes, [B,2,N,...], so that whole
    rows of pixels are worked on at once."""

    patch: Tensor
    """[B,1,N,K] without their mean."""
    contrast: Tensor
    """[B,1,N,1]."""
    steps: Tensor
    """[B,2,N,K]: by how much a grey level that a pixel is too low moves the patch on; without their mean."""
    wanted: Tensor
    """[B,2,N,1]: the products of these with the patch."""


def grey_pyramid(frames: Tensor) -> tuple[Tensor, ...]:
    """Frames [B,3,H,W], sides multiples of 4 -> float32 [B,1,H,W] and halves of it, the whole one first."""
    levels = [frames.float().mean(1, keepdim=True)]
    for _ in range(LEVELS - 1):
        levels.append(F.avg_pool2d(levels[-1], 2))
    return tuple(levels)


@torch.no_grad()
def align(before: Sequence[Tensor], after: Sequence[Tensor], xy: Tensor) -> Aligned:
    """Follow points from one frame to the next, and back.

    The way back begins where it should end, at the whole size only.

    Args:
        before: pyramid of B frames (`grey_pyramid`), or some sizes of it.
        after: pyramid of the frames that follow.
        xy: float32 [B,N,2], where the points are in `before`, pixels of its first size.
    """
    start, batch = _placed(before[0], _planes(xy)), len(xy)
    offset = torch.zeros_like(start)
    # Templates of all sizes in one piece, the whole size first.
    wide = torch.cat([_read(level, start + _square(RADIUS + 1, level)) for level in before])
    pixels = [_pixels(level, 2) for level in before for _ in range(batch)]
    templates = _template(wide, torch.stack(pixels))
    for number, second in reversed(list(enumerate(after))):
        rows = slice(number * batch, (number + 1) * batch)
        template = _Template(*(part[rows] for part in templates))
        offset = _descend(template, second, start + _square(RADIUS, second), offset)
    end = start + offset
    there = _template(_read(after[0], end + _square(RADIUS + 1, after[0])), pixels[0])
    back = _descend(there, before[0], end + _square(RADIUS, before[0]), -offset)
    half = _half(before[0])
    missed = ((offset + back) * half).square().sum(1).sqrt()[..., 0]
    return Aligned(xy + _points(offset * half), _likeness(template, there), missed)


def around(image: Tensor, xy: Tensor) -> Tensor:
    """Pixels of [B,1,H,W] around xy [B,N,2] for `template`: [B,N,(2r+3)^2], one more on each side for slopes."""
    return _read(image, _placed(image, _planes(xy)) + _square(RADIUS + 1, image))[:, 0]


def template(wide: Tensor, image: Tensor) -> Tensor:
    """What `find` needs of pixels that were taken by `around` [B,N,(2r+3)^2], in images as large as [B,1,H,W]:
    [B,N,KEPT]. It is made once for all images in which they are looked for."""
    made = _template(wide[:, None], _pixels(image, 2))
    planes = torch.cat([made.patch, made.steps], 1).transpose(1, 2).flatten(2)
    return torch.cat([planes, _points(made.wanted), made.contrast[:, 0]], 2)


@torch.no_grad()
def find(kept: Tensor, image: Tensor, xy: Tensor) -> tuple[Tensor, Tensor]:
    """Where pixels, of which a `template` was kept [B,N,KEPT], are in [B,1,H,W], looked for from xy [B,N,2] on.

    Returns their place [B,N,2], two or three pixels away at most if it is to be trusted, and the similarity there,
    correlation -1..1 [B,N].
    """
    grid = _placed(image, _planes(xy)) + _square(RADIUS, image)
    planes = kept[..., :-3].view(*kept.shape[:2], 3, (2 * RADIUS + 1) ** 2).transpose(1, 2)
    made = _Template(planes[:, :1], kept[:, None, :, -1:], planes[:, 1:], _planes(kept[..., -3:-1]))
    offset = _descend(made, image, grid, torch.zeros_like(grid[..., :1]))
    patch = _centred(_read(image, grid + offset))
    there = made._replace(patch=patch, contrast=_contrast(_length(patch)))
    return xy + _points(offset * _half(image)), _likeness(made, there)


def _descend(made: _Template, image: Tensor, grid: Tensor, offset: Tensor) -> Tensor:
    """`STEPS` steps of the offset [B,2,N,1] of a template from the places of `grid` [B,2,N,K] in image [B,1,H,W]."""
    _, contrast, steps, wanted = made
    least, most, level = _pixels(image, -LONGEST), _pixels(image, LONGEST), _grey_level(contrast)
    for _ in range(STEPS):
        found = _centred(_read(image, grid + offset))
        got = (steps * found).sum(-1, keepdim=True)
        more = torch.hypot(_length(found), level) / contrast
        step = torch.addcdiv(wanted, got, more.clamp(0.5, 2.0), value=-1)
        offset = offset + step.clamp(least, most)
    return offset


def _template(wide: Tensor, pixels: Tensor) -> _Template:
    """What is looked for, of pixels [B,1,N,(2r+3)^2]; `pixels` [2,1,1] or [B,2,1,1] is how `grid_sample` counts two of
    the image in which it is.

    The step for what is left of the differences is the inverse of the slopes' structure matrix times their products
    with the slopes. Here it is the slopes that are multiplied by it, once for all steps.
    """
    side = 2 * RADIUS + 3
    wide = wide.view(*wide.shape[:3], side, side)
    across, down = wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2], wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]
    # Slopes of x and y, and of y and x: planes 1 and 2, and 2 and 3. They are twice what they should be.
    planes = _centred(torch.cat([wide[..., 1:-1, 1:-1], across, down, across], 1).flatten(3))
    slopes, turned = planes[:, 1:3], planes[:, 2:]
    lengths = _length(planes)
    squares = lengths[:, 1:].square() + 4 * FLAT
    cross = (planes[:, 1:2] * planes[:, 2:3]).sum(-1, keepdim=True)
    share = pixels / torch.addcmul(squares[:, :1] * squares[:, 1:2], cross, cross, value=-1)
    steps = (squares[:, 1:] * share) * slopes
    steps -= (cross * share) * turned
    wanted = (steps * planes[:, :1]).sum(-1, keepdim=True)
    return _Template(planes[:, :1], _contrast(lengths[:, :1]), steps, wanted)


def _likeness(here: _Template, there: _Template) -> Tensor:
    """The correlation -1..1 of patches and contrasts [B,N]."""
    return ((here.patch * there.patch).sum(-1) / (here.contrast * there.contrast)[..., 0])[:, 0]


def _centred(pixels: Tensor) -> Tensor:
    """Pixels [...,K] without their mean."""
    return pixels - pixels.mean(-1, keepdim=True)


def _length(patch: Tensor) -> Tensor:
    """Of patches [...,K]: [...,1]."""
    length: Tensor = torch.linalg.vector_norm(patch, dim=-1, keepdim=True)
    return length


def _contrast(length: Tensor) -> Tensor:
    """Of patches without mean that are so long: their standard deviation and a grey level more, times the root of K."""
    return torch.hypot(length, _grey_level(length))


def _grey_level(like: Tensor) -> Tensor:
    """The length of a patch that is a grey level everywhere."""
    return constant((2.0 * RADIUS + 1,), like.dtype, like.device)


def _planes(xy: Tensor) -> Tensor:
    """[B,N,2] -> [B,2,N,1]."""
    return xy.transpose(1, 2)[..., None]


def _points(planes: Tensor) -> Tensor:
    """[B,2,N,1] -> [B,N,2]."""
    return planes[..., 0].transpose(1, 2)


def _placed(image: Tensor, planes: Tensor) -> Tensor:
    """Pixels of [B,1,H,W] in planes [B,2,N,1] as `grid_sample` counts them."""
    return planes * _pixels(image, 1) - 1


def _pixels(image: Tensor, count: float) -> Tensor:
    """So many pixels of [B,1,H,W] as `grid_sample` counts, [2,1,1]."""
    height, width = image.shape[2:]
    return constant([[2 * count / width], [2 * count / height]], torch.float32, image.device)[:, None]


def _half(image: Tensor) -> Tensor:
    """Half of the sides of [B,1,H,W], pixels [2,1,1]."""
    height, width = image.shape[2:]
    return constant([[width / 2], [height / 2]], torch.float32, image.device)[:, None]


def _square(radius: int, image: Tensor) -> Tensor:
    """Offsets (x, y) of the pixels of a square, row by row, as `grid_sample` counts [2,1,(2r+1)^2]."""
    return table(_offsets, (radius, *image.shape[2:]), torch.float32, image.device)


def _offsets(radius: int, height: int, width: int) -> list[list[list[float]]]:
    ticks = range(-radius, radius + 1)
    return [[[x * 2 / width for _ in ticks for x in ticks]], [[y * 2 / height for y in ticks for _ in ticks]]]


def _read(image: Tensor, grid: Tensor) -> Tensor:
    """Bilinear samples of [B,1,H,W] at a grid [B,2,N,K]; the border goes on: [B,1,N,K]."""
    return torch.grid_sampler(image, grid.permute(0, 2, 3, 1), BILINEAR, BORDER, False)
