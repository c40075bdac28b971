"""What is said of one point, said of another one: for layers of blind annotators, and for what is adopted from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from tapkit.annotate import predictions
from tapkit.annotate.schema import arrivals, blocks, keyframes, visibility

if TYPE_CHECKING:
    from tapkit.annotate.recorder import Recorder


def clear(record: Recorder, point: int) -> None:
    """Take everything away that is said of a point."""
    for table, second in ((arrivals, "frame"), (keyframes, "frame"), (visibility, "start")):
        for row in record.connection.execute(sa.select(table.c[second]).where(table.c.point == point)).all():
            record.put(table.name, {"point": point, second: row[0]}, None)
    written = [row[0] for row in record.connection.execute(sa.select(blocks.c.block).where(blocks.c.point == point))]
    keys = [(point, block) for block in written]
    record.keep_blocks(keys)
    if keys:
        predictions.put(record.connection, [], keys)


def copy(record: Recorder, source: int, target: int, first_only: bool = False) -> None:
    """Say of `target`, of which nothing is said, what is said of `source`; `first_only`: its first keyframe alone."""
    connection = record.connection
    for table, second in ((keyframes, "frame"), (arrivals, "frame"), (visibility, "start")):
        if first_only and table is not keyframes:
            continue
        query = sa.select(table).where(table.c.point == source).order_by(table.c[second])
        rows = [dict(row) for row in connection.execute(query.limit(1) if first_only else query).mappings()]
        rows = [{**row, "point": target} for row in rows]
        record.add(table.name, [{"point": target, second: row[second]} for row in rows], rows)
    if first_only:
        return
    found = [dict(row) for row in connection.execute(sa.select(blocks).where(blocks.c.point == source)).mappings()]
    record.keep_blocks([(target, row["block"]) for row in found])
    predictions.put(connection, [{**row, "point": target, "event": record.event} for row in found], [])
