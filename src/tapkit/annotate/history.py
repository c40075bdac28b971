"""The log: what was done, taking it back, doing it again, and who changed what in the meantime."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from tapkit.annotate import blocks as packed
from tapkit.annotate import lookup, predictions, rules
from tapkit.annotate.database import Database, lock_clip, look_at_clip
from tapkit.annotate.recorder import Recorder, Who
from tapkit.annotate.refusals import Conflict, Unknown
from tapkit.annotate.result import Said, resolve
from tapkit.annotate.schema import blocks, kept, users
from tapkit.annotate.schema import events as log
from tapkit.annotate.values import Change, Comparison, Event
from tapkit.errors import UsageError

_DONE = ("edit", "run")
"""Kinds of events that can be undone; the others are what undid them."""
_HUMAN = ("edit", "undo", "redo")
"""Kinds of events that nobody overwrites unasked."""


def check(
    connection: sa.Connection, clip: int, layer: int, touched: set[int], base: int, who: Who, after: int = 0
) -> None:
    """Raise `Conflict` if anyone but `who` has changed these points since revision `base` (and event `after`)."""
    query = sa.select(log).where(
        log.c.clip == clip, log.c.layer == layer, log.c.revision > base, log.c.id > after, log.c.kind.in_(_HUMAN)
    )
    for row in connection.execute(query.order_by(log.c.id.desc())):
        if (row.author, row.session) == (who.user, who.session):
            continue
        both = touched.intersection(json.loads(row.points))
        if both:
            name = connection.execute(sa.select(users.c.name).where(users.c.id == row.author)).scalar()
            theirs = tuple(lookup.points(connection, clip, layer, sorted(both)))
            by = name or "someone in another window"
            raise Conflict(
                f"{by} has changed this in the meantime ({row.text}); to do it all the same, force it", theirs
            )


# -- undo and redo ------------------------------------------------------------------------------------


def undo(database: Database, clip: int, who: Who, force: bool) -> Change:
    """See `Project.undo`."""
    with database.write() as connection:
        row = lock_clip(connection, clip)
        layer = rules.layer_to_change(connection, clip, who.user)
        last = _last(connection, clip, layer, who.user)
        if last is None:
            raise UsageError("there is nothing to undo")
        done = _event(connection, last.redone_by or last.id)
        change = _inverted(database, connection, row, layer, who, done, "undo", f"undid: {last.text}", force)
        connection.execute(log.update().where(log.c.id == last.id).values(undone_by=change.event))
        return change


def redo(database: Database, clip: int, who: Who, force: bool) -> Change:
    """See `Project.redo`."""
    with database.write() as connection:
        row = lock_clip(connection, clip)
        layer = rules.layer_to_change(connection, clip, who.user)
        undone = _undone(connection, clip, layer, who.user)
        if undone is None:
            raise UsageError("there is nothing to do again")
        done = _event(connection, undone.undone_by)
        change = _inverted(database, connection, row, layer, who, done, "redo", f"did again: {undone.text}", force)
        values = {"undone_by": None, "redone_by": change.event}
        connection.execute(log.update().where(log.c.id == undone.id).values(**values))
        return change


def can(connection: sa.Connection, clip: int, layer: int, user: int | None) -> tuple[bool, bool]:
    """Whether the user has something to undo, and to redo."""
    return _last(connection, clip, layer, user) is not None, _undone(connection, clip, layer, user) is not None


def _own(clip: int, layer: int, user: int | None) -> sa.Select[Any]:
    mine = log.c.author.is_(None) if user is None else log.c.author == user
    return sa.select(log).where(log.c.clip == clip, log.c.layer == layer, mine, log.c.kind.in_(_DONE))


def _last(connection: sa.Connection, clip: int, layer: int, user: int | None) -> sa.Row[Any] | None:
    """The latest thing that the user did and did not undo."""
    query = _own(clip, layer, user).where(log.c.undone_by.is_(None)).order_by(log.c.id.desc()).limit(1)
    return connection.execute(query).one_or_none()


def _undone(connection: sa.Connection, clip: int, layer: int, user: int | None) -> sa.Row[Any] | None:
    """What the user undid last, unless they did something else since."""
    own = _own(clip, layer, user)
    row = connection.execute(own.where(log.c.undone_by.is_not(None)).order_by(log.c.undone_by.desc()).limit(1)).first()
    if row is None or connection.execute(own.where(log.c.id > row.undone_by).limit(1)).first() is not None:
        return None
    return row


def _event(connection: sa.Connection, event: int) -> sa.Row[Any]:
    row = connection.execute(sa.select(log).where(log.c.id == event)).one_or_none()
    if row is None:
        raise Unknown(f"there is no event {event}")
    return row


def _inverted(
    database: Database, connection: sa.Connection, clip: sa.Row[Any], layer: int, who: Who, done: sa.Row[Any],
    kind: str, text: str, force: bool,
) -> Change:  # fmt: skip
    """Put everything that an event changed back as it was."""
    if not force:
        check(connection, clip.id, layer, set(json.loads(done.points)), 0, who, after=done.id)
    record = Recorder.begin(connection, clip, layer, who, kind)
    record.points.update(dict.fromkeys(json.loads(done.points)))
    for table, key, before, _ in reversed(json.loads(done.changes)):
        values = None if before is None else {name: value for name, value in before.items() if name not in key}
        record.put(table, key, values)
    was = connection.execute(sa.select(kept).where(kept.c.event == done.id)).all()
    _put_blocks(connection, record, done, was, force)
    return record.finish(text)


def _put_blocks(
    connection: sa.Connection, record: Recorder, done: sa.Row[Any], was: Sequence[sa.Row[Any]], force: bool
) -> None:
    """Predictions as they were before an event."""
    keys = [(row.point, row.block) for row in was]
    written: dict[tuple[int, int], int] = {}
    for some in lookup.batches([*dict.fromkeys(point for point, _ in keys)]):
        query = sa.select(blocks.c.point, blocks.c.block, blocks.c.event).where(blocks.c.point.in_(some))
        written |= {(row.point, row.block): row.event for row in connection.execute(query)}
    newer = {event for key in keys if (event := written.get(key, done.id)) > done.id}
    if not force and any(_others(connection, event, done) for event in newer):
        raise Conflict("other predictions have taken the place of these since: force it to undo them too")
    record.keep_blocks(keys)
    rows = [
        {"point": row.point, "block": row.block, "data": row.data, "digest": row.digest, "event": record.event}
        for row in was
        if row.data is not None
    ]
    predictions.put(connection, rows, [(row.point, row.block) for row in was if row.data is None])


def _others(connection: sa.Connection, event: int, done: sa.Row[Any]) -> bool:
    """Whether an event is that of another user than the one of `done`."""
    author = connection.execute(sa.select(log.c.author).where(log.c.id == event)).scalar()
    return bool(author != done.author)


# -- looking back -------------------------------------------------------------------------------------


def events(database: Database, clip: int, after: int, user: int | None) -> list[Event]:
    """See `Project.events`."""
    with database.read() as connection:
        look_at_clip(connection, clip)
        layer = rules.layer_to_see(connection, clip, user)
        query = sa.select(log).where(log.c.clip == clip, log.c.layer == layer, log.c.id > after).order_by(log.c.id)
        return [
            Event(
                row.id, row.clip, row.author, row.time, row.kind, row.text, tuple(json.loads(row.points)), row.revision,
                row.undone_by is not None,
            )
            for row in connection.execute(query)
        ]  # fmt: skip


def compare(database: Database, clip: int, event: int, user: int | None) -> list[Comparison]:
    """See `Project.compare`: the present rows, with all that happened from the event on taken back in memory."""
    with database.read() as connection:
        row = look_at_clip(connection, clip)
        rules.may_see(connection, clip, user)
        chosen = _event(connection, event)
        if chosen.clip != clip:
            raise Unknown(f"there is no event {event} in this clip")
        layer = chosen.layer
        there = set(lookup.alive(connection, clip, layer))
        ids = [point for point in json.loads(chosen.points) if point in there]
        frames = predictions.read(connection, ids, packed.span(0, row.frames))
        said = lookup.said(connection, ids)
        back = _Back(said, frames, ids)
        query = sa.select(log).where(log.c.clip == clip, log.c.layer == layer, log.c.id >= event)
        for done in connection.execute(query.order_by(log.c.id.desc())).all():
            back.take(json.loads(done.changes))
            keeping = sa.select(kept).where(kept.c.event == done.id, kept.c.point.in_(ids))
            back.take_blocks(connection.execute(keeping).all())
        sources = packed.sources_of(frames) | packed.sources_of(back.frames)
        rule_of = database.rules(connection, sources)
    count = row.frames
    return [
        Comparison(
            resolve(point, back.said(point), back.frames[place, :count], 0, rule_of),
            resolve(point, said[point], frames[place, :count], 0, rule_of),
        )
        for place, point in enumerate(ids)
    ]


class _Back:
    """Points as they were: rows and blocks that are put back in memory only."""

    def __init__(self, said: dict[int, Said], frames: np.ndarray, ids: list[int]) -> None:
        self.frames = frames.copy()
        self._row = {point: place for place, point in enumerate(ids)}
        self._keys: dict[int, dict[int, Any]] = {point: {} for point in ids}
        self._spans: dict[int, dict[int, Any]] = {point: {} for point in ids}
        for point, each in said.items():
            table = zip(each.t.tolist(), each.xy, each.visible, each.left, each.right, strict=True)
            self._keys[point] = {t: [xy, seen, left, right] for t, xy, seen, left, right in table}
            self._spans[point] = {start: (stop, state) for start, stop, state in each.spans}

    def take(self, changes: list[list[Any]]) -> None:
        """Take the changes of an event back."""
        for table, key, before, _ in reversed(changes):
            if key.get("point") not in self._row:
                continue
            point = key["point"]
            if table == "visibility":
                span = self._spans[point]
                span.pop(key["start"], None)
                if before is not None:
                    span[key["start"]] = (before["stop"], before["state"])
            elif table == "keyframes" and before is None:
                self._keys[point].pop(key["frame"], None)
            elif table in ("keyframes", "arrivals"):
                none = np.full(2, np.nan)
                entry = self._keys[point].setdefault(key["frame"], [none, False, none, none])
                if table == "keyframes":
                    entry[:2] = np.array([before["x"], before["y"]]), before["visible"]
                else:
                    entry[2:] = [_side(before, side) for side in ("left", "right")]

    def take_blocks(self, rows: Sequence[sa.Row[Any]]) -> None:
        """Put the blocks that an event replaced back."""
        for row in rows:
            place = slice(row.block * packed.FRAMES, (row.block + 1) * packed.FRAMES)
            old = packed.empty(packed.FRAMES) if row.data is None else packed.unpack(row.data)
            self.frames[self._row[row.point], place] = old

    def said(self, point: int) -> Said:
        """What people had said."""
        spans = tuple((start, stop, state) for start, (stop, state) in sorted(self._spans[point].items()))
        keys = sorted((t, entry) for t, entry in self._keys[point].items() if np.isfinite(entry[0]).all())
        if not keys:
            return Said(spans=spans)
        columns = [np.array([entry[k] for _, entry in keys]) for k in range(4)]
        return Said(np.array([t for t, _ in keys]), columns[0], columns[1].astype(bool), columns[2], columns[3], spans)


def _side(arrival: dict[str, Any] | None, side: str) -> np.ndarray:
    pair = [None, None] if arrival is None else [arrival[f"{side}_x"], arrival[f"{side}_y"]]
    return np.array([np.nan if value is None else value for value in pair], float)
