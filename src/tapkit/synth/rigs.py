"""Skins and animations of GLB files: where the vertices of a model are at moments of its animations.

After the glTF 2.0 specification (Khronos Group, 2021): buffers and accessors (section 3.6), linear blend skinning
(3.7.3), animations and their interpolation (3.11 and appendix C).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MOMENTS = 24
"""Moments taken of each animation."""
MOST_ANIMATIONS = 16
"""Of models with more, as many spread over their list."""
SWAY = 0.9
"""Largest angle in radians by which joints are bent, and by which they swing, where a file has no animations."""
_JSON, _BINARY = 0x4E4F534A, 0x004E4942
_KINDS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_TRIANGLES = 4
_PARTS = {"translation": 3, "rotation": 4, "scale": 3}
_Moved = dict[int, dict[str, np.ndarray]]
"""Of nodes: what of their translation, rotation and scale moves, float64 [MOMENTS,3 or 4]."""


class Limb(NamedTuple):
    """One mesh of triangles on a skeleton, or on a node of it."""

    places: np.ndarray
    """float32 [V,3], as the file holds them."""
    faces: np.ndarray
    """int64 [F,3]."""
    moments: tuple[np.ndarray, ...]
    """float32 [MOMENTS,V,3] for each animation, in the space of the scene."""


class Rig(NamedTuple):
    """A model that moves."""

    limbs: tuple[Limb, ...]
    names: tuple[str, ...]
    """Of the animations: their number in the file, and what it calls them."""


def read_rig(path: str | Path, sways: int = 0) -> Rig | None:
    """The skinned model of a GLB file and all that hangs on its nodes; None: no skin, or nothing that moves it.

    Animations that last no time are left out. Moments are spread evenly over an animation, its end included.

    Args:
        path: of the file.
        sways: so many animations are made up where the file has none: every joint swings about an axis of its own.

    Raises:
        ValueError, KeyError, IndexError, TypeError: the file is not what the specification asks for.
        OSError: it cannot be read.
    """
    document = _Document(Path(path).read_bytes())
    tree = document.tree
    if not tree.get("skins"):
        return None
    lasting = [one for one in tree.get("animations", ()) if document.duration(one)[1] > document.duration(one)[0]]
    if lasting:
        kept = np.unique(np.linspace(0, len(lasting) - 1, MOST_ANIMATIONS).round().astype(int))
        motions = {f"{index} {lasting[index].get('name', '')}": _played(document, lasting[index]) for index in kept}
    else:
        motions = {f"sway {index}": _swaying(document, index) for index in range(sways)}
    if not motions:
        return None
    worlds = [_worlds(document, moved) for moved in motions.values()]
    limbs = [
        limb
        for index, node in enumerate(tree["nodes"])
        if "mesh" in node
        for limb in _limbs(document, index, node, worlds)
    ]
    return Rig(tuple(limbs), tuple(motions)) if limbs else None


class _Document:
    """The description and the numbers of a GLB file."""

    def __init__(self, data: bytes) -> None:
        if data[:4] != b"glTF" or len(data) < 20:
            raise ValueError("no GLB header")
        chunks: dict[int, bytes] = {}
        place = 12
        while place + 8 <= len(data):
            length, kind = np.frombuffer(data, "<u4", 2, place).tolist()
            chunks.setdefault(kind, data[place + 8 : place + 8 + length])
            place += 8 + length
        self.tree: dict[str, Any] = json.loads(chunks[_JSON])
        self._binary = chunks.get(_BINARY, b"")

    def numbers(self, index: int) -> np.ndarray:
        """The accessor `index`: float32 if it holds floats or shares of 1, else int64 -> [count] or [count,width]."""
        accessor = self.tree["accessors"][index]
        kind, width, count = _KINDS[accessor["componentType"]], _WIDTHS[accessor["type"]], accessor["count"]
        if "bufferView" in accessor:
            values = self._view(accessor["bufferView"], accessor.get("byteOffset", 0), kind, width, count)
        else:
            values = np.zeros((count, width), kind)
        sparse = accessor.get("sparse")
        if sparse:
            where, what = sparse["indices"], sparse["values"]
            many, offset = sparse["count"], where.get("byteOffset", 0)
            rows = self._view(where["bufferView"], offset, _KINDS[where["componentType"]], 1, many)[:, 0]
            values = values.copy()
            values[rows] = self._view(what["bufferView"], what.get("byteOffset", 0), kind, width, many)
        if accessor.get("normalized") and kind != "<f4":
            values = np.maximum(values.astype(np.float32) / np.iinfo(kind).max, -1)
        values = values.astype(np.float32 if values.dtype.kind == "f" else np.int64)
        return values[:, 0] if width == 1 else values

    def _view(self, index: int, offset: int, kind: str, width: int, count: int) -> np.ndarray:
        view = self.tree["bufferViews"][index]
        data = self._buffer(view["buffer"])
        size = np.dtype(kind).itemsize
        step = view.get("byteStride", size * width)
        first = view.get("byteOffset", 0) + offset
        if first < 0 or count < 1 or first + step * (count - 1) + size * width > len(data):
            raise ValueError("it ends before its numbers do")
        return np.ndarray((count, width), kind, data, first, (step, size))

    def _buffer(self, index: int) -> bytes:
        address = self.tree["buffers"][index].get("uri")
        if address is None:
            return self._binary
        if not address.startswith("data:"):
            raise ValueError("numbers in another file")
        return base64.b64decode(address.partition(",")[2])

    def duration(self, animation: dict[str, Any]) -> tuple[float, float]:
        """First and last second."""
        times = [self.numbers(sampler["input"]) for sampler in animation["samplers"]]
        return (min(float(each[0]) for each in times), max(float(each[-1]) for each in times)) if times else (0.0, 0.0)


def _played(document: _Document, animation: dict[str, Any]) -> _Moved:
    """An animation of the file."""
    times = np.linspace(*document.duration(animation), MOMENTS)
    moved: _Moved = {}
    for channel in animation["channels"]:
        target = channel["target"]
        if "node" in target and target["path"] in _PARTS:
            sampler = animation["samplers"][channel["sampler"]]
            values = _sampled(document, sampler, target["path"] == "rotation", times)
            if values.shape[1] != _PARTS[target["path"]]:
                raise ValueError(f"a {target['path']} of {values.shape[1]} numbers")
            moved.setdefault(target["node"], {})[target["path"]] = values
    return moved


def _swaying(document: _Document, number: int) -> _Moved:
    """Joints that hang on joints, turned by fixed angles and swinging about them; the last moment is the first one."""
    tree = document.tree
    joints = sorted({joint for skin in tree["skins"] for joint in skin["joints"]})
    hanging = {child for joint in joints for child in tree["nodes"][joint].get("children", ())}
    random = np.random.default_rng([number, len(joints)])
    round_ = np.linspace(0, 2 * np.pi, MOMENTS)
    moved: _Moved = {}
    for joint in joints:
        axis, (bend, swing) = _unit(random.normal(size=3)), SWAY * random.uniform(0, 1, 2) ** 2
        start, beats = random.uniform(0, 2 * np.pi), random.choice([1, 1, 2])
        if joint in hanging and "matrix" not in tree["nodes"][joint]:
            half = (bend + swing * np.sin(beats * round_ + start))[:, None] / 2
            turn = np.concatenate([np.sin(half) * axis, np.cos(half)], 1)
            rest = np.array(tree["nodes"][joint].get("rotation", [0, 0, 0, 1]), np.float64)
            moved[joint] = {"rotation": _product(rest, turn)}
    return moved


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of rotations [4] and [M,4] (x, y, z, w): first the right one -> [M,4]."""
    vector = left[3] * right[:, :3] + right[:, 3:] * left[:3] + np.cross(left[:3], right[:, :3])
    return np.concatenate([vector, left[3] * right[:, 3:] - right[:, :3] @ left[:3, None]], 1)


def _worlds(document: _Document, moved: _Moved) -> np.ndarray:
    """Where every node is at the moments -> float64 [MOMENTS,nodes,4,4]."""
    nodes = document.tree["nodes"]
    local = np.stack([_local(node, moved.get(index, {})) for index, node in enumerate(nodes)], 1)
    parent = {child: index for index, node in enumerate(nodes) for child in node.get("children", ())}
    world: dict[int, np.ndarray] = {}
    for index in range(len(nodes)):
        chain = [index]
        while chain[-1] in parent and parent[chain[-1]] not in world:
            chain.append(parent[chain[-1]])
            if len(chain) > len(nodes):
                raise ValueError("nodes that hang on themselves")
        for one in reversed(chain):
            world[one] = world[parent[one]] @ local[:, one] if one in parent else local[:, one]
    return np.stack([world[index] for index in range(len(nodes))], 1)


def _local(node: dict[str, Any], moved: dict[str, np.ndarray]) -> np.ndarray:
    """Transform of a node against its parent -> float64 [MOMENTS,4,4]."""
    if "matrix" in node and not moved:
        return np.tile(np.array(node["matrix"], np.float64).reshape(4, 4).T, (MOMENTS, 1, 1))

    def part(name: str, still: list[float]) -> np.ndarray:
        return moved[name] if name in moved else np.tile(np.array(node.get(name, still), np.float64), (MOMENTS, 1))

    x, y, z, w = _unit(part("rotation", [0, 0, 0, 1])).T
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    ).transpose(2, 0, 1)
    matrix = np.tile(np.eye(4), (MOMENTS, 1, 1))
    matrix[:, :3, :3] = turn * part("scale", [1, 1, 1])[:, None]
    matrix[:, :3, 3] = part("translation", [0, 0, 0])
    return matrix


def _unit(values: np.ndarray) -> np.ndarray:
    length: np.ndarray = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.maximum(length, 1e-12))


def _sampled(document: _Document, sampler: dict[str, Any], turns: bool, times: np.ndarray) -> np.ndarray:
    """A channel at times [M] -> float64 [M,3], or [M,4] where it turns. Before its first and after its last key
    it holds still (appendix C)."""
    keys = document.numbers(sampler["input"]).astype(np.float64)
    values = document.numbers(sampler["output"]).astype(np.float64)
    how = sampler.get("interpolation", "LINEAR")
    if len(values) != len(keys) * (3 if how == "CUBICSPLINE" else 1) or (np.diff(keys) < 0).any():
        raise ValueError("an animation whose keys and values do not go together")
    before = np.clip(np.searchsorted(keys, times, side="right") - 1, 0, len(keys) - 1)
    after = np.minimum(before + 1, len(keys) - 1)
    span = (keys[after] - keys[before])[:, None]
    share = np.clip((times - keys[before])[:, None] / np.where(span > 0, span, 1), 0, 1)
    if how == "CUBICSPLINE":
        into, value, out = values.reshape(len(keys), 3, -1).swapaxes(0, 1)
        t2, t3 = share**2, share**3
        found = (2 * t3 - 3 * t2 + 1) * value[before] + span * (t3 - 2 * t2 + share) * out[before]
        found = found + (3 * t2 - 2 * t3) * value[after] + span * (t3 - t2) * into[after]
        return _unit(found) if turns else found
    if how == "STEP":
        return values[before]
    if how != "LINEAR":
        raise ValueError(f"interpolation {how}")
    if turns:
        return _turned(values[before], values[after], share)
    return values[before] * (1 - share) + values[after] * share


def _turned(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Spherical interpolation of rotations [M,4] along the shorter way."""
    start, end = _unit(start), _unit(end)
    cosine = (start * end).sum(-1, keepdims=True)
    end, cosine = np.where(cosine < 0, -end, end), np.abs(cosine).clip(max=1)
    angle = np.arccos(cosine)
    straight = angle < 1e-4
    sine = np.where(straight, 1, np.sin(angle))
    left = np.where(straight, 1 - share, np.sin((1 - share) * angle) / sine)
    right = np.where(straight, share, np.sin(share * angle) / sine)
    return _unit(left * start + right * end)


def _limbs(document: _Document, index: int, node: dict[str, Any], worlds: list[np.ndarray]) -> list[Limb]:
    """The meshes of a node, moved."""
    tree = document.tree
    found = []
    for piece in tree["meshes"][node["mesh"]]["primitives"]:
        if piece.get("mode", _TRIANGLES) != _TRIANGLES:
            continue
        attributes = piece["attributes"]
        places = document.numbers(attributes["POSITION"])
        order = document.numbers(piece["indices"]) if "indices" in piece else np.arange(len(places))
        faces = order[: len(order) // 3 * 3].reshape(-1, 3)
        if len(faces) and not 0 <= faces.min() <= faces.max() < len(places):
            raise ValueError("triangles of vertices that are not there")
        whole = np.concatenate([places, np.ones_like(places[:, :1])], 1, dtype=np.float64)
        if "skin" in node and "JOINTS_0" in attributes:
            skin = tree["skins"][node["skin"]]
            moments = _skinned(document, skin, attributes, whole, worlds)
        else:
            moments = [whole @ world[:, index, :3].swapaxes(1, 2) for world in worlds]
        if not all(np.isfinite(each).all() for each in moments):
            raise ValueError("places that are not finite")
        found.append(Limb(places, faces, tuple(each.astype(np.float32) for each in moments)))
    return found


def _skinned(
    document: _Document, skin: dict[str, Any], attributes: dict[str, int], whole: np.ndarray, worlds: list[np.ndarray]
) -> list[np.ndarray]:
    """Vertices [V,4] carried by the joints of a skin -> [MOMENTS,V,3] each; where the mesh's own node is plays no
    part."""
    groups = [group for group in range(len(attributes)) if f"JOINTS_{group}" in attributes]
    joints = np.concatenate([document.numbers(attributes[f"JOINTS_{group}"]) for group in groups], 1)
    weights = np.concatenate([document.numbers(attributes[f"WEIGHTS_{group}"]) for group in groups], 1)
    if joints.shape != weights.shape or len(joints) != len(whole) or joints.max(initial=0) >= len(skin["joints"]):
        raise ValueError("a skin with joints that are not there")
    bind: np.ndarray = np.eye(4)
    if "inverseBindMatrices" in skin:
        bind = document.numbers(skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2).astype(np.float64)
        bind = bind[: len(skin["joints"])]
    # Exporters write 0 / 0 for vertices that no joint holds: the first joint carries them.
    weights = np.nan_to_num(weights.astype(np.float64), posinf=0, neginf=0).clip(min=0)
    weights[weights.sum(1) <= 0, 0] = 1
    weights /= weights.sum(1, keepdims=True)
    holds = []
    for joint in range(len(skin["joints"])):
        share = np.where(joints == joint, weights, 0).sum(1)
        rows = share.nonzero()[0]
        holds.append((rows, share[rows, None] * whole[rows]))
    found = []
    for world in worlds:
        bones = (world[:, skin["joints"]] @ bind)[:, :, :3]
        moved = np.zeros((len(whole), 3 * len(bones)))
        for joint, (rows, held) in enumerate(holds):
            moved[rows] += held @ bones[:, joint].reshape(-1, 4).T
        found.append(moved.reshape(len(whole), -1, 3).swapaxes(0, 1))
    return found
