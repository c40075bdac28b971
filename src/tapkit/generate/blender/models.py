"""Models of GLB files: what belongs to the picture, as one mesh on at most one armature, to size, on the ground."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from .surfaces import Paint, project


def load_model(name: str, shape: Any, assets: Path | None) -> tuple[Any, Any, dict[str, Any]]:
    """A `Shape` of the form model -> (mesh object, armature or None, its actions by name).

    The mesh object or, if there is one, the armature hangs on an empty object, which scales it: the mesh's box is
    `shape.size` long, and the middle of its bottom is at the empty's origin.

    Raises:
        ValueError: no such file, or nothing to see in it.
    """
    if assets is None:
        raise ValueError(f"the scene wants {shape.file}, but there is no assets folder")
    path = (assets / shape.file).resolve()
    if not path.is_file():
        raise ValueError(f"the model {path} is not there")
    before = set(bpy.data.objects), set(bpy.data.actions)
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            bpy.ops.import_scene.gltf(filepath=str(path), bone_heuristic="TEMPERANCE", disable_bone_shape=True)
    except RuntimeError as error:
        raise ValueError(f"the model {path} cannot be read ({str(error).strip().splitlines()[-1]})") from None
    finally:
        logging.disable(logging.NOTSET)
    new = [thing for thing in bpy.data.objects if thing not in before[0]]
    actions = {action.name: action for action in bpy.data.actions if action not in before[1]}
    armature = next((thing for thing in new if thing.type == "ARMATURE"), None)
    mesh = _one_mesh(new, armature, path)
    mesh.name = mesh.data.name = name
    if armature is not None and armature.animation_data is not None:
        armature.animation_data_clear()
        for bone in armature.pose.bones:
            bone.matrix_basis.identity()
    _stand(mesh, armature, shape.size)
    return mesh, armature, actions


def forget(actions: dict[str, Any]) -> None:
    """Remove actions from Blender, so that the next model's keep their names."""
    for action in actions.values():
        bpy.data.actions.remove(action)


def _one_mesh(new: list[Any], armature: Any, path: Path) -> Any:
    """Join the parts, put things in hands aside, remove empties, cameras and lamps."""
    parts = [thing for thing in new if thing.type == "MESH" and len(thing.data.polygons) and thing.users_collection]
    if armature is not None:
        bound = [thing for thing in parts if any(modifier.type == "ARMATURE" for modifier in thing.modifiers)]
        parts = bound or [thing for thing in parts if thing.parent is not None]
    if not parts:
        raise ValueError(f"the model {path} has nothing to see in it")
    for thing in parts:
        world = thing.matrix_world.copy()
        if armature is None:
            thing.parent = None
        thing.matrix_world = world
        if thing.data.users > 1:
            thing.data = thing.data.copy()
    with bpy.context.temp_override(active_object=parts[0], selected_editable_objects=parts, selected_objects=parts):
        if len(parts) > 1:
            bpy.ops.object.join()
    mesh = parts[0]
    if mesh.data.shape_keys is not None:
        mesh.shape_key_clear()
    if armature is not None:
        world = armature.matrix_world.copy()
        armature.parent = None
        armature.matrix_world = world
    for thing in new:
        with contextlib.suppress(ReferenceError):
            if thing not in (mesh, armature):
                bpy.data.objects.remove(thing)
    return mesh


def _stand(mesh: Any, armature: Any, size: float) -> None:
    """Scale and shift by a parent; a mesh without bones takes both into its vertices."""
    points = world_points(mesh)
    low, high = points.min(0), points.max(0)
    by = size / max(float((high - low).max()), 1e-9)
    bottom = np.array([*(low + high)[:2] / 2, low[2]])
    if armature is None:
        centred = (points - (low + high) / 2) * by
        mesh.matrix_world.identity()
        mesh.parent = None
        mesh.data.vertices.foreach_set("co", centred.astype(np.float32).ravel())
        mesh.data.update()
        project(mesh.data)
        return
    root = bpy.data.objects.new(mesh.name + " root", None)
    bpy.context.scene.collection.objects.link(root)
    armature.parent = root
    armature.location = (np.array(armature.location) - bottom) * by
    armature.scale = np.array(armature.scale) * by
    unit = float(np.cbrt(abs(np.linalg.det(np.array(mesh.matrix_world.to_3x3()))))) * by
    project(mesh.data, unit)


def world_points(mesh: Any) -> np.ndarray:
    """Vertices as posed now, in the world: [V,3]."""
    graph = bpy.context.evaluated_depsgraph_get()
    posed = mesh.evaluated_get(graph)
    data = posed.to_mesh()
    points = np.empty(len(data.vertices) * 3, dtype=np.float32)
    data.vertices.foreach_get("co", points)
    posed.to_mesh_clear()
    matrix = np.array(posed.matrix_world)
    return np.asarray(points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])


def dress_model(mesh: Any, paint: Paint, look: Any, name: str) -> None:
    """Its own materials with a picture over them; one of its own if it came with none."""
    if look.pattern != "own":
        paint.dress(mesh, look)
        return
    if not mesh.data.materials or all(material is None for material in mesh.data.materials):
        mesh.data.materials.clear()
        mesh.data.materials.append(bpy.data.materials.new(name))
    for material in dict.fromkeys(slot.material for slot in mesh.material_slots if slot.material is not None):
        material.use_nodes = True
        paint.lay_over(material, look)
