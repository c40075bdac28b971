"""CoTracker3's Kubric clips as released (specs/cotracker3_offline.md section 12.1).

    ROOT/SEQUENCE/frames/*.png (or .jpg)   and   ROOT/SEQUENCE/SEQUENCE.npy

The .npy is a pickled dict with `coords` (N,T,2) in pixels and `visibility` (N,T), which holds *occlusion*. It is
read without running it (`datasets.pickles`). Whether coordinates are centre- or corner-origin is not documented;
they are taken as corner-origin, as Kubric projects them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from tapkit.datasets.base import Clip, Listed
from tapkit.datasets.frames import image_files, image_size, open_images
from tapkit.datasets.pickles import LazyArray, read_pickle
from tapkit.errors import StorageError


class KubricFolders(Listed[Path]):
    """Sequences below `root`."""

    name = "CoTracker3 Kubric"
    resolution = "native"
    citation = "Karaev et al., CoTracker3, 2024"

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        every = sorted(p for p in self.root.iterdir() if p.is_dir()) if self.root.is_dir() else []
        folders = {p.name: p for p in every if (p / "frames").is_dir() or (p / f"{p.name}.npy").is_file()}
        if not folders:
            raise StorageError(f"{self.root} has no Kubric sequences (folders with frames/ and NAME.npy)")
        super().__init__(folders, {name: why for name, folder in folders.items() if (why := _lacking(folder))})

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`."""
        folder = self.place(name)
        path, files = folder / f"{name}.npy", image_files(folder / "frames")
        tracks = read_object_npy(path)
        coordinates, hidden = (_array(tracks, key, path) for key in ("coords", "visibility"))
        frames = min(len(files), coordinates.shape[1])
        return Clip(
            name,
            coordinates[:, :frames],
            ~hidden[:, :frames].astype(bool),
            image_size(files[0]),
            lambda: open_images(files[:frames]),
            valid=np.isfinite(coordinates[:, :frames]).all(-1),
            stamp=f"{len(files)} images, {sum(f.stat().st_size for f in files)} bytes",
        )


def read_object_npy(path: Path) -> Any:
    """The single object of a pickled .npy, read without running the pickle."""
    try:
        with open(path, "rb") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(file)
            offset = file.tell()
    except FileNotFoundError as error:
        raise StorageError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} is not an .npy file, or it is damaged ({error})") from error
    if not dtype.hasobject or shape != ():
        raise StorageError(f"{path} is a plain array {list(shape)}; a pickled dict was expected")
    array = read_pickle(path, offset)
    items = array.items() if isinstance(array, LazyArray) and array.dtype.hasobject else []
    if len(items) != 1:
        raise StorageError(f"{path} does not hold one object")
    return items[0]


def _array(tracks: Any, key: str, path: Path) -> np.ndarray:
    value = tracks.get(key) if isinstance(tracks, dict) else None
    if not isinstance(value, LazyArray) or value.dtype.hasobject:
        raise StorageError(f"{path} has no array {key!r}")
    return np.array(value.open())


def _lacking(folder: Path) -> str:
    if not (folder / f"{folder.name}.npy").is_file():
        return f"has no {folder.name}.npy"
    return "" if image_files(folder / "frames") else "has no images in frames/"
