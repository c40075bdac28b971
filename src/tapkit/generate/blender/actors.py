"""Who moves: bodies and models on skeletons. They pose in place, then walk so that the standing foot does not slide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from scene.records import Material

from .bodies import EYES, SERPENT, build_body
from .gait import beast_turns, follow, human_turns, quaternions, schedule, serpent_turns, turns_to_matrices
from .keys import Pose, blend, key_pose, key_skeleton, rest, sample
from .models import dress_model, forget, load_model
from .surfaces import Paint

FLIGHT = 1.1
"""Body lengths a second that fish and birds travel at pace 1."""

SKINS = np.array(((0.80, 0.55, 0.42), (0.60, 0.36, 0.24), (0.36, 0.19, 0.11), (0.85, 0.63, 0.52), (0.16, 0.08, 0.05)))
HAIRS = np.array(((0.02, 0.015, 0.01), (0.12, 0.06, 0.02), (0.4, 0.28, 0.1), (0.3, 0.3, 0.3), (0.25, 0.05, 0.02)))


@dataclass
class Actor:
    """Somebody in the scene."""

    record: Any
    mesh: Any
    armature: Any
    root: Any
    """An empty object on the ground below it: keyed, it carries all the rest."""
    travels: np.ndarray
    """[T] share of acts that get along."""
    authored: bool
    """Its actions came with the model, and know where the ground is."""
    slide: np.ndarray
    """[T] metres that the standing feet move backwards until the next frame."""
    low: np.ndarray
    """[T] lowest point, metres above the root."""
    place: np.ndarray | None = None
    """[T,3] of the root, when it is known."""
    radius: float = 0.3
    tall: float = 1.0


def build_actor(record: Any, paint: Paint, assets: Path | None, frames: int, fps: float) -> Actor:
    """Bring one in, dress it and key its pose at all frames, standing at the origin."""
    if record.shape.form == "model":
        mesh, armature, actions = load_model(record.name, record.shape, assets)
        if armature is None:
            raise ValueError(
                f"the model {record.shape.file} of {record.name} has no skeleton, so it cannot walk or fly"
            )
        root = armature.parent
        dress_model(mesh, paint, record.material, record.name)
    else:
        mesh, armature = build_body(record.name, record.shape)
        root = bpy.data.objects.new(record.name + " root", None)
        bpy.context.scene.collection.objects.link(root)
        armature.parent, actions = root, {}
        _dress(mesh, record, paint)
    pose, travels = _performed(record, armature, actions, frames, fps)
    key_skeleton(armature, pose)
    forget(actions)
    zeros = np.zeros(frames)
    return Actor(record, mesh, armature, root, travels, bool(actions), zeros, zeros.copy())


def _dress(mesh: Any, record: Any, paint: Paint) -> None:
    """Clothes and skin of a body."""
    form, rng = record.shape.form, np.random.default_rng(record.shape.body + 1)
    dark = Material("plain", ((0.01, 0.01, 0.012),), roughness=0.15)
    if form == "humanoid":
        skin = SKINS[rng.integers(len(SKINS))] * rng.uniform(0.85, 1.1)
        locks = tuple(HAIRS[rng.integers(len(HAIRS))])
        skins = Material("noise", (tuple(skin), tuple(skin * 0.75)), repeats=25.0, roughness=0.5, bump=0.002)
        hairs = Material("wave", (locks, tuple(np.array(locks) * 2.5 + 0.02)), repeats=30.0, roughness=0.6, bump=0.004)
        shoes = Material("noise", (tuple(rng.uniform(0.02, 0.5, 3)), tuple(rng.uniform(0.02, 0.5, 3))), repeats=20.0)
        paint.dress(mesh, record.material, record.second, skins, hairs, shoes, dark)
    elif form == "robot":
        glow = Material("plain", ((0.1, 0.6, 0.9),), roughness=0.1)
        paint.dress(
            mesh,
            record.material,
            Material("plain", ((0.05, 0.05, 0.06),), roughness=0.3),
            record.second,
            *([glow] * (EYES - 2)),
        )
    else:
        paint.dress(mesh, record.material, record.second, dark)


def _performed(record: Any, armature: Any, actions: dict[str, Any], frames: int, fps: float) -> tuple[Pose, np.ndarray]:
    """The whole pose of a record's acts, and in which frames it gets along [T]."""
    motion, seed = record.motion, record.shape.body
    names = tuple(bone.name for bone in armature.pose.bones)
    distinct, weights = schedule(motion.acts, frames, fps, motion.pace)
    poses = []
    for act in distinct:
        if actions:
            poses.append(sample(_found(act.what, actions, record), names, np.arange(frames) * motion.pace))
            continue
        if record.shape.form == "serpent":
            turns = serpent_turns(act.what, motion.gait, frames, fps, motion.pace, SERPENT)
        elif record.shape.form == "quadruped":
            turns = beast_turns(act.what, motion.gait, frames, fps, motion.pace, seed)
        else:
            turns = human_turns(act.what, motion.gait, frames, fps, motion.pace, seed)
        poses.append(_turned(armature, names, turns, frames))
    travels = sum((w for act, w in zip(distinct, weights, strict=True) if act.travels), np.zeros(frames))
    return blend(poses, weights), travels


def _found(name: str, actions: dict[str, Any], record: Any) -> Any:
    if name not in actions:
        raise ValueError(f"{record.name} has no action {name!r}; its model knows {', '.join(actions)}")
    return actions[name]


def _turned(armature: Any, names: tuple[str, ...], turns: dict[str, np.ndarray], frames: int) -> Pose:
    """Turns about the body's axes as rotations in the bones' own axes."""
    pose = rest(names, frames)
    frame = np.array(armature.matrix_world.to_3x3().normalized())
    known = {name.lower(): name for name in turns}
    for number, name in enumerate(names):
        if name.lower() not in known:
            continue
        axes = frame @ np.array(armature.data.bones[name].matrix_local.to_3x3())
        matrices = turns_to_matrices(turns[known[name.lower()]])
        pose.rotation[:, number] = quaternions(axes.T @ matrices @ axes)
    return pose


def rehearse(actors: list[Actor], frames: int) -> None:
    """Measure on the posed meshes how their feet move and how low they come."""
    previous: list[np.ndarray] = []
    for frame in range(frames):
        bpy.context.scene.frame_set(frame + 1)
        graph = bpy.context.evaluated_depsgraph_get()
        current = [_points(actor, graph) for actor in actors]
        for actor, points, before in zip(actors, current, previous or current, strict=True):
            actor.low[frame] = points[:, 2].min()
            if frame:
                actor.slide[frame - 1] = _slide(before, points)
            if frame == 0:
                flat = np.linalg.norm(points[:, :2], axis=1)
                actor.radius, actor.tall = float(np.percentile(flat, 70)), float(np.ptp(points[:, 2]))
        previous = current


def _points(actor: Actor, graph: Any, most: int = 4000) -> np.ndarray:
    posed = actor.mesh.evaluated_get(graph)
    data = posed.data
    points = np.empty(len(data.vertices) * 3, dtype=np.float32)
    data.vertices.foreach_get("co", points)
    matrix = np.array(posed.matrix_world)
    chosen = points.reshape(-1, 3)[:: max(1, len(data.vertices) // most)]
    return np.asarray(chosen @ matrix[:3, :3].T + matrix[:3, 3])


def _slide(before: np.ndarray, after: np.ndarray) -> float:
    """How far what is lowest in both frames moves to +Y: as far as the body gets to -Y if that stands still."""
    height = np.ptp(before[:, 2])
    near = np.maximum(before[:, 2] - before[:, 2].min(), after[:, 2] - after[:, 2].min())
    standing = near <= max(near.min() * 1.02, 0.02 * height)
    return float(np.median(after[standing, 1] - before[standing, 1]))


def travel(actor: Actor, frames: int, fps: float) -> None:
    """Key the root: along the path, turned to where it goes, feet on the ground."""
    record, motion = actor.record, actor.record.motion
    flies = motion.how == "fly"
    if flies or record.shape.form == "serpent":
        speed = FLIGHT if flies else 0.35 * motion.gait.frequency
        steps = np.full(frames, speed * record.shape.size * motion.pace / fps)
    else:
        steps = _calm(np.clip(actor.slide, 0, None), max(3, round(fps / 6)))
    travelled = np.concatenate([[0], np.cumsum(steps * actor.travels)[:-1]])
    turn = np.radians(record.rotation[2])
    if len(motion.path) >= 3:
        position, direction = follow(np.asarray(motion.path, dtype=float), travelled)
    else:
        direction = np.tile([math.sin(turn), -math.cos(turn), 0.0], (frames, 1))
        position = np.tile(np.asarray(record.position, dtype=float), (frames, 1))
        if not motion.path:
            position = position + travelled[:, None] * direction
    lift = -np.minimum(actor.low, 0) if actor.authored else -actor.low
    if not flies:
        position = position + np.stack([np.zeros(frames), np.zeros(frames), lift], -1)
    heading = np.arctan2(direction[:, 0], -direction[:, 1])
    pitch = -np.arcsin(direction[:, 2].clip(-0.7, 0.7)) if flies else np.zeros(frames)
    half_turn, half_pitch = heading / 2, pitch / 2
    quaternion = np.stack(
        [np.cos(half_turn) * np.cos(half_pitch), np.cos(half_turn) * np.sin(half_pitch),
         np.sin(half_turn) * np.sin(half_pitch), np.sin(half_turn) * np.cos(half_pitch)], -1,
    )  # fmt: skip
    key_pose(actor.root, position, quaternion)
    actor.place = position


def _calm(steps: np.ndarray, width: int) -> np.ndarray:
    """Moving mean over `width` frames, the ends repeated."""
    padded = np.pad(steps[:-1] if len(steps) > 1 else steps, (width, width + 1), mode="edge")
    return np.convolve(padded, np.ones(2 * width + 1) / (2 * width + 1), mode="valid")[: len(steps)]
