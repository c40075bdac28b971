"""Accounts, who works on what, what reviewers decide, and what is said about clips."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

import sqlalchemy as sa

from tapkit.annotate import applying, copying, lookup, rules
from tapkit.annotate.database import Database, lock_clip, look_at_clip, now
from tapkit.annotate.recorder import Recorder, Who
from tapkit.annotate.refusals import NotAllowed, Unknown
from tapkit.annotate.schema import assignments as given
from tapkit.annotate.schema import comments as said
from tapkit.annotate.schema import events, reviews
from tapkit.annotate.schema import points as point_rows
from tapkit.annotate.schema import users as accounts
from tapkit.annotate.values import ROLES, STAGES, Assignment, Comment, Role, Stage, User
from tapkit.errors import QueryError, UsageError

IDLE = 60.0
"""Seconds between two edits from which on nobody was at work."""
LONGEST_COMMENT = 4000
"""Characters."""


# -- accounts -----------------------------------------------------------------------------------------


def users(database: Database) -> list[User]:
    """See `Project.users`."""
    with database.read() as connection:
        return [_user(row) for row in connection.execute(sa.select(accounts).order_by(accounts.c.id))]


def add_user(database: Database, name: str, role: Role, password_hash: str, by: int | None) -> User:
    """See `Project.add_user`."""
    name = _checked_name(name)
    _check_role(role)
    with database.write() as connection:
        first = not connection.execute(sa.select(sa.func.count()).select_from(accounts)).scalar()
        if first and role != "owner":
            raise UsageError("the first account of a project is an owner's")
        if not first:
            rules.must_own(connection, by, "make accounts")
        _check_free(connection, name)
        row = connection.execute(
            accounts.insert().values(name=name, role=role, password_hash=password_hash, active=True, created=now())
        )
        assert row.inserted_primary_key is not None
        return _user(_account(connection, row.inserted_primary_key[0]))


def change_user(
    database: Database, user: int, by: int | None, name: str | None, role: Role | None, active: bool | None,
    password_hash: str | None,
) -> User:  # fmt: skip
    """See `Project.change_user`."""
    with database.write() as connection:
        before = _account(connection, user)
        if by != user or role is not None or active is not None:
            rules.must_own(connection, by, "change accounts")
        else:
            rules.role_of(connection, by)
        values: dict[str, Any] = {}
        if name is not None and name != before.name:
            values["name"] = _checked_name(name)
            _check_free(connection, values["name"])
        if role is not None:
            _check_role(role)
            values["role"] = role
        values |= {} if active is None else {"active": bool(active)}
        values |= {} if password_hash is None else {"password_hash": password_hash}
        if values:
            connection.execute(accounts.update().where(accounts.c.id == user).values(**values))
        owners = sa.select(sa.func.count()).select_from(accounts)
        if not connection.execute(owners.where(accounts.c.role == "owner", accounts.c.active)).scalar():
            raise UsageError(f"{before.name} is the last owner: make another one first")
        return _user(_account(connection, user))


def password_hash(database: Database, name: str) -> tuple[User, str] | None:
    """See `Project.password_hash`."""
    with database.read() as connection:
        row = connection.execute(sa.select(accounts).where(accounts.c.name == name)).one_or_none()
        return None if row is None or not row.active else (_user(row), row.password_hash)


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or re.fullmatch(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,80}", name.strip()) is None:
        raise UsageError("a name is a line of 1 to 80 characters")
    return name.strip()


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise UsageError(f"a role is one of {', '.join(ROLES)}, got {role!r}"[:200])


def _check_free(connection: sa.Connection, name: str) -> None:
    if connection.execute(sa.select(accounts.c.id).where(accounts.c.name == name)).first() is not None:
        raise UsageError(f"there is an account {name!r} already")


def _account(connection: sa.Connection, user: int) -> sa.Row[Any]:
    row = connection.execute(sa.select(accounts).where(accounts.c.id == user)).one_or_none()
    if row is None:
        raise Unknown(f"there is no user {user} in this project")
    return row


def _user(row: sa.Row[Any]) -> User:
    return User(row.id, row.name, row.role, bool(row.active), row.created)


# -- assignments --------------------------------------------------------------------------------------


def assign(
    database: Database, clip: int, users: Sequence[int], stage: Stage, blind: bool, by: int | None
) -> list[Assignment]:
    """See `Project.assign`."""
    if stage not in STAGES:
        raise UsageError(f"a stage is one of {', '.join(STAGES)}, got {stage!r}"[:200])
    if not users:
        raise UsageError("whom is the clip for? name at least one user")
    with database.write() as connection:
        rules.must_lead(connection, by, "assign clips")
        row = lock_clip(connection, clip)
        made = []
        for user in dict.fromkeys(users):
            _check_assignable(connection, clip, user, stage)
            entry = connection.execute(
                given.insert().values(
                    clip=clip, user=user, stage=stage, blind=bool(blind), state="open", comment="", created=now()
                )
            )
            assert entry.inserted_primary_key is not None
            number = int(entry.inserted_primary_key[0])
            if blind:
                _lay_out(connection, row, number, stage, by)
                row = lock_clip(connection, clip)
            made.append(number)
        return [_assignment(connection, _share(connection, number)) for number in made]


def _check_assignable(connection: sa.Connection, clip: int, user: int, stage: Stage) -> None:
    account = _account(connection, user)
    if account.role != "annotator" or not account.active:
        raise UsageError(f"clips are given to annotators, which {account.name} is not (any more)")
    own = [row for row in rules.of_clip(connection, clip) if row.user == user]
    if any(row.stage == stage and row.state != "accepted" for row in own):
        raise UsageError(f"{account.name} has this clip for {stage} already")
    if stage == "clean-up" and any(row.stage == "points" for row in own):
        raise NotAllowed(f"{account.name} placed the points of this clip: someone else cleans up")
    if stage == "points" and any(row.stage == "clean-up" for row in own):
        raise NotAllowed(f"{account.name} cleans this clip up: someone else places the points")


def _lay_out(connection: sa.Connection, clip: sa.Row[Any], layer: int, stage: Stage, by: int | None) -> None:
    """A layer for someone who works blind: the points of the clip by their first keyframe; to clean up, all of them."""
    if stage == "objects":
        return
    record = Recorder.begin(connection, clip, layer, Who(by), "edit")
    query = sa.select(point_rows).where(
        point_rows.c.clip == clip.id, point_rows.c.layer == rules.COMMON, ~point_rows.c.deleted
    )
    for row in connection.execute(query.order_by(point_rows.c.id)).all():
        point = applying.new_point(record, row.label, row.grouping, row.colour, origin=row.id)
        copying.copy(record, row.id, point, first_only=stage == "points")
    record.finish("laid the points out")


def assignments(database: Database, clip: int | None, user: int | None) -> list[Assignment]:
    """See `Project.assignments`."""
    query = sa.select(given).order_by(given.c.id)
    query = query if clip is None else query.where(given.c.clip == clip)
    query = query if user is None else query.where(given.c.user == user)
    with database.read() as connection:
        return [_assignment(connection, row) for row in connection.execute(query).all()]


def submit(database: Database, assignment: int, user: int | None) -> Assignment:
    """See `Project.submit`."""
    with database.write() as connection:
        row = _share(connection, assignment)
        if row.user != user:
            rules.must_own(connection, user, "hand in the work of others")
        if row.state not in ("open", "in work"):
            raise UsageError("this work is handed in already" if row.state == "to review" else "it is accepted already")
        _set_state(connection, assignment, state="to review", submitted=now())
        return _assignment(connection, _share(connection, assignment))


def review(
    database: Database, assignment: int, decision: Literal["accept", "reject"], comment: str, user: int | None
) -> Assignment:
    """See `Project.review`."""
    if decision not in ("accept", "reject"):
        raise UsageError(f"a decision is accept or reject, got {decision!r}"[:200])
    if decision == "reject" and not comment.strip():
        raise UsageError("say in a comment why it is handed back")
    _check_comment(comment)
    with database.write() as connection:
        rules.must_lead(connection, user, "review")
        row = _share(connection, assignment)
        if row.user == user:
            raise NotAllowed("nobody reviews their own work")
        if row.state == "accepted" and decision == "accept":
            raise UsageError("this work is accepted already")
        if row.state not in ("to review", "accepted"):
            raise UsageError("this work is not handed in yet")
        connection.execute(
            reviews.insert().values(
                assignment=assignment, reviewer=user, decision=decision, comment=comment.strip(), time=now()
            )
        )
        state = "accepted" if decision == "accept" else "in work"
        _set_state(connection, assignment, state=state, comment=comment.strip())
        return _assignment(connection, _share(connection, assignment))


def _set_state(connection: sa.Connection, assignment: int, **values: Any) -> None:
    connection.execute(given.update().where(given.c.id == assignment).values(**values))


def _share(connection: sa.Connection, assignment: int) -> sa.Row[Any]:
    row = connection.execute(sa.select(given).where(given.c.id == assignment).with_for_update()).one_or_none()
    if row is None:
        raise Unknown(f"there is no assignment {assignment} in this project")
    return row


def _assignment(connection: sa.Connection, row: sa.Row[Any]) -> Assignment:
    layer = row.id if row.blind else rules.COMMON
    return Assignment(
        row.id, row.clip, row.user, row.stage, bool(row.blind), row.state, row.comment, row.created, row.submitted,
        round(seconds_of(connection, row.clip, row.user, layer), 1),
    )  # fmt: skip


def seconds_of(connection: sa.Connection, clip: int, user: int | None, layer: int | None = None) -> float:
    """Time that a user spent on a clip: between events of theirs that follow each other within `IDLE`."""
    query = sa.select(events.c.time).where(events.c.clip == clip)
    query = query.where(events.c.author.is_(None) if user is None else events.c.author == user)
    query = query if layer is None else query.where(events.c.layer == layer)
    times = [datetime.fromisoformat(row.time).timestamp() for row in connection.execute(query.order_by(events.c.id))]
    gaps = [after - before for before, after in pairwise(times)]
    return sum(gap for gap in gaps if 0 <= gap <= IDLE)


# -- comments -----------------------------------------------------------------------------------------


def comments(database: Database, clip: int, user: int | None) -> list[Comment]:
    """See `Project.comments`."""
    with database.read() as connection:
        look_at_clip(connection, clip)
        rules.may_see(connection, clip, user)
        query = sa.select(said).where(said.c.clip == clip).order_by(said.c.id)
        found = [_comment(row) for row in connection.execute(query)]
        blind = rules.layer_to_see(connection, clip, user) != rules.COMMON
        return [each for each in found if not blind or each.user == user or _leads(connection, each.user)]


def _leads(connection: sa.Connection, user: int | None) -> bool:
    return rules.role_of(connection, user) != "annotator"


def comment(database: Database, clip: int, text: str, user: int | None, t: int | None, point: int | None) -> Comment:
    """See `Project.comment`."""
    _check_comment(text)
    if not text.strip():
        raise UsageError("the comment is empty")
    with database.write() as connection:
        row = look_at_clip(connection, clip)
        rules.may_see(connection, clip, user)
        if t is not None and not 0 <= t < row.frames:
            raise QueryError(f"frame {t} is not in the clip: its frames are 0..{row.frames - 1}")
        layer = rules.layer_to_see(connection, clip, user)
        if point is not None and point not in lookup.alive(connection, clip, layer):
            raise Unknown(f"there is no point {point} in this clip (any more)")
        made = connection.execute(
            said.insert().values(clip=clip, author=user, time=now(), text=text.strip(), frame=t, point=point)
        )
        assert made.inserted_primary_key is not None
        return _comment(connection.execute(sa.select(said).where(said.c.id == made.inserted_primary_key[0])).one())


def _check_comment(text: str) -> None:
    if not isinstance(text, str) or len(text) > LONGEST_COMMENT or re.search("[\x00\ud800-\udfff]", text):
        raise UsageError(f"a comment is a text of at most {LONGEST_COMMENT} characters")


def _comment(row: sa.Row[Any]) -> Comment:
    return Comment(row.id, row.clip, row.author, row.time, row.text, row.frame, row.point)
