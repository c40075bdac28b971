"""Objects that move exactly as told, with detections and points that are exact: association without a tracker."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tapkit.apps.objects import Detections, ObjectOptions, ObjectTracks, PointMOT, Points
from tapkit.types import VideoInfo

SIZE = (240, 320)


class World:
    """Boxes as functions of the frame. Points stick to the object in whose box they were put; of several the first."""

    def __init__(self, boxes: list[Callable[[int], tuple[float, float, float, float] | None]], frames: int) -> None:
        self.boxes, self.frames = boxes, frames

    def box(self, number: int, t: int) -> np.ndarray | None:
        found = self.boxes[number](t)
        return None if found is None else np.array(found, np.float64)

    def owner(self, t: int, place: np.ndarray) -> int | None:
        """The first object in whose box a place lies; None: the background."""
        for n in range(len(self.boxes)):
            box = self.box(n, t)
            if box is not None and (box[:2] <= place).all() and (place <= box[2:]).all():
                return n
        return None

    def truth(self) -> ObjectTracks:
        rows = [
            (t, n + 1, self.box(n, t))
            for t in range(self.frames)
            for n in range(len(self.boxes))
            if self.box(n, t) is not None
        ]
        count = len(rows)
        return ObjectTracks(
            np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), np.stack([r[2] for r in rows]),
            np.ones(count), np.full(count, ""), np.zeros(count, bool), VideoInfo(SIZE[1], SIZE[0], frames=self.frames),
        )  # fmt: skip


def follow(
    world: World,
    detections: Callable[[int], Detections],
    options: ObjectOptions | None = None,
    seen: Callable[[int, int], float] = lambda number, t: 1.0,
    free: bool = False,
) -> tuple[ObjectTracks, PointMOT]:
    """Run `PointMOT` over the world; `seen(number, t)` is how visible the points of an object are.

    Places are relative to the box of the object in which the point was put.
    """
    mot = PointMOT(SIZE, options, free=free)
    alive: dict[int, tuple[int | None, np.ndarray]] = {}
    for t in range(world.frames):
        keys, xy, visible = [], [], []
        for key, (number, place) in alive.items():
            box = None if number is None else world.box(number, t)
            keys.append(key)
            xy.append(place if box is None else box[:2] + place * (box[2:] - box[:2]))
            visible.append(float(number is None) if box is None else seen(number or 0, t))
        points = Points(np.array(keys, np.int64), np.array(xy).reshape(-1, 2), np.array(visible))
        changes = mot.step(t, detections(t), points)
        for key in changes.remove.tolist():
            del alive[key]
        for key, place in zip(changes.keys.tolist(), changes.xy, strict=True):
            alive[key] = _held(world, t, place)
    mot.finish()
    return mot.rows.table(VideoInfo(SIZE[1], SIZE[0], frames=world.frames)), mot


def _held(world: World, t: int, place: np.ndarray) -> tuple[int | None, np.ndarray]:
    """What holds a point, and where on it: a share of its box."""
    owner = world.owner(t, place)
    box = None if owner is None else world.box(owner, t)
    return owner, (place if box is None else (place - box[:2]) / (box[2:] - box[:2]))


def of_world(world: World, t: int) -> Detections:
    """Exact detections of everything."""
    boxes = [box for n in range(len(world.boxes)) if (box := world.box(n, t)) is not None]
    return Detections.of(np.stack(boxes)) if boxes else Detections.none()


def ids_of(objects: ObjectTracks, world: World, number: int) -> list[int]:
    """The ids that one object of the world was given, in order, without repetitions."""
    ids: list[int] = []
    for t in range(world.frames):
        box = world.box(number, t)
        here = objects.at(t)
        for row in range(len(here)):
            if box is not None and np.allclose(here.xyxy[row], box) and here.id[row] not in ids:
                ids.append(int(here.id[row]))
    return ids
