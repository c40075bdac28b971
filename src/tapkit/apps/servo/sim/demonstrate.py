"""Scripted demonstrations: the box is taken and put on the pad, as a person would lead the arm by hand."""

from __future__ import annotations

import numpy as np

from tapkit.apps.servo.demonstrations import Demonstration
from tapkit.apps.servo.sim.arm import HOME, Arm
from tapkit.apps.servo.sim.scene import Place, Scene

_OVER = 0.06
"""Metres above the place where the hand comes to a hover before it goes down."""
_GRASP = 0.012
"""Height of the tips at which the box is taken, metres."""
_RELEASE = 0.016
"""And let go of on the pad."""
_HIGH = 0.19
"""And from where one looks for the next thing."""


def demonstrate(scene: Scene, seed: int = 0, size: int = 256, fps: float = 15.0) -> Demonstration:
    """Take the box and put it on the pad; the hand is off by a millimetre and a degree, as hands are."""
    recorder = _Recorder()
    random = np.random.default_rng((seed, 77))
    with Arm(scene, size, fps, watch=recorder) as arm:
        arm.start_at(start_pose(random))
        recorder(arm)
        _lead(arm, random, scene.box, _GRASP)
        arm.grip(True)
        _rise(arm)
        _lead(arm, random, scene.pad, _RELEASE)
        arm.grip(False)
        _rise(arm)
    return Demonstration(np.stack(recorder.frames), np.array(recorder.closed), np.array(recorder.heights))


def start_pose(random: np.random.Generator) -> np.ndarray:
    """Where the hand is at the beginning: home, give or take two centimetres and eight degrees."""
    return np.array(HOME) + random.uniform(-1, 1, 4) * (0.02, 0.02, 0.01, 0.14)


class _Recorder:
    """Keeps what the camera sees."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []
        self.closed: list[bool] = []
        self.heights: list[float] = []

    def __call__(self, arm: Arm) -> None:
        self.frames.append(arm.frame())
        self.closed.append(arm.closed)
        self.heights.append(float(arm.reached[2]))


def _lead(arm: Arm, random: np.random.Generator, place: Place, height: float) -> None:
    """Over the place, then down on it."""
    off = random.normal(0, 1, 3) * (0.001, 0.001, 0.017)
    x, y, turn = np.array(place) + off
    _line(arm, np.array([x, y, height + _OVER, turn]), 0.09)
    _line(arm, np.array([x, y, height, turn]), 0.05)


def _rise(arm: Arm) -> None:
    _line(arm, np.array([*arm.pose[:2], _HIGH, arm.pose[3]]), 0.09)


def _line(arm: Arm, goal: np.ndarray, speed: float) -> None:
    """Straight there, slow at both ends; `speed` in m/s, turning at most 0.6 rad/s."""
    start = arm.pose.copy()
    seconds = max(float(np.linalg.norm(goal[:3] - start[:3])) / speed, abs(goal[3] - start[3]) / 0.6, 0.3)
    steps = round(1.3 * seconds * arm.camera.fps)
    for step in range(1, steps + 1):
        share = step / steps
        arm.go(start + (goal - start) * share * share * (3 - 2 * share))
