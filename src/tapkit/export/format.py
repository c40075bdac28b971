"""What a file format is to tapkit: how it counts, names and times, and the functions that write and read it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tapkit import storage
from tapkit.errors import TapkitError, UsageError
from tapkit.export.context import Context, Kind
from tapkit.export.found import Found, Human, assemble
from tapkit.export.select import Gaps, Keys, When, runs, select
from tapkit.export.text import NameRule, plain
from tapkit.types import Tracks, VideoInfo
from tapkit.types import skeleton as edges_of
from tapkit.video.span import file_names

LARGEST = 2e9
"""Bytes beyond which a file is only written when the caller says so."""


class ExportWarning(UserWarning):
    """Something that a format cannot hold, or that the user should check in the other program."""


@dataclass(frozen=True)
class Job:
    """What a writer gets: the points that have keys, under names that the format takes."""

    tracks: Tracks
    keys: Keys
    names: list[str]
    first: int
    """Number of frame 0 in the file."""
    path: Path
    """Where the result will stand; the writer itself writes to the place that it is given."""

    @property
    def video(self) -> VideoInfo:
        """Of the tracks."""
        return self.tracks.video

    @cached_property
    def numbers(self) -> np.ndarray:
        """Number of each frame in the file, [T] int64."""
        numbers: np.ndarray = np.arange(self.first, self.first + self.tracks.frames)
        return numbers

    def image_names(self, pattern: str = "") -> list[str]:
        """File names of the frames: as `pattern` says ({:06d}: the number), else those of the sequence that was
        tracked, else numbers."""
        own = None if pattern else file_names(self.video)
        if own is not None and len(set(own)) == len(own) == self.tracks.frames:
            return [plain(name) for name in own]
        return _numbered(pattern or "{:06d}.png", self.numbers.tolist())

    @property
    def keyframe(self) -> np.ndarray:
        """Keys set by a human, [N,T] bool."""
        human = self.tracks.keyframe
        assert human is not None  # Tracks sets it
        return np.asarray(human & self.keys.key)

    @property
    def edges(self) -> list[tuple[int, int]]:
        """The skeleton as pairs of rows."""
        return edges_of.rows(self.tracks.skeleton, self.tracks.ids.tolist())

    def curves(self, xy: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
        """For each point: name, indices [K] of the frames with a key, x [K], y [K] taken from `xy` [N,T,2]."""
        for row, name in enumerate(self.names):
            frames = np.flatnonzero(self.keys.key[row])
            x, y = xy[row, frames].T
            yield name, frames, x, y

    def human_or_query(self, row: int) -> np.ndarray:
        """Frames that programs show as set by hand: those a human set, else that of the query, else the first key."""
        human = np.flatnonzero(self.keyframe[row])
        if len(human):
            return human
        asked = self.tracks.queries.t[row]
        return np.array([asked]) if self.keys.key[row, asked] else np.flatnonzero(self.keys.key[row])[:1]


def _numbered(pattern: str, numbers: list[int]) -> list[str]:
    """`pattern` with each number put in. Raises UsageError unless it has one place, for a plain number."""
    if re.fullmatch(r"(?:[^{}]|\{\{|\}\})*\{(?::0?\d{0,2}d?)?\}(?:[^{}]|\{\{|\}\})*", pattern) is None:
        raise UsageError(f"image must be a name with one {{:06d}} in it, for the frame's number, got {pattern[:60]!r}")
    return [pattern.format(number) for number in numbers]


Writer = Callable[..., None]
"""writer(job, target, **options): writes to `target`, and to nothing outside its folder."""
Reader = Callable[[Path, Context], Found]


@dataclass(frozen=True)
class Option:
    """A setting of one format."""

    kind: Callable[[str], Any]
    """Makes a value from the text given on the command line."""
    help: str


@dataclass(frozen=True)
class Format:
    """One format. Other packages add theirs through entry points (see `tapkit.export.library`)."""

    name: str
    suffix: str
    """Usual ending of a file; "/" for a folder."""
    description: str
    writer: Writer
    reader: Reader | None = None
    names: NameRule = field(default_factory=NameRule)
    first_frame: int = 0
    """How the program numbers the first frame."""
    keeps_start: bool = False
    """Whether a clip whose own numbering starts elsewhere (`VideoInfo.start_frame`) keeps its numbers."""
    occlusion: bool = False
    """Whether it says for each position whether it is visible: occluded positions are then written by default."""
    timing: Literal["constant", "times", "index"] = "constant"
    """constant: the program plays at a constant rate; times: seconds are stored; index: frames of the same file."""
    square_only: bool = True
    """Whether it has no place for the shape of pixels (and the program shows pictures, not numbers)."""
    holds_gaps: bool = True
    """Whether the program shows nothing in a gap, rather than moving straight through it."""
    keeps_empty: bool = False
    """Whether points without any key are written as well."""
    skeletons: bool = False
    """Whether it keeps the edges between points, or says itself where they belong."""
    bytes_per_key: float = 20.0
    """Estimate, to say before writing that a file would be too large."""
    most_points: int | None = None
    """More than this is known to be too much for the program."""
    options: Mapping[str, Option] = field(default_factory=dict)
    size: Callable[..., float] | None = None
    """size(job, **options): bytes of the file, where keys x bytes_per_key is not it."""
    files: Callable[[Path, Sequence[int]], list[Path]] | None = None
    """files(path, numbers of the frames): what is written, where that is a file for each frame."""
    pictures: bool = False
    """Whether the pictures of the video go into the file (unless the options say otherwise)."""

    def shows_pictures(self, options: Mapping[str, Any]) -> bool:
        """Whether with these options pictures of the tracks' own video are written."""
        return self.pictures and options.get("images") is not False and not options.get("video")

    # -- writing ----------------------------------------------------------------------------------

    def write(
        self,
        tracks: Tracks,
        path: str | Path,
        *,
        when: When | None = None,
        threshold: float | None = None,
        gaps: Gaps = "drop",
        start_frame: int | None = None,
        largest: float = LARGEST,
        **options: Any,
    ) -> Path:
        """Write `tracks` to `path` (a folder for formats that are folders). Returns the path.

        Args:
            when, threshold, gaps: which frames become keys and what stands in gaps, see `tapkit.export.select`;
                when=None: "valid" for formats that say of each position whether it is visible, else "visible".
            start_frame: number of the first frame in the file; None: what the program expects.
            largest: refuse to write files that would have more bytes than this.
            options: of this format (`Format.options`).

        Nothing appears at `path` before all is written; on a full disk or Ctrl-C nothing is left behind. Raises
        UsageError (options, names, nothing to write) and StorageError; warns with `ExportWarning` of what is lost.
        """
        self._check_options(options)
        path = Path(path)
        job = self._job(tracks, path, when or ("valid" if self.occlusion else "visible"), threshold, gaps, start_frame)
        estimate = float(job.keys.key.sum()) * self.bytes_per_key if self.size is None else self.size(job, **options)
        if estimate > largest:
            raise UsageError(
                f"{self.name} would take about {estimate / 1e9:.1f} GB, more than {largest / 1e9:.1f}: "
                "write fewer points or frames, or allow it (largest)"
            )
        self._warn(job)
        with storage.staged(path) as target:
            self.writer(job, target, **options)
        return path

    def _job(
        self, tracks: Tracks, path: Path, when: When, threshold: float | None, gaps: Gaps, start_frame: int | None
    ) -> Job:
        if not len(tracks):
            raise UsageError("there are no points to write")
        keys = select(tracks, when, threshold, gaps)
        rows = np.flatnonzero(keys.key.any(1))
        if not len(rows):
            raise UsageError(f"nothing to write: no point is ever {'visible' if when == 'visible' else 'valid'}")
        names = self.names.apply(tracks.ids.tolist())
        if len(rows) < len(tracks) and not self.keeps_empty:
            warnings.warn(
                f"{len(tracks) - len(rows)} of {len(tracks)} points are never {when} and were left out", ExportWarning
            )
            tracks, keys, names = tracks[rows], keys.rows(rows), [names[row] for row in rows]
        return Job(tracks, keys, names, self.number_of_first(tracks.video, start_frame), path)

    def number_of_first(self, video: VideoInfo, start_frame: int | None) -> int:
        """The number that frame 0 has in the file."""
        if start_frame is not None:
            return start_frame
        if self.keeps_start and video.start_frame:
            return video.start_frame
        return self.first_frame

    def _warn(self, job: Job) -> None:
        """Say what the format cannot hold."""
        video = job.video
        if video.variable_rate and self.timing == "constant":
            warnings.warn(
                f"the video has a variable frame rate and {self.name} knows only frames: make its rate "
                "constant before tracking, or the points will wobble against the picture",
                ExportWarning,
            )
        called = "image" in self.options and file_names(video) is not None  # frames go by the names of their files
        if video.frame_step != 1 and self.timing != "times" and not called:
            warnings.warn(
                f"the tracks are of frames that lie {video.frame_step} numbers apart in the footage, and {self.name} "
                f"numbers them one by one, from {job.first}: it fits footage of those frames alone, numbered likewise",
                ExportWarning,
            )
        if video.pixel_aspect != 1 and self.square_only and self.timing == "constant":
            warnings.warn(
                f"{self.name} has no place for the pixel aspect {float(video.pixel_aspect):.4g}: "
                "set it in the program, for the footage",
                ExportWarning,
            )
        if job.tracks.skeleton and not self.skeletons:
            warnings.warn(f"{self.name} has no place for the skeleton: its edges were left out", ExportWarning)
        gaps = sum(len(runs(row)) - 1 for row in job.keys.key) if not self.holds_gaps else 0
        if gaps:
            warnings.warn(
                f"{self.name} moves straight through gaps, of which there are {gaps}: the points are not really there "
                "on those frames",
                ExportWarning,
            )
        if self.most_points is not None and len(job.names) > self.most_points:
            warnings.warn(
                f"{len(job.names)} points are more than {self.name} is made for, about {self.most_points}",
                ExportWarning,
            )

    def _check_options(self, options: Mapping[str, Any]) -> None:
        for name in options:
            if name not in self.options:
                known = f"it has {', '.join(self.options)}" if self.options else "it has none"
                raise UsageError(f"{self.name} has no option {name!r}; {known}")

    # -- reading ----------------------------------------------------------------------------------

    def read(
        self,
        path: str | Path,
        *,
        original: Tracks | None = None,
        video: VideoInfo | None = None,
        start_frame: int | None = None,
        threshold: float | None = None,
        human: Human = "auto",
        animal: str | None = None,
        video_name: str | None = None,
        camera: str | None = None,
        scorer: str | None = None,
        rate_known: bool = True,
    ) -> Tracks:
        """Read what a program wrote.

        Args:
            original: the tracks that were exported: gives the video's facts, and what the file leaves unchanged keeps
                its probabilities; points of the original that are not in the file stay, new ones are added.
            video: facts of the video, where there is no original and the file does not have them.
            start_frame: number that the file gives to the first frame; None: as `write` would number it.
            threshold: with which `original` was exported.
            human: which positions are marked as human keyframes, see `tapkit.export.found.assemble`.
            animal, video_name, camera, scorer: which one is meant, where the file has several. Of several videos the
                one called like `video` is taken by itself; points of one animal are not named after it.

        Raises UsageError (facts are missing, frames or points do not fit, one of several must be chosen) and
        StorageError (not such a file, or one that gives two positions for the same point and frame). What is in the
        file and was not taken is said with `ReadWarning`, one for each kind.
        """
        if self.reader is None:
            raise UsageError(f"{self.name} is for writing only; tapkit reads it no more than the program gives it back")
        path = storage.check_file(path)
        if original is not None:
            video = original.video if original.video.frames else _with_frames(original)
        asked: dict[Kind, str | None] = {"animal": animal, "video": video_name, "camera": camera, "scorer": scorer}
        context = Context(
            path, video, {kind: str(name) for kind, name in asked.items() if name is not None}, rate_known
        )
        try:
            found = self.reader(path, context)
            if start_frame is not None:
                found.first = start_frame
            first = self.first_frame if video is None else self.number_of_first(video, None)
            tracks = assemble(found, context, first, original, self.names.apply, threshold, human)
        except TapkitError:
            raise
        except MemoryError as error:
            raise context.damaged("it asks for more memory than there is") from error
        except Exception as error:
            cause = storage.cause(error).replace(str(path), path.name)[:100]
            raise context.damaged(f"it is not {self.description}, or damaged ({cause})") from error
        context.report()
        return tracks


def _with_frames(tracks: Tracks) -> VideoInfo:
    return replace(tracks.video, frames=tracks.frames)


def flag(text: str) -> bool:
    """yes or no, as written on a command line."""
    known = {"yes": True, "true": True, "1": True, "on": True, "no": False, "false": False, "0": False, "off": False}
    if text.lower() not in known:
        raise UsageError(f"expected yes or no, got {text!r}")
    return known[text.lower()]
