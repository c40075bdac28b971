"""DeepLabCut: labelled data of a project (CollectedData_SCORER.csv and .h5) and predictions (csv and h5).

Pixel centres are integers (DeepLabCut does not say; its own tools index arrays with these numbers). Missing
positions are empty cells. Tables are pandas frames with the columns scorer, bodyparts, coords.
"""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tapkit import coords
from tapkit.errors import StorageError, UsageError, require
from tapkit.export.context import Context, listed
from tapkit.export.format import ExportWarning, Format, Job, Option, flag
from tapkit.export.found import Found
from tapkit.export.text import NameRule, read_text
from tapkit.types.sheet import delimiter_of
from tapkit.video.numbers import numbers_of

EXTRA = "dlc"
KEY = "df_with_missing"
_TABLE_COLUMNS = 1200
"""HDF5 keeps column names in a header of 64 KB: wider frames get pandas' "fixed" layout, read in the same way."""


def _frame(job: Job, frames: np.ndarray, scorer: str, index: Any, likelihood: bool) -> Any:
    """The pandas frame: a row for each of `frames`, columns (scorer, bodypart, x | y | likelihood)."""
    pandas = require("pandas", EXTRA)
    if not re.fullmatch(r"[^\W_][\w .-]{0,59}", scorer):
        raise UsageError(f"the scorer becomes a part of file names: letters, digits, . _ - only, got {scorer[:60]!r}")
    xy = coords.to_centers(job.keys.xy[:, frames])
    parts, axes = [xy[..., 0], xy[..., 1]], ["x", "y"]
    if likelihood:
        parts.append(np.where(job.keys.key, job.tracks.visible * job.tracks.confidence, np.nan)[:, frames])
        axes.append("likelihood")
    values = np.stack(parts, 1).reshape(-1, len(frames)).T
    columns = pandas.MultiIndex.from_product([[scorer], job.names, axes], names=["scorer", "bodyparts", "coords"])
    return pandas.DataFrame(np.ascontiguousarray(values, dtype=np.float64), columns=columns, index=index)


def _say_skeleton(job: Job) -> None:
    """Where DeepLabCut keeps a skeleton: in its project's configuration, which is not ours to write."""
    if job.edges:
        pairs = ", ".join(f"[{job.names[a]}, {job.names[b]}]" for a, b in job.edges)
        warnings.warn(
            f"DeepLabCut keeps the skeleton in the project's config.yaml: set it there to skeleton: [{pairs}]",
            ExportWarning,
        )


def _store(frame: Any, target: Path) -> None:
    """Both files beside each other: the CSV to read by eye, the HDF5 that DeepLabCut opens."""
    tables = require("tables", EXTRA)
    layout = "table" if frame.shape[1] <= _TABLE_COLUMNS and frame.index.nlevels == 1 else "fixed"
    try:
        frame.to_hdf(target.with_suffix(".h5"), key=KEY, mode="w", format=layout)
    except tables.exceptions.HDF5ExtError as error:  # a paragraph of HDF5's own; the table itself is sound
        raise StorageError(f"cannot write {target.with_suffix('.h5').name}: is the disk full?") from error
    frame.to_csv(target.with_suffix(".csv"))


def _labelled(job: Job, target: Path, scorer: str = "tapkit", frames: str = "labelled", images: bool = True) -> None:
    """A folder labeled-data/VIDEO: the table, and the pictures of its rows cut out of the video."""
    pandas = require("pandas", EXTRA)
    _say_skeleton(job)
    chosen = _chosen(job, frames)
    digits = len(str(job.tracks.frames - 1 + job.first))
    names = [f"img{job.first + t:0{digits}d}.png" for t in chosen.tolist()]
    folder = job.path.name
    index = pandas.MultiIndex.from_tuples([("labeled-data", folder, name) for name in names])
    target.mkdir()
    if images:
        _pictures(job, chosen, [target / name for name in names])
    _store(_frame(job, chosen, scorer, index, False), target / f"CollectedData_{scorer}")


def _chosen(job: Job, frames: str) -> np.ndarray:
    """Frames to write: "labelled" those with human keyframes (else those of the queries), "all", or every n-th."""
    present: np.ndarray = np.any(job.keys.key, axis=0)
    if frames == "labelled":
        wanted: np.ndarray = np.any(job.keyframe, axis=0)
        if not wanted.any():
            wanted = np.isin(np.arange(len(present)), job.tracks.queries.t)
    elif frames == "all":
        wanted = np.ones(len(present), bool)
    elif re.fullmatch(r"[1-9]\d{0,99}", frames):
        wanted = np.arange(len(present)) % min(int(frames), len(present)) == 0
    else:
        raise UsageError(f"frames must be labelled, all, or a number n for every n-th frame, got {frames!r}")
    chosen = np.flatnonzero(present & wanted)
    if not len(chosen):
        raise UsageError(f"no point has a position on the chosen frames (frames={frames}): try frames=all")
    return chosen


def _pictures(job: Job, frames: np.ndarray, paths: list[Path]) -> None:
    """Save those frames of the video as PNG."""
    from PIL import Image

    from tapkit.video.span import footage_of

    if not job.video.path:
        raise UsageError("DeepLabCut needs pictures but the tracks do not know their video: images=no goes without")
    with footage_of(job.video) as source:
        for frame, path in zip(frames.tolist(), paths, strict=True):
            Image.fromarray(source.read(frame).image).save(path)


def _predictions(job: Job, target: Path, scorer: str = "tapkit") -> None:
    _say_skeleton(job)
    frames = np.arange(job.tracks.frames)
    _store(_frame(job, frames, scorer, frames, True), target)


# -- reading ------------------------------------------------------------------------------------------


_HEADS = ("scorer", "individuals", "bodyparts", "coords")


def _load(path: Path, context: Context) -> Any:
    """The pandas frame of a CSV or HDF5 file, or of the CollectedData file in a folder."""
    pandas = require("pandas", EXTRA)
    if path.is_dir():
        path = _collected(path, context)
    if path.suffix.lower() in (".h5", ".hdf5"):
        require("tables", EXTRA)
        with pandas.HDFStore(path, "r") as store:
            keys = [key.strip("/") for key in list(store)]
            if not keys:
                raise context.damaged("it has no table")
            if len(keys) > 1 and KEY not in keys:
                raise UsageError(f"{path.name} has several tables ({listed(keys)}), none of them called {KEY}")
            return store[KEY if KEY in keys else keys[0]]
    text = read_text(path)
    lines = text.split("\n", 4)
    separator = delimiter_of(lines[0])
    heads = 0
    while heads < min(4, len(lines)) and lines[heads].split(separator)[0].strip('"') in _HEADS:
        heads += 1
    if heads < 3:
        raise context.damaged("it does not begin with the rows scorer, bodyparts, coords")
    depth = next(n for n, cell in enumerate(lines[0].split(separator)[1:], 1) if cell)
    return pandas.read_csv(
        io.StringIO(text), sep=separator, decimal="." if separator == "," else ",", header=list(range(heads)),
        index_col=list(range(depth)),
    )  # fmt: skip


def _collected(folder: Path, context: Context) -> Path:
    """The CollectedData file of the scorer that is meant."""
    files = sorted(folder.glob("CollectedData_*.csv")) + sorted(folder.glob("CollectedData_*.h5"))
    if not files:
        raise context.damaged("there is no CollectedData file in the folder")
    scorers = {file.stem.removeprefix("CollectedData_"): file for file in files}  # the HDF5 file is the one that counts
    return scorers[context.one("scorer", sorted(scorers), first=True)]


def _read(path: Path, context: Context) -> Found:
    """Labelled data (all positions are human) or predictions (none is); points of several animals: ANIMAL.PART."""
    frame = _load(path, context)
    levels = list(frame.columns.names)
    if "bodyparts" not in levels or "coords" not in levels:
        raise context.damaged("its columns are not scorer, bodyparts, coords")
    frame = _chosen_columns(frame, context)
    labelled = frame.index.nlevels > 1 or isinstance(frame.index[0], str)
    rows, numbers = _rows(frame.index.tolist(), context)
    frame = frame.iloc[rows]
    tracks, likelihood = [], []
    order = list(dict.fromkeys(column[:-1] for column in frame.columns.tolist()))
    animals = context.some("animal", [part[-2] for part in order]) if "individuals" in levels else []
    for part in order:
        if animals and part[-2] not in animals:
            continue
        x, y = (_column(frame, (*part, axis)) for axis in "xy")
        known = np.isfinite(x) & np.isfinite(y)
        name = part[-1] if "animal" in context.wanted else ".".join(part[1:])
        tracks.append((name, numbers[known], *coords.from_centers(np.stack([x, y])[:, known])))
        score = (*part, "likelihood")
        sure = _column(frame, score) if score in frame.columns else np.ones(len(x))
        likelihood.append(np.nan_to_num(sure[known]))
    sure = np.clip(np.concatenate([np.zeros(0), *likelihood]), 0, 1)
    return Found.of(
        tracks, visible=sure, visible_edited=False, human=np.full(len(sure), labelled),
        frames=None if labelled else int(numbers.max()) + 1,
        first=None if labelled else 0,
    )  # fmt: skip


def _chosen_columns(frame: Any, context: Context) -> Any:
    """The table with the columns of one scorer, all their names being texts (body parts may be called 1, 2, ...)."""
    names = list(frame.columns.names)
    columns = [tuple(str(cell) for cell in column) for column in frame.columns.tolist()]
    axis = names.index("coords")
    frame = frame.set_axis(type(frame.columns).from_tuples(columns, names=names), axis=1)
    frame = frame.loc[:, [column[axis] in ("x", "y", "likelihood") for column in columns]]
    if "scorer" in names:
        scorers = frame.columns.get_level_values("scorer")
        frame = frame.loc[:, scorers == context.one("scorer", scorers.tolist(), first=True)]
    twice = frame.columns[frame.columns.duplicated()].tolist()
    if twice:
        raise context.damaged(f"it has the column {' '.join(twice[0])} twice")
    return frame


def _column(frame: Any, name: tuple[str, ...]) -> np.ndarray:
    values: np.ndarray = frame[name].to_numpy(float)
    return values


def _rows(rows: list[Any], context: Context) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are of the video that is meant, and their frames: numbers, or what the names of pictures say."""
    every = np.arange(len(rows))
    if all(isinstance(row, (int, float, np.integer)) and row == int(row) for row in rows):
        return every, np.array(rows, np.int64)
    names = [PurePosixPath("/".join(row) if isinstance(row, tuple) else row.replace("\\", "/")) for row in rows]
    videos = [str(name.parent.name) for name in names]
    chosen = context.one("video", videos)
    here = every[[video == chosen for video in videos]]
    numbers = numbers_of([names[row].name for row in here])
    if numbers.values is None:
        why = f" ({numbers.note})" if numbers.note else ""
        raise UsageError(f"{context.path.name}: the names of the pictures, such as {names[0].name!r}, do not say "
                         f"their frame numbers{why}")  # fmt: skip
    if numbers.note:
        context.say(numbers.note)
    return here, np.array(numbers.values, np.int64)


_PARTS = NameRule(r"[^\w-]", 60, letter_first=True)
_SCORER = Option(str, "the scorer: who labelled, as in config.yaml")


DEEPLABCUT = Format(
    "dlc", "/", "DeepLabCut labelled data (a folder labeled-data/VIDEO)", _labelled, _read, _PARTS, timing="index",
    skeletons=True, pictures=True, bytes_per_key=40, options={
        "scorer": _SCORER, "images": Option(flag, "no: without the pictures"),
        "frames": Option(str, "labelled (human keyframes, else queries), all, or n for every n-th"),
    },
)  # fmt: skip
DEEPLABCUT_PREDICTIONS = Format(
    "dlc-predictions", ".h5", "DeepLabCut predictions (h5 and csv)", _predictions, _read, _PARTS, occlusion=True,
    timing="index", keeps_empty=True, skeletons=True, bytes_per_key=75, options={"scorer": _SCORER},
)  # fmt: skip
