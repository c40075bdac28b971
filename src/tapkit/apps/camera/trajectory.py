"""Trajectory: where the camera was on every frame, the points it saw, and how far that can be trusted."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import storage
from tapkit.apps.camera.rigid import inverse, rotation_vector
from tapkit.errors import ShapeError, UsageError
from tapkit.types import VideoInfo

_KIND = "tapkit camera 1"


@dataclass(frozen=True)
class Report:
    """What is known of how good a trajectory is."""

    method: str = "adjust"
    degenerate: bool = False
    """Too little parallax: the camera only turned, or stood still, as far as can be seen. Rotations are right,
    translations are 0."""
    confidence: float = 0.0
    """0..1: the share of the observations used that agree, less where few are left. Below 0.5 do not trust it."""
    static_share: float = 0.0
    """Share of the points that stand still, of those that could be told."""
    error: float = 0.0
    """Median reprojection error of the inliers, pixels."""
    parallax: float = 0.0
    """Median parallax between the ends of the first window, in focal lengths."""
    restarts: int = 0
    """Times that estimation had to begin again in another window."""
    focal_given: bool = False
    focal_refined: bool = False
    notes: tuple[str, ...] = ()
    """Sentences for people: what was found out of the ordinary."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Cameras of T frames and N points, right-handed, x right, y down, z forwards as in OpenCV and COLMAP.

    The first frame that was placed is the origin. From one camera the size of the world cannot be known: the unit is
    the median depth of the points in the frames they were chosen on.
    """

    world_to_camera: np.ndarray
    """[T,4,4] float64."""
    points: np.ndarray
    """[N,3] float64, NaN where unknown."""
    point_valid: np.ndarray
    """[N] bool: seen with enough parallax to be placed well, and not moving."""
    intrinsics: np.ndarray
    """[T,4] fx, fy, cx, cy in pixels, corner origin."""
    inlier: np.ndarray
    """[N,T] bool: observations that agree with the trajectory."""
    placed: np.ndarray
    """[T] bool: frames whose pose was found; others repeat that of the nearest placed frame."""
    video: VideoInfo
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        frames, count = len(self.world_to_camera), len(self.points)
        expected = {
            "world_to_camera": (frames, 4, 4), "points": (count, 3), "point_valid": (count,), "intrinsics": (frames, 4),
            "inlier": (count, frames), "placed": (frames,),
        }  # fmt: skip
        for name, shape in expected.items():
            array = np.array(getattr(self, name), bool if name in ("point_valid", "inlier", "placed") else np.float64)
            if array.shape != shape:
                raise ShapeError(f"{name} must be {list(shape)}, got {list(array.shape)}")
            if name in ("world_to_camera", "intrinsics") and not np.isfinite(array).all():
                raise UsageError(f"{name} must be finite numbers")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def frames(self) -> int:
        """T."""
        return len(self.world_to_camera)

    @property
    def camera_to_world(self) -> np.ndarray:
        """[T,4,4]."""
        return inverse(self.world_to_camera)

    @property
    def centres(self) -> np.ndarray:
        """Where the camera was [T,3]."""
        return self.camera_to_world[:, :3, 3]

    @property
    def length(self) -> float:
        """Length of the path."""
        return float(np.linalg.norm(np.diff(self.centres, axis=0), axis=1).sum())

    @property
    def turned(self) -> float:
        """Degrees between the first camera and the one turned farthest from it."""
        relative = self.world_to_camera[:, :3, :3] @ self.world_to_camera[0, :3, :3].T
        return float(np.degrees(np.linalg.norm(rotation_vector(relative), axis=1).max()))

    def times(self) -> np.ndarray:
        """Seconds at which each frame is shown [T]."""
        return self.video.times_of(self.frames)

    def scaled(self, factor: float) -> Trajectory:
        """The same in another unit: metres, where `factor` is the metres that the present unit is worth."""
        if not (np.isfinite(factor) and factor > 0):
            raise UsageError(f"a scale is a positive number, got {factor}")
        pose = self.world_to_camera.copy()
        pose[:, :3, 3] *= factor
        return replace(self, world_to_camera=pose, points=self.points * factor)

    def __repr__(self) -> str:
        kind = "turning only" if self.report.degenerate else f"path {self.length:.3g}"
        return (
            f"Trajectory({self.frames} frames, {kind}, {int(self.point_valid.sum())} points, "
            f"confidence {self.report.confidence:.2f})"
        )

    # -- files ------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write everything to an .npz file, whole or not at all. Raises `StorageError`."""
        path = Path(path)
        about = {"kind": _KIND, "video": self.video.to_dict(), "report": asdict(self.report)}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        if self.video.times is not None:
            arrays["times"] = self.video.times
        content = io.BytesIO()
        np.savez_compressed(content, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
        with storage.atomic(path) as part:
            part.write_bytes(content.getvalue())
        return path

    @classmethod
    def load(cls, path: str | Path) -> Trajectory:
        """Read what `save` wrote. Raises `StorageError`."""
        with storage.reading(path, "a file of cameras that tapkit wrote"):
            arrays = storage.read_npz(path)
            about = json.loads(arrays["about"].tobytes())
            if about.get("kind") != _KIND:
                raise ValueError("it holds something else")
            report = Report(**{**about["report"], "notes": tuple(about["report"]["notes"])})
            video = VideoInfo.from_dict(about["video"], arrays.get("times"))
            return cls(**{name: arrays[name] for name in _ARRAYS}, video=video, report=report)

    @classmethod
    def found_in(cls, path: str | Path) -> bool:
        """Whether a file is one that `save` wrote, as far as its name and its list of arrays say."""
        import zipfile

        path = Path(path)
        if path.suffix.lower() != ".npz" or not path.is_file():
            return False
        try:
            with zipfile.ZipFile(path) as archive:
                return {"about.npy", "world_to_camera.npy"} <= set(archive.namelist())
        except (OSError, zipfile.BadZipFile):
            return False

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON: the report, and sizes."""
        return {
            "frames": self.frames,
            "placed": int(self.placed.sum()),
            "points": int(self.point_valid.sum()),
            "path": self.length,
            "turned": self.turned,
            "focal": float(self.intrinsics[0, 0]),
            **asdict(self.report),
            "inliers": self.inlier.sum(0).tolist(),
        }


_ARRAYS = ("world_to_camera", "points", "point_valid", "intrinsics", "inlier", "placed")
