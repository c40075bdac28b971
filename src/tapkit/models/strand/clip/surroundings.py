"""Where points would be if they moved with the frame as a whole (`frame_motion`).

Points that are hidden are carried on by it, and looked for there by the pixels of their query, warped as the frame was
since.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant_like
from tapkit.models.base import Size
from tapkit.models.strand.clip.film import Film
from tapkit.models.strand.frame_motion import between, moved, near_frame, unit_of
from tapkit.nn import alignment
from tapkit.nn.alignment import RADIUS
from tapkit.nn.precision import widest
from tapkit.nn.transfer import indices

KEPT = 12
"""Pixels on each side of a query that are kept, from which the warped ones are taken."""
REACH = 6.0
"""Pixels of a frame of 256x256: so far from where the surroundings carried it a point is looked for."""
FITS = 0.8
"""Correlation of the query's pixels from which their place is taken."""
NOT_THERE = -0.5
"""Said in place of a correlation where they went further than `REACH`."""


def dominant(film: Film) -> Tensor:
    """The motion of most of the frame from each frame to the next: [T-1,3,3] in `widest`, pixels."""
    motions, before = [], film.grey(0)[1:]
    if len(film) < 2:
        return torch.zeros(0, 3, 3, dtype=widest(before[0].device), device=before[0].device)
    for frame in range(1, len(film)):
        after = film.grey(frame)[1:]
        motions.append(between(before, after))
        before = after
    return torch.cat(motions)


class Template(NamedTuple):
    """The pixels around N queries."""

    patches: Tensor
    """[N,1,2k+1,2k+1] grey levels, the query in the middle."""

    @classmethod
    def cut(cls, film: Film, t: Tensor, xy: Tensor) -> Template:
        """Around xy [N,2] on frames t [N]."""
        side = 2 * KEPT + 1
        patches = xy.new_zeros(len(t), 1, side, side)
        ticks = torch.arange(-KEPT, KEPT + 1, device=xy.device, dtype=torch.float32)
        offsets = torch.stack([ticks.repeat(side), ticks.repeat_interleave(side)], -1)
        starts = t.tolist()
        for frame in sorted(set(starts)):
            rows = indices((n for n, start in enumerate(starts) if start == frame), xy.device)
            image = film.grey(frame)[0]
            patches[rows, 0] = _sample(image, (xy[rows, None] + offsets)[None])[0].view(-1, side, side)
        return cls(patches)

    def warped(self, inverse: Tensor) -> Tensor:
        """What `alignment.template` is made of [1,N,(2r+3)^2], where the frame was warped: `inverse` [N,2,2] leads from
        distances in the frame looked at to distances in that of the query."""
        radius = RADIUS + 1
        ticks = torch.arange(-radius, radius + 1, device=inverse.device, dtype=torch.float32)
        offsets = torch.stack([ticks.repeat(len(ticks)), ticks.repeat_interleave(len(ticks))], -1)
        places = torch.einsum("nij,kj->nki", inverse, offsets) + KEPT + 0.5
        size = 2 * KEPT + 1
        found = F.grid_sample(
            self.patches, places[:, None] * (2 / size) - 1, padding_mode="border", align_corners=False
        )
        return found[:, 0, 0][None]

    def find(self, inverse: Tensor, image: Tensor, xy: Tensor) -> tuple[Tensor, Tensor]:
        """See `alignment.find`: in an image [1,1,H,W], warped so, looked for from xy [1,N,2] on."""
        return alignment.find(alignment.template(self.warped(inverse), image), image, xy)


def _sample(image: Tensor, places: Tensor) -> Tensor:
    """Bilinear samples of [1,1,H,W] at places [1,N,K,2] -> [1,N,K]."""
    size = constant_like([image.shape[3], image.shape[2]], places)
    return F.grid_sample(image, places * (2 / size) - 1, padding_mode="border", align_corners=False)[:, 0]


class Carried(NamedTuple):
    """Where N points are on T frames if they move with their surroundings."""

    xy: Tensor
    """[N,T,2] where the query's pixels fit best around there."""
    fits: Tensor
    """[N,T] how well, correlation -1..1, or `NOT_THERE`."""
    fits_first: Tensor
    """[N,T] the same, unwarped, where the first run says that the point is."""


def carried(film: Film, size: Size, motions: Tensor, t: Tensor, xy: Tensor, there: Tensor, trusted: Tensor) -> Carried:
    """Carry queries t [N], xy [N,2] on by the `dominant` motions.

    `there` [N,T,2] are the places of the first run; where it is `trusted` [N,T] and the pixels do not tell, it says
    from where a point is carried on.
    """
    unit = unit_of(size)
    template, count = Template.cut(film, t, xy), len(t)
    place, warp = xy.clone(), torch.eye(3, dtype=widest(xy.device), device=xy.device).repeat(count, 1, 1)
    same = torch.eye(2, device=xy.device).expand(count, 2, 2)
    result = Carried(there.clone(), torch.zeros_like(there[..., 0]), torch.zeros_like(there[..., 0]))
    starts = t.tolist()
    for frame in range(len(film)):
        on = indices((n for n, start in enumerate(starts) if start < frame), xy.device)
        if len(on):
            motion, image = motions[frame - 1], film.grey(frame)[0]
            warp[on] = motion @ warp[on]
            expected = near_frame(moved(motion, place[on]), size)
            some = Template(template.patches[on])
            found, fits = some.find(_inverse(warp[on], xy[on]), image, expected[None])
            near = (found[0] - expected).square().sum(-1).sqrt() < REACH * unit
            fits = torch.where(near, fits[0], NOT_THERE)
            result.xy[on, frame] = torch.where(near[:, None], found[0], expected)
            result.fits[on, frame] = fits
            result.fits_first[on, frame] = some.find(same[on], image, there[on, frame][None])[1][0]
            told = torch.where(trusted[on, frame, None], there[on, frame], expected)
            place[on] = torch.where((fits > FITS)[:, None], found[0], told)
        now = indices((n for n, start in enumerate(starts) if start == frame), xy.device)
        result.xy[now, frame], result.fits[now, frame], result.fits_first[now, frame] = xy[now], 1.0, 1.0
    return result


def _inverse(warp: Tensor, xy: Tensor) -> Tensor:
    """Of the linear part of homographies [N,3,3] at xy [N,2]: float32 [N,2,2]."""
    xy = xy.to(warp.dtype)
    middle = moved(warp, xy)
    columns = [moved(warp, xy + step) - middle for step in torch.eye(2, dtype=xy.dtype, device=xy.device)]
    (a, c), (b, d) = (column.T for column in columns)
    determinant = a * d - b * c
    # Where a frame has been folded up nothing can be looked for any more.
    determinant = torch.where(determinant.abs() < 1e-3, 1e-3, determinant)
    return (torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], 1) / determinant[:, None, None]).float()
