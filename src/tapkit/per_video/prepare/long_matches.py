"""Matches between frames far apart, from DINOv2's last tokens: what CaDeX++ has beside flow.

Song et al., "Track Everything Everywhere Fast and Robustly" (CaDeX++), ECCV 2024 (arXiv:2403.17931), supplement. Of the
tokens of two frames those are kept that are each other's nearest, like each other much, are neither one of many alike
in their own frame (sky, road) nor unlike their own surroundings, and do not stand alone among the matches.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tapkit.coords import Size, resize
from tapkit.errors import require
from tapkit.nn.dinov2 import PATCH, token_grid
from tapkit.per_video.method import Report
from tapkit.per_video.prepare.buddies import mutual_nearest
from tapkit.per_video.prepare.store import Prepared, Table
from tapkit.per_video.prepare.tokens import Reading, held_tokens, token_tables

APART = 10
"""Frames between the two of a pair, at least."""
ALIKE = 0.75
"""Least similarity of a match."""
SAME, MANY = 0.55, 100
"""A token with so many tokens of its own frame above this similarity says nothing about where."""
WINDOW, SURROUNDED = 10, (30.0, 100.0)
"""Tokens a side within which similarities to a token are added up, and what the sum must lie between."""
NEIGHBOURS, NEAR, NEAR_AT_LAST = 2, 4 * PATCH, 32
"""How many other matches must lie within so many pixels: twice, and then once more, closer."""
ROW = np.dtype([("frame", "<i2"), ("x", "<f4"), ("y", "<f4"), ("to_x", "<f4"), ("to_y", "<f4"), ("cosine", "<f4")])
"""One match in the entry of its first frame: the second frame (a later one), positions on both (corner origin, pixels
of the working size), cosine."""


def distinct(tokens: Tensor, shape: Size) -> Tensor:
    """Which tokens [h*w,C] (length 1) of a frame say where they are: bool [h*w]."""
    similarity = tokens @ tokens.T
    few = (similarity > SAME).sum(1) < MANY
    before, after = (WINDOW - 1) // 2, WINDOW // 2
    rows, columns = (torch.arange(side, device=tokens.device) for side in shape)
    row, column = (axis.flatten() for axis in torch.meshgrid(rows, columns, indexing="ij"))
    down, right = row - row[:, None], column - column[:, None]
    window = (down >= -before) & (down <= after) & (right >= -before) & (right <= after)
    around = (similarity * window).sum(1)
    return few & (around > SURROUNDED[0]) & (around < SURROUNDED[1])


def crowded(xy: np.ndarray, within: float) -> np.ndarray:
    """Which positions [n,2] have `NEIGHBOURS` others within so many pixels: bool [n]."""
    if len(xy) <= NEIGHBOURS:
        return np.zeros(len(xy), bool)
    spatial = require("scipy.spatial", "fit")
    distance = spatial.cKDTree(xy).query(xy, NEIGHBOURS + 1)[0][:, -1]
    return np.asarray(distance <= within)


def matches(
    first: Tensor, second: Tensor, distinct_first: Tensor, distinct_second: Tensor, centres: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The matches of two frames.

    Args:
        first, second: tokens [S,C] of length 1.
        distinct_first, distinct_second: bool [S], see `distinct`.
        centres: [S,2] pixels of the size at which tokens were read.

    Returns: tokens int64 [n] of the first frame (rising) and of the second, cosines [n].
    """
    here, there, cosine = mutual_nearest(first, second)
    kept = (cosine > ALIKE) & distinct_first[here] & distinct_second[there]
    rows = kept.nonzero()[:, 0].cpu().numpy()
    places = centres.cpu().numpy()[here.cpu().numpy()], centres.cpu().numpy()[there.cpu().numpy()]
    for within in (NEAR, NEAR, NEAR_AT_LAST):
        together = np.logical_and(*(crowded(place[rows], within) for place in places))
        rows = rows[together]
    chosen = torch.from_numpy(rows).to(here.device)
    return here[chosen], there[chosen], cosine[chosen]


def long_matches(
    prepared: Prepared,
    device: torch.device,
    report: Report,
    *,
    backbone: str = "dinov2-vits14",
    weights: str | None = None,
) -> Table:
    """The table of the clip's matches (`ROW`), computed where it is not there yet. Raises `WeightsError`."""
    size: Size = tuple(max(round(side / PATCH), 1) * PATCH for side in prepared.size)  # type: ignore[assignment]
    reading = Reading(backbone, size, PATCH, weights, blur=True)
    table = prepared.table("long-matches", {**reading.facts(None), "apart": APART})
    if not table.missing:
        return table
    (tokens,) = token_tables(prepared, reading, (None,), device, report)
    shape = token_grid(size)
    y, x = torch.meshgrid(*((torch.arange(side) + 0.5) * PATCH for side in shape), indexing="ij")
    centres = torch.stack([x, y], -1).flatten(0, 1)
    ours = resize(centres, size, prepared.size).numpy()
    tokens_of, telling = held_tokens(tokens, device), dict[int, Tensor]()

    def of(frame: int) -> tuple[Tensor, Tensor]:
        if frame not in telling:
            telling[frame] = distinct(tokens_of(frame), shape)
        return tokens_of(frame), telling[frame]

    return prepared.fill(table, lambda frame: _of_frame(frame, len(prepared), of, centres.to(device), ours), report)


def _of_frame(
    frame: int, frames: int, of: Callable[[int], tuple[Tensor, Tensor]], centres: Tensor, ours: np.ndarray
) -> np.ndarray:
    """The matches of a frame with all that are far enough behind it, `ROW` [n]."""
    parts = [np.empty(0, ROW)]
    if frame + APART >= frames:
        return parts[0]
    first, telling = of(frame)
    for other in range(frame + APART, frames):
        second, telling_second = of(other)
        here, there, cosine = (part.cpu().numpy() for part in matches(first, second, telling, telling_second, centres))
        rows = np.empty(len(here), ROW)
        rows["frame"], rows["cosine"] = other, cosine
        rows["x"], rows["y"] = ours[here].T
        rows["to_x"], rows["to_y"] = ours[there].T
        parts.append(rows)
    return np.concatenate(parts)
