"""Following a demonstration with a camera that only moves: exact projections, noise, occlusion, no tracker."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from pinhole import CAMERA, Pinhole

from tapkit.apps.servo import STILL, Path2D, Plan, Stage
from tapkit.apps.servo.follower import Follower
from tapkit.types import Provenance

SAID = Provenance()


def thing(seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.column_stack([random.uniform(-0.03, 0.03, (24, 2)), random.uniform(0, 0.02, 24)])


def shown(points: np.ndarray, start: tuple[float, ...], frames: int = 30) -> Path2D:
    """A demonstration: from a place (x, y, z, turn) straight to 15 cm above the thing."""
    xy = []
    for share in np.linspace(1, 0, frames):
        x, y, z, turn = share * np.array(start)
        xy.append(Pinhole(points, (x + 0.02, y, 0.15 + z), turn).project())
    path = np.stack(xy).astype(np.float32)
    return Path2D(np.zeros((256, 256, 3), np.uint8), path, ((path > 0) & (path < 256)).all(2))


def plan_of(*paths: Path2D) -> Plan:
    return Plan(CAMERA, (Stage(paths, depth=0.2),))


def follow(
    eye: Pinhole, plan: Plan, noise: float = 0.5, hidden: float = 0.2, wrong: int = 0, steps: int = 300
) -> Follower:
    random = np.random.default_rng(0)
    follower = Follower(plan, plan.stages[0], 0, np.arange(24), SAID)
    for step in range(steps):
        xy = eye.project()
        seen = ((xy > 0) & (xy < 256)).all(1) & (random.random(24) > hidden)
        xy = xy + random.normal(0, noise, xy.shape)
        xy[:wrong] = (200.0, 40.0)
        follower.decide(step, xy, seen.astype(float))
        if follower.state != "moving":
            break
        eye.move(follower.velocity, 1 / 15)
    return follower


@pytest.mark.parametrize(("wrong", "depth"), [(0, 0.2), (0, 0.4), (6, 0.2)])
def test_a_demonstration_is_followed_to_its_end(wrong: int, depth: float) -> None:
    """Also with a depth that is wrong by two, and with a quarter of the points on something else."""
    points = thing()
    plan = plan_of(shown(points, (0.06, -0.04, 0.1, 0.5)))
    plan = replace(plan, stages=(replace(plan.stages[0], depth=depth),))
    eye = Pinhole(points, (0.0, 0.05, 0.27), -0.3)
    follower = follow(eye, plan, wrong=wrong)
    assert follower.state == "arrived" and follower.reached == 29
    assert np.abs(eye.place - (0.02, 0.0, 0.15)).max() < 0.004 and abs(eye.turn) < math.radians(3)
    assert follower.velocity == STILL


def test_a_quick_demonstration_is_followed_too() -> None:
    """Its frames lie further apart than what counts as reached; the hand begins close to one of them."""
    points = thing()
    plan = plan_of(shown(points, (0.08, -0.06, 0.1, 0.7), frames=6))
    eye = Pinhole(points, (0.02 + 0.6 * 0.08, 0.6 * -0.06, 0.15 + 0.06), 0.42)
    assert follow(eye, plan).state == "arrived"
    assert np.abs(eye.place - (0.02, 0.0, 0.15)).max() < 0.004


def test_points_that_vanish_stop_the_hand_and_are_lost_after_a_second() -> None:
    points = thing()
    follower = Follower(plan_of(shown(points, (0.05, 0.0, 0.1, 0.0))), made_once(points), 0, np.arange(24), SAID)
    eye = Pinhole(points, (0.05, 0.0, 0.25))
    follower.decide(0, eye.project(), np.ones(24))
    assert follower.velocity != STILL
    states = []
    for step in range(17):
        follower.decide(1 + step, eye.project(), np.zeros(24))
        states.append(follower.state)
        assert follower.velocity == STILL
    assert states[:15] == ["moving"] * 15 and states[-1] == "lost"


def made_once(points: np.ndarray) -> Stage:
    return plan_of(shown(points, (0.05, 0.0, 0.1, 0.0))).stages[0]


def test_an_arm_that_does_not_move_is_stuck() -> None:
    points = thing()
    plan = plan_of(shown(points, (0.08, 0.0, 0.1, 0.0)))
    eye = Pinhole(points, (-0.08, 0.0, 0.25))
    eye.move = lambda velocity, seconds: None  # type: ignore[method-assign]
    follower = follow(eye, plan, noise=0.0, hidden=0.0)
    assert follower.state == "stuck" and follower.velocity == STILL and follower.error > 0.1


def test_goals_that_were_hidden_in_the_demonstration_are_passed_over() -> None:
    points = thing()
    path = shown(points, (0.05, 0.03, 0.1, 0.2))
    visible = path.visible.copy()
    visible[5:20] = False
    plan = plan_of(replace(path, visible=visible))
    eye = Pinhole(points, (0.06, 0.03, 0.24), 0.2)
    assert follow(eye, plan).state == "arrived"
    assert np.abs(eye.place - (0.02, 0.0, 0.15)).max() < 0.004


@pytest.mark.parametrize(("turn", "state"), [(1.0, "arrived"), (5.0, "stuck")])
def test_points_that_stay_turned_have_not_arrived(turn: float, state: str) -> None:
    """Though they are near their goals, and come no nearer."""
    points = thing()
    path = shown(points, (0.08, 0.0, 0.1, 0.0))
    plan = plan_of(replace(path, xy=path.xy[-1:], visible=path.visible[-1:]))
    eye = Pinhole(points, (0.02, 0.0, 0.15), math.radians(turn))
    eye.move = lambda velocity, seconds: None  # type: ignore[method-assign]
    follower = follow(eye, plan, noise=0.0, hidden=0.0)
    assert follower.error < 2 * plan.stages[0].tolerance
    assert follower.state == state


def test_where_the_end_will_be_looked_at_anew_near_is_enough() -> None:
    points = thing()
    plan = plan_of(shown(points, (0.08, 0.0, 0.1, 0.4)))
    steps = []
    for coarse in (False, True):
        eye = Pinhole(points, (-0.06, 0.0, 0.27), 0.3)
        follower = Follower(plan, plan.stages[0], 0, np.arange(24), SAID, coarse)
        for step in range(300):
            follower.decide(step, eye.project(), np.ones(24))
            if follower.state != "moving":
                break
            eye.move(follower.velocity, 1 / 15)
        assert follower.state == "arrived" and follower.error < 2 * plan.stages[0].tolerance
        steps.append(step)
    assert steps[1] < steps[0] - 5


def test_points_that_were_found_where_they_belong_leave_nothing_to_do() -> None:
    points = thing()
    plan = plan_of(shown(points, (0.08, 0.0, 0.1, 0.4)))
    for turn, there in ((0.0, True), (4.0, False)):
        follower = Follower(plan, plan.stages[0], 0, np.arange(24), SAID)
        assert follower.is_there(Pinhole(points, (0.02, 0.0, 0.15), math.radians(turn)).project()) == there
        assert follower.state == ("arrived" if there else "moving") and follower.velocity == STILL
