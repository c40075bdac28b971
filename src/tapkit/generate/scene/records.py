"""What a scene is made of, as frozen records. Lengths in metres, angles in degrees, Z is up, colours linear RGB 0..1.

Whoever or whatever moves faces -Y when it is not turned, as models in glTF files do once Blender has read them.
"""

from __future__ import annotations

from dataclasses import dataclass

from .plain import SceneError, check_choice, check_file, check_range

Vector = tuple[float, float, float]
Colour = tuple[float, float, float]

ROLES = ("character", "animal", "prop", "static", "ground", "checker")
PATTERNS = ("photo", "plain", "noise", "voronoi", "wave", "brick", "checker", "magic", "own")
SKINNED = ("humanoid", "robot", "quadruped", "serpent")
SOLIDS = ("box", "sphere", "cylinder", "cone", "torus", "superquadric", "rock", "knot", "text", "tree")
FURNITURE = ("table", "chair", "shelf", "sofa", "bed", "lamp", "picture", "rug", "plant")
FORMS = ("model", *SKINNED, *SOLIDS, *FURNITURE, "ground", "cloth")
MOTIONS = ("still", "fall", "walk", "fly", "cloth", "soft", "spin")
ACTS = ("walk", "run", "idle", "sit", "crouch", "wave", "dance", "reach")
RIGS = ("handheld", "orbit", "dolly", "crane", "ego", "static")
LIGHTS = ("area", "point", "spot", "sun")


@dataclass(frozen=True)
class Material:
    """How a surface looks."""

    pattern: str
    """photo: `picture`; own: what the model's file says, with `picture` laid over it if there is one; plain: the first
    colour; the others are patterns of Blender's nodes in the colours."""
    colours: tuple[Colour, ...] = ((0.5, 0.5, 0.5),)
    picture: str | None = None
    """A picture of the assets folder."""
    repeats: float = 1.0
    """How often the picture repeats along a metre; patterns have cells of about that size."""
    roughness: float = 0.6
    metallic: float = 0.0
    bump: float = 0.0
    """Metres of relief at full contrast."""
    overlay: float = 0.6
    """Share of `picture` over an own material."""

    def __post_init__(self) -> None:
        check_choice("pattern", self.pattern, PATTERNS)
        check_file("picture", self.picture)
        if not self.colours:
            raise SceneError("a material has one colour at least")
        if self.pattern == "photo" and self.picture is None:
            raise SceneError("a photo material names its picture")
        check_range("repeats", self.repeats, 1e-3, 1e3)
        for name in ("roughness", "metallic", "overlay"):
            check_range(name, getattr(self, name), 0.0, 1.0)
        check_range("bump", self.bump, 0.0, 1.0)


@dataclass(frozen=True)
class Shape:
    """What a surface is."""

    form: str
    """model: `file`; humanoid, robot, quadruped and serpent are bodies on an armature, drawn from `body`."""
    size: float = 1.0
    """Longest side of the bounding box at rest, in metres."""
    proportions: Vector = (1.0, 1.0, 1.0)
    """Sides relative to one another; of forms that are not bodies or models."""
    file: str | None = None
    body: int = 0
    """Seed of a body's or solid's details."""
    text: str = ""
    """Letters of the form text."""

    def __post_init__(self) -> None:
        check_choice("form", self.form, FORMS)
        check_file("file", self.file)
        if (self.form == "model") != (self.file is not None):
            raise SceneError("a model names its file, and nothing else does")
        if self.form == "text" and not self.text.strip():
            raise SceneError("the form text needs letters")
        check_range("size", self.size, 1e-3, 1e4)
        if min(self.proportions) <= 0 or self.body < 0:
            raise SceneError("proportions are positive, and body is not negative")


@dataclass(frozen=True)
class Act:
    """What a body does for a while."""

    what: str
    """An act of humanoids (walk, run, idle, sit, crouch, wave, dance, reach), or the name of an action of the model."""
    seconds: float
    travels: bool = True
    """Whether it moves along its path meanwhile."""

    def __post_init__(self) -> None:
        check_range("seconds", self.seconds, 0.05, 1e5)


@dataclass(frozen=True)
class Gait:
    """How a body with legs walks: amplitudes in degrees, by oscillators of one phase."""

    frequency: float = 1.0
    """Double steps a second."""
    hip: float = 25.0
    knee: float = 50.0
    shoulder: float = 25.0
    elbow: float = 25.0
    sway: float = 4.0
    spine: float = 5.0
    lean: float = 3.0
    phase: float = 0.0
    """Of the cycle, 0..1, at the first frame."""
    footfall: str = "walk"
    """Of quadrupeds: walk (four beats) or trot (diagonal pairs)."""

    def __post_init__(self) -> None:
        check_range("frequency", self.frequency, 0.05, 6.0)
        check_choice("footfall", self.footfall, ("walk", "trot"))
        for name in ("hip", "knee", "shoulder", "elbow", "sway", "spine"):
            check_range(name, getattr(self, name), 0.0, 120.0)
        check_range("lean", self.lean, -30.0, 45.0)


@dataclass(frozen=True)
class Motion:
    """How an object moves."""

    how: str = "still"
    """fall: a rigid body; cloth, soft: simulated; walk: on the ground along `path`; fly: in the air along it;
    spin: turns about the vertical."""
    path: tuple[Vector, ...] = ()
    """Way points of a closed, smooth path; fewer than three: stays at the object's place."""
    acts: tuple[Act, ...] = ()
    """One after the other, then again from the first."""
    gait: Gait = Gait()
    pace: float = 1.0
    """Factor on time: 2 does everything in half of it."""
    velocity: Vector = (0.0, 0.0, 0.0)
    """Of a falling body at the first frame, metres per second."""
    turning: Vector = (0.0, 0.0, 0.0)
    """Likewise, degrees per second; of spin: the third."""
    mass: float = 1.0
    """Kilograms."""

    def __post_init__(self) -> None:
        check_choice("how", self.how, MOTIONS)
        check_range("pace", self.pace, 0.05, 10.0)
        check_range("mass", self.mass, 1e-3, 1e4)


@dataclass(frozen=True)
class SceneObject:
    """One thing in the scene. Its tracks, masks and quotas go by `role`."""

    name: str
    role: str
    shape: Shape
    material: Material
    position: Vector = (0.0, 0.0, 0.0)
    """Middle of the bottom of its bounding box; of falling bodies, the middle of the box."""
    rotation: Vector = (0.0, 0.0, 0.0)
    """Degrees about X, then Y, then Z."""
    motion: Motion = Motion()
    second: Material | None = None
    """Trousers of a humanoid, the patches of an animal, the legs of a table."""

    def __post_init__(self) -> None:
        check_choice("role", self.role, ROLES)
        if not self.name or len(self.name) > 60:
            raise SceneError(f"names of objects have 1 to 60 characters, got {len(self.name)}")
        if self.motion.how == "walk" and self.role not in ("character", "animal"):
            raise SceneError("only characters and animals walk")
        if self.motion.how in ("walk", "fly") and not self.motion.acts:
            raise SceneError("who walks or flies has one act at least")
        if self.motion.how == "walk" and self.shape.form in ("humanoid", "robot"):
            for act in self.motion.acts:
                check_choice("an act of a humanoid", act.what, ACTS)
        if self.motion.how in ("cloth", "soft") and self.shape.form in ("model", *SKINNED):
            raise SceneError("cloth and soft bodies are solids or cloth, not models or bodies")


@dataclass(frozen=True)
class Window:
    """A hole in a wall."""

    wall: int
    """0: x = 0, 1: x = width, 2: y = 0, 3: y = depth."""
    centre: float
    """Metres along the wall."""
    sill: float
    width: float
    height: float


@dataclass(frozen=True)
class Room:
    """Four walls, a floor and a ceiling around x in 0..width, y in 0..depth."""

    width: float
    depth: float
    height: float
    floor: Material
    walls: tuple[Material, ...]
    """Used in turn."""
    ceiling: Material
    windows: tuple[Window, ...] = ()

    def __post_init__(self) -> None:
        for name, low in (("width", 1.5), ("depth", 1.5), ("height", 1.8)):
            check_range(name, getattr(self, name), low, 200.0)
        if not self.walls:
            raise SceneError("a room has one material for its walls at least")
        for window in self.windows:
            length = self.depth if window.wall in (0, 1) else self.width
            if window.wall not in (0, 1, 2, 3):
                raise SceneError(f"walls are numbered 0 to 3, got {window.wall}")
            inside = window.centre - window.width / 2 >= 0.05 and window.centre + window.width / 2 <= length - 0.05
            if not inside or not 0 < window.sill < window.sill + window.height < self.height:
                raise SceneError(f"a window of wall {window.wall} does not lie within it")


@dataclass(frozen=True)
class World:
    """What surrounds the scene and lights it."""

    light: str | None = None
    """An .hdr file of the assets folder; None: a procedural sky."""
    picture: str | None = None
    """A panorama that the camera sees instead of `light`."""
    strength: float = 1.0
    turn: float = 0.0
    """Degrees about the vertical."""
    seed: int = 0
    """Of the procedural sky."""

    def __post_init__(self) -> None:
        check_file("light", self.light)
        check_file("picture", self.picture)
        check_range("strength", self.strength, 0.0, 100.0)


@dataclass(frozen=True)
class Light:
    """One lamp."""

    form: str
    position: Vector
    energy: float
    """Watts; of a sun, watts per square metre."""
    target: Vector = (0.0, 0.0, 0.0)
    colour: Colour = (1.0, 1.0, 1.0)
    size: float = 0.5
    """Metres across: larger is softer. Of a sun: degrees."""
    flicker: float = 0.0
    """Deviation of the energy's logarithm, changing at about 6 Hz."""
    circle: float = 0.0
    """Radius of a horizontal circle on which it moves, metres."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("form", self.form, LIGHTS)
        check_range("energy", self.energy, 0.0, 1e6)
        check_range("size", self.size, 1e-3, 180.0)
        check_range("flicker", self.flicker, 0.0, 2.0)
        check_range("circle", self.circle, 0.0, 100.0)


@dataclass(frozen=True)
class Camera:
    """Where it is seen from."""

    rig: str
    """handheld: a random walk around the subjects with the shake of a hand; orbit, dolly and crane: smooth curves;
    ego: at the head of the object `wearer`; static: does not move."""
    position: Vector = (0.0, -4.0, 1.5)
    """At the first frame."""
    target: Vector = (0.0, 0.0, 0.8)
    """What it looks at, beside the subjects."""
    follow: float = 1.0
    """Share of the objects that move in what it looks at; 0: `target` alone."""
    lens: float = 30.0
    """Focal length in millimetres, for a sensor of 50 mm width."""
    travel: float = 4.0
    """Metres of path; of an orbit: degrees."""
    shake: float = 1.0
    """Factor on the shake of the hand."""
    wearer: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("rig", self.rig, RIGS)
        check_range("lens", self.lens, 8.0, 300.0)
        check_range("follow", self.follow, 0.0, 1.0)
        check_range("shake", self.shake, 0.0, 10.0)
        if (self.rig == "ego") != bool(self.wearer):
            raise SceneError("an ego camera names its wearer, and no other does")


@dataclass(frozen=True)
class Effects:
    """What stands between the surfaces and the picture. None of it is in the data passes."""

    fog: float = 0.0
    """Density, per metre."""
    smoke: tuple[Vector, ...] = ()
    """Where plumes rise."""
    motion_blur: float = 0.0
    """Shutter, in frames."""
    depth_of_field: float = 0.0
    """f-number; 0: everything is sharp."""
    kicks: float = 0.0
    """Metres per second that lying bodies are thrown up with every few seconds."""
    exposure: float | None = None
    """Stops; None: measured on the built scene."""
    underwater: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("fog", self.fog, 0.0, 5.0)
        check_range("motion_blur", self.motion_blur, 0.0, 2.0)
        check_range("depth_of_field", self.depth_of_field, 0.0, 64.0)
        check_range("kicks", self.kicks, 0.0, 20.0)
        if len(self.smoke) > 20:
            raise SceneError(f"at most 20 plumes of smoke, got {len(self.smoke)}")
