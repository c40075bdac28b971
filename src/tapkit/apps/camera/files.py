"""Files of cameras: TUM, COLMAP, NeRF (transforms.json), Nuke (.chan), Blender (a script), rerun, plots, our own.

Inside tapkit a camera looks along z with y down. NeRF, Nuke and Blender have cameras that look along -z with y up; the
worlds of Nuke and NeRF are turned with them (y up for Nuke), Blender's has z up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import storage
from tapkit.apps.camera.blender import script
from tapkit.apps.camera.rigid import of_parts, of_quaternion, quaternion
from tapkit.apps.camera.trajectory import Trajectory
from tapkit.errors import StorageError, UsageError
from tapkit.types import Tracks
from tapkit.video.span import file_names

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""From a camera that looks along z, y down, to one that looks along -z, y up; and back."""
KINDS = {
    ".npz": "tapkit", ".tum": "tum", ".txt": "tum", ".json": "nerf", ".chan": "chan", ".py": "blender", "": "colmap",
    ".rrd": "rerun", ".png": "plot", ".svg": "plot", ".pdf": "plot",
}  # fmt: skip
"""Formats by the ending of the file; COLMAP is a folder, whose name has none."""


def kind_of(path: str | Path) -> str:
    """The format that an ending stands for. Raises `UsageError`.

    >>> kind_of("shot.chan"), kind_of("sparse"), kind_of("a.tum")
    ('chan', 'colmap', 'tum')
    """
    suffix = Path(path).suffix.lower()
    if suffix not in KINDS:
        raise UsageError(
            "cameras are written to .npz, .tum or .txt (TUM), .json (NeRF), .chan (Nuke), .py (Blender), .rrd (rerun), "
            f".png, .svg or .pdf (a plot), or a folder without an ending (COLMAP), not to {suffix}"
        )
    return KINDS[suffix]


def write_cameras(
    path: str | Path, cameras: Trajectory, kind: str | None = None, *, tracks: Tracks | None = None
) -> Path:
    """Write cameras for another program; what is written is whole or not there. Returns the path.

    Args:
        path: where to.
        cameras: what `estimate_cameras` or `track_camera` returned. Frames that were not placed are left out, except
            for Nuke and Blender, where they repeat the nearest one that was.
        kind: "tapkit", "tum", "colmap", "nerf", "chan", "blender", "rerun" or "plot"; None: by the ending.
        tracks: what the cameras rest on, in the same order: COLMAP's and rerun's 2D points.

    Raises `UsageError`, `StorageError`, `MissingExtra`.
    """
    path = Path(path)
    kind = kind or kind_of(path)
    if tracks is not None and (len(tracks), tracks.frames) != cameras.inlier.shape:
        raise UsageError(
            f"the tracks have {len(tracks)} points on {tracks.frames} frames, the cameras {cameras.inlier.shape[0]} on "
            f"{cameras.frames}: these are not what they rest on"
        )
    if kind == "tapkit":
        return cameras.save(path)
    if kind == "colmap":
        return _write_colmap(path, cameras, tracks)
    if kind == "rerun":
        from tapkit.apps.camera.recording import write_recording

        return write_recording(path, cameras, tracks)
    if kind == "plot":
        from tapkit.apps.camera.plot import write_plot

        return write_plot(path, cameras)
    writers: dict[str, Callable[[Trajectory], str]] = {
        "tum": _as_tum, "nerf": _as_nerf, "chan": _as_chan, "blender": script,
    }  # fmt: skip
    if kind not in writers:
        raise UsageError(f"cameras are written as {', '.join(sorted(set(KINDS.values())))}, not as {kind!r}")
    return storage.write_text(path, writers[kind](cameras))


# -- TUM ---------------------------------------------------------------------------------------------


def _as_tum(cameras: Trajectory) -> str:
    """Lines `time tx ty tz qx qy qz qw`, camera to world."""
    pose, times = cameras.camera_to_world, cameras.times()
    turns = quaternion(pose[:, :3, :3])
    rows = [
        f"{times[t]:.6f} " + " ".join(f"{v:.9g}" for v in (*pose[t, :3, 3], *turns[t])) + "\n"
        for t in np.flatnonzero(cameras.placed)
    ]
    return "".join(rows)


def read_tum(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Times [K] in seconds and camera-to-world poses [K,4,4] of a TUM file.

    Raises `StorageError` for a file that is damaged or something else, with the line.
    """
    path = storage.check_file(path)
    with storage.reading(path, "a trajectory as TUM has it"):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        rows = []
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            try:
                values = [float(part) for part in line.replace(",", " ").split()]
            except ValueError:
                values = []
            if len(values) != 8 or not np.isfinite(values).all() or not any(values[4:]):
                raise StorageError(
                    f"line {number} of {path} is not `time tx ty tz qx qy qz qw` as TUM has it: {line.strip()[:60]!r}"
                )
            rows.append(values)
        if not rows:
            raise StorageError(f"{path} has no poses")
        table = np.array(rows)
        return table[:, 0], of_parts(of_quaternion(table[:, 4:]), table[:, 1:4])


def truth_for(cameras: Trajectory, path: str | Path) -> np.ndarray:
    """Poses [T,4,4] of a TUM file for the frames of a trajectory, NaN where it has none: those whose times are nearest,
    within half a frame; by their order where there are as many as frames and times do not fit."""
    times, poses = read_tum(path)
    own = cameras.times()
    half = 0.5 * float(np.median(np.diff(own))) if len(own) > 1 else 0.5
    nearest = np.abs(times[None] - own[:, None]).argmin(1)
    fits = np.abs(times[nearest] - own) <= half + 1e-9
    if fits.sum() < 0.5 * min(len(own), len(times)) and len(times) == len(own):
        return poses
    if fits.sum() < 2:
        raise UsageError(f"the times of {path} ({times[0]:g} to {times[-1]:g} s) are not those of the video's frames")
    return np.where(fits[:, None, None], poses[nearest], np.nan)


# -- NeRF, Nuke --------------------------------------------------------------------------------------


def image_names(cameras: Trajectory) -> list[str]:
    """Paths of the pictures: those of a sequence, else images/000000.png and so on."""
    names = file_names(cameras.video)
    if names is not None and len(names) == cameras.frames:
        return names
    return [f"images/{t:06d}.png" for t in range(cameras.frames)]


def _as_nerf(cameras: Trajectory) -> str:
    """transforms.json as instant-ngp and nerfstudio read it: camera to world, cameras look along -z."""
    names, pose = image_names(cameras), cameras.camera_to_world @ FLIP
    shared = bool((cameras.intrinsics == cameras.intrinsics[0]).all())
    content: dict[str, Any] = {
        "w": cameras.video.width, "h": cameras.video.height, "camera_model": "OPENCV",
        "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0,
    }  # fmt: skip
    if shared:
        content |= _lens(cameras, 0)
    frames = []
    for t in np.flatnonzero(cameras.placed).tolist():
        frame = {"file_path": names[t], "transform_matrix": [[float(v) for v in row] for row in pose[t]]}
        frames.append(frame if shared else {**frame, **_lens(cameras, t)})
    return json.dumps({**content, "frames": frames}, indent=1)


def _lens(cameras: Trajectory, t: int) -> dict[str, float]:
    fx, fy, cx, cy = cameras.intrinsics[t].tolist()
    across, down = cameras.video.width / 2 / fx, cameras.video.height / 2 / fy
    return {
        "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy,
        "camera_angle_x": 2 * math.atan(across), "camera_angle_y": 2 * math.atan(down),
    }  # fmt: skip


def _as_chan(cameras: Trajectory) -> str:
    """Lines `frame tx ty tz rx ry rz vfov`: degrees, y up, rotation order ZXY (about z first), Nuke's default."""
    pose = FLIP @ cameras.camera_to_world @ FLIP
    angles = np.degrees(zxy_angles(pose[:, :3, :3]))
    view = np.degrees(2 * np.arctan(cameras.video.height / 2 / cameras.intrinsics[:, 1]))
    video = cameras.video
    lines = [
        f"{video.start_frame + t * video.frame_step} "
        + " ".join(f"{v:.8g}" for v in (*pose[t, :3, 3], *angles[t], view[t]))
        + "\n"
        for t in range(cameras.frames)
    ]
    return "".join(lines)


def zxy_angles(turn: np.ndarray) -> np.ndarray:
    """Angles [T,3] about x, y and z in radians of rotations Ry Rx Rz [T,3,3], each without jumps of a whole turn."""
    about_x = np.arcsin(np.clip(-turn[:, 1, 2], -1, 1))
    about_y = np.arctan2(turn[:, 0, 2], turn[:, 2, 2])
    about_z = np.arctan2(turn[:, 1, 0], turn[:, 1, 1])
    return np.stack([about_x, np.unwrap(about_y), np.unwrap(about_z)], 1)


# -- COLMAP ------------------------------------------------------------------------------------------


def _write_colmap(path: Path, cameras: Trajectory, tracks: Tracks | None) -> Path:
    """A text model; without tracks its points are seen by no image."""
    from tapkit.export import library

    poses = np.where(cameras.placed[:, None, None], cameras.world_to_camera[:, :3], np.nan)
    points = np.where(cameras.point_valid[:, None], cameras.points, np.nan)
    if tracks is None:
        raise UsageError("COLMAP's images hold the 2D points: give the tracks that the cameras rest on, too")
    seen = tracks.with_(valid=tracks.valid & cameras.inlier)
    unseen = ~np.asarray(cameras.inlier.any(1))
    points[unseen] = np.nan
    return library.find("colmap").write(
        seen, path, poses=poses, points=points, intrinsics=cameras.intrinsics, threshold=0.0
    )
