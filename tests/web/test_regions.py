"""What "track" means for a point: frames and anchors."""

import pytest

from tapkit.errors import UsageError
from tapkit.web.regions import Anchor, Region, Wish, grouped, region

KEYS = [Anchor(10, 1, 1), Anchor(20, 2, 2), Anchor(30, 3, 3)]
NOW = Anchor(15, 9, 9)


def spans(keys: list[Anchor], *wish: object, now: Anchor | None = None) -> tuple[int, int, list[int]] | None:
    found = region(keys, Wish(*wish), 50, now)
    return found and (found.first, found.last, [anchor.t for anchor in found.anchors])


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ((None, "both", "end"), (0, 49, [10, 20, 30])),
        ((None, "forward", "end"), (10, 49, [10, 20, 30])),
        ((None, "backward", "end"), (0, 30, [10, 20, 30])),
        ((None, "both", "keyframes"), (10, 30, [10, 20, 30])),
        ((None, "forward", 25), (10, 25, [10, 20])),
        ((None, "backward", 25), (25, 30, [30])),
        ((20, "both", "keyframes"), (10, 30, [10, 20, 30])),
        ((20, "forward", "keyframes"), (20, 30, [20, 30])),
        ((20, "backward", "keyframes"), (10, 20, [10, 20])),
        ((30, "forward", "keyframes"), (30, 49, [30])),
        ((20, "forward", "end"), (20, 49, [20, 30])),
        ((20, "forward", 27), (20, 27, [20])),
        ((20, "backward", 5), (5, 20, [10, 20])),
        ((15, "forward", "end"), (15, 49, [15, 20, 30])),
        ((15, "both", "keyframes"), (10, 20, [10, 15, 20])),
    ],
)
def test_frames_and_anchors(wish: tuple[object, ...], expected: object) -> None:
    assert spans(KEYS, *wish, now=NOW if wish[0] == 15 else None) == expected


def test_without_a_position_there_the_keyframe_comes_from_where_one_comes_from() -> None:
    assert spans(KEYS, 24, "forward", "end") == (20, 49, [20, 30])
    assert spans(KEYS, 24, "backward", "end") == (0, 30, [10, 20, 30])
    assert spans(KEYS, 5, "forward", "end") == (10, 49, [10, 20, 30])
    assert spans([], 5, "forward", "end") is None and spans([], None, "both", "end") is None


def test_a_keyframe_goes_before_the_position() -> None:
    found = region(KEYS, Wish(20, "forward", "keyframes"), 50, Anchor(20, 7, 7))
    assert found is not None and found.anchors[0] == KEYS[1]


def test_wishes_that_contradict_themselves() -> None:
    with pytest.raises(UsageError, match="forward or backward"):
        Wish(3, "both", 9)
    with pytest.raises(UsageError, match="frame 2 is not forward of frame 3"):
        Wish(3, "forward", 2)
    with pytest.raises(UsageError, match="frame 9 is not backward of frame 3"):
        Wish(3, "backward", 9)


def test_points_of_the_same_frames_go_together() -> None:
    one, other = Region(0, 9, (Anchor(0, 1, 1),)), Region(3, 9, (Anchor(3, 1, 1),))
    groups = grouped([(1, one), (2, other), (3, one), (4, Region(5, 5, (Anchor(5, 0, 0),)))], "both")
    assert [(g.first, g.last, [id for id, _ in g.points]) for g in groups] == [(0, 9, [1, 3]), (3, 9, [2])]
