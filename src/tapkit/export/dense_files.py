"""Dense results on disk, whoever wrote them: those of `tapkit dense` (.zarr) and of `tapkit flow` (a folder)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tapkit.errors import StorageError, require
from tapkit.export import flow_files
from tapkit.types.dense import Dense
from tapkit.types.storage import check_chunks
from tapkit.types.tracks import Provenance
from tapkit.types.video_info import VideoInfo

NOTE = "flow.json"
"""What `tapkit flow` notes in its folder."""
FLOW_FILES = {"flo": ".flo", "kitti": ".png", "exr": ".exr", "colors": ".png"}
"""Endings of its files by format."""
_NAME = re.compile(r"(\d{6,})_(\d{6,})")


def is_dense(path: str | Path) -> bool:
    """Whether a dense result lies there (it may be damaged)."""
    path = Path(path)
    if path.suffix.lower() != ".zarr":
        return (path / NOTE).is_file()
    try:
        return "dense" in json.loads((path / "zarr.json").read_text())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load_dense(path: str | Path) -> Dense:
    """Open the result of `tapkit dense` or `tapkit flow`; fields are read when they are looked at.

    Raises `StorageError` for what is not there, is something else or damaged (also later, when that is met).
    """
    path = Path(path)
    if not path.exists():
        raise StorageError(f"{path} does not exist")
    return _flow(path) if (path / NOTE).is_file() else _tracks(path)


def _tracks(path: Path) -> Dense:
    """The zarr folder of `tapkit dense`."""
    if path.suffix.lower() != ".zarr" or not path.is_dir():
        raise StorageError(f"{path} is not a result of dense tracking (.zarr) or a folder of flow")
    zarr = require("zarr", "zarr")
    try:
        group = zarr.open_group(str(path), mode="r")
        meta = json.loads(group.attrs["meta"])
    except Exception as error:  # zarr has many
        raise StorageError(f"{path} is not a result of dense tracking, or is damaged ({_cause(error)})") from error
    if "dense" not in group.attrs:
        raise StorageError(f"{path} is not a result of dense tracking: it holds the tracks of single points")
    try:
        layout = json.loads(group.attrs["dense"])
        frame, step, rows, columns = (int(layout[name]) for name in ("frame", "step", "rows", "columns"))
        count, frames = (int(side) for side in group["xy"].shape[:2])
        times = np.asarray(group["times"][...]) if "times" in group else None
        video = VideoInfo.from_dict(meta["video"], times)
        source = Provenance(**meta["source"])
    except Exception as error:
        raise StorageError(f"{path} is damaged ({_cause(error)})") from error
    check_chunks(group, path)
    if count != rows * columns:
        raise StorageError(f"{path} is damaged: {count} points are no grid of {rows} x {columns}")

    def read(name: str, start: int, stop: int) -> np.ndarray:
        try:
            values = np.asarray(group[name][:, start:stop]).swapaxes(0, 1)
        except Exception as error:
            raise StorageError(f"{path} is damaged: {name} cannot be read ({_cause(error)})") from error
        return np.asarray(values.reshape(len(values), rows, columns, *values.shape[2:]))

    return Dense(
        "tracks", np.full(frames, frame), np.arange(frames), step, rows, columns, video, read, source, str(path)
    )


def _flow(path: Path) -> Dense:
    """The folder of `tapkit flow`."""
    try:
        note = json.loads((path / NOTE).read_text())
        form, (height, width) = note["format"], (int(side) for side in note["size"])
        ending = FLOW_FILES[form]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path / NOTE} is damaged ({_cause(error)})") from error
    if form == "colors":
        raise StorageError(f"{path} holds pictures of flow in colours, out of which no flow can be read")
    pairs = []
    for file in sorted(path.glob(f"*{ending}")):
        if found := _NAME.fullmatch(file.stem):
            pairs.append((int(found[1]), int(found[2]), file))
    if not pairs:
        raise StorageError(f"{path} holds no flow ({ending} files named FIRST_SECOND)")
    pairs.sort(key=lambda pair: (max(pair[:2]), pair[:2]))
    first, second = (np.array([pair[axis] for pair in pairs]) for axis in (0, 1))
    clip = note.get("clip") or {"width": width, "height": height, "frames": int(max(first.max(), second.max())) + 1}
    source = Provenance(str(note.get("model", "")), options=dict(note.get("options", {})))
    centers = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1).astype(np.float32)

    def read(name: str, start: int, stop: int) -> np.ndarray:
        return np.stack([_array(name, file, form, centers) for _, _, file in pairs[start:stop]])

    return Dense("flow", first, second, 1, height, width, VideoInfo.from_dict(clip), read, source, str(path))


def _array(name: str, file: Path, form: str, centers: np.ndarray) -> np.ndarray:
    """One of the arrays of one file of flow."""
    xy, visible = _READERS[form](file)
    if xy.shape != centers.shape:
        (height, width), (wanted_height, wanted_width) = xy.shape[:2], centers.shape[:2]
        raise StorageError(
            f"{file} is damaged: it is {width}x{height}, its folder's video {wanted_width}x{wanted_height}"
        )
    valid: np.ndarray = np.isfinite(xy).all(-1)
    if name == "xy":
        return np.asarray(centers + xy, np.float32)
    if name == "valid":
        return valid
    shown = valid if visible is None else np.where(valid, visible, 0)
    return np.asarray(np.clip(shown, 0, 1), np.float32)


def _flo(file: Path) -> tuple[np.ndarray, np.ndarray | None]:
    return flow_files.read_flo(file), None


def _kitti(file: Path) -> tuple[np.ndarray, np.ndarray | None]:
    return flow_files.read_kitti(file)[0], None


def _exr(file: Path) -> tuple[np.ndarray, np.ndarray | None]:
    xy, occlusion = flow_files.read_motion_exr(file)
    return xy, None if occlusion is None else 1 - occlusion


_READERS: Mapping[str, Callable[[Path], tuple[np.ndarray, np.ndarray | None]]] = {
    "flo": _flo,
    "kitti": _kitti,
    "exr": _exr,
}


def _cause(error: Any) -> str:
    return str(error).split("\n")[0][:100] or type(error).__name__
