"""What Blender leaves of one video: pictures, passes, triangles, camera (written by generate/blender/film.py)."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapkit import storage
from tapkit.errors import StorageError, require


class Part(NamedTuple):
    """One object of the scene."""

    name: str
    kind: str
    """character, animal, prop, static, ground, checker; other: it has no tracks, but hides."""
    mask: int
    """Its number in the instance masks; 0 for other."""


class Camera(NamedTuple):
    """A pinhole camera in Blender's world (z up)."""

    intrinsics: np.ndarray
    """[3,3] float64, raster coordinates: corner origin, x right, y down."""
    extrinsics: np.ndarray
    """[4,4] float64, world to camera: x right, y down, z forward."""
    clip: np.ndarray
    """[2]: nothing is rendered nearer or farther than these depths."""

    @property
    def centre(self) -> np.ndarray:
        """Where it is in the world [3]."""
        centre: np.ndarray = -self.extrinsics[:3, :3].T @ self.extrinsics[:3, 3]
        return centre

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points [...,3] -> pixels [...,2] and depth along the axis [...], float64; not finite in its plane."""
        seen = points.astype(np.float64) @ self.extrinsics[:3, :3].T + self.extrinsics[:3, 3]
        depth = seen[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = seen @ self.intrinsics[:2].T / depth[..., None]
        return xy, depth

    def rays(self, xy: np.ndarray) -> np.ndarray:
        """Directions in the world [...,3] towards pixels [...,2], of depth 1."""
        ones = np.ones((*xy.shape[:-1], 1))
        inverse = np.linalg.inv(self.intrinsics)
        directions: np.ndarray = np.concatenate([xy, ones], -1) @ inverse.T @ self.extrinsics[:3, :3]
        return directions


class Passes(NamedTuple):
    """What Cycles renders at the centre of each pixel, float32; volumes, motion blur, depth of field left out."""

    depth: np.ndarray
    """[H,W] along the camera's axis; inf where nothing is."""
    normal: np.ndarray
    """[H,W,3] in Blender's world."""
    position: np.ndarray
    """[H,W,3] in Blender's world."""
    mask: np.ndarray
    """[H,W] uint16, `Part.mask`; 0: nothing, or a part without tracks."""
    emission: np.ndarray
    """[H,W,3] light that the surface gives by itself, linear."""


BACKGROUND = 1e9
"""Depths beyond are Blender's 1e10: nothing there."""


class Take:
    """One video as Blender left it in `folder`. Raises `StorageError` for what is missing or damaged."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            about = json.loads((self.folder / "parts.json").read_text(encoding="utf-8"))
            self.frames = int(about["frames"])
            self.size = (int(about["size"][0]), int(about["size"][1]))
            self.fps = Fraction(*about["fps"])
            self.blender = str(about["blender"])
            self.parts = [Part(part["name"], part["kind"], int(part["index"])) for part in about["parts"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StorageError(f"{self.folder / 'parts.json'} is missing or damaged ({error})") from error
        arrays = _read(self.folder / "parts.npz")
        self._first = [arrays[f"vertices{i}"] for i in range(len(self.parts))]
        own = [arrays[f"triangles{i}"] for i in range(len(self.parts))]
        self.starts = np.cumsum([0, *(len(each) for each in self._first)])
        """Number of the first vertex of each part, and their number."""
        self.triangles: np.ndarray = np.concatenate(
            [each + start for each, start in zip(own, self.starts[:-1], strict=True)] or [np.zeros((0, 3))]
        ).astype(np.int32)
        """[F,3], numbers of vertices of all parts."""
        self.part_of: np.ndarray = np.repeat(np.arange(len(own)), [len(each) for each in own])
        """[F] int64, which part a triangle belongs to."""
        self.moves = np.zeros(len(self.parts), bool)
        """Whether a part is ever elsewhere than on the first frame."""
        for frame in range(self.frames):
            with np.load(self._file(frame, "npz")) as moved:
                for name in moved.files:
                    if name.startswith("vertices"):
                        self.moves[int(name.removeprefix("vertices"))] = True

    def _file(self, frame: int, ending: str) -> Path:
        path = self.folder / f"{frame:05d}.{ending}"
        storage.check_file(path)
        return path

    def picture_file(self, frame: int) -> Path:
        """The rendered picture, a PNG."""
        return self._file(frame, "png")

    def geometry(self, frame: int) -> tuple[np.ndarray, Camera]:
        """Where all vertices are [V,3] float32, and the camera."""
        arrays = _read(self._file(frame, "npz"))
        vertices = [arrays.get(f"vertices{i}", first) for i, first in enumerate(self._first)]
        return (
            np.concatenate(vertices) if vertices else np.zeros((0, 3), np.float32),
            Camera(arrays["intrinsics"], arrays["extrinsics"], arrays["clip"]),
        )

    def passes(self, frame: int) -> Passes:
        """The data passes of a frame."""
        library = require("OpenEXR", "generate")
        path = self._file(frame, "exr")
        try:
            channels = {k: v for part in library.File(str(path)).parts for k, v in part.channels.items()}
            found = {name.split(".", 1)[1]: np.asarray(channel.pixels) for name, channel in channels.items()}
            depth = found["Depth.Z"]
            index = found["IndexOB.X"] if "IndexOB.X" in found else found["Object Index.X"]  # Blender 4, 5
            emission = found["Emit"] if "Emit" in found else found["Emission"]
            return Passes(
                np.where(depth < BACKGROUND, depth, np.float32(np.inf)),
                np.stack([found[f"Normal.{axis}"] for axis in "XYZ"], -1),
                np.stack([found[f"Position.{axis}"] for axis in "XYZ"], -1),
                np.rint(index).astype(np.uint16),
                emission if emission.ndim == 3 else np.repeat(emission[..., None], 3, -1),
            )
        except (OSError, RuntimeError, KeyError, IndexError, ValueError) as error:
            raise StorageError(
                f"{path} is damaged ({error}): remove it, and the same command renders it again"
            ) from error


def _read(path: Path) -> dict[str, np.ndarray]:
    with storage.reading(path, "an .npz of plain arrays"):
        return storage.read_npz(path, None)
