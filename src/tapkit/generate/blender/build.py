"""From a scene description to a Blender scene of which any single frame can be rendered alone."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from scene.description import SceneDescription

from .actors import Actor, build_actor, rehearse, travel
from .air import build_air
from .cameras import Surroundings, build_camera
from .keys import key
from .models import dress_model, forget, load_model, world_points
from .physics import Simulation
from .rooms import build_room
from .solids import SHARP, solid
from .surfaces import Paint, mesh_object
from .worlds import build_light, build_world

MIDDLE_GREY = 0.2


@dataclass
class BuiltScene:
    """What rendering and tracking need to know of the scene in Blender."""

    description: SceneDescription
    tracked: list[tuple[Any, str]] = field(default_factory=list)
    """Mesh objects with their roles; `pass_index` is 1, 2, 3, ... in this order. Their topology does not change."""
    volumes: list[Any] = field(default_factory=list)
    """Fog and smoke: to be hidden in data passes."""
    camera: Any = None
    exposure: float = 0.0
    """Stops, as set in the scene's view settings."""


def build(description: dict[str, Any], assets: Path | None = None) -> BuiltScene:
    """Clear Blender, build the scene, simulate it, and keep frames 1..T as keyframes.

    The first build of a process is the same every time; after another one, collisions may come out in another order.

    Raises:
        ValueError: the description is not valid, or a file that it names is not in `assets`; one sentence.
    """
    record = SceneDescription.from_json(description)
    built = BuiltScene(record)
    _cleared(record)
    paint = Paint(assets, record.seed)
    build_world(record.world, paint)
    for number, light in enumerate(record.lights):
        build_light(light, number, record.frames, record.fps)
    simulation = Simulation(record.frames, record.fps)
    if record.room is not None:
        for thing, role in build_room(record.room, paint):
            built.tracked.append((thing, role))
            simulation.solid.append(thing)
    actors = _populate(built, record, paint, assets, simulation)
    rehearse(actors, record.frames)
    for actor in actors:
        travel(actor, record.frames, record.fps)
    simulation.run(actors, record.effects)
    for number, (thing, _) in enumerate(built.tracked):
        thing.pass_index = number + 1
    props = [thing for thing, role in built.tracked if role == "prop"]
    built.camera = _seen(record, actors, props, _standing(record, built))
    built.volumes = build_air(record.effects, record.room, record.frames, record.fps)
    built.exposure = _exposed(record, built.volumes)
    for thing, role in built.tracked:
        if role == "checker":
            _shine(thing, built.exposure)
    bpy.context.scene.frame_set(1)
    return built


def _cleared(record: SceneDescription) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 1, record.frames
    scene.render.fps = max(1, round(record.fps))
    scene.render.fps_base = scene.render.fps / record.fps
    scene.render.resolution_x, scene.render.resolution_y = record.width, record.height
    scene.render.resolution_percentage = 100
    scene.render.engine = "CYCLES"
    scene.render.use_motion_blur = record.effects.motion_blur > 0
    scene.render.motion_blur_shutter = max(record.effects.motion_blur, 0.01)
    scene.view_settings.view_transform, scene.view_settings.look = "AgX", "AgX - Medium High Contrast"


def _populate(
    built: BuiltScene, record: SceneDescription, paint: Paint, assets: Path | None, simulation: Simulation
) -> list[Actor]:
    """All objects: actors pose, the others are put where they belong."""
    actors = []
    for thing in record.objects:
        if thing.motion.how in ("walk", "fly"):
            actor = build_actor(thing, paint, assets, record.frames, record.fps)
            actors.append(actor)
            built.tracked.append((actor.mesh, thing.role))
            continue
        made = _thing(thing, paint, assets)
        _put(made, thing, record)
        built.tracked.append((made, thing.role))
        simulation.add(thing, made)
    return actors


def _thing(record: Any, paint: Paint, assets: Path | None) -> Any:
    """A mesh centred on its bounding box, dressed."""
    if record.shape.form == "model":
        mesh, armature, actions = load_model(record.name, record.shape, assets)
        forget(actions)
        if armature is not None:
            mesh = _frozen(mesh, armature)
        dress_model(mesh, paint, record.material, record.name)
        return mesh
    made = mesh_object(record.name, solid(record.shape), 30.0 if record.shape.form in SHARP else 50.0)
    if record.role == "checker":
        made.data.materials.append(paint.shining(record.name, record.material))
    else:
        paint.dress(made, record.material, record.second)
    return made


def _frozen(mesh: Any, armature: Any) -> Any:
    """A skinned model that stands still, without its skeleton."""
    points, root = world_points(mesh), armature.parent
    middle = (points.min(0) + points.max(0)) / 2
    mesh.modifiers.clear()
    mesh.parent = None
    mesh.rotation_mode = "XYZ"
    mesh.matrix_world.identity()
    mesh.data.vertices.foreach_set("co", (points - middle).astype(np.float32).ravel())
    bpy.data.objects.remove(armature)
    bpy.data.objects.remove(root)
    return mesh


def _put(thing: Any, record: Any, scene: SceneDescription) -> None:
    """To its place: on the middle of its bottom, or, if it falls, on its middle; in a room, inside it."""
    thing.rotation_euler = [math.radians(angle) for angle in record.rotation]
    if record.motion.how == "cloth" and record.shape.body % 2:
        thing.rotation_euler = (math.radians(50), 0, math.radians(record.rotation[2]))  # a flag, about to swing
    thing.location = record.position
    if record.shape.form == "ground":
        return
    bpy.context.view_layer.update()
    corners = np.array(thing.bound_box) @ np.array(thing.matrix_world.to_3x3()).T
    place = np.array(record.position, dtype=float)
    if record.motion.how in ("still", "spin"):
        place[2] -= corners[:, 2].min()
    if scene.room is not None:
        high = np.array([scene.room.width, scene.room.depth, scene.room.height]) - corners.max(0) - 0.01
        low = 0.01 - corners.min(0)
        low[2] = -corners[:, 2].min()
        place = np.where(low < high, np.clip(place, low, high), place)
    thing.location = place
    if record.motion.how == "spin":
        angle = record.rotation[2] + record.motion.turning[2] * np.arange(scene.frames) / scene.fps
        turns = np.tile(np.radians(record.rotation), (scene.frames, 1))
        turns[:, 2] = np.radians(angle)
        key(thing, "rotation_euler", turns)


def _standing(record: SceneDescription, built: BuiltScene) -> list[Any]:
    """What stands around: furniture, scenery; not walls, nor what lies flat."""
    names = {
        thing.name for thing in record.objects if thing.role == "static" and thing.shape.form not in ("rug", "picture")
    }
    return [thing for thing, _ in built.tracked if thing.name in names]


def _seen(record: SceneDescription, actors: list[Actor], props: list[Any], things: list[Any]) -> Any:
    """The camera: aimed at the mean of who moves and what fell."""
    frames, wearer = record.frames, record.camera.wearer
    worn = next((actor for actor in actors if actor.record.name == wearer), None)
    others = [actor for actor in actors if actor is not worn]
    places = [actor.place + (0, 0, 0.55 * actor.tall) for actor in others if actor.place is not None]
    props_at, eyes, face = np.empty((frames, len(props), 3)), np.empty((frames, 3)), np.empty((frames, 3))
    scene = bpy.context.scene
    for frame in range(frames if props or worn else 0):
        scene.frame_set(frame + 1)
        graph = bpy.context.evaluated_depsgraph_get()
        for number, thing in enumerate(props):
            props_at[frame, number] = thing.evaluated_get(graph).matrix_world.translation
        if worn is not None:
            eyes[frame], face[frame] = _eyes(worn, graph)
    middle = np.asarray(record.camera.target)
    near = np.linalg.norm(props_at - middle, axis=-1, keepdims=True) < 3.0
    weight = 0.3 if places else 1.0
    total = np.where(near, props_at, 0).sum(1) * weight + sum(places, np.zeros((frames, 3)))
    count = near.sum(1) * weight + len(places)
    salient = np.where(count > 0, total / np.maximum(count, 1e-9), middle)
    walkers = [actor.place for actor in others if actor.place is not None]
    return build_camera(record, Surroundings(salient, walkers, _boxes(things), (eyes, face) if worn else None))


def _boxes(things: list[Any]) -> np.ndarray:
    """[B,2,3], the boxes of things in the world."""
    corners = [np.array(t.bound_box) @ np.array(t.matrix_world)[:3, :3].T + t.matrix_world.translation for t in things]
    return np.array([(c.min(0), c.max(0)) for c in corners]).reshape(-1, 2, 3)


def _eyes(actor: Actor, graph: Any) -> tuple[np.ndarray, np.ndarray]:
    """Place before the eyes, and where the face looks."""
    armature = actor.armature.evaluated_get(graph)
    bone = next(bone for bone in armature.pose.bones if bone.name.lower() == "head")
    to_world = np.array(armature.matrix_world)
    now, at_rest = np.array(bone.matrix), np.array(bone.bone.matrix_local)
    moved = (
        to_world[:3, :3]
        @ (now @ np.linalg.inv(at_rest))[:3, :3]
        @ np.linalg.inv(np.array(actor.armature.matrix_basis)[:3, :3])
    )
    face = moved @ np.array([0, -1.0, 0])
    face /= np.linalg.norm(face)
    head, tail = (to_world[:3, :3] @ np.array(end) + to_world[:3, 3] for end in (bone.head, bone.tail))
    return head + 0.55 * (tail - head) + face * 0.09 * actor.record.shape.size, face


def _exposed(record: SceneDescription, volumes: list[Any]) -> float:
    """Set the exposure: as described, or so that a tiny picture from the middle is of middle brightness."""
    scene = bpy.context.scene
    stops = record.effects.exposure
    if stops is None:
        middle = (record.frames + 1) // 2
        frames = (middle,) if record.frames < 120 else (middle // 2, middle + middle // 2)
        light = np.concatenate([_metered(frame, volumes) for frame in frames])
        grey = np.exp(np.log(light + 1e-3).mean())
        bright = np.percentile(light, 95)
        stops = float(np.clip(min(math.log2(MIDDLE_GREY / grey), math.log2(2.5 / max(bright, 1e-3))), -6, 8))
        stops = round(stops * 4) / 4
    scene.view_settings.exposure = stops
    return float(stops)


def _metered(frame: int, volumes: list[Any]) -> np.ndarray:
    """Luminance of a tiny rendering of one frame, before exposure."""
    scene = bpy.context.scene
    render, kept = scene.render, (scene.render.resolution_x, scene.render.resolution_y, scene.render.use_motion_blur)
    render.resolution_x, render.resolution_y, render.use_motion_blur = 48, max(16, round(48 * kept[1] / kept[0])), False
    scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.seed = 4, False, 0
    for thing in volumes:
        thing.hide_render = True
    scene.frame_set(frame)
    with tempfile.TemporaryDirectory() as folder:
        render.filepath = str(Path(folder) / "metered.exr")
        render.image_settings.file_format = "OPEN_EXR"
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(render.filepath)
        pixels = np.empty(len(image.pixels), dtype=np.float32)
        image.pixels.foreach_get(pixels)
        bpy.data.images.remove(image)
    for thing in volumes:
        thing.hide_render = False
    render.resolution_x, render.resolution_y, render.use_motion_blur = kept
    return np.asarray(pixels.reshape(-1, 4)[:, :3] @ np.array([0.2126, 0.7152, 0.0722]))


def _shine(thing: Any, stops: float) -> None:
    """The checker's colours come out the same at any exposure."""
    for node in thing.data.materials[0].node_tree.nodes:
        if node.type == "EMISSION":
            node.inputs["Strength"].default_value = 2.0**-stops
