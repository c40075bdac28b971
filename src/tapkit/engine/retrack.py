"""Corrected tracks, tracked again where they were corrected and nowhere else.

The positions that a track passes through, its query and the keyframes that a human set, are its *anchors*. They divide
the clip into stretches: from its first frame to the first anchor, from anchor to anchor, from the last anchor to its
last frame. A stretch is computed again if an anchor at one of its ends is new or has moved, or if one within it is
gone; all other frames of all points stay what they are, bit for bit.

Tracks say which keyframes they pass through already (`source.options["through"]`, see `through`); all other keyframes
in them are new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tapkit.engine.control import Progress
from tapkit.errors import ShapeError, UsageError
from tapkit.types import Keyframes, Provenance, Queries, Tracks, VideoInfo
from tapkit.video.base import Source
from tapkit.video.span import Span
from tapkit.video.using import using

if TYPE_CHECKING:
    from tapkit.engine.tracker import Tracker

MOST_RECORDED = 10_000
"""Keyframes that are recorded in a result; of more than that none is, and all count as new the next time."""


class Anchor(NamedTuple):
    """A position that a track passes through: pixels of the video, corner origin."""

    x: float
    y: float
    human: bool


AnchorsOf = dict[int, Anchor]
"""Anchors of one point, by frame."""


@dataclass(frozen=True)
class Stretch:
    """Frames `start` to `stop` (both included) between anchors, for the points `rows`, which have the same ones there.

    `left`, `right`: whether there is an anchor on `start` and on `stop`; anchors' own frames are not computed.
    """

    start: int
    stop: int
    left: bool
    right: bool
    rows: tuple[int, ...]

    @property
    def inner(self) -> slice:
        """The frames that are computed."""
        return slice(self.start + self.left, self.stop + (not self.right))

    @property
    def positions(self) -> int:
        """How many positions are computed: frames x points."""
        return (self.inner.stop - self.inner.start) * len(self.rows)


@dataclass(frozen=True)
class Plan:
    """What is to be computed again: `stretches`; `after` [N] anchors of each point; `changed` (row, frame)."""

    stretches: tuple[Stretch, ...]
    after: tuple[AnchorsOf, ...]
    changed: tuple[tuple[int, int], ...]


def through(keyframes: Keyframes) -> list[list[Any]]:
    """Keyframes as a result records them: [id, frame, x, y] each, JSON values."""
    if len(keyframes) > MOST_RECORDED:
        return []
    rows = zip(keyframes.ids.tolist(), keyframes.t.tolist(), keyframes.xy.tolist(), strict=True)
    return [[name, t, x, y] for name, t, (x, y) in rows]


def with_keyframes(tracks: Tracks, keyframes: Keyframes) -> Tracks:
    """The tracks with more keyframes: positions set by a human, visible for certain.

    Raises `QueryError` for an unknown point, or a position outside the clip.
    """
    keyframes.check(tracks.video.size, tracks.frames)
    rows, t = keyframes.rows(tracks.queries), keyframes.t
    arrays = {name: getattr(tracks, name).copy() for name in ("xy", "visible", "confidence", "valid", "keyframe")}
    arrays["xy"][rows, t] = keyframes.xy
    for name in ("visible", "confidence", "valid", "keyframe"):
        arrays[name][rows, t] = 1
    return tracks.with_(**arrays)


def plan_retrack(tracks: Tracks) -> Plan:
    """Which stretches of corrected tracks are to be computed again."""
    recorded: dict[str, AnchorsOf] = defaultdict(dict)
    for name, t, x, y in tracks.source.options.get("through", []):
        recorded[name][int(t)] = Anchor(float(x), float(y), True)
    keyframes = tracks.keyframes()
    human: dict[str, AnchorsOf] = defaultdict(dict)
    for name, t, (x, y) in zip(keyframes.ids.tolist(), keyframes.t.tolist(), keyframes.xy.tolist(), strict=True):
        human[name][t] = Anchor(x, y, True)
    ends: dict[tuple[int, int, bool, bool], list[int]] = defaultdict(list)
    every, changed = [], []
    for row, (name, (t, x, y)) in enumerate(zip(tracks.ids.tolist(), tracks.queries, strict=True)):
        query = {t: Anchor(x, y, False)}
        before, after = {**query, **recorded.get(name, {})}, {**query, **human.get(name, {})}
        every.append(after)
        if before == after:
            continue
        new = {t for t, anchor in after.items() if before.get(t) != anchor}
        changed += [(row, t) for t in sorted(new)]
        for ending in _touched(sorted(after), new, before.keys() - after.keys(), tracks.frames):
            ends[ending].append(row)
    stretches = tuple(Stretch(*ending, tuple(rows)) for ending, rows in sorted(ends.items()))
    return Plan(tuple(s for s in stretches if s.positions), tuple(every), tuple(changed))


def _touched(
    anchors: Sequence[int], new: set[int], gone: set[int], frames: int
) -> Iterator[tuple[int, int, bool, bool]]:
    """(start, stop, left, right) of the stretches next to `new` anchors or around those that are `gone`."""
    edges = [(0, False), *((t, True) for t in anchors), (frames - 1, False)]
    for (start, left), (stop, right) in pairwise(edges):
        near = (left and start in new) or (right and stop in new)
        if near or any(start <= t <= stop for t in gone):
            yield start, stop, left, right


def retrack(
    tracker: Tracker,
    video: Any,
    tracks: Tracks,
    *,
    memory: str | int | None = None,
    progress: Callable[[Progress], object] | None = None,
    plan: Plan | None = None,
) -> Tracks:
    """Tracks through all their keyframes: what is next to those that are new is computed again, the rest is kept.

    A stretch is tracked as a clip of its own, from its anchors alone, and cross-faded between two of them as in
    `Tracker.track`; the direction is the one of the tracks. A tracker of points that help one another (`card.joint`)
    sees the points of the same stretch only.

    Args:
        tracker: which computes; it need not be the one that made the tracks.
        video: the whole video (or part of one) that was tracked.
        tracks: with `keyframe` set where a human says where a point is.
        memory: as for `Tracker.track`.
        progress: called after every frame; counts the frames of all stretches.
        plan: of `plan_retrack`, if it is at hand.

    Raises `UsageError` for tracks of another video, or of a tracker whose rule of visibility says something else about
    the positions that are kept; and as `Tracker.track` does.
    """
    plan = plan or plan_retrack(tracks)
    with using(video) as source:
        _check(source, tracks)
        direction = tracks.source.options.get("direction", "both")
        if direction not in ("both", "forward", "backward"):
            raise UsageError(f"the tracks were made in an unknown direction, {direction!r}")
        arrays = {name: getattr(tracks, name).copy() for name in ("xy", "visible", "confidence", "valid")}
        total = sum(stretch.stop - stretch.start + 1 for stretch in plan.stretches)
        before = 0
        for stretch in plan.stretches:
            length = stretch.stop - stretch.start + 1
            asked = _asked(stretch, plan.after, tracks.ids)
            part = Span(source, stretch.start, stretch.stop + 1)
            told = None if progress is None else _shifted(progress, before, length, total, stretch.start)
            found = tracker.track(part, asked[0], direction, memory, told, keyframes=asked[1])
            if found.frames < length:
                raise UsageError(f"the video ends after frame {stretch.start + found.frames - 1}, before the tracks do")
            local = slice(stretch.inner.start - stretch.start, stretch.inner.stop - stretch.start)
            for name, array in arrays.items():
                array[list(stretch.rows), stretch.inner] = getattr(found, name)[:, local]
            before += length
    for row, t in plan.changed:
        anchor = plan.after[row][t]
        if not anchor.human:  # a query that is in force again, since the keyframe on its frame is gone
            arrays["xy"][row, t] = anchor.x, anchor.y
            arrays["visible"][row, t] = arrays["confidence"][row, t] = arrays["valid"][row, t] = 1
    done = tracks.with_(**arrays, queries=_queries(tracks, plan))
    return done.with_(source=_source(tracker, direction, memory, done, plan))


def _check(source: Source, tracks: Tracks) -> None:
    if source.live:
        raise UsageError("a live source plays once: tracks can only be corrected over a file")
    info: VideoInfo = source.info
    if info.size != tracks.video.size:
        (height, width), (h, w) = info.size, tracks.video.size
        raise ShapeError(f"the video is {width}x{height}, the tracks are of one of {w}x{h}: is it the same clip?")
    if info.frames is not None and info.frames < tracks.frames:
        raise UsageError(
            f"the video has {info.frames} frames, the tracks have {tracks.frames}: is it the same clip, and the same "
            "part of it?"
        )
    if tracks.source.model and info.start_frame != tracks.video.start_frame:
        raise UsageError(
            f"the video begins with frame {info.start_frame} of the footage, the tracks with "
            f"{tracks.video.start_frame}: name the part of the video that was tracked"
        )


def _asked(stretch: Stretch, anchors: Sequence[AnchorsOf], ids: np.ndarray) -> tuple[Queries, Keyframes | None]:
    """Queries at one end of a stretch and, where there are anchors at both, keyframes at the other; frames from 0."""
    names = [str(ids[row]) for row in stretch.rows]

    def at(frame: int) -> list[tuple[float, float]]:
        return [anchors[row][frame][:2] for row in stretch.rows]

    last = stretch.stop - stretch.start
    if not stretch.left:
        return Queries.at(last, at(stretch.stop), names), None
    queries = Queries.at(0, at(stretch.start), names)
    if not stretch.right:
        return queries, None
    return queries, Keyframes(np.array(names), np.full(len(names), last), np.array(at(stretch.stop), np.float32))


def _shifted(
    progress: Callable[[Progress], object], before: int, length: int, total: int, first: int
) -> Callable[[Progress], object]:
    """`progress` of the whole, out of that of a stretch of `length` frames with `before` frames done."""

    def told(now: Progress) -> object:
        share = now.done / now.total if now.total else 0.0
        return progress(now._replace(done=before + int(share * length), total=total, frame=first + now.frame))

    return told


def _queries(tracks: Tracks, plan: Plan) -> Queries:
    """A keyframe on the frame of a query takes its place."""
    xy = tracks.queries.xy.copy()
    for row, t in plan.changed:
        if t == tracks.queries.t[row]:
            xy[row] = plan.after[row][t][:2]
    return Queries(tracks.queries.t, xy, tracks.ids)


def _source(tracker: Tracker, direction: str, memory: str | int | None, tracks: Tracks, plan: Plan) -> Provenance:
    """Of the tracker, with what was done to the tracks before; `UsageError` where it would change what is kept."""
    old, keyframes = tracks.source, tracks.keyframes()
    new = tracker.provenance(direction, memory, keyframes)
    options = dict(new.options)
    if "edits" in old.options:
        options["edits"] = old.options["edits"]
    if old.model != new.model or old.weights_sha256 != new.weights_sha256:
        options["kept_from"] = [*old.options.get("kept_from", []), old.model or "unknown"]
    kept = np.ones((len(tracks), tracks.frames), bool)
    for stretch in plan.stretches:
        kept[list(stretch.rows), stretch.inner] = False
    said = new.visible_at(tracks.visible, tracks.confidence) & tracks.valid
    if (said != tracks.visible_at())[kept].any():
        raise UsageError(
            f"{new.model} and {old.model or 'the tracker of these tracks'} decide by different rules what is visible: "
            "correct the tracks with the tracker that made them, or track all of them again"
        )
    return replace(new, options=options)
