"""Who did what on a project, how long it took, and how far they agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import sqlalchemy as sa

from tapkit.annotate import agreement, rules, team
from tapkit.annotate.database import Database
from tapkit.annotate.schema import clips, events, keyframes, points, users
from tapkit.annotate.values import Report, ReportRow


def of_project(database: Database, user: int | None) -> Report:
    """See `Project.report`. Annotators see their own rows."""
    with database.read() as connection:
        role = rules.role_of(connection, user)
        names = {row.id: row.name for row in connection.execute(sa.select(users))}
        rows: list[ReportRow] = []
        agreed = []
        for clip in connection.execute(sa.select(clips).where(~clips.c.removed).order_by(clips.c.id)).all():
            for who in _workers(connection, clip.id):
                if role != "annotator" or who == user:
                    rows += _rows(connection, clip, who, names)
            if role != "annotator" and sum(row.blind for row in rules.of_clip(connection, clip.id)) > 1:
                found = agreement.measured(database, connection, clip)
                medians = [each.median for each in found.points if each.median is not None]
                kappas = [each.kappa for each in found.points if each.kappa is not None]
                agreed.append((clip.name, _mean(medians), _mean(kappas)))
        return Report(tuple(rows), tuple(agreed))


def _workers(connection: sa.Connection, clip: int) -> list[int | None]:
    """Those who changed something in a clip, or have it to do."""
    authors = connection.execute(sa.select(events.c.author).where(events.c.clip == clip).distinct()).scalars()
    assigned = [row.user for row in rules.of_clip(connection, clip)]
    return sorted({*authors, *assigned}, key=lambda who: (who is None, who or 0))


def _rows(connection: sa.Connection, clip: Any, who: int | None, names: dict[int, str]) -> Iterator[ReportRow]:
    """One row for each assignment; without any, one for all that the user did."""
    shares = [row for row in rules.of_clip(connection, clip.id) if row.user == who]
    name = names.get(who, "") if who is not None else ""
    if not shares:
        yield _row(connection, clip, who, name, "", "", None)
    for share in shares:
        yield _row(connection, clip, who, name, share.stage, share.state, share.id if share.blind else rules.COMMON)


def _row(
    connection: sa.Connection, clip: Any, who: int | None, name: str, stage: str, state: str, layer: int | None
) -> ReportRow:
    mine = keyframes.c.author.is_(None) if who is None else keyframes.c.author == who
    keys = sa.select(keyframes.c.point).join(points).where(points.c.clip == clip.id, ~points.c.deleted, mine)
    did = sa.select(sa.func.count()).select_from(events).where(events.c.clip == clip.id)
    did = did.where(events.c.author.is_(None) if who is None else events.c.author == who)
    if layer is not None:
        keys, did = keys.where(points.c.layer == layer), did.where(events.c.layer == layer)
    touched = [row.point for row in connection.execute(keys)]
    seconds = team.seconds_of(connection, clip.id, who, layer)
    tracks = len(set(touched))
    each = round(seconds / tracks, 1) if tracks else None
    edits = int(connection.execute(did).scalar() or 0)
    return ReportRow(clip.name, name, stage, state, tracks, len(touched), edits, round(seconds, 1), each)


def _mean(values: list[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None
