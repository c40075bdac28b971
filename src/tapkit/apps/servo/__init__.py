"""Robots: a task is shown a few times to a camera on the gripper, and repeated by servoing tracked points.

    demonstrations = [read_demonstration(path) for path in paths]
    plan = learn(demonstrations, tapkit.load(), Camera(256, 256, focal=167.0))
    plan.save("plan")                                       # a folder that can be read and edited
    outcome = carry_out(robot, Plan.load("plan"), tapkit.load())

`robot` is anything with `camera`, `frame()`, `move(velocity)` and `grip(closed)` (`Robot`); `tapkit.apps.servo.sim` has
a simulated one. After Vecerik et al., RoboTAP: Tracking Arbitrary Points for Few-Shot Visual Imitation, ICRA 2024.
"""

from tapkit.apps.servo.camera import STILL, Camera, HandEye, Robot, Velocity
from tapkit.apps.servo.control import LAWS, Gains, Law
from tapkit.apps.servo.demonstrations import Demonstration, read_demonstration, write_demonstration
from tapkit.apps.servo.execute import Outcome, StageReport, carry_out
from tapkit.apps.servo.learning import CLUSTERINGS, DRAWS, LearnOptions, learn
from tapkit.apps.servo.plan import Path2D, Plan, Stage
from tapkit.apps.servo.planar import PlanarOptions, cluster_planar
from tapkit.apps.servo.rigid import RigidOptions, cluster_rigid
from tapkit.apps.servo.stages import Choice

__all__ = [
    "CLUSTERINGS",
    "DRAWS",
    "LAWS",
    "STILL",
    "Camera",
    "Choice",
    "Demonstration",
    "Gains",
    "HandEye",
    "Law",
    "LearnOptions",
    "Outcome",
    "Path2D",
    "Plan",
    "PlanarOptions",
    "RigidOptions",
    "Robot",
    "Stage",
    "StageReport",
    "Velocity",
    "carry_out",
    "cluster_planar",
    "cluster_rigid",
    "learn",
    "read_demonstration",
    "write_demonstration",
]
