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
    """The pixels around a point."""

    patch: Tensor
    """[B,N,(2r+1)^2] without their mean."""
    contrast: Tensor
    """[B,N,1]."""
    gx: Tensor
    """[B,N,(2r+1)^2] slopes in x, without their mean."""
    gy: Tensor


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
    batch, count = xy.shape[:2]
    window = _square(RADIUS, xy.device)
    moved = torch.zeros_like(xy) if begin is None else begin
    similarity = xy.new_zeros(batch, count)
    for level in range(levels - 1, -1, -1):
        first, second, scale = before[level], after[level], 2.0**level
        size = constant_like([first.shape[3], first.shape[2]], xy)
        places = xy[:, :, None] / scale + window
        template = _template(around(first, xy / scale))
        offset = _descend(template, second, places, moved / scale, size)
        moved = offset * scale
        if level == 0:
            similarity = _likeness(template, _sample(second, places + offset[:, :, None], size))
    return xy + moved, similarity


def around(image: Tensor, xy: Tensor) -> Tensor:
    """Pixels of [B,1,H,W] around xy [B,N,2] for `find`: [B,N,(2r+3)^2], one more on each side for slopes."""
    size = constant_like([image.shape[3], image.shape[2]], xy)
    return _sample(image, xy[:, :, None] + _square(RADIUS + 1, xy.device), size)


@torch.no_grad()
def find(wide: Tensor, image: Tensor, xy: Tensor) -> tuple[Tensor, Tensor]:
    """Where pixels that were taken by `around` [B,N,(2r+3)^2] are in [B,1,H,W], looked for from xy [B,N,2] on.

    Returns their place [B,N,2], two or three pixels away at most if it is to be trusted, and the similarity there,
    correlation -1..1 [B,N].
    """
    size = constant_like([image.shape[3], image.shape[2]], xy)
    places = xy[:, :, None] + _square(RADIUS, xy.device)
    template = _template(wide)
    offset = _descend(template, image, places, torch.zeros_like(xy), size)
    return xy + offset, _likeness(template, _sample(image, places + offset[:, :, None], size))


def _descend(template: _Template, image: Tensor, places: Tensor, offset: Tensor, size: Tensor) -> Tensor:
    """`STEPS` steps of the offset [B,N,2] of a template from `places` [B,N,(2r+1)^2,2] in image [B,1,H,W]."""
    patch, contrast, gx, gy = template
    # The step for what is left of the differences is a matrix [2,K] times them. Its rows have no mean, so that of
    # the pixels found need not be taken off.
    steps = _gauss_newton(gx, gy)
    wanted = (steps * patch[:, :, None]).sum(-1)
    for _ in range(STEPS):
        found = _sample(image, places + offset[:, :, None], size)
        spread = (found.square().mean(-1, keepdim=True) - found.mean(-1, keepdim=True).square() + 1.0).sqrt()
        got = (steps * found[:, :, None]).sum(-1)
        step = wanted - got * (contrast / spread).clamp(0.5, 2.0)
        offset = offset + step.clamp(-LONGEST, LONGEST)
    return offset


def _template(wide: Tensor) -> _Template:
    """What is looked for, of pixels [B,N,(2r+3)^2] taken by `around`."""
    side = 2 * RADIUS + 3
    wide = wide.view(*wide.shape[:2], side, side)
    patch, contrast = _centred(wide[:, :, 1:-1, 1:-1].flatten(2))
    gx, _ = _centred(0.5 * (wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]).flatten(2))
    gy, _ = _centred(0.5 * (wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]).flatten(2))
    return _Template(patch, contrast, gx, gy)


def _likeness(template: _Template, found: Tensor) -> Tensor:
    """The correlation -1..1 [B,N] of a template with the pixels found [B,N,(2r+1)^2]."""
    centred, spread = _centred(found)
    return (template.patch * centred).mean(-1) / (template.contrast * spread)[..., 0]


def _gauss_newton(gx: Tensor, gy: Tensor) -> Tensor:
    """Inverse of the structure matrix times the slopes [B,N,K]: [B,N,2,K].

    A little on the diagonal: where there is nothing to hold on to, a patch stays.
    """
    xx, yy = gx.square().sum(-1, keepdim=True) + 10.0, gy.square().sum(-1, keepdim=True) + 10.0
    cross = (gx * gy).sum(-1, keepdim=True)
    return torch.stack([yy * gx - cross * gy, xx * gy - cross * gx], 2) / (xx * yy - cross.square())[:, :, None]


def _square(radius: int, device: torch.device) -> Tensor:
    """Offsets (x, y) of the pixels of a square, row by row [(2r+1)^2,2]."""
    ticks = torch.arange(-radius, radius + 1, device=device, dtype=torch.float32)
    return torch.stack([ticks.repeat(len(ticks)), ticks.repeat_interleave(len(ticks))], -1)


def _sample(image: Tensor, places: Tensor, size: Tensor) -> Tensor:
    """Bilinear samples of [B,1,H,W] at places [B,N,K,2], the border going on -> [B,N,K]."""
    return F.grid_sample(image, places * (2 / size) - 1, padding_mode="border", align_corners=False)[:, 0]


def _centred(patch: Tensor) -> tuple[Tensor, Tensor]:
    """Patches [B,N,K] without their means, and their contrast [B,N,1]: the standard deviation and a little."""
    centred = patch - patch.mean(-1, keepdim=True)
    return centred, (centred.square().mean(-1, keepdim=True) + 1.0).sqrt()
