"""TAP-Vid labels as CSV beside video files: Kinetics, RoboTAP and Perception Test (specs/tapvid_benchmark.md 2.2, 2.3).

Kinetics:  rows `youtube_id, start_sec, end_sec, x, y, occluded, x, y, occluded, ...` (250 frames at 25 fps);
           videos `{youtube_id}_{start:06d}_{end:06d}.mp4` anywhere below a folder.
Others:    rows `video_id, x, y, occluded, ...` of any length; videos `{video_id}.mp4`; clips of more than 1000
           frames are cut into nearly equal parts, each a clip of its own.
Only the beginnings of the rows are indexed; the numbers of a clip are parsed when it is asked for.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapkit import coords
from tapkit.coords import Size
from tapkit.datasets.base import Clip, Dataset
from tapkit.datasets.folder import open_video_file
from tapkit.errors import StorageError, UsageError, VideoError
from tapkit.types import VideoInfo
from tapkit.video.base import Frame, Source

KINETICS_FPS = 25
KINETICS_FRAMES = 250
OLD_LAYOUT_FIELDS = 711
"""Of a row before 16 December 2022: other columns, which would be read as wrong tracks."""
LONGEST = 1000
"""Frames of a clip of the other sets before it is cut."""
VIDEO_ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov")


class _Entry(NamedTuple):
    """Rows of one clip in the file."""

    offsets: tuple[int, ...]
    start: int
    stop: int | None
    """Frames of the annotation that belong to the clip; None: to the end."""


class CsvTracks(Dataset):
    """Clips of a label file. `kinetics` chooses between the two layouts."""

    citation = "Doersch et al., TAP-Vid, NeurIPS 2022"

    def __init__(
        self, labels: str | Path, videos: str | Path | None = None, kinetics: bool = True, half_pixel: bool = True
    ) -> None:
        """`half_pixel` keeps the shift of half a source pixel that the official Kinetics conversion makes."""
        self.labels = Path(labels)
        self.root = Path(videos) if videos is not None else self.labels.parent
        self.kinetics, self.half_pixel = kinetics, half_pixel and kinetics
        self.name = "TAP-Vid Kinetics" if kinetics else f"{self.labels.stem} (CSV)"
        self._entries: dict[str, _Entry] | None = None
        self._videos: dict[str, Path] = {}

    def names(self) -> Sequence[str]:
        """See `Dataset.names`."""
        return [name for name in self._index() if self._video_of(name) in self._videos]

    def missing(self) -> Mapping[str, str]:
        """See `Dataset.missing`."""
        return {
            n: f"no video {self._video_of(n)}.* below {self.root}"
            for n in self._index()
            if self._video_of(n) not in self._videos
        }

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`."""
        entry = self._index().get(name)
        if entry is None:
            raise self.unknown(name)
        path = self._videos.get(self._video_of(name))
        if path is None:
            raise VideoError(f"clip {name!r}: {self.missing()[name]}")
        values = self._values(entry, name)[:, entry.start : entry.stop]
        with open_video_file(path) as source:
            size = source.info.size
            chosen = _frames_of(source, entry.start, values.shape[1], KINETICS_FPS if self.kinetics else None)
        values = values[:, : len(chosen)]
        if not values.shape[1]:
            raise VideoError(f"{path} has no frames for clip {name!r}")
        xy = coords.from_normalized(values[..., :2], size) - (0.5 if self.half_pixel else 0.0)
        fps = KINETICS_FPS if self.kinetics else None
        return Clip(
            name,
            xy,
            values[..., 2] == 0,
            size,
            lambda: ChosenFrames(open_video_file(path), chosen, fps),
            stamp=f"{path.name}, {path.stat().st_size} bytes",
        )

    def _video_of(self, name: str) -> str:
        return name.split("#")[0]

    def _index(self) -> dict[str, _Entry]:
        if self._entries is None:
            offsets: dict[str, list[int]] = {}
            lengths: dict[str, int] = {}
            for offset, key, length in _rows(self.labels, self.kinetics):
                offsets.setdefault(key, []).append(offset)
                lengths[key] = max(lengths.get(key, 0), length)
            self._entries = {}
            for key, places in offsets.items():
                for name, start, stop in _parts(key, lengths[key], None if self.kinetics else LONGEST):
                    self._entries[name] = _Entry(tuple(places), start, stop)
            wanted = {self._video_of(name) for name in self._entries}
            if self.root.is_dir():
                found = (
                    p for p in sorted(self.root.rglob("*")) if p.suffix.lower() in VIDEO_ENDINGS and p.stem in wanted
                )
                for path in found:
                    self._videos.setdefault(path.stem, path)
        return self._entries

    def _values(self, entry: _Entry, name: str) -> np.ndarray:
        """[N,T,3] float64 x, y, occluded of a clip."""
        skip = 3 if self.kinetics else 1
        rows = []
        with open(self.labels, "rb") as file:
            for offset in entry.offsets:
                file.seek(offset)
                fields = next(csv.reader([file.readline().decode("utf-8", "replace")]))[skip:]
                try:
                    rows.append(np.array(fields, dtype=np.float64).reshape(-1, 3))
                except ValueError as error:
                    raise StorageError(
                        f"{self.labels}: a row of clip {name!r} is not triples of numbers ({error})"
                    ) from error
        if len({len(row) for row in rows}) > 1:
            raise StorageError(f"{self.labels}: the rows of clip {name!r} have different lengths")
        return np.stack(rows)


def _rows(path: Path, kinetics: bool) -> Iterator[tuple[int, str, int]]:
    """Offset, clip and number of frames of each row, from the row's beginning and its commas."""
    try:
        with open(path, "rb") as file:
            offset = 0
            for line in file:
                fields = line.removeprefix(codecs.BOM_UTF8).split(b",", 4)
                if line.strip():
                    commas = line.count(b",")
                    try:
                        key, frames = _key(fields, commas, kinetics)
                    except (ValueError, IndexError) as error:
                        raise StorageError(
                            f"{path}: the row at byte {offset} has {commas + 1} fields; expected "
                            + (
                                "id, start, end and 3 for each frame (is it the layout from before 16 December 2022?)"
                                if kinetics
                                else "an id and 3 for each frame"
                            )
                        ) from error
                    yield offset, key, frames
                offset += len(line)
    except FileNotFoundError as error:
        raise StorageError(f"{path} does not exist") from error
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error


def _key(fields: Sequence[bytes], commas: int, kinetics: bool) -> tuple[str, int]:
    if not kinetics:
        if commas % 3:
            raise ValueError
        return fields[0].decode().strip(), commas // 3
    if (commas - 2) % 3 or commas < 5 or commas + 1 == OLD_LAYOUT_FIELDS:
        raise ValueError
    start, end = int(float(fields[1])), int(float(fields[2]))
    return f"{fields[0].decode().strip()}_{start:06d}_{end:06d}", (commas - 2) // 3


def _parts(key: str, frames: int, longest: int | None) -> list[tuple[str, int, int | None]]:
    """A clip as it is, or cut into nearly equal parts at floor(i T / k)."""
    if longest is None or frames <= longest:
        return [(key, 0, None)]
    count = -(-frames // longest)
    cuts = [i * frames // count for i in range(count + 1)]
    return [(f"{key}#{i}", a, b) for i, (a, b) in enumerate(pairwise(cuts))]


def _frames_of(source: Source, start: int, wanted: int, fps: int | None) -> np.ndarray:
    """Which frames of the video are the clip's: as they come, or as ffmpeg's fps filter picks them (spec 2.2)."""
    info = source.info
    count = info.frames if info.frames is not None else sum(1 for _ in source.frames(size=(16, 16)))
    if fps is None:
        return np.arange(start, min(start + wanted, count))
    times = np.array([info.time_of(i) for i in range(count)]) - info.time_of(0)
    # The filter moves each frame to the nearest tick; a tick without one repeats the frame before, later frames win.
    ticks = np.floor(times * fps + 0.5).astype(np.int64)
    length = int(ticks[-1]) + 1 if count else 0
    return np.searchsorted(ticks, np.arange(min(length, wanted, KINETICS_FRAMES)), side="right") - 1


class ChosenFrames(Source):
    """Some frames of another source, in rising order (a frame may occur more than once)."""

    def __init__(self, source: Source, chosen: np.ndarray, fps: int | None) -> None:
        self.source, self.chosen = source, np.asarray(chosen)
        old = source.info
        self.info = VideoInfo(
            old.width, old.height, old.fps if fps is None else type(old.fps)(fps), len(self.chosen), path=old.path
        )

    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1, size: Size | None = None
    ) -> Iterator[Frame]:
        """See `Source.frames`: the other source is read once, in its own order."""
        if step == 0:
            raise UsageError("the step between frames cannot be zero")
        count = len(self.chosen)
        end = (count if step > 0 else -1) if stop is None else min(stop, count) if step > 0 else max(stop, -1)
        order = range(start, end, step)
        if not len(order):
            return
        inner = self.chosen[list(order)]
        walk = 1 if step > 0 else -1
        last = int(inner[-1]) + walk
        reader = self.source.frames(int(inner[0]), None if last < 0 else last, walk, size)
        frame = next(reader)
        for index, wanted in zip(order, inner.tolist(), strict=True):
            while frame.index != wanted:
                frame = next(reader)
            yield Frame(index, self.info.time_of(index), frame.image.copy())

    def close(self) -> None:
        """Close the other source."""
        self.source.close()
