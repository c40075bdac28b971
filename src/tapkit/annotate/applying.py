"""What each kind of edit does to the rows of a clip, and how it is said in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from tapkit.annotate import blocks as packed
from tapkit.annotate import edits as e
from tapkit.annotate import predictions
from tapkit.annotate.refusals import Unknown
from tapkit.annotate.schema import arrivals, keyframes, visibility
from tapkit.errors import QueryError, UsageError

if TYPE_CHECKING:
    from tapkit.annotate.database import Database
    from tapkit.annotate.recorder import Recorder, Row


def apply(record: Recorder, database: Database, edit: e.Edit) -> str:
    """Do one edit. Returns it in words; raises `UsageError` and its kinds."""
    return _HOW[type(edit)](record, database, edit)


# -- points -------------------------------------------------------------------------------------------


def _add_point(record: Recorder, database: Database, edit: e.AddPoint) -> str:
    _check_place(record, edit.t, edit.x, edit.y, True)
    if edit.object is not None:
        _object(record, edit.object)
    point = new_point(record, edit.label, edit.group, edit.colour, edit.object)
    put_keyframe(record, point, edit.t, edit.x, edit.y, True)
    return f"placed {name_of(record, point)} at frame {edit.t}"


def new_point(
    record: Recorder, label: str, group: str = "", colour: str = "", object: int | None = None,
    origin: int | None = None,
) -> int:  # fmt: skip
    """A point without anything yet."""
    point = record.make(
        "points",
        {
            "clip": record.clip.id, "layer": record.layer, "label": label, "grouping": group, "colour": colour,
            "object": object, "origin": origin, "author": record.who.user, "created": record.time,
        },
    )  # fmt: skip
    if not label:
        record.put("points", {"id": point}, {"label": f"point {point}"})
    return point


def _delete_point(record: Recorder, database: Database, edit: e.DeletePoint) -> str:
    name = name_of(record, edit.point)
    record.put("points", {"id": edit.point}, {"deleted": True})
    return f"deleted {name}"


def _edit_point(record: Recorder, database: Database, edit: e.EditPoint) -> str:
    before = name_of(record, edit.point)
    if edit.object:
        _object(record, edit.object)
    asked = {"label": edit.label, "grouping": edit.group, "colour": edit.colour}
    values: Row = {name: value for name, value in asked.items() if value is not None}
    if edit.object is not None:
        values["object"] = edit.object or None
    if values.get("label") == "":
        values["label"] = f"point {edit.point}"
    record.put("points", {"id": edit.point}, values)
    after = name_of(record, edit.point)
    return f"renamed {before} to {after}" if before != after else f"changed {after}"


def _merge_points(record: Recorder, database: Database, edit: e.MergePoints) -> str:
    names = name_of(record, edit.keep), name_of(record, edit.other)
    has = {row.frame for row in _rows(record, keyframes, edit.keep)}
    for row in _rows(record, keyframes, edit.other):
        if row.frame not in has:
            values = {name: getattr(row, name) for name in ("x", "y", "visible", "author", "time")}
            record.put("keyframes", {"point": edit.keep, "frame": row.frame}, values)
            arrival = record.get("arrivals", {"point": edit.other, "frame": row.frame})
            if arrival is not None:
                record.put("arrivals", {"point": edit.keep, "frame": row.frame}, {**arrival, "point": edit.keep})
    own = [(row.start, row.stop) for row in _rows(record, visibility, edit.keep)]
    for row in _rows(record, visibility, edit.other):
        for start, stop in outside((row.start, row.stop), own):
            put_visibility(record, edit.keep, start, stop, row.state)
    whole = packed.span(0, record.clip.frames)
    mine, theirs = predictions.read(record.connection, [edit.keep, edit.other], whole)
    taken = (mine["source"] == 0) & (theirs["source"] > 0)
    merged = np.where(taken, theirs, mine)
    predictions.write(record, database, [edit.keep], whole, merged[None], taken[None])
    record.put("points", {"id": edit.other}, {"deleted": True})
    return f"merged {names[1]} into {names[0]}"


def outside(span: tuple[int, int], others: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts of a span that are in none of the others.

    >>> outside((0, 10), [(2, 4), (8, 20)])
    [(0, 2), (4, 8)]
    """
    parts, at = [], span[0]
    for start, stop in sorted(others):
        if start > at and start < span[1]:
            parts.append((at, start))
        at = max(at, stop)
    return [*parts, (at, span[1])] if at < span[1] else parts


# -- what is said of a point --------------------------------------------------------------------------


def _set_keyframe(record: Recorder, database: Database, edit: e.SetKeyframe) -> str:
    name = name_of(record, edit.point)
    _check_place(record, edit.t, edit.x, edit.y, edit.visible)
    there = record.get("keyframes", {"point": edit.point, "frame": edit.t}) is not None
    put_keyframe(record, edit.point, edit.t, edit.x, edit.y, edit.visible)
    return f"{'moved' if there else 'set'} {name} at frame {edit.t}"


def put_keyframe(record: Recorder, point: int, t: int, x: float, y: float, visible: bool) -> None:
    """A keyframe, with what the prediction says on its frame: the path is corrected by the difference."""
    key = {"point": point, "frame": t}
    if record.get("keyframes", key) is None:
        frame = predictions.read(record.connection, [point], packed.span(t, t + 1))[0, t % packed.FRAMES]
        if np.isfinite(frame["x"]):
            said = {"x": float(frame["x"]), "y": float(frame["y"])}
            record.put("arrivals", key, {f"{side}_{axis}": said[axis] for side in ("left", "right") for axis in "xy"})
    values = {"x": float(x), "y": float(y), "visible": visible, "author": record.who.user, "time": record.time}
    record.put("keyframes", key, values)


def _delete_keyframe(record: Recorder, database: Database, edit: e.DeleteKeyframe) -> str:
    name = name_of(record, edit.point)
    key = {"point": edit.point, "frame": edit.t}
    if record.get("keyframes", key) is None:
        raise UsageError(f"{name} has no keyframe at frame {edit.t}")
    record.put("keyframes", key, None)
    record.put("arrivals", key, None)
    return f"took the keyframe of {name} at frame {edit.t} away"


def _set_visibility(record: Recorder, database: Database, edit: e.SetVisibility) -> str:
    name = name_of(record, edit.point)
    _check_span(record, edit.start, edit.stop)
    put_visibility(record, edit.point, edit.start, edit.stop, edit.state)
    said = "as the tracker says" if edit.state is None else edit.state
    return f"{name} is {said} in frames {edit.start} to {edit.stop - 1}"


def put_visibility(record: Recorder, point: int, start: int, stop: int, state: str | None) -> None:
    """Say on these frames what is said in `state`; spans beside it that say the same become one with it."""
    rest = []
    for row in _rows(record, visibility, point):
        if row.stop < start or row.start > stop:
            continue
        joins = row.state == state
        if not joins and (row.stop == start or row.start == stop):
            continue
        record.put("visibility", {"point": point, "start": row.start}, None)
        if joins:
            start, stop = min(start, row.start), max(stop, row.stop)
        else:
            rest.append(row)
    for row in rest:
        for first, last in outside((row.start, row.stop), [(start, stop)]):
            values = {"stop": last, "state": row.state, "author": row.author, "time": row.time}
            record.put("visibility", {"point": point, "start": first}, values)
    if state is not None:
        values = {"stop": stop, "state": state, "author": record.who.user, "time": record.time}
        record.put("visibility", {"point": point, "start": start}, values)


def _delete_prediction(record: Recorder, database: Database, edit: e.DeletePrediction) -> str:
    name = name_of(record, edit.point)
    _check_span(record, edit.start, edit.stop)
    forget(record, database, edit.point, edit.start, edit.stop)
    return f"forgot the prediction of {name} in frames {edit.start} to {edit.stop - 1}"


def forget(record: Recorder, database: Database, point: int, start: int, stop: int) -> None:
    """Take predictions away on frames start..stop."""
    wanted = packed.span(start, stop)
    frames = predictions.read(record.connection, [point], wanted)
    first = wanted.start * packed.FRAMES
    gone = np.zeros(frames.shape, bool)
    gone[:, start - first : stop - first] = True
    gone &= frames["source"] > 0
    frames[gone] = packed.empty(int(gone.sum()))
    predictions.write(record, database, [point], wanted, frames, gone)
    query = sa.select(arrivals.c.frame).where(
        arrivals.c.point == point, arrivals.c.frame >= start, arrivals.c.frame < stop
    )
    for row in record.connection.execute(query).all():
        record.put("arrivals", {"point": point, "frame": row.frame}, None)


# -- objects and skeleton -----------------------------------------------------------------------------


def _set_box(record: Recorder, database: Database, edit: e.SetBox) -> str:
    _check_frame(record, edit.t)
    height, width = record.size
    if not (edit.x0 >= 0 and edit.x1 <= width and edit.y0 >= 0 and edit.y1 <= height):
        raise QueryError(f"a box lies within the picture, 0..{width} by 0..{height}")
    number = edit.object
    if number is None:
        number = new_object(record, edit.label or "")
    elif edit.label:
        _object(record, number)
        record.put("objects", {"id": number}, {"label": edit.label})
    label = _object(record, number)["label"]
    corners = {name: float(getattr(edit, name)) for name in ("x0", "y0", "x1", "y1")}
    signed = {"author": record.who.user, "time": record.time}
    record.put("boxes", {"object": number, "frame": edit.t}, {**corners, **signed})
    return f"boxed {label} at frame {edit.t}"


def new_object(record: Recorder, label: str) -> int:
    """An object without any box yet."""
    number = record.make("objects", {"clip": record.clip.id, "layer": record.layer, "label": label})
    if not label:
        record.put("objects", {"id": number}, {"label": f"object {number}"})
    return number


def _delete_box(record: Recorder, database: Database, edit: e.DeleteBox) -> str:
    label = _object(record, edit.object)["label"]
    if edit.t is None:
        record.put("objects", {"id": edit.object}, {"deleted": True})
        return f"deleted {label}"
    key = {"object": edit.object, "frame": edit.t}
    if record.get("boxes", key) is None:
        raise UsageError(f"{label} has no box at frame {edit.t}")
    record.put("boxes", key, None)
    return f"took the box of {label} at frame {edit.t} away"


def _set_skeleton(record: Recorder, database: Database, edit: e.SetSkeleton) -> str:
    for link in edit.links:
        for point in link:
            name_of(record, point)
    key = {"clip": record.clip.id, "layer": record.layer}
    record.put("skeletons", key, {"links": json.dumps([list(link) for link in edit.links])})
    return f"drew a skeleton of {len(edit.links)} edges" if edit.links else "took the skeleton away"


# -- what must hold -----------------------------------------------------------------------------------


def name_of(record: Recorder, point: int) -> str:
    """What a point is called. Raises `Unknown` for one that is not in this layer of the clip, or is deleted."""
    row = record.get("points", {"id": point})
    if row is None or row["clip"] != record.clip.id or row["layer"] != record.layer or row["deleted"]:
        raise Unknown(f"there is no point {point} in this clip (any more)")
    return f"{row['grouping']}.{row['label']}" if row["grouping"] else str(row["label"])


def _object(record: Recorder, number: int) -> Row:
    row = record.get("objects", {"id": number})
    if row is None or row["clip"] != record.clip.id or row["layer"] != record.layer or row["deleted"]:
        raise Unknown(f"there is no object {number} in this clip (any more)")
    return row


def _check_frame(record: Recorder, t: int) -> None:
    if not 0 <= t < record.clip.frames:
        raise QueryError(f"frame {t} is not in the clip: its frames are 0..{record.clip.frames - 1}")


def _check_span(record: Recorder, start: int, stop: int) -> None:
    _check_frame(record, start)
    _check_frame(record, stop - 1)


def _check_place(record: Recorder, t: int, x: float, y: float, visible: bool) -> None:
    """A point that is seen is in the picture; one that is hidden may be beside it, by a picture's size."""
    _check_frame(record, t)
    height, width = record.size
    over_x, over_y = (0, 0) if visible else (width, height)
    if not (-over_x <= x <= width + over_x and -over_y <= y <= height + over_y):
        raise QueryError(f"({x:g}, {y:g}) is outside of the picture, which is {width}x{height}")


def _rows(record: Recorder, table: sa.Table, point: int) -> list[Any]:
    second = table.c.start if table is visibility else table.c.frame
    return list(record.connection.execute(sa.select(table).where(table.c.point == point).order_by(second)))


_HOW: Mapping[type[e.Edit], Callable[..., str]] = {
    e.AddPoint: _add_point,
    e.SetKeyframe: _set_keyframe,
    e.DeleteKeyframe: _delete_keyframe,
    e.DeletePoint: _delete_point,
    e.EditPoint: _edit_point,
    e.SetVisibility: _set_visibility,
    e.DeletePrediction: _delete_prediction,
    e.MergePoints: _merge_points,
    e.SetBox: _set_box,
    e.DeleteBox: _delete_box,
    e.SetSkeleton: _set_skeleton,
}
