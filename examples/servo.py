"""Your own robot: the camera on its gripper, and how it moves. Here the arm is simulated (extra `robot`).

    python examples/servo.py PLAN

PLAN is a folder that `tapkit servo learn` or `tapkit servo demo` has made.
"""

from __future__ import annotations

import argparse

import numpy as np

import tapkit
from tapkit.apps.servo import Camera, HandEye, Plan, Velocity, carry_out
from tapkit.apps.servo.sim.arm import MOUNT, Arm
from tapkit.apps.servo.sim.scene import Scene


class MyRobot:
    """What `carry_out` needs of a robot: a camera, and three things that it can do."""

    def __init__(self, arm: Arm, hand_eye: HandEye) -> None:
        self.arm, self.hand_eye = arm, hand_eye
        self.camera: Camera = arm.camera

    def frame(self) -> np.ndarray:
        """The picture now: here you would read your camera."""
        return self.arm.frame()

    def move(self, velocity: Velocity) -> None:
        """Move for one period of the camera: here you would send the tool's velocity to your robot, and wait."""
        linear, angular = self.hand_eye.tool(velocity)
        turn = self.arm.pose[3]
        ahead = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ linear[:2]
        self.arm.go(self.arm.pose + np.array([*ahead, linear[2], angular[2]]) / self.camera.fps)

    def grip(self, closed: bool) -> None:
        """Close or open the gripper, and wait until that is done."""
        self.arm.grip(closed)


def main() -> None:
    """Carry a plan out once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan")
    asked = parser.parse_args()
    plan = Plan.load(asked.plan)
    with Arm(Scene.random(1001, distractors=3), plan.camera.width) as arm:
        outcome = carry_out(MyRobot(arm, MOUNT), plan, tapkit.load())
    print("done" if outcome.done else outcome.reason)
    for stage in outcome.stages:
        print(f"{stage.name}: {stage.steps} steps, {100 * stage.error:.1f} % of the width off at the end")


if __name__ == "__main__":
    main()
