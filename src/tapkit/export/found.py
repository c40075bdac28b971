"""What a file said, and how it becomes `Tracks` again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np

from tapkit.errors import StorageError, UsageError
from tapkit.export.context import Context
from tapkit.types import Provenance, Queries, Tracks, VideoInfo
from tapkit.types.extent import check_extent
from tapkit.types.skeleton import Skeleton, among, renamed
from tapkit.types.table import scatter

__all__ = ["MOVED", "Context", "Found", "Human", "assemble", "unique"]

Human = Literal["auto", "marks", "changed", "all", "none"]
FILM, HANDLES = 1001, 100
"""The number that film gives to the first frame of a shot, and how far its first key may be from that."""
MOVED = 0.01
"""Pixels by which a position must differ from the original to count as set by a human: well above what formats
round away, well below what a hand can do."""


@dataclass
class Found:
    """Positions found in a file, K of them, in tapkit's coordinates; and what it says about the video."""

    names: list[str]
    """Of the points, in the file's order."""
    point: np.ndarray
    """[K] int: index into `names`."""
    frame: np.ndarray
    """[K] int: number in the file's own counting."""
    xy: np.ndarray
    """[K,2] float64."""
    visible: np.ndarray | None = None
    """[K] probability; None: every position in the file is visible."""
    confidence: np.ndarray | None = None
    human: np.ndarray | None = None
    """[K] bool: marked in the file as set by a human; None: it has no such marks."""
    width: int | None = None
    height: int | None = None
    fps: Fraction | None = None
    pixel_aspect: Fraction | None = None
    frames: int | None = None
    first: int | None = None
    """Number of frame 0, where the file says so."""
    video: VideoInfo | None = None
    """Everything about the video, where the file says it: then the facts above are not needed."""
    source: Provenance | None = None
    """Where the positions come from, where the file says so."""
    query: np.ndarray | None = None
    """[K] bool: the point was asked for here."""
    visible_edited: bool = True
    """Whether `visible` is a thing that people edit in the program (False: a score that stands in for it)."""
    beyond: bool = False
    """Whether the program keeps keys outside of the clip's range: they are then left out, and counted."""
    skeleton: Skeleton = ()
    """Edges between points, by the names above; those of points without positions are left out."""
    positional: bool = False
    """Whether names are made up by the format, so that points are told apart by their order alone."""

    @classmethod
    def of(cls, tracks: Sequence[tuple[str, Any, Any, Any]], **facts: Any) -> Found:
        """From (name, frame numbers, xs, ys) of each point; names that occur twice get a number."""
        lengths = [len(t[1]) for t in tracks]

        def column(part: int, dtype: type) -> np.ndarray:
            return np.concatenate([np.zeros(0, dtype), *(np.asarray(t[part], dtype=dtype) for t in tracks)])

        xy = np.stack([column(2, float), column(3, float)], 1)
        return cls(
            unique([t[0] for t in tracks]), np.repeat(np.arange(len(tracks)), lengths), column(1, int), xy, **facts
        )

    def keep(self, rows: np.ndarray) -> None:
        """Forget all positions but those of `rows` [K] bool."""
        for name in ("point", "frame", "xy", "visible", "confidence", "human", "query"):
            values = getattr(self, name)
            setattr(self, name, None if values is None else values[rows])


def unique(names: Sequence[str]) -> list[str]:
    """The names with a number added to those that occurred before."""
    from tapkit.export.text import NameRule

    return NameRule(forbidden=r"(?!)", longest=10_000).apply(names)


def assemble(
    found: Found,
    context: Context,
    first: int,
    original: Tracks | None,
    rename: Callable[[Sequence[str]], list[str]],
    threshold: float | None = None,
    human: Human = "auto",
) -> Tracks:
    """`Tracks` of what was found.

    Args:
        first: number that the format gives to frame 0, used where the file does not say it.
        original: the result that was exported; what the file leaves unchanged keeps its probabilities.
        rename: how the format changes names, so that points are recognised again.
        threshold: with which `original` was exported: says which positions are missing because a human removed them.
        human: "marks": positions that the file marks as set by hand; "changed": those that differ from the original;
            "all"; "none". "auto": changed if there is an original, else marks if the format has them, else all,
            since hand work taken for a prediction is lost at the next re-tracking, and the reverse loses nothing.
    """
    if human not in get_args(Human):
        raise UsageError(f"human must be one of {', '.join(get_args(Human))}, got {human!r}")
    if human == "changed" and original is None:
        raise UsageError("to mark what was changed, the original tracks are needed")
    if human == "marks" and found.human is None:
        raise UsageError(f"{context.path.name} does not mark what a human set: choose changed, all or none")
    if not len(found.names):
        raise context.damaged("there are no points in it")
    _check_finite(found, context)
    video = _video(found, context, first)
    fresh = _scatter(found, video, context, human)
    edges = tuple(edge for edge in among(found.skeleton, fresh.ids.tolist()) if edge[0] != edge[1])
    if original is None:
        return fresh.with_(skeleton=edges)
    rows = _rows(found, original, rename, threshold, context)
    flags = found.visible is not None and found.visible_edited
    merged = _merge(fresh, original, rows, threshold, human, flags)
    ours = {name: name for name in fresh.ids.tolist()} | {name: str(original.ids[row]) for name, row in rows.items()}
    # What the file says of edges counts; a program that drops them does not mean that there are none.
    return merged.with_(skeleton=renamed(edges, ours)) if edges else merged


def _check_finite(found: Found, context: Context) -> None:
    if not np.isfinite(found.xy).all():
        worst = int(np.flatnonzero(~np.isfinite(found.xy).all(1))[0])
        raise context.damaged(
            f"the position of {found.names[found.point[worst]]!r} on frame {found.frame[worst]} is not a number"
        )


def _video(found: Found, context: Context, first: int) -> VideoInfo:
    """Facts of the video: the caller's where given, else the file's. Its `start_frame` says what frame 0 is called."""
    given, start = context.video, first if found.first is None else found.first
    unsaid = found.first is None and found.video is None and (given is None or given.frames is None)
    start = _first_of(found, context, start) if unsaid else start
    last = int(found.frame.max()) - start + 1 if len(found.frame) else 0
    if given is not None:
        frames = given.frames if given.frames is not None else max(last, found.frames or 0)
        fps = found.fps if found.fps and not context.rate_known else given.fps
        video = replace(given, frames=frames, fps=fps)
        _compare(found, given, context)
    else:
        video = found.video or _facts(found, context, last)
    if unsaid and start != first:
        video = replace(video, start_frame=start)
    check_extent(len(found.names), max(video.frames or 0, found.frames or 0))
    index = found.frame - start
    outside = (index < 0) | (index >= (video.frames or 0))
    if outside.any() and found.beyond and 2 * outside.sum() < len(index):
        context.left_out(
            f"keys outside of the clip, whose frames are {start} to {start + (video.frames or 0) - 1}",
            int(outside.sum()),
        )
        found.keep(~outside)
        index = index[~outside]
    elif outside.any():
        raise UsageError(
            f"{context.path.name} has frame {found.frame[outside][0]}, but the clip has frames {start} to "
            f"{start + (video.frames or 0) - 1}: is it of another clip, or is its first frame not number {start}?"
        )
    found.frame = index
    return video


def _first_of(found: Found, context: Context, usual: int) -> int:
    """The number of frame 0 where nobody says it: that of the format, or 1001, from which shots are numbered in film.

    Frames before a shot ("handles") may have lower numbers, points that appear later begin with higher ones.
    """
    lowest = int(found.frame.min()) if len(found.frame) else usual
    if lowest - usual < FILM - HANDLES:
        return usual
    start = min(lowest, FILM) if lowest < FILM + HANDLES else usual
    if start != usual:
        context.say(
            f"its keys begin at {lowest} and nothing says what the first frame is called: {start} was taken "
            f"(--start-frame {usual} counts from there)"
        )
    else:
        context.say(f"its keys begin at {lowest}: if that is where the clip begins, give --start-frame")
    return start


def _compare(found: Found, given: VideoInfo, context: Context) -> None:
    """Say where the file was made for pictures of another size than the caller's video has."""
    theirs = (found.height, found.width) if found.video is None else found.video.size
    if None not in theirs and theirs != given.size:
        context.say(
            f"it is of pictures of {theirs[1]:g}x{theirs[0]:g}, the video has {given.width}x{given.height}: "
            "positions were taken as pixels of the video"
        )


def _facts(found: Found, context: Context, last: int) -> VideoInfo:
    height, width = context.size(found.width, found.height)
    frames = max(found.frames or 0, last, 1)
    aspect = found.pixel_aspect or Fraction(1)
    return VideoInfo(width, height, found.fps or Fraction(25), frames, pixel_aspect=aspect)


def _scatter(found: Found, video: VideoInfo, context: Context, human: Human) -> Tracks:
    """The positions as `Tracks`, one row for each point that has any."""
    marks = found.human if human in ("auto", "marks") else None
    keyframe = (human in ("auto", "all")) if marks is None else marks
    source = found.source or Provenance(options={"imported_from": context.path.name})
    if not len(found.point):
        raise context.damaged("none of its points has a position")
    try:
        return scatter(found, found.frame, keyframe, video, source)
    except StorageError as error:
        raise context.damaged(str(error)) from error


def _rows(
    found: Found,
    original: Tracks,
    rename: Callable[[Sequence[str]], list[str]],
    threshold: float | None,
    context: Context,
) -> dict[str, int]:
    """Name in the file -> row of the original."""
    if not found.positional:
        return {name: row for row, name in enumerate(rename(original.ids.tolist()))}
    shown = np.flatnonzero(original.visible_at(threshold).any(1))
    rows = shown if len(found.names) == len(shown) else np.arange(len(original))
    if len(rows) != len(found.names):
        raise UsageError(
            f"{context.path.name} has {len(found.names)} points without names, the original tracks have {len(rows)}: "
            "which is which cannot be told"
        )
    return dict(zip(found.names, rows.tolist(), strict=True))


def _merge(
    fresh: Tracks, original: Tracks, rows: dict[str, int], threshold: float | None, human: Human, flags: bool
) -> Tracks:
    """The original with what differs in the file; points that are only in the file come last.

    Differing: a position that moved or is new, one that is gone although it was visible, and, if the file has `flags`
    of visibility, one whose flag was switched. Hidden positions on frames that were never asked for are fillers.
    """
    assert fresh.keyframe is not None and original.keyframe is not None
    known = np.array([name in rows for name in fresh.ids.tolist()], dtype=bool)
    row = np.array([rows[name] for name in fresh.ids[known].tolist()], dtype=int)
    xy, visible = original.xy.copy(), original.visible.copy()
    confidence, valid, keyframe = original.confidence.copy(), original.valid.copy(), original.keyframe.copy()
    given = fresh.valid[known]
    with np.errstate(invalid="ignore"):
        moved = given & ~(np.abs(fresh.xy[known] - xy[row]).max(-1) <= MOVED)
    shown, theirs = original.visible_at(threshold)[row], fresh.visible[known]
    moved &= original.valid[row] | (theirs > 0.5)
    removed = ~given & shown
    differs = ((theirs > 0.5) != shown) & (np.abs(theirs - visible[row]) > 1e-3)
    switched = given & original.valid[row] & differs if flags else np.zeros_like(moved)
    changed = moved | removed | switched
    xy[row] = np.where(moved[..., None], fresh.xy[known], xy[row])
    valid[row] |= moved
    certain = (theirs > 0.5).astype(np.float32)  # what a human says is no matter of probability
    visible[row] = np.where(moved | switched, certain, np.where(removed, 0.0, visible[row]))
    confidence[row] = np.where(moved, 1.0, confidence[row])
    if human in ("auto", "changed"):
        keyframe[row] |= changed
    elif human != "none":
        keyframe[row] = fresh.keyframe[known]
    queries = _queries_on(original.queries, xy, row, changed)
    merged = original.with_(
        xy=xy, visible=visible, confidence=confidence, valid=valid, keyframe=keyframe, queries=queries
    )
    added = np.flatnonzero(~known)
    return Tracks.join([merged, fresh[added].with_(video=merged.video)]) if len(added) else merged


def _queries_on(queries: Queries, xy: np.ndarray, row: np.ndarray, changed: np.ndarray) -> Queries:
    """The queries, moved along where a human moved the very position that was asked about."""
    positions = queries.xy.copy()
    here = changed[np.arange(len(row)), queries.t[row]]
    positions[row[here]] = xy[row[here], queries.t[row[here]]]
    return Queries(queries.t, positions, queries.ids)
