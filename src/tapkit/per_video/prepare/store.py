"""What methods learn from, on disk: the clip at its working size, and tables of arrays with an entry for each frame.

    PREPARED/192x108/clip.json             which video this is
                     frames.npy            uint8 [N,h,w,3]
                     flow-3f2a.../facts.json, 00000.npy ...     a table: one array for each frame

Each array is written whole or not at all, so whatever ends the program, the next one computes what is missing and no
more. Reading maps the files into memory: of 300 frames only what a batch touches is read. Methods, and several fits,
may share a folder. A table is found by a digest of the facts that it depends on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import storage
from tapkit.coords import Size, shrunk
from tapkit.errors import StorageError, UsageError
from tapkit.video.base import Source

FEWEST = 3
"""Frames below which there is nothing to fit: a tracker of frame pairs does as well."""
OPEN = 64
"""Arrays of a table that are kept mapped."""


class Table(Sequence[np.ndarray]):
    """Arrays by frame, mapped into memory when they are asked for."""

    def __init__(self, folder: Path, length: int) -> None:
        self.folder, self._length = folder, length
        self._open: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, int | np.integer) or not 0 <= index < self._length:
            raise IndexError(index)
        index = int(index)
        if index not in self._open:
            if len(self._open) >= OPEN:
                self._open.pop(next(iter(self._open)))
            self._open[index] = _read(self.path(index))
        return self._open[index]

    def path(self, index: int) -> Path:
        """The file of a frame."""
        return self.folder / f"{index:05d}.npy"

    @property
    def missing(self) -> list[int]:
        """Frames whose array has not been computed yet."""
        return [index for index in range(self._length) if not self.path(index).is_file()]


class Prepared:
    """The clip at one working size, and the tables that belong to it."""

    def __init__(self, folder: Path, frames: np.ndarray, flow_frames: np.ndarray | None = None) -> None:
        self.folder = folder
        self.frames = frames
        """uint8 [N,h,w,3], RGB, mapped from disk."""
        self.flow_frames = frames if flow_frames is None else flow_frames
        """uint8 [N,H,W,3]: the same frames at the size at which flow is computed, which may be larger."""

    @classmethod
    def of(cls, folder: str | Path, source: Source, max_side: int | None, flow_side: int | None = None) -> Prepared:
        """The store in `folder` for a video; its frames are decoded unless they are there already.

        Args:
            folder: where it lies, or is to lie.
            source: the video.
            max_side: length in pixels of the longer side at which it is worked on; None: its own.
            flow_side: the same for flow, if that is to be computed at a larger size; None: it is not.

        Raises `UsageError` for a video that is too short, or of which another is in the folder; `StorageError`.
        """
        own = source.info.size
        size = shrunk(own, max_side) or own
        of_flow = size if flow_side is None else shrunk(own, max(flow_side, *size)) or own
        place, facts = _place(folder, size), _facts(source)
        for wanted in {size, of_flow}:
            there = _place(folder, wanted)
            if (there / "frames.npy").is_file():
                _check_same(there, facts)
            else:
                _decode(there, source, wanted, facts)
        larger = _read(_place(folder, of_flow) / "frames.npy") if of_flow != size else None
        return cls(place, _read(place / "frames.npy"), larger)

    @property
    def size(self) -> Size:
        """(height, width) of the working size."""
        return int(self.frames.shape[1]), int(self.frames.shape[2])

    def __len__(self) -> int:
        return len(self.frames)

    def table(self, name: str, facts: Mapping[str, Any]) -> Table:
        """The table that is called so and depends on these facts (JSON values); it may lack arrays still."""
        text = json.dumps(facts, sort_keys=True)
        place = self.folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
        if not (place / "facts.json").is_file():
            storage.write_text(place / "facts.json", json.dumps(facts, indent=1, sort_keys=True))
        return Table(place, len(self))

    def fill(
        self,
        table: Table,
        compute: Callable[[int], np.ndarray],
        report: Callable[[str, int, int], object] = lambda what, done, total: None,
    ) -> Table:
        """Compute the arrays that `table` lacks, frame by frame; returns it. Raises `StorageError` (a full disk): what
        has been computed stays."""
        missing = table.missing
        what = table.folder.name.rpartition("-")[0]
        for done, index in enumerate(missing):
            report(what, len(table) - len(missing) + done, len(table))
            save(table.path(index), compute(index))
        report(what, len(table), len(table))
        return table


def save(path: Path, array: np.ndarray) -> None:
    """Write one array, whole or not at all. Raises `StorageError`."""
    with storage.atomic(path) as part, open(part, "wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def _place(folder: str | Path, size: Size) -> Path:
    """Where what belongs to a size lies."""
    return Path(folder) / f"{size[1]}x{size[0]}"


def _read(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read ({error}); delete it and it is computed again") from error


def _facts(source: Source) -> dict[str, Any]:
    """Which pictures these are; whatever file they come from."""
    info = source.info
    digest = hashlib.sha256(np.ascontiguousarray(source.peek().image).tobytes())
    return {"width": info.width, "height": info.height, "first": digest.hexdigest()}


def _check_same(place: Path, facts: Mapping[str, Any]) -> None:
    try:
        known = json.loads((place / "clip.json").read_text())
    except (OSError, ValueError) as error:
        raise StorageError(f"{place / 'clip.json'} cannot be read ({error}); delete the folder {place}") from error
    if {name: known.get(name) for name in facts} != dict(facts):
        raise UsageError(f"{place.parent} holds what was prepared for another video: name another folder")


def _decode(place: Path, source: Source, size: Size, facts: Mapping[str, Any]) -> None:
    """Decode the clip into frames.npy, without ever holding it in memory."""
    storage.write_text(place / "clip.json", json.dumps(facts, indent=1))
    with storage.atomic(place / "frames.npy") as part:
        raw, count = part.with_name(part.name + ".raw"), 0
        try:
            with open(raw, "wb") as file:
                for frame in source.frames(size=size):
                    file.write(np.ascontiguousarray(frame.image).tobytes())
                    count += 1
            if count < FEWEST:
                raise UsageError(
                    f"a video of {count} frames is too short to be fitted to: at least {FEWEST} are needed"
                )
            pictures = np.memmap(raw, np.uint8, "r", shape=(count, *size, 3))
            with open(part, "wb") as file:
                np.save(file, pictures, allow_pickle=False)
        finally:
            raw.unlink(missing_ok=True)
