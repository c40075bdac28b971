"""Rows as values: points with their keyframes and spans, objects with their boxes, skeletons."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from tapkit.annotate.result import Said
from tapkit.annotate.schema import arrivals, boxes, keyframes, skeletons, visibility
from tapkit.annotate.schema import objects as object_rows
from tapkit.annotate.schema import points as point_rows
from tapkit.annotate.values import Box, Hidden, Keyframe, Object, Point

BATCH = 5000
"""Ids that one query names: databases bound how many there may be."""


def batches(ids: Sequence[int], size: int = BATCH) -> Iterator[Sequence[int]]:
    """The ids, some thousands at a time."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def alive(connection: sa.Connection, clip: int, layer: int) -> list[int]:
    """Ids of the points of a layer, the oldest first."""
    query = sa.select(point_rows.c.id).where(
        point_rows.c.clip == clip, point_rows.c.layer == layer, ~point_rows.c.deleted
    )
    return [row.id for row in connection.execute(query.order_by(point_rows.c.id))]


def points(connection: sa.Connection, clip: int, layer: int, ids: Sequence[int] | None = None) -> list[Point]:
    """Points of a layer with all that people said about them; those of `ids`, without the deleted."""
    wanted = alive(connection, clip, layer)
    if ids is not None:
        chosen = set(ids)
        wanted = [point for point in wanted if point in chosen]
    keys: dict[int, list[Keyframe]] = defaultdict(list)
    hidden: dict[int, list[Hidden]] = defaultdict(list)
    rows: list[Any] = []
    for some in batches(wanted):
        rows += connection.execute(sa.select(point_rows).where(point_rows.c.id.in_(some)).order_by(point_rows.c.id))
        for k in connection.execute(
            sa.select(keyframes).where(keyframes.c.point.in_(some)).order_by(keyframes.c.frame)
        ):
            keys[k.point].append(Keyframe(k.frame, k.x, k.y, k.visible, k.author, k.time))
        spans = sa.select(visibility).where(visibility.c.point.in_(some)).order_by(visibility.c.start)
        for h in connection.execute(spans):
            hidden[h.point].append(Hidden(h.start, h.stop, h.state))
    return [
        Point(
            row.id, row.label, row.grouping, row.colour, row.object, row.revision, row.author, tuple(keys[row.id]),
            tuple(hidden[row.id]), row.origin,
        )
        for row in rows
    ]  # fmt: skip


def said(connection: sa.Connection, ids: Sequence[int]) -> dict[int, Said]:
    """What people said of each point, as arrays."""
    keys: dict[int, list[Any]] = defaultdict(list)
    spans: dict[int, list[Any]] = defaultdict(list)
    same = sa.and_(arrivals.c.point == keyframes.c.point, arrivals.c.frame == keyframes.c.frame)
    both = keyframes.outerjoin(arrivals, same)
    columns = [keyframes.c[name] for name in ("point", "frame", "x", "y", "visible")]
    sides = [arrivals.c[name] for name in ("left_x", "left_y", "right_x", "right_y")]
    for some in batches(ids):
        query = sa.select(*columns, *sides).select_from(both).where(keyframes.c.point.in_(some))
        for row in connection.execute(query.order_by(keyframes.c.frame)):
            keys[row[0]].append(row[1:])
        query = sa.select(visibility).where(visibility.c.point.in_(some)).order_by(visibility.c.start)
        for row in connection.execute(query):
            spans[row.point].append((row.start, row.stop, row.state))
    return {point: _said(keys[point], spans[point]) for point in ids}


def _said(keys: list[Any], spans: list[Any]) -> Said:
    if not keys:
        return Said(spans=tuple(spans))
    table = np.array([[np.nan if cell is None else cell for cell in row] for row in keys], np.float64)
    return Said(
        table[:, 0].astype(np.int64), table[:, 1:3], table[:, 3] > 0, table[:, 4:6], table[:, 6:8], tuple(spans)
    )


def objects(connection: sa.Connection, clip: int, layer: int, ids: Sequence[int] | None = None) -> list[Object]:
    """Objects of a layer with their boxes; those of `ids`, without the deleted."""
    here = object_rows.c.clip == clip, object_rows.c.layer == layer, ~object_rows.c.deleted
    rows = connection.execute(sa.select(object_rows).where(*here).order_by(object_rows.c.id)).all()
    rows = [row for row in rows if ids is None or row.id in ids]
    found: dict[int, list[Box]] = defaultdict(list)
    for some in batches([row.id for row in rows]):
        query = sa.select(boxes).where(boxes.c.object.in_(some)).order_by(boxes.c.frame)
        for b in connection.execute(query):
            found[b.object].append(Box(b.frame, b.x0, b.y0, b.x1, b.y1, b.author))
    return [Object(row.id, row.label, tuple(found[row.id])) for row in rows]


def skeleton(connection: sa.Connection, clip: int, layer: int) -> tuple[tuple[int, int], ...]:
    """The edges of a layer, between points that are there."""
    query = sa.select(skeletons.c.links).where(skeletons.c.clip == clip, skeletons.c.layer == layer)
    links = json.loads(connection.execute(query).scalar() or "[]")
    there = set(alive(connection, clip, layer)) if links else set()
    return tuple((a, b) for a, b in links if a in there and b in there)
