"""What falls, is kicked, drapes and wobbles: stepped once from the first frame on, kept as keyframes and shapes."""

from __future__ import annotations

import math
from typing import Any

import bpy
import numpy as np

from .actors import Actor
from .keys import key, key_pose
from .shapes import cylinder, fitted
from .surfaces import mesh_object

LED = 3
"""Frames through which a thrown body is led before it is let go: the physics engine takes its velocity from them."""
KICK = 3
"""Frames that a kick lasts."""
NEAR = 9.0
"""Static objects farther from the origin than this are out of reach of what falls."""


class Simulation:
    """The physical world of one scene, while it is being built."""

    def __init__(self, frames: int, fps: float) -> None:
        self.frames, self.fps = frames, fps
        self.falling: list[tuple[Any, Any]] = []
        self.bending: list[tuple[Any, Any]] = []
        self.helpers: list[Any] = []
        self.solid: list[Any] = []

    def add(self, record: Any, thing: Any) -> None:
        """One object, by how it moves: it falls, bends, or is there to be fallen upon."""
        if record.motion.how in ("cloth", "soft"):
            self.bending.append((record, thing))
        elif record.motion.how == "fall":
            self.falling.append((record, thing))
        elif math.hypot(*thing.location[:2]) < NEAR or record.role == "ground":
            self.solid.append(thing)

    def run(self, actors: list[Actor], effects: Any) -> None:
        """Step through all frames and key what came out."""
        if not self.falling and not self.bending:
            return
        self._world()
        for thing in self.solid:
            self._passive(thing, "MESH")
        for actor in actors:
            self._passive(self._stand_in(actor), "CONVEX_HULL", moves=True)
        for record, thing in self.falling:
            self._active(record, thing)
        self._cloths(actors)
        if effects.kicks > 0:
            self._kicks(effects)
        self._step()

    def _world(self) -> None:
        scene = bpy.context.scene
        bpy.ops.rigidbody.world_add()
        world = scene.rigidbody_world
        world.substeps_per_frame, world.solver_iterations = 12, 20
        world.point_cache.frame_start, world.point_cache.frame_end = 1, self.frames + 1
        world.collection = bpy.data.collections.new("bodies")
        scene.gravity = (0, 0, -9.81)

    def _passive(self, thing: Any, shape: str, moves: bool = False) -> None:
        self._body(thing, "PASSIVE", shape)
        thing.rigid_body.kinematic = moves
        if self.bending:
            _collides(thing)

    def _body(self, thing: Any, kind: str, shape: str) -> None:
        bpy.context.scene.rigidbody_world.collection.objects.link(thing)
        thing.rigid_body.type, thing.rigid_body.collision_shape = kind, shape
        thing.rigid_body.use_margin, thing.rigid_body.collision_margin = True, 0.001
        thing.rigid_body.friction, thing.rigid_body.restitution = 0.6, 0.35

    def _active(self, record: Any, thing: Any) -> None:
        """A body that starts with the record's velocity: led through the first frames, then let go."""
        self._body(thing, "ACTIVE", "CONVEX_HULL")
        body = thing.rigid_body
        body.mass, body.use_deactivation = record.motion.mass, True
        body.linear_damping, body.angular_damping = 0.04, 0.15
        if self.bending:
            _collides(thing)
        velocity, turning = (np.array(v) for v in (record.motion.velocity, record.motion.turning))
        if self.frames <= LED or not (velocity.any() or turning.any()):
            return
        time = np.arange(self.frames)[:, None] / self.fps
        key(thing, "location", np.array(thing.location) + time * velocity)
        key(thing, "rotation_euler", np.array(thing.rotation_euler) + time * np.radians(turning))
        key(thing, "rigid_body.kinematic", (np.arange(self.frames) < LED).astype(float))

    def _stand_in(self, actor: Actor) -> Any:
        """A cylinder that goes where an actor goes: what falls bounces off it."""
        radius = float(np.clip(actor.radius * 0.7, 0.08, 0.6))
        tall = float(max(actor.tall, 0.1))
        geometry = fitted(cylinder(0.9, 14), max(2 * radius, tall), (2 * radius, 2 * radius, tall)).moved(
            (0, 0, tall / 2)
        )
        thing = mesh_object(actor.record.name + " stand-in", geometry, None)
        thing.hide_render = True
        if actor.place is not None:
            key(thing, "location", actor.place)
        self.helpers.append(thing)
        return thing

    def _cloths(self, actors: list[Actor]) -> None:
        for record, thing in self.bending:
            modifier = thing.modifiers.new("cloth", "CLOTH")
            cloth, touch = modifier.settings, modifier.collision_settings
            cloth.quality, touch.collision_quality = 6, 3
            touch.distance_min, touch.use_self_collision = 0.012, record.motion.how == "cloth"
            touch.self_distance_min = 0.01
            cloth.mass = record.motion.mass * 0.75
            if record.motion.how == "soft":
                cloth.use_pressure, cloth.uniform_pressure_force = True, 3.0
                cloth.tension_stiffness = cloth.compression_stiffness = cloth.shear_stiffness = 8.0
                cloth.bending_stiffness, cloth.mass = 2.0, 0.6
            elif record.shape.body % 2:
                high = max(vertex.co.y for vertex in thing.data.vertices)
                group = thing.vertex_groups.new(name="pinned")
                group.add([v.index for v in thing.data.vertices if v.co.y > high - 1e-4], 1.0, "REPLACE")
                cloth.vertex_group_mass = "pinned"
            modifier.point_cache.frame_start, modifier.point_cache.frame_end = 1, self.frames + 1

    def _kicks(self, effects: Any) -> None:
        """Gusts from below at random places, every few seconds, that throw up what lies there."""
        rng = np.random.default_rng(effects.seed)
        for _kicker in range(2):
            bpy.ops.object.effector_add(type="WIND", location=(0, 0, -0.5))
            thing = bpy.context.object
            self.helpers.append(thing)
            field = thing.field
            field.falloff_type, field.use_max_distance, field.distance_max, field.falloff_power = (
                "SPHERE",
                True,
                1.6,
                0.0,
            )
            field.flow = 0.0
            place, strength = np.zeros((self.frames, 3)), np.zeros(self.frames)
            place[:, 2] = -0.4
            middle = self._middle()
            when = rng.uniform(0.9, 1.8)
            while when < self.frames / self.fps:
                start = round(when * self.fps)
                place[max(start - 5, 0) :, :2] = middle + rng.uniform(-1.5, 1.5, 2)
                strength[start : start + KICK] = effects.kicks * 0.7 * self.fps / KICK
                when += rng.uniform(1.8, 3.5)
            key(thing, "location", place)
            key(thing, "field.strength", strength)

    def _middle(self) -> np.ndarray:
        places = [thing.location[:2] for _, thing in self.falling] or [(0, 0)]
        return np.asarray(np.mean(places, axis=0))

    def _step(self) -> None:
        scene = bpy.context.scene
        poses = np.empty((len(self.falling), self.frames, 7))
        shapes = [np.empty((self.frames, len(thing.data.vertices), 3), dtype=np.float32) for _, thing in self.bending]
        for frame in range(self.frames):
            scene.frame_set(frame + 1)
            graph = bpy.context.evaluated_depsgraph_get()
            for number, (_, thing) in enumerate(self.falling):
                place, turn, _ = thing.evaluated_get(graph).matrix_world.decompose()
                poses[number, frame] = (*place, *turn)
            for number, (_, thing) in enumerate(self.bending):
                thing.evaluated_get(graph).data.vertices.foreach_get("co", shapes[number][frame].ravel())
        self._clear()
        for (_, thing), pose in zip(self.falling, poses, strict=True):
            thing.animation_data_clear()
            key_pose(thing, pose[:, :3], pose[:, 3:])
        for (_, thing), shape in zip(self.bending, shapes, strict=True):
            thing.modifiers.clear()
            key_shapes(thing, shape)

    def _clear(self) -> None:
        """Nothing of the simulation stays: any frame can be evaluated alone."""
        bpy.ops.rigidbody.world_remove()
        for thing in self.helpers:
            bpy.data.objects.remove(thing)
        for thing in bpy.context.scene.objects:
            for modifier in [one for one in thing.modifiers if one.type == "COLLISION"]:
                thing.modifiers.remove(modifier)
        for thing in [*self.solid, *(thing for _, thing in self.falling)]:
            if thing.rigid_body is not None:
                with bpy.context.temp_override(object=thing, active_object=thing, selected_objects=[thing]):
                    bpy.ops.rigidbody.object_remove()


def _collides(thing: Any) -> None:
    thing.modifiers.new("collision", "COLLISION")
    thing.collision.thickness_outer, thing.collision.cloth_friction = 0.008, 12.0


def key_shapes(thing: Any, shapes: np.ndarray) -> None:
    """Vertices [T,V,3] as shape keys that follow one another: frame t shows shape t, in between they are blended."""
    thing.data.vertices.foreach_set("co", shapes[0].ravel())
    for number, shape in enumerate(shapes):
        made = thing.shape_key_add(name=str(number + 1), from_mix=False)
        made.data.foreach_set("co", shape.ravel())
        made.interpolation = "KEY_LINEAR"
    keys = thing.data.shape_keys
    keys.use_relative = False
    key(keys, "eval_time", np.array([block.frame for block in keys.key_blocks]))
