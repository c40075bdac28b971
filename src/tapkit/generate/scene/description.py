"""The description of one scene: all that Blender needs to build it, from a seed or from an edited file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .catalogue import Catalogue
from .plain import SceneError, check_choice, check_range, from_plain, to_plain
from .records import Camera, Effects, Light, Room, SceneObject, World

VERSION = 1
KINDS = ("outdoor", "indoor", "animals", "toys", "ego")


@dataclass(frozen=True)
class SceneDescription:
    """A scene of `frames` frames, numbered 1 to `frames` in Blender."""

    kind: str
    seed: int
    frames: int
    width: int
    height: int
    fps: float
    camera: Camera
    world: World
    lights: tuple[Light, ...]
    objects: tuple[SceneObject, ...]
    effects: Effects = field(default_factory=Effects)
    room: Room | None = None
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise SceneError(f"version {self.version} of scene descriptions is not known; this is version {VERSION}")
        check_choice("kind", self.kind, KINDS)
        check_range("frames", self.frames, 1, 100_000)
        for name in ("width", "height"):
            check_range(name, getattr(self, name), 16, 16_384)
        check_range("fps", self.fps, 1.0, 1000.0)
        if not self.objects:
            raise SceneError("a scene has one object at least")
        names = [thing.name for thing in self.objects]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SceneError(f"two objects are named {twice[0]!r}")
        if self.camera.wearer:
            worn = [thing for thing in self.objects if thing.name == self.camera.wearer]
            if not worn or worn[0].shape.form not in ("humanoid", "robot", "model"):
                raise SceneError(f"the camera's wearer {self.camera.wearer!r} is not a humanoid of the scene")

    def to_json(self) -> dict[str, Any]:
        """For `json.dumps`."""
        return dict(to_plain(self))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SceneDescription:
        """What `to_json` gave, or a human wrote.

        Raises:
            SceneError: in one sentence, which field is wrong and what it may be.
        """
        return from_plain(cls, dict(content) if isinstance(content, Mapping) else content)


def describe(
    kind: str,
    seed: int,
    index: int = 0,
    frames: int = 48,
    size: tuple[int, int] = (256, 256),
    fps: float = 30.0,
    assets: Path | Catalogue | None = None,
) -> SceneDescription:
    """The scene of a seed: the same arguments and the same names in the assets folder give the same description.

    Args:
        kind: outdoor, indoor, animals, toys or ego.
        seed, index: scene `index` of a set has seed `seed + index`.
        size: (width, height) in pixels.
        assets: a folder with models, photos, textures, hdri and panoramas, or its catalogue; None: all procedural.

    Raises:
        SceneError: an argument out of its range, or an assets folder that cannot be read.
    """
    from .kinds import PLANS  # plans import the records of this package

    check_choice("kind", kind, KINDS)
    catalogue = assets if isinstance(assets, Catalogue) else Catalogue.read(assets)
    plan = PLANS[kind](seed + index, catalogue)
    return SceneDescription(
        kind=kind,
        seed=seed + index,
        frames=frames,
        width=size[0],
        height=size[1],
        fps=float(fps),
        camera=plan.camera,
        world=plan.world,
        lights=tuple(plan.lights),
        objects=tuple(plan.objects),
        effects=plan.effects,
        room=plan.room,
    )
