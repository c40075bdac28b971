"""SLEAP, through sleap-io: the points are the nodes of one skeleton, with one instance on each frame.

A predicted instance holds what a tracker found, with its probabilities; a frame on which a human set something has a
user instance as well, made from the predicted one, as SLEAP itself does when a prediction is corrected. Pixel
centres are integers (SLEAP does not say; its renderer and cropping treat them so).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tapkit import coords
from tapkit.errors import UsageError, require
from tapkit.export.format import Format, Job
from tapkit.export.found import Context, Found
from tapkit.export.text import NameRule, plain

EXTRA = "sleap"
_SKELETON_BYTES, _NODE_BYTES = 60_000, 38
"""What HDF5 lets an attribute have, where SLEAP keeps its skeleton as JSON; what a node takes besides its name."""


def _labels(job: Job) -> Any:
    sleap = require("sleap_io", EXTRA)
    skeleton = sleap.Skeleton(nodes=[sleap.Node(name) for name in job.names], name="points")
    video_file = plain(str(Path(job.video.path).resolve()) if job.video.path else f"{job.path.stem}.mp4")
    video = sleap.Video(filename=video_file, open_backend=False, backend_metadata=_shape(job))
    track = sleap.Track("points")
    xy = coords.to_centers(job.keys.xy)
    score = job.tracks.visible * job.tracks.confidence
    frames = []
    for t in np.flatnonzero(job.keys.key.any(0)).tolist():
        predicted = np.where(job.keyframe[:, t, None], np.nan, xy[:, t])
        scores = np.where(job.keys.key[:, t], score[:, t], 0.0)
        instance = sleap.PredictedInstance.from_numpy(
            predicted, skeleton, point_scores=scores, score=float(scores.mean()), track=track, tracking_score=1.0
        )
        instance.points["visible"] = np.isfinite(predicted[:, 0]) & job.keys.shown[:, t]
        instances = [instance]
        if job.keyframe[:, t].any():
            user = sleap.Instance.from_numpy(xy[:, t], skeleton, track=track, from_predicted=instance)
            user.points["visible"] = np.isfinite(xy[:, t, 0]) & job.keys.shown[:, t]
            user.points["complete"] = job.keyframe[:, t]
            instances.append(user)
        frames.append(sleap.LabeledFrame(video=video, frame_idx=t + job.first, instances=instances))
    return sleap.Labels(labeled_frames=frames, videos=[video], skeletons=[skeleton], tracks=[track])


def _shape(job: Job) -> dict[str, Any]:
    """What sleap-io keeps of a video that is not opened."""
    return {"shape": (job.tracks.frames, job.video.height, job.video.width, 3), "fps": float(job.video.fps)}


def _write(job: Job, target: Path) -> None:
    sleap = require("sleap_io", EXTRA)
    if sum(len(name.encode()) + _NODE_BYTES for name in job.names) > _SKELETON_BYTES:
        raise UsageError(
            f"SLEAP files hold the names of about {_SKELETON_BYTES // (_NODE_BYTES + 6)} points, "
            f"not of {len(job.names)}: write fewer, or sleap-analysis"
        )
    sleap.save_slp(_labels(job), str(target), embed=False, verbose=False)


def _analysis(job: Job, target: Path) -> None:
    sleap = require("sleap_io", EXTRA)
    sleap.save_analysis_h5(_labels(job), str(target))


# -- reading ------------------------------------------------------------------------------------------


def _read(path: Path, context: Context) -> Found:
    """.slp files. A position is a human's if it is in a user instance and not simply that of the prediction under it.

    Several animals become points ANIMAL.NODE.
    """
    sleap = require("sleap_io", EXTRA)
    labels = sleap.load_slp(str(path), open_videos=False)
    shape = labels.videos[0].shape if labels.videos else None
    order: dict[str, int] = {}
    parts: list[tuple[np.ndarray, ...]] = []
    several = len(labels.tracks) > 1
    for frame in labels.labeled_frames:
        users = list(frame.user_instances)
        replaced = [user.from_predicted for user in users]
        for instance in [*users, *(p for p in frame.predicted_instances if not any(p is r for r in replaced))]:
            prefix = f"{instance.track.name}." if several and instance.track is not None else ""
            names = [prefix + node.name for node in instance.skeleton.nodes]
            rows = np.array([order.setdefault(name, len(order)) for name in names])
            parts.append(_instance(instance, rows, frame.frame_idx))
    if not parts:
        raise context.damaged("it has no labelled frames")
    point, number, xy, visible, score, human = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Found(
        list(order), point, number, coords.from_centers(xy), visible, score, human,
        width=shape[2] if shape else None, height=shape[1] if shape else None, frames=shape[0] if shape else None,
        first=0,
    )  # fmt: skip


def _instance(instance: Any, rows: np.ndarray, frame: int) -> tuple[np.ndarray, ...]:
    """Point, frame, xy, visible, score, human of the nodes that have a position."""
    points = instance.points
    xy = np.asarray(points["xy"], float)
    here = np.isfinite(xy).all(1)
    predicted = "score" in points.dtype.names
    score = np.asarray(points["score"], float) if predicted else np.ones(len(xy))
    human = np.full(len(xy), not predicted)
    if not predicted and instance.from_predicted is not None:
        before = np.asarray(instance.from_predicted.points["xy"], float)
        human = ~(np.abs(before - xy).max(1) <= 1e-6)
        score = np.where(human, 1.0, np.asarray(instance.from_predicted.points["score"], float))
    shown = np.asarray(points["visible"], float)
    return rows[here], np.full(int(here.sum()), frame), xy[here], shown[here], np.clip(score[here], 0, 1), human[here]


_NODES = NameRule(r"[\x00-\x1f]", 100)
SLEAP = Format(
    "sleap", ".slp", "SLEAP labels", _write, _read, _NODES, occlusion=True, timing="index", keeps_empty=True,
    most_points=200, bytes_per_key=40,
)  # fmt: skip
SLEAP_ANALYSIS = Format(
    "sleap-analysis", ".analysis.h5", "SLEAP analysis HDF5", _analysis, None, _NODES, occlusion=True, timing="index",
    keeps_empty=True, bytes_per_key=30,
)  # fmt: skip
