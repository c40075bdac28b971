"""Furnished rooms: what stands along the walls, what hangs on them, where somebody can walk, sit and put things."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .casting import Cast
from .draw import Draw
from .records import Light, Room, SceneObject, Shape, Vector, Window

DEPTHS = {"table": 0.8, "shelf": 0.38, "sofa": 0.95, "bed": 1.0, "lamp": 0.45, "plant": 0.5, "chair": 0.55}
WIDTHS = {"table": 1.4, "shelf": 1.0, "sofa": 1.9, "bed": 2.0, "lamp": 0.45, "plant": 0.5, "chair": 0.5}
HEIGHTS = {"table": 0.74, "shelf": 1.9, "sofa": 0.85, "bed": 0.6, "lamp": 1.6, "plant": 1.2, "chair": 0.92}
TABLE = HEIGHTS["table"]


@dataclass(frozen=True)
class Seat:
    """Where somebody can sit."""

    position: Vector
    rotation: Vector


@dataclass
class Interior:
    """A room and what is in it."""

    room: Room
    objects: list[SceneObject] = field(default_factory=list)
    lights: list[Light] = field(default_factory=list)
    seats: list[Seat] = field(default_factory=list)
    shelves: list[Vector] = field(default_factory=list)
    """Places on tables."""

    @property
    def middle(self) -> tuple[float, float]:
        """Of the floor."""
        return (round(self.room.width / 2, 3), round(self.room.depth / 2, 3))

    @property
    def reach(self) -> float:
        """Radius of the floor that is free of furniture."""
        return min(self.room.width, self.room.depth) / 2 - 1.5

    def along(self, wall: int, where: float, away: float) -> tuple[float, float, float]:
        """x, y of a place `where` metres along a wall `away` from it; the turn of what stands there, back to it."""
        width, depth = self.room.width, self.room.depth
        return {
            0: (away, where, 90.0),
            1: (width - away, where, -90.0),
            2: (where, away, 180.0),
            3: (where, depth - away, 0.0),
        }[wall]

    def length(self, wall: int) -> float:
        """Of a wall, metres."""
        return self.room.depth if wall in (0, 1) else self.room.width


def furnished(cast: Cast, draw: Draw, wider: float = 0.0) -> Interior:
    """A room with windows, furniture along all walls, pictures, lamps, a rug; `wider` than others by so many metres."""
    interior = Interior(_shell(cast, draw, wider))
    for wall in range(4):
        _stand(interior, cast, draw, wall)
    _hang(interior, cast, draw)
    if draw.happens(0.7):
        size = 2 * interior.reach * draw.number(0.8, 1.2)
        rug = Shape("rug", size=round(size, 3), proportions=(1.0, draw.number(0.6, 1.0), 0.006 / size))
        place = (*interior.middle, 0.002)
        interior.objects.append(
            SceneObject(cast.named("rug"), "static", rug, cast.surface(0.5, photo=0.8), place, draw.turn())
        )
    _light(interior, draw)
    return interior


def _shell(cast: Cast, draw: Draw, wider: float) -> Room:
    width, depth = draw.number(5.0 + wider, 7.5 + wider, 2), draw.number(4.8 + wider, 6.5 + wider, 2)
    height = draw.number(2.5, 3.2, 2)
    windows = []
    for wall in draw.some((0, 1, 2, 3), draw.whole(1, 2)):
        length = depth if wall in (0, 1) else width
        count = draw.whole(1, 2)
        for number in range(count):
            wide = draw.number(0.9, 1.6)
            centre = round(length * (number + 0.5) / count, 3)
            windows.append(Window(wall, centre, draw.number(0.8, 1.0), wide, draw.number(1.0, 1.35)))
    walls = tuple(cast.surface(0.6, photo=0.5) for _ in range(draw.whole(1, 2)))
    return Room(width, depth, height, cast.ground(), walls, cast.pattern(2, plain=0.6), tuple(windows))


def _stand(interior: Interior, cast: Cast, draw: Draw, wall: int) -> None:
    """Furniture along one wall, from one end to the other."""
    where = draw.number(0.9, 1.4)
    while where < interior.length(wall) - 0.9:
        form = draw.weighted(
            {"table": 0.25, "shelf": 0.2, "sofa": 0.15, "bed": 0.08, "lamp": 0.1, "plant": 0.12, "chair": 0.1}
        )
        width = WIDTHS[form]
        if where + width > interior.length(wall) - 0.6:
            break
        if draw.happens(0.8):
            x, y, turn = interior.along(wall, where + width / 2, DEPTHS[form] / 2 + 0.06)
            _put(interior, cast, draw, form, (round(x, 3), round(y, 3), 0.0), turn)
        where += width + draw.number(0.15, 0.9)


def _put(interior: Interior, cast: Cast, draw: Draw, form: str, place: Vector, turn: float) -> None:
    models = {"chair": ("chair",), "sofa": ("couch",), "bed": ("bed", "bathtub"), "shelf": ("bookshelf",)}.get(form, ())
    found = [model for model in cast.catalogue.furniture if models and model.of(models)]
    if found and draw.happens(0.45):
        model = draw.one(found)
        shape, material = Shape("model", size=model.size or 1.0, file=model.file), cast.own(draw.number(0.3, 0.7))
    else:
        sides = (WIDTHS[form], DEPTHS[form], HEIGHTS[form])
        shape = Shape(form, size=max(sides), proportions=sides, body=draw.seed())
        material = cast.surface(1.0)
    rotation = (0.0, 0.0, turn)
    interior.objects.append(
        SceneObject(cast.named(form), "static", shape, material, place, rotation, second=cast.pattern(5))
    )
    if form == "chair" and shape.form == "chair":
        interior.seats.append(Seat(place, rotation))
    if form == "table":
        interior.shelves += [
            (round(place[0] + dx, 3), round(place[1] + dy, 3), TABLE + 0.2) for dx, dy in ((-0.18, -0.15), (0.2, 0.1))
        ]
        if draw.happens(0.6):
            _chair_at(interior, cast, draw, place, turn)
    if form == "lamp":
        bulb = (place[0], place[1], HEIGHTS["lamp"] - 0.15)
        flicker = draw.number(0.05, 0.4) if draw.happens(0.3) else 0.0
        light = Light(
            "point", bulb, draw.number(15, 45), colour=draw.warm(), size=0.15, flicker=flicker, seed=draw.seed()
        )
        interior.lights.append(light)


def _chair_at(interior: Interior, cast: Cast, draw: Draw, table: Vector, turn: float) -> None:
    """A chair before a table, its back to the room."""
    angle = math.radians(turn)
    away = DEPTHS["table"] / 2 + 0.28
    place = (round(table[0] + away * math.sin(angle), 3), round(table[1] - away * math.cos(angle), 3), 0.0)
    sides = (WIDTHS["chair"], DEPTHS["chair"], HEIGHTS["chair"])
    chair = Shape("chair", size=max(sides), proportions=sides, body=draw.seed())
    rotation = (0.0, 0.0, turn + 180.0)
    interior.objects.append(SceneObject(cast.named("chair"), "static", chair, cast.surface(1.5), place, rotation))
    interior.seats.insert(0, Seat(place, rotation))


def _hang(interior: Interior, cast: Cast, draw: Draw) -> None:
    """Pictures on walls, where there is no window."""
    for _ in range(draw.whole(2, 5)):
        wall = draw.whole(0, 3)
        where = draw.number(0.8, interior.length(wall) - 0.8)
        if any(w.wall == wall and abs(w.centre - where) < w.width / 2 + 0.6 for w in interior.room.windows):
            continue
        wide, high = draw.number(0.5, 1.0), draw.number(0.4, 0.7)
        x, y, turn = interior.along(wall, where, 0.025)
        place = (round(x, 3), round(y, 3), draw.number(1.25, 1.6))
        frame = Shape("picture", size=max(wide, high), proportions=(wide, 0.04, high))
        material = cast.surface(1.0 / wide, photo=1.0, pictures=cast.catalogue.photos or None)
        interior.objects.append(
            SceneObject(
                cast.named("picture"), "static", frame, material, place, (0.0, 0.0, turn), second=cast.pattern(20)
            )
        )


def _light(interior: Interior, draw: Draw) -> None:
    """One or two lamps at the ceiling."""
    room = interior.room
    for number in range(draw.whole(1, 2)):
        place = (
            round(room.width * (0.5 if number == 0 else draw.number(0.25, 0.75)), 3),
            round(room.depth * draw.number(0.35, 0.65), 3),
            room.height - 0.05,
        )
        interior.lights.append(
            Light("area", place, draw.number(60, 160), (place[0], place[1], 0.0), draw.warm(), draw.number(0.3, 1.2),
                  flicker=draw.number(0.1, 0.4) if draw.happens(0.25) else 0.0, seed=draw.seed())
        )  # fmt: skip
