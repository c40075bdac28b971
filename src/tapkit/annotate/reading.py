"""Looking at a clip: points, positions by range, summaries for a timeline, places to look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from tapkit.annotate import blocks as packed
from tapkit.annotate import doubt, history, lookup, predictions, rules
from tapkit.annotate.database import Database, look_at_clip
from tapkit.annotate.refusals import Unknown
from tapkit.annotate.result import Said, resolve
from tapkit.annotate.schema import blocks, events
from tapkit.annotate.schema import points as point_rows
from tapkit.annotate.values import Doubt, Object, PointList, PointSummary, Positions, Summary
from tapkit.errors import QueryError, UsageError

EXACT = 300_000
"""Frames x points up to which a summary is made from the positions themselves; beyond from the digests."""
_AT_ONCE = 500_000
"""Frames x points that are held at a time."""


def points(database: Database, clip: int, user: int | None, of: int | None) -> PointList:
    """See `Project.points`."""
    with database.read() as connection:
        row = look_at_clip(connection, clip)
        layer = rules.layer_to_see(connection, clip, user, of)
        can_undo, can_redo = history.can(connection, clip, layer, user)
        found = tuple(lookup.points(connection, clip, layer))
        return PointList(row.revision, found, lookup.skeleton(connection, clip, layer), can_undo, can_redo)


def objects(database: Database, clip: int, user: int | None, of: int | None) -> list[Object]:
    """See `Project.objects`."""
    with database.read() as connection:
        look_at_clip(connection, clip)
        return lookup.objects(connection, clip, rules.layer_to_see(connection, clip, user, of))


def positions(
    database: Database, clip: int, points: Sequence[int] | None, start: int, stop: int | None,
    user: int | None, of: int | None,
) -> list[Positions]:  # fmt: skip
    """See `Project.positions`."""
    with database.read() as connection:
        row = look_at_clip(connection, clip)
        layer = rules.layer_to_see(connection, clip, user, of)
        ids = chosen(connection, clip, layer, points)
        return read(database, connection, ids, start, row.frames if stop is None else stop, row.frames)


def chosen(connection: sa.Connection, clip: int, layer: int, points: Sequence[int] | None) -> list[int]:
    """The points that are meant; None: all. Raises `Unknown`."""
    there = lookup.alive(connection, clip, layer)
    if points is None:
        return there
    missing = [point for point in points if point not in set(there)]
    if missing:
        raise Unknown(f"there is no point {missing[0]} in this clip (any more)")
    return list(dict.fromkeys(points))


def read(
    database: Database, connection: sa.Connection, ids: Sequence[int], start: int, stop: int, frames: int
) -> list[Positions]:
    """The result for points on frames start..stop of a clip of `frames` frames."""
    if not 0 <= start < stop <= frames:
        raise QueryError(f"frames {start} to {stop} (excluded) are not within the clip, 0..{frames}")
    wanted = packed.span(start, stop)
    first = wanted.start * packed.FRAMES
    stored = predictions.read(connection, ids, wanted)[:, start - first : stop - first]
    said = lookup.said(connection, ids)
    rule_of = database.rules(connection, packed.sources_of(stored))
    return [resolve(point, said[point], stored[row], start, rule_of) for row, point in enumerate(ids)]


# -- summary ------------------------------------------------------------------------------------------


def summary(
    database: Database, clip: int, bins: int, user: int | None, of: int | None, points: Sequence[int] | None = None
) -> Summary:
    """See `Project.summary`."""
    if bins < 1:
        raise UsageError(f"a summary has at least one bin, got {bins}")
    with database.read() as connection:
        row = look_at_clip(connection, clip)
        layer = rules.layer_to_see(connection, clip, user, of)
        ids = lookup.alive(connection, clip, layer)
        size, count = (row.height, row.width), row.frames
        length = -(-count // min(bins, count))
        unit = 1 if len(ids) * count <= EXACT else packed.CELL  # the same bins for some of the points as for all
        if points is not None:
            wanted = set(points)
            ids = [point for point in ids if point in wanted]
        if unit == 1:
            cells = _exact(read(database, connection, ids, 0, count, count), size, 1)
        else:
            cells = _from_digests(database, connection, ids, size, count)
    starts = np.arange(0, -(-count // unit), -(-length // unit))
    return Summary(tuple((starts * unit).tolist()), _binned(ids, cells[:, : -(-count // unit)], starts))


def _binned(ids: Sequence[int], cells: np.ndarray, starts: np.ndarray) -> tuple[PointSummary, ...]:
    """Cells [P,C,4] (frames with a position, visible ones, least confidence, greatest doubt) in bins of cells."""
    if not len(ids):
        return ()
    counted = np.add.reduceat(cells[..., :2], starts, axis=1)
    least = np.minimum.reduceat(np.where(cells[..., 0] > 0, cells[..., 2], 1.0), starts, axis=1)
    most = np.maximum.reduceat(cells[..., 3], starts, axis=1)
    nothing = counted[..., 0] == 0
    share = np.round(counted[..., 1] / np.maximum(counted[..., 0], 1), 3).astype(object)
    least = np.round(least, 3).astype(object)
    share[nothing] = least[nothing] = None
    columns = (part.tolist() for part in (share, least, np.round(most, 3)))
    return tuple(
        PointSummary(point, tuple(s), tuple(c), tuple(d)) for point, s, c, d in zip(ids, *columns, strict=True)
    )


def _exact(found: Sequence[Positions], size: tuple[int, int], cell: int) -> np.ndarray:
    """Cells of `cell` frames from results of equal length, which is a multiple of it: [P,n/cell,4] float64."""
    if not found:
        return np.zeros((0, 1, 4))
    xy, seen, confidence, apart = (
        np.stack([getattr(each, name) for each in found]) for name in ("xy", "visible", "confidence", "disagreement")
    )
    return _cells(xy, np.isfinite(xy).all(-1), seen, np.nan_to_num(confidence), np.nan_to_num(apart), size, cell)


def _cells(
    xy: np.ndarray, there: Any, seen: np.ndarray, confidence: np.ndarray, apart: np.ndarray, size: tuple[int, int],
    cell: int,
) -> np.ndarray:  # fmt: skip
    """Frames [P,n] in cells of `cell`: frames with a position, visible ones, least confidence, greatest doubt."""
    doubts = doubt.of_frames(xy, seen, confidence, apart, size)
    shape = (len(xy), -1, cell)
    least = np.where(there, confidence, 1.0).reshape(shape).min(-1)
    counts = [part.reshape(shape).sum(-1) for part in (there, seen & there)]
    cells: np.ndarray = np.stack([*counts, least, doubts.reshape(shape).max(-1)], -1).astype(np.float64)
    return cells


def _from_digests(
    database: Database, connection: sa.Connection, ids: Sequence[int], size: tuple[int, int], frames: int
) -> np.ndarray:
    """Cells of 16 frames: as the digests say, but where people said something, which digests do not know."""
    count = packed.span(0, frames).stop
    digest = predictions.read_digests(connection, ids, count)
    cells: np.ndarray = digest / np.array([1.0, 1.0, 255.0, 255.0])
    said = lookup.said(connection, ids)
    each_block: dict[int, list[int]] = defaultdict(list)
    for row, point in enumerate(ids):
        for block in _touched(said[point], frames):
            each_block[block].append(row)
    per_block = packed.FRAMES // packed.CELL
    for block, rows in each_block.items():
        some = [ids[row] for row in rows]
        stored = predictions.read(connection, some, range(block, block + 1))
        rule_of = database.rules(connection, packed.sources_of(stored))
        facts = [said[point] for point in some]
        cells[rows, block * per_block : (block + 1) * per_block] = _overruled(stored, facts, block, rule_of, size)
    return cells


def _overruled(
    stored: np.ndarray, said: Sequence[Said], block: int, rule_of: packed.Rules, size: tuple[int, int]
) -> np.ndarray:
    """The cells of one block of points [R,256] after what people said: as `resolve` has it, but all points at once."""
    first = block * packed.FRAMES
    there = stored["source"] > 0
    seen = packed.shown(stored, rule_of)
    confidence, apart = np.nan_to_num(stored["confidence"]), np.nan_to_num(stored["disagreement"])
    for row, each in enumerate(said):
        keys = each.t[(each.t >= first) & (each.t < first + packed.FRAMES)]
        if len(keys):
            at = keys - first
            there[row, at], confidence[row, at], apart[row, at] = True, 1.0, 0.0
            seen[row, at] = each.visible[np.searchsorted(each.t, keys)]
        for start, stop, state in each.spans:
            span = slice(max(start - first, 0), max(stop - first, 0))
            seen[row, span] = (state == "visible") & there[row, span]
    xy = np.stack([stored["x"], stored["y"]], -1)
    return _cells(xy, there, seen, confidence, apart, size, packed.CELL)


def _touched(said: Said, frames: int) -> set[int]:
    """Blocks in which people said something of a point."""
    found = set((said.t // packed.FRAMES).tolist())
    for start, stop, _ in said.spans:
        found.update(packed.span(start, min(stop, frames)))
    return found


# -- doubts -------------------------------------------------------------------------------------------


def doubtful(database: Database, clip: int, user: int | None, of: int | None, cache: doubt.DoubtCache) -> list[Doubt]:
    """See `Project.doubtful`. Only points that have changed since the last time are looked at."""
    with database.read() as connection:
        row = look_at_clip(connection, clip)
        layer = rules.layer_to_see(connection, clip, user, of)
        ids = lookup.alive(connection, clip, layer)
        keys = _stamps(connection, ids)
        missing = cache.missing(list(keys.values()))
        new = [point for point in ids if keys[point] in missing]
        size = (row.height, row.width)
        fresh: dict[int, tuple[Doubt, ...]] = {}
        for some in lookup.batches(new, max(_AT_ONCE // row.frames, 1)):
            said = lookup.said(connection, some)
            found_here = read(database, connection, some, 0, row.frames, row.frames)
            fresh |= doubt.places(found_here, {point: said[point].missed() for point in some}, size)
    found: list[Doubt] = []
    for point in ids:
        found += cache.get(keys[point], lambda point=point: fresh.get(point, ()))  # type: ignore[misc]
    return sorted(found, key=lambda each: (each.t, each.point))


def _stamps(connection: sa.Connection, ids: Sequence[int]) -> dict[int, tuple[Any, ...]]:
    """What changes whenever anything about a point does."""
    found: dict[int, tuple[Any, ...]] = {}
    for some in lookup.batches(ids):
        query = sa.select(point_rows.c.id, point_rows.c.revision).where(point_rows.c.id.in_(some))
        found |= {row.id: (row.id, row.revision) for row in connection.execute(query)}
        written = (
            sa.select(blocks.c.point, sa.func.max(events.c.revision), sa.func.count())
            .join(events, events.c.id == blocks.c.event)
            .where(blocks.c.point.in_(some))
            .group_by(blocks.c.point)
        )
        for point, latest, count in connection.execute(written):
            found[point] = (*found[point], latest, count)
    return found
