"""A video to a trajectory: points are chosen all over it, tracked, and handed to `estimate_cameras`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tapkit import api, registry
from tapkit.apps.camera.estimate import estimate_cameras
from tapkit.apps.camera.options import CameraOptions
from tapkit.apps.camera.trajectory import Trajectory
from tapkit.engine.control import Control, Progress
from tapkit.engine.tracker import Tracker
from tapkit.errors import UsageError
from tapkit.types import Queries, Tracks
from tapkit.video.base import Source
from tapkit.video.span import Span
from tapkit.video.using import using

CLIP = 80
"""Frames that are tracked at once; a longer video is tracked in such parts, each half of which the next one has too."""
POINTS = 64
_CENTRE = 0.7
"""Share of a cell, about its middle, in which its points are chosen."""
_FLAT = 2.0
"""Standard deviation of grey levels below which there is nothing to track in a cell."""


class Followed(NamedTuple):
    """What `track_camera` returns."""

    cameras: Trajectory
    tracks: Tracks
    """What they rest on: row n is `cameras.points[n]`."""


def track_camera(
    video: Any,
    intrinsics: Any = None,
    *,
    tracker: str | Tracker = registry.DEFAULT,
    points: int = POINTS,
    every: int | None = None,
    options: CameraOptions | None = None,
    device: str = "auto",
    control: Control | None = None,
) -> Followed:
    """Where the camera was on every frame of a video, and where points are.

        cameras, tracks = track_camera("clip.mp4")
        cameras, tracks = track_camera("clip.mp4", intrinsics=(820, 820, 640, 360), tracker="cotracker3-offline")

    Args:
        video: anything `tapkit.open_video` takes, except what is live.
        intrinsics: see `estimate_cameras`.
        tracker: id of a tracker, or one that is loaded.
        points: chosen on each frame on which points are chosen: the best corners in the cells of a grid.
        every: frames between two of those; None: a tenth of the clip, 4 to 10 frames.
        options: see `CameraOptions`.
        device: for a tracker given by its id.
        control: progress and cancelling.

    Raises `UsageError`, and what tracking raises.
    """
    options = options or CameraOptions()
    with using(video) as source:
        check_source(source, points, every)
        loaded = api.load(tracker, device=device) if isinstance(tracker, str) else tracker
        tracks = follow_scene(source, loaded, points, every, control)
    return Followed(estimate_cameras(tracks, intrinsics, options=options), tracks)


def check_source(source: Source, points: int = POINTS, every: int | None = None) -> None:
    """Raise `UsageError` for what no cameras can be found in."""
    if points < 8:
        raise UsageError(f"a camera needs 8 points a frame or more, got {points}")
    if every is not None and every < 1:
        raise UsageError(f"every must be 1 frame or more, got {every}")
    if source.live or source.info.frames is None:
        raise UsageError("cameras are found in files: a live source must be recorded first")
    if source.info.frames < 2:
        raise UsageError("a camera's motion needs two frames or more, and this video has one")


def follow_scene(
    source: Source, tracker: Tracker, points: int = POINTS, every: int | None = None, control: Control | None = None
) -> Tracks:
    """Tracks of points that are chosen anew every few frames, all over the picture."""
    frames = source.info.frames or 0
    every = every or int(np.clip(frames // 10, 4, 10))
    parts = []
    spans = _spans(frames)
    for number, (start, stop, first, last) in enumerate(spans):
        found = {
            t: spread_corners(source.read(t).image, points) for t in range(-(-first // every) * every, last, every)
        }
        chosen = [
            Queries.at(t - start, xy, [f"f{t}p{n}" for n in range(len(xy))]) for t, xy in found.items() if len(xy)
        ]
        if not chosen:
            continue
        span = source if len(spans) == 1 else Span(source, start, stop)
        tracks = tracker.track(span, Queries.join(chosen), control=_shifted(control, number, spans))
        parts.append(_placed(tracks, start, source))
    if not parts:
        raise UsageError("there is nothing in this video that could be tracked: its pictures are flat")
    return parts[0] if len(parts) == 1 else Tracks.join(parts)


def _spans(frames: int) -> list[tuple[int, int, int, int]]:
    """Parts of a clip, each (start, stop, first, last): points of the frames first <= t < last are tracked from start
    to stop. Every frame's points are those of one part, in which they can be followed to both sides.

    >>> _spans(100), _spans(130)
    ([(0, 100, 0, 100)], [(0, 80, 0, 60), (40, 120, 60, 100), (80, 130, 100, 130)])
    """
    if frames <= CLIP * 3 // 2:
        return [(0, frames, 0, frames)]
    starts = list(range(0, frames - CLIP // 2, CLIP // 2))
    bounds = [0, *(start + CLIP // 4 for start in starts[1:]), frames]
    return [(start, min(start + CLIP, frames), *bounds[n : n + 2]) for n, start in enumerate(starts)]  # type: ignore[misc]


def _placed(tracks: Tracks, start: int, source: Source) -> Tracks:
    """Tracks of a part as tracks of the whole: not valid outside it."""
    frames = source.info.frames or 0
    if tracks.frames == frames:
        return tracks
    after = frames - start - tracks.frames

    def wide(array: np.ndarray) -> np.ndarray:
        return np.pad(array, ((0, 0), (start, after), *([(0, 0)] * (array.ndim - 2))))

    queries = Queries(tracks.queries.t + start, tracks.queries.xy, tracks.queries.ids)
    return Tracks(
        wide(tracks.xy), wide(tracks.visible), wide(tracks.confidence), wide(tracks.valid), queries, source.info,
        tracks.source,
    )  # fmt: skip


def _shifted(control: Control | None, number: int, spans: list[tuple[int, int, int, int]]) -> Control | None:
    """The caller's control, whose progress counts the frames of all parts."""
    if control is None or len(spans) == 1:
        return control
    lengths = [stop - start for start, stop, *_ in spans]
    return _Part(control, sum(lengths[:number]), lengths[number], sum(lengths))


class _Part(Control):
    """One of several runs that together are one to the caller."""

    def __init__(self, control: Control, before: int, own: int, total: int) -> None:
        def told(now: Progress) -> None:
            share = now.done / now.total if now.total else 0.0
            control.report(now._replace(done=before + int(share * own), total=total))

        super().__init__(told, control.interrupt)
        self._whole = control

    def between_frames(self, session: Any, interrupted: Any = lambda: False) -> bool:
        """See `Control`."""
        return self._whole.between_frames(session, interrupted)


def spread_corners(image: np.ndarray, count: int) -> np.ndarray:
    """About `count` corners [n,2] of an image [H,W,3], the best one in each cell of a grid; cells without texture give
    none."""
    height, width = image.shape[:2]
    columns = max(round((count * width / height) ** 0.5), 1)
    rows = max(round(count / columns), 1)
    found = []
    for row in range(rows):
        for column in range(columns):
            box = np.array([column, row, column + 1, row + 1]) * np.array([width, height] * 2) / ([columns, rows] * 2)
            shrink = (1 - _CENTRE) / 2 * (box[2:] - box[:2])
            left, top, right, bottom = (int(v) for v in (*(box[:2] + shrink), *(box[2:] - shrink)))
            cell = image[top : max(bottom, top + 1), left : max(right, left + 1)]
            if cell.mean(-1).std() < _FLAT:
                continue
            best = Queries.corners(cell, 1).xy
            found += [best[0] + (left, top)] if len(best) else []
    return np.array(found, np.float32).reshape(-1, 2)
