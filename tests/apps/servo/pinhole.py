"""A camera over a table without a simulator: exact projections of points, and a robot that only moves the camera."""

from __future__ import annotations

import math

import numpy as np

from tapkit.apps.servo.camera import Camera, Velocity

CAMERA = Camera(256, 256, 167.0, 15.0)


class Pinhole:
    """A camera that looks straight down: place [3] metres (z up) and turn; points [n,3] in the world."""

    def __init__(self, points: np.ndarray, place: tuple[float, float, float], turn: float = 0.0) -> None:
        self.points, self.place, self.turn = points, np.array(place, np.float64), turn

    def axes(self) -> np.ndarray:
        """Rows: x, y and z of the camera in the world. x right; y down in the picture; z down on the table."""
        c, s = math.cos(self.turn), math.sin(self.turn)
        return np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])

    def project(self) -> np.ndarray:
        """Pixels [n,2]."""
        seen = (self.points - self.place) @ self.axes().T
        return seen[:, :2] / seen[:, 2:] * CAMERA.focal + CAMERA.centre

    def move(self, velocity: Velocity, seconds: float) -> None:
        """Exactly as told."""
        self.place = self.place + self.axes().T @ np.array(velocity[:3]) * seconds
        self.turn -= velocity.turn * seconds  # about the view, which points down
