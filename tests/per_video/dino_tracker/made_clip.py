"""A clip whose trajectories, buddies and foreground are known: a picture that moves by whole pixels."""

from __future__ import annotations

import numpy as np

from tapkit.per_video.dino_tracker.grid import TokenGrid
from tapkit.per_video.dino_tracker.sampling import Material
from tapkit.per_video.prepare import buddies, trajectories

SIZE = (60, 72)
"""Of the clip; the model's is 56 x 70."""
GRID = TokenGrid((56, 70))
STEP = np.float32([2, 1])
"""Pixels from frame to frame."""
BEGUN = 5
"""Pixels between trajectories that begin on frame 0."""


def chains(frames: int) -> list[np.ndarray]:
    """Trajectories from a grid of frame 0, and where they are; the last of all does not agree with the direct flow."""
    x, y = np.meshgrid(np.arange(2.5, SIZE[1], BEGUN), np.arange(2.5, SIZE[0], BEGUN))
    begin = np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)
    made = []
    for frame in range(frames):
        xy = begin + frame * STEP
        kept = np.flatnonzero((xy <= np.float32([SIZE[1], SIZE[0]])).all(1))
        rows = np.empty(len(kept), trajectories.ROW)
        rows["id"], rows["agrees"] = kept, True
        rows["x"], rows["y"] = xy[kept].T
        rows["agrees"][:3] = frame == 0  # the first three are wrong everywhere else
        made.append(rows)
    return made


def some_buddies(frames: int) -> list[np.ndarray]:
    """Token k of every frame and token k + 1 of each later one."""
    made = []
    for frame in range(frames):
        parts = [np.empty(0, buddies.ROW)]
        for other in range(frame + 1, frames):
            rows = np.empty(GRID.count - 1, buddies.ROW)
            rows["frame"], rows["cosine"], rows["ambiguity"] = other, 0.5 + 0.1 * frame, 0.1 * other
            rows["source"], rows["target"] = np.arange(GRID.count - 1), np.arange(1, GRID.count)
            parts.append(rows)
        made.append(np.concatenate(parts))
    return made


def material(frames: int = 6) -> Material:
    """Foreground is the left third of frame 0, which moves along."""
    masks = np.zeros((frames, *SIZE), bool)
    for frame in range(frames):
        masks[frame, :, 2 * frame : 24 + 2 * frame] = True
    return Material(chains(frames), some_buddies(frames), masks, SIZE, GRID)
