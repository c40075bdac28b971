"""Which flow can be believed: round trips, features that agree, and chains over neighbouring frames.

As OmniMotion prepares its input (Q. Wang et al., ICCV 2023), number for number: positions outside a frame read flow 0
(zero padding), features are compared by cosine. Flow of a pair is [h,w,2], index coordinates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit import coords
from tapkit.coords import Size
from tapkit.flow.fields import pixel_centers
from tapkit.nn.sampling import sample

CYCLE, SECOND, LOST = 3.0, 3.0, 4.5
"""Pixels: what a round trip may miss by; what going there again may miss by; and from when on a point is hidden."""
NEAR = 3
"""Frames apart below which hidden points are looked for, and from which on features must agree."""
SIMILAR = 0.5
"""Cosine of features that agree."""
COLOUR = 0.3
"""Distance of colours (0..1) that agree."""


PATCH = 7
"""Pixels of the working size, each way, of the surroundings whose textures are compared."""
FAINT = 0.02
"""Contrast (0..1) below which a patch counts as plain; plain patches agree."""


class Mask(NamedTuple):
    """Of the pixels of the first frame of a pair."""

    cycle: Tensor
    """[h,w] bool: the flow there can be believed, and the point is seen in both frames."""
    hidden: Tensor
    """[h,w] bool: it can be believed, but the point is hidden in the second frame."""


def grid(size: Size, device: torch.device | str = "cpu") -> Tensor:
    """(x, y) of all pixels, index coordinates: [h,w,2]."""
    return coords.to_centers(pixel_centers(size, device))


def read(maps: Tensor, xy: Tensor) -> Tensor:
    """Bilinear values of maps [h,w,C] at pixels [...,2] -> [...,C]; 0 outside."""
    return sample(maps.permute(2, 0, 1)[None], xy[None], "zeros")[0]


def features_at(features: Tensor, xy: Tensor, size: Size) -> Tensor:
    """Features [fh,fw,C] of a frame of `size` at pixels [...,2]; corners meet corners, 0 outside."""
    height, width = features.shape[:2]
    scale = xy.new_tensor([(width - 1) / (size[1] - 1), (height - 1) / (size[0] - 1)])
    return read(features, xy * scale)


def judge(
    there: Tensor, back: Tensor, gap: int, features: tuple[Tensor, Tensor] | None = None,
    cycle: float = CYCLE, similar: float = SIMILAR,
) -> Mask:  # fmt: skip
    """What of the flow `there`, i -> j, can be believed, given that `back`, j -> i, and features [fh,fw,C] of both.

    `gap` is |i - j|. Without features all are taken to agree.
    """
    size = (there.shape[0], there.shape[1])
    start = grid(size, there.device)
    target = start + there
    returned = target + read(back, target)
    miss = (returned - start).norm(dim=-1)
    good = miss < cycle
    if gap >= NEAR:
        if features is not None:
            first, second = features_at(features[0], start, size), features_at(features[1], target, size)
            good &= F.cosine_similarity(first, second, dim=-1) > similar
        return Mask(good, torch.zeros_like(good))
    again = returned + read(there, returned)
    inside = ((target >= 0) & (target <= target.new_tensor([size[1] - 1, size[0] - 1]))).all(-1)
    return Mask(good, (miss > LOST) & ((again - target).norm(dim=-1) < SECOND) & inside)


def walk(
    first: int, order: range, flow: Callable[[int, int], Tensor], seen: Callable[[int, int], Tensor], size: Size
) -> dict[int, tuple[Tensor, Tensor]]:
    """Where the flow from neighbour to neighbour leads from frame `first`, over the frames of `order` (its neighbour
    first): flow [h,w,2], and whether each step of it could be believed, bool [h,w]. `seen` says that of neighbours."""
    found: dict[int, tuple[Tensor, Tensor]] = {}
    previous = first
    start = moved = alive = None
    for target in order:
        step, sure = flow(previous, target), seen(previous, target)
        if start is None or moved is None or alive is None:
            start, moved, alive = grid(size, step.device), step, sure
        else:
            alive = alive & (read(sure[..., None].float(), start + moved)[..., 0] == 1)
            moved = moved + read(step, start + moved)
        found[target] = (moved, alive)
        previous = target
    return found


def correlation(here: Tensor, there: Tensor) -> Tensor:
    """How much the texture around each pixel of two images [h,w,3] (0..1) agrees, [h,w], -1..1: the correlation of
    colours over `PATCH` x `PATCH` pixels, without their means. Plain patches agree."""
    mean, other = _patch_mean(here), _patch_mean(there)
    power = (_patch_mean(here * here) - mean * mean).sum(-1).clamp(min=0) + FAINT**2
    its = (_patch_mean(there * there) - other * other).sum(-1).clamp(min=0) + FAINT**2
    both = (_patch_mean(here * there) - mean * other).sum(-1) + FAINT**2
    return both / (power * its).sqrt()


def _patch_mean(image: Tensor) -> Tensor:
    """Means [h,w,C] over patches; at the border, of what there is of them."""
    found = F.avg_pool2d(image.permute(2, 0, 1)[None], PATCH, 1, PATCH // 2, count_include_pad=False)
    return found[0].permute(1, 2, 0)


class Frame(NamedTuple):
    """What chaining looks at of a frame."""

    image: Tensor
    """[h,w,3] 0..1."""
    features: Tensor | None
    """[fh,fw,C]; None: all agree."""


def chain(
    first: int,
    order: range,
    flow: Callable[[int, int], Tensor],
    mask: Callable[[int, int], Mask],
    frame: Callable[[int], Frame],
    texture: float | None = None,
) -> dict[int, tuple[Tensor, Tensor]]:
    """Flow and mask of frame `first` to each frame of `order` (its neighbour first), by the flow from neighbour to
    neighbour where the direct one is not to be believed. With `texture`, that of both ends of a chain must correlate by
    so much."""
    found: dict[int, tuple[Tensor, Tensor]] = {}
    here = frame(first)
    size = (here.image.shape[0], here.image.shape[1])
    start = grid(size, here.image.device)
    ours = None
    if here.features is not None:
        ours = F.interpolate(here.features.permute(2, 0, 1)[None], size, mode="bilinear", align_corners=False)[0]
        ours = ours.permute(1, 2, 0)
    moved, alive = torch.zeros_like(start), torch.ones(size, dtype=torch.bool, device=start.device)
    previous = first
    for target in order:
        step, seen = flow(previous, target), mask(previous, target).cycle
        alive = alive & (read(seen[..., None].float(), start + moved)[..., 0] == 1)
        moved = moved + read(step, start + moved)
        direct = mask(first, target)
        moved = torch.where((direct.cycle | direct.hidden)[..., None], flow(first, target), moved)
        there = frame(target)
        kept = alive
        if ours is not None and there.features is not None:
            other = features_at(there.features, start + moved, size)
            kept = kept & (F.cosine_similarity(ours, other, dim=-1) > SIMILAR)
        arrives = read(there.image, start + moved)
        kept = kept & ((arrives - here.image).norm(dim=-1) < COLOUR)
        if texture is not None:
            kept = kept & (correlation(here.image, arrives) > texture)
        alive = (kept | direct.cycle) & ~direct.hidden
        found[target] = (moved, alive)
        previous = target
    return found
