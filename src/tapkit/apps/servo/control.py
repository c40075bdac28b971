"""Two control laws of image-based visual servoing with four degrees of freedom: x, y, z, and the turn about z.

Positions are normalised: tangents of the angles from the camera's axis, x right, y down. With a camera velocity
(vx, vy, vz, wz) and a point at depth Z the picture (a, b) of it moves by

    da/dt = -vx/Z + a vz/Z + b wz,      db/dt = -vy/Z + b vz/Z - a wz

(Chaumette and Hutchinson, Visual Servo Control I, IEEE RAM 2006, eq. 10, with these four columns). All points are
taken to be at one depth: an error of it scales the gains of x, y and z, and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tapkit.apps.servo.camera import STILL, Velocity
from tapkit.errors import UsageError

Law = Literal["auto", "least-squares", "matching"]
LAWS: tuple[Law, ...] = ("auto", "least-squares", "matching")


@dataclass(frozen=True)
class Gains:
    """How hard to pull, and how fast to go at most."""

    gain: float = 1.5
    """Lambda: the share of the error that is to vanish, per second."""
    law: Law = "auto"
    """"matching" far away, "least-squares" near the goal ("auto"), or one of them throughout."""
    near: float = 0.04
    """Of the picture's width: mean error at which "auto" turns to least squares."""
    damping: float = 1e-4
    """Mu of least squares: keeps what the points do not determine (z and turn of a small spot) still."""
    fastest: float = 0.05
    """m/s across the view."""
    fastest_approach: float = 0.03
    """m/s along it."""
    fastest_turn: float = 0.5
    """rad/s."""

    def __post_init__(self) -> None:
        if self.law not in LAWS:
            raise UsageError(f"law must be one of {', '.join(LAWS)}, got {self.law!r}")
        for name in ("gain", "damping", "fastest", "fastest_approach", "fastest_turn"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise UsageError(f"{name} must be a positive number, got {value!r}")
        if not (isinstance(self.near, int | float) and math.isfinite(self.near) and self.near >= 0):
            raise UsageError(f"near must be a number from 0 on, got {self.near!r}")

    def limited(self, velocity: Velocity) -> Velocity:
        """The same direction of x and y, no faster than allowed; z and the turn each on its own."""
        across = math.hypot(velocity.x, velocity.y)
        scale = min(1.0, self.fastest / across) if across > 0 else 1.0
        return Velocity(
            velocity.x * scale,
            velocity.y * scale,
            float(np.clip(velocity.z, -self.fastest_approach, self.fastest_approach)),
            float(np.clip(velocity.turn, -self.fastest_turn, self.fastest_turn)),
        )


def least_squares(
    points: np.ndarray, goals: np.ndarray, weights: np.ndarray, depth: float, gain: float, damping: float = 1e-4
) -> Velocity:
    """Velocity that moves all points [n,2] towards their goals [n,2] best, in the sense of weighted squares.

    Solves min sum w |J u - gain e|^2 / sum w + damping |u|^2 for u = (vx/Z, vy/Z, vz/Z, wz), in normalised
    coordinates.
    """
    total = float(weights.sum())
    if total <= 0:
        return STILL
    a, b = points[:, 0], points[:, 1]
    one, zero = np.ones_like(a), np.zeros_like(a)
    rows = np.concatenate([np.stack([-one, zero, a, b], 1), np.stack([zero, -one, b, -a], 1)])
    wanted = gain * (goals - points).T.reshape(-1)
    w = np.tile(weights / total, 2)
    normal = (rows * w[:, None]).T @ rows + damping * np.eye(4)
    u = np.linalg.solve(normal, (rows * w[:, None]).T @ wanted)
    x, y, z = (float(v) for v in u[:3] * depth)
    return Velocity(x, y, z, float(u[3]))


def matching(points: np.ndarray, goals: np.ndarray, weights: np.ndarray, depth: float, gain: float) -> Velocity:
    """Closed form: the spread of the goals sets z, their turn the turn, their mean x and y; normalised coordinates.

    z follows from how wide the points lie and not from a regression on single motions, so that few or noisy points do
    not drive it. The mean of the points goes straight to that of the goals.
    """
    total = float(weights.sum())
    if total <= 0:
        return STILL
    w = (weights / total)[:, None]
    centre, aim = (w * points).sum(0), (w * goals).sum(0)
    p, g = points - centre, goals - aim
    spread, wanted = float((w * p * p).sum()), float((w * g * g).sum())
    if min(spread, wanted) <= 1e-12:  # all on one spot: only the mean can be served
        approach = turn = 0.0
    else:
        across = float((w[:, 0] * (p[:, 0] * g[:, 1] - p[:, 1] * g[:, 0])).sum())
        along = float((w * p * g).sum())
        approach = gain * 0.5 * math.log(wanted / spread)  # goals wider than points: closer
        turn = -gain * math.atan2(across, along)  # the camera turning by +wz turns the picture by -wz
    x, y = -gain * (aim - centre) + centre * approach + np.array([centre[1], -centre[0]]) * turn
    return Velocity(float(x) * depth, float(y) * depth, approach * depth, turn)


def command(
    points: np.ndarray, goals: np.ndarray, weights: np.ndarray, depth: float, gains: Gains, width: float
) -> Velocity:
    """The velocity of the law that `gains` ask for, within their limits.

    Args:
        points, goals: [n,2] normalised.
        weights: [n], from 0 to 1.
        depth: metres from camera to points, roughly.
        width: of the picture in normalised units, for `Gains.near`.
    """
    if gains.law == "auto":
        total = max(float(weights.sum()), 1e-9)
        error = float((weights * np.linalg.norm(goals - points, axis=1)).sum()) / total
        near = error < gains.near * width
    else:
        near = gains.law == "least-squares"
    if near:
        return gains.limited(least_squares(points, goals, weights, depth, gains.gain, gains.damping))
    return gains.limited(matching(points, goals, weights, depth, gains.gain))
