"""The simulated arm: four joints (shoulder, elbow, lift, wrist), a gripper, and a camera on its wrist."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from tapkit.apps.servo.camera import Camera, HandEye, Velocity
from tapkit.apps.servo.sim.scene import (
    BASE,
    CAMERA_HEIGHT,
    CAMERA_OFFSET,
    FIELD_OF_VIEW,
    HIGH,
    LINK,
    OPENING,
    Place,
    Scene,
    build,
)
from tapkit.errors import TapkitError

HOME = (-0.05, 0.0, 0.13, 0.0)
"""x, y, z of the tips in metres and their turn: the camera is then over the middle of the table."""

MOUNT = HandEye(((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)), (CAMERA_OFFSET, 0.0, CAMERA_HEIGHT))
"""The camera looks down: its y and z are the tool's, the other way round."""

_LOWEST = 0.010
"""Metres above the table below which the tips do not go."""
_REACH = (0.10, 2 * LINK - 0.015)
"""How near to and how far from its column the arm can put its tips, metres."""


class Arm:
    """A `Robot` in MuJoCo. One control step moves it for one period of its camera; physics runs at 3 ms."""

    def __init__(
        self, scene: Scene, size: int = 256, fps: float = 15.0, watch: Callable[[Arm], object] | None = None
    ) -> None:
        """`watch` is called after every period, also of those in which the gripper moves."""
        # Without a screen; must be set before MuJoCo is imported. What somebody has chosen stays.
        os.environ.setdefault("MUJOCO_GL", "egl")
        self.camera = Camera(size, size, size / 2 / math.tan(math.radians(FIELD_OF_VIEW / 2)), fps)
        self.scene, self.watch = scene, watch
        self._built = build(scene)
        self._size = size
        self._renderers: dict[tuple[int, int], Any] = {}
        self.closed = False
        self.stopped = 0
        """Steps in which the arm was told to go where it cannot."""
        self.pose = np.array(HOME)
        """[4] x, y, z, turn that the joints are told to be at."""
        self._place(self.pose)

    def close(self) -> None:
        """Let go of the renderers."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def __enter__(self) -> Arm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what a robot does ------------------------------------------------------------------------

    def frame(self) -> np.ndarray:
        """See `Robot.frame`."""
        return self.picture("wrist", self._size, self._size)

    def move(self, velocity: Velocity) -> None:
        """See `Robot.move`. What lies beyond its reach it does not do, and counts (`stopped`)."""
        linear, angular = MOUNT.tool(velocity)
        turn = self.pose[3]
        heading = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        wanted = self.pose + np.array([*(heading @ linear[:2]), linear[2], angular[2]]) / self.camera.fps
        self.go(wanted)

    def grip(self, closed: bool) -> None:
        """See `Robot.grip`: takes half a second."""
        self.closed = closed
        for _ in range(round(0.5 * self.camera.fps)):
            self._period()

    # -- what only a simulated one does ------------------------------------------------------------

    def go(self, pose: np.ndarray) -> None:
        """Have the joints go to x, y, z, turn [4] within one period, as far as the arm reaches."""
        wanted = np.array(pose, np.float64)
        wanted[2] = np.clip(wanted[2], _LOWEST, HIGH)
        from_base = wanted[:2] - BASE
        distance = float(np.linalg.norm(from_base))
        allowed = float(np.clip(distance, *_REACH))
        if allowed != distance:
            wanted[:2] = BASE + from_base * allowed / max(distance, 1e-9)
        self.stopped += int(not np.allclose(wanted, pose))
        self.pose = wanted
        self._period()

    def place_of(self, name: str) -> tuple[Place, float]:
        """Where a body ("box", "pad", "other0") is, and the height of its centre in metres."""
        body = self._built.data.body(name)
        rotation = body.xmat.reshape(3, 3)
        turn = math.atan2(rotation[1, 0], rotation[0, 0])
        return Place(float(body.xpos[0]), float(body.xpos[1]), turn), float(body.xpos[2])

    @property
    def reached(self) -> np.ndarray:
        """[4] x, y, z, turn at which the tips are."""
        data = self._built.data
        turn = sum(float(data.joint(name).qpos[0]) for name in ("shoulder", "elbow", "wrist"))
        return np.array([*data.site("tip").xpos, turn])

    def picture(self, camera: str, width: int, height: int) -> np.ndarray:
        """What a camera ("wrist" or "room") sees: [height,width,3] uint8. Raises `TapkitError` if nothing can draw."""
        if (width, height) not in self._renderers:
            try:
                self._renderers[width, height] = self._built.mujoco.Renderer(self._built.model, height, width)
            except Exception as error:
                raise TapkitError(
                    f"MuJoCo cannot draw here with MUJOCO_GL={os.environ['MUJOCO_GL']} ({str(error)[:120]}); "
                    "on Debian: apt install libegl1 libgl1-mesa-dri, or libosmesa6 with MUJOCO_GL=osmesa"
                ) from error
        renderer = self._renderers[width, height]
        renderer.update_scene(self._built.data, camera)
        return np.array(renderer.render())

    def _period(self) -> None:
        built = self._built
        fingers = 0.0 if self.closed else OPENING
        built.data.ctrl[:] = [*self._joints(self.pose), fingers, fingers]
        for _ in range(round(1 / self.camera.fps / built.model.opt.timestep)):
            built.mujoco.mj_step(built.model, built.data)
        if self.watch is not None:
            self.watch(self)

    def _place(self, pose: np.ndarray) -> None:
        """Put the joints there at once, before anything has moved."""
        built = self._built
        for name, value in zip(("shoulder", "elbow", "lift", "wrist"), self._joints(pose), strict=True):
            built.data.joint(name).qpos[0] = value
        for name in ("left", "right"):
            built.data.joint(name).qpos[0] = OPENING
        built.mujoco.mj_forward(built.model, built.data)

    def start_at(self, pose: np.ndarray) -> None:
        """Begin there instead of at home."""
        self.pose = np.array(pose, np.float64)
        self._place(self.pose)

    @staticmethod
    def _joints(pose: np.ndarray) -> tuple[float, float, float, float]:
        """Angles of shoulder and elbow, height of the lift, angle of the wrist for x, y, z, turn."""
        x, y = pose[:2] - BASE
        cosine = (x * x + y * y - 2 * LINK * LINK) / (2 * LINK * LINK)
        elbow = math.acos(min(max(cosine, -1.0), 1.0))
        shoulder = math.atan2(y, x) - elbow / 2  # links of one length
        return shoulder, elbow, float(pose[2]) - HIGH, float(pose[3]) - shoulder - elbow
