"""Points, tracks, visibility and flow on a scene whose answers follow from a few lines of geometry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("OpenEXR")
pytest.importorskip("embreex")

from filmed_scene import CARD, FRAMES, SIZE, camera, card, hidden, write_take

from tapkit.generate.checks import interpolate
from tapkit.generate.motion import Flow, FrameTracks, optical_flow, passes_depth_rule, track_frame
from tapkit.generate.points import SurfacePoints, choose_points
from tapkit.generate.rays import Surface
from tapkit.generate.take import Take


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Take:
    return Take(write_take(tmp_path_factory.mktemp("take")))


@pytest.fixture(scope="module")
def points(take: Take) -> SurfacePoints:
    return choose_points(take, 400, seed=0)


def surface(take: Take, frame: int) -> Surface:
    vertices, view = take.geometry(frame)
    return Surface(vertices, take.triangles, view)


def tracked(take: Take, points: SurfacePoints) -> list[FrameTracks]:
    return [track_frame(take, points, surface(take, frame), take.passes(frame)) for frame in range(FRAMES)]


def test_points_lie_on_what_has_tracks_and_are_seen_where_they_were_chosen(take: Take, points: SurfacePoints) -> None:
    assert len(points.part) == 400 and set(points.part) == {0, 1}, "the third part only hides"
    frames = tracked(take, points)
    for row, frame in enumerate(points.chosen_on):
        assert frames[frame].visible[row]
    first = (points.chosen_on == 0).mean()
    assert len(set(points.chosen_on)) > 2 and first == pytest.approx(2 / (len(set(points.chosen_on)) + 1), abs=0.02)


def test_what_moves_has_more_points_than_its_share_of_the_picture(take: Take, points: SurfacePoints) -> None:
    share = (take.passes(0).mask == 2).mean()
    assert (points.part == 1).mean() > 1.5 * share


def test_the_same_seed_chooses_the_same_points(take: Take, points: SurfacePoints) -> None:
    again, other = choose_points(take, 400, seed=0), choose_points(take, 400, seed=1)
    assert np.array_equal(again.corners, points.corners) and not np.array_equal(other.corners, points.corners)


def test_a_scene_that_shows_little_gives_as_many_points_as_it_has(take: Take) -> None:
    assert 1000 < len(choose_points(take, 10**6, seed=0).part) <= FRAMES * SIZE[0] * SIZE[1]


def test_tracks_move_as_the_card_does(take: Take, points: SurfacePoints) -> None:
    """By a formula of its own: place on the card -> world -> pixels."""
    frames = tracked(take, points)
    rows = np.flatnonzero(points.part == 1)
    flat = np.einsum("rc,rcd->rd", points.corners[rows], CARD[take.triangles[points.triangle[rows]] - 4])
    for frame in range(FRAMES):
        a = 0.1 * frame
        x = np.cos(a) * flat[:, 0] - np.sin(a) * flat[:, 2] + 0.15 * frame - 0.3 - 0.05 * frame
        z = np.sin(a) * flat[:, 0] + np.cos(a) * flat[:, 2]
        expected = np.stack([32 + 50 * x / 2, 24 - 50 * z / 2], -1)
        np.testing.assert_allclose(frames[frame].xy[rows], expected, atol=1e-4)


def test_points_are_hidden_where_something_stands_before_them(take: Take, points: SurfacePoints) -> None:
    seen = 0
    for frame, found in enumerate(tracked(take, points)):
        for row in np.flatnonzero(points.part == 0):
            x, y = found.xy[row]
            inside = 0 <= x <= SIZE[1] and 0 <= y <= SIZE[0]
            assert found.visible[row] == (inside and not hidden(found.world[row], frame)), (frame, row)
            seen += not found.visible[row]
    assert seen > 20, "some are hidden at times"


def test_the_published_rule_agrees_except_near_silhouettes(take: Take, points: SurfacePoints) -> None:
    for found in tracked(take, points):
        assert (found.visible == found.visible_by_depth).mean() > 0.9


def test_the_published_rule_takes_the_pixels_from_floor_to_ceil() -> None:
    pixels = np.full((4, 6), 10.0, np.float32)
    pixels[:, 3:] = 5.0
    xy = np.array([[1.5, 1.5], [2.5, 1.5], [3.5, 1.5], [1.5, 1.5], [5.9, 3.9]])
    depth = np.array([10.0, 10.0, 10.0, 10.6, 5.0])
    # Median of two halves: 7.5, so that neither depth is within 5 % of it at the edge.
    assert passes_depth_rule(xy, depth, pixels).tolist() == [True, False, False, False, True]


def test_flow_is_where_the_pixels_go(take: Take) -> None:
    """Wall and card by their own formulas; occluded where the card comes to lie, or the frame ends."""
    here, there = surface(take, 1), surface(take, 2)
    forward: Flow = optical_flow(take, here, there)
    mask = take.passes(1).mask
    wall = mask == 1
    np.testing.assert_allclose(forward.flow[wall], np.broadcast_to([-50 * 0.05 / 4, 0], (wall.sum(), 2)), atol=1e-4)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    on_card = mask == 2
    place = np.stack([(x[on_card] - 32) / 25, (24 - y[on_card]) / 25], -1) - [card(1)[:, 0].mean() - 0.05, 0]
    turn = np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    goal = place @ turn.T + [card(2)[:, 0].mean() - 0.1, 0]
    expected = np.stack([32 + 25 * goal[:, 0], 24 - 25 * goal[:, 1]], -1) - np.stack([x[on_card], y[on_card]], -1)
    np.testing.assert_allclose(forward.flow[on_card], expected, atol=1e-3)
    assert not forward.occluded[on_card].any()
    world = camera(1).centre + 4 * camera(1).rays(np.stack([x[wall], y[wall]], -1))
    outside = x[wall] + forward.flow[wall][:, 0] < 0
    truth = np.array([hidden(point, 2) for point in world]) | outside
    assert np.array_equal(forward.occluded[wall], truth) and truth.any()


def test_flow_forwards_and_backwards_meet_where_nothing_is_occluded(take: Take) -> None:
    here, there = surface(take, 0), surface(take, 3)
    forward, backward = optical_flow(take, here, there), optical_flow(take, there, here)
    y, x = np.nonzero(~forward.occluded & (take.passes(0).mask == 1))
    goal = forward.flow[y, x] + np.stack([x, y], -1) + 0.5
    near = np.floor(goal).astype(int)
    back = backward.flow[near[:, 1], near[:, 0]]
    same = take.passes(3).mask[near[:, 1], near[:, 0]] == 1
    np.testing.assert_allclose((forward.flow[y, x] + back)[same], 0, atol=1e-3)


def test_sky_turns_with_the_camera_and_nothing_is_known_behind(tmp_path: Path) -> None:
    take = Take(write_take(tmp_path))
    vertices, view = take.geometry(0)
    angle = 0.2
    turn = np.eye(4)
    turn[:3, :3] = [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]
    turned = view._replace(extrinsics=turn @ view.extrinsics)
    nothing = np.zeros((0, 3), np.int32)
    flow = optical_flow(take, Surface(vertices, nothing, view), Surface(vertices, nothing, turned))
    assert np.allclose(flow.flow[23, 31, 0], 50 * np.tan(np.arctan(-0.5 / 50) - angle) + 0.5, atol=1e-4)
    assert flow.occluded[:, 0].all() and not flow.occluded[:, -1].any()


def test_positions_between_pixels_are_taken_from_one_surface_only(take: Take) -> None:
    passes = take.passes(0)
    xy = np.random.default_rng(0).uniform(1, 40, (200, 2))
    rows, position = interpolate(passes, xy)
    found = surface(take, 0).cast(xy[rows])
    world = camera(0).centre + found.depth[:, None] * camera(0).rays(xy[rows])
    np.testing.assert_allclose(position, world, atol=1e-5)
    assert 50 < len(rows) < 200
