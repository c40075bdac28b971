"""Keyframes written in bulk, and actions read: layered actions, as Blender 4.4 and later have them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import bpy
import numpy as np

BONE = re.compile(r'^pose\.bones\["(.*)"\]\.(location|rotation_quaternion|scale)$')
LINEAR = 1
"""What `keyframe_points.foreach_set("interpolation", ...)` takes for linear."""


def key(owner: Any, path: str, values: np.ndarray) -> None:
    """Key a property of an ID at the frames 1..T, linearly in between.

    Args:
        owner: an object, a light, shape keys, a node tree, ...
        path: of the property, from `owner`.
        values: [T] for a number, [T,k] for a vector.
    """
    values = np.asarray(values, dtype=np.float64)
    bag = _channels(owner)
    columns = values[:, None] if values.ndim == 1 else values
    points = np.empty((len(values), 2), dtype=np.float32)
    points[:, 0] = np.arange(1, len(values) + 1)
    for index in range(columns.shape[1]):
        curve = bag.fcurves.new(path, index=index) if values.ndim > 1 else bag.fcurves.new(path)
        points[:, 1] = columns[:, index]
        curve.keyframe_points.add(len(values))
        curve.keyframe_points.foreach_set("co", points.ravel())
        curve.keyframe_points.foreach_set("interpolation", np.full(len(values), LINEAR, dtype=np.int32))
        curve.update()


def _channels(owner: Any) -> Any:
    """The bag of curves of an ID, made if there is none."""
    data = owner.animation_data or owner.animation_data_create()
    if data.action is None:
        action = bpy.data.actions.new(owner.name)
        data.action = action
        data.action_slot = action.slots.new(id_type=owner.id_type, name=owner.name)
        action.layers.new("keys").strips.new(type="KEYFRAME")
    return data.action.layers[0].strips[0].channelbag(data.action_slot, ensure=True)


def key_pose(thing: Any, location: np.ndarray, quaternion: np.ndarray) -> None:
    """Place an object: location [T,3] and rotation [T,4] (w, x, y, z)."""
    thing.rotation_mode = "QUATERNION"
    key(thing, "location", location)
    key(thing, "rotation_quaternion", steady(quaternion))


def steady(quaternion: np.ndarray) -> np.ndarray:
    """The same rotations [T,...,4], signs chosen so that neighbours are near one another."""
    flips = np.where((quaternion[1:] * quaternion[:-1]).sum(-1) < 0, -1.0, 1.0)
    signs = np.concatenate([np.ones_like(flips[:1]), np.cumprod(flips, axis=0)])
    return np.asarray(quaternion * signs[..., None])


class Pose(NamedTuple):
    """A skeleton over time: what a pose bone adds to its rest."""

    bones: tuple[str, ...]
    location: np.ndarray
    """[T,B,3], in the bone's own axes."""
    rotation: np.ndarray
    """[T,B,4] quaternions w, x, y, z."""
    scale: np.ndarray
    """[T,B,3]."""


def rest(bones: tuple[str, ...], frames: int) -> Pose:
    """A skeleton at rest."""
    count = len(bones)
    turn = np.zeros((frames, count, 4))
    turn[..., 0] = 1
    return Pose(bones, np.zeros((frames, count, 3)), turn, np.ones((frames, count, 3)))


def sample(action: Any, bones: tuple[str, ...], times: np.ndarray) -> Pose:
    """An action at `times` [T] (frames from its beginning, repeated as a loop), without evaluating the scene."""
    first, last = action.frame_range
    at = first + np.mod(times, max(last - first, 1e-6))
    pose = rest(bones, len(times))
    index = {bone: number for number, bone in enumerate(bones)}
    parts = {"location": pose.location, "rotation_quaternion": pose.rotation, "scale": pose.scale}
    for curve in curves_of(action):
        found = BONE.match(curve.data_path)
        if found and found[1] in index:
            parts[found[2]][:, index[found[1]], curve.array_index] = [curve.evaluate(time) for time in at]
    return pose._replace(rotation=pose.rotation / np.linalg.norm(pose.rotation, axis=-1, keepdims=True).clip(1e-9))


def curves_of(action: Any) -> list[Any]:
    """All curves of an action."""
    return [
        curve for layer in action.layers for strip in layer.strips for bag in strip.channelbags for curve in bag.fcurves
    ]


def blend(poses: list[Pose], weights: np.ndarray) -> Pose:
    """Weighted mean of poses of one skeleton; `weights` [P,T] sum to one over P."""
    first = poses[0]
    rotation = np.zeros_like(first.rotation)
    for pose, weight in zip(poses, weights, strict=True):
        near = np.where((pose.rotation * first.rotation).sum(-1, keepdims=True) < 0, -1.0, 1.0)
        rotation += weight[:, None, None] * near * pose.rotation
    rotation /= np.linalg.norm(rotation, axis=-1, keepdims=True).clip(1e-9)
    location = sum(w[:, None, None] * pose.location for pose, w in zip(poses, weights, strict=True))
    scale = sum(w[:, None, None] * pose.scale for pose, w in zip(poses, weights, strict=True))
    return Pose(first.bones, np.asarray(location), rotation, np.asarray(scale))


def key_skeleton(armature: Any, pose: Pose) -> None:
    """Key every bone that differs from its rest."""
    rotation = steady(pose.rotation)
    for number, name in enumerate(pose.bones):
        bone = armature.pose.bones[name]
        bone.rotation_mode = "QUATERNION"
        path = f'pose.bones["{bpy.utils.escape_identifier(name)}"].'
        if np.abs(pose.location[:, number]).max() > 1e-7:
            key(armature, path + "location", pose.location[:, number])
        if np.abs(pose.rotation[:, number, 1:]).max() > 1e-7:
            key(armature, path + "rotation_quaternion", rotation[:, number])
        if np.abs(pose.scale[:, number] - 1).max() > 1e-6:
            key(armature, path + "scale", pose.scale[:, number])
