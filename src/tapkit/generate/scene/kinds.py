"""The five kinds of scene: where, who, under which light, seen from where."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from .casting import Cast
from .catalogue import Catalogue
from .draw import Draw
from .places import furnished
from .records import Act, Camera, Effects, Light, Motion, Room, SceneObject, Shape, Vector, World

CROWD = 26.0
"""Scenery stands within so many metres."""


@dataclass
class Plan:
    """A scene being put together."""

    cast: Cast
    camera: Camera
    world: World
    effects: Effects
    lights: list[Light] = field(default_factory=list)
    objects: list[SceneObject] = field(default_factory=list)
    room: Room | None = None


def _plan(kind: str, seed: int, catalogue: Catalogue) -> tuple[Plan, Draw]:
    draw = Draw("tapkit scene", kind, seed)
    cast = Cast(draw, catalogue)
    plan = Plan(cast, Camera("static"), world(draw, catalogue), effects(draw))
    return plan, draw


def world(draw: Draw, catalogue: Catalogue, indoors: bool = False) -> World:
    """A photographed sky, seen sharper in its panorama where there is one of the same name; or a procedural sky."""
    skies = catalogue.skies
    if not skies or draw.happens(0.12):
        return World(strength=draw.number(0.7, 1.3), turn=draw.number(0, 360, 1), seed=draw.seed())
    light = draw.one(skies)
    stem = light.rsplit("/", 1)[-1].rsplit(".", 1)[0].removesuffix("_512")
    seen = next((file for file in catalogue.panoramas if file.rsplit("/", 1)[-1].startswith(stem + ".")), None)
    return World(light, seen, strength=draw.number(0.6, 1.4), turn=draw.number(0, 360, 1), seed=draw.seed())


def effects(draw: Draw) -> Effects:
    """Mostly clear air; fog in one of eight, smoke in one of ten, blur in one of three."""
    smoke = tuple(draw.around(0.8, 2.5) for _ in range(draw.whole(1, 2))) if draw.happens(0.1) else ()
    return Effects(
        fog=draw.log_number(0.02, 0.12) if draw.happens(0.125) else 0.0,
        smoke=smoke,
        motion_blur=draw.number(0.2, 0.6) if draw.happens(0.35) else 0.0,
        depth_of_field=draw.log_number(1.4, 5.6) if draw.happens(0.2) else 0.0,
        kicks=draw.number(2.0, 4.0) if draw.happens(0.6) else 0.0,
        seed=draw.seed(),
    )


def lamps(draw: Draw, count: int, reach: float, energy: float) -> list[Light]:
    """Area and spot lights around the middle, some flickering, some moving."""
    made = []
    for _ in range(count):
        x, y = draw.number(-reach, reach), draw.number(-reach, reach)
        made.append(
            Light(
                draw.weighted({"area": 0.6, "spot": 0.25, "point": 0.15}),
                (x, y, draw.number(0.8, 1.0) * reach),
                round(energy * draw.number(0.7, 1.3), 2),
                colour=draw.warm(),
                size=draw.number(0.3, 1.5),
                flicker=draw.number(0.1, 0.5) if draw.happens(0.25) else 0.0,
                circle=draw.number(0.3, 0.5) * reach if draw.happens(0.25) else 0.0,
                seed=draw.seed(),
            )
        )
    return made


def sun(draw: Draw) -> Light:
    """Low or high, hard or hazy."""
    x, y, _ = draw.around(3, 12)
    return Light("sun", (x, y, draw.number(5, 12)), draw.number(1.5, 4.5), colour=draw.warm(), size=draw.number(0.5, 4))


def around_camera(draw: Draw, distance: tuple[float, float], height: tuple[float, float], target: float) -> Camera:
    """Outside the crowd, looking at it, on a rig that moves in four of five scenes."""
    rig = draw.weighted({"handheld": 0.5, "orbit": 0.2, "dolly": 0.12, "crane": 0.1, "static": 0.08})
    far = draw.number(*distance)
    angle = math.radians(draw.number(0, 360, 1))
    return Camera(
        rig,
        position=(round(far * math.cos(angle), 3), round(far * math.sin(angle), 3), draw.number(*height)),
        target=(draw.number(-0.2, 0.2), draw.number(-0.2, 0.2), target),
        follow=draw.number(0.5, 1.0),
        lens=draw.number(26, 46, 1),
        travel=draw.number(60, 200, 1) * draw.one((-1, 1)) if rig == "orbit" else draw.number(1.5, 5.0),
        shake=draw.number(0.3, 1.3),
        seed=draw.seed(),
    )


def territories(draw: Draw, count: int, reach: float) -> list[tuple[float, float, float]]:
    """`count` discs (x, y, radius) that do not touch, within `reach` of the origin: nobody walks through anybody."""
    if count == 1:
        return [(0.0, 0.0, reach)]
    side = math.sin(math.pi / count)
    away = reach / (1 + side)
    start = draw.number(0, 2 * math.pi)
    angles = [start + 2 * math.pi * number / count for number in range(count)]
    return [(away * math.cos(a), away * math.sin(a), 0.93 * away * side) for a in angles]


def _open_air(plan: Plan, draw: Draw) -> None:
    """Ground, scenery, sun and lamps."""
    cast = plan.cast
    ground = Shape("ground", size=120.0, body=draw.seed())
    plan.objects.append(SceneObject("ground", "ground", ground, cast.ground()))
    for _ in range(draw.whole(8, 18)):
        plan.objects.append(cast.scenery(draw.around(6.5, CROWD)))
    if draw.happens(0.6):
        plan.lights.append(sun(draw))
    plan.lights += lamps(draw, draw.whole(0, 2), 5.0, 900.0)


def _drops(plan: Plan, draw: Draw, count: int, size: tuple[float, float], reach: float, top: float) -> None:
    """Props in the air at the first frame, far enough from one another."""
    places: list[Vector] = []
    for _ in range(count * 30):
        place = draw.around(0.3 * reach, reach, draw.number(0.4, 1.0) * top)
        if all(math.dist(place, other) > size[1] * 1.05 for other in places):
            places.append(place)
        if len(places) == count:
            break
    plan.objects += [plan.cast.prop(place, size) for place in places]


def outdoor(seed: int, catalogue: Catalogue) -> Plan:
    """People and robots on open ground, things that fall and are kicked."""
    plan, draw = _plan("outdoor", seed, catalogue)
    _open_air(plan, draw)
    people, beasts = draw.whole(1, 3), int(draw.happens(0.25))
    for number, (x, y, radius) in enumerate(territories(draw, people + beasts, 2.4)):
        loop = plan.cast.loop(0.5 * radius, radius, about=(x, y))
        if number < beasts:
            plan.objects.append(plan.cast.animal(loop))
        elif people > 1 and draw.happens(0.25):
            plan.objects.append(plan.cast.person((), (round(x, 3), round(y, 3), 0.0)))
        else:
            plan.objects.append(plan.cast.person(loop))
    _drops(plan, draw, draw.whole(5, 8), (0.18, 0.7), 2.4, 2.2)
    if draw.happens(0.35):
        plan.objects.append(
            plan.cast.soft(draw.around(0.8, 2.0, draw.number(1.5, 2.2)), draw.number(0.9, 1.5), "cloth")
        )
    plan.objects.append(plan.cast.checker(draw.around(0.6, 1.6)))
    plan.camera = around_camera(draw, (3.4, 5.2), (0.7, 2.3), 0.8)
    return plan


def animals(seed: int, catalogue: Catalogue) -> Plan:
    """Animals on open ground, some in the air; or a school of fish in blue water."""
    plan, draw = _plan("animals", seed, catalogue)
    _open_air(plan, draw)
    cast = plan.cast
    if catalogue.swimmers and draw.happens(0.2):
        for _fish in range(draw.whole(4, 8)):
            loop = cast.loop(0.8, 2.6, (0.5, 2.4))
            plan.objects.append(cast.beast(draw.one(catalogue.swimmers), "fly", loop))
        plan.effects = Effects(fog=draw.number(0.04, 0.1), underwater=True, kicks=0.0, seed=draw.seed())
    else:
        for x, y, radius in territories(draw, draw.whole(2, 4), 3.0):
            plan.objects.append(cast.animal(cast.loop(0.6 * radius, radius, about=(x, y))))
        for _ in range(draw.whole(0, 2) if catalogue.fliers else 0):
            plan.objects.append(cast.beast(draw.one(catalogue.fliers), "fly", cast.loop(1.0, 3.0, (1.4, 2.4))))
    _drops(plan, draw, draw.whole(2, 5), (0.18, 0.6), 2.4, 2.0)
    plan.objects.append(cast.checker(draw.around(0.6, 1.6)))
    plan.camera = around_camera(draw, (3.1, 4.7), (0.5, 1.9), 0.5)
    return plan


def toys(seed: int, catalogue: Catalogue) -> Plan:
    """Many things fall, roll, bend and drape: a close look."""
    plan, draw = _plan("toys", seed, catalogue)
    cast = plan.cast
    floor = Shape("ground", size=60.0, body=0)  # flat
    plan.objects.append(SceneObject("ground", "ground", floor, cast.surface(0.5, photo=0.8)))
    _drops(plan, draw, draw.whole(9, 16), (0.2, 0.55), 1.3, 2.0)
    for _ in range(draw.whole(1, 3)):
        plan.objects.append(cast.prop(draw.around(0.3, 1.4), (0.4, 0.9), "still", scan=0.3))
    if draw.happens(0.6):
        plan.objects.append(cast.soft(draw.around(0.0, 0.9, draw.number(1.0, 1.6)), draw.number(0.35, 0.6)))
    if draw.happens(0.5):
        plan.objects.append(cast.soft(draw.around(0.0, 0.8, draw.number(1.2, 1.8)), draw.number(0.9, 1.3), "cloth"))
    plan.objects.append(cast.checker(draw.around(0.2, 0.9), 0.22))
    plan.lights += lamps(draw, draw.whole(1, 3), 3.0, 250.0)
    plan.camera = around_camera(draw, (1.7, 2.6), (0.8, 2.0), 0.25)
    return plan


def indoor(seed: int, catalogue: Catalogue) -> Plan:
    """A furnished room with windows, people in it."""
    plan, draw = _plan("indoor", seed, catalogue)
    middle = _inside(plan, draw)
    room = plan.room
    assert room is not None  # `_inside` has built it
    if draw.happens(0.35):
        wall = draw.whole(0, 1)
        corner = (
            room.width * wall + (0.3 - 0.6 * wall),
            draw.one((0.3, room.depth - 0.3)),
            room.height * draw.number(0.82, 0.92),
        )
        plan.camera = Camera("static", corner, middle, draw.number(0.4, 0.8), draw.number(20, 26, 1), seed=draw.seed())
        return plan
    rig = draw.weighted({"handheld": 0.6, "dolly": 0.25, "crane": 0.15})
    x, y = draw.one((0.7, room.width - 0.7)), draw.one((0.7, room.depth - 0.7))
    position = (round(x, 3), round(y, 3), draw.number(1.1, 1.8))
    travel = draw.number(1.0, 2.5)
    plan.camera = Camera(
        rig, position, middle, draw.number(0.4, 0.9), draw.number(22, 32, 1), travel, 1.0, seed=draw.seed()
    )
    return plan


def _inside(
    plan: Plan, draw: Draw, people: tuple[int, int] = (1, 3), share: float = 0.95, wider: float = 0.0
) -> Vector:
    """The room, its furniture, lights and people, who use `share` of its free floor -> the middle of that."""
    cast = plan.cast
    interior = furnished(cast, draw, wider)
    plan.room = interior.room
    plan.objects += interior.objects
    plan.lights += interior.lights
    middle_x, middle_y = interior.middle
    plan.effects = replace(plan.effects, fog=plan.effects.fog / 2, smoke=(), kicks=plan.effects.kicks * 0.7)
    for number, (x, y, radius) in enumerate(territories(draw, draw.whole(*people), interior.reach * share)):
        x, y = round(x + middle_x, 3), round(y + middle_y, 3)
        if number == 0:
            plan.objects.append(cast.person(cast.loop(0.6 * radius, radius, about=(x, y))))
        else:  # the floor is too small for two walks
            plan.objects.append(cast.person((), (x, y, 0.0)))
    for seat in interior.seats[: draw.whole(0, 1)]:
        acts = (Act("sit", draw.number(3, 8), travels=False),)
        sitter = cast.person((), seat.position, acts)
        if sitter.motion.acts == acts:
            plan.objects.append(replace(sitter, rotation=seat.rotation))
    for place in interior.shelves[: draw.whole(3, 6)]:
        plan.objects.append(cast.prop(place, (0.12, 0.3), scan=0.8, calm=True))
    for _ in range(draw.whole(1, 3)):
        x, y, z = draw.around(0.1, 0.8 * interior.reach, draw.number(1.2, 1.9))
        plan.objects.append(cast.prop((x + middle_x, y + middle_y, z), (0.2, 0.45)))
    x, y, _ = draw.around(0.1, 0.7 * interior.reach)
    plan.objects.append(cast.checker((round(x + middle_x, 3), round(y + middle_y, 3), 0.0), 0.26))
    return (middle_x, middle_y, draw.number(0.8, 1.1))


def ego(seed: int, catalogue: Catalogue) -> Plan:
    """Through the eyes of somebody who walks, indoors or out."""
    plan, draw = _plan("ego", seed, catalogue)
    cast = plan.cast
    if draw.happens(0.6):
        middle_x, middle_y, height = _inside(plan, draw, people=(1, 2), share=0.35, wider=1.2)
        room = plan.room
        assert room is not None
        reach = min(room.width, room.depth) / 2 - 1.5
        path = cast.loop(0.8 * reach, reach, about=(middle_x, middle_y))
    else:
        _open_air(plan, draw)
        beasts = int(draw.happens(0.5))
        for number, (x, y, radius) in enumerate(territories(draw, draw.whole(2, 3), 2.0)):
            loop = cast.loop(0.5 * radius, radius, about=(x, y))
            plan.objects.append(cast.animal(loop) if number < beasts else cast.person(loop))
        _drops(plan, draw, draw.whole(4, 7), (0.2, 0.6), 2.2, 2.0)
        plan.objects.append(cast.checker(draw.around(0.4, 1.4)))
        path, middle_x, middle_y, height = cast.loop(2.6, 3.6), 0.0, 0.0, 0.8
    wearer = SceneObject(
        name="wearer",
        role="character",
        shape=Shape("humanoid", size=draw.number(1.6, 1.9), body=draw.seed()),
        material=cast.surface(1.6),
        second=cast.surface(1.6),
        motion=Motion("walk", path, (Act("walk", draw.number(3, 8)), Act("reach", 1.5, travels=False)), cast.gait()),
    )
    plan.objects.append(wearer)
    plan.camera = Camera(
        "ego",
        target=(round(middle_x, 3), round(middle_y, 3), height),
        follow=draw.number(0.3, 0.8),
        lens=draw.number(20, 28, 1),
        shake=draw.number(0.6, 1.2),
        wearer="wearer",
        seed=draw.seed(),
    )
    return plan


PLANS: dict[str, Callable[[int, Catalogue], Plan]] = {
    "outdoor": outdoor,
    "indoor": indoor,
    "animals": animals,
    "toys": toys,
    "ego": ego,
}
