"""Who and what plays in a scene: materials, people, animals, props and scenery, drawn one by one."""

from __future__ import annotations

import math

from .catalogue import Catalogue, Model
from .draw import Draw
from .records import Act, Gait, Material, Motion, SceneObject, Shape, Vector

PROCEDURAL = ("noise", "voronoi", "wave", "brick", "checker", "magic")
GROUNDS = ("rock", "sand", "trail", "grass", "gravel", "brick", "floor", "tile")
PROPS = ("box", "sphere", "cylinder", "cone", "torus", "superquadric", "rock", "knot", "text")
WORDS = ("TAP", "track", "any", "point", "A&B", "hello", "42", "xyz", "go!", "Q7")


class Cast:
    """Draws from one seed and one catalogue. Every object gets a name of its own."""

    def __init__(self, draw: Draw, catalogue: Catalogue) -> None:
        self.draw, self.catalogue = draw, catalogue
        self._count: dict[str, int] = {}

    def named(self, stem: str) -> str:
        """`stem-1`, `stem-2`, ..."""
        self._count[stem] = self._count.get(stem, 0) + 1
        return f"{stem}-{self._count[stem]}"

    # --- materials ---

    def pattern(self, cells: float, plain: float = 0.1) -> Material:
        """A procedural material with about `cells` cells a metre."""
        draw = self.draw
        count = draw.whole(2, 4)
        return Material(
            pattern="plain" if draw.happens(plain) else draw.one(PROCEDURAL),
            colours=tuple(draw.colour() for _ in range(count)),
            repeats=draw.log_number(cells / 2, cells * 2),
            roughness=draw.number(0.15, 0.95),
            metallic=draw.number(0.6, 1.0) if draw.happens(0.1) else 0.0,
            bump=draw.number(0.0, 0.15) / cells,
        )

    def surface(self, repeats: float, photo: float = 0.7, pictures: tuple[str, ...] | None = None) -> Material:
        """A photograph or a texture laid over a surface, or a pattern."""
        draw = self.draw
        if pictures is None:
            pictures = self.catalogue.textures if draw.happens(0.3) else self.catalogue.photos
        if not pictures or not draw.happens(photo):
            return self.pattern(repeats * 4)
        return Material(
            pattern="photo",
            colours=(draw.colour((0.0, 0.5), (0.6, 1.0)),),
            picture=draw.one(pictures),
            repeats=draw.log_number(repeats * 0.6, repeats * 1.6),
            roughness=draw.number(0.3, 0.95),
            bump=draw.number(0.0, 0.02) / repeats,
        )

    def ground(self) -> Material:
        """Soil, rock, sand, grass; or a pattern where there are no textures."""
        wanted = tuple(file for file in self.catalogue.textures if any(word in file for word in GROUNDS))
        material = self.surface(0.35, photo=0.85, pictures=wanted)
        return material if material.pattern == "photo" else self.pattern(1.5, plain=0.0)

    def own(self, overlay: float, repeats: float = 1.4) -> Material:
        """What the file says, with a photograph over it."""
        pictures = self.catalogue.photos + self.catalogue.textures
        picture = self.draw.one(pictures) if pictures and overlay > 0 else None
        return Material(
            "own", picture=picture, repeats=self.draw.log_number(repeats / 1.7, repeats * 1.7), overlay=overlay
        )

    # --- who moves ---

    def loop(
        self, inner: float, outer: float, height: tuple[float, float] = (0.0, 0.0), about: tuple[float, float] = (0, 0)
    ) -> tuple[Vector, ...]:
        """Way points around a place in one sense of rotation, so that a path turns but seldom crosses itself."""
        draw = self.draw
        count = draw.whole(4, 7)
        sense, start = (1 if draw.happens(0.5) else -1), draw.number(0, 360)
        points = []
        for step in range(count):
            angle = math.radians(start + sense * (360 * step / count + draw.number(-20, 20)))
            radius = draw.number(inner, outer)
            x, y = about[0] + radius * math.cos(angle), about[1] + radius * math.sin(angle)
            points.append((round(x, 3), round(y, 3), draw.number(*height)))
        return tuple(points)

    def gait(self, running: bool = False) -> Gait:
        """Of a human."""
        draw = self.draw
        return Gait(
            frequency=draw.number(1.15, 1.5) if running else draw.number(0.75, 1.1),
            hip=draw.number(30, 42) if running else draw.number(18, 30),
            knee=draw.number(70, 100) if running else draw.number(45, 65),
            shoulder=draw.number(25, 45) if running else draw.number(12, 35),
            elbow=draw.number(50, 90) if running else draw.number(10, 45),
            sway=draw.number(2, 8),
            spine=draw.number(3, 10),
            lean=draw.number(5, 14) if running else draw.number(-2, 7),
            phase=draw.number(0, 1),
        )

    def acts(self, stays: bool = False) -> tuple[Act, ...]:
        """Walks or runs, with pauses in which a body does something else; or only the latter."""
        draw = self.draw
        what = []
        for _ in range(draw.whole(2, 4)):
            if not stays:
                what.append(Act("run" if draw.happens(0.2) else "walk", draw.number(1.2, 5.0)))
            if stays or draw.happens(0.6):
                still = draw.one(("idle", "crouch", "wave", "dance", "reach", "dance"))
                what.append(Act(still, draw.number(1.0, 3.0), travels=False))
        return tuple(what)

    def person(
        self, path: tuple[Vector, ...], place: Vector = (0, 0, 0), acts: tuple[Act, ...] | None = None
    ) -> SceneObject:
        """A human of a file, a humanoid or a robot, walking `path`, or staying at `place`."""
        draw = self.draw
        if self.catalogue.people and draw.happens(0.4):
            return self._person_of_file(draw.one(self.catalogue.people), path, place, acts)
        robot = draw.happens(0.15)
        return SceneObject(
            name=self.named("robot" if robot else "person"),
            role="character",
            shape=Shape("robot" if robot else "humanoid", size=draw.number(1.55, 1.95), body=draw.seed()),
            material=self.surface(1.6, photo=0.75) if not robot else self.pattern(6),
            second=self.surface(1.6, photo=0.5),
            position=place,
            rotation=draw.turn(),
            motion=Motion("walk", path, acts or self.acts(stays=not path), self.gait(), pace=draw.number(0.85, 1.2)),
        )

    def _person_of_file(
        self, model: Model, path: tuple[Vector, ...], place: Vector, acts: tuple[Act, ...] | None
    ) -> SceneObject:
        draw = self.draw
        if model.moving or model.resting:
            acts = self.actions(model, stays=not path)
        return SceneObject(
            name=self.named("person"),
            role="character",
            shape=Shape("model", size=model.size or draw.number(1.6, 1.9), file=model.file),
            material=self.own(draw.number(0.3, 0.65)),
            position=place,
            rotation=draw.turn(),
            motion=Motion("walk", path, acts or self.acts(stays=not path), self.gait(), pace=draw.number(0.85, 1.2)),
        )

    def actions(self, model: Model, stays: bool) -> tuple[Act, ...]:
        """Actions of a model: some that get along, some that do not."""
        draw = self.draw
        acts = []
        for _ in range(draw.whole(1, 3)):
            if model.moving and not stays:
                acts.append(Act(draw.one(model.moving), draw.number(1.5, 5.0)))
            if model.resting and (stays or draw.happens(0.5)):
                acts.append(Act(draw.one(model.resting), draw.number(1.0, 2.5), travels=False))
        return tuple(acts) or tuple(Act(name, 2.0, travels=False) for name in (model.moving + model.resting)[:1])

    def animal(self, path: tuple[Vector, ...], place: Vector = (0, 0, 0)) -> SceneObject:
        """One of a file, or a four-legged body or a serpent."""
        draw = self.draw
        if self.catalogue.animals and draw.happens(0.75):
            model = draw.one(self.catalogue.animals)
            return self.beast(model, "walk", path, place)
        serpent = draw.happens(0.2)
        return SceneObject(
            name=self.named("serpent" if serpent else "animal"),
            role="animal",
            shape=Shape("serpent" if serpent else "quadruped", size=draw.number(1.2, 2.4), body=draw.seed()),
            material=self.surface(1.5, photo=0.6),
            second=self.pattern(8),
            position=place,
            rotation=draw.turn(),
            motion=Motion(
                "walk",
                path,
                (Act("walk", draw.number(2, 6)), Act("idle", draw.number(0.6, 1.5), travels=False)),
                Gait(
                    frequency=draw.number(0.8, 1.6),
                    hip=draw.number(14, 26),
                    knee=draw.number(20, 45),
                    sway=draw.number(2, 6),
                    spine=draw.number(3, 10),
                    phase=draw.number(0, 1),
                    footfall=draw.one(("walk", "trot")),
                ),
            ),
        )

    def beast(self, model: Model, how: str, path: tuple[Vector, ...], place: Vector = (0, 0, 0)) -> SceneObject:
        """An animal of a file, on the ground or in the air."""
        draw = self.draw
        acts = self.actions(model, stays=False) if how == "walk" else (Act(draw.one(model.moving), 4.0),)
        return SceneObject(
            name=self.named(how[:3] + "-animal"),
            role="animal",
            shape=Shape("model", size=(model.size or 1.2) * draw.number(0.85, 1.2), file=model.file),
            material=self.own(draw.number(0.5, 0.9), repeats=2.0),
            position=place,
            rotation=draw.turn(),
            motion=Motion(how, path, acts, pace=draw.number(0.8, 1.25)),
        )

    # --- what does not live ---

    def prop(
        self, place: Vector, size: tuple[float, float], how: str = "fall", scan: float = 0.5, calm: bool = False
    ) -> SceneObject:
        """A scanned thing or a solid, that falls; calmly: upright, without being thrown."""
        draw = self.draw
        model = draw.one(self.catalogue.props) if self.catalogue.props and draw.happens(scan) else None
        longest = draw.log_number(*size)
        motion = Motion(
            how,
            velocity=(0, 0, 0) if calm else (draw.number(-1, 1), draw.number(-1, 1), draw.number(-0.5, 1.0)),
            turning=(0, 0, 0) if calm else (draw.number(-200, 200), draw.number(-200, 200), draw.number(-200, 200)),
            mass=draw.log_number(0.5, 1.2),
        )
        if model is not None:
            scanned = model.name.startswith("scan")
            return SceneObject(
                name=self.named("scan" if scanned else "prop"),
                role="prop",
                shape=Shape("model", size=longest, file=model.file),
                material=self.own(0.0 if scanned else draw.number(0.3, 0.7)),
                position=place,
                rotation=draw.tumble() if how == "fall" and not calm else draw.turn(),
                motion=motion,
            )
        form = draw.one(PROPS)
        return SceneObject(
            name=self.named(form),
            role="prop",
            shape=Shape(
                form,
                size=longest,
                proportions=(draw.number(0.5, 1), draw.number(0.5, 1), draw.number(0.4, 1)),
                body=draw.seed(),
                text=draw.one(WORDS) if form == "text" else "",
            ),
            material=self.surface(1.2 / longest, photo=0.6),
            second=self.pattern(3 / longest),
            position=place,
            rotation=draw.tumble() if how == "fall" and not calm else draw.turn(),
            motion=motion,
        )

    def soft(self, place: Vector, size: float, how: str = "soft") -> SceneObject:
        """A jelly-like solid, or a cloth that falls over what stands below; a cloth of odd `body` is a flag."""
        draw = self.draw
        form = draw.one(("sphere", "box", "torus", "superquadric")) if how == "soft" else "cloth"
        return SceneObject(
            name=self.named(form),
            role="prop",
            shape=Shape(
                form, size=size, proportions=(1.0, draw.number(0.7, 1.0), draw.number(0.7, 1.0)), body=draw.seed()
            ),
            material=self.surface(1.0 / size, photo=0.7),
            position=place,
            rotation=draw.turn(),
            motion=Motion(how, mass=0.4),
        )

    def scenery(self, place: Vector) -> SceneObject:
        """Trees, bushes, tents, boulders."""
        draw = self.draw
        if self.catalogue.scenery and draw.happens(0.65):
            model = draw.one(self.catalogue.scenery)
            return SceneObject(
                name=self.named("scenery"),
                role="static",
                shape=Shape("model", size=(model.size or 2.0) * draw.number(0.7, 1.5), file=model.file),
                material=self.own(draw.number(0.2, 0.5)),
                position=place,
                rotation=draw.turn(),
            )
        form = draw.weighted({"tree": 0.45, "rock": 0.4, "box": 0.15})
        size = draw.number(2.5, 6.0) if form == "tree" else draw.log_number(0.5, 2.2)
        return SceneObject(
            name=self.named(form),
            role="static",
            shape=Shape(
                form,
                size=size,
                proportions=(draw.number(0.6, 1), draw.number(0.6, 1), draw.number(0.5, 1)),
                body=draw.seed(),
            ),
            material=self.surface(0.8),
            second=self.pattern(6),
            position=place,
            rotation=draw.turn(),
        )

    def checker(self, place: Vector, size: float = 0.3) -> SceneObject:
        """The ball that shines by itself, for the check of colours."""
        draw = self.draw
        dark, light = draw.colour((0.3, 0.9), (0.15, 0.4)), draw.colour((0.1, 0.6), (0.6, 0.85))
        return SceneObject(
            name="checker",
            role="checker",
            shape=Shape("sphere", size=size),
            material=Material("checker", colours=(dark, light), repeats=4.0 / size),
            position=place,
            rotation=draw.tumble(),
        )
