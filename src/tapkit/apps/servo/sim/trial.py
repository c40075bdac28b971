"""Trials of a plan in new scenes: is the box where the demonstrations put it?"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tapkit.apps.servo.drawing import Film
from tapkit.apps.servo.execute import Outcome, Watch, carry_out
from tapkit.apps.servo.plan import Plan
from tapkit.apps.servo.sim.arm import Arm
from tapkit.apps.servo.sim.demonstrate import start_pose
from tapkit.apps.servo.sim.scene import BOX, PAD_HEIGHT, Scene
from tapkit.engine.control import Control
from tapkit.engine.tracker import Tracker

OFFSET = 0.01
"""Metres from the middle of the pad within which a trial counts as a success."""
TURN = math.radians(5)
"""And how far the box may be turned against it."""


class Trial(NamedTuple):
    """How one scene went."""

    outcome: Outcome
    offset: float
    """Metres between the middles of box and pad, across the table."""
    turn: float
    """Radians between box and pad, without a sign."""
    success: bool
    seconds: float
    """Of simulated time."""


def attempt(
    plan: Plan,
    scene: Scene,
    tracker: Tracker,
    seed: int = 0,
    watch: Watch | None = None,
    control: Control | None = None,
) -> Trial:
    """Carry the plan out in a scene, and see where the box is then."""
    periods = [0]

    def count(_: Arm) -> None:
        periods[0] += 1

    with Arm(scene, plan.camera.width, plan.camera.fps, watch=count) as arm:
        arm.start_at(start_pose(np.random.default_rng((seed, 99))))
        if isinstance(watch, Film):
            side = 2 * plan.camera.height
            watch.beside = lambda: arm.picture("room", side * 4 // 3, side)
        outcome = carry_out(arm, plan, tracker, watch=watch, control=control)
        for _ in range(round(plan.camera.fps)):  # let it come to rest
            arm.go(arm.pose)
        box, height = arm.place_of("box")
        pad, _ = arm.place_of("pad")
    offset = math.hypot(box.x - pad.x, box.y - pad.y)
    turn = abs(math.remainder(box.turn - pad.turn, 2 * math.pi))
    rests = abs(height - BOX[2] - 2 * PAD_HEIGHT) < 0.004  # on the pad, not beside or on its edge
    success = outcome.done and rests and offset < OFFSET and turn < TURN
    return Trial(outcome, offset, turn, success, periods[0] / plan.camera.fps)
