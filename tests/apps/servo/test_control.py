"""Both control laws: against finite differences of a real projection, and until they arrive."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pinhole import CAMERA, Pinhole

from tapkit.apps.servo.camera import STILL, Camera, HandEye, Velocity
from tapkit.apps.servo.control import Gains, command, least_squares, matching
from tapkit.errors import UsageError


def scattered(seed: int, depth: float = 0.0) -> np.ndarray:
    """Sixty points on a spot of 12 cm, `depth` metres high at most."""
    random = np.random.default_rng(seed)
    return np.column_stack([random.uniform(-0.06, 0.06, (60, 2)), random.uniform(0, depth, 60)])


@pytest.mark.parametrize("axis", range(4))
def test_the_laws_know_how_the_picture_moves(axis: int) -> None:
    """A camera that was moved along one axis by a little is told to undo just that."""
    eye = Pinhole(scattered(0), (0.01, 0.02, 0.3), 0.4)
    goals = CAMERA.normalised(eye.project())
    small = np.zeros(4)
    small[axis] = 1e-5
    eye.move(Velocity(*small), 1.0)
    points = CAMERA.normalised(eye.project())
    weights = np.ones(60)
    for found in (least_squares(points, goals, weights, 0.3, 1.0, 1e-9), matching(points, goals, weights, 0.3, 1.0)):
        assert np.abs(np.array(found) + small).max() < 2e-8


@pytest.mark.parametrize("law", ["auto", "least-squares", "matching"])
@pytest.mark.parametrize(("depth_error", "focal_error"), [(1.0, 1.0), (2.0, 1.0), (0.5, 1.0), (1.0, 1.2), (1.0, 0.8)])
@pytest.mark.parametrize("relief", [0.0, 0.03])
def test_it_arrives_from_afar(law: str, depth_error: float, focal_error: float, relief: float) -> None:
    """From 30 cm and 45 degrees off, with noise and occlusion, below 1 % of the width in 10 s; with a wrong depth or
    focal length too (slower or faster)."""
    random = np.random.default_rng(1)
    seen = Camera(256, 256, CAMERA.focal * focal_error)
    eye = Pinhole(scattered(2, relief), (0.0, 0.0, 0.2))
    aim = eye.project()
    eye.place, eye.turn = np.array([0.05, -0.03, 0.2 + 0.1]), math.radians(45)
    gains = Gains(gain=1.5, law=law)  # type: ignore[arg-type]
    errors = []
    for _ in range(150):
        exact = eye.project()
        errors.append(np.linalg.norm(exact - aim, axis=1).mean() / 256)
        noisy = exact + random.normal(0, 0.5, exact.shape)
        weights = (random.random(60) > 0.2).astype(float)
        told = command(
            seen.normalised(noisy), seen.normalised(aim), weights, 0.25 * depth_error, gains, 256 / seen.focal
        )
        eye.move(told, 1 / 15)
    assert errors[0] > 0.1 and errors[-1] < 0.01
    if depth_error == 1.0:
        assert np.mean(errors[-15:]) < 0.006


def test_the_hand_may_begin_thirty_centimetres_away() -> None:
    """As far as the view allows: 30 cm in all, from 45 cm above the table."""
    eye = Pinhole(scattered(3), (0.0, 0.0, 0.2))
    aim = CAMERA.normalised(eye.project())
    eye.place, eye.turn = np.array([0.13, -0.09, 0.45]), math.radians(-45)
    assert np.linalg.norm(eye.place - (0, 0, 0.2)) > 0.29
    gains = Gains(fastest=0.1, fastest_approach=0.1)
    for _ in range(150):
        eye.move(command(CAMERA.normalised(eye.project()), aim, np.ones(60), 0.3, gains, 256 / CAMERA.focal), 1 / 15)
    assert np.linalg.norm(CAMERA.normalised(eye.project()) - aim, axis=1).mean() < 0.01 * 256 / CAMERA.focal
    assert np.abs(eye.place - (0, 0, 0.2)).max() < 0.003


def test_limits_keep_the_direction() -> None:
    gains = Gains(fastest=0.05, fastest_approach=0.03, fastest_turn=0.5)
    told = gains.limited(Velocity(0.3, 0.4, -1.0, 2.0))
    assert told == pytest.approx((0.03, 0.04, -0.03, 0.5))
    assert gains.limited(STILL) == STILL


@pytest.mark.parametrize("law", [least_squares, matching])
def test_points_without_weight_and_points_on_one_spot(law: object) -> None:
    spot = np.zeros((4, 2)) + 0.1
    assert law(spot, spot + 0.1, np.zeros(4), 0.2, 1.0) == STILL  # type: ignore[operator]
    told = law(spot, spot - 0.05, np.ones(4), 0.2, 1.0)  # type: ignore[operator]
    assert np.isfinite(told).all() and told.x > 0.004 and told.y > 0.004


def test_collinear_points_still_have_a_turn_and_a_distance() -> None:
    line = np.column_stack([np.linspace(-0.2, 0.2, 9), np.zeros(9)])
    for law in (least_squares, matching):
        told = law(line, line * 1.1, np.ones(9), 0.2, 1.0)
        assert told.z == pytest.approx(0.2 * 0.1, rel=0.06) and abs(told.turn) < 1e-6


def test_the_mount_is_taken_into_account() -> None:
    """A camera 5 cm in front of the tool that looks down: its turning about itself moves the tool on a circle."""
    mount = HandEye(((1, 0, 0), (0, -1, 0), (0, 0, -1)), (0.05, 0.0, 0.14))
    linear, angular = mount.tool(Velocity(0.0, 0.0, 0.0, 1.0))
    assert angular.tolist() == [0, 0, -1] and linear == pytest.approx((0.0, 0.05, 0.0))
    linear, angular = mount.tool(Velocity(0.1, 0.2, 0.3, 0.0))
    assert linear == pytest.approx((0.1, -0.2, -0.3)) and not angular.any()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Gains(gain=0.0), "gain must be a positive number"),
        (lambda: Gains(fastest=float("nan")), "fastest must be a positive number"),
        (lambda: Gains(law="pid"), "law must be one of auto"),  # type: ignore[arg-type]
        (lambda: Camera(0, 256, 100.0), "at least one pixel"),
        (lambda: Camera(256, 256, -1.0), "focal must be positive"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(made: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        made()  # type: ignore[operator]
