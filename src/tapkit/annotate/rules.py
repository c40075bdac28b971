"""Who may see and change what. The rules hold below the web: whatever calls a project, they are asked here.

A project without accounts belongs to whoever can open it. With accounts everybody has to say who they are:

- owners do everything; reviewers see and correct all clips, give them to people, and decide;
- annotators see the clips that are assigned to them, and change them until they hand them in: in the stage "objects"
  boxes and labels, in "points" points, in "clean-up" both;
- who works blind sees and changes a layer of their own, and neither the others' nor the agreement;
- nobody reviews or cleans up their own work, and a clip that is accepted stays as it is until it is handed back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import sqlalchemy as sa

from tapkit.annotate.edits import DeleteBox, Edit, SetBox
from tapkit.annotate.refusals import NotAllowed, Unknown
from tapkit.annotate.schema import assignments, users
from tapkit.annotate.values import Progress, Role

COMMON = 0
"""The layer of what the clip says."""
_UNFINISHED = ("open", "in work")


def role_of(connection: sa.Connection, user: int | None) -> Role:
    """The role of a user. Raises `NotAllowed` for nobody in a project with accounts, `Unknown`."""
    if user is None:
        if connection.execute(sa.select(sa.func.count()).select_from(users)).scalar():
            raise NotAllowed("this project has accounts: say who you are")
        return "owner"
    row = connection.execute(sa.select(users).where(users.c.id == user)).one_or_none()
    if row is None:
        raise Unknown(f"there is no user {user} in this project")
    if not row.active:
        raise NotAllowed(f"the account of {row.name} is closed")
    return cast(Role, row.role)


def must_lead(connection: sa.Connection, user: int | None, what: str) -> None:
    """Raise `NotAllowed` unless the user is an owner or a reviewer. `what` they want to do: "assign clips"."""
    if role_of(connection, user) == "annotator":
        raise NotAllowed(f"annotators may not {what}: ask an owner or a reviewer")


def must_own(connection: sa.Connection, user: int | None, what: str) -> None:
    """Raise `NotAllowed` unless the user is an owner."""
    if role_of(connection, user) != "owner":
        raise NotAllowed(f"only owners may {what}")


def may_see(connection: sa.Connection, clip: int, user: int | None) -> None:
    """Raise `NotAllowed` for an annotator to whom the clip is not assigned."""
    if role_of(connection, user) == "annotator" and all(row.user != user for row in of_clip(connection, clip)):
        raise NotAllowed("this clip is not assigned to you")


def of_clip(connection: sa.Connection, clip: int) -> list[sa.Row[Any]]:
    """The assignments of a clip, the oldest first."""
    query = sa.select(assignments).where(assignments.c.clip == clip).order_by(assignments.c.id)
    return list(connection.execute(query))


def state_of(given: Sequence[sa.Row[Any]], touched: bool) -> Progress:
    """How far a clip has come, by its assignments; without any, by whether somebody has worked on it."""
    states = {row.state for row in given}
    if not states:
        return "in work" if touched else "open"
    if len(states) == 1:
        return cast(Progress, states.pop())
    return "to review" if states == {"to review", "accepted"} else "in work"


def layer_to_see(connection: sa.Connection, clip: int, user: int | None, of: int | None = None) -> int:
    """The layer of a clip that a user looks at. `of`: that of another user who works blind."""
    role = role_of(connection, user)
    given = of_clip(connection, clip)
    if of is not None and of != user:
        if role == "annotator":
            raise NotAllowed("annotators see their own work only")
        blind = [row.id for row in given if row.user == of and row.blind]
        if not blind:
            raise Unknown(f"user {of} does not work on this clip in a layer of their own")
        return int(blind[-1])
    if role != "annotator":
        return COMMON
    own = _own(given, user)
    return int(own.id) if own.blind else COMMON


def layer_to_change(connection: sa.Connection, clip: int, user: int | None, edits: Sequence[Edit] = ()) -> int:
    """The layer that a user's edits go to. Raises `NotAllowed`."""
    role = role_of(connection, user)
    given = of_clip(connection, clip)
    if role != "annotator":
        if given and all(row.state == "accepted" for row in given):
            raise NotAllowed("this clip is accepted: hand it back to change it")
        return COMMON
    own = _own(given, user)
    if own.state not in _UNFINISHED:
        raise NotAllowed(
            "this clip is accepted: nothing more can be changed"
            if own.state == "accepted"
            else "you have handed this clip in: it can be changed again when a reviewer hands it back"
        )
    for edit in edits:
        about_boxes = isinstance(edit, SetBox | DeleteBox)
        if about_boxes != (own.stage == "objects") and own.stage != "clean-up":
            allowed = "boxes and labels of objects" if own.stage == "objects" else "points"
            raise NotAllowed(f"your stage of this clip is {own.stage}: only {allowed} can be changed")
    return int(own.id) if own.blind else COMMON


def audience(connection: sa.Connection, clip: int, of: int | None, users: Iterable[int | None]) -> set[int | None]:
    """Those of `users` who may hear what `of` does to a clip: owners, reviewers, annotators of the same layer."""
    own = layer_to_see(connection, clip, of)
    return {
        user
        for user in users
        if role_of(connection, user) != "annotator"
        or (_has(connection, clip, user) and layer_to_see(connection, clip, user) == own)
    }


def _has(connection: sa.Connection, clip: int, user: int | None) -> bool:
    return any(row.user == user for row in of_clip(connection, clip))


def begin_work(connection: sa.Connection, clip: int, user: int | None) -> None:
    """Somebody has changed something: their assignment is in work."""
    query = assignments.update().where(assignments.c.clip == clip, assignments.c.user == user)
    connection.execute(query.where(assignments.c.state == "open").values(state="in work"))


def _own(given: Sequence[sa.Row[Any]], user: int | None) -> sa.Row[Any]:
    """The user's assignment: the latest that is not finished, else the latest."""
    own = [row for row in given if row.user == user]
    if not own:
        raise NotAllowed("this clip is not assigned to you")
    return ([row for row in own if row.state in _UNFINISHED] or own)[-1]
