"""Where it is seen from: rigs as one pose for each frame, kept out of walls and of people's faces."""

from __future__ import annotations

import math
from typing import Any

import bpy
import mathutils
import numpy as np

from .keys import key, key_pose

SENSOR = 50.0
"""Width in millimetres."""
CLEAR = 0.75
"""Metres that the camera keeps from the axis of whoever moves."""
NECK = math.radians(75)
"""How far a head-worn camera turns aside."""


def wander(rng: np.random.Generator, frames: int, fps: float, seconds: float) -> np.ndarray:
    """An Ornstein-Uhlenbeck process with that time constant, smoothed: [T], deviation about one, from zero on."""
    keep = math.exp(-1 / (seconds * fps))
    noise = rng.normal(size=frames) * math.sqrt(1 - keep**2)
    value, values = 0.0, np.empty(frames)
    for frame in range(frames):
        values[frame] = value
        value = keep * value + noise[frame]
    return low_pass(values, 0.9 ** (30 / fps))


def low_pass(values: np.ndarray, keep: float) -> np.ndarray:
    """Exponential average along the first axis, from its first value on."""
    smooth = np.array(values, dtype=float)
    for frame in range(1, len(smooth)):
        smooth[frame] = keep * smooth[frame - 1] + (1 - keep) * values[frame]
    return smooth


def hand(rng: np.random.Generator, frames: int, fps: float, low: float = 2.0, high: float = 6.0) -> np.ndarray:
    """The shake of a hand: [T,3], deviation about one, between `low` and `high` Hz."""
    time = np.arange(frames) / fps
    waves = [
        np.stack([np.sin(2 * math.pi * f * time + rng.uniform(0, 6.28)) for _ in range(3)], -1) * rng.uniform(0.5, 1.5)
        for f in rng.uniform(low, high, 6)
    ]
    return np.asarray(np.sum(waves, axis=0) / math.sqrt(6))


def build_camera(
    description: Any, salient: np.ndarray, obstacles: list[np.ndarray], head: tuple[np.ndarray, np.ndarray] | None
) -> Any:
    """The camera, keyed.

    Args:
        salient: [T,3], the mean place of what moves.
        obstacles: places [T,3] of whoever moves, without the wearer.
        head: eyes [T,3] and direction of the face [T,3] of who wears the camera.
    """
    record, frames, fps = description.camera, description.frames, description.fps
    rng = np.random.default_rng(record.seed)
    target = (1 - record.follow) * np.asarray(record.target) + record.follow * low_pass(salient, 0.95 ** (30 / fps))
    if head is not None:
        position, towards = _ego(head, target, fps)
    else:
        position = _rig(record, frames, fps, rng)
        position = _kept_clear(position, obstacles, description.room, fps)
        aim = np.stack([wander(rng, frames, fps, 2.0) for _ in range(3)], -1) * (
            0.12 if record.rig != "static" else 0.0
        )
        towards = target + aim - position
    turn = np.array([mathutils.Vector(one).to_track_quat("-Z", "Y")[:] for one in towards])
    if record.rig in ("handheld", "ego"):
        scale = record.shake * (0.4 if record.rig == "ego" else 1.0)
        position = position + hand(rng, frames, fps) * 0.006 * scale
        turn = _shaken(turn, np.radians(0.3) * scale * hand(rng, frames, fps))
        turn = _shaken(turn, np.radians(1.5) * scale * np.stack([wander(rng, frames, fps, 1.5) for _ in range(3)], -1))
    return _made(description, position, turn, np.linalg.norm(towards, axis=1))


def _made(description: Any, position: np.ndarray, turn: np.ndarray, distance: np.ndarray) -> Any:
    data = bpy.data.cameras.new("camera")
    thing = bpy.data.objects.new("camera", data)
    scene = bpy.context.scene
    scene.collection.objects.link(thing)
    scene.camera = thing
    data.sensor_fit, data.sensor_width, data.lens = "HORIZONTAL", SENSOR, description.camera.lens
    data.clip_start, data.clip_end = 0.02, 1000.0
    key_pose(thing, position, turn)
    if description.effects.depth_of_field > 0:
        data.dof.use_dof, data.dof.aperture_fstop = True, description.effects.depth_of_field
        key(data, "dof.focus_distance", low_pass(distance, 0.9))
    return thing


def _shaken(turn: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Quaternions [T,4], each followed by small turns [T,3] (radians) about the camera's own axes."""
    small = [mathutils.Quaternion((1, *(one / 2))).normalized() for one in angles]
    return np.array([(mathutils.Quaternion(q) @ s)[:] for q, s in zip(turn, small, strict=True)])


def _ease(frames: int) -> np.ndarray:
    t = np.linspace(0, 1, frames) if frames > 1 else np.zeros(1)
    return t * t * (3 - 2 * t)


def _rig(record: Any, frames: int, fps: float, rng: np.random.Generator) -> np.ndarray:
    """Positions [T,3]."""
    start, target = np.asarray(record.position, dtype=float), np.asarray(record.target, dtype=float)
    away = start - target
    radius, angle = math.hypot(away[0], away[1]), math.atan2(away[1], away[0])
    seconds = frames / fps
    position = np.tile(start, (frames, 1))
    if record.rig == "static":
        return position
    if record.rig == "orbit":
        sweep = np.clip(math.radians(record.travel), -0.6 * seconds, 0.6 * seconds)
        angles = angle + sweep * np.linspace(0, 1, frames)
        return np.stack([target[0] + radius * np.cos(angles), target[1] + radius * np.sin(angles), position[:, 2]], -1)
    travel = min(record.travel, 0.9 * seconds)
    if record.rig == "dolly":
        lean = rng.uniform(-0.9, 0.9)
        along = np.array([-math.sin(angle + lean), math.cos(angle + lean), 0.0]) * rng.choice((-1, 1))
        return np.asarray(position + travel * _ease(frames)[:, None] * along)
    if record.rig == "crane":
        rise = 1 if start[2] < 1.4 else -1
        position[:, 2] = np.clip(start[2] + rise * travel * _ease(frames), 0.35, 4.0)
        inwards = -0.3 * travel * _ease(frames)[:, None] * np.array([math.cos(angle), math.sin(angle), 0])
        return np.asarray(position + inwards)
    speed = travel / max(radius, 0.5) * rng.choice((-1, 1))
    angles = (
        angle + speed * np.linspace(0, 1, frames) + 0.12 * wander(rng, frames, fps, 3.0) * math.sqrt(min(seconds, 4.0))
    )
    radii = radius * (1 + np.clip(0.18 * wander(rng, frames, fps, 3.0), -0.25, 0.4))
    heights = np.clip(start[2] + 0.35 * wander(rng, frames, fps, 3.0), 0.35, 3.0)
    return np.stack([target[0] + radii * np.cos(angles), target[1] + radii * np.sin(angles), heights], -1)


def _kept_clear(position: np.ndarray, obstacles: list[np.ndarray], room: Any, fps: float) -> np.ndarray:
    """Pushed out of walls, and away from whoever comes near; smooth."""
    pushed = position.copy()
    for place in obstacles:
        away = pushed[:, :2] - place[:, :2]
        distance = np.linalg.norm(away, axis=1).clip(1e-6)
        near = np.clip(CLEAR + 0.35 - distance, 0, None)
        pushed[:, :2] += away / distance[:, None] * near[:, None]
    width = max(1, round(fps / 4))
    padded = np.pad(pushed - position, ((width, width), (0, 0)), mode="edge")
    window = np.ones(2 * width + 1) / (2 * width + 1)
    push = np.stack([np.convolve(padded[:, axis], window, mode="valid") for axis in range(3)], -1)
    moved = position + push
    if room is not None:
        low, high = np.array([0.3, 0.3, 0.3]), np.array([room.width - 0.3, room.depth - 0.3, room.height - 0.15])
        moved = np.clip(moved, low, high)
    return np.asarray(moved)


def _ego(head: tuple[np.ndarray, np.ndarray], target: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Eyes that turn from where the face points towards what moves, as far as a neck lets them."""
    eyes, face = head
    away = target - eyes
    flat = np.hypot(away[:, 0], away[:, 1]).clip(0.3)
    yaw = np.unwrap(np.arctan2(face[:, 1], face[:, 0]))
    aside = np.angle(np.exp(1j * (np.arctan2(away[:, 1], away[:, 0]) - yaw)))
    behind = np.clip((math.pi - np.abs(aside)) / 0.6, 0, 1)  # what is right behind draws to neither side
    keep = 0.85 ** (30 / fps)
    yaw = low_pass(yaw + np.clip(0.85 * aside, -NECK, NECK) * behind, keep)
    pitch = low_pass(np.clip(0.7 * np.arctan2(away[:, 2], flat), -0.4, 0.3), keep)
    return eyes, np.stack([np.cos(yaw), np.sin(yaw), np.tan(pitch)], -1)
