"""Links between particles: Delaunay triangulation, weighted by how similar motions were over the shared past."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapkit.errors import require
from tapkit.flow.particle_video.channels import bell
from tapkit.flow.particle_video.particles import Particles, Piece


def triangulated(xy: np.ndarray) -> np.ndarray:
    """Edges [l,2] (row numbers, smaller first) of the triangulation of points [n,2]; none where there is none."""
    none = np.zeros((0, 2), np.int64)
    if len(xy) < 4:
        return none
    spatial: Any = require("scipy.spatial", "particles")
    try:
        corners = spatial.Delaunay(xy).simplices
    except spatial.QhullError:  # all on one line
        return none
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]).astype(np.int64)
    edges.sort(1)
    # One number per edge: much quicker to make unique than rows.
    numbers = np.unique(edges[:, 0] * len(xy) + edges[:, 1])
    return np.stack([numbers // len(xy), numbers % len(xy)], 1)


def weights(piece: Piece, edges: np.ndarray, sigma: float) -> np.ndarray:
    """Weights [l] float32, 0..1: from the mean squared difference of motions over frames where both are alive.

    Particles that have no motion in common yet are linked fully.
    """
    motion = np.diff(piece.xy, axis=1)
    both = piece.alive[:, 1:] & piece.alive[:, :-1]
    i, j = edges.T
    total, shared = np.zeros(len(edges), np.float32), np.zeros(len(edges), np.float32)
    for frame in range(motion.shape[1]):
        common = both[i, frame] & both[j, frame]
        total += common * ((motion[i, frame] - motion[j, frame]) ** 2).sum(1)
        shared += common
    return bell(np.sqrt(total / np.maximum(shared, 1)), sigma).astype(np.float32)


def graph(particles: Particles, frame: int, sigma: float, reach: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Links of one frame: pairs of ids [l,2] and weights [l] from the shared frames up to `reach` away."""
    ids = particles.ids[frame]
    edges = triangulated(particles.xy[frame])
    frames = range(max(frame - reach, 0), min(frame + reach + 1, len(particles)))
    return ids[edges].reshape(-1, 2), weights(particles.piece(frames, ids), edges, sigma)
