"""`PointMOT` on objects whose motion and points are exact: every edge case of association."""

from __future__ import annotations

import numpy as np
import pytest
from moving import SIZE, World, follow, ids_of, of_world

from tapkit.apps.objects import Detections, ObjectOptions, PointMOT, Points, score_objects
from tapkit.errors import UsageError


def walker(x: float, y: float, dx: float, dy: float = 0.0, side: float = 30.0):
    return lambda t: (x + dx * t, y + dy * t, x + dx * t + side, y + dy * t + side)


def meeting() -> World:
    """Two objects that run towards each other, fast: their boxes coincide on frame 6, and 12 pixels a frame lie
    between their boxes of one frame and the next."""
    return World([walker(60, 100, 12), walker(60 + 2 * 72 + 10, 104, -12)], 14)


def test_crossing_objects_keep_their_identity_where_boxes_alone_swap_it() -> None:
    world = meeting()
    net, _ = follow(world, lambda t: of_world(world, t))
    assert [ids_of(net, world, n) for n in (0, 1)] == [[1], [2]]
    assert score_objects(world.truth(), net) == pytest.approx((1, 1, 1, 1, 1, 0))
    boxes, _ = follow(world, lambda t: of_world(world, t), ObjectOptions("iou"))
    scores = score_objects(world.truth(), boxes)
    assert scores.switches >= 2 and scores.hota < 0.9


def test_the_released_rule_is_there_to_compare() -> None:
    world = World([walker(40, 60, 4), walker(200, 60, -4)], 12)
    found, mot = follow(world, lambda t: of_world(world, t), ObjectOptions("nettrack"))
    assert [ids_of(found, world, n) for n in (0, 1)] == [[1], [2]]
    assert all(len(track.keys) == 9 for track in mot.tracks)
    # A grid of 3 x 3 interior points, laid anew every 7 frames: on frames 0 and 7.
    assert all(track.renewed == 7 for track in mot.tracks)


def test_no_detections_in_some_frames_or_in_any() -> None:
    world = World([walker(40, 60, 4)], 12)
    some, _ = follow(world, lambda t: Detections.none() if t in (3, 4, 5) else of_world(world, t))
    assert ids_of(some, world, 0) == [1]
    carried = some[some.interpolated]
    assert carried.frame.tolist() == [3, 4, 5]
    # The points are exact, so are the boxes that they carry.
    assert np.allclose(carried.xyxy, [world.box(0, t) for t in (3, 4, 5)], atol=1e-3)
    assert some.detected().frame.tolist() == [0, 1, 2, 6, 7, 8, 9, 10, 11]
    nothing, _ = follow(world, lambda t: Detections.none())
    assert len(nothing) == 0 and nothing.ids == []


@pytest.mark.parametrize(("away", "ids"), [(29, [1]), (31, [1, 2])])
def test_an_object_may_be_away_for_thirty_frames(away: int, ids: list[int]) -> None:
    def box(t: int):
        return None if 5 <= t < 5 + away else (100.0, 100.0, 140.0, 140.0)

    world = World([box], 10 + away)
    found, mot = follow(world, lambda t: of_world(world, t))
    assert ids_of(found, world, 0) == ids
    assert not found.interpolated.any()  # none of its points was seen, so nothing says where it was
    assert len(mot.tracks) == 1


def test_two_identical_boxes_are_two_objects_that_do_not_multiply() -> None:
    world = World([walker(40, 60, 4)], 8)
    found, mot = follow(world, lambda t: Detections.of(np.stack([world.box(0, t)] * 2)))
    assert found.ids == [1, 2] and len(found) == 16 and len(mot.tracks) == 2


def test_boxes_partly_and_wholly_outside_the_frame() -> None:
    world = World([walker(-20, -10, 0.5)], 6)
    found, mot = follow(world, lambda t: of_world(world, t))
    assert ids_of(found, world, 0) == [1]
    assert all((track.xy > 0).all() for track in mot.tracks) and len(mot.tracks[0].keys) == 16
    outside = World([walker(-80, 10, 0)], 3)
    nothing, mot = follow(outside, lambda t: of_world(outside, t))
    assert len(nothing) == 0 and mot.left_out == 3


def test_a_box_that_swallows_the_object_loses_to_the_one_that_fits() -> None:
    """All points lie in both boxes; the area weight decides."""
    world = World([walker(100, 100, 1)], 6)

    def both(t: int) -> Detections:
        small = world.box(0, t)
        return Detections.of(np.stack([small + [-60, -60, 60, 60], small]) if t else small[None])

    found, _ = follow(world, both)
    assert ids_of(found, world, 0) == [1]


def test_tracks_of_one_frame_do_not_count_after_the_first_frame() -> None:
    world = World([walker(40, 60, 2), walker(200, 150, 0)], 6)
    found, _ = follow(world, lambda t: of_world(world, t) if t == 3 else Detections.of(world.box(0, t)[None]))
    assert found.ids == [1]
    start, _ = follow(World([walker(40, 60, 2)], 1), lambda t: of_world(world, t)[[0]])
    assert start.ids == [1] and len(start) == 1
    # One that is confirmed has its first box too.
    late, _ = follow(world, lambda t: of_world(world, t) if t >= 3 else Detections.of(world.box(0, t)[None]))
    assert late[late.id == 2].frame.tolist() == [3, 4, 5]


def test_a_class_that_flickers_costs_no_identity_and_the_majority_is_written() -> None:
    world = World([walker(40, 60, 4)], 9)
    found, _ = follow(world, lambda t: Detections.of(world.box(0, t)[None], 0.9, "dog" if t % 3 == 1 else "cat"))
    assert found.ids == [1] and set(found.label.tolist()) == {"cat"} and found.names[0] == "cat 1"


def test_of_two_boxes_that_fit_the_one_of_its_class_wins() -> None:
    world = World([walker(100, 100, 0)], 2)
    box = world.box(0, 0)

    def look(t: int) -> Detections:
        return Detections.of(box[None], 1.0, "cat") if t == 0 else Detections.of([box, box], 1.0, ["dog", "cat"])

    found, _ = follow(world, look)
    _, mot = follow(world, look)
    assert found[found.id == 1].frame.tolist() == [0, 1] and mot.tracks[0].labels == {"cat": 2}


def test_unsure_detections_continue_tracks_and_start_none() -> None:
    world = World([walker(40, 60, 4)], 6)
    found, _ = follow(world, lambda t: Detections.of(world.box(0, t)[None], 0.9 if t == 0 else 0.3))
    assert found.ids == [1] and not found.interpolated.any() and len(found) == 6
    none, _ = follow(world, lambda t: Detections.of(world.box(0, t)[None], 0.3))
    assert len(none) == 0


def test_points_that_left_their_object_are_replaced_after_two_frames() -> None:
    mot = PointMOT(SIZE)
    found = Detections.of([(100, 100, 140, 140)])
    first = mot.step(0, found, Points.none())
    assert len(first.keys) == 16 and first.keys.tolist() == list(range(16))
    xy = first.xy.astype(np.float64)
    xy[:4] = (10, 10)  # four have gone astray
    points = Points(first.keys, xy, np.ones(16))
    for t in (1, 2):
        assert len(mot.step(t, found, points).remove) == 0
    changes = mot.step(3, found, points)
    assert changes.remove.tolist() == [0, 1, 2, 3] and changes.keys.tolist() == [16, 17, 18, 19]
    assert ((changes.xy > 104) & (changes.xy < 136)).all()  # the central 80 %


def test_hidden_points_of_an_object_that_is_detected_are_replaced_if_they_are_most() -> None:
    mot = PointMOT(SIZE)
    found = Detections.of([(100, 100, 140, 140)])
    first = mot.step(0, found, Points.none())
    visible = np.where(np.arange(16) < 3, 1.0, 0.1)
    for t in (1, 2):
        assert len(mot.step(t, found, Points(first.keys, first.xy, visible)).remove) == 0
    assert mot.step(3, found, Points(first.keys, first.xy, visible)).remove.tolist() == list(range(3, 16))


def test_an_object_seen_whole_is_not_outvoted_by_a_few_points_of_one_that_is_hidden() -> None:
    """Both objects have all of their visible points in the box: sixteen of one, three of the other."""
    mot = PointMOT(SIZE)
    boxes = np.array([(100, 100, 140, 140), (100, 150, 140, 190.0)])
    first = mot.step(0, Detections.of(boxes), Points.none())
    xy = first.xy.astype(np.float64)
    xy[16:19] = xy[0:3]
    visible = np.ones(32)
    visible[19:] = 0
    xy[0] = (10, 10)  # so that the share of the first is below that of the second
    mot.step(1, Detections.of(boxes[:1]), Points(first.keys, xy, visible))
    assert mot.rows.table(_info()).detected().at(1).id.tolist() == [1]


def test_new_points_avoid_what_lies_in_other_boxes() -> None:
    mot = PointMOT(SIZE)
    changes = mot.step(0, Detections.of([(100, 100, 160, 160), (130, 90, 200, 170)]), Points.none())
    assert (changes.xy[:16, 0] <= 130).all()


def test_masks_decide_which_points_are_inside() -> None:
    mask = np.zeros((2, *SIZE), bool)
    mask[0, 100:140, 100:120] = mask[1, 100:140, 120:140] = True
    mot = PointMOT(SIZE)
    box = np.array([(100, 100, 140, 140)] * 2)  # the boxes do not tell them apart
    changes = mot.step(0, Detections.of(box, mask=mask), Points.none())
    assert (changes.xy[:16, 0] < 120).all() and (changes.xy[16:, 0] > 120).all()
    swapped = Detections.of(box, mask=mask[::-1])
    mot.step(1, swapped, Points(changes.keys, changes.xy.astype(float), np.ones(32)))
    table = mot.rows.table(_info()).at(1)
    assert table.id.tolist() == [1, 2]
    assert [track.area for track in mot.tracks] == [800, 800]
    assert Detections.of_masks(mask).xyxy.tolist() == [[100, 100, 120, 140], [120, 100, 140, 140]]


def _info():
    from tapkit.types import VideoInfo

    return VideoInfo(SIZE[1], SIZE[0], frames=2)


def test_boxes_of_one_frame_live_on_their_points() -> None:
    world = World([lambda t: (40 + 4 * t, 60 + t, 80 + 6 * t, 100 + 3 * t)], 20)  # it grows
    found, _ = follow(world, lambda t: of_world(world, t) if t == 2 else Detections.none(), free=True)
    assert found.frame.tolist() == list(range(2, 20)) and found.ids == [1]
    assert np.allclose(found.xyxy, [world.box(0, t) for t in range(2, 20)], atol=1e-2)
    assert found.interpolated.tolist() == [False] + [True] * 17


def test_a_few_points_that_are_found_elsewhere_do_not_take_a_hidden_object_along() -> None:
    """Hidden, two of sixteen points are seen on something that looks like their object."""
    mot = PointMOT(SIZE, free=True)
    first = mot.step(0, Detections.of([(100, 100, 140, 140)]), Points.none())
    xy, visible = first.xy.astype(np.float64), np.zeros(16)
    xy[:2] += (90, 40)
    visible[:2] = 0.9
    mot.step(1, Detections.none(), Points(first.keys, xy, visible))
    assert mot.tracks[0].carried.tolist() == [100, 100, 140, 140]
    assert mot.rows.table(_info()).frame.tolist() == [0]  # nothing is said where nothing is known


def test_without_visible_points_the_overlap_of_boxes_helps() -> None:
    world = World([walker(40, 60, 1)], 6)
    found, _ = follow(world, lambda t: of_world(world, t), seen=lambda number, t: 0.0)
    assert ids_of(found, world, 0) == [1]


def test_positions_that_are_no_numbers_count_as_unseen() -> None:
    mot = PointMOT(SIZE)
    found = Detections.of([(100, 100, 140, 140)])
    first = mot.step(0, found, Points.none())
    mot.step(1, found, Points(first.keys, np.full((16, 2), np.nan), np.ones(16)))
    assert mot.tracks[0].number == 1 and np.isfinite(mot.tracks[0].xy).all()


def test_normalised_similarities_give_the_same_pairs_where_all_is_clear() -> None:
    world = meeting()
    found, _ = follow(world, lambda t: of_world(world, t), ObjectOptions(normalise=True))
    assert [ids_of(found, world, n) for n in (0, 1)] == [[1], [2]]


def test_the_same_seed_gives_the_same_points() -> None:
    found = Detections.of([(100, 100, 140, 140)])
    one, other, third = (
        PointMOT(SIZE, ObjectOptions(seed=seed)).step(0, found, Points.none()).xy for seed in (0, 0, 1)
    )
    assert (one == other).all() and not (one == third).all()


@pytest.mark.parametrize(
    "wrong",
    [{"rule": "none"}, {"points": 1}, {"rule": "nettrack", "points": 7}, {"rule": "iou", "points": 4}, {"high": 2.0},
     {"confirm": 0}, {"max_lost": -1}, {"low": 0.6}],
)  # fmt: skip
def test_settings_that_make_no_sense_are_said(wrong: dict) -> None:
    with pytest.raises(UsageError):
        ObjectOptions(**wrong)
