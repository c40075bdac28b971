"""What surrounds the scene: photographed or procedural skies, and lamps."""

from __future__ import annotations

import math
from typing import Any

import bpy
import mathutils
import numpy as np

from .keys import key
from .surfaces import Paint


def build_world(record: Any, paint: Paint) -> None:
    """The sky: it lights the scene, and the camera sees it, sharper where there is a panorama."""
    world = bpy.data.worlds.new("world")
    bpy.context.scene.world = world
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    nodes.clear()
    output = nodes.new("ShaderNodeOutputWorld")
    light = _background(world, paint.image(record.light) if record.light else procedural_sky(record.seed), record)
    if record.light is None or record.picture is None:
        links.new(light.outputs["Background"], output.inputs["Surface"])
        return
    seen = _background(world, paint.image(record.picture), record)
    path, mix = nodes.new("ShaderNodeLightPath"), nodes.new("ShaderNodeMixShader")
    links.new(path.outputs["Is Camera Ray"], mix.inputs[0])
    links.new(light.outputs["Background"], mix.inputs[1])
    links.new(seen.outputs["Background"], mix.inputs[2])
    links.new(mix.outputs["Shader"], output.inputs["Surface"])


def _background(world: Any, image: Any, record: Any) -> Any:
    nodes, links = world.node_tree.nodes, world.node_tree.links
    place, mapping = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeMapping")
    mapping.inputs["Rotation"].default_value = (0, 0, math.radians(record.turn))
    picture, background = nodes.new("ShaderNodeTexEnvironment"), nodes.new("ShaderNodeBackground")
    picture.image = image
    background.inputs["Strength"].default_value = record.strength
    links.new(place.outputs["Generated"], mapping.inputs["Vector"])
    links.new(mapping.outputs["Vector"], picture.inputs["Vector"])
    links.new(picture.outputs["Color"], background.inputs["Color"])
    return background


def procedural_sky(seed: int, height: int = 256) -> Any:
    """A gradient, clouds of noise, and one to three suns, as a float image [height, 2 height]."""
    rng = np.random.default_rng(seed)
    width = 2 * height
    latitude = (np.arange(height) + 0.5) / height * math.pi - math.pi / 2
    longitude = (np.arange(width) + 0.5) / width * 2 * math.pi
    ray = np.stack(
        [np.cos(latitude)[:, None] * np.cos(longitude), np.cos(latitude)[:, None] * np.sin(longitude),
         np.broadcast_to(np.sin(latitude)[:, None], (height, width))], -1,
    )  # fmt: skip
    zenith, horizon, below = rng.uniform(0.05, 0.6, 3), rng.uniform(0.5, 1.2, 3), rng.uniform(0.05, 0.4, 3)
    zenith[2] = max(zenith) * rng.uniform(1.0, 1.6)
    up = np.clip(ray[..., 2:], 0, 1) ** rng.uniform(0.4, 0.9)
    down = np.clip(-4 * ray[..., 2:], 0, 1)
    sky = np.where(ray[..., 2:] >= 0, horizon * (1 - up) + zenith * up, horizon * (1 - down) + below * down)
    cloud = np.zeros((height, width))
    for octave in range(6):
        waves = rng.normal(size=(6, 3)) * 2.0 * 1.9**octave
        cloud += (np.sin(ray @ waves.T + rng.uniform(0, 6.28, 6)) * 1.6**-octave).sum(-1) / 6
    share = np.clip((cloud - rng.uniform(-0.1, 0.2)) * 4, 0, 1)[..., None] * np.clip(ray[..., 2:] * 5, 0, 1)
    sky = sky * (1 - share) + rng.uniform(0.7, 1.6) * share
    for _sun in range(rng.integers(1, 4)):
        turn, high = rng.uniform(0, 2 * math.pi), rng.uniform(0.15, 1.3)
        towards = np.array([math.cos(high) * math.cos(turn), math.cos(high) * math.sin(turn), math.sin(high)])
        sharp = rng.uniform(60, 1500)
        sky = sky + (rng.uniform(3, 30) * np.exp(sharp * (ray @ towards - 1)))[..., None] * rng.uniform(0.6, 1.0, 3)
    image = bpy.data.images.new("sky", width, height, float_buffer=True)
    image.pixels.foreach_set(np.concatenate([sky, np.ones((height, width, 1))], -1).astype(np.float32).ravel())
    image.pack()
    return image


def build_light(record: Any, number: int, frames: int, fps: float) -> None:
    """One lamp, keyed if it flickers or moves."""
    form = record.form.upper()
    data = bpy.data.lights.new(f"lamp {number}", form)
    data.color, data.energy = record.colour, record.energy
    if form == "AREA":
        data.size = record.size
    elif form == "SUN":
        data.angle = math.radians(min(record.size, 90.0))
    else:
        data.shadow_soft_size = record.size / 2
    if form == "SPOT":
        data.spot_size, data.spot_blend = math.radians(75), 0.4
    thing = bpy.data.objects.new(data.name, data)
    bpy.context.scene.collection.objects.link(thing)
    rng = np.random.default_rng(record.seed)
    time = np.arange(frames) / fps
    if record.flicker > 0:
        waves = sum(np.sin(2 * math.pi * f * time + rng.uniform(0, 6.28)) for f in rng.uniform(0.7, 9.0, 6))
        key(data, "energy", record.energy * np.exp(record.flicker * np.asarray(waves) / math.sqrt(3)))
    angle = rng.uniform(0, 6.28) + 2 * math.pi * rng.uniform(0.05, 0.2) * time * rng.choice((-1, 1))
    place = np.tile(np.asarray(record.position, dtype=float), (frames, 1))
    place[:, 0] += record.circle * (np.cos(angle) - math.cos(angle[0]))
    place[:, 1] += record.circle * (np.sin(angle) - math.sin(angle[0]))
    away = np.asarray(record.target) - place
    turn = np.array([mathutils.Vector(one).to_track_quat("-Z", "Y")[:] for one in away])
    thing.rotation_mode = "QUATERNION"
    thing.location, thing.rotation_quaternion = place[0], turn[0]
    if record.circle > 0:
        key(thing, "location", place)
        key(thing, "rotation_quaternion", turn)
