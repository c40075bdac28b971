"""What servoing knows of a robot: its camera, how a velocity is said, and the few things that it must be able to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from tapkit.errors import UsageError


class Velocity(NamedTuple):
    """Of the camera, in its own frame: x right, y down (as in the picture), z along the view; turn about z.

    Metres and radians per second. A positive turn goes from x to y: on the picture the scene turns the other way.
    """

    x: float
    y: float
    z: float
    turn: float


STILL = Velocity(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that is fixed to the gripper and looks along the direction of approach.

    Positions are pixels of its pictures, corner origin. A focal length that is wrong by a fifth makes servoing slower
    or faster, not wrong: goals are pictures too.
    """

    width: int
    height: int
    focal: float
    """Pixels."""
    fps: float = 15.0
    """Pictures, and control steps, per second."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise UsageError(f"a camera needs at least one pixel, got {self.width}x{self.height}")
        for name in ("focal", "fps"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"the camera's {name} must be positive, got {value}")

    @property
    def centre(self) -> np.ndarray:
        """[2] pixels: where the axis meets the picture, taken to be its middle."""
        return np.array([self.width / 2, self.height / 2])

    def normalised(self, xy: np.ndarray) -> np.ndarray:
        """Pixels [...,2] to tangents of the angles from the axis."""
        return np.asarray((np.asarray(xy, np.float64) - self.centre) / self.focal)


@dataclass(frozen=True)
class HandEye:
    """How the camera sits on the tool, for robots that are told how the tool is to move.

    Where the mount is tilted, the remaining parallax is ignored, as Vecerik et al. do: the tool's approach is then not
    the camera's axis, and the goals' pictures absorb the difference.
    """

    rotation: tuple[tuple[float, float, float], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    """[3,3]: directions of the camera's frame to those of the tool's."""
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """[3] metres: the camera's place in the tool's frame."""

    def tool(self, velocity: Velocity) -> tuple[np.ndarray, np.ndarray]:
        """Linear [3] m/s and angular [3] rad/s velocity of the tool, in its own frame, that move the camera so."""
        rotation = np.array(self.rotation, np.float64)
        angular = rotation @ np.array([0.0, 0.0, velocity.turn])
        linear = rotation @ np.array(velocity[:3], np.float64) - np.cross(angular, np.array(self.offset))
        return linear, angular


class Robot(Protocol):
    """A robot with a camera on its gripper. A real one is another `frame` and another `move`."""

    camera: Camera

    def frame(self) -> np.ndarray:
        """The picture at this moment, [H,W,3] uint8 RGB."""
        ...

    def move(self, velocity: Velocity) -> None:
        """Move at this velocity for one period of the camera."""
        ...

    def grip(self, closed: bool) -> None:
        """Close or open the gripper; returns when that is done."""
        ...
