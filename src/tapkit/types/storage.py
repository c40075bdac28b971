"""Tracks on disk: .npz and .zarr (same keys, no pickles), .csv and .parquet (the long table of `tapkit.types.table`).

Keys: xy [N,T,2] f4, visible, confidence [N,T] f4, valid, keyframe [N,T] bool, query_t [N] i8, query_xy [N,2] f4,
ids [N] str, times [T] f8 (only for videos that have them), meta (JSON: video, source, format version, and the
skeleton's pairs of ids if there is one).
Everything is written in blocks of points, so that results larger than memory can be stored, and put in place in one
step, so that no half file ever stands under the final name.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import storage
from tapkit.errors import StorageError, UsageError, require
from tapkit.types import table
from tapkit.types.extent import check_extent
from tapkit.types.queries import Queries
from tapkit.types.skeleton import Skeleton
from tapkit.types.tracks import Provenance, Tracks
from tapkit.types.video_info import VideoInfo

FORMAT = 1
SUFFIXES = (".npz", ".zarr", ".csv", ".parquet")
_PER_CELL = {"xy": "<f4", "visible": "<f4", "confidence": "<f4", "valid": "|b1", "keyframe": "|b1"}
_BLOCK_BYTES = 8 << 20

Block = dict[str, np.ndarray]
"""The per-cell arrays of some points: xy [n,T,2], visible, confidence, valid, keyframe [n,T]."""


@dataclass(frozen=True)
class Stored:
    """Tracks to be written: what is small, and a function that gives the rest for points start..stop."""

    queries: Queries
    video: VideoInfo
    source: Provenance
    frames: int
    read: Callable[[int, int], Block]
    skeleton: Skeleton = ()

    def blocks(self) -> Iterator[tuple[int, int, Block]]:
        """(start, stop, block) over all points, a few megabytes at a time."""
        step = max(_BLOCK_BYTES // max(18 * self.frames, 1), 1)
        for start in range(0, len(self.queries), step):
            stop = min(start + step, len(self.queries))
            yield start, stop, self.read(start, stop)


def stored(tracks: Tracks) -> Stored:
    """Tracks in memory as something to write."""

    def read(start: int, stop: int) -> Block:
        return {name: getattr(tracks, name)[start:stop] for name in _PER_CELL}

    return Stored(tracks.queries, tracks.video, tracks.source, tracks.frames, read, tracks.skeleton)


def save_tracks(tracks: Tracks, path: Path) -> Path:
    """See `Tracks.save`."""
    return write(stored(tracks), path)


def check_suffix(path: Path) -> None:
    """Raise `UsageError` unless tracks can be stored under that name."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"tracks are stored as {', '.join(SUFFIXES)}; {path.name!r} ends otherwise")


def write(content: Stored, path: Path) -> Path:
    """Write to `path` in the format its ending names. Raises `StorageError` (full disk, no permission)."""
    check_suffix(path)
    writer = {".npz": _write_npz, ".zarr": _write_zarr, ".csv": _write_csv, ".parquet": _write_parquet}[
        path.suffix.lower()
    ]
    if path.is_dir() and any(path.iterdir()) and not (path.suffix.lower() == ".zarr" and _is_store(path)):
        raise StorageError(f"cannot write {path}: it is a folder with other things in it")
    with storage.atomic(path) as part:
        writer(content, part)
    return path


def _meta(content: Stored) -> str:
    video = {**content.video.to_dict(), "frames": content.frames}
    own = {"skeleton": content.skeleton} if content.skeleton else {}
    return json.dumps({"format": FORMAT, "video": video, "source": content.source.to_dict(), **own})


def _small(content: Stored) -> Block:
    """The arrays that are small."""
    queries = content.queries
    arrays = {"query_t": queries.t, "query_xy": queries.xy, "ids": queries.ids.astype(np.str_)}
    if content.video.times is not None:
        arrays["times"] = content.video.times
    return arrays


def _shape(name: str, content: Stored) -> tuple[int, ...]:
    cells = (len(content.queries), content.frames)
    return (*cells, 2) if name == "xy" else cells


# -- npz ----------------------------------------------------------------------------------------------


def _write_npz(content: Stored, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in {**_small(content), "meta": np.array(_meta(content))}.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
        for name, dtype in _PER_CELL.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {"descr": dtype, "fortran_order": False, "shape": _shape(name, content)}
                np.lib.format.write_array_header_2_0(member, header)
                for _, _, block in content.blocks():
                    member.write(np.ascontiguousarray(block[name], dtype=dtype).tobytes())


# -- zarr ---------------------------------------------------------------------------------------------


def _write_zarr(content: Stored, path: Path) -> None:
    zarr = require("zarr", "zarr")
    # Every chunk is written, those that hold nothing but the fill value too: one that is missing is then known to be.
    every = {"write_empty_chunks": True}
    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    group.attrs["meta"] = _meta(content)
    group.attrs["every_chunk"] = True
    group.attrs["ids"] = content.queries.ids.tolist()
    for name, array in _small(content).items():
        if name != "ids":
            group.create_array(name, data=np.asarray(array), config=every)
    chunk = (max(min(256, len(content.queries)), 1), max(min(256, content.frames), 1))
    arrays = {
        name: group.create_array(
            name,
            shape=_shape(name, content),
            dtype=dtype,
            chunks=(*chunk, 2) if name == "xy" else chunk,
            fill_value=np.nan if dtype == "<f4" else False,
            config=every,
        )
        for name, dtype in _PER_CELL.items()
    }
    for start, stop, block in content.blocks():
        for name, array in arrays.items():
            array[start:stop] = block[name]


def _read_zarr(path: Path) -> Block:
    zarr = require("zarr", "zarr")
    group = zarr.open_group(str(path), mode="r")
    stored_arrays = dict(group.arrays())
    check_chunks(group, path)
    check_extent(*stored_arrays["valid"].shape)
    arrays = {name: np.asarray(array[...]) for name, array in stored_arrays.items()}
    ids = group.attrs["ids"]
    return {
        **arrays,
        "meta": np.array(group.attrs["meta"]),
        "ids": np.array(ids, dtype=np.str_) if ids else np.zeros(0, np.str_),
    }


def check_chunks(group: Any, path: Path) -> None:
    """Raise `StorageError` where chunks of a store are missing, as after a copy that broke off.

    Stores of former versions left out chunks of zeros, which positions never are: there only those are counted.
    """
    for name, array in group.arrays():
        if not group.attrs.get("every_chunk") and name != "xy":
            continue
        missing = array.nchunks - array.nchunks_initialized
        if missing:
            raise StorageError(
                f"{path} is incomplete: {missing} of the {array.nchunks} chunks of {name!r} are missing; copy it again"
            )


def _is_store(path: Path) -> bool:
    return any((path / name).exists() for name in ("zarr.json", ".zgroup"))


# -- tables -------------------------------------------------------------------------------------------


def _head(content: Stored) -> table.Head:
    return table.Head(replace(content.video, frames=content.frames), content.source, skeleton=content.skeleton)


def _rows(content: Stored) -> Iterator[table.Rows]:
    """The rows of the long table, block by block: one for each valid cell."""
    for start, stop, block in content.blocks():
        point, frame = np.nonzero(block["valid"])
        cells = {name: block[name][point, frame] for name in ("xy", "visible", "confidence", "keyframe")}
        yield table.Rows(point + start, frame, **cells, query=frame == content.queries.t[start:stop][point])


def _write_csv(content: Stored, path: Path) -> None:
    table.write_csv(path, _head(content), content.queries.ids.tolist(), _rows(content))


def _write_parquet(content: Stored, path: Path) -> None:
    table.write_parquet(path, _head(content), content.queries.ids.tolist(), _rows(content))


# -- reading ------------------------------------------------------------------------------------------


def load_tracks(path: Path) -> Tracks:
    """See `Tracks.load`."""
    storage.check_file(path)
    ending = path.suffix.lower()
    if ending not in SUFFIXES:
        raise UsageError(
            f"tracks are read from {', '.join(SUFFIXES)}, not from {path.name!r}; tapkit import reads other formats"
        )
    try:
        with storage.reading(path, "a file of tracks"):
            if ending in (".csv", ".parquet"):
                return table.tracks_of(table.read_csv(path) if ending == ".csv" else table.read_parquet(path), path)
            return _tracks(storage.read_npz(path) if ending == ".npz" else _read_zarr(path), path)
    except UsageError as error:  # its arrays contradict each other: the file's fault, not the caller's
        raise StorageError(f"{path} is not a file of tracks, or is damaged ({error})") from error


def _tracks(arrays: Block, path: Path) -> Tracks:
    """The tracks that a file's arrays are. Raises `StorageError`, and what `load_tracks` turns into one."""
    meta: dict[str, Any] = json.loads(str(arrays["meta"]))
    if meta["format"] > FORMAT:
        raise StorageError(f"{path} was written by a newer tapkit (format {meta['format']}); please update")
    return Tracks(
        **{name: arrays[name] for name in _PER_CELL},
        queries=Queries(arrays["query_t"], arrays["query_xy"], arrays["ids"]),
        video=VideoInfo.from_dict(meta["video"], arrays.get("times")),
        source=Provenance(**meta["source"]),
        skeleton=tuple(meta.get("skeleton", ())),
    )
