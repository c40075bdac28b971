"""Meshes and materials in Blender: coordinates that stick to the surface, photographs, patterns, what shines."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from .shapes import Geometry

UV = "box"
"""The layer of texture coordinates that every mesh gets: metres, along the two axes that a face is nearest to."""


def mesh_object(name: str, geometry: Geometry, smooth: float | None = 40.0) -> Any:
    """A new object of the scene; edges sharper than `smooth` degrees stay edges, None: all do."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(geometry.vertices.tolist(), [], geometry.faces)
    mesh.update()
    mesh.polygons.foreach_set("material_index", np.asarray(geometry.slots, dtype=np.int32))
    mesh.validate()
    if smooth is not None:
        mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), dtype=bool))
        mesh.set_sharp_from_angle(angle=math.radians(smooth))
    thing = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(thing)
    project(mesh)
    return thing


def project(mesh: Any, scale: float = 1.0) -> None:
    """Give a mesh its texture coordinates; `scale`: metres of one unit of its coordinates."""
    points = np.empty(len(mesh.vertices) * 3, dtype=np.float32)
    mesh.vertices.foreach_get("co", points)
    corner = np.empty(len(mesh.loops), dtype=np.int32)
    mesh.loops.foreach_get("vertex_index", corner)
    normals = np.empty(len(mesh.polygons) * 3, dtype=np.float32)
    mesh.polygons.foreach_get("normal", normals)
    sides = np.empty(len(mesh.polygons), dtype=np.int32)
    mesh.polygons.foreach_get("loop_total", sides)
    axis = np.abs(normals.reshape(-1, 3)).argmax(1)
    first, second = np.array([1, 0, 0])[axis], np.array([2, 2, 1])[axis]
    points = points.reshape(-1, 3)[corner] * scale
    rows = np.arange(len(corner))
    first, second = np.repeat(first, sides), np.repeat(second, sides)
    layer = mesh.uv_layers.get(UV) or mesh.uv_layers.new(name=UV)
    layer.uv.foreach_set("vector", np.stack([points[rows, first], points[rows, second]], -1).ravel())


class Paint:
    """Makes materials; pictures are loaded once."""

    def __init__(self, assets: Path | None, seed: int) -> None:
        self.assets = assets
        self.rng = np.random.default_rng(seed)

    def dress(self, thing: Any, *materials: Any) -> None:
        """Give an object its materials; None: as the first."""
        if thing.data.materials:  # clearing would also forget which faces have which
            thing.data.materials.clear()
        made = [self.material(f"{thing.name} {number}", one) if one else None for number, one in enumerate(materials)]
        for one in made:
            thing.data.materials.append(one or made[0])

    def image(self, file: str) -> Any:
        """A picture of the assets folder.

        Raises:
            ValueError: it is not there, or is no picture.
        """
        if self.assets is None:
            raise ValueError(f"the scene wants {file}, but there is no assets folder")
        path = (self.assets / file).resolve()
        try:
            if not path.is_file():
                raise RuntimeError  # Blender says so too, but on standard output
            return bpy.data.images.load(str(path), check_existing=True)
        except RuntimeError:
            raise ValueError(f"{path} is not there or cannot be read as a picture") from None

    def material(self, name: str, look: Any) -> Any:
        """A `Material` record as a Blender material."""
        material = _empty(name)
        nodes, links = material.node_tree.nodes, material.node_tree.links
        shader = nodes.new("ShaderNodeBsdfPrincipled")
        output = nodes.new("ShaderNodeOutputMaterial")
        links.new(shader.outputs["BSDF"], output.inputs["Surface"])
        shader.inputs["Roughness"].default_value = look.roughness
        shader.inputs["Metallic"].default_value = look.metallic
        shader.inputs["Base Color"].default_value = (*look.colours[0], 1)
        if look.pattern != "plain":
            colour, height = self._pattern(material, look)
            links.new(colour, shader.inputs["Base Color"])
            if look.bump > 0:
                bump = nodes.new("ShaderNodeBump")
                bump.inputs["Distance"].default_value = look.bump
                links.new(height, bump.inputs["Height"])
                links.new(bump.outputs["Normal"], shader.inputs["Normal"])
        return material

    def _coordinates(self, material: Any, repeats: float, stretch: float = 1.0) -> Any:
        """Texture coordinates in repeats, shifted and turned at random; `stretch` is width over height of a picture."""
        nodes, links = material.node_tree.nodes, material.node_tree.links
        source = nodes.new("ShaderNodeUVMap")
        source.uv_map = UV
        mapping = nodes.new("ShaderNodeMapping")
        mapping.inputs["Location"].default_value = (*self.rng.uniform(0, 20, 2), 0)
        mapping.inputs["Scale"].default_value = (repeats, repeats * stretch, 1)
        links.new(source.outputs["UV"], mapping.inputs["Vector"])
        return mapping.outputs["Vector"]

    def picture(self, material: Any, file: str, repeats: float) -> Any:
        """Node of a picture, mirrored at its borders."""
        nodes, links = material.node_tree.nodes, material.node_tree.links
        image = self.image(file)
        node = nodes.new("ShaderNodeTexImage")
        node.image, node.extension = image, "MIRROR"
        links.new(self._coordinates(material, repeats, image.size[0] / max(image.size[1], 1)), node.inputs["Vector"])
        return node.outputs["Color"]

    def _pattern(self, material: Any, look: Any) -> tuple[Any, Any]:
        """Colour and height of a surface."""
        nodes, links = material.node_tree.nodes, material.node_tree.links
        if look.picture is not None:
            colour = self.picture(material, look.picture, look.repeats)
            return mixed(material, colour, (*look.colours[0], 1), 0.5, "MULTIPLY"), colour
        vector = self._coordinates(material, look.repeats)
        kinds = {
            "noise": ("ShaderNodeTexNoise", {"Scale": 1.0, "Detail": 6.0, "Roughness": 0.65}, "Fac"),
            "voronoi": ("ShaderNodeTexVoronoi", {"Scale": 1.0}, "Distance"),
            "wave": (
                "ShaderNodeTexWave",
                {"Scale": 0.3, "Distortion": float(self.rng.uniform(0, 8)), "Detail": 2.0},
                "Fac",
            ),
            "magic": ("ShaderNodeTexMagic", {"Scale": 0.6, "Distortion": float(self.rng.uniform(0.5, 2.5))}, "Fac"),
            "checker": ("ShaderNodeTexChecker", {"Scale": 1.0}, "Fac"),
            "brick": ("ShaderNodeTexBrick", {"Scale": 1.0, "Mortar Size": 0.03}, "Fac"),
        }
        identifier, inputs, output = kinds.get(look.pattern, kinds["noise"])
        node = nodes.new(identifier)
        for name, value in inputs.items():
            node.inputs[name].default_value = value
        links.new(vector, node.inputs["Vector"])
        colours = [(*colour, 1) for colour in look.colours]
        if look.pattern in ("brick", "checker"):
            names = ("Color1", "Color2", "Mortar") if look.pattern == "brick" else ("Color1", "Color2")
            for number, name in enumerate(names):
                node.inputs[name].default_value = colours[number % len(colours)]
            worn = self._wear(material, vector, node.outputs["Color"])
            return worn, node.outputs[output]
        ramp = nodes.new("ShaderNodeValToRGB")
        stops = ramp.color_ramp.elements
        while len(stops) < len(colours):
            stops.new(0.5)
        for number, colour in enumerate(colours):
            stops[number].position = (
                0.3 + 0.4 * number / max(len(colours) - 1, 1) if look.pattern == "noise" else number / len(colours)
            )
            stops[number].color = colour
        links.new(node.outputs[output], ramp.inputs["Fac"])
        return self._wear(material, vector, ramp.outputs["Color"]), node.outputs[output]

    def _wear(self, material: Any, vector: Any, colour: Any) -> Any:
        """Stains over a pattern, so that no two of its cells are the same."""
        nodes, links = material.node_tree.nodes, material.node_tree.links
        noise = nodes.new("ShaderNodeTexNoise")
        noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = 2.3, 8.0
        links.new(vector, noise.inputs["Vector"])
        return mixed(material, colour, noise.outputs["Color"], float(self.rng.uniform(0.15, 0.45)), "OVERLAY")

    def lay_over(self, material: Any, look: Any) -> None:
        """Mix a picture into the colour of a material that came with a model."""
        shader = (
            next((n for n in material.node_tree.nodes if n.type == "BSDF_PRINCIPLED"), None)
            if material.use_nodes
            else None
        )
        if shader is None:
            return
        shader.inputs["Metallic"].default_value = min(float(shader.inputs["Metallic"].default_value), 0.3)
        if look.picture is None:
            return
        target = shader.inputs["Base Color"]
        base = target.links[0].from_socket if target.is_linked else tuple(target.default_value)
        colour = mixed(material, self.picture(material, look.picture, look.repeats), base, 0.45, "MULTIPLY")
        material.node_tree.links.new(mixed(material, base, colour, look.overlay), target)

    def shining(self, name: str, look: Any) -> Any:
        """A checkerboard that is its own light: its colours depend on no lamp."""
        material = _empty(name)
        nodes, links = material.node_tree.nodes, material.node_tree.links
        node = nodes.new("ShaderNodeTexChecker")
        node.inputs["Scale"].default_value = 1.0
        for number, input_name in enumerate(("Color1", "Color2")):
            node.inputs[input_name].default_value = (*look.colours[number % len(look.colours)], 1)
        links.new(self._coordinates(material, look.repeats), node.inputs["Vector"])
        emission, output = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
        links.new(node.outputs["Color"], emission.inputs["Color"])
        links.new(emission.outputs["Emission"], output.inputs["Surface"])
        return material


def _empty(name: str) -> Any:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    material.node_tree.nodes.clear()
    return material


def mixed(material: Any, first: Any, second: Any, share: float, how: str = "MIX") -> Any:
    """Output of a node that mixes two colours; each is a socket or four numbers."""
    node = material.node_tree.nodes.new("ShaderNodeMix")
    node.data_type, node.blend_type = "RGBA", how
    node.inputs[0].default_value = share
    for number, colour in ((6, first), (7, second)):
        if isinstance(colour, tuple):
            node.inputs[number].default_value = colour
        else:
            material.node_tree.links.new(colour, node.inputs[number])
    return node.outputs[2]
