"""Detections of a video, and a point tracker, to objects with identities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tapkit import api, registry
from tapkit.apps.objects.association import PointMOT, Points
from tapkit.apps.objects.clips import PointsOfClips
from tapkit.apps.objects.detections import Detections
from tapkit.apps.objects.files import read_detections
from tapkit.apps.objects.options import ObjectOptions
from tapkit.apps.objects.table import ObjectTracks
from tapkit.engine.control import Control, Progress
from tapkit.engine.run import run
from tapkit.engine.session import Session
from tapkit.engine.tracker import Tracker
from tapkit.errors import ShapeError, UsageError
from tapkit.types import FrameResult, Queries, VideoInfo
from tapkit.video.base import Frame, Source
from tapkit.video.using import using

Detector = Callable[[np.ndarray], Any]
"""Takes a picture [H,W,3] uint8 RGB and returns `Detections` or what supervision calls so."""
Given = str | Path | Sequence[Detections] | Mapping[int, Detections] | Detector
"""Detections: a file, one entry for each frame, entries of some frames, or a function."""
CLIP = 24
"""Frames tracked at once by trackers that do not answer frame by frame."""


def track_objects(
    video: Any,
    detections: Given,
    *,
    tracker: str | Tracker = registry.DEFAULT,
    options: ObjectOptions | None = None,
    free: bool = False,
    clip: int = CLIP,
    device: str = "auto",
    progress: Callable[[Progress], object] | None = None,
    control: Control | None = None,
) -> ObjectTracks:
    """Follow the objects that a detector found, or that someone marked on one frame.

        found = track_objects("clip.mp4", "detections.txt")
        found = track_objects("clip.mp4", lambda image: Detections.of(*my_detector(image)))
        found = track_objects("clip.mp4", {0: Detections.of([(10, 20, 60, 90)])}, free=True)
        write_objects("tracks.txt", found)

    Args:
        video: anything `tapkit.open_video` takes.
        detections: see `Given`. Boxes are pixels of the video, corner origin.
        tracker: id of a tracker, or one that is loaded. Causal ones work frame by frame; others on clips of `clip`
            frames that share a frame; new objects get points at once, lost points are replaced at a clip's end.
        options: the rule and its settings.
        free: objects live on their points alone after the frames with detections; boxes carried by points are results.
        clip: frames in a clip, 4 or more.
        device: for a tracker given by its id.
        progress, control: see `tapkit.engine.control`.

    Raises `UsageError` for detections on frames that the video does not have, `ShapeError` for masks of another size or
    frames that change their size, and what reading the video raises.
    """
    options = options or ObjectOptions()
    if clip < 4:
        raise UsageError(f"a clip needs 4 frames or more, got {clip}")
    if free and options.rule == "iou":
        raise UsageError("without points nothing follows a box: rule iou needs detections on every frame")
    if control is None:
        control = Control(progress)
    with using(video) as source:
        look = _Look(detections, source.info)
        mot = PointMOT(source.info.size, options, free=free)
        if options.rule == "iou":
            frames = _without_points(source, look, mot, control)
        else:
            loaded = api.load(tracker, device=device) if isinstance(tracker, str) else tracker
            follow = _frame_by_frame if loaded.card.streaming == "causal" else _clip_by_clip
            frames = follow(_Job(source, loaded, look, mot, control, clip))
        mot.finish()
        if mot.left_out:
            import warnings

            warnings.warn(f"{mot.left_out} detections lie wholly outside the frame and were left out", stacklevel=2)
        info = source.info
        times = None if info.times is None else info.times[:frames]
        return mot.rows.table(replace(info, frames=frames, times=times))


class _Job(NamedTuple):
    source: Source
    tracker: Tracker
    look: _Look
    mot: PointMOT
    control: Control
    clip: int


class _Look:
    """The detections of each frame, whatever they are given as."""

    def __init__(self, given: Given, info: VideoInfo) -> None:
        self._size = info.size
        self.detector: Detector | None = None
        self._known: Mapping[int, Detections] = {}
        if isinstance(given, str | Path):
            self._known = read_detections(given, info.size)
        elif callable(given):
            self.detector = given
        elif isinstance(given, Mapping):
            self._known = given
        else:
            self._known = dict(enumerate(given))
            if info.frames is not None and len(self._known) != info.frames:
                raise UsageError(
                    f"there are detections of {len(self._known)} frames and the video has {info.frames}: a list needs "
                    "one entry for each frame, Detections.none() where there is nothing"
                )
        self._check(info.frames)

    def _check(self, frames: int | None) -> None:
        wrong = [f for f in self._known if f < 0 or (frames is not None and f >= frames)]
        if wrong:
            last = "" if frames is None else f" to {frames - 1}"
            raise UsageError(f"there are detections of frame {wrong[0]}, and the video has frames 0{last}")

    def __call__(self, frame: int, image: np.ndarray | None) -> Detections:
        found: Any = self._known.get(frame)
        if self.detector is not None:
            found = self.detector(image)  # type: ignore[arg-type]
        if found is None:
            return Detections.none()
        if not isinstance(found, Detections):
            if not hasattr(found, "xyxy"):
                raise UsageError(f"a detector must return Detections, got {type(found).__name__} on frame {frame}")
            found = Detections.of_supervision(found)
        if found.mask is not None and found.mask.shape[1:] != self._size:
            height, width = found.mask.shape[1:]
            raise ShapeError(f"masks of frame {frame} are {width}x{height}, the video {self._size[1]}x{self._size[0]}")
        looked: Detections = found
        return looked


# -- three ways through a video ----------------------------------------------------------------------


def _without_points(source: Source, look: _Look, mot: PointMOT, control: Control) -> int:
    """Only boxes; frames are read if a detector wants to see them, or if nobody knows how many there are."""
    total, count = source.info.frames, 0
    read = look.detector is not None or total is None
    frames: Iterator[Frame | None] = source.frames() if read else iter([None] * (total or 0))
    for frame in frames:
        mot.step(count, look(count, None if frame is None else frame.image), Points.none())
        count += 1
        control.report(Progress(count, total, 0, "forward", 0.0, count - 1))
        if control.stopped or control.cancelled:
            break
    return count


def _frame_by_frame(job: _Job) -> int:
    """A session whose points are added and removed between two frames."""
    info = job.source.info
    session = job.tracker.start(replace(info, frames=None, times=None))
    association = _Association(session, job.look, job.mot, job.control, info.frames)
    control = _Chained(job.control, association.settle)
    # A detector sees the frames as they are; without one they are decoded at the size that the tracker works at.
    frames = job.source.frames(size=None if job.look.detector is not None or job.source.live else session.size)
    run(session, frames, [association], control)
    return session.frame


class _Association:
    """A sink that gathers where the points are, and associates once all is known of a frame."""

    def __init__(self, session: Session, look: _Look, mot: PointMOT, control: Control, total: int | None) -> None:
        self._session, self._look, self._mot, self._control, self._total = session, look, mot, control, total
        self._image: np.ndarray | None = None
        self._points = Points.none()

    def frame(self, frame: Frame) -> None:
        """See `Sink`."""
        self._image, self._points = frame.image, Points.none()

    def result(self, result: FrameResult) -> None:
        """See `Sink`. A session numbers its rows as `PointMOT` numbers points: both count what was ever added."""
        if result.frame == self._session.frame - 1:
            self._points = Points(result.rows, result.xy, result.visible)

    def finish(self) -> None:
        """See `Sink`."""

    def settle(self, now: Progress) -> None:
        """All is known of the frame that was stepped last."""
        frame = self._session.frame - 1
        changes = self._mot.step(frame, self._look(frame, self._image), self._points)
        if len(changes.remove):
            self._session.remove([str(key) for key in changes.remove.tolist()])
        if len(changes.keys):
            self._session.add(Queries.at(frame, changes.xy, [str(key) for key in changes.keys.tolist()]))
        self._control.report(now._replace(total=self._total))


class _Chained(Control):
    """The caller's control, whose reports go elsewhere first."""

    def __init__(self, control: Control, progress: Callable[[Progress], object]) -> None:
        super().__init__(progress, control.interrupt)
        self._control = control

    def between_frames(self, session: Session, interrupted: Callable[[], bool] = lambda: False) -> bool:
        """See `Control`."""
        return self._control.between_frames(session, interrupted)


def _clip_by_clip(job: _Job) -> int:
    """Clips that share a frame, each tracked as a whole."""
    points = PointsOfClips(job.tracker)
    coming, total = job.source.frames(), job.source.info.frames
    images: list[np.ndarray] = []
    count = 0
    while True:
        new = [frame.image for _, frame in zip(range(job.clip - len(images)), coming, strict=False)]
        if not new:
            return count
        known, images = len(images), [*images, *new]
        points.begin(np.stack(images))
        for t in range(known, len(images)):
            at = points.at(t)
            changes = job.mot.step(count, job.look(count, images[t]), at, refill=t in (0, len(images) - 1))
            points.change(t, changes)
            count += 1
            job.control.report(Progress(count, total, len(at.keys), "forward", 0.0, count - 1))
            if job.control.stopped or job.control.cancelled:
                return count
        images = images[-1:]
