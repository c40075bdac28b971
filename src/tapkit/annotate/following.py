"""A tracker through the keyframes of points: from each both ways, and blended between two of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from tapkit.annotate import clips, lookup, reading, rules, runs
from tapkit.annotate.blend import blend
from tapkit.annotate.database import Database, lock_clip, look_at_clip
from tapkit.annotate.recorder import Recorder, Who
from tapkit.annotate.result import Said
from tapkit.annotate.values import Change
from tapkit.errors import UsageError

if TYPE_CHECKING:
    from tapkit.engine.control import Progress
    from tapkit.engine.tracker import Tracker
    from tapkit.video.base import Source

Told = Callable[[int, int], object]


class Stretch(NamedTuple):
    """Frames start..stop (excluded) between keyframes, `left` and `right` saying whether there is one at either end."""

    start: int
    stop: int
    left: bool
    right: bool


def track(
    database: Database, clip: int, points: int | Sequence[int] | None, model: Tracker | str,
    until: Literal["end", "keyframes"], who: Who, told: Told | None,
) -> Change:  # fmt: skip
    """See `Project.track`."""
    from tapkit import api

    if until not in ("end", "keyframes"):
        raise UsageError(f'a track goes to the "end" or between "keyframes", not {until!r}'[:200])
    with database.read() as connection:
        row = look_at_clip(connection, clip)
        layer = rules.layer_to_change(connection, clip, who.user)
        ids = reading.chosen(connection, clip, layer, [points] if isinstance(points, int) else points)
        said = lookup.said(connection, ids)
    work = _stretches({point: said[point] for point in ids}, row.frames, until == "end")
    if not work:
        raise UsageError("there is nothing to track: no point has a keyframe on which it is seen")
    tracker = api.load(model) if isinstance(model, str) else model
    ids = sorted({point for those in work.values() for point in those})
    found = _empty(ids, row.frames)
    with clips.source(database, clip) as video:
        total = sum(stretch.stop - stretch.start for stretch in work)
        before = 0
        for stretch, those in sorted(work.items()):
            length = stretch.stop - stretch.start
            _follow(tracker, video, stretch, those, said, found, _shifted(told, before, length, total))
            before += length
    with database.write() as connection:
        record = Recorder.begin(connection, lock_clip(connection, clip), layer, who, "run")
        runs.write(record, database, found, tracker.provenance("both"))
        return record.finish(f"tracked {len(ids)} point{'s' * (len(ids) != 1)} with {tracker.card.id}")


def _stretches(said: dict[int, Said], frames: int, open_ends: bool) -> dict[Stretch, list[int]]:
    """What is to be tracked, and of which points. A keyframe on which a point is hidden is no place to begin at."""
    work: dict[Stretch, list[int]] = defaultdict(list)
    for point, each in said.items():
        keys = each.t[each.visible].tolist()
        if not keys:
            continue
        for one, other in pairwise(keys):
            work[Stretch(one, other + 1, True, True)].append(point)
        if open_ends and (keys[-1] < frames - 1 or frames == 1):
            work[Stretch(keys[-1], frames, True, False)].append(point)
        if open_ends and keys[0] > 0:
            work[Stretch(0, keys[0] + 1, False, True)].append(point)
    return dict(work)


def _follow(
    tracker: Tracker, video: Source, stretch: Stretch, points: Sequence[int], said: dict[int, Said],
    found: runs.Found, progress: Callable[[Progress], object] | None,
) -> None:  # fmt: skip
    """Track one stretch, and put it into `found`."""
    from tapkit.types import Queries
    from tapkit.video.span import Span

    ends = [t for t, there in ((stretch.start, stretch.left), (stretch.stop - 1, stretch.right)) if there]
    t, xy = [], []
    for point in points:
        each = said[point]
        for frame in ends:
            t.append(frame - stretch.start)
            xy.append(each.xy[np.searchsorted(each.t, frame)])
    queries = Queries(np.array(t), np.array(xy), np.arange(len(t)))
    tracks = tracker.track(Span(video, stretch.start, stretch.stop), queries, "both", progress=progress)
    anchors = np.array(ends) - stretch.start
    span = slice(stretch.start, stretch.stop)
    for n, point in enumerate(points):
        rows = slice(n * len(ends), (n + 1) * len(ends))
        one = blend(anchors, tracks.xy[rows], tracks.visible[rows], tracks.confidence[rows])
        row = found.points.index(point)
        known = np.isfinite(one.xy).all(-1)
        for name in ("xy", "visible", "confidence", "disagreement"):
            getattr(found, name)[row, span][known] = getattr(one, name)[known]


def _empty(ids: Sequence[int], frames: int) -> runs.Found:
    shape = (len(ids), frames)
    nothing = np.full(shape, np.nan, np.float32)
    return runs.Found(
        tuple(ids), 0, frames, np.full((*shape, 2), np.nan, np.float32), nothing.copy(), nothing.copy(), nothing
    )


def _shifted(told: Told | None, before: int, length: int, total: int) -> Callable[[Progress], object] | None:
    """Progress of the whole, out of that of a stretch."""
    if told is None:
        return None

    def report(now: Progress) -> Any:
        share = now.done / now.total if now.total else 0.0
        return told(before + round(share * length), total)

    return report
