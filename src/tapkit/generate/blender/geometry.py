"""What the camera sees, as numbers: evaluated triangles in the world, and the camera's matrices. Runs in Blender.

Exact tracks need that what is rendered and what is read out here are the same surface, for every frame the same
triangles: see `settle`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import bpy
import numpy as np

SOLID = {"MESH", "CURVE", "SURFACE", "FONT", "META"}


class Part(NamedTuple):
    """One object that can be seen or that hides others."""

    object: Any
    kind: str
    mask: int
    """Its number in the instance masks, at least 1; 0 for what has no tracks but hides."""


def parts(built: Any) -> list[Part]:
    """The tracked objects, then whatever else the camera sees, without the volumes."""
    tracked = [Part(each, kind, each.pass_index) for each, kind in built.tracked]
    known = {part.object.name for part in tracked} | {each.name for each in built.volumes}
    others = [
        Part(each, "other", 0)
        for each in bpy.context.scene.objects
        if each.name not in known and each.type in SOLID and not each.hide_render
    ]
    for part in others:
        part.object.pass_index = 0
    return [part for part in tracked + others if part.object.visible_camera]


def settle(built: Any) -> None:
    """Make the surface that is read out and the one that is rendered the same, and each frame the same every time.

    Blender evaluates a scene twice, for the screen and for the renderer, with settings of their own; surfaces may be
    displaced only while rendering; and faces of more than three corners are cut into triangles anew in each frame.
    Surfaces that emit are not sampled as lights: Cycles orders them differently from run to run, and the noise with
    them (lamps are lights of their own, and keep their order).
    """
    for each in bpy.context.scene.objects:
        each.hide_viewport = each.hide_render
        for modifier in each.modifiers:
            modifier.show_viewport = modifier.show_render
            if modifier.type in ("SUBSURF", "MULTIRES"):
                modifier.levels = modifier.render_levels
    for material in bpy.data.materials:
        if hasattr(material, "displacement_method"):
            material.displacement_method = "BUMP"
        material.cycles.emission_sampling = "NONE"
    for part in parts(built):
        if part.object.type == "MESH":
            cut = part.object.modifiers.new("tapkit triangles", "TRIANGULATE")
            cut.quad_method, cut.ngon_method = "FIXED", "CLIP"
            if hasattr(cut, "keep_custom_normals"):
                cut.keep_custom_normals = True


def triangles(part: Part, depsgraph: Any) -> np.ndarray:
    """The part's triangles [F,3] int32, numbers of its own vertices."""
    evaluated = part.object.evaluated_get(depsgraph)
    mesh = evaluated.to_mesh()
    mesh.calc_loop_triangles()
    result = np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.loop_triangles.foreach_get("vertices", result)
    evaluated.to_mesh_clear()
    return result.reshape(-1, 3)


def vertices(part: Part, depsgraph: Any) -> np.ndarray:
    """Where the part's vertices are in the world [V,3], float32."""
    evaluated = part.object.evaluated_get(depsgraph)
    mesh = evaluated.to_mesh()
    local = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", local)
    evaluated.to_mesh_clear()
    pose = np.array(evaluated.matrix_world, np.float64)
    return (local.reshape(-1, 3).astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32)


def camera(scene: Any, depsgraph: Any) -> dict[str, np.ndarray]:
    """The camera's matrices.

    `intrinsics` [3,3] for raster coordinates (corner origin, x right, y down), `extrinsics` [4,4] from Blender's world
    to the camera (x right, y down, z forward), and `clip` [2], the depths between which things are rendered.
    """
    evaluated = scene.camera.evaluated_get(depsgraph)
    if evaluated.data.type != "PERSP":
        raise SystemExit(f"the camera {scene.camera.name} is {evaluated.data.type}: only PERSP has exact tracks")
    width, height = scene.render.resolution_x, scene.render.resolution_y
    lens = np.array(evaluated.calc_matrix_camera(depsgraph, x=width, y=height, scale_x=1, scale_y=1), np.float64)
    intrinsics = np.array(
        [
            [lens[0, 0] * width / 2, 0, width / 2 * (1 - lens[0, 2])],
            [0, lens[1, 1] * height / 2, height / 2 * (1 + lens[1, 2])],
            [0, 0, 1],
        ]
    )
    pose = np.array(evaluated.matrix_world.normalized(), np.float64)
    turned = np.diag([1.0, -1.0, -1.0]) @ pose[:3, :3].T
    extrinsics = np.eye(4)
    extrinsics[:3, :3], extrinsics[:3, 3] = turned, -turned @ pose[:3, 3]
    clip = np.array([evaluated.data.clip_start, evaluated.data.clip_end])
    return {"intrinsics": intrinsics, "extrinsics": extrinsics, "clip": clip}
