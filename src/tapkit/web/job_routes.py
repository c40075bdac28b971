"""Addresses of jobs, and the socket that tells how far they are and what others changed."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Response, WebSocket, WebSocketDisconnect
from starlette.concurrency import run_in_threadpool

from tapkit import registry
from tapkit.annotate import NotAllowed
from tapkit.errors import TapkitError
from tapkit.web import answers
from tapkit.web.gate import From, OfStudio, Who
from tapkit.web.jobs import Job, Request
from tapkit.web.regions import Wish
from tapkit.web.studio import Studio

router = APIRouter(prefix="/api")


@router.post("/clips/{clip}/jobs")
def submit(
    studio: OfStudio,
    who: From,
    clip: int,
    kind: Annotated[Literal["track", "solve"], Body()] = "track",
    points: Annotated[list[int] | None, Body()] = None,
    model: Annotated[str, Body()] = registry.DEFAULT,
    motion: Annotated[str, Body()] = "dis",
    start: Annotated[int | None, Body(alias="from")] = None,
    direction: Annotated[Literal["forward", "backward", "both"], Body()] = "both",
    until: Annotated[Literal["end", "keyframes"] | int, Body()] = "end",
) -> Response:
    """Track points, or fill in between their keyframes."""
    if studio.project.read_only:
        raise NotAllowed(studio.project.read_only)
    wish = Wish(start, direction, until)
    job = studio.jobs.submit(clip, Request(kind, points, model, motion, wish), who.user, who.window)
    return answers.answer(job.seen(), 202)


@router.get("/jobs")
def every(studio: OfStudio, who: From) -> Response:
    """Jobs that run, wait, or were over not long ago."""
    return answers.answer([job.seen() for job in studio.jobs.every(who.user, _oversees(studio, who))])


@router.post("/jobs/{job}/{what}")
def control(studio: OfStudio, who: From, job: int, what: Literal["pause", "resume", "cancel"]) -> Response:
    """Pause, go on or stop: one's own jobs; owners any."""
    found: Job = studio.jobs.get(job)
    if found.user != who.user and not _oversees(studio, who):
        raise NotAllowed("that is someone else's job")
    getattr(studio.jobs, what)(found)
    return answers.answer(found.seen())


def _oversees(studio: Studio, who: Who) -> bool:
    user = studio.user(who.user)
    return user is None or user.role == "owner"


@router.websocket("/clips/{clip}/live")
async def live(socket: WebSocket, clip: int) -> None:
    """What happens to a clip, from now on; messages from the page are not looked at."""
    studio: Studio = socket.app.state.studio
    session = socket.scope["state"]["session"]
    try:
        await run_in_threadpool(studio.project.clip, clip, session.user)
    except TapkitError as error:
        await socket.close(4404, str(error)[:120])
        return
    listener = studio.hub.join(clip, session.user)
    await socket.accept()
    until = asyncio.create_task(_closed(socket))
    try:
        for job in studio.jobs.every(session.user, everything=False):
            if job.clip == clip and job.state in ("queued", "running", "paused"):
                await socket.send_text(json.dumps(job.seen()))
        while True:
            coming = asyncio.create_task(listener.get())
            await asyncio.wait({coming, until}, return_when=asyncio.FIRST_COMPLETED)
            if until.done():
                coming.cancel()
                return
            message = coming.result()
            if message is None or studio.sessions.get(session.id) is None:
                await socket.close(4408 if message is None else 4401)
                return
            await socket.send_text(json.dumps(message, separators=(",", ":")))
    except (WebSocketDisconnect, RuntimeError):
        return
    finally:
        studio.hub.leave(clip, listener)
        until.cancel()


async def _closed(socket: WebSocket) -> None:
    """Returns when the page has gone."""
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await socket.receive_text()
