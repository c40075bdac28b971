"""How far a trajectory is from the truth: ATE and RPE, as the literature on visual odometry reports them.

ATE: both trajectories are aligned by the similarity of S. Umeyama (1991), and the root mean square of the distances of
the camera centres is taken. RPE: of the motions from each frame to the next, after the same alignment, the root mean
squares of the difference in translation and in angle.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit.apps.camera.rigid import inverse, of_parts, rotation_vector
from tapkit.apps.camera.trajectory import Trajectory
from tapkit.errors import ShapeError, UsageError


class CameraScores(NamedTuple):
    """Errors in the units of the truth."""

    ate: float
    """Root mean square distance of the centres, aligned by a similarity."""
    rpe_translation: float
    rpe_rotation: float
    """Degrees."""
    path: float
    """Length of the true path, by which errors are divided to compare scenes."""
    scale: float
    """Units of the truth for a unit of the estimate; 1 where no scale could be found."""

    @property
    def relative(self) -> float:
        """ATE as a share of the path."""
        return self.ate / self.path if self.path > 0 else float("nan")


def align(source: np.ndarray, target: np.ndarray, scaled: bool = True) -> tuple[np.ndarray, np.ndarray, float]:
    """The similarity that moves points `source` [T,3] best onto `target`: rotation [3,3], translation [3], scale."""
    from_mean, to_mean = source.mean(0), target.mean(0)
    one, other = source - from_mean, target - to_mean
    u, s, v = np.linalg.svd(other.T @ one / len(source))
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(v)) or 1.0])
    turn = u @ sign @ v
    spread = float((one**2).sum() / len(source))
    scale = float((s * sign.diagonal()).sum()) / spread if scaled and spread > 1e-18 else 1.0
    return turn, to_mean - scale * turn @ from_mean, scale


def score_cameras(estimate: Trajectory | np.ndarray, truth: Trajectory | np.ndarray) -> CameraScores:
    """Compare trajectories, or camera-to-world poses [T,4,4]; frames that either lacks do not count.

    Raises `ShapeError` for trajectories of different lengths, `UsageError` for fewer than two frames in common.
    """
    (own, first), (true, second) = _poses(estimate), _poses(truth)
    if own.shape != true.shape:
        raise ShapeError(f"the trajectories have {len(own)} and {len(true)} frames: both must have the same")
    both = first & second
    if both.sum() < 2:
        raise UsageError("fewer than two frames have a pose in both trajectories: there is nothing to compare")
    frames = np.flatnonzero(both)
    own, true = own[frames], true[frames]
    turn, shift, scale = align(own[:, :3, 3], true[:, :3, 3])
    aligned = of_parts(turn @ own[:, :3, :3], scale * own[:, :3, 3] @ turn.T + shift)
    ate = np.sqrt(((aligned[:, :3, 3] - true[:, :3, 3]) ** 2).sum(1).mean())
    off = inverse(inverse(true[:-1]) @ true[1:]) @ (inverse(aligned[:-1]) @ aligned[1:])
    angle = np.degrees(np.linalg.norm(rotation_vector(off[:, :3, :3]), axis=1))
    path = np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1).sum()
    return CameraScores(
        float(ate), float(np.sqrt((off[:, :3, 3] ** 2).sum(1).mean())), float(np.sqrt((angle**2).mean())), float(path),
        scale,
    )  # fmt: skip


def rotation_errors(estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Degrees [T] between the rotations of world-to-camera poses [T,4,4], each relative to its first frame."""
    own = estimate[:, :3, :3] @ estimate[0, :3, :3].T
    true = truth[:, :3, :3] @ truth[0, :3, :3].T
    found: np.ndarray = np.degrees(np.linalg.norm(rotation_vector(own @ np.swapaxes(true, 1, 2)), axis=1))
    return found


def _poses(given: Trajectory | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(given, Trajectory):
        return given.camera_to_world, given.placed
    poses = np.asarray(given, np.float64)
    if poses.ndim != 3 or poses.shape[1:] != (4, 4):
        raise ShapeError(f"poses must be [T,4,4], got {list(poses.shape)}")
    return poses, np.asarray(np.isfinite(poses).all((1, 2)))
