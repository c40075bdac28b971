"""Reading and writing blocks of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from tapkit.annotate import blocks as packed
from tapkit.annotate.lookup import batches
from tapkit.annotate.schema import blocks

if TYPE_CHECKING:
    from tapkit.annotate.database import Database
    from tapkit.annotate.recorder import Recorder


def read(connection: sa.Connection, points: Sequence[int], wanted: range) -> np.ndarray:
    """Predictions of points in the blocks `wanted`: frames [P, len(wanted) * 256]."""
    frames = packed.empty(len(points), len(wanted), packed.FRAMES)
    row_of = {point: row for row, point in enumerate(points)}
    for some in batches(points):
        query = sa.select(blocks.c.point, blocks.c.block, blocks.c.data).where(
            blocks.c.point.in_(some), blocks.c.block >= wanted.start, blocks.c.block < wanted.stop
        )
        for point, block, data in connection.execute(query):
            frames[row_of[point], block - wanted.start] = packed.unpack(data)
    return frames.reshape(len(points), len(wanted) * packed.FRAMES)


def read_digests(connection: sa.Connection, points: Sequence[int], count: int) -> np.ndarray:
    """Digests of `count` blocks of each point: [P,count*16,4] uint8."""
    cells = packed.FRAMES // packed.CELL
    found = np.zeros((len(points), count, cells, 4), np.uint8)
    found[..., 2] = 255
    row_of = {point: row for row, point in enumerate(points)}
    for some in batches(points):
        query = sa.select(blocks.c.point, blocks.c.block, blocks.c.digest).where(blocks.c.point.in_(some))
        rows = connection.execute(query).all()
        if rows:
            place = np.array([row_of[row[0]] for row in rows]), np.array([row[1] for row in rows])
            found[place] = packed.undigest(row[2] for row in rows)
    return found.reshape(len(points), count * cells, 4)


def write(
    record: Recorder, database: Database, points: Sequence[int], wanted: range, frames: np.ndarray, changed: np.ndarray
) -> None:
    """Put frames [P, len(wanted) * 256] in place, where `changed` [P, ...] (bool) says so; what was there is kept."""
    shape = (len(points), len(wanted), packed.FRAMES)
    frames, touched = frames.reshape(shape), changed.reshape(shape).any(-1)
    row, place = np.nonzero(touched)
    if not len(row):
        return
    chosen = frames[row, place]
    rules = database.rules(record.connection, packed.sources_of(chosen))
    digests = packed.digests(chosen, rules, record.size)
    keys = [(points[r], wanted.start + p) for r, p in zip(row.tolist(), place.tolist(), strict=True)]
    record.keep_blocks(keys)
    gone, rows = [], []
    for key, one, digest in zip(keys, chosen, digests, strict=True):
        if (one["source"] > 0).any():
            rows.append(
                {"point": key[0], "block": key[1], "data": one.tobytes(), "digest": digest, "event": record.event}
            )
        else:
            gone.append(key)
    put(record.connection, rows, gone)


def put(connection: sa.Connection, rows: Sequence[dict[str, object]], gone: Sequence[tuple[int, int]]) -> None:
    """Replace blocks by `rows`, and take those away that are `gone`."""
    everyone = [(row["point"], row["block"]) for row in rows] + list(gone)
    if not everyone:
        return
    remove = blocks.delete().where(blocks.c.point == sa.bindparam("p"), blocks.c.block == sa.bindparam("b"))
    connection.execute(remove, [{"p": point, "b": block} for point, block in everyone])
    if rows:
        connection.execute(blocks.insert(), list(rows))
