"""Values of the document as JSON, and errors as {"error": sentence}."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from starlette.responses import Response

from tapkit.annotate import Conflict
from tapkit.annotate import values as v
from tapkit.errors import TapkitError, one_line
from tapkit.web.refusals import TooMany, status_of
from tapkit.web.series import numbers

JSON = "application/json"


def answer(content: Any, status: int = 200) -> Response:
    """JSON, never kept by the browser."""
    body = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Response(body, status, {"cache-control": "no-store"}, JSON)


def problem(error: TapkitError) -> Response:
    """An error as it is told to the browser."""
    content: dict[str, Any] = {"error": one_line(str(error))}
    if isinstance(error, Conflict):
        content["theirs"] = [point(each) for each in error.theirs]
    response = answer(content, status_of(error))
    if isinstance(error, TooMany):
        response.headers["retry-after"] = str(round(error.seconds))
    return response


def plain(value: Any) -> Any:
    """A value of `tapkit.annotate.values` as JSON values: fields by their names."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, np.ndarray):
        return numbers(value)
    if isinstance(value, float) and value != value:
        return None
    return value


def clip(value: v.Clip) -> dict[str, Any]:
    """A clip of the list."""
    return {**plain(value), "rate": [value.fps.numerator, value.fps.denominator], "hash": value.content_hash}


def point(value: v.Point) -> dict[str, Any]:
    """A point with all that people said of it."""
    return {
        **plain(value),
        "keyframes": [
            {"t": k.t, "x": k.x, "y": k.y, "visible": k.visible, "author": k.author, "time": k.time}
            for k in value.keyframes
        ],
    }


def points(value: v.PointList) -> dict[str, Any]:
    """The points of a clip."""
    return {
        "revision": value.revision,
        "points": [point(each) for each in value.points],
        "skeleton": [list(pair) for pair in value.skeleton],
        "can_undo": value.can_undo,
        "can_redo": value.can_redo,
    }


def change(value: v.Change) -> dict[str, Any]:
    """What an edit did."""
    return {
        "revision": value.revision,
        "event": value.event,
        "text": value.text,
        "points": [point(each) for each in value.points],
        "removed": list(value.removed),
        "objects": plain(value.objects),
        "skeleton": None if value.skeleton is None else [list(pair) for pair in value.skeleton],
    }


def summary(value: v.PointSummary) -> dict[str, Any]:
    """One point in bins. (`plain` would look at each of a million values.)"""
    return {"id": value.id, "visible": value.visible, "confidence": value.confidence, "doubt": value.doubt}


def positions(value: v.Positions) -> dict[str, Any]:
    """Where one point is; `visible` 0 or 1, None where nothing is known of it."""
    known = np.isfinite(value.xy[:, 0])
    return {
        "id": value.id,
        "x": numbers(value.xy[:, 0], 2),
        "y": numbers(value.xy[:, 1], 2),
        "visible": [int(seen) if there else None for seen, there in zip(value.visible, known, strict=True)],
        "confidence": numbers(value.confidence),
        "source": value.source,
    }
