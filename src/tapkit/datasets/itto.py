"""ITTO as released (Demler et al., "Is This Tracker On? A Benchmark Protocol for Dynamic Tracking", NeurIPS 2025).

    ROOT/PART/frames/VIDEO/*.jpg     ROOT/PART/annotations/VIDEO/VIDEO_{gradient,random,background}.npy
    PART is mose, lvos or ego4d; ROOT may also be one part

A file is a plain array [N,T,4]: x, y in pixels, visible (1) or not, and one number more that is not read. The three
files hold points chosen in three ways; a clip has them all, in this order. Points are asked for where they are first
visible, on frames of 256x256. Licences: MOSE's frames and annotations CC BY-NC-SA 4.0, the others' annotations
CC BY 4.0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tapkit.datasets.base import Clip, Listed
from tapkit.datasets.frames import image_files, image_size, open_images
from tapkit.errors import StorageError

KINDS = ("gradient", "random", "background")


class Itto(Listed[list[Path]]):
    """Videos of the parts below `root`, called PART/VIDEO (VIDEO if `root` is one part)."""

    name = "ITTO"
    query_mode = "first"
    citation = "Demler et al., Is This Tracker On?, NeurIPS 2025"

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        folders = sorted([*self.root.glob("annotations/*"), *self.root.glob("*/annotations/*")])
        found = {self._name(folder): files for folder in folders if (files := _annotations(folder))}
        if not found:
            raise StorageError(f"{self.root} has no ITTO annotations (annotations/VIDEO/VIDEO_random.npy)")
        pictures = {name: _frames(files[0]) for name, files in found.items()}
        super().__init__(
            found, {name: f"has no images in {where}" for name, where in pictures.items() if not image_files(where)}
        )

    def _name(self, folder: Path) -> str:
        """mose/annotations/VIDEO -> mose/VIDEO."""
        part = folder.parent.parent
        return folder.name if part == self.root else f"{part.name}/{folder.name}"

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`."""
        paths = self.place(name)
        images = image_files(_frames(paths[0]))
        tables = [_table(path, len(images)) for path in paths]
        table = np.concatenate(tables)
        visible = table[..., 2] == 1
        xy = np.where(visible[..., None], table[..., :2], np.nan).astype(np.float32)
        return Clip(
            name,
            xy,
            visible,
            image_size(images[0]),
            lambda: open_images(images),
            stamp=f"{len(images)} images, {sum(f.stat().st_size for f in images)} bytes",
        )


def _annotations(folder: Path) -> list[Path]:
    """The files of a video, in a fixed order."""
    files = [folder / f"{folder.name}_{kind}.npy" for kind in KINDS]
    return [file for file in files if file.is_file()]


def _frames(annotation: Path) -> Path:
    """PART/annotations/VIDEO/VIDEO_random.npy -> PART/frames/VIDEO."""
    video = annotation.parent
    return video.parent.parent / "frames" / video.name


def _table(path: Path, frames: int) -> np.ndarray:
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StorageError(f"{path} is not an .npy file of numbers, or it is damaged ({error})") from error
    if table.ndim != 3 or table.shape[2] < 3 or table.dtype.kind not in "fiub":
        raise StorageError(f"{path} must hold numbers [N,T,4], got {table.dtype} {list(table.shape)}")
    if table.shape[1] != frames:
        raise StorageError(f"{path} has tracks of {table.shape[1]} frames, but there are {frames} images")
    return np.asarray(table[..., :3], np.float64)
