"""From demonstrations to a plan: track, cluster, find each stage's object, keep the paths of its points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tapkit.apps.servo.camera import Camera
from tapkit.apps.servo.control import Gains
from tapkit.apps.servo.demonstrations import Demonstration, check_demonstrations
from tapkit.apps.servo.paths import paths_of
from tapkit.apps.servo.plan import Plan, Stage
from tapkit.apps.servo.planar import PlanarOptions, cluster_planar
from tapkit.apps.servo.rigid import RigidOptions, cluster_rigid
from tapkit.apps.servo.stages import (
    Choice,
    Segment,
    find_object,
    retreats_of,
    segments,
)
from tapkit.apps.servo.tracking import PointTable, track_everywhere, track_from_ends
from tapkit.engine.tracker import Tracker
from tapkit.errors import UsageError

Draw = Literal["ends", "everywhere"]
DRAWS: tuple[Draw, ...] = ("ends", "everywhere")
Clustering = Literal["planar", "rigid"]
CLUSTERINGS: tuple[Clustering, ...] = ("planar", "rigid")

SEEN = 0.1
"""Points that are visible on no larger share of all frames are left out of the clustering."""
RETREAT = 0.1
"""Metres to go back after the gripper has acted, where the demonstrations do not say."""


@dataclass(frozen=True)
class LearnOptions:
    """How a plan is made. The defaults suit a CPU."""

    draw: Draw = "ends"
    """Where points are drawn: on the last frames of a stage and tracked backwards through it, or, as published, on
    frames of all demonstrations and tracked forwards through everything."""
    clustering: Clustering = "planar"
    """By similarities of the picture, or the published model of rigid bodies (minutes)."""
    clusters: int = 7
    step: int = 2
    """Use every n-th frame of the demonstrations."""
    pictures: int = 8
    """With "everywhere": frames of each demonstration on which points are drawn."""
    points: int = 48
    """Drawn on each picture."""
    active: int = 40
    """Points of a stage at most (published: 128)."""
    depth: float = 0.16
    """Metres from the camera to what it works on, roughly."""
    choice: Choice = field(default_factory=Choice)
    rigid: RigidOptions | None = None
    """For "rigid"; None: its own defaults, with `clusters`."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draw not in DRAWS:
            raise UsageError(f"draw must be one of {', '.join(DRAWS)}, got {self.draw!r}")
        if self.clustering not in CLUSTERINGS:
            raise UsageError(f"clustering must be one of {', '.join(CLUSTERINGS)}, got {self.clustering!r}")
        for name in ("clusters", "step", "pictures", "points"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.active < 4:
            raise UsageError(f"active must be at least 4 points, got {self.active}")


def learn(
    demonstrations: Sequence[Demonstration],
    tracker: Tracker,
    camera: Camera,
    options: LearnOptions | None = None,
    progress: Callable[[int, int], object] | None = None,
    gains: Gains | None = None,
) -> Plan:
    """The plan that the demonstrations show.

    Args:
        demonstrations: two or more (published: 4 to 6) of one task, in all of which the gripper closes and opens in the
            same order.
        tracker: any with sessions.
        camera: of the gripper; its pictures have the size of the demonstrations'.
        progress: called with frames tracked and frames in all.

    Raises `UsageError` for demonstrations that do not fit together, or a stage that is about no object.
    """
    options = options or LearnOptions()
    closes = check_demonstrations(demonstrations)
    if demonstrations[0].size != (camera.height, camera.width):
        height, width = demonstrations[0].size
        raise UsageError(f"the demonstrations are {width}x{height}, the camera {camera.width}x{camera.height}")
    used = [each.every(options.step) for each in demonstrations]
    check_demonstrations(used)
    retreats = [retreats_of(each) for each in used]
    parts = [segments(each, back) for each, back in zip(used, retreats, strict=True)]
    stages = [[each[k] for each in parts] for k in range(len(closes))]
    said = _Progress(progress, _frames(used, stages, options))
    tables = _tables(tracker, used, stages, options, said)
    made = []
    for k, (table, stage) in enumerate(zip(tables, stages, strict=True)):
        found = find_object(table, _labels(table, options), _of_table(stage, options), options.choice, k + 1)
        backs = [r for each in retreats if (r := each[k]) is not None]
        made.append(
            Stage(
                paths_of(table, found, used, stage, _of_table(stage, options), options.active, k + 1),
                "close" if closes[k] else "open",
                round(float(np.median(backs)), 3) if backs else RETREAT,
                options.depth,
                name=f"{'close' if closes[k] else 'open'} {k + 1}",
            )
        )
    return Plan(camera, tuple(made), gains or Gains())


class _Progress:
    def __init__(self, told: Callable[[int, int], object] | None, total: int) -> None:
        self.told, self.total, self.done = told, total, 0

    def __call__(self) -> None:
        self.done += 1
        if self.told is not None:
            self.told(self.done, self.total)


def _frames(used: Sequence[Demonstration], stages: Sequence[Sequence[Segment]], options: LearnOptions) -> int:
    if options.draw == "everywhere":
        return sum(len(each) for each in used)
    return sum(part.end - part.start + 1 for stage in stages for part in stage)


def _tables(
    tracker: Tracker,
    used: Sequence[Demonstration],
    stages: Sequence[Sequence[Segment]],
    options: LearnOptions,
    said: Callable[[], object],
) -> list[PointTable]:
    """The points of each stage; one table for all of them with "everywhere"."""
    if options.draw == "everywhere":
        table = track_everywhere(tracker, used, options.pictures, options.points, options.seed, said)
        return [table] * len(stages)
    return [
        track_from_ends(tracker, used, stage, options.points, options.seed + k, said) for k, stage in enumerate(stages)
    ]


def _of_table(stage: Sequence[Segment], options: LearnOptions) -> list[Segment]:
    """Where the stage lies in a table's frames."""
    if options.draw == "everywhere":
        return list(stage)
    return [Segment(0, part.end - part.start) for part in stage]


def _labels(table: PointTable, options: LearnOptions) -> np.ndarray:
    """Cluster of each point [N]; those hardly ever seen are a cluster of their own, the last one."""
    xy, visible = np.concatenate(table.xy, 1).astype(np.float64), np.concatenate(table.visible, 1)
    often = visible.mean(1) > SEEN
    labels = np.zeros(len(table), np.int64)
    if not often.any():
        return labels
    height, width = table.size
    if options.clustering == "planar":
        chosen = PlanarOptions(options.clusters, seed=options.seed)
        own = cluster_planar(xy[often] / width, visible[often], chosen)
    else:
        rigid = options.rigid or RigidOptions(options.clusters, options.clusters + 5, seed=options.seed)
        own = cluster_rigid(xy[often] / (width, height), visible[often], [x.shape[1] for x in table.xy], rigid)
    labels[often] = own
    labels[~often] = int(own.max()) + 1
    return labels
