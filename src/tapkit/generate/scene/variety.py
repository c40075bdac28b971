"""How much differs from scene to scene, counted: what a set of descriptions holds, and what there is to draw from."""

from __future__ import annotations

from collections.abc import Iterable

from .casting import PROPS
from .catalogue import Catalogue, Model
from .description import SceneDescription
from .records import ACTS, FURNITURE, LIGHTS, PATTERNS, RIGS

PUBLISHED = {
    "humanoid bodies": "42",
    "animals": "7",
    "things": "1000 and more, with textures",
    "rooms": "20, made by hand",
    "skies": "50",
}
"""What PointOdyssey's paper (arXiv 2307.15055) says of its own set, as remembered, not looked up."""
SEEDS = 2**31
"""Bodies, solids and skies are drawn from seeds below this."""


def reachable(catalogue: Catalogue) -> dict[str, int]:
    """What scenes are drawn from, by use; what is drawn from a seed without end counts as `SEEDS`."""
    return {
        "humanoid bodies": SEEDS,
        "people of files": len(catalogue.people),
        "animals of files": len(catalogue.animals + catalogue.swimmers + catalogue.fliers),
        "actions of files": sum(len(m.moving + m.resting) for m in _skinned(catalogue)),
        "things of files": len(catalogue.props + catalogue.furniture + catalogue.scenery),
        "forms of solids": len(PROPS),
        "forms of furniture": len(FURNITURE),
        "acts of humanoids": len(ACTS),
        "photographs and textures": len(catalogue.photos + catalogue.textures),
        "patterns": len([name for name in PATTERNS if name not in ("photo", "own")]),
        "photographed skies": len(catalogue.skies),
        "forms of lamps": len(LIGHTS),
        "rigs of cameras": len(RIGS),
    }


def _skinned(catalogue: Catalogue) -> tuple[Model, ...]:
    return catalogue.people + catalogue.animals + catalogue.swimmers + catalogue.fliers


def counted(scenes: Iterable[SceneDescription]) -> dict[str, int]:
    """What differs within a set of descriptions."""
    scenes = list(scenes)
    things = [thing for scene in scenes for thing in scene.objects]
    looks = [look for thing in things for look in (thing.material, thing.second) if look is not None]
    of = {role: [thing for thing in things if thing.role == role] for role in ("character", "animal", "prop", "static")}

    def shapes(role: str) -> int:
        return len({(thing.shape.form, thing.shape.file, thing.shape.body) for thing in of[role]})

    return {
        "scenes": len(scenes),
        "objects": len(things),
        "humanoid bodies": shapes("character"),
        "animals": shapes("animal"),
        "things": shapes("prop") + shapes("static"),
        "pictures": len({look.picture for look in looks if look.picture}),
        "materials": len(set(looks)),
        "rooms": len({scene.room for scene in scenes if scene.room is not None}),
        "skies": len({scene.world.light or scene.world.seed for scene in scenes}),
        "scenes with fog or smoke": sum(bool(scene.effects.fog or scene.effects.smoke) for scene in scenes),
        "scenes with motion blur": sum(scene.effects.motion_blur > 0 for scene in scenes),
        "scenes with depth of field": sum(scene.effects.depth_of_field > 0 for scene in scenes),
        "scenes with flickering or moving light": sum(
            any(light.flicker > 0 or light.circle > 0 for light in scene.lights) for scene in scenes
        ),
        "scenes with cloth or soft bodies": sum(
            any(thing.motion.how in ("cloth", "soft") for thing in scene.objects) for scene in scenes
        ),
    }
