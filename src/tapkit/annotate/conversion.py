"""A clip's points as tracks, and tracks as points of a clip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from tapkit.annotate import applying, clips, lookup, predictions, reading, rules, runs
from tapkit.annotate import blocks as packed
from tapkit.annotate.database import Database, lock_clip, look_at_clip
from tapkit.annotate.recorder import Recorder, Who
from tapkit.annotate.schema import sources
from tapkit.annotate.values import Clip, Point, Positions
from tapkit.errors import ShapeError, UsageError
from tapkit.types import Provenance, Queries, Tracks, VideoInfo

_MOST_RECORDED = 10_000
"""Keyframes that are recorded as passed through, as `engine.retrack` does."""


def to_tracks(database: Database, clip: int, points: Sequence[int] | None, user: int | None, of: int | None) -> Tracks:
    """See `Project.to_tracks`. Points of which nothing is known on any frame are left out."""
    with database.read() as connection:
        row = look_at_clip(connection, clip)
        layer = rules.layer_to_see(connection, clip, user, of)
        ids = reading.chosen(connection, clip, layer, points)
        found = reading.read(database, connection, ids, 0, row.frames, row.frames)
        found = [each for each in found if each.source.strip("-")]
        said = {each.id: each for each in lookup.points(connection, clip, layer, ids)}
        info = replace(clips.info_of(row), path=str(clips.place_of(database, row)))
        made = _provenance(connection, [each.id for each in found], row.frames)
        edges = lookup.skeleton(connection, clip, layer)
    names = names_of([said[each.id] for each in found])
    joined = tuple((names[a], names[b]) for a, b in edges if a in names and b in names)
    return _tracks(found, [said[each.id] for each in found], names, info, made, joined)


def names_of(points: Sequence[Point]) -> dict[int, str]:
    """Names by id, each only once: "group.label", with the id where two are called the same."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for point in points:
        name = f"{point.group}.{point.label}" if point.group else point.label
        name = f"{name} ({point.id})" if name in taken else name
        taken.add(name)
        names[point.id] = name
    return names


def _tracks(
    found: Sequence[Positions], said: Sequence[Point], names: dict[int, str], info: VideoInfo,
    made: Sequence[Provenance], skeleton: tuple[tuple[str, str], ...],
) -> Tracks:  # fmt: skip
    assert info.frames is not None  # a clip's always are counted
    count, frames = len(found), info.frames
    xy = np.stack([each.xy for each in found]) if count else np.zeros((0, frames, 2), np.float32)
    seen, chance, sure = (
        np.stack([np.nan_to_num(getattr(each, name)) for each in found]) if count else np.zeros((0, frames))
        for name in ("visible", "chance", "confidence")
    )
    keyframe = np.array([[letter == "k" for letter in each.source] for each in found], bool).reshape(count, frames)
    valid = np.asarray(np.isfinite(xy).all(-1))
    source, visible = _agreed(made, chance, sure, seen.astype(bool), valid)
    starts = [_start(point, each) for point, each in zip(said, found, strict=True)]
    queries = Queries(
        np.array([t for t, _ in starts], np.int64), np.array([at for _, at in starts]), list(names.values())  # type: ignore[arg-type]
    )  # fmt: skip
    rows, t = np.nonzero(keyframe)
    through = [
        [str(queries.ids[n]), int(k), float(xy[n, k, 0]), float(xy[n, k, 1])] for n, k in zip(rows, t, strict=True)
    ]
    if 0 < len(through) <= _MOST_RECORDED:
        source = replace(source, options={**source.options, "through": through})
    return Tracks(xy, visible, sure, valid, queries, info, source, keyframe, skeleton)


def _start(point: Point, found: Positions) -> tuple[int, np.ndarray]:
    """A point's query: its first keyframe on which it is seen, else its first keyframe, else its first position."""
    keys = [key for key in point.keyframes if key.visible] or point.keyframes
    t = keys[0].t if keys else len(found.source) - len(found.source.lstrip("-"))
    return t, found.xy[t]


def _provenance(connection: sa.Connection, ids: Sequence[int], frames: int) -> list[Provenance]:
    """Where the predictions come from, the most frequent first."""
    counts: dict[int, int] = {}
    for some in lookup.batches(ids, max(500_000 // frames, 1)):
        stored = predictions.read(connection, some, packed.span(0, frames))["source"]
        for number, count in zip(*np.unique(stored[stored > 0], return_counts=True), strict=True):
            counts[int(number)] = counts.get(int(number), 0) + int(count)
    rows = {row.id: row for row in connection.execute(sa.select(sources).where(sources.c.id.in_(list(counts))))}
    ordered = sorted(counts, key=lambda number: (-counts[number], number))
    return [Provenance(**json.loads(rows[number].provenance)) for number in ordered]


def _agreed(
    made: Sequence[Provenance], chance: np.ndarray, sure: np.ndarray, seen: np.ndarray, valid: np.ndarray
) -> tuple[Provenance, np.ndarray]:
    """One provenance, and P(visible) by whose rule exactly `seen` is visible: 0 and 1 where theirs does not do it."""
    first = made[0] if made else Provenance()
    if len(made) > 1:
        models = [each.model for each in made]
        first = replace(first, options={**first.options, "sources": list(dict.fromkeys(models))})
    if ((first.visible_at(chance, sure) & valid) == seen).all():
        return first, chance
    return replace(first, visible_rule="visible", visible_threshold=0.5), seen.astype(np.float32)


# -- from tracks --------------------------------------------------------------------------------------


def from_tracks(database: Database, tracks: Tracks, video: str | Path | None, clip: int | None, who: Who) -> Clip:
    """See `Project.from_tracks`."""
    if clip is None:
        path = video or tracks.video.path
        if not path:
            raise UsageError("the tracks do not know their video: say where it is")
        clip = clips.add(database, path, None, who.user).id
    with database.write() as connection:
        row = lock_clip(connection, clip)
        if (row.height, row.width) != tracks.video.size or row.frames != tracks.frames:
            height, width = tracks.video.size
            raise ShapeError(
                f"the clip is {row.width}x{row.height} with {row.frames} frames, the tracks are of one of "
                f"{width}x{height} with {tracks.frames}"
            )
        layer = rules.layer_to_change(connection, clip, who.user)
        record = Recorder.begin(connection, row, layer, who, "edit")
        _take(record, database, tracks)
        record.finish(f"took {len(tracks)} tracks over from {tracks.source.model or 'a file'}")
    return clips.one(database, clip, who.user)


def _take(record: Recorder, database: Database, tracks: Tracks) -> None:
    there = lookup.points(record.connection, record.clip.id, record.layer)
    known = {name: point for point, name in names_of(there).items()}
    fresh = [name not in known for name in tracks.ids.tolist()]
    ids = [known.get(name) or applying.new_point(record, name) for name in tracks.ids.tolist()]
    seen = tracks.visible_at()
    if tracks.valid.any():
        chunk = max(500_000 // tracks.frames, 1)
        for start in range(0, len(ids), chunk):
            part = slice(start, start + chunk)
            found = runs.Found.of(
                ids[part], 0, tracks.frames, tracks.xy[part], tracks.visible[part], tracks.confidence[part]
            )
            runs.write(record, database, found, tracks.source)
    human = tracks.keyframe
    assert human is not None  # Tracks sets it
    for row, point in enumerate(ids):
        keys = {t: tracks.xy[row, t] for t in np.flatnonzero(human[row] & tracks.valid[row]).tolist()}
        if fresh[row]:
            keys.setdefault(int(tracks.queries.t[row]), tracks.queries.xy[row])
            _add_keyframes(record, point, keys, tracks, row, seen)
            continue
        for t, xy in keys.items():
            x, y = float(xy[0]), float(xy[1])
            before = record.get("keyframes", {"point": point, "frame": t})
            if before is None or not np.allclose((before["x"], before["y"]), (x, y), atol=1e-3):
                applying.put_keyframe(record, point, t, x, y, bool(seen[row, t]))
    edges = [(ids[a], ids[b]) for a, b in _edges(tracks)]
    if edges:
        key = {"clip": record.clip.id, "layer": record.layer}
        record.put("skeletons", key, {"links": json.dumps(edges)})


def _add_keyframes(
    record: Recorder, point: int, keys: dict[int, Any], tracks: Tracks, row: int, seen: np.ndarray
) -> None:
    """The keyframes of a new point, with what the tracks say on their frames."""
    at = sorted(keys)
    signed = {"author": record.who.user, "time": record.time}
    rows, sides = [], []
    for t in at:
        xy = keys[t]
        said = tracks.xy[row, t] if 0 <= t < tracks.frames and tracks.valid[row, t] else None
        shown = bool(seen[row, t]) if said is not None else True
        rows.append({"point": point, "frame": t, "x": float(xy[0]), "y": float(xy[1]), "visible": shown, **signed})
        if said is not None:
            x, y = float(said[0]), float(said[1])
            sides.append({"point": point, "frame": t, "left_x": x, "left_y": y, "right_x": x, "right_y": y})
    record.add("keyframes", [{"point": point, "frame": each["frame"]} for each in rows], rows)
    record.add("arrivals", [{"point": point, "frame": each["frame"]} for each in sides], sides)


def _edges(tracks: Tracks) -> list[tuple[int, int]]:
    from tapkit.types import skeleton

    return skeleton.rows(tracks.skeleton, tracks.ids.tolist())
