"""Addresses of people: who one is, signing in, accounts, assignments, review, agreement, comments, the report."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request, Response

from tapkit._version import __version__
from tapkit.annotate import NotAllowed
from tapkit.annotate import values as v
from tapkit.errors import UsageError
from tapkit.export.library import formats
from tapkit.web import answers, passwords
from tapkit.web.gate import From, OfStudio, baked, the_session
from tapkit.web.point_routes import tell_change
from tapkit.web.refusals import NotSignedIn

router = APIRouter(prefix="/api")


@router.get("/session")
def session(studio: OfStudio, request: Request) -> Response:
    """Who one is, what there is, and the token that every write needs."""
    found = request.scope["state"]["session"]
    content: dict[str, Any] = {
        "user": None,
        "token": None,
        "team": studio.team,
        "signed_in": found is not None,
        "setup": False,
        "version": __version__,
    }
    if found is None:
        return answers.answer(content)
    user = studio.user(found.user)
    return answers.answer(
        {
            **content,
            "user": None if user is None else answers.plain(user),
            "token": found.token,
            "setup": found.user is None and studio.setting_up,
            "project": studio.project.name,
            "read_only": studio.project.read_only,
            "upload": studio.upload_folder is not None,
            "trackers": studio.jobs.trackers(),
            "formats": [
                {"id": each.name, "name": each.description, "extension": each.suffix} for each in formats().values()
            ],
        }
    )


@router.post("/login")
def login(
    studio: OfStudio,
    request: Request,
    name: Annotated[str, Body(max_length=200)],
    password: Annotated[str, Body(max_length=1000)],
) -> Response:
    """Sign in; slower and slower for those who fail."""
    name = name.strip()  # as accounts are named
    address = request.client.host if request.client else ""
    keys = (f"name {name.casefold()}", f"address {address}")
    studio.attempts.check(*keys)
    found = studio.project.password_hash(name)
    if not passwords.right(found[1] if found else None, password) or found is None:
        raise NotSignedIn("the name or the password is not right")
    studio.attempts.succeeded(*keys)
    fresh = studio.sessions.begin(found[0].id)
    response = answers.answer({"user": answers.plain(found[0]), "token": fresh.token})
    response.headers["set-cookie"] = baked(studio.cookie, fresh.id)
    return response


@router.post("/logout")
def logout(studio: OfStudio, request: Request) -> Response:
    """Sign out: the cookie is of no use any more."""
    studio.sessions.end(the_session(request).id)
    response = answers.answer({})
    response.headers["set-cookie"] = baked(studio.cookie, "", 0)
    return response


# -- accounts -----------------------------------------------------------------------------------------


@router.get("/users")
def users(studio: OfStudio, who: From) -> Response:
    """All accounts."""
    return answers.answer(answers.plain(studio.project.users()))


@router.post("/users")
def add_user(
    studio: OfStudio,
    request: Request,
    name: Annotated[str, Body(max_length=200)],
    password: Annotated[str, Body(max_length=1000)],
    role: Annotated[v.Role, Body()] = "annotator",
) -> Response:
    """A new account. The first one, an owner's, is made by whoever has the address, and is signed in at once."""
    session = the_session(request)
    if not studio.team:
        raise UsageError("this studio has no accounts: start it with --team")
    first = studio.setting_up
    if session.user is None and not first:
        raise NotSignedIn("sign in first")
    if session.user is not None:
        studio.need(session.user, "owner")
    secret = passwords.hashed(password)
    user = studio.project.add_user(name, "owner" if first else role, secret, session.user)
    response = answers.answer(answers.plain(user), 201)
    if first:
        studio.sessions.end(session.id)
        response.headers["set-cookie"] = baked(studio.cookie, studio.sessions.begin(user.id).id)
    return response


@router.patch("/users/{user}")
def change_user(
    studio: OfStudio,
    who: From,
    request: Request,
    user: int,
    name: Annotated[str | None, Body(max_length=200)] = None,
    role: Annotated[v.Role | None, Body()] = None,
    active: Annotated[bool | None, Body()] = None,
    password: Annotated[str | None, Body(max_length=1000)] = None,
    current: Annotated[str | None, Body(max_length=1000)] = None,
) -> Response:
    """Change an account; whoever changes their own password says the current one. Its other sessions end."""
    me = studio.user(who.user)
    if me is None or (me.id != user and me.role != "owner"):
        raise NotAllowed("owners change the accounts of others")
    if password is not None and me.id == user:
        found = studio.project.password_hash(me.name)
        keys = (f"name {me.name.casefold()}",)
        studio.attempts.check(*keys)
        if found is None or not passwords.right(found[1], current or ""):
            raise NotAllowed("the current password is not right")
        studio.attempts.succeeded(*keys)
    secret = None if password is None else passwords.hashed(password)
    changed = studio.project.change_user(
        user, who.user, name=name, role=role, active=active, password_hash=secret
    )  # fmt: skip
    response = answers.answer(answers.plain(changed))
    if password is not None or active is False:
        studio.sessions.end_all_of(user)
        if me.id == user and changed.active:
            fresh = studio.sessions.begin(user)
            response = answers.answer({**answers.plain(changed), "token": fresh.token})
            response.headers["set-cookie"] = baked(studio.cookie, fresh.id)
    return response


# -- the work -------------------------------------------------------------------------------------------


@router.post("/clips/{clip}/assign")
def assign(
    studio: OfStudio,
    who: From,
    clip: int,
    users: Annotated[list[int], Body()],
    stage: Annotated[v.Stage, Body()] = "points",
    blind: Annotated[bool, Body()] = False,
) -> Response:
    """Give a clip to people."""
    return answers.answer(answers.plain(studio.project.assign(clip, users, stage, blind, who.user)), 201)


@router.get("/work")
def work(studio: OfStudio, who: From) -> Response:
    """My assignments."""
    return answers.answer(answers.plain(studio.project.assignments(user=who.user)))


@router.get("/clips/{clip}/assignments")
def assignments(studio: OfStudio, who: From, clip: int) -> Response:
    """Who has a clip: for owners and reviewers; others see their own share."""
    found = studio.project.assignments(clip)
    me = studio.user(who.user)
    if me is not None and me.role == "annotator":
        found = [each for each in found if each.user == me.id]
    return answers.answer(answers.plain(found))


@router.post("/assignments/{assignment}/submit")
def submit(studio: OfStudio, who: From, assignment: int) -> Response:
    """The work is done."""
    return answers.answer(answers.plain(studio.project.submit(assignment, who.user)))


@router.post("/assignments/{assignment}/review")
def review(
    studio: OfStudio,
    who: From,
    assignment: int,
    decision: Annotated[Literal["accept", "reject"], Body()],
    comment: Annotated[str, Body(max_length=10_000)] = "",
) -> Response:
    """Accept it, or hand it back."""
    return answers.answer(answers.plain(studio.project.review(assignment, decision, comment, who.user)))


@router.get("/clips/{clip}/agreement")
def agreement(studio: OfStudio, who: From, clip: int) -> Response:
    """How far those who annotated a clip agree."""
    return answers.answer(answers.plain(studio.project.agreement(clip, who.user)))


@router.post("/clips/{clip}/adopt")
def adopt(
    studio: OfStudio,
    who: From,
    clip: int,
    point: Annotated[int, Body()],
    source: Annotated[int | Literal["mean"], Body(alias="from")],
) -> Response:
    """What one annotator, or the mean of all, says of a point becomes what the clip says."""
    change = studio.project.adopt(clip, point, source, who.user)
    tell_change(studio, who, clip, change)
    return answers.answer(answers.change(change))


@router.get("/clips/{clip}/comments")
def comments(studio: OfStudio, who: From, clip: int) -> Response:
    """What was said about a clip."""
    return answers.answer(answers.plain(studio.project.comments(clip, who.user)))


@router.post("/clips/{clip}/comments")
def comment(
    studio: OfStudio,
    who: From,
    clip: int,
    text: Annotated[str, Body(max_length=10_000)],
    t: Annotated[int | None, Body()] = None,
    point: Annotated[int | None, Body()] = None,
) -> Response:
    """Say something about a clip, a frame or a point."""
    return answers.answer(answers.plain(studio.project.comment(clip, text, who.user, t, point)), 201)


@router.get("/report")
def report(studio: OfStudio, who: From) -> Response:
    """Who did what."""
    return answers.answer(answers.plain(studio.project.report(who.user)))
