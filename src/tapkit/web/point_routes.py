"""Addresses of points: what people said, where the points are, what is doubtful, and edits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Body, Query, Response

from tapkit.annotate import values as v
from tapkit.errors import UsageError
from tapkit.web import answers
from tapkit.web.gate import From, OfStudio, Who
from tapkit.web.series import numbers
from tapkit.web.studio import Studio

router = APIRouter(prefix="/api/clips/{clip}")

MOST_BINS = 20_000
MOST_VALUES = 2_000_000
"""Positions in one answer: points times frames."""

Ids = Annotated[str | None, Query(pattern=r"^\d*(,\d+)*$", max_length=100_000)]


def ids(text: str | None) -> list[int] | None:
    """Ids of a query: "1,2,3"; None: all."""
    return None if text is None else [int(part) for part in text.split(",") if part]


@router.get("/points")
def points(studio: OfStudio, who: From, clip: int, of: int | None = None) -> Response:
    """The points of a clip, with everything that people said of them."""
    return answers.answer(answers.points(studio.project.points(clip, who.user, of)))


@router.get("/objects")
def objects(studio: OfStudio, who: From, clip: int, of: int | None = None) -> Response:
    """The objects of a clip with their boxes."""
    return answers.answer(answers.plain(studio.project.objects(clip, who.user, of)))


@router.get("/positions")
def positions(
    studio: OfStudio, who: From, clip: int, points: Ids = None, start: int = 0, stop: int | None = None,
    of: int | None = None,
) -> Response:  # fmt: skip
    """Where points are on frames start..stop (excluded)."""
    stop = studio.project.clip(clip, who.user).frames if stop is None else stop
    wanted = ids(points)
    count = len(wanted) if wanted is not None else len(studio.project.points(clip, who.user, of).points)
    if count * max(stop - start, 0) > MOST_VALUES:
        raise UsageError(
            f"{count} points on {stop - start} frames are too much at once: {MOST_VALUES // 10**6} million is the most"
        )
    found = studio.project.positions(clip, wanted, start, stop, who.user, of)
    start, stop = (found[0].start, found[0].stop) if found else (start, stop)
    return answers.answer({"start": start, "stop": stop, "points": [answers.positions(each) for each in found]})


@router.get("/summary")
def summary(
    studio: OfStudio,
    who: From,
    clip: int,
    bins: Annotated[int, Query(ge=1, le=MOST_BINS)] = 500,
    points: Ids = None,
    of: int | None = None,
) -> Response:
    """The clip in bins of frames, for a timeline."""
    found = studio.project.summary(clip, bins, who.user, of, ids(points))
    return answers.answer({"bins": found.bins, "points": [answers.summary(each) for each in found.points]})


@router.get("/doubtful")
def doubtful(studio: OfStudio, who: From, clip: int, of: int | None = None) -> Response:
    """Places to look at."""
    return answers.answer(answers.plain(studio.project.doubtful(clip, who.user, of)))


@router.get("/curves")
def curves(
    studio: OfStudio,
    who: From,
    clip: int,
    points: Ids = None,
    kind: Literal["x", "y", "speed"] = "x",
    bins: Annotated[int, Query(ge=1, le=MOST_BINS)] = 1000,
    start: int = 0,
    stop: int | None = None,
    of: int | None = None,
) -> Response:
    """x, y (pixels) or speed (pixels a frame) over time: least and greatest value of each bin of frames."""
    found = studio.project.positions(clip, ids(points), start, stop, who.user, of)
    if not found:
        return answers.answer({"kind": kind, "bins": [], "points": []})
    first, last = found[0].start, found[0].stop
    edges = np.unique(np.linspace(0, last - first, min(bins, max(last - first, 1)) + 1).astype(int))[:-1]
    content = [{"id": each.id, **_envelope(_values(each, kind), edges)} for each in found]
    return answers.answer({"kind": kind, "bins": (edges + first).tolist(), "points": content})


def _values(each: v.Positions, kind: str) -> np.ndarray:
    if kind != "speed":
        return each.xy[:, "xy".index(kind)]
    step = np.linalg.norm(np.diff(each.xy, axis=0), axis=1)
    return np.concatenate([[np.nan], step])


def _envelope(values: np.ndarray, edges: np.ndarray) -> dict[str, Any]:
    """Least and greatest of each bin; None where nothing is known in it."""
    known = np.isfinite(values)
    low = np.minimum.reduceat(np.where(known, values, np.inf), edges)
    high = np.maximum.reduceat(np.where(known, values, -np.inf), edges)
    return {"low": numbers(low, 2), "high": numbers(high, 2)}


@router.get("/events")
def events(studio: OfStudio, who: From, clip: int, after: int = 0) -> Response:
    """The log of a clip."""
    return answers.answer(answers.plain(studio.project.events(clip, after, who.user)))


@router.get("/compare/{event}")
def compare(studio: OfStudio, who: From, clip: int, event: int) -> Response:
    """The points that an event changed, before it and now."""
    found = studio.project.compare(clip, event, who.user)
    return answers.answer(
        [
            {
                "start": each.after.start,
                "stop": each.after.stop,
                "before": answers.positions(each.before),
                "after": answers.positions(each.after),
            }
            for each in found
        ]
    )


# -- changing ---------------------------------------------------------------------------------------


@router.post("/edits")
def edit(
    studio: OfStudio,
    who: From,
    clip: int,
    edits: Annotated[list[dict[str, Any]], Body()],
    base: Annotated[int | None, Body()] = None,
    force: Annotated[bool, Body()] = False,
    of: Annotated[int | None, Body()] = None,
) -> Response:
    """Do all of the edits, or none of them."""
    return _changed(studio, who, clip, lambda: studio.project.edit(clip, edits, base, who.user, force, who.window, of))


@router.post("/undo")
def undo(studio: OfStudio, who: From, clip: int, force: Annotated[bool, Body(embed=True)] = False) -> Response:
    """Take back the last thing that this user did."""
    return _changed(studio, who, clip, lambda: studio.project.undo(clip, who.user, who.window, force))


@router.post("/redo")
def redo(studio: OfStudio, who: From, clip: int, force: Annotated[bool, Body(embed=True)] = False) -> Response:
    """Do it again."""
    return _changed(studio, who, clip, lambda: studio.project.redo(clip, who.user, who.window, force))


def _changed(studio: Studio, who: Who, clip: int, make: Callable[[], v.Change]) -> Response:
    """Make a change and tell the others, unless that was done already; answer with it."""

    def made() -> v.Change:
        change = make()
        tell_change(studio, who, clip, change)
        return change

    return answers.answer(answers.change(studio.repeats.once(who.change, made)))


def tell_change(studio: Studio, who: Who, clip: int, change: v.Change) -> None:
    """Who looks at the clip, and not blind to it, is told which points have changed."""
    studio.tell(
        clip,
        who.user,
        {
            "type": "changed",
            "revision": change.revision,
            "event": change.event,
            "points": [point.id for point in change.points],
            "removed": list(change.removed),
            "objects": [each.id for each in change.objects],
            "skeleton": change.skeleton is not None,
            "by": {"id": who.user, "name": studio.name_of(who.user)},
            "window": who.window[16:],
        },
    )
