"""Videos in, labelled clips out: `label_video` for one, `label_videos` for several."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import storage
from tapkit.datasets.base import Clip
from tapkit.datasets.folder import TRACKS, write_clip
from tapkit.errors import StorageError, TapkitError, UsageError, VideoError, one_line
from tapkit.train.pseudo import dataset
from tapkit.train.pseudo.corners import queries
from tapkit.train.pseudo.follow import WORDS, Fate, Labels, ask
from tapkit.train.pseudo.options import LabelOptions
from tapkit.train.pseudo.pieces import Piece, Scene, draw, read, scenes
from tapkit.train.pseudo.report import jpeg, write_report
from tapkit.train.pseudo.teachers import Committee
from tapkit.video import open_video
from tapkit.video.base import Source

Say = Callable[[str], None]


@dataclass(frozen=True)
class VideoReport:
    """What became of one video."""

    video: str
    """Its name."""
    pieces: tuple[dict[str, Any], ...] = ()
    """For each: name, kept, why not, teachers, numbers of tracks by their fate."""
    error: str = ""
    """Why the video could not be read; empty if it could."""

    @property
    def kept(self) -> int:
        """Clips that were written."""
        return sum(bool(each["kept"]) for each in self.pieces)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"video": self.video, "kept": self.kept, "pieces": list(self.pieces), "error": self.error}


def label_video(
    video: str | Path, out: str | Path, options: LabelOptions, committee: Committee | None = None
) -> VideoReport:
    """Label `options.pieces` pieces of a video; those that hold up become clips OUT/NAME-00, OUT/NAME-01, ...

    What is written depends on the video, its file's name and the options alone, not on other videos nor on what ran
    before. Pieces that are done are left as they are, so that an interrupted run is repeated at no cost.

    Args:
        video: anything `tapkit.open_video` takes by name.
        out: folder of labels, made if need be; several processes may write to it.
        options: see there; `options.seed` decides which pieces, queries and teachers are drawn.
        committee: the teachers, to be shared by several calls; None: loaded for this one.

    Raises:
        VideoError: the video cannot be read.
        UsageError: OUT holds other things, or labels made with other options.
        WeightsError, MissingExtra: a teacher cannot be loaded.
        StorageError: OUT cannot be written.
    """
    folder = dataset.claim(out, options)
    committee = committee or Committee(options)
    name = Path(str(video).rstrip("/")).name
    stem = storage.file_name(name)
    found: list[Scene] | None = None
    pieces = []
    for number in range(options.pieces):
        label = f"{stem}-{number:02d}"
        record = _done(folder, label)
        if record is None:
            random = np.random.default_rng([options.seed, zlib.crc32(name.encode("utf-8", "surrogatepass")), number])
            with open_video(video) as source:
                found = scenes(source, options.cuts) if found is None else found
                record = _label_piece(source, name, label, found, folder, options, committee, random)
        pieces.append(record)
    return VideoReport(name, tuple(pieces))


def _done(folder: Path, label: str) -> dict[str, Any] | None:
    path = dataset.record_file(folder, label)
    if not path.is_file():
        return None
    record = dataset.read_json(path)
    whole = not record.get("kept") or (folder / label / TRACKS).is_file()
    return record if whole else None


def _label_piece(
    source: Source,
    name: str,
    label: str,
    found: list[Scene],
    folder: Path,
    options: LabelOptions,
    committee: Committee,
    random: np.random.Generator,
) -> dict[str, Any]:
    """Label one piece, write its clip if it is kept, then its picture and its record; returns the record."""
    record: dict[str, Any] = {"name": label, "video": name, "kept": False, "why": "", "scenes": len(found)}
    teachers = list(options.teachers)
    if not options.agree:
        teachers = [teachers[int(random.integers(len(teachers)))]]
    record["teachers"] = teachers
    piece = draw(found, source.info.size, options, random)
    if isinstance(piece, str):
        record["why"] = piece
        return _write_record(folder, label, record, None)
    video = read(source, piece)
    asked = queries(video, options, random)
    record |= _where(piece) | {"asked": len(asked.rows), "without_texture": asked.plain}
    least = max(round(options.least * options.points), 1)
    labels = None
    if len(asked.rows) < least:
        record["why"] = f"{len(asked.rows)} corners with texture, of {least} at least"
    else:
        labels = ask(video, asked.rows, teachers, committee, options)
        record["tracks"] = {WORDS[fate]: int((labels.fate == fate).sum()) for fate in Fate}
        kept = labels.fate == Fate.KEPT
        record["seen"] = round(float(labels.visible[kept].mean()), 3) if kept.any() else 0.0
        if kept.sum() < least:
            record["why"] = f"{int(kept.sum())} tracks hold up, of {least} at least"
        else:
            record["kept"] = True
            facts = {"teachers": ",".join(teachers), "source": name, "first": piece.times[0], "pace": piece.step}
            write_clip(
                folder / label,
                _clip(label, video, labels, kept, source),
                **{key: np.array(value) for key, value in facts.items()},
            )
    return _write_record(folder, label, record, jpeg(video, asked.rows, labels))


def _where(piece: Piece) -> dict[str, Any]:
    return {
        "frames": len(piece.times),
        "first": min(piece.times),
        "last": max(piece.times),
        "step": piece.step,
        "mirrored": piece.mirrored,
        "corner": list(piece.corner),
        "size": list(piece.size),
    }


def _clip(label: str, video: np.ndarray, labels: Labels, kept: np.ndarray, source: Source) -> Clip:
    """The kept tracks as a clip; what is not believed has no position."""
    xy = np.where(labels.counted[kept, :, None], labels.xy[kept], np.nan)
    fps = source.info.fps
    return Clip(
        label, xy, labels.visible[kept], (video.shape[1], video.shape[2]), lambda: open_video(video, fps=fps),
        counted=labels.counted[kept],
    )  # fmt: skip


def _write_record(folder: Path, label: str, record: dict[str, Any], picture: bytes | None) -> dict[str, Any]:
    if picture is not None:
        with storage.atomic(dataset.picture_file(folder, label)) as part:
            part.write_bytes(picture)
    storage.write_text(dataset.record_file(folder, label), json.dumps(record, indent=1) + "\n")
    return record


def label_videos(
    videos: Sequence[str | Path],
    out: str | Path,
    options: LabelOptions,
    say: Say | None = None,
) -> list[VideoReport]:
    """Label several videos one after another, and write OUT/report.html and OUT/report.json of all of them.

    A video that cannot be read is reported and passed over. `say` is called with a line for each piece.

    Raises as `label_video`, `VideoError` only if not one of them opens; `UsageError` for two videos of one name.
    """
    if not videos:
        raise StorageError("there is no video to label")
    names = [Path(str(video).rstrip("/")).name for video in videos]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two videos are called {twice[0]}: their clips would have the same names; rename one")
    tell = say or (lambda _: None)
    _check_one_opens(videos)  # before weights are fetched
    folder = dataset.claim(out, options)
    committee = Committee(options)
    committee.load()
    reports: list[VideoReport] = []
    try:
        for number, (video, name) in enumerate(zip(videos, names, strict=True), 1):
            where = f"[{number}/{len(videos)}] {name}"
            try:
                report = label_video(video, folder, options, committee)
            except VideoError as error:
                report = VideoReport(name, error=one_line(str(error)))
                tell(one_line(f"{where}: failed: {error}"))
            reports.append(report)
            for piece in report.pieces:
                tell(one_line(f"{where}: {sentence(piece)}"))
    except BaseException:
        with suppress(TapkitError):  # what ended the run is told, not that there is no report of it either
            write_report(folder, _failures(reports))
        raise
    write_report(folder, _failures(reports))
    return reports


def _check_one_opens(videos: Sequence[str | Path]) -> None:
    """Raise the first `VideoError` where there is not one video that opens."""
    errors = []
    for video in videos:
        try:
            with open_video(video):
                return
        except VideoError as error:
            errors.append(error)
    raise errors[0]


def _failures(reports: list[VideoReport]) -> dict[str, str]:
    return {report.video: report.error for report in reports if report.error}


def sentence(piece: dict[str, Any]) -> str:
    """A record in words."""
    by = ", ".join(piece["teachers"])
    if not piece["kept"]:
        return f"thrown away ({by}): {piece['why']}"
    return f"{piece['tracks'][WORDS[Fate.KEPT]]} of {piece['asked']} tracks of {by} hold up"
