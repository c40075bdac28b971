"""Whole estimations on made scenes, with the bars of the literature; and what becomes of what has no answer."""

from __future__ import annotations

import camera_scenes
import numpy as np
import pytest
from camera_scenes import observed

from tapkit.apps.camera import CameraOptions, Observations, Trajectory, estimate_cameras, score_cameras
from tapkit.apps.camera.rigid import inverse
from tapkit.apps.camera.scores import rotation_errors
from tapkit.errors import ShapeError, UsageError

CAMERA = camera_scenes.CAMERA


def relative(found: Trajectory, scene: camera_scenes.Points) -> float:
    """ATE as a share of the path."""
    return score_cameras(found.camera_to_world, inverse(scene.pose)).relative


def test_a_static_scene_is_found_without_knowing_the_focal_length() -> None:
    scene = camera_scenes.points(0, each=12)
    found = estimate_cameras(observed(scene))
    assert relative(found, scene) < 0.005
    assert found.intrinsics[0, 0] == pytest.approx(500, rel=0.02) and found.report.focal_refined
    assert found.placed.all() and not found.report.degenerate and found.report.confidence > 0.9
    assert found.report.notes == ()
    # The cloud is the scene, up to the unit: distances between points have one ratio to the true ones.
    assert found.point_valid.mean() > 0.9 and np.median(np.abs(found.points[found.point_valid, 2])) < 2


def test_moving_points_are_found_out(moving_scene: tuple[camera_scenes.Points, Trajectory]) -> None:
    scene, found = moving_scene
    assert relative(found, scene) < 0.0022, "the published table, 30 % moving"
    assert rotation_errors(found.world_to_camera, scene.pose).max() < 0.1
    assert found.inlier[scene.dynamic].sum() < 0.1 * scene.visible[scene.dynamic].sum()
    assert found.report.static_share == pytest.approx(0.7, abs=0.05) and found.report.confidence > 0.9
    assert found.report.error == pytest.approx(0.56, abs=0.1), "0.5 pixels of noise on two axes"


def test_being_told_what_moves_gives_no_worse_cameras(moving_scene: tuple[camera_scenes.Points, Trajectory]) -> None:
    scene, _ = moving_scene
    told = estimate_cameras(observed(scene), CAMERA, dynamic=scene.dynamic)
    assert relative(told, scene) < 0.0022 and told.report.static_share == 1.0


def test_half_of_the_points_may_move() -> None:
    scene = camera_scenes.points(1, moving=0.5)
    found = estimate_cameras(observed(scene), CAMERA)
    assert relative(found, scene) < 0.0029, "the published table, 50 % moving, seed 1"


def test_a_camera_that_only_turns_is_said_to() -> None:
    scene = camera_scenes.points(0, turning=True)
    found = estimate_cameras(observed(scene), CAMERA)
    assert found.report.degenerate and "only turned" in " ".join(found.report.notes)
    assert rotation_errors(found.world_to_camera, scene.pose).max() < 0.1
    assert not found.point_valid.any() and found.length == 0 and found.report.confidence > 0.9
    also = camera_scenes.points(1, turning=True, moving=0.3)
    found = estimate_cameras(observed(also), CAMERA)
    assert found.report.degenerate and rotation_errors(found.world_to_camera, also.pose).max() < 0.1


def test_where_everything_moves_confidence_is_low() -> None:
    scene = camera_scenes.points(0, moving=1.0, each=14)
    found = estimate_cameras(observed(scene), CAMERA)
    assert found.report.confidence < 0.5 and "do not trust" in " ".join(found.report.notes)


def test_points_without_a_query_frame_are_anchored_where_they_are_first_seen() -> None:
    scene = camera_scenes.points(2, each=15)
    found = estimate_cameras(Observations.of(scene.xy, scene.visible, camera_scenes.SIZE), CAMERA)
    assert relative(found, scene) < 0.005


# -- what is out of the ordinary -------------------------------------------------------------------


def test_only_the_longest_part_is_used_where_a_cut_parts_the_points() -> None:
    scene = camera_scenes.points(0, each=12)
    visible = scene.visible.copy()
    early = scene.query_frame < 22
    visible[early, 22:] = False
    visible[~early, :22] = False
    found = estimate_cameras(
        Observations.of(scene.xy, visible, camera_scenes.SIZE, query_frame=scene.query_frame), CAMERA
    )
    assert found.placed.tolist() == [True] * 22 + [False] * 8
    assert "frames 21 and 22 share fewer than 8 points" in " ".join(found.report.notes)
    assert np.array_equal(found.world_to_camera[25], found.world_to_camera[21])
    assert score_cameras(found, inverse(scene.pose)).relative < 0.01


def test_slow_motion_is_found_from_frames_further_apart() -> None:
    """Twice the frames for the same way: no window of neighbours has the parallax, one of every second frame does."""
    scene = camera_scenes.points(0, frames=48, each=7)
    found = estimate_cameras(observed(scene), CAMERA, options=CameraOptions(most_keyframes=24))
    assert found.placed.all() and relative(found, scene) < 0.01


@pytest.mark.parametrize("count", [0, 3, 9])
def test_too_few_points_are_no_crash(count: int) -> None:
    scene = camera_scenes.points(0, each=1)
    found = estimate_cameras(Observations.of(scene.xy[:count], scene.visible[:count], camera_scenes.SIZE), CAMERA)
    assert found.report.confidence < 0.5 and found.report.notes and np.isfinite(found.world_to_camera).all()


def test_points_on_a_line_are_no_crash() -> None:
    along = np.linspace(50, 590, 40)
    xy = np.stack([along, 240 + 0 * along], 1)[:, None] + np.arange(20)[None, :, None] * [2.0, 0.3]
    found = estimate_cameras(Observations.of(xy, np.ones((40, 20), bool), camera_scenes.SIZE), CAMERA)
    assert np.isfinite(found.world_to_camera).all()


def test_nothing_visible_says_so() -> None:
    found = estimate_cameras(Observations.of(np.zeros((30, 10, 2)), np.zeros((30, 10), bool), (480, 640)), 500.0)
    assert found.report.degenerate and found.report.confidence == 0
    assert "nothing joins them" in " ".join(found.report.notes)


def test_arguments_that_cannot_be_used_are_sentences() -> None:
    some = observed(camera_scenes.points(0, each=1))
    with pytest.raises(ShapeError, match="intrinsics are"):
        estimate_cameras(some, [1, 2, 3])
    with pytest.raises(ShapeError, match="dynamic must be"):
        estimate_cameras(some, CAMERA, dynamic=[True])
    with pytest.raises(UsageError, match="probability"):
        estimate_cameras(some, CAMERA, dynamic=np.full(len(some), 7.0))
    with pytest.raises(UsageError, match="leap needs a focal length"):
        estimate_cameras(some, options=CameraOptions("leap"))
    with pytest.raises(UsageError, match="two frames or more"):
        estimate_cameras(Observations.of(np.ones((9, 1, 2)), np.ones((9, 1), bool), (480, 640)), 500.0)


# -- the back end of LEAP-VO -----------------------------------------------------------------------


def test_leap_places_every_frame_of_a_static_scene() -> None:
    scene = camera_scenes.points(0)
    found = [
        relative(estimate_cameras(observed(scene), CAMERA, options=CameraOptions("leap", seed=seed)), scene)
        for seed in (0, 1, 2)
    ]
    assert np.median(found) < 0.01, found


def test_leap_needs_to_be_told_what_moves() -> None:
    scene = camera_scenes.points(1, moving=0.3)
    leap = CameraOptions("leap")
    told = relative(estimate_cameras(observed(scene), CAMERA, scene.dynamic, leap), scene)
    untold = relative(estimate_cameras(observed(scene), CAMERA, None, leap), scene)
    assert told < 0.01 < untold


def test_leap_takes_a_clip_that_is_shorter_than_its_beginning() -> None:
    scene = camera_scenes.points(0, frames=6)
    found = estimate_cameras(observed(scene), CAMERA, options=CameraOptions("leap"))
    assert found.frames == 6 and np.isfinite(found.world_to_camera).all() and found.point_valid.any()
