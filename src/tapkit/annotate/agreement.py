"""How far those agree who annotated a clip blind to each other, and taking over what one of them says.

Distances are in pixels of a 256x256 frame, as TAP-Vid counts them; visibility is compared by Cohen's kappa (Cohen,
A Coefficient of Agreement for Nominal Scales, 1960). With more than two annotators figures are means over pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
import sqlalchemy as sa

from tapkit import coords
from tapkit.annotate import applying, copying, doubt, lookup, reading, rules, runs
from tapkit.annotate.database import Database, lock_clip, look_at_clip
from tapkit.annotate.recorder import Recorder, Who
from tapkit.annotate.refusals import Unknown
from tapkit.annotate.values import Agreement, Change, Doubt, Point, PointAgreement, Positions
from tapkit.coords import Size
from tapkit.errors import UsageError
from tapkit.metrics.tapvid import THRESHOLDS
from tapkit.types import Provenance

MEAN = "mean of annotators"
"""The source of what was adopted from all."""


class _Answers(NamedTuple):
    """What annotators say of one point."""

    point: int
    label: str
    answers: dict[int, Point]
    """By user."""


def of_clip(database: Database, clip: int, user: int | None) -> Agreement:
    """See `Project.agreement`."""
    with database.read() as connection:
        row = look_at_clip(connection, clip)
        rules.must_lead(connection, user, "see how others agree")
        return measured(database, connection, row)


def measured(database: Database, connection: sa.Connection, clip: sa.Row[Any]) -> Agreement:
    """The agreement of a clip."""
    layers = _layers(connection, clip.id)
    matched, alone = _matched(connection, clip.id, layers)
    size = (clip.height, clip.width)
    points, places = [], []
    for each in matched:
        ids = [answer.id for answer in each.answers.values()]
        found = reading.read(database, connection, ids, 0, clip.frames, clip.frames)
        figures = [_pair(a, b, size) for a, b in combinations(found, 2)]
        points.append(
            PointAgreement(
                each.point, each.label, tuple(each.answers), _mean([f.median for f in figures]),
                _means([f.within for f in figures]), _mean([f.kappa for f in figures]),
            )
        )  # fmt: skip
        for a, b in combinations(found, 2):
            places += _places(each.point, a, b, size)
    places = sorted(set(places), key=lambda place: (place.t, place.point))
    return Agreement(clip.id, tuple(layers), tuple(points), tuple(places), tuple(alone))


def _layers(connection: sa.Connection, clip: int) -> dict[int, int]:
    """The layer of each user who works (or worked) blind on the clip: their latest."""
    return {row.user: row.id for row in rules.of_clip(connection, clip) if row.blind}


def _matched(
    connection: sa.Connection, clip: int, layers: dict[int, int]
) -> tuple[list[_Answers], list[tuple[int, int]]]:
    """Points that several annotated: those that came from the same one, else those of the same name; and the rest."""
    groups: dict[Any, dict[int, Point]] = defaultdict(dict)
    for user, layer in layers.items():
        for point in lookup.points(connection, clip, layer):
            if point.keyframes:
                groups[point.origin or (point.group, point.label)][user] = point
    matched, alone = [], []
    for key, answers in groups.items():
        first = next(iter(answers.values()))
        label = f"{first.group}.{first.label}" if first.group else first.label
        if len(answers) > 1:
            matched.append(_Answers(key if isinstance(key, int) else first.id, label, answers))
        else:
            alone += [(user, point.id) for user, point in answers.items()]
    return matched, alone


class _Figures(NamedTuple):
    median: float | None
    within: tuple[float, ...] | None
    kappa: float | None


def _pair(one: Positions, other: Positions, size: Size) -> _Figures:
    apart = _apart(one, other, size)
    both = apart[one.visible & other.visible & np.isfinite(apart)]
    said = np.array([a != "-" and b != "-" for a, b in zip(one.source, other.source, strict=True)])
    kappa = cohen(one.visible[said], other.visible[said])
    if not len(both):
        return _Figures(None, None, kappa)
    return _Figures(float(np.median(both)), tuple(float((both < limit).mean()) for limit in THRESHOLDS), kappa)


def _apart(one: Positions, other: Positions, size: Size) -> np.ndarray:
    distance: np.ndarray = np.linalg.norm(coords.resize(one.xy - other.xy, size, (256, 256)), axis=1)
    return distance


def cohen(one: np.ndarray, other: np.ndarray) -> float | None:
    """Cohen's kappa of two bool arrays; None of none, 1 where both say the same throughout.

    >>> cohen(np.array([True, True, False, False]), np.array([True, False, False, False]))
    0.5
    """
    if not len(one):
        return None
    same, first, second = float((one == other).mean()), float(one.mean()), float(other.mean())
    chance = first * second + (1 - first) * (1 - second)
    return 1.0 if chance == 1 else (same - chance) / (1 - chance)


def _places(point: int, one: Positions, other: Positions, size: Size) -> list[Doubt]:
    """Stretches in which two differ, by their worst frame."""
    apart = np.where(one.visible & other.visible, np.nan_to_num(_apart(one, other, size)), 0.0)
    found = [Doubt(t, point, "disagreement", round(float(apart[t]), 2)) for t in doubt.peaks(apart, doubt.NOTED)]
    said = np.array([a != "-" and b != "-" for a, b in zip(one.source, other.source, strict=True)])
    differ = np.flatnonzero((one.visible != other.visible) & said)
    runs_of = np.split(differ, np.flatnonzero(np.diff(differ) > 1) + 1) if len(differ) else []
    return found + [Doubt(int(run[0]), point, "visibility", float(len(run))) for run in runs_of]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None


def _means(values: list[tuple[float, ...] | None]) -> tuple[float, ...] | None:
    known = [value for value in values if value is not None]
    return tuple(round(float(each), 4) for each in np.mean(known, 0)) if known else None


# -- adopting -----------------------------------------------------------------------------------------


def adopt(database: Database, clip: int, point: int, source: int | Literal["mean"], who: Who) -> Change:
    """See `Project.adopt`. `point`: of the clip, or one that only annotators have."""
    if source != "mean" and (isinstance(source, bool) or not isinstance(source, int)):
        raise UsageError('what is adopted is a user\'s, by number, or "mean"')
    with database.write() as connection:
        row = lock_clip(connection, clip)
        rules.must_lead(connection, who.user, "adopt the work of others")
        layer = rules.layer_to_change(connection, clip, who.user)
        answers, target = _answers(connection, clip, point)
        if source != "mean" and source not in answers:
            raise Unknown(f"user {source} says nothing of this point")
        record = Recorder.begin(connection, row, layer, who, "edit")
        first = next(iter(answers.values()))
        target = target or _adopted_before(connection, clip, answers.values())
        if target is None:
            target = applying.new_point(record, first.label, first.group, first.colour)
        else:
            copying.clear(record, target)
        if source == "mean":
            _put_mean(record, database, [answer.id for answer in answers.values()], target)
        else:
            copying.copy(record, answers[source].id, target)
        name = applying.name_of(record, target)
        return record.finish(f"adopted {name} from {'all annotators' if source == 'mean' else f'user {source}'}")


def _adopted_before(connection: sa.Connection, clip: int, answers: Iterable[Point]) -> int | None:
    """The clip's point that one which only annotators had has become before: named and placed as one of theirs."""

    def key(each: Point) -> tuple[object, ...]:
        first = each.keyframes[0] if each.keyframes else None
        return each.label, each.group, first and (first.t, first.x, first.y)

    keys = {key(each) for each in answers}
    return next((each.id for each in lookup.points(connection, clip, rules.COMMON) if key(each) in keys), None)


def _answers(connection: sa.Connection, clip: int, point: int) -> tuple[dict[int, Point], int | None]:
    """What annotators say of a point, by user; and the clip's own point, if there is one."""
    layers = _layers(connection, clip)
    everyone = {user: lookup.points(connection, clip, layer) for user, layer in layers.items()}
    common = {each.id for each in lookup.points(connection, clip, rules.COMMON)}
    if point in common:
        found = {u: p for u, points in everyone.items() for p in points if p.origin == point and p.keyframes}
        target: int | None = point
    else:
        asked = next((p for points in everyone.values() for p in points if p.id == point), None)
        if asked is None:
            raise Unknown(f"there is no point {point} in this clip (any more)")
        same = (asked.group, asked.label)
        found = {u: p for u, points in everyone.items() for p in points if (p.group, p.label) == same and p.keyframes}
        target = asked.origin if asked.origin in common else None
    if not found:
        raise UsageError("no annotator says anything of this point")
    return found, target


def _put_mean(record: Recorder, database: Database, ids: list[int], target: int) -> None:
    """The mean of what several say: positions of those who see it (else of all), keyframes where any set one, and
    visible where at least half say so."""
    frames = record.clip.frames
    found = reading.read(database, record.connection, ids, 0, frames, frames)
    xy = np.stack([each.xy for each in found]).astype(np.float64)
    seen = np.stack([each.visible for each in found])
    there = np.isfinite(xy).all(-1)
    counted = np.where((seen & there).any(0), seen & there, there)
    number = counted.sum(0)
    total = np.where(counted[..., None], np.nan_to_num(xy), 0.0).sum(0)
    mean = np.where(number[:, None] > 0, total / np.maximum(number, 1)[:, None], np.nan)
    visible = (seen & there).sum(0) * 2 >= np.maximum(there.sum(0), 1)
    spread = np.where(counted, np.linalg.norm(xy - mean, axis=-1), 0.0).max(0)
    ones = np.ones(frames)
    made = runs.Found.of(target, 0, frames, mean, visible.astype(float), ones, spread)
    runs.write(record, database, made, Provenance(MEAN))
    keys = sorted({t for each in found for t, letter in enumerate(each.source) if letter == "k"})
    for t in keys:
        applying.put_keyframe(record, target, t, float(mean[t, 0]), float(mean[t, 1]), bool(visible[t]))
