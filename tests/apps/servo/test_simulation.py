"""The simulated arm and what is done with it (skipped where MuJoCo is missing, or cannot draw)."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tapkit.apps.servo import STILL, Camera, LearnOptions, Path2D, Plan, Stage, Velocity, carry_out, learn
from tapkit.apps.servo.acquire import laid_over, locate_end
from tapkit.apps.servo.consensus import Similarity
from tapkit.apps.servo.sim.scene import BASE, BOX, CAMERA_HEIGHT, CAMERA_OFFSET, LINK, Place, Scene
from tapkit.errors import ShapeError, UsageError

pytest.importorskip("mujoco")

from made import made_stage
from pinhole import Pinhole

from tapkit import api
from tapkit.apps.servo.sim.arm import HOME, Arm
from tapkit.apps.servo.sim.demonstrate import demonstrate
from tapkit.engine.tracker import Tracker

SIZE = 96


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    return api.load("strand", device="cpu")


@pytest.fixture(scope="module", autouse=True)
def drawing() -> None:
    """Skip where there is nothing to draw with."""
    try:
        with Arm(Scene.random(0), 64) as arm:
            arm.frame()
    except Exception as error:
        pytest.skip(f"MuJoCo cannot draw here: {error}")


def test_the_arm_goes_where_it_is_told_and_its_camera_sees_that() -> None:
    with Arm(Scene.random(0), SIZE) as arm:
        before = arm.frame()
        assert before.shape == (SIZE, SIZE, 3) and before.std() > 10
        for _ in range(15):
            arm.move(Velocity(0.03, 0.02, 0.04, 0.2))
        for _ in range(5):
            arm.move(STILL)
        # The camera's y and z are the tool's, the other way round, and it turns about itself, 5 cm before the tool.
        x, y, z, turn = arm.reached
        assert z == pytest.approx(HOME[2] - 0.04, abs=0.002) and turn == pytest.approx(-0.2, abs=0.01)
        eye = np.array([x, y]) + 0.05 * np.array([math.cos(turn), math.sin(turn)])
        straight = np.array([HOME[0] + 0.05 + 0.03, HOME[1] - 0.02])
        assert np.abs(eye - straight).max() < 0.006
        assert np.abs(arm.frame().astype(int) - before).mean() > 3 and arm.stopped == 0


def test_beyond_its_reach_the_arm_stays_and_says_so() -> None:
    with Arm(Scene.random(0), SIZE) as arm:
        for _ in range(60):
            arm.move(Velocity(0.3, 0.0, 0.5, 0.0))
        assert arm.stopped > 20
        x, y, z, _ = arm.reached
        assert np.hypot(x - BASE[0], y - BASE[1]) < 2 * LINK and z > 0.005


def test_a_demonstration_puts_the_box_on_the_pad() -> None:
    scene = Scene.random(3)
    shown = demonstrate(scene, size=64)
    assert [event.closes for event in shown.events] == [True, False]
    assert shown.height is not None and shown.height.min() < 0.02
    assert demonstrate(scene, size=64).height.tolist() == shown.height.tolist()  # type: ignore[union-attr]


def test_a_plan_is_learned_from_demonstrations(tracker: Tracker, tmp_path: Path) -> None:
    """Small: two demonstrations, pictures of 160 pixels. (Carrying the plan out: benchmarks/servo.py.)"""
    shown = [demonstrate(Scene.random(n), n, 160) for n in range(2)]
    with Arm(Scene.random(1), 160) as arm:
        plan = learn(shown, tracker, arm.camera, LearnOptions(step=4, points=40))
    assert [stage.grip for stage in plan.stages] == ["close", "open"]
    assert all(0.1 < stage.retreat < 0.2 for stage in plan.stages)
    back = Plan.load(plan.save(tmp_path / "plan"))
    assert [stage.points for stage in back.stages] == [stage.points for stage in plan.stages]


def eye_at(points: np.ndarray, pose: np.ndarray) -> Pinhole:
    """The camera of a hand at x, y, z, turn, without a simulator."""
    x, y, z, turn = pose
    place = (x + CAMERA_OFFSET * math.cos(turn), y + CAMERA_OFFSET * math.sin(turn), z + CAMERA_HEIGHT)
    return Pinhole(points, place, turn)


def stage_with_slid_points(arm: Arm, size: int, slid: float) -> tuple[Stage, np.ndarray]:
    """Down to a box, from exact projections; all frames but the last have the points turned by `slid` about their
    middle, as when they have slid while they were tracked back through a demonstration. And where the hand ends."""
    box = arm.scene.box
    a, b = np.meshgrid(np.linspace(-0.8, 0.8, 5), np.linspace(-0.8, 0.8, 4))
    c, s = math.cos(box.turn), math.sin(box.turn)
    flat = np.stack([a.ravel(), b.ravel()], 1) * BOX[:2] @ np.array([[c, s], [-s, c]]) + (box.x, box.y)
    top = np.column_stack([flat, np.full(len(flat), 2 * BOX[2])])
    goal = np.array([box.x, box.y, 0.03, box.turn])
    start = goal + (-0.03, 0.02, 0.07, 0.3)
    xy = np.stack([eye_at(top, start + s * (goal - start)).project() for s in np.linspace(0, 1, 12)])
    xy *= size / 256  # the pinhole's pictures are 256 pixels wide
    middle = xy[:-1].mean(1, keepdims=True)
    turn = np.array([[math.cos(slid), math.sin(slid)], [-math.sin(slid), math.cos(slid)]])
    xy[:-1] = (xy[:-1] - middle) @ turn + middle
    pictures = []
    for pose in (goal, start):
        arm.start_at(pose)
        pictures.append(arm.frame())
    path = Path2D(pictures[1], xy.astype(np.float32), np.ones(xy.shape[:2], bool), pictures[0])
    return Stage((path,), depth=0.13), goal


def test_the_hand_ends_where_the_demonstration_did_though_points_have_slid(tracker: Tracker) -> None:
    """Points that lie turned by 9 degrees on the first picture would leave the hand turned by as much at the end."""
    with Arm(Scene(Place(0.03, 0.02, 0.2), Place(0.0, -0.08, 0.0)), 128) as arm:
        stage, goal = stage_with_slid_points(arm, 128, math.radians(9))
        outcome = carry_out(arm, Plan(arm.camera, (stage,)), tracker)
        assert outcome.done, outcome.reason
        x, y, z, turn = arm.reached - goal
        assert abs(math.degrees(turn)) < 1.5
        assert math.hypot(x, y) < 0.003 and abs(z) < 0.005
        assert len(outcome.search_seconds) >= 3 and outcome.stages[0].attempts == 1  # the end was looked at until right


def test_the_end_is_found_on_a_picture_that_nearly_is_it(tracker: Tracker) -> None:
    with Arm(Scene(Place(0.03, 0.02, 0.2), Place(0.0, -0.08, 0.0)), 128) as arm:
        stage, _ = stage_with_slid_points(arm, 128, 0.0)
    ratio = 0.9 * complex(math.cos(0.15), math.sin(0.15))
    there = Similarity(ratio, (64 + 64j) * (1 - ratio) + 3, np.ones(1, bool))
    image = stage.paths[0].end
    assert image is not None
    found = locate_end(tracker, stage, laid_over(image, there), 15.0)
    assert found is not None and len(found.points) > 10 and found.like > 0.9
    assert np.abs(found.xy - there(stage.paths[0].xy[-1, found.points])).max() < 1
    assert locate_end(tracker, stage, np.full_like(image, 128), 15.0) is None
    bare = replace(stage, paths=(replace(stage.paths[0], end=None),))
    assert locate_end(tracker, bare, image, 15.0) is None


class Still:
    """A robot that sees the same picture all the time."""

    def __init__(self, image: np.ndarray, camera: Camera) -> None:
        self.image, self.camera = image, camera
        self.moves: list[Velocity] = []

    def frame(self) -> np.ndarray:
        return self.image

    def move(self, velocity: Velocity) -> None:
        self.moves.append(velocity)

    def grip(self, closed: bool) -> None:
        raise AssertionError("nothing may be gripped")


def test_what_is_not_there_is_said_and_the_hand_stands_still(tracker: Tracker) -> None:
    stage = made_stage(1, size=64, grip="close")
    plan = Plan(Camera(64, 64, 42.0), (stage,))
    robot = Still(np.full((64, 64, 3), 128, np.uint8), plan.camera)
    outcome = carry_out(robot, plan, tracker)
    assert not outcome.done and "stage 1" in outcome.reason and "not found on the picture" in outcome.reason
    assert robot.moves[-1] == STILL and len(outcome.search_seconds) == 3
    assert {m.turn > 0 for m in robot.moves if m.turn} == {True, False}  # it has looked around


def test_an_arm_that_gets_nowhere_looks_from_elsewhere_before_it_gives_up(tracker: Tracker) -> None:
    """The points may have been found on the wrong thing."""
    stage = made_stage(1, size=64, grip="close")
    plan = Plan(Camera(64, 64, 42.0, fps=5.0), (stage,))
    robot = Still(stage.paths[0].image, plan.camera)
    outcome = carry_out(robot, plan, tracker)
    assert not outcome.done and "from their goals" in outcome.reason
    assert [report.attempts for report in outcome.stages] == [3] and not outcome.stages[0].arrived
    assert robot.moves[-1] == STILL


def test_what_cannot_be_carried_out_is_refused(tracker: Tracker) -> None:
    plan = Plan(Camera(64, 64, 42.0), (made_stage(1, size=64),))
    robot = Still(np.zeros((64, 64, 3), np.uint8), replace(plan.camera, width=65))
    with pytest.raises(UsageError, match="65x64, the plan's 64x64"):
        carry_out(robot, plan, tracker)
    robot.camera = plan.camera
    robot.image = robot.image[:60]
    with pytest.raises(ShapeError, match="pictures must be \\[64,64,3\\] uint8"):
        carry_out(robot, plan, tracker)
    with pytest.raises(UsageError, match="limit must be a positive number"):
        carry_out(robot, plan, tracker, limit=0)
    with pytest.raises(UsageError, match="needs a causal tracker"):
        carry_out(robot, plan, _late())


def _late() -> Tracker:
    """A tracker of whole clips, without its network."""
    from types import SimpleNamespace

    from tapkit import registry

    return SimpleNamespace(card=registry.card("cotracker3-offline"))  # type: ignore[return-value]
