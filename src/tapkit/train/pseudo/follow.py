"""What teachers say of the points of a piece, and what of it is believed."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from tapkit import coords
from tapkit.engine.tracker import Tracker
from tapkit.train.pseudo.options import LabelOptions
from tapkit.train.pseudo.teachers import Committee, rule, seen


class Fate(IntEnum):
    """What became of a point."""

    KEPT = 0
    SHORT = 1
    """Seen, or agreed upon, on too few frames."""
    ASTRAY = 2
    """The way back from where it was last seen ends elsewhere."""
    DISPUTED = 3
    """The teachers say different things."""


WORDS = {
    Fate.KEPT: "kept",
    Fate.SHORT: "seen on too few frames",
    Fate.ASTRAY: "did not find the way back",
    Fate.DISPUTED: "teachers disagree",
}


class Labels(NamedTuple):
    """Tracks of N points on T frames, pixels of the piece, corner origin."""

    xy: np.ndarray
    """[N,T,2] float32."""
    visible: np.ndarray
    """[N,T] bool."""
    counted: np.ndarray
    """[N,T] bool: what is believed. Of hidden points only where the teacher's rule says so."""
    fate: np.ndarray
    """[N] of `Fate`."""


def fewest(frames: int) -> int:
    """On so many frames of a piece a point must be seen."""
    return max(min(frames // 4, 8), 2)


def follow(video: np.ndarray, rows: np.ndarray, teacher: Tracker, options: LabelOptions) -> Labels:
    """What one teacher says: forwards from each query [N,3] and, with `round_trip`, back from where it is last seen.

    Where both ways see a point and agree, its position is their mean. A point that does not find its way back to its
    query is believed nowhere; of one that does, nothing is believed on which the two ways differ.
    """
    name, count = teacher.card.id, len(rows)
    frames = np.arange(len(video))
    forward = teacher.track(video, rows, "forward")
    xy, visible = forward.xy.copy(), seen(forward, name) & coords.inside(forward.xy, video.shape[1:3])
    after = frames >= rows[:, :1].astype(int)
    fate = np.full(count, Fate.KEPT)
    believed = visible & after
    if options.round_trip is not None and count:
        last = len(video) - 1 - believed[:, ::-1].argmax(1)
        back_xy, back_seen = _back(video, xy, believed, last, teacher)
        apart = np.linalg.norm((xy - back_xy) * _unit(video), axis=-1)
        near = np.nan_to_num(apart, nan=np.inf) < options.round_trip
        returned = near[np.arange(count), rows[:, 0].astype(int)]
        fate[~returned & believed.any(1)] = Fate.ASTRAY
        believed &= near & back_seen & returned[:, None]
        xy = np.where(believed[..., None], (xy + np.nan_to_num(back_xy)) / 2, xy)
    short = believed.sum(1) < fewest(len(video))
    fate[short & (fate == Fate.KEPT)] = Fate.SHORT
    hidden = after & ~visible & (fate == Fate.KEPT)[:, None] & rule(name).occluded
    begins = (np.arange(count), rows[:, 0].astype(int))
    xy[begins] = rows[:, 1:]  # the query is where it was asked for
    return Labels(xy.astype(np.float32), believed, believed | hidden, fate)


def _back(
    video: np.ndarray, xy: np.ndarray, believed: np.ndarray, last: np.ndarray, teacher: Tracker
) -> tuple[np.ndarray, np.ndarray]:
    """From the last frame on which each point is seen backwards: positions [N,T,2] (NaN: not asked), seen [N,T]."""
    back_xy, back_seen = np.full_like(xy, np.nan), np.zeros_like(believed)
    asked = np.flatnonzero(believed.any(1))
    if len(asked):
        backward = teacher.track(video, np.column_stack([last[asked], xy[asked, last[asked]]]), "backward")
        back_xy[asked] = np.where(backward.valid[..., None], backward.xy, np.nan)
        back_seen[asked] = seen(backward, teacher.card.id)
    return back_xy, back_seen


def agreed(answers: list[Labels], video: np.ndarray, rows: np.ndarray, options: LabelOptions) -> Labels:
    """The median of several teachers' answers, where `agree` of them see the point and lie `agree_within` of it."""
    xy = np.stack([np.where(each.visible[..., None], each.xy, np.nan) for each in answers])
    saw = np.stack([each.visible for each in answers])
    enough = saw.sum(0) >= options.agree
    middle = np.full(xy.shape[1:], np.nan, np.float32)
    if enough.any():
        middle[enough] = np.nanmedian(xy[:, enough], axis=0)
    apart = np.linalg.norm((xy - middle) * _unit(video), axis=-1)
    with_it = (np.nan_to_num(apart, nan=np.inf) <= options.agree_within).sum(0)
    visible = enough & (with_it >= options.agree)
    alone = np.stack([each.fate for each in answers])
    fate = np.where(visible.sum(1) >= fewest(len(video)), Fate.KEPT, Fate.DISPUTED)
    # Not a dispute where too few of them follow the point at all.
    followed = (alone == Fate.KEPT).sum(0) >= options.agree
    fate = np.where((fate == Fate.DISPUTED) & ~followed, alone.max(0), fate)
    middle = np.where(visible[..., None], middle, answers[0].xy)
    middle[np.arange(len(rows)), rows[:, 0].astype(int)] = rows[:, 1:]
    return Labels(middle, visible, visible, fate)


def ask(
    video: np.ndarray, rows: np.ndarray, teachers: list[str], committee: Committee, options: LabelOptions
) -> Labels:
    """The labels of a piece by these teachers: one, or several of which `agree` must agree."""
    answers = [follow(video, rows, committee[name], options) for name in teachers]
    return answers[0] if len(answers) == 1 else agreed(answers, video, rows, options)


def _unit(video: np.ndarray) -> np.ndarray:
    """Pixels of the piece -> pixels of a 256x256 frame, for x and y."""
    height, width = video.shape[1:3]
    return np.array([256 / width, 256 / height], np.float32)
