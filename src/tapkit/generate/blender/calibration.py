"""A small scene in which every kind of thing has a known place: for tests and for the table of costs. Runs in Blender.

A ground plane, a turning and falling cube, a cylinder that an armature bends, an unlit checker ball that moves, a
cube of fog, and a camera that travels, with motion blur.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, pi, sin
from typing import Any

import bpy
import numpy as np
from mathutils import Vector


@dataclass
class BuiltScene:
    """As `blender.build.BuiltScene`."""

    tracked: list[tuple[Any, str]] = field(default_factory=list)
    volumes: list[Any] = field(default_factory=list)
    camera: Any = None

    def track(self, each: Any, kind: str) -> Any:
        """Add an object with the next index."""
        each.pass_index = len(self.tracked) + 1
        self.tracked.append((each, kind))
        return each


def build(description: dict[str, Any]) -> BuiltScene:
    """Build it, clearing what is open."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene, frames = bpy.context.scene, description["frames"]
    scene.render.resolution_x, scene.render.resolution_y = description["width"], description["height"]
    scene.render.fps, scene.frame_end = description["fps"], frames
    scene.render.engine = "CYCLES"
    scene.render.use_motion_blur = True
    scene.view_settings.view_transform = "Standard"
    random = np.random.default_rng(description["seed"])
    built = BuiltScene()
    _ground(built)
    _cube(built, frames, random)
    _cylinder(built, frames)
    _ball(built, frames)
    _fog(built)
    _light(scene)
    built.camera = _camera(scene, frames)
    return built


def _key(each: Any, path: str, values: list[Any]) -> None:
    for frame, value in enumerate(values):
        setattr(each, path, value)
        each.keyframe_insert(path, frame=frame + 1)


def _noise(name: str, one: tuple[float, ...], two: tuple[float, ...], scale: float) -> Any:
    """A material of two colours mixed by noise."""
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    noise, ramp = nodes.new("ShaderNodeTexNoise"), nodes.new("ShaderNodeValToRGB")
    noise.inputs["Scale"].default_value = scale
    ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = 0.45, 0.55
    ramp.color_ramp.elements[0].color, ramp.color_ramp.elements[1].color = (*one, 1), (*two, 1)
    links.new(noise.outputs["Fac"], ramp.inputs["Fac"])
    links.new(ramp.outputs["Color"], nodes["Principled BSDF"].inputs["Base Color"])
    return material


def _ground(built: BuiltScene) -> None:
    bpy.ops.mesh.primitive_plane_add(size=30)
    plane = built.track(bpy.context.object, "ground")
    plane.data.materials.append(_noise("ground", (0.1, 0.3, 0.05), (0.5, 0.4, 0.3), 40))


def _cube(built: BuiltScene, frames: int, random: np.random.Generator) -> None:
    bpy.ops.mesh.primitive_cube_add(size=0.8)
    cube = built.track(bpy.context.object, "prop")
    cube.data.materials.append(_noise("cube", (0.7, 0.1, 0.1), (0.9, 0.9, 0.2), 6))
    turn = random.uniform(-1.5, 1.5, 3)
    times = np.linspace(0, 1, frames)
    _key(cube, "location", [(-1.2, 0.3, 0.4 + 1.2 * (1 - t) ** 2) for t in times])
    _key(cube, "rotation_euler", [tuple(turn * (1 - t)) for t in times])


def _cylinder(built: BuiltScene, frames: int) -> None:
    """Two bones bend it."""
    bpy.ops.object.armature_add()
    armature = bpy.context.object
    armature.location = (1.0, 0.2, 0.0)
    bpy.ops.object.mode_set(mode="EDIT")
    bones = armature.data.edit_bones
    bones[0].tail = (0, 0, 0.8)
    upper = bones.new("upper")
    upper.head, upper.tail, upper.parent = bones[0].tail, (0, 0, 1.6), bones[0]
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.mesh.primitive_cylinder_add(vertices=24, radius=0.3, depth=1.6, location=(1.0, 0.2, 0.8))
    body = bpy.context.object
    bpy.ops.object.transform_apply(location=True)
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.subdivide(number_cuts=6)
    bpy.ops.object.mode_set(mode="OBJECT")
    body.data.materials.append(_noise("body", (0.1, 0.2, 0.7), (0.9, 0.7, 0.6), 5))
    body.select_set(True)
    armature.select_set(True)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.parent_set(type="ARMATURE_AUTO")
    built.track(body, "character")
    bone = armature.pose.bones["upper"]
    bone.rotation_mode = "XYZ"
    _key(bone, "rotation_euler", [(0, 0, 0.9 * sin(2 * pi * t / max(frames, 12))) for t in range(frames)])
    _key(armature, "rotation_euler", [(0, 0.3 * sin(2 * pi * t / max(frames, 12)), 0) for t in range(frames)])


def _ball(built: BuiltScene, frames: int) -> None:
    """Emission alone: its colours do not depend on light."""
    bpy.ops.mesh.primitive_uv_sphere_add(radius=0.35, segments=48, ring_count=24)
    ball = built.track(bpy.context.object, "checker")
    material = bpy.data.materials.new("checker")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.remove(nodes["Principled BSDF"])
    checker, place, emission = (nodes.new(f"ShaderNode{name}") for name in ("TexChecker", "TexCoord", "Emission"))
    checker.inputs["Scale"].default_value = 8
    checker.inputs["Color1"].default_value, checker.inputs["Color2"].default_value = (
        (0.9,) * 3 + (1,),
        (0.1,) * 3 + (1,),
    )
    links.new(place.outputs["UV"], checker.inputs["Vector"])
    links.new(checker.outputs["Color"], emission.inputs["Color"])
    links.new(emission.outputs["Emission"], nodes["Material Output"].inputs["Surface"])
    ball.data.materials.append(material)
    times = np.linspace(0, 1, frames)
    _key(ball, "location", [(-0.6 + 1.2 * t, -1.2, 0.5) for t in times])
    _key(ball, "rotation_euler", [(0.5 * t, 0.3, 2 * t) for t in times])


def _fog(built: BuiltScene) -> None:
    bpy.ops.mesh.primitive_cube_add(size=6, location=(0, 2, 2))
    fog = bpy.context.object
    material = bpy.data.materials.new("fog")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.remove(nodes["Principled BSDF"])
    volume = nodes.new("ShaderNodeVolumePrincipled")
    volume.inputs["Density"].default_value = 0.03
    links.new(volume.outputs["Volume"], nodes["Material Output"].inputs["Volume"])
    fog.data.materials.append(material)
    built.volumes.append(fog)


def _light(scene: Any) -> None:
    scene.world = bpy.data.worlds.new("sky")
    scene.world.use_nodes = True
    background = scene.world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value, background.inputs["Strength"].default_value = (0.6, 0.75, 1, 1), 0.7
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.data.angle, sun.rotation_euler = 3.0, 0.02, (0.7, 0.3, 0.5)
    scene.collection.objects.link(sun)


def _camera(scene: Any, frames: int) -> Any:
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    camera.data.lens, camera.data.sensor_width = 30, 36
    angles = np.linspace(-0.25, 0.25, frames)
    places = [Vector((5 * sin(a), -5 * cos(a), 1.6 + 0.3 * a)) for a in angles]
    _key(camera, "location", places)
    aims = [(Vector((0, 0, 0.6)) - place).to_track_quat("-Z", "Y").to_euler() for place in places]
    _key(camera, "rotation_euler", aims)
    scene.camera = camera
    return camera
