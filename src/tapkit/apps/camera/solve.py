"""From observations to a trajectory: first window, sliding adjustment to both ends, rejection, all frames at once.

The state is where frames are and where points are; every adjustment takes a part of it, anchors points anew, and
gives it back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapkit.apps.camera.bundle import (
    Edges,
    Kernel,
    Scene,
    adjust,
    cauchy,
    misses,
)
from tapkit.apps.camera.epipolar import rotation_between
from tapkit.apps.camera.intrinsics import pixels, rays
from tapkit.apps.camera.observations import FEWEST, Observations
from tapkit.apps.camera.options import CameraOptions, Tolerances
from tapkit.apps.camera.place import NARROW, WIDE, Stages, locate, parallax_angles, triangulate
from tapkit.apps.camera.rigid import apply, inverse, logarithm, motion, of_parts
from tapkit.apps.camera.start import Begun, Window, scene_of

TRACK_SHARE, TRACK_LEAST = 0.4, 4
"""A track of at least so many observations is dropped if more than this share of them misses by `Tolerances.track`."""
LEAST_INLIERS = 0.15
"""Share of the known points a frame sees that must agree with its pose."""
CLOUD_ANGLE = np.radians(0.5)
"""Parallax below which a point constrains rotations but is not placed well."""
_BATCH = 3
"""Keyframes that are placed before the window is adjusted again."""
_OLDER = 6
"""Keyframes behind the window that hold it in place and in scale."""


@dataclass(eq=False)
class Solver:
    """The state of one estimation. Arrays are replaced, not changed, by its methods."""

    observations: Observations
    """Weights shrink to 0 as observations are rejected."""
    camera: np.ndarray
    """[T,4]."""
    options: CameraOptions
    tolerances: Tolerances
    pose: np.ndarray
    """[T,4,4]."""
    placed: np.ndarray
    """[T] bool."""
    world: np.ndarray
    """[N,3], NaN while unknown."""

    @classmethod
    def of(
        cls, observations: Observations, camera: np.ndarray, options: CameraOptions, tolerances: Tolerances
    ) -> Solver:
        """Nothing is known yet."""
        frames, count = observations.frames, len(observations)
        return cls(
            observations, camera, options, tolerances, np.tile(np.eye(4), (frames, 1, 1)), np.zeros(frames, bool),
            np.full((count, 3), np.nan),
        )  # fmt: skip

    # -- the way through -------------------------------------------------------------------------

    def begin(self, begun: Begun, frames: np.ndarray) -> None:
        """Take the first window up."""
        self.pose[frames], self.placed[frames] = begun.scene.pose, True
        self.world[begun.rows] = begun.scene.world()
        self._adjust_some(frames, np.arange(len(frames)) > 0, cauchy(self.tolerances.kernel), 10, self.tolerances.first)

    def slide(self, keyframes: np.ndarray) -> None:
        """Place keyframes outwards from those that are, forwards and then backwards, adjusting the newest ones.

        Where one sees too little of what is known, it and those beyond stay unplaced.
        """
        for direction in (1, -1):
            line = keyframes[::direction]
            done = np.flatnonzero(self.placed[line])
            rest = line[done[-1] + 1 :]
            for start in range(0, len(rest), _BATCH):
                batch = rest[start : start + _BATCH]
                whole = all(self._place_next(int(t), direction) for t in batch)
                some = line[self.placed[line]][-(self.options.window + _OLDER) :]
                free = np.arange(len(some)) >= min(_OLDER, len(some) - self.options.window)
                free[0] = False
                self._triangulate(some)
                self._adjust_some(some, free, cauchy(self.tolerances.kernel), 4, self.tolerances.first)
                if not whole:
                    break

    def finish(self, keyframes: np.ndarray, focal: bool, everything: Observations) -> None:
        """Adjust all keyframes at once, then ask of all points again which ones stand still, and adjust again.

        `everything` are the observations before any was rejected.
        """
        free = np.arange(len(keyframes)) > 0
        self._triangulate(keyframes)
        self._adjust_some(keyframes, free, cauchy(2 * self.tolerances.kernel), 8, None, focal=focal)
        for steps in (6, 10):
            self._measure(keyframes)
            self._choose(keyframes, everything)
            self._adjust_some(keyframes, free, cauchy(self.tolerances.kernel), steps, None, focal=focal)
        wrong = self.errors() > self.tolerances.last
        self._reject(*np.nonzero(wrong))
        self._adjust_some(keyframes, free, cauchy(self.tolerances.kernel), 8, None, focal=focal)

    def _measure(self, keyframes: np.ndarray) -> None:
        """How precise the tracks are, from the errors of what agrees."""
        error = self.errors()[:, keyframes]
        agreeing = error[error < self.tolerances.first]
        if len(agreeing):
            # The median length of a pair of normal deviates is 1.1774 of their standard deviation.
            noise = float(np.median(agreeing)) / 1.1774
            self.tolerances = Tolerances.of(noise, self.options.last_error)

    def _choose(self, keyframes: np.ndarray, everything: Observations) -> None:
        """Take up all points of which most observations agree with the cameras, and drop the others."""
        before = self.observations, self.world
        self.observations = everything
        self.world = np.full_like(self.world, np.nan)
        self._triangulate(keyframes, strict=True)
        error = self.errors()[:, keyframes]
        seen = np.isfinite(error)
        far = (np.where(seen, error, 0) > self.tolerances.track).sum(1)
        count = seen.sum(1)
        wrong = (count < self.options.shortest) | ((count >= TRACK_LEAST) & (far > TRACK_SHARE * count))
        weight = np.where(wrong[:, None], 0.0, everything.weight)
        if (weight > 0).sum() < 0.5 * (before[0].weight > 0).sum():  # the cameras explain little: leave it as it was
            self.observations, self.world = before
            return
        self.observations = everything.weighted(weight)
        self.world[wrong] = np.nan

    def place_others(self, start: int, stop: int) -> None:
        """Frames between keyframes, each by the points that it sees."""
        frames = np.array([t for t in range(start, stop) if not self.placed[t]], np.int64)
        if not len(frames):
            return
        known = np.flatnonzero(self.placed)
        nearest = known[np.abs(known[None] - frames[:, None]).argmin(1)]
        tried = [self._locate(frames, self.pose[nearest], way) for way in (NARROW, WIDE)]
        better = tried[0][1] >= tried[1][1]
        self.pose[frames] = np.where(better[:, None, None], tried[0][0], tried[1][0])
        self.placed[frames] = np.maximum(tried[0][1], tried[1][1]) >= self._needed(frames)

    # -- parts -----------------------------------------------------------------------------------

    def _place_next(self, frame: int, direction: int) -> bool:
        """Place a frame beside placed ones: from where an even motion would have brought it, or from its neighbour."""
        earlier, later = np.flatnonzero(self.placed[:frame])[::-1], np.flatnonzero(self.placed[frame + 1 :])
        behind = earlier if direction > 0 else frame + 1 + later
        one = int(behind[0])
        guesses = [self.pose[one]]
        if len(behind) > 1:
            two = int(behind[1])
            step = logarithm(self.pose[one] @ inverse(self.pose[two])) * (frame - one) / (one - two)
            guesses.append(motion(step) @ self.pose[one])
        tried = [self._locate(np.array([frame]), each[None], way) for each in guesses for way in (NARROW, WIDE)]
        pose, inliers = max(tried, key=lambda each: each[1][0])
        if inliers[0] < self._needed(np.array([frame]))[0]:
            return False
        self.pose[frame], self.placed[frame] = pose[0], True
        return True

    def _needed(self, frames: np.ndarray) -> np.ndarray:
        """Inliers [F] without which frames are not taken for placed."""
        known = np.isfinite(self.world).all(1)[:, None]
        seen = ((self.observations.weight[:, frames] > 0) & known).sum(0)
        needed: np.ndarray = np.maximum(FEWEST, LEAST_INLIERS * seen)
        return needed

    def _locate(self, frames: np.ndarray, guess: np.ndarray, stages: Stages) -> tuple[np.ndarray, np.ndarray]:
        """Poses of frames, and with how many inliers each was found."""
        seen = (self.observations.weight[:, frames] > 0) & np.isfinite(self.world).all(1)[:, None]
        frame, point = np.nonzero(seen.T)
        pose, error = locate(
            guess, self.camera[frames], self.world[point], self.observations.xy[point, frames[frame]],
            self.observations.weight[point, frames[frame]], frame, stages,
        )  # fmt: skip
        return pose, np.bincount(frame, error < self.tolerances.first, len(frames))

    def _part(self, frames: np.ndarray, rows: np.ndarray) -> tuple[Scene, Edges]:
        """Points `rows` that are seen on at least two of `frames`, with the inverse depths that they have."""
        scene, edges = scene_of(self.observations, frames, rows, self.pose[frames], self.camera[frames])
        here = apply(scene.pose[scene.anchor], self.world[rows])
        depth = np.where(np.isfinite(here[:, 2]), here[:, 2], 1.0)
        return Scene(
            scene.pose, scene.camera, scene.anchor, scene.xy, np.clip(1 / np.maximum(depth, 1e-3), 1e-4, 20)
        ), edges

    def _adjust_some(
        self, frames: np.ndarray, free: np.ndarray, kernel: Kernel, iterations: int, error: float | None,
        focal: bool = False,
    ) -> None:  # fmt: skip
        """Adjust some frames and the known points they see; then reject observations that miss by more than `error`."""
        seen = (self.observations.weight[:, frames] > 0).sum(1)
        rows = np.flatnonzero((seen >= 2) & np.isfinite(self.world).all(1))
        if len(rows) < FEWEST or not free.any():
            return
        scene, edges = self._part(frames, rows)
        scene = adjust(scene, edges, free, kernel, iterations, focal=focal).scene
        if focal:
            factor = scene.camera[0, 0] / self.camera[frames[0], 0]
            self.camera = self.camera * np.array([factor, factor, 1, 1])
        self.pose[frames] = scene.pose
        self.world[rows] = scene.world()
        if error is not None:
            wrong = misses(scene, edges) > error
            self._reject(rows[edges.point[wrong]], frames[edges.frame[wrong]])

    def _reject(self, rows: np.ndarray, frames: np.ndarray) -> None:
        weight = self.observations.weight.copy()
        weight[rows, frames] = 0
        self.observations = self.observations.weighted(weight)

    def _triangulate(self, frames: np.ndarray, strict: bool = False) -> None:
        """Place points that are not yet, from placed frames that see them. Depths that cannot be are replaced by the
        usual one; if `strict`, those behind the camera stay unknown."""
        seen = (self.observations.weight[:, frames] > 0).sum(1)
        rows = np.flatnonzero((seen >= 2) & ~np.isfinite(self.world).all(1))
        if not len(rows):
            return
        scene, edges = self._part(frames, rows)
        depth, _ = triangulate(scene, edges)
        known = np.isfinite(self.world).all(1)
        usual = (
            1 / max(float(np.median(apply(self.pose[frames[-1]], self.world[known])[:, 2])), 1e-3) if known.any() else 1
        )
        if strict:
            depth = np.where(depth < -0.02 * usual, np.nan, np.clip(depth, 1e-3 * usual, 20 * usual))
        depth = np.where((depth > 1e-3 * usual) & (depth < 20 * usual) | np.isnan(depth), depth, usual)
        placed = Scene(scene.pose, scene.camera, scene.anchor, scene.xy, depth)
        self.world[rows] = placed.world()

    def errors(self, observations: Observations | None = None) -> np.ndarray:
        """Reprojection errors [N,T] in pixels of observations with weight; NaN elsewhere, and for unknown points."""
        use = observations or self.observations
        point, frame = np.nonzero((use.weight > 0) & np.isfinite(self.world).all(1)[:, None] & self.placed[None])
        at = apply(self.pose[frame], self.world[point])
        far = np.linalg.norm(pixels(at, self.camera[frame]) - use.xy[point, frame], axis=1)
        table = np.full(use.weight.shape, np.nan)
        table[point, frame] = np.where(at[:, 2] > 0, far, 1e6)
        return table

    def parallax_angles(self) -> np.ndarray:
        """The largest parallax angle [N] in radians of the observations of each point; 0 where unknown."""
        frames = np.flatnonzero(self.placed)
        rows = np.flatnonzero(np.isfinite(self.world).all(1) & (self.observations.weight[:, frames] > 0).any(1))
        found = np.zeros(len(self.world))
        if len(rows):
            scene, edges = self._part(frames, rows)
            found[rows] = parallax_angles(scene, edges, scene.inverse)
        return found


def rotate_only(observations: Observations, camera: np.ndarray, start: int, stop: int, most: int = 150) -> np.ndarray:
    """Poses [T,4,4] of a camera that only turns.

    Rotations from frame to frame, of which at most `most`, spread over the clip, are then adjusted at once with all
    points infinitely far; the frames between them keep their rotation to the one before.
    """
    chain = np.tile(np.eye(4), (observations.frames, 1, 1))
    for t in range(start + 1, stop):
        rows = np.flatnonzero((observations.weight[:, t - 1] > 0) & (observations.weight[:, t] > 0))
        turn = np.eye(3)
        if len(rows) >= 2:
            one, other = rays(observations.xy[rows, t - 1], camera[t - 1]), rays(observations.xy[rows, t], camera[t])
            turn, _ = rotation_between(one, other, np.ones(len(rows)))
        chain[t] = of_parts(turn, np.zeros(3)) @ chain[t - 1]
    frames = np.arange(start, stop, max(-(-(stop - start) // most), 1))
    rows = np.flatnonzero((observations.weight[:, frames] > 0).sum(1) >= 2)
    pose = chain.copy()
    if len(rows) and len(frames) > 1:
        scene, edges = scene_of(observations, frames, rows, chain[frames], camera[frames])
        far = Scene(scene.pose, scene.camera, scene.anchor, scene.xy, np.zeros(len(rows)))
        found = adjust(far, edges, np.arange(len(frames)) > 0, cauchy(2.0), 15, rotations=True).scene.pose
        before = np.searchsorted(frames, np.arange(start, stop), side="right") - 1
        pose[start:stop] = chain[start:stop] @ inverse(chain[frames])[before] @ found[before]
    pose[:start], pose[stop:] = pose[start], pose[stop - 1]
    return pose


def keyframes_of(window: Window, observations: Observations, start: int, stop: int) -> np.ndarray:
    """Every `stride`-th frame through the window's first one, both ends, and frames on which points were chosen as far
    as they are few."""
    regular = np.arange(start + (int(window.frames[0]) - start) % window.stride, stop, window.stride)
    hosts = np.unique(observations.host[(observations.host >= start) & (observations.host < stop)])
    extra = hosts if len(hosts) <= len(regular) // 2 + 2 else np.zeros(0, np.int64)
    return np.unique(np.concatenate([regular, [start, stop - 1], extra]))
