"""Tracks that pass through every cell of every frame (the authors' mode "every cell in every frame").

From some frames, in turn, every cell is tracked that no visible track has passed through so far.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tapkit import coords
from tapkit.constants import constant_like
from tapkit.coords import Size
from tapkit.errors import UsageError
from tapkit.flow.dot.motion import ClipMotion
from tapkit.flow.dot.tracker import Dot
from tapkit.models.base import Prediction


def tracks_everywhere(
    model: Dot, motion: ClipMotion, size: Size, cell: int = 1, time_steps: int = 20
) -> tuple[Tensor, Prediction]:
    """Queries [N,3] (t, x, y) that together visit all cells of the chosen frames, and the prediction [N,T] for them.

    Args:
        model: DOT.
        motion: within a clip of frames of `size`, see `Dot.motion`.
        cell: pixels a side of a cell.
        time_steps: among how many frames, evenly spread over the clip, tracks may begin.

    A cell's centre is taken halfway between its borders in units of the distance between the outermost pixel centres,
    as the authors do. Raises `UsageError` for cells larger than the frame.
    """
    if not 1 <= cell <= min(size) or time_steps < 1:
        raise UsageError(f"cells are 1 to {min(size)} pixels and time steps 1 or more, got {cell} and {time_steps}")
    frames, device = len(motion.frames), motion.frames.device
    rows, columns = size[0] // cell, size[1] // cell
    visited = torch.zeros(frames, rows, columns, dtype=torch.bool, device=device)
    count = frames // min(frames, time_steps)
    queries, found = [], []
    for source in torch.linspace(0, frames - 1, count).int().tolist():
        y, x = (~visited[source]).nonzero().unbind(1)
        if not len(x):
            continue
        unit = torch.stack([(x + 0.5) / columns, (y + 0.5) / rows], 1)
        xy = coords.from_centers(coords.resize_centers(unit, (2, 2), size))
        asked = torch.cat([torch.full_like(xy[:, :1], source), xy], 1)
        answer = model.track_with(motion, size, asked)
        _visit(visited, answer, size, model.card.visible_threshold)
        queries.append(asked)
        found.append(answer)
    whole = Prediction(*(torch.cat(parts) for parts in zip(*found, strict=True)))
    return torch.cat(queries), whole


def _visit(visited: Tensor, answer: Prediction, size: Size, threshold: float) -> None:
    """Mark the cells that visible tracks pass through."""
    frames, rows, columns = visited.shape
    unit = coords.resize_centers(coords.to_centers(answer.xy), size, (2, 2))
    x, y = (unit * constant_like([columns, rows], unit)).floor().long().unbind(-1)
    seen = (answer.visible > threshold) & (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    frame = torch.arange(frames, device=visited.device).expand_as(x)
    visited[frame[seen], y[seen], x[seen]] = True
