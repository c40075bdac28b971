"""Holding a point to the pixels that it was asked for on, while these still fit.

Frame-to-frame motion adds up its errors and features know a place to half a pixel: together a point slides off slowly.
The query's own pixels do not slide. Where they fit, the answer is where they fit best (S. Baker and I. Matthews,
Lucas-Kanade 20 Years On, IJCV 2004; I. Matthews et al., The Template Update Problem, PAMI 2004). Whether they fit is
measured against how well pixels fit from one frame to the next, which noise and flat surroundings lower alike.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.nn.alignment import KEPT, around, find, template

SIZE = KEPT
"""Numbers that are kept of a point's pixels."""
FITS = 0.95
"""Correlation that is asked of the query's pixels at most."""
LEAST = 0.5
"""And at least."""
BELOW = 0.05
"""By so much they may fit worse than those of the frame before; twice that, and they are not followed at all."""
FARTHEST = 2.0
"""Pixels: from further away they are not trusted."""


class Fit(NamedTuple):
    """Where the query's pixels fit best, M points."""

    xy: Tensor
    """[M,2]."""
    similarity: Tensor
    """[M] correlation there, -1..1."""


class Asked(NamedTuple):
    """Other places at which the query's pixels are looked for in the same piece of work, one frame."""

    rows: Tensor | None
    """int64 [K] the points; None: all."""
    xy: Tensor
    """[K,2]."""


def kept_pixels(image: Tensor, xy: Tensor) -> Tensor:
    """What is kept of points that are asked for at xy [M,2] on B frames [B,1,H,W], frame after frame, to be looked for
    in frames of that size: [M,SIZE]."""
    return template(around(image, xy.view(len(image), -1, 2)), image).flatten(0, 1)


def fit(kept: Tensor, image: Tensor, xy: Tensor) -> Fit:
    """Look for `kept_pixels` [M,SIZE] from xy [M,2] on; M rows are those of B frames [B,1,H,W] in turn."""
    batch = len(image)
    place, similarity = find(kept.view(batch, -1, SIZE), image, xy.view(batch, -1, 2))
    return Fit(place.flatten(0, 1), similarity.flatten())


def fit_at_both(kept: Tensor, image: Tensor, xy: Tensor, also: Asked) -> tuple[Fit, Fit]:
    """The same on one frame, and of those that are `also` asked for, around the other place."""
    others = kept if also.rows is None else kept[also.rows]
    parts = [len(xy), len(also.xy)]
    found = fit(torch.cat([kept, others]), image, torch.cat([xy, also.xy]))
    here, there = zip(*(torch.split(part, parts) for part in found), strict=True)
    return Fit(*here), Fit(*there)


def anchored(xy: Tensor, found: Fit, similarity: Tensor, visible: Tensor) -> Tensor:
    """The answer [M,2]: xy, or where the query's pixels fit, or between the two.

    `similarity` [M] is that of the pixels with those of the frame before, 0 where these did not lead here; `visible`
    [M] P(visible).
    """
    wanted = torch.where(similarity == 0, 1.0, similarity).clamp(LEAST + BELOW, FITS) - BELOW
    share = ((found.similarity - wanted) / BELOW + 1).clamp(0, 1)
    away = torch.linalg.vector_norm(found.xy - xy, dim=-1)
    share = share * ((FARTHEST - away) / (FARTHEST / 2)).clamp(0, 1) * (visible > 0.5)
    return torch.lerp(xy, found.xy, share[:, None])
