"""rerun recordings (.rrd): the points over the video, which is stored as it is, not as pictures.

Everything that knows rerun's API is in this file, since it changes with every minor version. Pixel centres are taken
to be integers, as OpenCV users log them.
"""

from __future__ import annotations

import colorsys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import coords
from tapkit.errors import UsageError, require
from tapkit.export.format import ExportWarning, Format, Job, Option

EXTRA = "rerun"
_PLAYABLE = {".mp4", ".m4v", ".mov"}
_GOLDEN = 0.61803398875
_MOST = 65_535
"""Ids of key points have 16 bits."""


def _write(job: Job, target: Path, video: str = "") -> None:
    rerun = require("rerun", EXTRA)
    if len(job.names) > _MOST:
        raise UsageError(f"rerun tells at most {_MOST} points apart, not {len(job.names)}: write fewer")
    blueprint = require("rerun.blueprint", EXTRA)
    recording = rerun.RecordingStream("tapkit", recording_id=job.path.stem)
    view = blueprint.Spatial2DView(origin="/video", name=job.path.stem)
    stream = recording.binary_stream()  # rerun's own file writer only logs that a disk is full
    recording.send_blueprint(blueprint.Blueprint(view, collapse_panels=True))
    _footage(job, rerun, recording, video or job.video.path)
    _points(job, rerun, recording)
    recording.flush()
    target.write_bytes(stream.read(flush=True) or b"")
    recording.disconnect()


def _timelines(job: Job, rerun: Any, frames: np.ndarray) -> list[Any]:
    return [
        rerun.TimeColumn("frame", sequence=job.numbers[frames]),
        rerun.TimeColumn("time", duration=job.tracks.times()[frames]),
    ]


def _footage(job: Job, rerun: Any, recording: Any, path: str | None) -> None:
    """The video file as an asset, and for each frame a reference to its picture."""
    if not path or Path(path).suffix.lower() not in _PLAYABLE or not Path(path).is_file():
        return
    asset = rerun.AssetVideo(path=path)
    try:
        stamps = np.asarray(asset.read_frame_timestamps_nanos(), np.int64)
    except RuntimeError as error:  # a codec that the viewer does not play
        warnings.warn(f"rerun cannot show {path} ({error}): only the points were written", ExportWarning)
        return
    recording.log("video", asset, static=True)
    frames = np.arange(min(job.tracks.frames, len(stamps)))
    recording.send_columns(
        "video", indexes=_timelines(job, rerun, frames),
        columns=rerun.VideoFrameReference.columns(timestamp=stamps[frames].astype("timedelta64[ns]")),
    )  # fmt: skip


def _points(job: Job, rerun: Any, recording: Any) -> None:
    """One batch for each frame: bright where visible, dark where occluded; the id of a point is its row."""
    key = job.keys.key
    hues = (np.arange(len(job.names)) * _GOLDEN) % 1
    bright = np.array([colorsys.hsv_to_rgb(hue, 0.8, 1.0) for hue in hues.tolist()]).reshape(-1, 3)
    frame, point = np.nonzero(key.T)
    shade = np.where(job.keys.shown[point, frame], 255.0, 90.0)[:, None]
    colors = np.concatenate([bright[point] * shade, np.full((len(point), 1), 255.0)], 1).astype(np.uint8)
    recording.log(
        "video/points", rerun.AnnotationContext([rerun.ClassDescription(
            info=rerun.AnnotationInfo(id=0, label="points"),
            keypoint_annotations=[rerun.AnnotationInfo(id=row, label=name) for row, name in enumerate(job.names)],
            keypoint_connections=job.edges,
        )]), static=True,
    )  # fmt: skip
    columns = rerun.Points2D.columns(
        positions=coords.to_centers(job.keys.xy[point, frame]).astype(np.float32), colors=colors,
        keypoint_ids=point.astype(np.uint16), class_ids=np.zeros(len(point), np.uint16),
        radii=np.full(len(point), max(job.video.size) / 300, np.float32),
    )  # fmt: skip
    every = np.arange(job.tracks.frames)
    recording.send_columns(
        "video/points", indexes=_timelines(job, rerun, every), columns=columns.partition(lengths=key.sum(0))
    )


RERUN = Format(
    "rerun", ".rrd", "rerun recording with the video", _write, occlusion=True, skeletons=True,
    timing="times", square_only=False, pictures=True,
    bytes_per_key=24, options={"video": Option(str, "MP4 file, where the tracks do not know it")},
)  # fmt: skip
