"""Particles: per frame, who is alive and where. Memory grows with particles alive times frames, nothing else."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Piece(NamedTuple):
    """Some particles over some frames."""

    xy: np.ndarray
    """[n,f,2] float32."""
    look: np.ndarray
    """[n,f,5] float32: channels at those places."""
    alive: np.ndarray
    """[n,f] bool."""


class Particles:
    """The particles of a clip; ids rise in order of birth and each lives on one run of frames."""

    def __init__(self, frames: int) -> None:
        self.ids = [np.zeros(0, np.int64) for _ in range(frames)]
        self.xy = [np.zeros((0, 2), np.float32) for _ in range(frames)]
        self.look = [np.zeros((0, 5), np.float32) for _ in range(frames)]
        self.count = 0

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, frame: int, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of `ids` in a frame's tables (valid where the second answer is True)."""
        here = self.ids[frame]
        rows = np.searchsorted(here, ids)
        known = rows < len(here)
        rows[~known] = 0
        if len(here):
            known &= here[rows] == ids
        return rows, known

    def add(self, frame: int, xy: np.ndarray, look: np.ndarray, ids: np.ndarray | None = None) -> np.ndarray:
        """Put particles into a frame: those of `ids` (not in it yet), or new ones. Returns their ids."""
        if ids is None:
            ids = np.arange(self.count, self.count + len(xy))
            self.count += len(xy)
        merged = np.concatenate([self.ids[frame], ids])
        order = np.argsort(merged, kind="stable")
        self.ids[frame] = merged[order]
        self.xy[frame] = np.concatenate([self.xy[frame], xy])[order].astype(np.float32)
        self.look[frame] = np.concatenate([self.look[frame], look])[order].astype(np.float32)
        return ids

    def drop(self, frame: int, ids: np.ndarray) -> None:
        """Take particles out of a frame."""
        keep = ~np.isin(self.ids[frame], ids)
        self.ids[frame] = self.ids[frame][keep]
        self.xy[frame] = self.xy[frame][keep]
        self.look[frame] = self.look[frame][keep]

    def piece(self, frames: range, ids: np.ndarray) -> Piece:
        """Those particles over those frames; zeros where they are not alive."""
        n, f = len(ids), len(frames)
        piece = Piece(np.zeros((n, f, 2), np.float32), np.zeros((n, f, 5), np.float32), np.zeros((n, f), bool))
        for column, frame in enumerate(frames):
            rows, known = self.rows(frame, ids)
            piece.xy[known, column] = self.xy[frame][rows[known]]
            piece.look[known, column] = self.look[frame][rows[known]]
            piece.alive[:, column] = known
        return piece

    def put(self, frame: int, ids: np.ndarray, xy: np.ndarray, look: np.ndarray) -> None:
        """New places and looks of particles that are alive in a frame."""
        rows, known = self.rows(frame, ids)
        self.xy[frame][rows[known]] = xy[known]
        self.look[frame][rows[known]] = look[known]

    def lives(self) -> np.ndarray:
        """First and last frame of every particle, [count,2] int64 (-1 where it was dropped everywhere)."""
        lives = np.full((self.count, 2), -1, np.int64)
        for frame, ids in enumerate(self.ids):
            fresh = ids[lives[ids, 0] < 0]
            lives[fresh, 0] = frame
            lives[ids, 1] = frame
        return lives
