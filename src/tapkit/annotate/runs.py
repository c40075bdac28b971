"""What trackers say: stored run by run, beside what people said and never in its place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from tapkit.annotate import blocks as packed
from tapkit.annotate import lookup, predictions, rules
from tapkit.annotate.database import Database, lock_clip
from tapkit.annotate.recorder import Recorder, Who
from tapkit.annotate.refusals import Unknown
from tapkit.annotate.schema import events, keyframes, sources
from tapkit.annotate.values import Stored
from tapkit.errors import ShapeError, UsageError
from tapkit.types import Provenance


@dataclass(frozen=True, eq=False)
class Found:
    """What a tracker found of P points on frames start..stop."""

    points: tuple[int, ...]
    start: int
    stop: int
    xy: np.ndarray
    """[P,n,2] float32, NaN where it found nothing."""
    visible: np.ndarray
    """[P,n] float32."""
    confidence: np.ndarray
    """[P,n] float32."""
    disagreement: np.ndarray
    """[P,n] float32, NaN where it was not measured."""

    @classmethod
    def of(
        cls, point: int | Sequence[int], start: int, stop: int, xy: Any, visible: Any, confidence: Any,
        disagreement: Any = None,
    ) -> Found:  # fmt: skip
        """From the arguments of `Project.store_span`. Raises `ShapeError`, `UsageError`."""
        ids = (int(point),) if isinstance(point, int | np.integer) else tuple(int(each) for each in point)
        shape = (len(ids), stop - start)
        if not 0 <= start < stop:
            raise UsageError(f"frames {start} to {stop} (excluded) are no span")
        if len(set(ids)) != len(ids) or not ids:
            raise UsageError("a span is of one point or of several different ones")
        found = [np.asarray(xy, np.float32)]
        missing = np.full(shape, np.nan, np.float32)
        found += [np.asarray(part, np.float32) for part in (visible, confidence)]
        found.append(missing if disagreement is None else np.asarray(disagreement, np.float32))
        if isinstance(point, int | np.integer):
            found = [part if part.ndim == len(shape) + (k == 0) else part[None] for k, part in enumerate(found)]
        names = ("positions", "visible", "confidence", "disagreement")
        for name, part, wanted in zip(names, found, ((*shape, 2), shape, shape, shape), strict=True):
            if part.shape != wanted:
                raise ShapeError(f"{name} must be {list(wanted)} for {shape[0]} points on {shape[1]} frames, "
                                 f"got {list(part.shape)}")  # fmt: skip
        there = np.isfinite(found[0]).all(-1)
        for name, part in zip(names[1:3], found[1:3], strict=True):
            chances = part[there]
            if chances.size and not (chances.min() >= 0 and chances.max() <= 1):
                raise UsageError(f"{name} must be probabilities in 0..1 wherever there is a position")
        return cls(ids, start, stop, *found)


def store(
    database: Database, clip: int, found: Found, tracker: str | Provenance, weights_hash: str, run: int | None, who: Who
) -> Stored:
    """See `Project.store_span`."""
    with database.write() as connection:
        row = lock_clip(connection, clip)
        if found.stop > row.frames:
            raise UsageError(f"the clip has {row.frames} frames, the span ends at {found.stop}")
        layer = rules.layer_to_change(connection, clip, who.user)
        made = tracker if isinstance(tracker, Provenance) else Provenance(tracker, weights_hash)
        record = _record(connection, row, layer, who, run)
        write(record, database, found, made)
        revision = record.close(f"tracked {_points(len(record.points))} with {made.model or 'a tracker'}")
        return Stored(record.event, revision)


def write(record: Recorder, database: Database, found: Found, made: Provenance) -> None:
    """Put what was found in place, as part of an event."""
    connection = record.connection
    here = set(lookup.alive(connection, record.clip.id, record.layer))
    for point in found.points:
        if point not in here:
            raise Unknown(f"there is no point {point} in this clip (any more)")
    wanted = packed.span(found.start, found.stop)
    frames = predictions.read(connection, found.points, wanted)
    first = wanted.start * packed.FRAMES
    place = slice(found.start - first, found.stop - first)
    there = np.isfinite(found.xy).all(-1)
    new = packed.empty(*there.shape)
    new["x"], new["y"] = found.xy[..., 0], found.xy[..., 1]
    for name in ("visible", "confidence", "disagreement"):
        new[name] = getattr(found, name)
    new["source"] = source_of(connection, made)
    frames[:, place] = np.where(there, new, frames[:, place])
    changed = np.zeros(frames.shape, bool)
    changed[:, place] = there
    predictions.write(record, database, found.points, wanted, frames, changed)
    _arrive(record, found, frames, first, there)
    low, high = record.span or (found.start, found.stop)
    record.span = (min(low, found.start), max(high, found.stop))


def source_of(connection: sa.Connection, made: Provenance) -> int:
    """The number of a source of predictions; a new one if need be."""
    values = {
        "tracker": made.model,
        "weights_hash": made.weights_sha256,
        "provenance": json.dumps(made.to_dict(), sort_keys=True),
    }
    number = connection.execute(sa.select(sources.c.id).filter_by(**values)).scalar()
    if number is None:
        row = connection.execute(sources.insert().values(**values))
        assert row.inserted_primary_key is not None
        number = row.inserted_primary_key[0]
    return int(number)


def _record(connection: sa.Connection, clip: sa.Row[Any], layer: int, who: Who, run: int | None) -> Recorder:
    if run is None:
        return Recorder.begin(connection, clip, layer, who, "run")
    row = connection.execute(sa.select(events).where(events.c.id == run)).one_or_none()
    if row is None or row.clip != clip.id or row.layer != layer or row.kind != "run" or row.author != who.user:
        raise Unknown(f"there is no run {run} of this user in this clip")
    if row.undone_by is not None:
        raise UsageError("this run was undone: begin another one")
    return Recorder.resume(connection, clip, who, row)


def _arrive(record: Recorder, found: Found, frames: np.ndarray, first: int, there: np.ndarray) -> None:
    """Note what the run says at keyframes, on the side or sides from which it comes to them.

    `frames` are the stored predictions from frame `first` on, with those of the run.
    """
    before = record.span or (0, 0)
    row_of = {point: row for row, point in enumerate(found.points)}

    def said(row: int, frame: int) -> bool:
        if found.start <= frame < found.stop:
            return bool(there[row, frame - found.start])
        return before[0] <= frame < before[1]

    for some in lookup.batches(found.points):
        query = sa.select(keyframes.c.point, keyframes.c.frame).where(
            keyframes.c.point.in_(some), keyframes.c.frame >= found.start - 1, keyframes.c.frame <= found.stop
        )
        for point, t in record.connection.execute(query).all():
            row = row_of[point]
            values: dict[str, float | None] = {}
            for side, beside in (("left", t - 1), ("right", t + 1)):
                if said(row, beside):
                    at = _at(record, point, frames[row], first, t) if said(row, t) else (None, None)
                    values |= {f"{side}_x": at[0], f"{side}_y": at[1]}
            if values:
                key = {"point": point, "frame": t}
                whole = {**dict.fromkeys(_SIDES), **(record.get("arrivals", key) or {}), **values}
                record.put("arrivals", key, None if all(whole[name] is None for name in _SIDES) else whole)


_SIDES = ("left_x", "left_y", "right_x", "right_y")


def _at(
    record: Recorder, point: int, frames: np.ndarray, first: int, t: int
) -> tuple[float, float] | tuple[None, None]:
    """The prediction on a frame, from `frames` or, where it lies beside them, from the database."""
    if not first <= t < first + len(frames):
        frames, first = predictions.read(record.connection, [point], packed.span(t, t + 1))[0], t - t % packed.FRAMES
    x, y = float(frames["x"][t - first]), float(frames["y"][t - first])
    return (x, y) if np.isfinite(x) else (None, None)


def _points(number: int) -> str:
    return f"{number} point" + "s" * (number != 1)
