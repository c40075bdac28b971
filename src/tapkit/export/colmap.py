"""COLMAP: a text model, and a database for its matcher-free reconstruction. Coordinates are tapkit's own.

A point's positions become keypoints of the frames, and those of one point on two frames a match. Nothing is verified
geometrically here: the database says so by writing the same matches as inliers of uncalibrated pairs, for `mapper`.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tapkit.errors import StorageError, UsageError, require
from tapkit.export import colmap_database
from tapkit.export.format import ExportWarning, Format, Job, Option
from tapkit.export.text import table, write_text

EXTRA = "colmap"


def _focal(job: Job, focal: float) -> float:
    """Pixels; COLMAP's own guess where none is known: 1.2 times the longer side."""
    if not 0 <= focal < math.inf:
        raise UsageError(f"focal must be a length in pixels, 0 where it is not known, got {focal!r}")
    return focal or 1.2 * max(job.video.size)


def _rotation_quaternion(rotation: np.ndarray) -> np.ndarray:
    """Unit quaternion (w, x, y, z), w >= 0, of a rotation matrix [3,3].

    The eigenvector of the largest eigenvalue of Bar-Itzhack's matrix (2000), which is stable for every rotation.
    """
    r = np.asarray(rotation, float)
    k = np.array([
        [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
        [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
        [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0],
        [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r.trace()],
    ])  # fmt: skip
    quaternion = np.linalg.eigh(k / 3, UPLO="L")[1][:, -1][[3, 0, 1, 2]]
    return quaternion if quaternion[0] >= 0 else -quaternion


def _text(
    job: Job, target: Path, focal: float = 0.0, image: str = "", poses: Any = None, points: Any = None,
    intrinsics: Any = None,
) -> None:  # fmt: skip
    """cameras.txt, images.txt and points3D.txt in a folder.

    `poses` [T,3,4] world to camera (NaN: of a frame that is left out), `points` [N,3] (NaN: unknown, N as in the
    tracks) and `intrinsics` [4] or [T,4] (fx, fy, cx, cy) are what odometry found; without them poses are the identity
    and no 2D point belongs to a 3D one, as `point_triangulator` expects it.
    """
    count, frames = job.keys.key.shape
    poses = np.broadcast_to(np.eye(3, 4), (frames, 3, 4)) if poses is None else np.asarray(poses, float)
    world = np.full((count, 3), np.nan) if points is None else np.asarray(points, float)
    if poses.shape != (frames, 3, 4) or world.shape != (count, 3):
        raise UsageError(
            f"poses must be [T,3,4]={[frames, 3, 4]} and points [N,3]={[count, 3]}, "
            f"got {list(poses.shape)} and {list(world.shape)}"
        )
    length, (height, width) = _focal(job, focal), job.video.size
    given = np.array([length, length, width / 2, height / 2]) if intrinsics is None else np.asarray(intrinsics, float)
    if given.shape not in ((4,), (frames, 4)) or not np.isfinite(given).all():
        raise UsageError(f"intrinsics must be [4] or [T,4]={[frames, 4]} finite numbers, got {list(given.shape)}")
    cameras, which = np.unique(np.broadcast_to(given, (frames, 4)), axis=0, return_inverse=True)
    target.mkdir()
    lines = [
        f"{number} PINHOLE {width} {height} " + " ".join(str(v) for v in each) + "\n"
        for number, each in enumerate(cameras.tolist(), 1)
    ]
    write_text(target / "cameras.txt", ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n", *lines])
    known, placed = np.isfinite(world).all(1), np.isfinite(poses).all((1, 2))
    write_text(target / "images.txt", _images(job, poses, known, placed, which.ravel() + 1, image))
    write_text(target / "points3D.txt", _points3d(job, world, known, placed))


def _images(
    job: Job, poses: np.ndarray, known: np.ndarray, placed: np.ndarray, camera: np.ndarray, image: str
) -> Iterator[str]:
    yield "# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME\n# POINTS2D[] as (X, Y, POINT3D_ID)\n"
    names = job.image_names(image)
    if any(re.search(r"\s", name) for name in names):
        warnings.warn(
            "COLMAP's text model holds no blanks in names of images: they became _, in the database they stay",
            ExportWarning,
        )
        names = [re.sub(r"\s", "_", name) for name in names]
    for t, name in enumerate(names):
        if not placed[t]:
            continue
        here = np.flatnonzero(job.keys.key[:, t])
        x, y = job.keys.xy[here, t].T
        pose = " ".join(f"{v:.12g}" for v in (*_rotation_quaternion(poses[t, :, :3]), *poses[t, :, 3]))
        yield f"{t + 1} {pose} {camera[t]} {name}\n"
        yield table("%.5f %.5f %d ", x, y, np.where(known[here], here + 1, -1)).rstrip() + "\n"


def _points3d(job: Job, world: np.ndarray, known: np.ndarray, placed: np.ndarray) -> Iterator[str]:
    yield "# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)\n"
    order = np.cumsum(job.keys.key, 0) - 1  # index of each key among those of its frame
    for row in np.flatnonzero(known):
        seen = np.flatnonzero(job.keys.key[row] & placed)
        place = " ".join(f"{v:.9g}" for v in world[row])
        yield f"{row + 1} {place} 128 128 128 0 " + table("%d %d ", seen + 1, order[row, seen]).rstrip() + "\n"


def _pairs(frames: int, span: int) -> Iterator[tuple[int, int]]:
    """Pairs of frames to match: distances 1, 2, 4, ... up to `span` frames; COLMAP joins them to whole tracks."""
    step = 1
    while step <= min(span, frames - 1):
        yield from ((t, t + step) for t in range(frames - step))
        step *= 2


OLDER = "3"
"""Value of the option `version` for databases that COLMAP 3 reads, and later ones too."""


def _database(job: Job, target: Path, focal: float = 0.0, image: str = "", span: int = 64, version: str = "") -> None:
    """database.db with one camera, an image for each frame, keypoints and matches.

    pycolmap writes the tables of its own COLMAP, which COLMAP 3 does not read; `version` "3" writes those of
    `tapkit.export.colmap_database`, which all do.
    """
    if span < 1:
        raise UsageError(f"span must be 1 frame or more, got {span}")
    length, known = _focal(job, focal), bool(focal)
    if version == OLDER:
        colmap_database.write(target, _content(job, image, span), (job.video.width, job.video.height), length, known)
        return
    colmap = require("pycolmap", EXTRA)
    try:
        _fill(job, colmap, target, length, known, image, span)
    except RuntimeError as error:  # SQLite's complaints, such as a full disk
        raise StorageError(f"cannot write {job.path}: {str(error).splitlines()[0][:100]}") from error
    warnings.warn(
        f"the database is that of COLMAP {colmap.__version__}, which versions before 4 do not read: "
        f"version={OLDER} writes one that all read",
        ExportWarning,
    )


def _version(text: str) -> str:
    if text not in ("", OLDER):
        raise UsageError(f"version must be {OLDER} (for COLMAP 3 and later) or be left out, got {text!r}")
    return text


def _content(job: Job, image: str, span: int) -> colmap_database.Content:
    """Names and keypoints of the frames, and the matches between them."""
    key = job.keys.key
    order = np.cumsum(key, 0) - 1
    keypoints = [job.keys.xy[key[:, t], t] for t in range(job.tracks.frames)]
    matches = (
        (a, b, np.stack([order[both, a], order[both, b]], 1))
        for a, b in _pairs(job.tracks.frames, span)
        if (both := key[:, a] & key[:, b]).any()
    )
    return colmap_database.Content(job.image_names(image), keypoints, matches)


def _fill(job: Job, colmap: Any, target: Path, focal: float, known: bool, image: str, span: int) -> None:
    """Write everything to a new database; RuntimeError if SQLite cannot."""
    database = colmap.Database.open(str(target))
    try:
        camera = colmap.Camera.create_from_model_name(0, "SIMPLE_PINHOLE", focal, job.video.width, job.video.height)
        camera.has_prior_focal_length = known
        camera_id = database.write_camera(camera)
        content = _content(job, image, span)
        numbers = []
        for name, xy in zip(content.names, content.keypoints, strict=True):
            numbers.append(database.write_image(colmap.Image(name=name, camera_id=camera_id)))
            database.write_keypoints(numbers[-1], np.ascontiguousarray(xy, np.float32))
        geometry = colmap.TwoViewGeometry()
        geometry.config = colmap.TwoViewGeometryConfiguration.UNCALIBRATED
        with colmap.DatabaseTransaction(database):
            for a, b, pairs in content.matches:
                geometry.inlier_matches = matches = pairs.astype(np.uint32)
                database.write_matches(numbers[a], numbers[b], matches)
                database.write_two_view_geometry(numbers[a], numbers[b], geometry)
    finally:
        database.close()


def _database_size(job: Job, span: int = 64, **_: Any) -> float:
    """Keypoints 8 bytes; a match 8 bytes, twice, for every pair that has it."""
    steps = 1 + int(np.log2(max(min(span, job.tracks.frames - 1), 1)))
    return float(job.keys.key.sum()) * (8 + 16 * steps)


def _python_only(text: str) -> Any:
    raise UsageError(
        "poses, points and intrinsics are arrays: give them from Python, tracks.to_colmap(path, poses=..., points=...)"
    )


_OPTIONS = {
    "focal": Option(float, "focal length in pixels, where it is known"),
    "image": Option(str, "file names of the frames, with {:06d} for the number (else those of the sequence)"),
}
COLMAP = Format(
    "colmap", "/", "COLMAP text model (a folder)", _text, timing="index", keeps_empty=True, bytes_per_key=22,
    options={
        **_OPTIONS, "poses": Option(_python_only, "[T,3,4] world to camera; from Python only"),
        "points": Option(_python_only, "[N,3] positions in the world; from Python only"),
        "intrinsics": Option(_python_only, "[4] or [T,4] fx, fy, cx, cy; from Python only"),
    },
)  # fmt: skip
COLMAP_DATABASE = Format(
    "colmap-database", ".db", "COLMAP database with keypoints and matches", _database, timing="index",
    size=_database_size,
    options={
        **_OPTIONS, "span": Option(int, "longest distance in frames that is matched directly"),
        "version": Option(_version, f"{OLDER}: for COLMAP 3 and later; otherwise for COLMAP 4 and later"),
    },
)  # fmt: skip
