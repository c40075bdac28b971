"""Textured planes under known homographies, rendered by SciPy, with exact tracks: what edits are measured on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from tapkit.types import Provenance, Queries, Tracks, VideoInfo

QUAD = np.array([(40.0, 30), (130, 30), (130, 90), (40, 90)])
SIZE = (120, 176)


def texture(height: int, width: int, seed: int = 0, fine: float = 1.6) -> np.ndarray:
    """A smooth random picture [H,W,3] float 0..255."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    soft = gaussian_filter(noise, (fine, fine, 0))
    return 128 + 55 * soft / soft.std()


def matrices(frames: int, size: float = 1.0) -> np.ndarray:
    """A gentle motion with perspective [T,3,3], the identity at 0."""
    out = []
    for t in range(frames):
        angle = size * 0.1 * np.sin(t / 9)
        cos, sin = np.cos(angle), np.sin(angle)
        out.append(
            [
                [cos, -sin, size * 14 * np.sin(t / 7)],
                [sin, cos, size * 7 * (1 - np.cos(t / 6))],
                [size * 2e-4 * np.sin(t / 8), 1e-4 * np.sin(t / 5), 1],
            ]
        )
    return np.array(out)


def move(matrix: np.ndarray, xy: np.ndarray) -> np.ndarray:
    h = np.column_stack([xy, np.ones(len(xy))]) @ matrix.T
    return h[:, :2] / h[:, 2:]


def render(picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int] = SIZE, order: int = 3) -> np.ndarray:
    """The picture [H,W,3] whose pixels are moved by a matrix, by cubic splines -> [h,w,3] uint8."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    back = move(np.linalg.inv(matrix), np.stack([x.ravel(), y.ravel()], 1)) - 0.5
    planes = [map_coordinates(picture[..., c], back[:, ::-1].T, order=order, mode="reflect") for c in range(3)]
    return np.clip(np.rint(np.stack(planes, -1)), 0, 255).astype(np.uint8).reshape(*size, 3)


def points(count: int, quad: np.ndarray = QUAD, seed: int = 0) -> np.ndarray:
    """Random places within the bounding box of a quad [n,2]."""
    low, high = quad.min(0), quad.max(0)
    return np.random.default_rng(seed).uniform(low, high, (count, 2))


def tracks_of(
    xy: np.ndarray, visible: np.ndarray | None = None, size: tuple[int, int] = SIZE, frame: int = 0, fps: int = 25
) -> Tracks:
    """Tracks [N,T,2] as a tracker that is sure of them would give them."""
    count, frames = xy.shape[:2]
    seen = np.ones((count, frames)) if visible is None else np.asarray(visible, float)
    info = VideoInfo(size[1], size[0], fps=fps, frames=frames)  # type: ignore[arg-type]
    return Tracks(
        xy,
        seen,
        np.ones((count, frames)),
        np.ones((count, frames), bool),
        Queries.at(frame, xy[:, frame]),
        info,
        Provenance("exact"),
    )


def plane_tracks(
    homographies: np.ndarray,
    count: int = 200,
    noise: float = 0.0,
    outliers: float = 0.0,
    quad: np.ndarray = QUAD,
    size: tuple[int, int] = SIZE,
    seed: int = 0,
    frame: int = 0,
) -> Tracks:
    """Points of a plane, exact on `frame`, noisy on all others, a share of them anywhere near."""
    dice = np.random.default_rng(seed)
    start = points(count, quad, seed)
    xy = np.stack([move(matrix @ np.linalg.inv(homographies[frame]), start) for matrix in homographies], 1)
    for t in range(len(homographies)):
        if t != frame:
            xy[:, t] += dice.normal(0, noise, (count, 2)) if noise else 0
            wrong = dice.choice(count, round(outliers * count), False)
            xy[wrong, t] += dice.uniform(-40, 40, (len(wrong), 2))
    return tracks_of(xy, size=size, frame=frame)


def clip(homographies: Sequence[np.ndarray] | np.ndarray, seed: int = 0) -> np.ndarray:
    """Frames [T,H,W,3] uint8 of one plane that fills the picture."""
    picture = texture(*SIZE, seed)
    return np.stack([render(picture, matrix) for matrix in homographies])
