"""Bodies of people, robots, four-legged animals and serpents: a skeleton drawn from a seed, one closed skin around it.

Limbs are capsules and muscles ellipsoids; their union is remeshed to one skin; vertices follow the bones near them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import bpy
import numpy as np

from .shapes import Geometry, capsule, ellipsoid, fitted, joined, superquadric, tube
from .surfaces import mesh_object

SHIRT, TROUSERS, SKIN, HAIR, SHOES, EYES = range(6)


class Bone(NamedTuple):
    """One bone at rest, in metres; who moves faces -Y, its left is +X."""

    head: np.ndarray
    tail: np.ndarray
    parent: str | None
    radius: float
    slot: int


class Body(NamedTuple):
    """Before Blender has it."""

    bones: dict[str, Bone]
    skin: Geometry
    weights: np.ndarray
    """[V,B], rows sum to one."""


def _mirror(bones: dict[str, Bone]) -> dict[str, Bone]:
    """Add to every `.L` bone its `.R`."""
    flip = np.array([-1.0, 1, 1])
    right = {
        name[:-1] + "R": bone._replace(
            head=bone.head * flip,
            tail=bone.tail * flip,
            parent=bone.parent[:-1] + "R" if bone.parent and bone.parent.endswith(".L") else bone.parent,
        )
        for name, bone in bones.items()
        if name.endswith(".L")
    }
    return {**bones, **right}


def human_proportions(seed: int) -> dict[str, float]:
    """Of one of endlessly many figures, relative to its height."""
    rng = np.random.default_rng(seed)
    heavy = rng.uniform(0.8, 1.35)
    return {
        "leg": rng.uniform(0.465, 0.525),
        "head": rng.uniform(0.118, 0.15),
        "shoulders": rng.uniform(0.095, 0.13),
        "hips": rng.uniform(0.048, 0.06) * (0.8 + 0.2 * heavy),
        "arm": rng.uniform(0.29, 0.34),
        "limb": heavy * rng.uniform(0.9, 1.1),
        "belly": rng.uniform(0.85, 1.15) * heavy,
        "chest": rng.uniform(0.9, 1.15) * math.sqrt(heavy),
        "bust": rng.uniform(0.0, 1.0) if rng.random() < 0.5 else 0.0,
        "nose": rng.uniform(0.5, 1.3),
        "foot": rng.uniform(0.125, 0.155),
        "hair": rng.uniform(-0.3, 0.55),
    }


def human_bones(p: dict[str, float]) -> dict[str, Bone]:
    """The skeleton of `human_proportions`, one unit high, arms spread."""
    leg, limb = p["leg"], p["limb"]
    neck = 1 - p["head"] - 0.035
    rise = neck - leg
    spine = [leg - 0.01, leg + 0.18 * rise, leg + 0.5 * rise, leg + 0.78 * rise, neck - 0.01, 1 - p["head"], 1.0]
    names = ("Hips", "Abdomen", "Torso", "Chest", "Neck", "Head")
    radii = (
        0.078 * p["belly"],
        0.07 * p["belly"],
        0.08 * p["chest"],
        0.085 * p["chest"],
        0.032 * limb**0.5,
        0.45 * p["head"],
    )
    slots = (TROUSERS, SHIRT, SHIRT, SHIRT, SKIN, SKIN)
    bones = {}
    for number, name in enumerate(names):
        ends = [np.array([0, 0.0, spine[number + step]]) for step in (0, 1)]
        bones[name] = Bone(ends[0], ends[1], names[number - 1] if number else None, radii[number], slots[number])
    high, upper = spine[4] - 0.015, 0.54 * p["arm"]
    x = [0.03, p["shoulders"], p["shoulders"] + upper, p["shoulders"] + p["arm"], p["shoulders"] + p["arm"] + 0.095]
    arm = (("Shoulder.L", "Chest", 0.04, SHIRT), ("UpperArm.L", "Shoulder.L", 0.032, SHIRT),
           ("LowerArm.L", "UpperArm.L", 0.024, SHIRT), ("Hand.L", "LowerArm.L", 0.022, SKIN))  # fmt: skip
    for number, (name, parent, radius, slot) in enumerate(arm):
        ends = [np.array([x[number + step], 0.0, high]) for step in (0, 1)]
        bones[name] = Bone(ends[0], ends[1], parent, radius * limb, slot)
    hip, knee, ankle = (np.array([p["hips"] * w, 0, z]) for w, z in ((1, leg - 0.02), (0.95, 0.53 * leg), (0.9, 0.048)))
    bones["UpperLeg.L"] = Bone(hip, knee, "Hips", 0.052 * limb, TROUSERS)
    bones["LowerLeg.L"] = Bone(knee, ankle, "UpperLeg.L", 0.036 * limb, TROUSERS)
    toe = ankle + (0.01, -p["foot"] * 0.72, -0.028)
    bones["Foot.L"] = Bone(ankle, toe, "LowerLeg.L", 0.026 * limb, SHOES)
    return _mirror(bones)


def _human_shells(bones: dict[str, Bone], p: dict[str, float]) -> list[Geometry]:
    """Limbs, muscles, head, hands and feet, overlapping."""
    limb, shells = p["limb"], []
    for name, bone in bones.items():
        if name.startswith(("UpperArm", "LowerArm", "UpperLeg", "LowerLeg")):
            shells.append(capsule(bone.head, bone.tail, bone.radius, bone.radius * (0.72 if "Lower" in name else 0.8)))
            if name.startswith("LowerLeg"):
                calf = bone.head * 0.7 + bone.tail * 0.3 + (0, 0.012, 0)
                shells.append(ellipsoid(calf, (0.036 * limb, 0.044 * limb, 0.08)))
        elif name.startswith("Shoulder"):
            shells.append(capsule(bone.head, bone.tail, 0.036 * limb, 0.043 * limb))
        elif name.startswith("Hand"):
            out = np.sign(bone.tail[0])
            shells.append(ellipsoid((bone.head + bone.tail) / 2, (0.05, 0.028, 0.014)))
            shells.append(capsule(bone.head + (out * 0.02, -0.01, 0), bone.head + (out * 0.05, -0.045, 0), 0.01, 0.008))
        elif name.startswith("Foot"):
            heel = bone.head + (0, 0.02, -0.024)
            shells.append(capsule(heel, bone.tail + (0, 0, -0.002), 0.024 * limb**0.3, 0.02, flat=1.0))
    hips, abdomen, torso, chest, neck, head = (bones[n] for n in ("Hips", "Abdomen", "Torso", "Chest", "Neck", "Head"))
    wide = p["hips"] + 0.045 * limb
    shells.append(ellipsoid(hips.head + (0, 0.008, 0.01), (wide, 0.075 * p["belly"], 0.075)))
    shells.append(ellipsoid((abdomen.head + abdomen.tail) / 2, (0.85 * wide, 0.064 * p["belly"], 0.1)))
    shells.append(ellipsoid(torso.tail - (0, 0, 0.01), (p["shoulders"] * 0.92, 0.066 * p["chest"], 0.11)))
    shells.append(ellipsoid(chest.tail - (0, 0, 0.035), (p["shoulders"] * 0.95, 0.056 * p["chest"], 0.05)))
    if p["bust"]:
        shells += [
            ellipsoid(chest.head + (x * 0.045, -0.05, 0), (0.034, 0.022 + 0.02 * p["bust"], 0.034)) for x in (-1, 1)
        ]
    shells.append(capsule(neck.head - (0, 0, 0.02), head.head + (0, -0.005, 0.03), neck.radius, neck.radius * 0.95))
    top, r = head.head, p["head"]
    shells.append(ellipsoid(top + (0, 0.006, 0.6 * r), (0.37 * r, 0.45 * r, 0.42 * r)))
    shells.append(ellipsoid(top + (0, -0.1 * r, 0.33 * r), (0.29 * r, 0.33 * r, 0.33 * r)))
    shells.append(ellipsoid(top + (0, -0.46 * r, 0.42 * r), (0.05 * r, 0.09 * r * p["nose"], 0.09 * r)))
    shells += [ellipsoid(top + (x * 0.38 * r, 0.02 * r, 0.45 * r), (0.04 * r, 0.08 * r, 0.12 * r)) for x in (-1, 1)]
    return shells


def _human_slots(
    body: np.ndarray, names: list[str], bones: dict[str, Bone], weights: np.ndarray, p: dict[str, float]
) -> np.ndarray:
    """Clothes of faces with centres `body` [F,3]: by the nearest bone; sleeves and legs are long or short."""
    slots = np.array([bones[name].slot for name in names])[weights.argmax(1)]
    rng = np.random.default_rng(int(p["nose"] * 1e6))
    sleeve, hem = rng.choice((0.35, 0.6, 1.0)), rng.choice((0.0, 0.0, 0.5, 0.9))
    arm = np.abs(body[:, 0]) > p["shoulders"] + sleeve * p["arm"] * 0.97
    slots[arm & (slots == SHIRT)] = SKIN
    low = bones["LowerLeg.L"]
    bare = (
        (slots == TROUSERS)
        & (body[:, 2] < low.tail[2] + hem * (bones["UpperLeg.L"].head[2] - low.tail[2]) * 0.6)
        & (hem > 0)
    )
    slots[bare] = SKIN
    head, r = bones["Head"].head, p["head"]
    of_head = np.isin(np.array(names)[weights.argmax(1)], ("Head",))
    rise = (body[:, 2] - head[2]) / r
    slots[of_head & (rise > 0.62 - 0.9 * np.clip(body[:, 1] / r, -1, 1) * (0.6 + p["hair"]))] = HAIR
    return np.asarray(slots)


def humanoid(seed: int, height: float) -> Body:
    """A person in clothes."""
    p = human_proportions(seed)
    bones = human_bones(p)
    skin = remeshed(_human_shells(bones, p), 0.0135)
    weights = _follow(skin.vertices, bones)
    names = list(bones)
    centres = np.array([skin.vertices[list(face)].mean(0) for face in skin.faces])
    slots = _human_slots(centres, names, bones, _follow(centres, bones), p)
    skin = skin._replace(slots=slots.tolist())
    r, head = p["head"], bones["Head"].head
    eyes = joined(
        [ellipsoid(head + (x * 0.14 * r, -0.39 * r, 0.53 * r), (0.055 * r, 0.04 * r, 0.045 * r), 8) for x in (-1, 1)]
    )
    rigid = np.zeros((len(eyes.vertices), len(names)))
    rigid[:, names.index("Head")] = 1
    whole = joined([skin, eyes.coloured(EYES)])
    return _scaled(Body(bones, whole, np.concatenate([weights, rigid])), height)


def robot(seed: int, height: float) -> Body:
    """Rigid parts on the skeleton of a human."""
    rng = np.random.default_rng(seed)
    bones = human_bones(human_proportions(seed))
    names, parts, weights = list(bones), [], []
    square = rng.uniform(0.15, 0.9)
    for number, (name, bone) in enumerate(bones.items()):
        along = bone.tail - bone.head
        length = float(np.linalg.norm(along))
        thick = bone.radius * (1.3 if name.startswith(("Hips", "Torso", "Chest", "Abdomen")) else 1.1)
        size = np.where(np.abs(along) > 0.5 * length, length * 0.92 + 0.01, 2 * thick)
        if name in ("Chest", "Torso", "Hips"):
            size[0] *= 1.45
        part = fitted(superquadric(square, square, 10, 16), 1.0, tuple(size))
        part = part.scaled(float(size.max())).moved(tuple(bone.head + along / 2))
        joint = ellipsoid(bone.head, (thick * 0.75,) * 3, 8).coloured(1)
        for piece, slot in ((part, (0, 1, 0, 2)[number % 4]), (joint, 1)):
            parts.append(piece.coloured(slot))
            rigid = np.zeros((len(piece.vertices), len(names)))
            rigid[:, number] = 1
            weights.append(rigid)
    for x in (-1, 1):
        eye = ellipsoid(bones["Head"].head + (x * 0.025, -0.055, 0.08), (0.014, 0.014, 0.014), 8).coloured(EYES)
        parts.append(eye)
        weights.append(np.tile(np.eye(len(names))[names.index("Head")], (len(eye.vertices), 1)))
    return _scaled(Body(bones, joined(parts), np.concatenate(weights)), height)


def quadruped(seed: int, length: float) -> Body:
    """A dog, a horse, a giraffe, something between: body, neck, head, tail and four legs of three bones."""
    rng = np.random.default_rng(seed)
    leg, girth, neck = rng.uniform(0.3, 0.62), rng.uniform(0.09, 0.17), rng.uniform(0.16, 0.45)
    rise, head, tail = rng.uniform(0.2, 1.2), rng.uniform(0.14, 0.24), rng.uniform(0.1, 0.5)
    back, front, high = 0.35, -0.35, leg + girth * 0.55

    def at(y: float, z: float, x: float = 0.0) -> np.ndarray:
        return np.array([x, y, z])

    bones = {
        "Hips": Bone(at(back, high), at(back - 0.23, high + 0.01), None, girth, 0),
        "Torso": Bone(
            at(back - 0.23, high + 0.01), at(back - 0.46, high + 0.01), "Hips", girth * rng.uniform(0.9, 1.15), 0
        ),
        "Chest": Bone(at(back - 0.46, high + 0.01), at(front, high + 0.02), "Torso", girth * 1.1, 0),
    }
    up = at(-math.cos(rise), math.sin(rise))
    base = at(front - 0.02, high + 0.05)
    half, crown = base + up * neck / 2, base + up * neck
    bones["Neck"] = Bone(base, half, "Chest", girth * 0.6, 0)
    bones["Neck2"] = Bone(half, crown, "Neck", girth * 0.48, 0)
    bones["Head"] = Bone(crown, crown + at(-head, -0.35 * head), "Neck2", head * 0.36, 0)
    point, droop = at(back + 0.03, high + 0.02), rng.uniform(-0.9, 0.7)
    for number in range(3):
        end = point + at(math.cos(droop - 0.2 * number), math.sin(droop - 0.2 * number)) * tail / 3
        bones[f"Tail{number}"] = Bone(
            point, end, f"Tail{number - 1}" if number else "Hips", 0.03 * (1 - 0.25 * number), 1
        )
        point = end
    wide, thick = girth * 0.62, rng.uniform(0.03, 0.05)
    for side, y, parent, bend in (("Front", front + 0.06, "Chest", 0.02), ("Back", back - 0.05, "Hips", -0.03)):
        joints = [
            at(y, high - 0.02, wide),
            at(y + bend, leg * 0.55, wide),
            at(y - bend * 0.6, leg * 0.14, wide),
            at(y - bend * 0.6 - 0.05, 0.018, wide),
        ]
        for number, part in enumerate(("Upper", "Lower", "Foot")):
            radius = thick * (1.35, 0.85, 0.65)[number]
            bones[f"{part}{side}.L"] = Bone(
                joints[number],
                joints[number + 1],
                f"{('Upper', 'Lower', 'Foot')[number - 1]}{side}.L" if number else parent,
                radius,
                1 if number == 2 else 0,
            )
    bones = _mirror(bones)
    return _scaled(_beast(bones, rng, head), length)


def _beast(bones: dict[str, Bone], rng: np.random.Generator, head: float) -> Body:
    """The skin of a four-legged skeleton."""
    shells = []
    for name, bone in bones.items():
        thin = 1.0 if name in ("Hips", "Torso", "Chest") else 0.75
        shells.append(capsule(bone.head, bone.tail, bone.radius, bone.radius * thin))
    crown, muzzle = bones["Head"].head, bones["Head"].tail
    ear = rng.uniform(0.15, 0.5) * head
    for x in (-1, 1):
        base = crown + (x * head * 0.22, -head * 0.05, head * 0.25)
        shells.append(capsule(base, base + (x * ear * 0.4, 0, ear), head * 0.1, head * 0.05))
    shells.append(ellipsoid(muzzle, (head * 0.2, head * 0.25, head * 0.18)))
    skin = remeshed(shells, 0.016)
    weights = _follow(skin.vertices, bones)
    names = list(bones)
    slots = np.array([bones[name].slot for name in names])[[weights[list(face)].sum(0).argmax() for face in skin.faces]]
    forward = (muzzle - crown) / np.linalg.norm(muzzle - crown)
    eyes = joined(
        [
            ellipsoid(crown + forward * head * 0.35 + (x * head * 0.27, 0, head * 0.14), (head * 0.07,) * 3, 8)
            for x in (-1, 1)
        ]
    )
    rigid = np.tile(np.eye(len(names))[names.index("Head")], (len(eyes.vertices), 1))
    whole = joined([skin._replace(slots=slots.tolist()), eyes.coloured(2)])
    return Body(bones, whole, np.concatenate([weights, rigid]))


SERPENT = 20


def serpent(seed: int, length: float) -> Body:
    """A chain of bones along -Y, thick in the middle."""
    rng = np.random.default_rng(seed)
    thick = rng.uniform(0.025, 0.06)
    ends = np.linspace(0.5, -0.5, SERPENT + 1)
    bones = {}
    for number in range(SERPENT):
        head, tail = (np.array([0, ends[number + step], thick]) for step in (0, 1))
        bones[f"Link{number}"] = Bone(head, tail, f"Link{number - 1}" if number else None, thick, 0)
    y = np.linspace(0.5, -0.5, 90)
    along = 0.5 - y
    radius = thick * np.clip(
        1.25 * np.sin(math.pi * (0.03 + 0.72 * along)) + 0.25 * np.exp(-(((along - 0.93) / 0.05) ** 2)), 0.1, None
    )
    skin = tube(np.stack([np.zeros(90), y, np.full(90, thick)], -1), radius, 18, 0.85)
    slots = [int(skin.vertices[list(face)][:, 2].mean() < thick * 0.7) for face in skin.faces]
    position = np.clip((0.5 - skin.vertices[:, 1]) * SERPENT - 0.5, 0, SERPENT - 1)
    low = np.floor(position).astype(int).clip(0, SERPENT - 2)
    weights = np.zeros((len(position), SERPENT))
    rows = np.arange(len(position))
    weights[rows, low], weights[rows, low + 1] = 1 - (position - low), position - low
    eyes = joined(
        [ellipsoid((x * thick * 0.45, -0.46, thick * 1.35), (thick * 0.18,) * 3, 8).coloured(2) for x in (-1, 1)]
    )
    rigid = np.tile(np.eye(SERPENT)[-1], (len(eyes.vertices), 1))
    return _scaled(Body(bones, joined([skin._replace(slots=slots), eyes]), np.concatenate([weights, rigid])), length)


def remeshed(shells: list[Geometry], voxel: float) -> Geometry:
    """The union of closed shells as one smooth skin of quads of about `voxel`."""
    thing = mesh_object("shells", joined(shells), None)
    remesh = thing.modifiers.new("union", "REMESH")
    remesh.mode, remesh.voxel_size = "VOXEL", voxel
    smooth = thing.modifiers.new("smooth", "SMOOTH")
    smooth.factor, smooth.iterations = 0.5, 5
    mesh = thing.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
    vertices = np.empty(len(mesh.vertices) * 3)
    mesh.vertices.foreach_get("co", vertices)
    faces = [tuple(face.vertices) for face in mesh.polygons]
    bpy.data.objects.remove(thing)
    return Geometry(vertices.reshape(-1, 3), faces, [0] * len(faces))


def _follow(points: np.ndarray, bones: dict[str, Bone]) -> np.ndarray:
    """Weights [V,B]: of bones, by distance over their radius; limbs take nothing from the other side of the body."""
    distance = np.empty((len(points), len(bones)))
    for number, (name, bone) in enumerate(bones.items()):
        along = bone.tail - bone.head
        share = np.clip((points - bone.head) @ along / (along @ along), 0, 1)
        away = np.linalg.norm(points - bone.head - share[:, None] * along, axis=1)
        distance[:, number] = away / bone.radius**0.5
        if name.endswith((".L", ".R")):
            sign = 1 if name.endswith(".L") else -1
            distance[sign * points[:, 0] < -0.004, number] = np.inf
    weights = 1 / np.maximum(distance, 1e-4) ** 7
    weights[weights < 0.02 * weights.max(1, keepdims=True)] = 0
    return np.asarray(weights / weights.sum(1, keepdims=True))


MAKERS = {"humanoid": humanoid, "robot": robot, "quadruped": quadruped, "serpent": serpent}


def build_body(name: str, shape: Any) -> tuple[Any, Any]:
    """A `Shape` of one of the four forms -> (mesh object, its armature), facing -Y, standing on z = 0."""
    body = MAKERS[shape.form](shape.body, shape.size)
    skin = mesh_object(name, body.skin, 35.0 if shape.form == "robot" else 180.0)
    data = bpy.data.armatures.new(name + " bones")
    armature = bpy.data.objects.new(data.name, data)
    bpy.context.scene.collection.objects.link(armature)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    for bone_name, bone in body.bones.items():
        made = data.edit_bones.new(bone_name)
        made.head, made.tail = bone.head, bone.tail
        if bone.parent:
            made.parent = data.edit_bones[bone.parent]
    bpy.ops.object.mode_set(mode="OBJECT")
    for number, bone_name in enumerate(body.bones):
        group = skin.vertex_groups.new(name=bone_name)
        for vertex in np.flatnonzero(body.weights[:, number]).tolist():
            group.add([vertex], float(body.weights[vertex, number]), "REPLACE")
    skin.parent = armature
    skin.modifiers.new("bones", "ARMATURE").object = armature
    return skin, armature


def _scaled(body: Body, size: float) -> Body:
    """From units to metres: the longest side of the skin becomes `size`, its lowest point z = 0."""
    low, high = body.skin.vertices.min(0), body.skin.vertices.max(0)
    by = size / float((high - low).max())
    shift = np.array([0, 0, low[2]])
    bones = {
        name: bone._replace(head=(bone.head - shift) * by, tail=(bone.tail - shift) * by, radius=bone.radius * by)
        for name, bone in body.bones.items()
    }
    return Body(bones, body.skin._replace(vertices=(body.skin.vertices - shift) * by), body.weights)
