"""Fog, smoke and water: boxes of air whose density is noise that drifts, keyed."""

from __future__ import annotations

from typing import Any, NamedTuple

import bpy
import numpy as np

from .keys import key
from .shapes import box
from .surfaces import mesh_object

Triple = tuple[float, float, float]
OPEN_AIR: tuple[Triple, Triple] = ((60.0, 60.0, 12.0), (0.0, 0.0, 5.9))
"""Sides and middle of the fog where there is no room, metres."""
PLUME: Triple = (0.9, 0.9, 2.4)
SMOKE = 3.0
"""Density of a plume, per metre."""


class Air(NamedTuple):
    """One box of it."""

    name: str
    sides: Triple
    middle: Triple
    density: float
    """Mean, per metre."""
    colour: Triple
    grain: float
    """Waves of noise per metre."""
    rise: float
    """Metres per second."""
    plume: bool
    """Thin towards its sides and its top."""


def build_air(effects: Any, room: Any, frames: int, fps: float) -> list[Any]:
    """Fog and smoke -> their objects, to be hidden in data passes."""
    boxes = []
    if effects.fog > 0:
        sides, middle = OPEN_AIR
        if room is not None:
            sides = (room.width - 0.02, room.depth - 0.02, room.height - 0.02)
            middle = (room.width / 2, room.depth / 2, room.height / 2)
        colour = (0.55, 0.8, 1.0) if effects.underwater else (1.0, 1.0, 1.0)
        boxes.append(Air("fog", sides, middle, effects.fog, colour, 0.5, 0.05, plume=False))
    for number, (x, y, z) in enumerate(effects.smoke):
        middle = (x, y, z + PLUME[2] / 2 + 0.01)
        boxes.append(Air(f"smoke {number}", PLUME, middle, SMOKE, (0.7, 0.7, 0.7), 2.2, 0.6, plume=True))
    rng = np.random.default_rng(effects.seed)
    return [_build(air, rng, frames, fps) for air in boxes]


def _build(air: Air, rng: np.random.Generator, frames: int, fps: float) -> Any:
    thing = mesh_object(air.name, box(air.sides, air.middle), None)
    material = bpy.data.materials.new(air.name)
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    place, mapping = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeMapping")
    noise, ramp = nodes.new("ShaderNodeTexNoise"), nodes.new("ShaderNodeMapRange")
    volume, output = nodes.new("ShaderNodeVolumePrincipled"), nodes.new("ShaderNodeOutputMaterial")
    noise.inputs["Scale"].default_value = air.grain
    noise.inputs["Detail"].default_value = float(rng.uniform(1.5, 4.0))
    noise.inputs["Roughness"].default_value = float(rng.uniform(0.3, 0.7))
    for name, value in zip(("From Min", "From Max", "To Max"), (0.38, 0.75, air.density * 2), strict=True):
        ramp.inputs[name].default_value = value
    volume.inputs["Color"].default_value = (*air.colour, 1)
    volume.inputs["Anisotropy"].default_value = 0.2
    links.new(place.outputs["Object"], mapping.inputs["Vector"])
    links.new(mapping.outputs["Vector"], noise.inputs["Vector"])
    links.new(noise.outputs["Fac"], ramp.inputs["Value"])
    thickness = ramp.outputs["Result"]
    if air.plume:
        thickness = _faded(material, place, thickness, air)
    links.new(thickness, volume.inputs["Density"])
    links.new(volume.outputs["Volume"], output.inputs["Volume"])
    drift = rng.uniform(-0.15, 0.15, 3) + (0, 0, -air.rise)
    path = rng.uniform(-3, 3, 3) + np.arange(frames)[:, None] / fps * drift
    index = mapping.inputs.find("Location")
    key(material.node_tree, f'nodes["{mapping.name}"].inputs[{index}].default_value', path)
    thing.data.materials.append(material)
    return thing


def _faded(material: Any, place: Any, thickness: Any, air: Air) -> Any:
    """`thickness`, less towards the sides of the box."""
    nodes, links = material.node_tree.nodes, material.node_tree.links
    scaled = nodes.new("ShaderNodeMapping")
    scaled.inputs["Location"].default_value = tuple(-m / s * 2 for m, s in zip(air.middle, air.sides, strict=True))
    scaled.inputs["Scale"].default_value = tuple(2 / side for side in air.sides)
    links.new(place.outputs["Object"], scaled.inputs["Vector"])
    ball = nodes.new("ShaderNodeTexGradient")
    ball.gradient_type = "SPHERICAL"
    links.new(scaled.outputs["Vector"], ball.inputs["Vector"])
    product = nodes.new("ShaderNodeMath")
    product.operation = "MULTIPLY"
    links.new(thickness, product.inputs[0])
    links.new(ball.outputs["Fac"], product.inputs[1])
    return product.outputs[0]
