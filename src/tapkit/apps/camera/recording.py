"""A rerun recording of a trajectory: the camera moving through the points, with its tracks. Extra `rerun`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tapkit import coords, storage
from tapkit.apps.camera.rigid import quaternion
from tapkit.apps.camera.trajectory import Trajectory
from tapkit.errors import require
from tapkit.types import Tracks

_PLAYABLE = {".mp4", ".m4v", ".mov"}


def write_recording(path: str | Path, cameras: Trajectory, tracks: Tracks | None = None) -> Path:
    """Write an .rrd file. Raises `MissingExtra`, `StorageError`."""
    path = Path(path)
    rerun = require("rerun", "rerun")
    recording = rerun.RecordingStream("tapkit_camera", recording_id=path.stem)
    stream = recording.binary_stream()  # rerun's own file writer only logs that a disk is full
    recording.log("world", rerun.ViewCoordinates.RDF, static=True)
    points = cameras.points[cameras.point_valid].astype(np.float32)
    recording.log("world/points", rerun.Points3D(points, colors=[170, 170, 170], radii=0.006), static=True)
    way = cameras.centres[cameras.placed].astype(np.float32)
    recording.log("world/path", rerun.LineStrips3D([way], colors=[230, 60, 40]), static=True)
    _film(rerun, recording, cameras)
    pose, times = cameras.camera_to_world, cameras.times()
    turns = quaternion(pose[:, :3, :3])
    for t in np.flatnonzero(cameras.placed).tolist():
        recording.set_time("frame", sequence=t)
        recording.set_time("time", duration=float(times[t]))
        recording.log(
            "world/camera", rerun.Transform3D(translation=pose[t, :3, 3], quaternion=rerun.Quaternion(xyzw=turns[t]))
        )
        fx, fy, cx, cy = cameras.intrinsics[t].tolist()
        recording.log(
            "world/camera/image",
            rerun.Pinhole(
                focal_length=[fx, fy], principal_point=[cx, cy], width=cameras.video.width, height=cameras.video.height,
                camera_xyz=rerun.ViewCoordinates.RDF, image_plane_distance=0.15,
            ),
        )  # fmt: skip
        if tracks is not None:
            seen = coords.to_centers(tracks.xy[cameras.inlier[:, t], t])
            recording.log("world/camera/image/tracks", rerun.Points2D(seen, colors=[80, 220, 120], radii=1.5))
    recording.flush()
    with storage.atomic(path) as part:
        part.write_bytes(stream.read(flush=True) or b"")
    recording.disconnect()
    return path


def _film(rerun: Any, recording: Any, cameras: Trajectory) -> None:
    """The video file as an asset, and for each frame a reference to its picture; nothing where rerun cannot play it."""
    video = cameras.video
    if not video.path or Path(video.path).suffix.lower() not in _PLAYABLE or not Path(video.path).is_file():
        return
    asset = rerun.AssetVideo(path=video.path)
    try:
        stamps = np.asarray(asset.read_frame_timestamps_nanos(), np.int64)
    except RuntimeError:  # a codec that the viewer does not play: the rest is worth having
        return
    recording.log("world/camera/image", asset, static=True)
    # Of a part of the footage, the pictures at the times of its frames.
    wanted = np.abs(stamps[None] - (cameras.times() * 1e9)[:, None]).argmin(1)
    for t in range(cameras.frames):
        recording.set_time("frame", sequence=t)
        recording.set_time("time", duration=float(cameras.times()[t]))
        reference = rerun.VideoFrameReference(nanoseconds=int(stamps[wanted[t]]))
        recording.log("world/camera/image", reference)
