"""From features of two frames to motion: rows of the transition matrix and what is expected under them.

Features F1, F2 [h,w,128] of one pair; row p of the matrix is softmax over q of <F1(p), F2(q)> / sqrt(128). The matrix
has (hw)^2 entries: only the rows that are asked for are made, a block at a time, always in float32 (the original
computes in float16 from 1024 pixels on). Motion is in cells here, (x, y).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant_like
from tapkit.models.base import Size

Method = Literal["weighted_sum", "argmax", "weighted_argmax"]
"""What is taken from a row: its mean position, its best cell, or the mean position near the best cell."""

_ENTRIES = 1 << 24
"""Entries of the matrix that are held at once."""


class Matching(NamedTuple):
    """How a row of the matrix becomes a position."""

    method: Method = "weighted_sum"
    window_threshold: float = 5.0
    """Of "weighted_argmax": only cells nearer than that to the best one count."""


def transitions(rows: Tensor, second: Tensor) -> Tensor:
    """Rows [M,hw] of the matrix for features rows [M,C] of the first frame, second [hw,C] of the other."""
    return torch.softmax(rows @ (second.T * rows.shape[-1] ** -0.5), 1)


def cell_positions(height: int, width: int, device: torch.device) -> Tensor:
    """(x, y) of all cells, float32 [hw,2]."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    return torch.stack([x, y], -1).flatten(0, 1)


def displacements(first: Tensor, second: Tensor, cells: Tensor, matching: Matching) -> Tensor:
    """Motion float32 [M,2] of cells int64 [M] (row-major) of the first frame; first, second [h,w,C]."""
    height, width = second.shape[:2]
    places = cell_positions(height, width, second.device)
    flat, target = first.flatten(0, 1), second.flatten(0, 1)
    found = [
        _positions(transitions(flat[part], target), places, matching) - places[part]
        for part in torch.split(cells, max(_ENTRIES // len(target), 1))
    ]
    return torch.cat(found) if found else places.new_zeros(0, 2)


def _positions(rows: Tensor, places: Tensor, matching: Matching) -> Tensor:
    """Positions [M,2] that rows [M,hw] of the matrix stand for."""
    if matching.method == "weighted_sum":
        return rows @ places
    best = places[rows.argmax(1)]
    if matching.method == "argmax":
        return best
    far = (places - best[:, None]).square().sum(-1) >= matching.window_threshold**2
    rows = rows.masked_fill(far, 0.0)
    return (rows / rows.sum(1, keepdim=True).clamp(min=1e-12)) @ places


def dense_flow(first: Tensor, second: Tensor, size: Size, matching: Matching) -> Tensor:
    """Flow float32 [2,*size] in pixels of frames of `size`, resized with the corner cells at the corner pixels."""
    height, width = first.shape[:2]
    every = torch.arange(height * width, device=first.device)
    cells = displacements(first, second, every, matching).T.reshape(1, 2, height, width)
    flow = F.interpolate(cells, size, mode="bilinear", align_corners=True)[0]
    return flow * constant_like([size[1] / width, size[0] / height], flow)[:, None, None]


def flow_at(first: Tensor, second: Tensor, size: Size, xy: Tensor, matching: Matching) -> Tensor:
    """Flow float32 [N,2] at positions xy [N,2] (pixel centres at integers): `dense_flow`, read bilinearly there.

    Beyond the border the flow is that of the border. Only those rows of the matrix are made that matter to the points.
    """
    if not len(xy):
        return xy.new_zeros(0, 2)
    height, width = first.shape[:2]
    columns, x_weights = _axis(xy[:, 0], size[1], width)
    rows, y_weights = _axis(xy[:, 1], size[0], height)
    cells = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
    weights = (y_weights[:, :, None] * x_weights[:, None, :]).flatten(1)
    moved = _displacements_at(first, second, cells, matching)
    flow = (moved * weights[..., None]).sum(1)
    return flow * constant_like([size[1] / width, size[0] / height], flow)


def _displacements_at(first: Tensor, second: Tensor, cells: Tensor, matching: Matching) -> Tensor:
    """`displacements` of cells [N,16], many of which are the same: [N,16,2].

    On a CPU each is computed once. To find out which those are, a GPU would have to be waited for: there it is all
    that are asked for, or all that there are.
    """
    if cells.device.type == "cpu":
        asked, place = torch.unique(cells, return_inverse=True)
        return displacements(first, second, asked, matching)[place]
    everywhere = first.shape[0] * first.shape[1]
    if cells.numel() < everywhere:
        return displacements(first, second, cells.flatten(), matching).view(*cells.shape, 2)
    return displacements(first, second, torch.arange(everywhere, device=cells.device), matching)[cells]


def _axis(position: Tensor, pixels: int, cells: int) -> tuple[Tensor, Tensor]:
    """Which cells a bilinear sample of the resized map reads along one axis, and with which weights: [N,4] each.

    The two pixels beside the position, and for each of them the two cells beside it.
    """
    low = position.clamp(-1.0, float(pixels)).floor()
    fraction = position.clamp(-1.0, float(pixels)) - low
    indices, weights = [], []
    for pixel, of_pixel in ((low, 1 - fraction), (low + 1, fraction)):
        at = pixel.clamp(0, pixels - 1) * ((cells - 1) / max(pixels - 1, 1))
        cell = at.floor()
        between = at - cell
        for index, of_cell in ((cell, 1 - between), (cell + 1, between)):
            indices.append(index.clamp(0, cells - 1).long())
            weights.append(of_pixel * of_cell)
    return torch.stack(indices, 1), torch.stack(weights, 1)
