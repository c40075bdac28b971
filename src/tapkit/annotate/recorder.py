"""One change of a clip as it is made: rows are written through a `Recorder`, which notes how they were before.

The notes are the event: putting the rows back as they were, in reverse order, is the undo.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tapkit.annotate import lookup, rules
from tapkit.annotate.database import now
from tapkit.annotate.schema import (
    arrivals,
    blocks,
    boxes,
    clips,
    events,
    kept,
    keyframes,
    objects,
    points,
    skeletons,
    visibility,
)
from tapkit.annotate.values import Change

TABLES = {table.name: table for table in (arrivals, boxes, keyframes, objects, points, skeletons, visibility)}
"""Whose rows are noted."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Who:
    """Who does something: a user, in one of their windows. `of`: whose layer they look at."""

    user: int | None = None
    session: str = ""
    of: int | None = None


class Recorder:
    """One event. `begin` it, `put` rows, `finish` it; all within one transaction that holds the clip's row."""

    def __init__(self, connection: sa.Connection, clip: sa.Row[Any], layer: int, who: Who, kind: str) -> None:
        self.connection, self.clip, self.layer, self.who, self.kind = connection, clip, layer, who, kind
        self.time = now()
        self.event = 0
        self.size: tuple[int, int] = (clip.height, clip.width)
        self.span: tuple[int, int] | None = None
        self.points: dict[int, None] = {}
        """Points that it is about."""
        self.objects: dict[int, None] = {}
        self._notes: dict[tuple[str, str], list[Any]] = {}
        self._kept: set[tuple[int, int]] = set()

    @classmethod
    def begin(cls, connection: sa.Connection, clip: sa.Row[Any], layer: int, who: Who, kind: str) -> Recorder:
        """A new event."""
        record = cls(connection, clip, layer, who, kind)
        made = connection.execute(
            events.insert().values(
                clip=clip.id, layer=layer, author=who.user, session=who.session, time=record.time, kind=kind, text="",
                revision=clip.revision + 1, points="[]", changes="[]",
            )
        )  # fmt: skip
        assert made.inserted_primary_key is not None
        record.event = int(made.inserted_primary_key[0])
        return record

    @classmethod
    def resume(cls, connection: sa.Connection, clip: sa.Row[Any], who: Who, event: sa.Row[Any]) -> Recorder:
        """An event that has not ended: a run of a tracker goes on."""
        record = cls(connection, clip, event.layer, who, event.kind)
        record.event = event.id
        record.span = None if event.start is None else (event.start, event.stop)
        record.points = dict.fromkeys(json.loads(event.points))
        noted = json.loads(event.changes)
        record._notes = {(table, json.dumps(key)): [before, after] for table, key, before, after in noted}
        query = sa.select(kept.c.point, kept.c.block).where(kept.c.event == event.id)
        record._kept = {(row.point, row.block) for row in connection.execute(query)}
        return record

    # -- rows -------------------------------------------------------------------------------------

    def get(self, table: str, key: Row) -> Row | None:
        """A row by its key, without the columns that follow from the event itself."""
        where = [TABLES[table].c[name] == value for name, value in key.items()]
        row = self.connection.execute(sa.select(TABLES[table]).where(*where)).mappings().one_or_none()
        return None if row is None else {name: value for name, value in row.items() if name != "revision"}

    def put(self, table: str, key: Row, values: Row | None) -> None:
        """Make the row of that key say `values` (None: take it away), and note what was there."""
        before = self.get(table, key)
        after = None if values is None else {**(before or {}), **key, **values}
        if before == after:
            return
        into = TABLES[table]
        where = [into.c[name] == value for name, value in key.items()]
        if after is None:
            self.connection.execute(into.delete().where(*where))
        elif before is None:
            self.connection.execute(into.insert().values(**after))
        else:
            self.connection.execute(into.update().where(*where).values(**after))
        self._note(table, key, before, after)

    def make(self, table: str, values: Row) -> int:
        """A new point or object; what was there before is taken to be the same, deleted. Returns its id."""
        more = {"revision": self.clip.revision + 1} if table == "points" else {}
        made = self.connection.execute(TABLES[table].insert().values(**values, **more, deleted=False))
        assert made.inserted_primary_key is not None
        number = int(made.inserted_primary_key[0])
        row = {"id": number, **values}
        self._note(table, {"id": number}, {**row, "deleted": True}, {**row, "deleted": False})
        return number

    def add(self, table: str, keys: Sequence[Row], rows: Sequence[Row]) -> None:
        """Many rows at once, none of which is there yet; `rows` are complete."""
        if rows:
            self.connection.execute(TABLES[table].insert(), list(rows))
        for key, row in zip(keys, rows, strict=True):
            self._note(table, key, None, row)

    def _note(self, table: str, key: Row, before: Row | None, after: Row | None) -> None:
        if table in ("points", "objects"):
            (self.points if table == "points" else self.objects)[key["id"]] = None
        elif "point" in key:
            self.points[key["point"]] = None
        elif "object" in key:
            self.objects[key["object"]] = None
        note = self._notes.setdefault((table, json.dumps(key)), [before, after])
        note[1] = after

    def keep_blocks(self, keys: Sequence[tuple[int, int]]) -> None:
        """Note blocks of predictions, (point, block) each, as they are now: they are about to be replaced."""
        new = [key for key in keys if key not in self._kept]
        self._kept.update(new)
        self.points.update(dict.fromkeys(point for point, _ in new))
        found: dict[tuple[int, int], Any] = {}
        numbers = [block for _, block in new]
        for some in lookup.batches(list(dict.fromkeys(point for point, _ in new))):
            query = sa.select(blocks).where(
                blocks.c.point.in_(some), blocks.c.block >= min(numbers), blocks.c.block <= max(numbers)
            )
            found |= {(row.point, row.block): row for row in self.connection.execute(query)}
        rows = [
            {
                "event": self.event, "point": key[0], "block": key[1],
                "data": None if key not in found else found[key].data,
                "digest": None if key not in found else found[key].digest,
                "writer": None if key not in found else found[key].event,
            }
            for key in new
        ]  # fmt: skip
        if rows:
            self.connection.execute(kept.insert(), rows)

    # -- the end ----------------------------------------------------------------------------------

    @property
    def changes(self) -> list[list[Any]]:
        """[table, key, before, after] of all rows, in the order in which they were first changed."""
        return [[table, json.loads(key), *note] for (table, key), note in self._notes.items()]

    def finish(self, text: str) -> Change:
        """Write the event down and count the clip on. Returns what was done."""
        return self.change(self.close(text), text)

    def close(self, text: str) -> int:
        """The same, for those who need the clip's new revision only."""
        revision: int = self.clip.revision + 1
        span = self.span or (None, None)
        self.connection.execute(
            events.update()
            .where(events.c.id == self.event)
            .values(
                text=text, revision=revision, points=json.dumps(list(self.points)), changes=json.dumps(self.changes),
                start=span[0], stop=span[1],
            )
        )  # fmt: skip
        self.connection.execute(clips.update().where(clips.c.id == self.clip.id).values(revision=revision))
        if self.kind != "run":
            for some in lookup.batches(list(self.points)):
                self.connection.execute(points.update().where(points.c.id.in_(some)).values(revision=revision))
            rules.begin_work(self.connection, self.clip.id, self.who.user)
        return revision

    def change(self, revision: int, text: str) -> Change:
        """What was done, with the points and objects as they are now."""
        now_there = lookup.points(self.connection, self.clip.id, self.layer, list(self.points))
        there = {point.id for point in now_there}
        touched = any(table == "skeletons" for table, *_ in self.changes)
        skeleton = lookup.skeleton(self.connection, self.clip.id, self.layer) if touched else None
        return Change(
            revision, self.event, text, tuple(now_there), tuple(p for p in self.points if p not in there),
            tuple(lookup.objects(self.connection, self.clip.id, self.layer, list(self.objects))), skeleton,
        )  # fmt: skip


def summed_up(texts: Iterable[str]) -> str:
    """The text of an event out of those of its edits.

    >>> summed_up(["moved nose at frame 40", "moved tail at frame 40"])
    'moved nose at frame 40, and 1 more'
    """
    every = list(texts)
    return every[0] if len(every) == 1 else f"{every[0]}, and {len(every) - 1} more"
