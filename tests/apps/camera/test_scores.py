"""ATE and RPE, with evo as the oracle."""

from __future__ import annotations

import camera_scenes
import numpy as np
import pytest

from tapkit.apps.camera import Trajectory, score_cameras
from tapkit.apps.camera.rigid import inverse, motion, of_parts, rotation
from tapkit.apps.camera.scores import align
from tapkit.errors import ShapeError, UsageError


def pair() -> tuple[np.ndarray, np.ndarray]:
    """Camera-to-world poses that are off by noise, in another frame and another unit; and the true ones."""
    random = np.random.default_rng(4)
    truth = inverse(camera_scenes.handheld(random, 40, reach=2.0))
    off = truth @ motion(0.02 * random.normal(size=(40, 6)))
    other = motion(np.array([1.0, -2, 0.5, 0.3, 1.1, -0.4]))
    off[:, :3, 3] *= 0.37
    return other @ off, truth


def test_scores_are_those_of_evo() -> None:
    evo = pytest.importorskip("evo.core.metrics")
    from evo.core.sync import associate_trajectories
    from evo.core.trajectory import PoseTrajectory3D

    estimate, truth = pair()
    scores = score_cameras(estimate, truth)
    times = np.arange(40) / 30
    reference = PoseTrajectory3D(poses_se3=list(truth), timestamps=times)
    own = PoseTrajectory3D(poses_se3=list(estimate), timestamps=times)
    reference, own = associate_trajectories(reference, own)
    own.align(reference, correct_scale=True)
    expected = []
    for metric in (
        evo.APE(evo.PoseRelation.translation_part),
        evo.RPE(evo.PoseRelation.translation_part, delta=1, delta_unit=evo.Unit.frames, all_pairs=True),
        evo.RPE(evo.PoseRelation.rotation_angle_deg, delta=1, delta_unit=evo.Unit.frames, all_pairs=True),
    ):
        metric.process_data((reference, own))
        expected.append(metric.get_statistic(evo.StatisticsType.rmse))
    assert list(scores[:3]) == pytest.approx(expected, rel=1e-6)
    assert scores.path == pytest.approx(reference.path_length)
    assert scores.scale == pytest.approx(1 / 0.37, rel=0.05)


def test_a_trajectory_is_no_different_from_itself_in_another_unit(exact: tuple[Trajectory, object]) -> None:
    cameras, _ = exact
    scores = score_cameras(cameras.scaled(7.0), cameras)
    assert scores.ate < 1e-9 and scores.rpe_rotation < 1e-4 and scores.scale == pytest.approx(1 / 7)


def test_frames_without_a_pose_do_not_count() -> None:
    estimate, truth = pair()
    with_hole = truth.copy()
    with_hole[10:20] = np.nan
    keep = np.r_[0:10, 20:40]
    assert score_cameras(estimate, with_hole).ate == pytest.approx(score_cameras(estimate[keep], truth[keep]).ate)
    with_hole[1:] = np.nan
    with pytest.raises(UsageError, match="fewer than two"):
        score_cameras(estimate, with_hole)
    with pytest.raises(ShapeError, match="39 frames"):
        score_cameras(estimate, truth[:39])


def test_a_mirror_image_is_not_aligned_by_mirroring() -> None:
    points = np.random.default_rng(0).normal(size=(30, 3))
    turn, _, _ = align(points * [1, 1, -1], points)
    assert np.linalg.det(turn) == pytest.approx(1)
    turn, shift, scale = align(points, 2.5 * points @ rotation(np.array([0.1, 0.2, 0.3])).T + 4)
    assert np.allclose(turn, rotation(np.array([0.1, 0.2, 0.3]))) and scale == pytest.approx(2.5)
    assert np.allclose(shift, 4)


def test_standing_still_has_no_scale() -> None:
    still = of_parts(np.tile(np.eye(3), (5, 1, 1)), np.ones((5, 3)))
    scores = score_cameras(still, still)
    assert scores.ate == 0 and scores.scale == 1 and np.isnan(scores.relative)
