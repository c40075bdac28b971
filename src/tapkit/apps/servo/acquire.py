"""Finding a stage's points on the live picture before it begins: which demonstration's picture, and turned how, fits.

The published system carries the features of its queries over to the live pictures. Features of most trackers do not
survive a large turn of the picture, and a thing on a table may lie in any direction; so the first pictures of the
stage in the demonstrations are tried as they are, and then turned. Where points are found that agree on a similarity,
the pictures themselves are compared, and decide. The demonstration's picture is then laid over the live one, as it
was found to fit, and the points are tracked from there: what they are is known from the demonstration throughout, and
the first step is a small one. (Where most were found at once, the session that found them goes on as it is.)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from tapkit.apps.servo.consensus import Similarity, agree_on_similarity, refined, tolerance_of
from tapkit.apps.servo.plan import Stage
from tapkit.apps.servo.tracking import Reference, started
from tapkit.engine.session import Session
from tapkit.engine.tracker import Tracker

TURNS = (0, 35, -35, 70, -70, 110, -110, 150, -150)
"""Degrees by which pictures are turned, one after the other."""
SURE = 0.8
"""Likeness of the pictures around the points at which the search ends at once."""
LEAST = 0.5
"""And below which the points do not count as found: trackers that are sure of themselves hold on to anything."""

AROUND = 0.03
"""Of the width: how far around its points the pictures of the end are compared."""


class Located(NamedTuple):
    """Where a stage's points are."""

    session: Session
    """It has just been stepped on the live picture."""
    points: np.ndarray
    """[m] numbers of the session's points in the stage's table."""
    xy: np.ndarray
    """[m,2] pixels."""
    like: float
    """How like the demonstration's picture the live one is around them, -1 to 1."""
    shown: int
    """Which demonstration's picture was shown."""


class _Match(NamedTuple):
    """A picture of a demonstration laid over the live one."""

    points: np.ndarray
    xy: np.ndarray
    """[m,2] on the live picture."""
    like: float
    shown: int
    image: np.ndarray
    """The demonstration's, as it was shown."""
    fit: Similarity
    """From there to the live picture."""
    session: Session
    """That found the points."""
    found: np.ndarray
    """[m,2] where it has them on the live picture."""


def locate(tracker: Tracker, stage: Stage, frame: np.ndarray, fps: float) -> Located | None:
    """Find the points on a live picture [H,W,3]; None if nothing there is like the demonstrations' pictures."""
    best = _search(tracker, stage, frame, fps)
    if best is None or best.like < LEAST:
        return None
    height, width = frame.shape[:2]
    inside = ((best.xy > 1) & (best.xy < np.array([width, height]) - 1)).all(1)
    if inside.sum() < 4:
        return None
    right = np.linalg.norm(best.found - best.xy, axis=1) <= tolerance_of(best.xy, width)
    if right.sum() >= max(8, 0.5 * len(right)):  # as they were drawn points are known best
        return Located(best.session, best.points, best.found, best.like, best.shown)
    laid = laid_over(best.image, best.fit)
    session = started(tracker, [Reference(laid, best.xy[inside].astype(np.float32))], fps)
    result = session.step(frame)[-1]
    return Located(session, best.points[inside], result.xy[np.argsort(result.rows)], best.like, best.shown)


def _search(tracker: Tracker, stage: Stage, frame: np.ndarray, fps: float) -> _Match | None:
    best: _Match | None = None
    for turn in TURNS:
        for number in range(len(stage.paths)):
            found = _attempt(tracker, stage, number, turn, frame, fps)
            if found is not None and (best is None or found.like > best.like):
                best = found
            if best is not None and best.like >= SURE:
                return best
    return best


def _attempt(tracker: Tracker, stage: Stage, number: int, turn: float, frame: np.ndarray, fps: float) -> _Match | None:
    path = stage.paths[number]
    height, width = path.image.shape[:2]
    xy = turned_points(path.xy[0], (height, width), turn)
    inside = ((xy >= 2) & (xy <= np.array([width, height]) - 2)).all(1)
    points = np.flatnonzero(stage.used & path.visible[0] & inside)
    if len(points) < 4:
        return None
    reference = Reference(turned_picture(path.image, turn), xy[points].astype(np.float32))
    session = started(tracker, [reference], fps)
    result = session.step(frame)[-1]
    seen = tracker.provenance(live=True).visible_at(result.visible, result.confidence)
    if seen.sum() < 4:
        return None
    fit = agree_on_similarity(reference.xy[seen], result.xy[seen], tolerance_of(reference.xy[seen], width))
    if fit is None or fit.agree.sum() < 4 or not 0.5 < abs(fit.ratio) < 2:
        return None
    fit, like = refined(reference.image, frame, fit, reference.xy)
    return _Match(points, fit(reference.xy), like, number, reference.image, fit, session, result.xy)


def locate_end(tracker: Tracker, stage: Stage, frame: np.ndarray, fps: float) -> Located | None:
    """Find the points anew where they end: by the last picture of `typical`, which the live one [H,W,3] nearly is.

    Points that were tracked over a long way, through a turn and closer, have slid a little, and all of them together
    look like a similarity that is not there: they say that the hand is right while it is turned by some degrees. Here
    nothing has far to go, and the pictures around the points decide. The points are then drawn on the live picture,
    where that similarity puts them, and tracked from there. None where there is no picture of the end, or nothing like
    it is seen.
    """
    number = typical(stage)
    path = stage.paths[number]
    if path.end is None:
        return None
    width, size = frame.shape[1], np.array(frame.shape[1::-1])
    xy = path.xy[-1].astype(np.float64)
    points = np.flatnonzero(stage.used & path.visible[-1] & ((xy >= 2) & (xy <= size - 2)).all(1))
    if len(points) < 4:
        return None
    xy = xy[points]
    result = started(tracker, [Reference(path.end, xy.astype(np.float32))], fps).step(frame)[-1]
    order = np.argsort(result.rows)
    seen = tracker.provenance(live=True).visible_at(result.visible, result.confidence)[order]
    if seen.sum() < 4:
        return None
    fit = agree_on_similarity(xy[seen], result.xy[order][seen], tolerance_of(xy, width))
    if fit is None or fit.agree.sum() < max(4, 0.4 * len(points)) or not 0.6 < abs(fit.ratio) < 1.6:
        return None
    agreed = np.flatnonzero(seen)[fit.agree]
    fit, like = refined(path.end, frame, fit, xy[agreed], AROUND * width)
    now = fit(xy[agreed])
    inside = ((now >= 2) & (now <= size - 2)).all(1)
    if like < LEAST or inside.sum() < 4:
        return None
    points, now = points[agreed[inside]], now[inside]
    session = started(tracker, [Reference(frame, now.astype(np.float32))], fps)
    return Located(session, points, now, like, number)


def typical(stage: Stage) -> int:
    """The demonstration whose points end nearest to the mean of all demonstrations: hands differ in where they stop."""
    ends = np.stack([path.xy[-1] for path in stage.paths])
    seen = np.stack([path.visible[-1] for path in stage.paths])
    weights = seen[..., None] / np.maximum(seen.sum(0), 1)[:, None]
    away = np.linalg.norm(ends - (weights * ends).sum(0), axis=2)
    return int(np.argmin([a[s].mean() if s.any() else math.inf for a, s in zip(away, seen, strict=True)]))


def closest(stage: Stage, points: np.ndarray, xy: np.ndarray) -> int:
    """The demonstration whose first frame has these points nearest to where they are now (those it saw there)."""
    distances = []
    for path in stage.paths:
        seen = path.visible[0, points]
        away = np.linalg.norm(path.xy[0, points] - xy, axis=1)
        distances.append(float(away[seen].mean()) if seen.sum() >= 3 else math.inf)
    return int(np.argmin(distances))


def laid_over(image: np.ndarray, fit: Similarity) -> np.ndarray:
    """The picture moved by a similarity, in a frame of the same size; beyond its borders it has its mean colour."""
    height, width = image.shape[:2]
    back = 1 / fit.ratio
    # PIL asks for the way back between pixel corners, as a x + b y + c; x' = back (x - shift).
    start = -back * fit.shift
    way = (back.real, -back.imag, start.real, back.imag, back.real, start.imag)
    fill = tuple(int(c) for c in image.reshape(-1, 3).mean(0))
    picture = Image.fromarray(image)
    return np.asarray(
        picture.transform((width, height), Image.Transform.AFFINE, way, Image.Resampling.BILINEAR, fillcolor=fill)
    )


def turned_picture(image: np.ndarray, degrees: float) -> np.ndarray:
    """The picture turned about its middle, anticlockwise as one looks at it; corners get its mean colour."""
    if degrees == 0:
        return image
    fill = tuple(int(c) for c in image.reshape(-1, 3).mean(0))
    return np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR, fillcolor=fill))


def turned_points(xy: np.ndarray, size: tuple[int, int], degrees: float) -> np.ndarray:
    """Where points [n,2] of the picture are when it has been turned by `turned_picture`."""
    centre = np.array([size[1] / 2, size[0] / 2])
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = (np.asarray(xy, np.float64) - centre).T
    return np.asarray(np.stack([c * x + s * y, -s * x + c * y], 1) + centre)
