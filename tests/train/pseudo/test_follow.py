"""What of a teacher's answers is believed: what comes back, what several say, hidden points where the paper does."""

from __future__ import annotations

import numpy as np
import pytest

from tapkit.train.pseudo.follow import Fate, agreed, follow
from tapkit.train.pseudo.options import LabelOptions

TIMES = np.arange(16)
ROWS = np.array([[0, 20.5, 30.5], [0, 60.5, 40.5], [2, 30.5, 80.5], [3, 150.5, 60.5]], np.float32)
"""The last one leaves the picture."""
MOVED = ROWS[:, None, 1:] + np.array([2, 1]) * (TIMES - ROWS[:, :1])[..., None]
OPTIONS = LabelOptions()


def test_an_honest_teacher_is_believed_from_the_query_on_while_the_point_is_in_the_picture(teacher, pan):
    labels = follow(pan(), ROWS, teacher(), OPTIONS)
    assert labels.fate.tolist() == [Fate.KEPT] * 4
    expected = (ROWS[:, :1] <= TIMES) & (MOVED[..., 0] <= 160)
    assert np.array_equal(labels.visible, expected) and np.array_equal(labels.counted, expected)
    assert np.allclose(labels.xy[expected], MOVED[expected], atol=1e-4)


def drifting(xy, visible, direction, rows):
    """Half a pixel a frame too far, in either direction: the way back ends 15 pixels away."""
    if direction == "forward":
        xy = xy + 0.5 * (TIMES - rows[:, :1])[..., None]
    return xy, visible


def test_a_point_that_does_not_find_its_way_back_is_believed_nowhere(teacher, pan):
    labels = follow(pan(), ROWS, teacher("strand", drifting), OPTIONS)
    assert labels.fate.tolist() == [Fate.ASTRAY] * 4 and not labels.counted.any()
    unchecked = follow(pan(), ROWS, teacher("strand", drifting), LabelOptions(round_trip=None))
    assert unchecked.fate.tolist() == [Fate.KEPT] * 4
    assert unchecked.xy[0, 10].tolist() == (MOVED[0, 10] + 5).tolist()


def test_where_only_the_way_between_differs_those_frames_are_not_believed(teacher, pan):
    def detour(xy, visible, direction, rows):
        xy = xy.copy()
        xy[:, 6:9] += 20 if direction == "forward" else 0
        return xy, visible

    labels = follow(pan(), ROWS[:3], teacher("strand", detour), OPTIONS)
    assert labels.fate.tolist() == [Fate.KEPT] * 3
    assert not labels.counted[:, 6:9].any() and labels.counted[:2, [5, 9]].all()


def hidden(level):
    def wrong(xy, visible, direction, rows):
        visible = visible.copy()
        visible[:, 9:] = level
        return xy, visible

    return wrong


@pytest.mark.parametrize(
    ("model", "level", "seen", "counted"),
    [
        ("cotracker3-online", 0.95, True, True),
        ("cotracker3-online", 0.8, False, True),  # above 0.9 alone is visible; hidden positions are labels too
        ("cotracker3-offline", 0.8, False, True),
        ("cotracker2", 0.8, False, True),
        ("tapir", 0.8, True, True),  # 0.5 of visibility x confidence
        ("tapir", 0.3, False, False),  # and hidden positions are none
        ("lucas-kanade", 0.3, False, False),
    ],
)
def test_visibility_is_believed_as_the_paper_does(teacher, pan, model, level, seen, counted):
    labels = follow(pan(), ROWS[:2], teacher(model, hidden(level)), OPTIONS)
    assert labels.fate.tolist() == [Fate.KEPT] * 2 and labels.visible[:, :9].all()
    assert (labels.visible[:, 9:] == seen).all() and (labels.counted[:, 9:] == counted).all()
    assert np.allclose(labels.xy[:, 9:], MOVED[:2, 9:], atol=1e-4)


def test_a_point_that_is_seen_on_too_few_frames_is_left_out(teacher, pan):
    def gone(xy, visible, direction, rows):
        return xy, np.where(rows[:, :1] + 1 >= TIMES, visible, 0)

    labels = follow(pan(), ROWS, teacher("strand", gone), OPTIONS)
    assert labels.fate.tolist() == [Fate.SHORT] * 4


def off(by):
    return lambda xy, visible, direction, rows: (xy + np.where((rows[:, :1] == TIMES)[..., None], 0, by), visible)


def test_two_of_three_outvote_the_third_and_the_median_is_taken(teacher, pan):
    options = LabelOptions(teachers=("strand", "tapir", "lucas-kanade"), agree=2, round_trip=None)
    answers = [follow(pan(), ROWS, teacher("strand", off(by)), options) for by in (0.0, 0.5, 40.0)]
    labels = agreed(answers, pan(), ROWS, options)
    assert labels.fate.tolist() == [Fate.KEPT] * 4
    assert np.allclose(labels.xy[0, 5], MOVED[0, 5] + 0.5) and labels.visible[0].all()
    strict = LabelOptions(teachers=("strand", "tapir", "lucas-kanade"), agree=3, round_trip=None)
    assert (agreed(answers, pan(), ROWS, strict).fate[:2] == Fate.DISPUTED).all()


def test_teachers_of_whom_too_few_follow_a_point_do_not_dispute_it(teacher, pan):
    options = LabelOptions(teachers=("strand", "tapir"), agree=2)
    answers = [follow(pan(), ROWS, teacher("strand", wrong), options) for wrong in (None, drifting)]
    labels = agreed(answers, pan(), ROWS, options)
    assert labels.fate.tolist() == [Fate.ASTRAY] * 4 and not labels.counted.any()
