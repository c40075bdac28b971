"""The simulated table: which boxes lie where, as data and as a MuJoCo model with an arm over it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from tapkit.apps.servo.sim import textures
from tapkit.errors import UsageError, require

BOX = (0.025, 0.025, 0.020)
"""Half sides of a box, metres."""
PAD = 0.055
"""Half side of the pad on which the box is to be put, metres."""
PAD_HEIGHT = 0.001
"""Half of how thick it is."""

AREA = 0.10
"""Boxes and the pad lie within so many metres of the middle of the table, in x and in y."""
APART = 0.125
"""Metres between the centres of two things at least."""

BASE = (-0.42, 0.0)
"""Where the arm stands, metres."""
LINK = 0.32
"""Length of each of its two links."""
HIGH = 0.45
"""How far the tips of the fingers are above the table when the lift is at its top."""
CAMERA_OFFSET = 0.05
"""How far the camera sits in front of the fingers, metres."""
CAMERA_HEIGHT = 0.14
"""How far it sits above their tips."""
FIELD_OF_VIEW = 75.0
"""Degrees, of the picture's height."""
OPENING = 0.042
"""How far an open finger is from the middle."""


class Place(NamedTuple):
    """Where something lies on the table: metres, and radians about the vertical, seen from above to the left."""

    x: float
    y: float
    turn: float


@dataclass(frozen=True)
class Scene:
    """What lies on the table, and how it looks. The same `looks` give the same pictures on box, pad and table."""

    box: Place
    pad: Place
    distractors: tuple[Place, ...] = ()
    looks: int = 0
    others: int = 1000
    """Number from which the distractors' pictures are made."""
    light: float = 0.3

    @classmethod
    def random(cls, seed: int, distractors: int = 0, turn: float = 35.0, looks: int = 0) -> Scene:
        """Things in random places, turned by at most `turn` degrees."""
        random = np.random.default_rng(seed)
        spots = _spots(random, 2 + distractors)
        turns = np.radians(turn) * random.uniform(-1, 1, len(spots))
        turns[2:] = random.uniform(-math.pi, math.pi, distractors)
        places = [Place(float(x), float(y), float(a)) for (x, y), a in zip(spots, turns, strict=True)]
        light = float(random.uniform(0.25, 0.4))
        return cls(places[0], places[1], tuple(places[2:]), looks, 1000 + 10 * seed, light)


def _spots(random: np.random.Generator, count: int) -> np.ndarray:
    """Places [count,2] far enough from one another: the box on the one half of the table, the pad on the other."""
    if count > 6:
        raise UsageError(f"no more than 4 distractors fit on the table, got {count - 2}")
    while True:
        found = [random.uniform((-AREA, 0.03), (AREA, AREA)), random.uniform((-AREA, -AREA), (AREA, -0.03))]
        if np.linalg.norm(found[0] - found[1]) < APART:
            continue
        for _ in range(300):
            if len(found) == count:
                return np.array(found)
            spot = random.uniform(-1.6 * AREA, 1.6 * AREA, 2)
            if all(np.linalg.norm(spot - other) > APART for other in found):
                found.append(spot)


@dataclass(frozen=True)
class Built:
    """A MuJoCo model of a scene, its state, and the library."""

    mujoco: ModuleType
    model: Any
    data: Any
    names: dict[str, int] = field(default_factory=dict)


def build(scene: Scene) -> Built:
    """The model. Raises `MissingExtra` where MuJoCo is not installed."""
    mujoco = require("mujoco", "robot")
    model = mujoco.MjModel.from_xml_string(_xml(scene))
    _paint(mujoco, model, scene)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return Built(mujoco, model, data)


def _paint(mujoco: ModuleType, model: Any, scene: Scene) -> None:
    """Put the pictures on: MuJoCo reads them when a renderer is made."""
    for number in range(model.ntex):
        name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_TEXTURE, number)
        seed = {"table": 1, "pad": 2, "box": 3}.get(name)
        if seed is None:
            random = np.random.default_rng((scene.others, int(name.removeprefix("other"))))
        else:
            random = np.random.default_rng((scene.looks, seed))
        side = int(model.tex_width[number])
        if name == "table":
            picture = textures.wood(random, side)
        elif name == "pad":
            picture = textures.card(random, side)
        else:
            picture = np.concatenate([textures.card(random, side) for _ in range(6)])
        start = int(model.tex_adr[number])
        model.tex_data[start : start + picture.size] = picture.ravel()


def _xml(scene: Scene) -> str:
    others = "".join(_box(f"other{n}", place) for n, place in enumerate(scene.distractors))
    painted = "".join(
        f'<texture name="{name}" type="cube" builtin="flat" width="96" height="576" rgb1="1 1 1" rgb2="1 1 1"/>'
        f'<material name="{name}" texture="{name}" specular="0.1" shininess="0.1"/>'
        for name in ("box", *(f"other{n}" for n in range(len(scene.distractors))))
    )
    flat = "".join(
        f'<texture name="{name}" type="2d" builtin="flat" width="{side}" height="{side}" rgb1="1 1 1" rgb2="1 1 1"/>'
        f'<material name="{name}" texture="{name}" specular="0" shininess="0"/>'
        for name, side in (("table", 512), ("pad", 96))
    )
    pad = scene.pad
    light = scene.light
    return f"""
<mujoco model="table">
  <option timestep="0.003" integrator="implicitfast" cone="elliptic" impratio="10" noslip_iterations="2"/>
  <visual>
    <headlight ambient="0.35 0.35 0.35" diffuse="0.40 0.40 0.40" specular="0 0 0"/>
    <quality shadowsize="1024" offsamples="2"/>
    <map znear="0.02" zfar="20"/>
    <global offwidth="1024" offheight="1024"/>
  </visual>
  <asset>{painted}{flat}</asset>
  <worldbody>
    <light pos="0.3 0.4 1.6" dir="-0.2 -0.25 -1" diffuse="{light} {light} {light}" specular="0 0 0"/>
    <camera name="room" pos="0.52 -0.62 0.5" xyaxes="0.77 0.64 0 -0.30 0.36 0.88" fovy="45"/>
    <geom name="table" type="box" pos="0 0 -0.02" size="0.45 0.45 0.02" material="table" friction="0.8"/>
    <body name="pad" pos="{pad.x} {pad.y} {PAD_HEIGHT}" quat="{_quaternion(pad.turn)}">
      <geom type="box" size="{PAD} {PAD} {PAD_HEIGHT}" material="pad" friction="0.8"/>
    </body>
    {_box("box", scene.box)}{others}
    <body name="column" pos="{BASE[0]} {BASE[1]} 0">
      <geom type="cylinder" size="0.045 0.31" pos="0 0 0.31" rgba="0.3 0.33 0.36 1" contype="0" conaffinity="0"/>
      {_ARM}
    </body>
  </worldbody>
  <actuator>
    <position joint="shoulder" kp="400" kv="25"/>
    <position joint="elbow" kp="300" kv="18"/>
    <position joint="lift" kp="4000" kv="160"/>
    <position joint="wrist" kp="60" kv="2.5"/>
    <position joint="left" kp="600" kv="20" forcerange="-14 14"/>
    <position joint="right" kp="600" kv="20" forcerange="-14 14"/>
  </actuator>
</mujoco>"""


def _quaternion(turn: float) -> str:
    return f"{math.cos(turn / 2)} 0 0 {math.sin(turn / 2)}"


def _box(name: str, place: Place) -> str:
    size = " ".join(map(str, BOX))
    return (
        f'<body name="{name}" pos="{place.x} {place.y} {BOX[2]}" quat="{_quaternion(place.turn)}"><freejoint/>'
        f'<geom type="box" size="{size}" material="{name}" mass="0.06" friction="0.9 0.01 0.001" condim="4"/></body>'
    )


_LOOK = 'rgba="0.85 0.85 0.82 1" contype="0" conaffinity="0"'
_FINGER = """
<geom type="box" size="0.007 0.004 0.05" pos="0 {side}0.004 0.05" rgba="{colour} 1" mass="0.02"
 friction="1.2 0.02 0.001" condim="4"/>
<geom type="box" size="0.0072 0.0042 0.006" pos="0 {side}0.004 0.03" rgba="0.9 0.85 0.2 1" mass="0"
 contype="0" conaffinity="0"/>"""
_ARM = f"""
<body name="upper" pos="0 0 0.64" gravcomp="1">
 <joint name="shoulder" type="hinge" axis="0 0 1" damping="2" armature="0.05"/>
 <geom type="capsule" size="0.035" fromto="0 0 0 {LINK} 0 0" {_LOOK} mass="1"/>
 <body name="lower" pos="{LINK} 0 0" gravcomp="1">
  <joint name="elbow" type="hinge" axis="0 0 1" damping="2" armature="0.05"/>
  <geom type="capsule" size="0.03" fromto="0 0 0 {LINK} 0 0" {_LOOK} mass="0.8"/>
  <body name="quill" pos="{LINK} 0 {HIGH - 0.64}" gravcomp="1">
   <joint name="lift" type="slide" axis="0 0 1" damping="20" armature="0.2"/>
   <geom type="cylinder" size="0.014 0.2" pos="0 0 0.36" {_LOOK} mass="0.5"/>
   <body name="wrist" gravcomp="1">
    <joint name="wrist" type="hinge" axis="0 0 1" damping="0.2" armature="0.01"/>
    <site name="tip" pos="0 0 0" size="0.002" rgba="0 0 0 0"/>
    <geom type="box" size="0.012 0.055 0.012" pos="0 0 0.13" rgba="0.25 0.27 0.3 1" mass="0.2"
     contype="0" conaffinity="0"/>
    <camera name="wrist" pos="{CAMERA_OFFSET} 0 {CAMERA_HEIGHT}" fovy="{FIELD_OF_VIEW}"/>
    <geom type="box" size="0.012 0.012 0.010" pos="{CAMERA_OFFSET} 0 {CAMERA_HEIGHT + 0.03}" rgba="0.1 0.1 0.1 1"
     mass="0.05" contype="0" conaffinity="0"/>
    <body name="finger_left" pos="0 0 0" gravcomp="1">
     <joint name="left" type="slide" axis="0 1 0" range="0 {OPENING}" damping="5" armature="0.05"/>
     {_FINGER.format(side="", colour="0.55 0.57 0.6")}
    </body>
    <body name="finger_right" pos="0 0 0" gravcomp="1">
     <joint name="right" type="slide" axis="0 -1 0" range="0 {OPENING}" damping="5" armature="0.05"/>
     {_FINGER.format(side="-", colour="0.5 0.52 0.6")}
    </body>
   </body>
  </body>
 </body>
</body>"""
