"""The back end of LEAP-VO: visual odometry frame by frame over tracks that are given.

Source: W. Chen et al., LEAP-VO: Long-term Effective Any Point Tracking for Visual Odometry, CVPR 2024 (arXiv
2401.01887), section 4, and the behaviour of its release. Every frame is placed by an even motion, halved; every second
frame takes up the observations of a window of 12 frames; after 8 frames, and from then on for every frame, four
Gauss-Newton steps change the last 15 poses and all depths they see. Poses older than that stay.

Differences, all because tracks are given whole: a point belongs to the frame it was chosen on, whichever that is; an
observation counts once, not once for every call of the tracker that repeats it; and the test on the tracker's
uncertainty is one on confidence. Moving points are taken out by `dynamic` (their test is on their own network's
output).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit.apps.camera.bundle import (
    Edges,
    Kernel,
    Scene,
    linearise,
    misses,
    moved,
    sorted_edges,
    step,
)
from tapkit.apps.camera.intrinsics import pixels
from tapkit.apps.camera.observations import Observations
from tapkit.apps.camera.options import CameraOptions
from tapkit.apps.camera.place import parallax_angles
from tapkit.apps.camera.rigid import inverse, logarithm, motion
from tapkit.apps.camera.trajectory import Report, Trajectory
from tapkit.types import VideoInfo


class Constants(NamedTuple):
    """The published settings (those for Sintel)."""

    begin: int = 8
    """Frames after which estimation begins."""
    first_updates: int = 12
    clip: int = 12
    """Frames whose observations are taken up together."""
    optimised: int = 15
    """Newest frames whose poses change."""
    kept: int = 20
    """Frames after which a point's observations are let go."""
    steps: int = 4
    farthest: float = 5.0
    """Pixels of reprojection error from which on an observation is dropped for good."""
    shortest: int = 3
    """Observations of a point within a clip that are needed."""
    damping: float = 0.5
    """Share of the last motion that goes on."""
    pose_damping: float = 10.0 / 6
    """Added to the diagonal of the poses; it acts as a prior on motion. The release has 10, where each observation is
    there up to six times."""
    relative_damping: float = 1e-4
    point_damping: float = 1e-4
    inverse: tuple[float, float] = (1e-3, 10.0)
    border: float = 20.0
    """Pixels."""


PUBLISHED = Constants()
CLOUD_ANGLE = np.radians(0.5)


def per_component(width: float) -> Kernel:
    """Huber's weights for each component of the residual by itself."""

    def kernel(residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        far = np.abs(residual)
        return width / np.maximum(far, width), np.where(far <= width, 0.5 * far**2, width * (far - 0.5 * width)).sum(1)

    return kernel


class _Odometry:
    """The state: poses, inverse depths, and the weights of what was taken up."""

    def __init__(self, observations: Observations, camera: np.ndarray, seed: int, constants: Constants) -> None:
        self.all, self.camera, self.constants = observations, camera, constants
        self.pose = np.tile(np.eye(4), (observations.frames, 1, 1))
        count = len(observations)
        self.random = np.random.default_rng(seed)
        self.inverse = np.ones(count)
        self.anchor = np.maximum(observations.host, 0)
        self.xy = observations.xy[np.arange(count), self.anchor]
        height, width = observations.size
        margin = min(constants.border, 0.05 * min(height, width))
        inside = (observations.xy >= margin).all(-1) & (observations.xy <= (width - margin, height - margin)).all(-1)
        self.usable = np.where(inside, observations.weight, 0.0)
        # A point without an observation in its own frame has no direction there.
        self.usable[observations.weight[np.arange(count), self.anchor] == 0] = 0
        self.weight = np.zeros_like(self.usable)
        """[N,T] of observations that were taken up; 0: not yet, or dropped."""
        self.taken = np.zeros(self.usable.shape, bool)
        self.begun = False

    def frame(self, j: int) -> None:
        """One more frame."""
        c = self.constants
        new = self.all.host == j
        if self.begun:
            recent = (self.all.host >= j - 3) & (self.all.host < j) & (self.weight > 0).any(1)
            known = recent if recent.any() else (self.weight > 0).any(1)
            self.inverse[new] = np.median(self.inverse[known]) if known.any() else 1.0
        else:
            self.inverse[new] = self.random.uniform(1e-3, 1, int(new.sum()))
        if j >= 2:
            last = logarithm(self.pose[j - 1] @ inverse(self.pose[j - 2]))
            self.pose[j] = motion(c.damping * last) @ self.pose[j - 1]
        if j % 2 == 0:
            self._take(j)
        n = j + 1
        if not self.begun and n >= c.begin:
            self.begun = True
            for _ in range(c.first_updates):
                self.update(n)
        elif self.begun:
            self.update(n)

    def _take(self, j: int) -> None:
        """Take up what a window of frames sees of points chosen in it."""
        c = self.constants
        first = max(j - c.clip + 1, 0)
        frames = np.arange(first, j + 1)
        rows = np.flatnonzero((self.all.host >= first) & (self.all.host <= j))
        valid = self.usable[np.ix_(rows, frames)]
        valid = np.where((valid > 0).sum(1, keepdims=True) >= min(c.shortest, len(frames)), valid, 0.0)
        place = np.ix_(rows, frames)
        new = ~self.taken[place] & (valid > 0)
        self.weight[place] = np.where(new, 1.0, self.weight[place])
        self.taken[place] |= new

    def _scene(self, n: int) -> tuple[np.ndarray, np.ndarray, Scene, Edges] | None:
        c = self.constants
        oldest = max(n - c.kept, 0) if self.begun else 0
        rows = np.flatnonzero((self.weight[:, :n] > 0).any(1) & (self.all.host >= oldest))
        if not len(rows):
            return None
        # Frames before the oldest anchor see these points too: their poses are fixed, and hold depths.
        frames = np.arange(n)[(self.weight[rows, :n] > 0).any(0) | (np.arange(n) >= oldest)]
        anchor = np.searchsorted(frames, self.anchor[rows])
        point, frame = np.nonzero(self.weight[np.ix_(rows, frames)] > 0)
        edges = Edges(point, frame, self.all.xy[rows[point], frames[frame]], np.ones(len(point)))
        scene = Scene(self.pose[frames], self.camera[frames], anchor, self.xy[rows], self.inverse[rows])
        return rows, frames, scene, sorted_edges(edges, scene)

    def update(self, n: int) -> None:
        """Four steps of Gauss and Newton, then drop what misses by far."""
        c = self.constants
        part = self._scene(n)
        if part is None:
            return
        rows, frames, scene, edges = part
        free = np.repeat(frames >= max(n - c.optimised, 1), 6)
        for _ in range(c.steps):
            normal = linearise(scene, edges, per_component(1.0))
            damping = c.pose_damping + c.relative_damping * normal.poses.diagonal()
            try:
                by_pose, by_point = step(normal, free, damping, np.full(len(rows), c.point_damping))
            except np.linalg.LinAlgError:
                continue
            scene = moved(scene, by_pose, by_point, c.inverse)
        self.pose[frames], self.inverse[rows] = scene.pose, scene.inverse
        wrong = misses(scene, edges) >= c.farthest
        self.weight[rows[edges.point[wrong]], frames[edges.frame[wrong]]] = 0

    def world(self) -> tuple[np.ndarray, np.ndarray]:
        """Points [N,3], and the parallax angle [N] that each rests on."""
        scene = Scene(self.pose, self.camera, self.anchor, self.xy, self.inverse)
        point, frame = np.nonzero(self.weight > 0)
        edges = sorted_edges(Edges(point, frame, self.all.xy[point, frame], np.ones(len(point))), scene)
        return scene.world(), parallax_angles(scene, edges, self.inverse)


def odometry(
    observations: Observations,
    camera: np.ndarray,
    options: CameraOptions,
    video: VideoInfo,
    constants: Constants = PUBLISHED,
) -> Trajectory:
    """A trajectory by LEAP-VO's back end; `camera` [T,4] is never refined, and no votes are taken.

    Depths are begun at random (`options.seed`): average several seeds when quoting figures. Turning alone is not
    noticed; frames are placed whatever they see.
    """
    state = _Odometry(observations, camera, options.seed, constants)
    for j in range(observations.frames):
        state.frame(j)
    if not state.begun:  # a clip shorter than the beginning needs
        state.begun = True
        for _ in range(constants.first_updates):
            state.update(observations.frames)
    world, angles = state.world()
    used = state.weight > 0
    error = _errors(state, world, observations)
    inlier = (error < options.last_error) & (observations.weight > 0)
    valid = used.any(1) & (angles >= CLOUD_ANGLE) & (inlier.sum(1) >= constants.shortest)
    placed = used.any(0) | (np.arange(observations.frames) == 0)
    share = float(inlier.sum() / max(int((observations.weight > 0).sum()), 1))
    median = float(np.median(error[inlier])) if inlier.any() else 0.0
    report = Report(
        "leap", False, share * min(1.0, float(np.median(inlier.sum(0))) / 20), 1.0, median, focal_given=True
    )
    scale = float(np.median(state.inverse[valid])) if valid.any() else 1.0
    pose = state.pose.copy()
    pose[:, :3, 3] *= scale
    world = np.where(used.any(1, keepdims=True), world * scale, np.nan)
    return Trajectory(pose, world, valid, camera, inlier, placed, video, report)


def _errors(state: _Odometry, world: np.ndarray, observations: Observations) -> np.ndarray:
    """Reprojection errors [N,T] in pixels."""
    at = np.einsum("tij,nj->nti", state.pose[:, :3, :3], world) + state.pose[None, :, :3, 3]
    far = np.linalg.norm(pixels(at, state.camera[None]) - observations.xy, axis=-1)
    return np.where(at[..., 2] > 0, far, np.inf)
