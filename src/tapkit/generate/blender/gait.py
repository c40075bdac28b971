"""How bodies move their joints: oscillators of one phase, as turns about the body's axes. NumPy alone.

A body faces -Y, its left is +X, up is +Z. A turn is degrees (x, y, z) of a bone against its parent at rest: first
about Y, then X, then Z. Humans stand with arms spread at rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Turns = dict[str, np.ndarray]
"""[T,3] degrees by bone."""

BLEND = 0.4
"""Seconds in which one act becomes the next."""


def turns_to_matrices(turns: np.ndarray) -> np.ndarray:
    """Degrees [...,3] -> rotations [...,3,3]."""
    x, y, z = np.moveaxis(np.radians(turns), -1, 0)
    zero, one = np.zeros_like(x), np.ones_like(x)

    def matrix(*rows: np.ndarray) -> np.ndarray:
        return np.stack(rows, -1).reshape(*x.shape, 3, 3)

    about_x = matrix(one, zero, zero, zero, np.cos(x), -np.sin(x), zero, np.sin(x), np.cos(x))
    about_y = matrix(np.cos(y), zero, np.sin(y), zero, one, zero, -np.sin(y), zero, np.cos(y))
    about_z = matrix(np.cos(z), -np.sin(z), zero, np.sin(z), np.cos(z), zero, zero, zero, one)
    return np.asarray(about_z @ about_x @ about_y)


def quaternions(matrices: np.ndarray) -> np.ndarray:
    """Rotations [...,3,3] -> quaternions [...,4] (w, x, y, z)."""
    m = matrices
    values = np.stack(
        [
            1 + m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2],
            1 + m[..., 0, 0] - m[..., 1, 1] - m[..., 2, 2],
            1 - m[..., 0, 0] + m[..., 1, 1] - m[..., 2, 2],
            1 - m[..., 0, 0] - m[..., 1, 1] + m[..., 2, 2],
        ],
        -1,
    )
    largest = values.argmax(-1)
    root = np.sqrt(np.take_along_axis(values, largest[..., None], -1).clip(1e-12)) / 2
    off = np.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1)
    plus = np.stack([m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]], -1)
    a, b, c = np.moveaxis(plus, -1, 0)  # xy, xz, yz
    scaled = np.stack(
        [
            np.stack([values[..., 0], off[..., 0], off[..., 1], off[..., 2]], -1),
            np.stack([off[..., 0], values[..., 1], a, b], -1),
            np.stack([off[..., 1], a, values[..., 2], c], -1),
            np.stack([off[..., 2], b, c, values[..., 3]], -1),
        ],
        -2,
    )
    chosen = np.take_along_axis(scaled, largest[..., None, None], -2)[..., 0, :]
    return np.asarray(chosen / (4 * root))


def schedule(acts: tuple[Any, ...], frames: int, fps: float, pace: float) -> tuple[list[Any], np.ndarray]:
    """Distinct acts, and how much of each is in every frame: [A,T], columns sum to one, eased over `BLEND` seconds."""
    distinct = list(dict.fromkeys(acts))
    time = np.arange(frames) / fps * pace
    weights = np.zeros((len(distinct), frames))
    start, end, number = 0.0, time[-1] + 2 * BLEND, 0
    while start < end:
        act = acts[number % len(acts)]
        stop = start + act.seconds
        rise = _ease((time - start) / BLEND + 0.5) if number else 1.0
        weights[distinct.index(act)] += rise * (1 - _ease((time - stop) / BLEND + 0.5))
        start, number = stop, number + 1
    return distinct, weights / weights.sum(0).clip(1e-9)


def _ease(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return np.asarray(x * x * (3 - 2 * x))


def stride(phase: np.ndarray, duty: float) -> tuple[np.ndarray, np.ndarray]:
    """A leg over its cycle: how far it is forward, 1 to -1, and how high it is lifted, 0 to 1.

    For `duty` of the cycle it stands and is drawn back evenly, so that all feet that stand go at one speed; then it
    swings to the front.
    """
    share = np.mod(phase / (2 * math.pi), 1.0)
    swing = np.clip((share - duty) / (1 - duty), 0, 1)
    forward = np.where(share < duty, 1 - 2 * share / duty, -1 + 2 * _ease(swing))
    return forward, np.sin(math.pi * swing) ** 1.2


def human_turns(act: str, gait: Any, frames: int, fps: float, pace: float, seed: int) -> Turns:
    """One act of a human over all frames."""
    time = np.arange(frames) / fps * pace
    cycle = 2 * math.pi * (gait.frequency * (1.35 if act == "run" else 1.0) * time + gait.phase)
    rng = np.random.default_rng(seed)
    turns = {name: np.zeros((frames, 3)) for name in ("Abdomen", "Torso", "Chest", "Neck", "Head")}
    for side, sign in (("L", 1.0), ("R", -1.0)):
        for name in ("UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot"):
            turns[f"{name}.{side}"] = np.zeros((frames, 3))
        turns[f"UpperArm.{side}"][:, 1] = sign * 74
        turns[f"LowerArm.{side}"][:, 2] = -sign * 12
    turns["Torso"][:, 2] += gait.sway * 0.3 * np.sin(2 * math.pi * 0.21 * time + rng.uniform(0, 6))
    turns["Head"] += 4 * np.stack([np.sin(2 * math.pi * f * time + rng.uniform(0, 6)) for f in (0.31, 0.17, 0.23)], -1)
    turns["Chest"][:, 0] += 1.2 * np.sin(2 * math.pi * 0.28 * time)
    _ACTS[act](turns, gait, cycle, time, rng)
    return turns


def _walk(
    turns: Turns, gait: Any, cycle: np.ndarray, _time: np.ndarray, _rng: np.random.Generator, strong: float = 1.0
) -> None:
    for side, sign, offset in (("L", 1.0, 0.0), ("R", -1.0, math.pi)):
        phase = cycle + offset
        forward, lifted = stride(phase, 0.6 if strong == 1.0 else 0.45)
        hip = gait.hip * strong * forward + 4
        knee = 6 + gait.knee * strong * lifted
        turns[f"UpperLeg.{side}"][:, 0] = -hip
        turns[f"LowerLeg.{side}"][:, 0] = knee
        push = 16 * strong * np.clip(-forward, 0, None) ** 3
        turns[f"Foot.{side}"][:, 0] = 0.85 * (hip - knee) + push
        turns[f"UpperArm.{side}"][:, 0] = gait.shoulder * strong * np.cos(phase)
        turns[f"LowerArm.{side}"][:, 2] = -sign * (gait.elbow * (0.75 - 0.35 * np.cos(phase)))
    turns["Abdomen"][:, 0] += gait.lean * 0.5 * strong
    turns["Torso"][:, 0] += gait.lean * 0.5 * strong
    turns["Torso"][:, 2] -= gait.spine * np.cos(cycle)
    turns["Abdomen"][:, 1] += gait.sway * 0.5 * np.cos(cycle)
    turns["Chest"][:, 2] += 0.6 * gait.spine * np.cos(cycle)


def _run(turns: Turns, gait: Any, cycle: np.ndarray, time: np.ndarray, rng: np.random.Generator) -> None:
    _walk(turns, gait, cycle, time, rng, strong=1.45)
    for side, sign in (("L", 1.0), ("R", -1.0)):
        turns[f"LowerArm.{side}"][:, 2] -= sign * 45


def _idle(turns: Turns, gait: Any, _cycle: np.ndarray, time: np.ndarray, rng: np.random.Generator) -> None:
    shift = np.sin(2 * math.pi * 0.17 * time + rng.uniform(0, 6))
    turns["Abdomen"][:, 1] += 2.5 * shift
    for side, sign in (("L", 1.0), ("R", -1.0)):
        turns[f"UpperLeg.{side}"][:, 0] = -4 - 2 * sign * shift
        turns[f"LowerLeg.{side}"][:, 0] = 8 + 4 * sign * shift
        turns[f"Foot.{side}"][:, 0] = -4 - 2 * sign * shift
        turns[f"UpperArm.{side}"][:, 0] += 4 * np.sin(2 * math.pi * 0.25 * time + sign)


def _bent(turns: Turns, hip: float, knee: float, lean: float) -> None:
    for side in "LR":
        turns[f"UpperLeg.{side}"][:, 0] = -hip
        turns[f"LowerLeg.{side}"][:, 0] = knee
        turns[f"Foot.{side}"][:, 0] = hip - knee
    turns["Abdomen"][:, 0] += lean / 2
    turns["Torso"][:, 0] += lean / 2
    turns["Neck"][:, 0] -= lean / 2


def _sit(turns: Turns, _gait: Any, _cycle: np.ndarray, time: np.ndarray, rng: np.random.Generator) -> None:
    _bent(turns, 86, 86, 6)
    for side, sign in (("L", 1.0), ("R", -1.0)):
        wave = np.sin(2 * math.pi * rng.uniform(0.3, 0.7) * time + rng.uniform(0, 6))
        turns[f"UpperArm.{side}"][:, 0] = -32 - 12 * wave
        turns[f"LowerArm.{side}"][:, 2] = -sign * (50 + 25 * wave)
        turns[f"UpperLeg.{side}"][:, 2] = sign * 6


def _crouch(turns: Turns, _gait: Any, _cycle: np.ndarray, time: np.ndarray, rng: np.random.Generator) -> None:
    _bent(turns, 95, 118, 38)
    for side, sign in (("L", 1.0), ("R", -1.0)):
        wave = np.sin(2 * math.pi * rng.uniform(0.4, 0.9) * time + rng.uniform(0, 6))
        turns[f"UpperArm.{side}"][:, 0] = -48 - 14 * wave
        turns[f"LowerArm.{side}"][:, 2] = -sign * (30 + 18 * wave)


def _wave(turns: Turns, gait: Any, cycle: np.ndarray, time: np.ndarray, rng: np.random.Generator) -> None:
    _idle(turns, gait, cycle, time, rng)
    beat = np.sin(2 * math.pi * rng.uniform(1.2, 2.2) * time)
    turns["UpperArm.R"][:, 1] = 35 + 8 * beat
    turns["UpperArm.R"][:, 0] = -10
    turns["LowerArm.R"][:, 1] = 55 + 28 * beat


def _dance(turns: Turns, gait: Any, cycle: np.ndarray, time: np.ndarray, rng: np.random.Generator) -> None:
    _idle(turns, gait, cycle, time, rng)
    beat = rng.uniform(0.7, 1.3)

    def swing(amount: float) -> np.ndarray:
        pulse = 2 * math.pi * beat * rng.choice((0.5, 1, 1, 2))
        return np.asarray(amount * np.sin(pulse * time + rng.uniform(0, 6)))

    for side, sign in (("L", 1.0), ("R", -1.0)):
        turns[f"UpperArm.{side}"][:, 1] = sign * (25 + swing(40))
        turns[f"UpperArm.{side}"][:, 0] = -25 + swing(40)
        turns[f"LowerArm.{side}"][:, 2] = -sign * (55 + swing(45))
        bend = 14 + 12 * np.sin(2 * math.pi * beat * time + (0 if side == "L" else math.pi))
        turns[f"UpperLeg.{side}"][:, 0] = -bend
        turns[f"LowerLeg.{side}"][:, 0] = 2 * bend
        turns[f"Foot.{side}"][:, 0] = -bend
    turns["Torso"][:, 2] += swing(18)
    turns["Abdomen"][:, 1] += swing(9)
    turns["Head"][:, 2] += swing(15)


def _reach(turns: Turns, gait: Any, cycle: np.ndarray, time: np.ndarray, rng: np.random.Generator) -> None:
    _idle(turns, gait, cycle, time, rng)
    for side, sign in (("L", 1.0), ("R", -1.0)):
        wave = np.sin(2 * math.pi * rng.uniform(0.3, 0.8) * time + rng.uniform(0, 6))
        turns[f"UpperArm.{side}"][:, 0] = -58 - 25 * wave
        turns[f"LowerArm.{side}"][:, 2] = -sign * (25 + 20 * wave)
        turns[f"Hand.{side}"][:, 1] = 20 * wave


_ACTS: dict[str, Callable[[Turns, Any, np.ndarray, np.ndarray, np.random.Generator], None]] = {
    "walk": _walk,
    "run": _run,
    "idle": _idle,
    "sit": _sit,
    "crouch": _crouch,
    "wave": _wave,
    "dance": _dance,
    "reach": _reach,
}


def beast_turns(act: str, gait: Any, frames: int, fps: float, pace: float, seed: int) -> Turns:
    """One act of a four-legged body: walk by `gait.footfall`, run, or stand and look about."""
    time = np.arange(frames) / fps * pace
    cycle = 2 * math.pi * (gait.frequency * (1.5 if act == "run" else 1.0) * time + gait.phase)
    rng = np.random.default_rng(seed)
    going = {"walk": 1.0, "run": 1.4}.get(act, 0.0)
    beats = {
        "walk": {"Back.L": 0.0, "Front.L": 0.25, "Back.R": 0.5, "Front.R": 0.75},
        "trot": {"Back.L": 0.0, "Front.L": 0.5, "Back.R": 0.5, "Front.R": 0.0},
    }[gait.footfall]
    turns = {}
    for leg, beat in beats.items():
        phase = cycle - 2 * math.pi * beat
        forward, lifted = stride(phase, 0.65 if gait.footfall == "walk" else 0.5)
        hip, knee = gait.hip * going * forward, gait.knee * going * lifted
        turns["Upper" + leg] = _about_x(-hip)
        turns["Lower" + leg] = _about_x(knee)
        turns["Foot" + leg] = _about_x(0.6 * (hip - knee))
    turns["Torso"] = _about_z(gait.sway * going * np.sin(cycle))
    turns["Chest"] = _about_z(-gait.sway * going * np.sin(cycle))
    nod = 5 * going * np.sin(2 * cycle) if going else 25 + 18 * np.sin(2 * math.pi * 0.3 * time + rng.uniform(0, 6))
    turns["Neck"] = _about_x(nod) + _about_z(12 * np.sin(2 * math.pi * 0.23 * time + rng.uniform(0, 6)))
    turns["Neck2"] = _about_x(0.5 * nod)
    turns["Head"] = _about_x(-0.6 * nod)
    for number in range(3):
        turns[f"Tail{number}"] = _about_z(14 * np.sin(2 * math.pi * 1.3 * time - 0.9 * number + rng.uniform(0, 0.5)))
    return turns


def serpent_turns(act: str, gait: Any, frames: int, fps: float, pace: float, links: int) -> Turns:
    """A wave that travels from the head backwards; faint when it rests."""
    cycle = 2 * math.pi * (gait.frequency * np.arange(frames) / fps * pace + gait.phase)
    amount = 17.0 if act in ("walk", "run") else 4.0
    return {f"Link{n}": _about_z(amount * np.sin(cycle + 2 * math.pi * n / (links * 0.62))) for n in range(1, links)}


def _about_x(degrees: np.ndarray) -> np.ndarray:
    return np.stack([degrees, np.zeros_like(degrees), np.zeros_like(degrees)], -1)


def _about_z(degrees: np.ndarray) -> np.ndarray:
    return np.stack([np.zeros_like(degrees), np.zeros_like(degrees), degrees], -1)


def closed_path(points: np.ndarray, per_leg: int = 64) -> np.ndarray:
    """A smooth closed curve through way points [P,3] (Catmull-Rom), as [P * per_leg, 3]."""
    p0, p1, p2, p3 = (np.roll(points, shift, 0)[:, None] for shift in (1, 0, -1, -2))
    t = np.linspace(0, 1, per_leg, endpoint=False)[None, :, None]
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return np.asarray(curve.reshape(-1, 3))


def follow(points: np.ndarray, travelled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where one is on a closed path after `travelled` metres [T] -> position [T,3], direction [T,3]."""
    curve = closed_path(points)
    steps = np.linalg.norm(np.roll(curve, -1, 0) - curve, axis=1)
    length = np.concatenate([[0], np.cumsum(steps)])
    closed = np.concatenate([curve, curve[:1]])

    def at(distance: np.ndarray) -> np.ndarray:
        wrapped = np.mod(distance, length[-1])
        return np.stack([np.interp(wrapped, length, closed[:, axis]) for axis in range(3)], -1)

    reach = min(0.35, length[-1] / 8)  # looks ahead, so that it turns before a bend and not in it
    direction = at(travelled + reach) - at(travelled - reach)
    return at(travelled), direction / np.linalg.norm(direction, axis=1, keepdims=True).clip(1e-9)
