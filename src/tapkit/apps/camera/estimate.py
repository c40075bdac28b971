"""`estimate_cameras`: tracks of any tracker to a trajectory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tapkit.apps.camera.intrinsics import intrinsics_of, pixels, rays
from tapkit.apps.camera.leap import odometry
from tapkit.apps.camera.observations import FEWEST, Observations, moving_weight
from tapkit.apps.camera.options import CameraOptions, Tolerances
from tapkit.apps.camera.rigid import apply, inverse
from tapkit.apps.camera.solve import CLOUD_ANGLE, Solver, keyframes_of, rotate_only
from tapkit.apps.camera.start import PARALLAX, Begun, Window, begin, choose_window, widest
from tapkit.apps.camera.trajectory import Report, Trajectory
from tapkit.apps.camera.votes import LEAST_PAIRS, Votes, vote, without_moving
from tapkit.errors import UsageError
from tapkit.types import Tracks, VideoInfo

FOCALS = (0.7, 0.9, 1.2, 1.6, 2.2)
"""Focal lengths, in longer sides of the image, that are tried where none is known."""
REFINE_FRAMES = 20
"""Frames that refining a focal length needs, besides plenty of parallax."""
BETTER = 0.75
"""Share of the usual focal length's cost that another one must get below where there is little parallax."""
HALF = 0.5
"""Share of static points below which what moves as one need not be the background."""
BAD_START = 0.6
"""Cost of a first window (see `Begun`) from which on another window is tried."""


def estimate_cameras(
    tracks: Tracks | Observations,
    intrinsics: Any = None,
    dynamic: Any = None,
    options: CameraOptions | None = None,
    video: VideoInfo | None = None,
) -> Trajectory:
    """Where the camera was on every frame, and where the points are.

        tracks = tapkit.track("clip.mp4", grid=20)
        cameras = estimate_cameras(tracks, intrinsics=820.0)
        cameras.world_to_camera, cameras.points[cameras.point_valid], cameras.report

    Args:
        tracks: of points on what stands still, and on what moves, spread over the frame. `Observations.of` makes what
            is needed of plain arrays.
        intrinsics: None (unknown: found with the rest where the motion allows it), a focal length in pixels,
            (fx, fy, cx, cy), or one of these for each frame. Lenses are taken for undistorted.
        dynamic: [N] or [N,T], P(the point moves by itself) or bool, where that is known; no votes are taken then.
        options: see `CameraOptions`.
        video: timing and names, for `Observations`.

    Never fails for what a clip shows: `report.degenerate`, `report.confidence`, `report.notes` and `placed` say what
    could not be found. Raises `ShapeError`, `UsageError` for arguments that cannot be used.
    """
    options = options or CameraOptions()
    if isinstance(tracks, Tracks):
        video, observations = tracks.video, Observations.of_tracks(tracks, options)
    else:
        observations = tracks
    height, width = observations.size
    video = video or VideoInfo(width, height, frames=observations.frames)
    if observations.frames < 2:
        raise UsageError(f"a camera's motion needs two frames or more, got {observations.frames}")
    aspect = float(video.pixel_aspect)
    camera, given = intrinsics_of(intrinsics, observations.size, observations.frames, aspect)
    if dynamic is not None:
        factor = moving_weight(dynamic, observations.weight.shape)
        observations = observations.weighted(observations.weight * factor)
    if options.method == "leap":
        if not given:
            raise UsageError("the method leap needs a focal length: it never refines one")
        return odometry(observations, camera, options, video)
    return _Estimation(observations, camera, given, dynamic is not None, options, video).run()


class _Estimation:
    """One estimation, with what is to be said of it."""

    def __init__(
        self,
        observations: Observations,
        camera: np.ndarray,
        given: bool,
        labelled: bool,
        options: CameraOptions,
        video: VideoInfo,
    ) -> None:
        self.all, self.camera, self.given, self.labelled = observations, camera, given, labelled
        self.options, self.video = options, video
        self.notes: list[str] = []
        self.restarts = 0
        self.static_share, self.parallax = 1.0, 0.0
        self.tolerances = Tolerances(last=options.last_error)
        self.votes: Votes | None = None

    def run(self) -> Trajectory:
        """Segment, votes, first window, everything else."""
        start, stop = self.all.segment()
        if stop - start < self.all.frames:
            self.notes.append(_said_of_segment(self.all, start, stop))
        if stop - start < 2:
            return self._turning(self.all, start, stop)
        least = -(-(stop - start) // self.options.most_keyframes)
        window = choose_window(self.all, self.camera, start, stop, least)
        if window is None:
            return self._turning(self.all, start, stop)
        used = self._voted(window, self.camera, self.given)
        begun = self._begin(used, start, stop, least, self._cameras())
        if begun is not None and not self.given and used is not self.all:
            # With a focal length the votes are those of essential matrices, which fit fewer moving points.
            used = self._voted(begun[0], begun[2], True)
            begun = self._begin(used, start, stop, least, [begun[2]])
        if begun is None:
            return self._turning(used, start, stop)
        self._note_votes()
        return self._whole(used, *begun, start, stop)

    def _voted(self, window: Window, camera: np.ndarray, calibrated: bool) -> Observations:
        """Without points that were voted out."""
        if self.labelled or not self.options.vote:
            return self.all
        self.votes = votes = vote(self.all, camera, calibrated, self.options, window.stride)
        asked = votes.pairs >= LEAST_PAIRS
        if asked.any():
            self.static_share = float(votes.static(self.options.static_score)[asked].mean())
        self.tolerances = Tolerances.of(votes.noise, self.options.last_error)
        return without_moving(self.all, votes, self.options.static_score)

    def _cameras(self) -> list[np.ndarray]:
        """Intrinsics [T,4] to be tried."""
        if self.given or self.options.refine_focal is False:
            return [self.camera]
        longer = max(self.all.size)
        return [self.camera * np.array([f, f, 1, 1]) for f in np.array(FOCALS) * longer / self.camera[0, 0]]

    def _note_votes(self) -> None:
        votes = self.votes
        if votes is not None and votes.asked and votes.voted < 0.2 * votes.asked:
            self.notes.append(
                f"only {votes.voted} of {votes.asked} pairs of frames show parallax and a common motion: moving points "
                "could hardly be told from still ones"
            )

    def _begin(
        self, used: Observations, start: int, stop: int, least: int, cameras: list[np.ndarray]
    ) -> tuple[Window, Begun, np.ndarray] | None:
        """The first window that can be explained, with the focal length that explains it best."""
        window = choose_window(used, cameras[len(cameras) // 2], start, stop, least)
        if window is None:
            return None
        tried: list[tuple[Window, Begun, np.ndarray]] = []
        few = replace(self.options, starts=min(self.options.starts, 3)) if len(cameras) > 1 else self.options
        for each in [window, *_later(used, window, start, stop)]:
            found = [(begin(used, camera, each.frames, few, self.tolerances.kernel), camera) for camera in cameras]
            possible = [(each, begun, camera) for begun, camera in found if begun is not None]
            if possible:
                best = min(possible, key=lambda one: one[1].cost)
                usual = possible[len(possible) // 2]
                doubtful = window.parallax < PARALLAX and best[1].cost > BETTER * usual[1].cost
                tried.append(usual if doubtful else best)
                if tried[-1][1].cost < BAD_START:
                    break
        self.restarts = max(len(tried) - 1, 0)
        return min(tried, key=lambda one: one[1].cost, default=None)

    def _whole(
        self, used: Observations, window: Window, begun: Begun, camera: np.ndarray, start: int, stop: int
    ) -> Trajectory:
        solver = Solver.of(used, camera, self.options, self.tolerances)
        keyframes = keyframes_of(window, used, start, stop)
        solver.begin(begun, window.frames)
        solver.slide(keyframes)
        there = keyframes[solver.placed[keyframes]]
        self.parallax = max(window.parallax, widest(used, camera, there))
        wanted = self.options.refine_focal
        possible = self.parallax >= PARALLAX and stop - start >= REFINE_FRAMES
        focal = possible and not self.given if wanted is None else wanted
        solver.finish(there, focal, self.all)
        if self.parallax < PARALLAX:
            self.notes.append(
                f"little parallax ({100 * self.parallax:.1f} % of the focal length): translations are uncertain"
            )
        if not self.given and not focal:
            self.notes.append(
                f"the focal length is not known and was not refined: {solver.camera[0, 0]:.0f} pixels is a guess"
            )
        solver.place_others(start, stop)
        if window.stride > 1 and (stop - start) <= self.options.most_keyframes and solver.placed[start:stop].all():
            solver.finish(np.arange(start, stop), focal, self.all)
        if not solver.placed[start:stop].all():
            missing = int((~solver.placed[start:stop]).sum())
            self.notes.append(f"{missing} frames see too few known points and could not be placed")
        return self._trajectory(solver, used, focal)

    def _trajectory(self, solver: Solver, used: Observations, focal: bool) -> Trajectory:
        inlier = solver.errors(self.all) < self.options.last_error
        used_still = solver.errors()
        agreeing = used_still[used_still < self.options.last_error]
        valid = np.isfinite(solver.world).all(1) & (solver.parallax_angles() >= CLOUD_ANGLE)
        valid &= (inlier & (solver.observations.weight > 0)).sum(1) >= self.options.shortest
        pose, world = _in_units(solver, valid)
        share = _agreement(inlier, (used.weight > 0) & solver.placed[None], solver.placed)
        share *= min(1.0, self.static_share / HALF) ** 2
        error = float(np.median(agreeing)) if agreeing.size else 0.0
        report = Report(
            "adjust", False, share, self.static_share, error, self.parallax, self.restarts, self.given, focal,
            tuple(self._notes(share)),
        )  # fmt: skip
        pose = _filled(pose, solver.placed)
        return Trajectory(pose, world, valid, solver.camera, inlier, solver.placed, self.video, report)

    def _notes(self, confidence: float) -> list[str]:
        if confidence < 0.5:
            self.notes.append("less than half of the points agree with one motion of the camera: do not trust this")
        return self.notes

    def _turning(self, used: Observations, start: int, stop: int) -> Trajectory:
        """The camera turned, or stood still."""
        pose = rotate_only(used, self.camera, start, stop)
        error, seen = _far_errors(used, self.camera, pose, start, stop)
        inlier = seen & (error < self.options.last_error)
        share = float(inlier.sum() / max(int(seen.sum()), 1)) * min(1.0, _median_count(inlier, start, stop) / 20)
        self.notes.append("too little parallax: the camera only turned or stood still, its path is not known")
        if not self.given:
            self.notes.append(f"the focal length is not known: {self.camera[0, 0]:.0f} pixels is a guess")
        placed = np.zeros(self.all.frames, bool)
        placed[start:stop] = True
        report = Report(
            "adjust", True, share, self.static_share, float(np.median(error[inlier])) if inlier.any() else 0.0, 0.0, 0,
            self.given, False, tuple(self._notes(share)),
        )  # fmt: skip
        count = len(self.all)
        return Trajectory(
            pose, np.full((count, 3), np.nan), np.zeros(count, bool), self.camera, inlier, placed, self.video, report
        )


def _later(used: Observations, window: Window, start: int, stop: int) -> list[Window]:
    """Up to three other windows of the same length and stride, spread over the clip."""
    span = int(window.frames[-1] - window.frames[0])
    firsts = np.unique(np.linspace(start, stop - 1 - span, 4).astype(int))
    return [
        window._replace(frames=window.frames - window.frames[0] + first)
        for first in firsts.tolist()
        if abs(first - int(window.frames[0])) > span // 4
    ]


def _in_units(solver: Solver, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Poses and points in the unit of a trajectory, the first placed frame at the origin."""
    origin = solver.pose[np.flatnonzero(solver.placed)[0]]
    pose, world = solver.pose @ inverse(origin), apply(origin, solver.world)
    host = np.clip(solver.observations.host, 0, len(pose) - 1)
    use = valid if valid.any() else np.isfinite(world).all(1)
    depth = apply(pose[host[use]], world[use])[:, 2]
    scale = 1 / float(np.median(depth[depth > 0])) if (depth > 0).any() else 1.0
    pose[:, :3, 3] *= scale
    return pose, world * scale


def _agreement(inlier: np.ndarray, used: np.ndarray, placed: np.ndarray) -> float:
    """The share of inliers among observations of points that were not voted out, less where frames have few. What was
    rejected on the way counts as not agreeing."""
    share = float((inlier & used).sum() / max(int(used.sum()), 1))
    return share * min(1.0, float(np.median(inlier[:, placed].sum(0))) / 20)


def _filled(pose: np.ndarray, placed: np.ndarray) -> np.ndarray:
    """Frames that were not placed repeat the nearest one that was."""
    known = np.flatnonzero(placed)
    nearest = known[np.abs(known[None] - np.arange(len(pose))[:, None]).argmin(1)]
    found: np.ndarray = pose[nearest]
    return found


def _far_errors(
    used: Observations, camera: np.ndarray, pose: np.ndarray, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Errors [N,T] in pixels of points taken as infinitely far, against the mean of their directions; and where they
    are seen."""
    seen = used.weight > 0
    seen[:, :start], seen[:, stop:] = False, False
    towards = rays(used.xy, camera[None])
    towards = np.einsum("tji,ntj->nti", pose[:, :3, :3], towards / np.linalg.norm(towards, axis=-1, keepdims=True))
    mean = np.where(seen[..., None], towards, 0).sum(1)
    back = pixels(np.einsum("tij,nj->nti", pose[:, :3, :3], mean), camera[None])
    return np.where(seen, np.linalg.norm(back - used.xy, axis=-1), np.inf), seen


def _median_count(inlier: np.ndarray, start: int, stop: int) -> float:
    return float(np.median(inlier[:, start:stop].sum(0))) if stop > start else 0.0


def _said_of_segment(observations: Observations, start: int, stop: int) -> str:
    if stop - start < 2:
        return f"no two frames in a row share {FEWEST} points or more: nothing joins them"
    cut = stop if stop < observations.frames else start
    return (
        f"frames {cut - 1} and {cut} share fewer than {FEWEST} points (a cut, or points lost): only frames {start} to "
        f"{stop - 1} were used"
    )
