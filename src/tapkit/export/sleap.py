"""SLEAP, through sleap-io: the points are the nodes of one skeleton, with one instance on each frame.

A predicted instance holds what a tracker found, with its probabilities; a frame on which a human set something has a
user instance as well, made from the predicted one, as SLEAP itself does when a prediction is corrected. Pixel
centres are integers (SLEAP does not say; its renderer and cropping treat them so).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import coords
from tapkit.errors import UsageError, require
from tapkit.export.context import Context
from tapkit.export.format import Format, Job
from tapkit.export.found import Found, unique
from tapkit.export.text import NameRule, plain

EXTRA = "sleap"
_SKELETON_BYTES, _NODE_BYTES = 60_000, 38
"""What HDF5 lets an attribute have, where SLEAP keeps its skeleton as JSON; what a node takes besides its name."""


def _labels(job: Job, flags: bool = True) -> Any:
    """Every position; `flags` False: all as visible, for a file that has no place for flags and drops the others."""
    sleap = require("sleap_io", EXTRA)
    nodes = [sleap.Node(name) for name in job.names]
    edges = [sleap.Edge(nodes[a], nodes[b]) for a, b in job.edges]
    skeleton = sleap.Skeleton(nodes=nodes, edges=edges, name="points")
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
        shown = job.keys.shown[:, t] if flags else job.keys.key[:, t]
        instance.points["visible"] = np.isfinite(predicted[:, 0]) & shown
        instances = [instance]
        if job.keyframe[:, t].any():
            user = sleap.Instance.from_numpy(xy[:, t], skeleton, track=track, from_predicted=instance)
            user.points["visible"] = np.isfinite(xy[:, t, 0]) & shown
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
    sleap.save_analysis_h5(_labels(job, flags=False), str(target))


# -- reading ------------------------------------------------------------------------------------------


def _read(path: Path, context: Context) -> Found:
    """.slp files: one video. A position is a human's if it is in a user instance and not simply that of the prediction
    under it. Several animals become points ANIMAL.NODE.
    """
    sleap = require("sleap_io", EXTRA)
    labels = sleap.load_slp(str(path), open_videos=False)
    video, frames = _one_video(labels, context)
    animals = _animals(frames, context)
    chosen = context.some("animal", list(animals.values()))
    order: dict[str, int] = {}
    edges: dict[tuple[str, str], None] = {}
    parts: list[tuple[np.ndarray, ...]] = []
    for frame in frames:
        for key, instance in _instances(frame, len(set(animals.values())) == 1, context):
            if animals[key] not in chosen:
                continue
            prefix = f"{animals[key]}." if len(chosen) > 1 else ""
            names = [prefix + node.name for node in instance.skeleton.nodes]
            for edge in instance.skeleton.edges:
                edges[prefix + edge.source.name, prefix + edge.destination.name] = None
            rows = np.array([order.setdefault(name, len(order)) for name in names])
            parts.append(_instance(instance, rows, frame.frame_idx))
    point, number, xy, visible, score, human = (np.concatenate(column) for column in zip(*parts, strict=True))
    shape = video.shape
    return Found(
        list(order), point, number, coords.from_centers(xy), visible, score, human,
        width=shape[2] if shape else None, height=shape[1] if shape else None, frames=shape[0] if shape else None,
        first=0, skeleton=tuple(edges),
    )  # fmt: skip


def _one_video(labels: Any, context: Context) -> tuple[Any, list[Any]]:
    """The video that is meant, and its frames with instances."""
    labelled = [frame for frame in labels.labeled_frames if len(frame.instances)]
    if not labelled:
        raise context.damaged("it has no labelled frames")
    videos = [video for video in labels.videos if any(frame.video is video for frame in labelled)]
    names = unique([_video_name(video) for video in videos])
    video = videos[names.index(context.one("video", names))]
    return video, [frame for frame in labelled if frame.video is video]


def _video_name(video: Any) -> str:
    """Its file, or the folder of its pictures; of a project that holds the pictures itself, what they were cut from."""
    source = getattr(video, "source_video", None)
    filename = (video if source is None else source).filename
    return str(Path(filename[0]).parent if isinstance(filename, (list, tuple)) else filename)


_Key = tuple[int, int | None]
"""Skeleton and track of an animal, by identity: names need not be unique; None: it is not tracked."""


def _key(instance: Any) -> _Key:
    return id(instance.skeleton), None if instance.track is None else id(instance.track)


def _animals(frames: list[Any], context: Context) -> dict[_Key, str]:
    """The animals in order of appearance, and what they are called."""
    found = {_key(instance): instance for frame in frames for instance in frame.instances}
    skeletons = {skeleton for skeleton, _ in found}
    tracks = {key for key in found if key[1] is not None}
    if len(skeletons) == 1 and len(tracks) <= 1:  # one animal, labelled by hand without a track, say
        return dict.fromkeys(found, next(iter(found.values())).skeleton.name or "animal")

    def called(key: _Key, instance: Any) -> str:
        track = "untracked" if key[1] is None else str(instance.track.name)
        return f"{instance.skeleton.name} {track}" if len(skeletons) > 1 else track

    if any(key[1] is None for key in found):
        count = sum(_key(instance)[1] is None for frame in frames for instance in frame.instances)
        context.say(f"{count} instances have no track: they became an animal of its own")
    return dict(zip(found, unique([called(*entry) for entry in found.items()]), strict=True))


def _instances(frame: Any, single: bool, context: Context) -> Iterator[tuple[_Key, Any]]:
    """The instances that count on a frame, one for each animal: the user's, else the predicted one.

    `single`: the file has but one animal. Raises UsageError for animals that nothing tells apart.
    """
    replaced = [user.from_predicted for user in frame.user_instances]
    groups: dict[Any, list[Any]] = {}
    for instance in frame.instances:
        if not any(instance is other for other in replaced) and np.isfinite(instance.numpy()).any():
            groups.setdefault("all" if single else _key(instance), []).append(instance)
    users = list(frame.user_instances)
    for group in groups.values():
        by_hand = [i for i in group if any(i is user for user in users)]
        if len(by_hand or group) > 1:
            raise UsageError(
                f"{context.path.name} has {len(by_hand or group)} animals on frame {frame.frame_idx} that are not "
                "tracked, so that nothing says which is which on other frames: track them in SLEAP first"
            )
        yield _key((by_hand or group)[0]), (by_hand or group)[0]


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


def _read_analysis(path: Path, context: Context) -> Found:
    """The analysis HDF5 that SLEAP and sleap-io write: several animals become points ANIMAL.NODE.

    It does not say what a human labelled, so that nothing is marked; frames are counted from 0.
    """
    h5py = require("h5py", EXTRA)
    with h5py.File(path, "r") as file:
        if "tracks" not in file or "node_names" not in file:
            raise context.damaged("it has no tracks and node_names, as SLEAP's analysis files have")
        nodes = _texts(file["node_names"])
        tracks = _texts(file["track_names"]) if "track_names" in file else []
        xy = _axes(file["tracks"], "track", "xy", "node", "frame")
        scores = _axes(file["point_scores"], "track", "node", "frame") if "point_scores" in file else None
        shape = json.loads(file.attrs.get("video_backend_metadata", "{}")).get("shape")
        edges = _edge_names(file, nodes)
    if xy.ndim != 4 or xy.shape[1] != 2 or xy.shape[2] != len(nodes):
        raise context.damaged(f"its tracks are {list(xy.shape)}, not [tracks, 2, {len(nodes)} nodes, frames]")
    names = unique(tracks) if len(tracks) == len(xy) else [f"track{n}" for n in range(len(xy))]
    chosen = context.some("animal", names)
    rows = [names.index(name) for name in chosen]
    xy = xy[rows].transpose(0, 2, 3, 1).reshape(-1, xy.shape[3], 2)
    point, frame = np.nonzero(np.isfinite(xy).all(-1))
    score = None
    if scores is not None:
        score = np.clip(np.nan_to_num(scores[rows].reshape(len(xy), -1)[point, frame], nan=1.0), 0, 1)
    return Found(
        [f"{name}.{node}" if len(chosen) > 1 else node for name in chosen for node in nodes],
        point, frame, coords.from_centers(xy[point, frame]), None, score, np.zeros(len(point), bool),
        width=shape[2] if shape else None, height=shape[1] if shape else None, frames=xy.shape[1], first=0,
        skeleton=tuple(
            (f"{name}.{a}", f"{name}.{b}") if len(chosen) > 1 else (a, b) for name in chosen for a, b in edges
        ),
    )  # fmt: skip


def _axes(dataset: Any, *names: str) -> np.ndarray:
    """An array with its axes in this order, which is that of SLEAP's own files; sleap-io's say which they have."""
    values = np.asarray(dataset[()], float)
    stated = json.loads(dataset.attrs.get("dims", "null"))
    if isinstance(stated, list) and sorted(stated) == sorted(names):
        values = values.transpose([stated.index(name) for name in names])
    return values


def _edge_names(file: Any, nodes: list[str]) -> list[tuple[str, str]]:
    """Edges between the nodes; none where the file has no such table, or one of another shape."""
    if "edge_names" not in file or file["edge_names"].ndim != 2 or file["edge_names"].shape[1] != 2:
        return []
    pairs = [tuple(_text(name) for name in pair) for pair in file["edge_names"][()].tolist()]
    return [(a, b) for a, b in pairs if a in nodes and b in nodes and a != b]


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _texts(dataset: Any) -> list[str]:
    return [_text(text) for text in dataset[()].tolist()]


_NODES = NameRule(r"[\x00-\x1f]", 100)
SLEAP = Format(
    "sleap", ".slp", "SLEAP labels", _write, _read, _NODES, occlusion=True, timing="index", keeps_empty=True,
    skeletons=True, most_points=200, bytes_per_key=40,
)  # fmt: skip
SLEAP_ANALYSIS = Format(
    "sleap-analysis", ".analysis.h5", "SLEAP analysis HDF5", _analysis, _read_analysis, _NODES,
    timing="index", keeps_empty=True, skeletons=True, bytes_per_key=30,
)  # fmt: skip
