"""Carrying out a plan on a robot: find the points, follow the demonstration, grip, go back, next stage."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from tapkit.apps.servo.acquire import Located, closest, locate, locate_end, typical
from tapkit.apps.servo.camera import STILL, Robot, Velocity
from tapkit.apps.servo.follower import Follower, Moment
from tapkit.apps.servo.plan import Path2D, Plan, Stage
from tapkit.engine.control import Control
from tapkit.engine.run import run
from tapkit.engine.session import Session
from tapkit.engine.tracker import Tracker
from tapkit.errors import ShapeError, UsageError
from tapkit.video.base import Frame

ATTEMPTS = 3
"""How often a stage's points are looked for."""
LOOK = math.radians(40)
"""The hand is turned by so much before the second time, and by as much to the other side before the third."""
LOOKS = 6
"""How often the points are found anew at a stage's end at most: until nothing is left to do."""
EXACT = 0.5
"""Of the stage's tolerance, and of how much the points may be turned or wider at its end, once they have been found
anew on the picture of the end."""

Watch = Callable[[np.ndarray, int, Moment | None], object]
"""Called after every control step with the picture, the stage's number from 1, and what was decided."""
Where = Callable[[Tracker, Stage, np.ndarray, float], Located | None]


class StageReport(NamedTuple):
    """How one stage went."""

    name: str
    arrived: bool
    demo: int
    """Whose path was followed, from 0."""
    steps: int
    error: float
    """Mean distance of the points from their goals at the end, of the picture's width."""
    attempts: int


@dataclass(frozen=True)
class Outcome:
    """How it went: `done`, or `reason` says in one sentence why not."""

    done: bool
    reason: str
    stages: tuple[StageReport, ...]
    step_seconds: tuple[float, ...] = field(default=(), repr=False)
    """Of every control step: from the picture to the velocity."""
    step_cpu_seconds: tuple[float, ...] = field(default=(), repr=False)
    """The same as time of this thread: what it costs where nothing else runs."""
    search_seconds: tuple[float, ...] = field(default=(), repr=False)
    """Of every search for a stage's points, during which the hand stands still."""

    @property
    def step_cpu_ms(self) -> float:
        """Median time of a control step on the processor."""
        return 1e3 * float(np.median(self.step_cpu_seconds)) if self.step_cpu_seconds else 0.0

    @property
    def step_ms(self) -> float:
        """Median time of a control step."""
        return 1e3 * float(np.median(self.step_seconds)) if self.step_seconds else 0.0


def carry_out(
    robot: Robot,
    plan: Plan,
    tracker: Tracker,
    *,
    watch: Watch | None = None,
    control: Control | None = None,
    limit: float = 60.0,
) -> Outcome:
    """Carry out all stages; returns when done, or when one cannot be.

    Args:
        robot: its camera must be as large as the plan's.
        tracker: causal, so that a frame's points are known at once.
        watch: told what was seen and decided, at every step.
        control: pause, stop and cancel from another thread.
        limit: seconds of the robot's time for one stage.

    The hand stands still whenever this returns or raises. Raises `UsageError` for a tracker that answers late, or
    another camera, `ShapeError` for a picture of another size, and whatever the robot raises.
    """
    if tracker.card.streaming != "causal" or tracker.card.latency != 0:
        raise UsageError(
            f"{tracker.card.id} answers for a frame only after later ones: servoing needs a causal tracker "
            "(tapkit models)"
        )
    mine, theirs = (robot.camera.width, robot.camera.height), (plan.camera.width, plan.camera.height)
    if mine != theirs:
        raise UsageError(
            f"the robot's pictures are {mine[0]}x{mine[1]}, the plan's {theirs[0]}x{theirs[1]}: learn it anew"
        )
    if not limit > 0:
        raise UsageError(f"limit must be a positive number of seconds, got {limit}")
    execution = _Execution(robot, plan, tracker, watch, control or Control(), limit)
    try:
        return execution.run()
    finally:
        robot.move(STILL)


@dataclass
class _Execution:
    robot: Robot
    plan: Plan
    tracker: Tracker
    watch: Watch | None
    control: Control
    limit: float
    reports: list[StageReport] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    step_cpu_seconds: list[float] = field(default_factory=list)
    search_seconds: list[float] = field(default_factory=list)
    timed_out: bool = False

    def run(self) -> Outcome:
        """All stages."""
        for number, stage in enumerate(self.plan.stages, 1):
            reason = self._stage(number, stage)
            if reason:
                return self._outcome(False, f"stage {number} ({stage.name}): {reason}")
            if stage.grip != "none":
                self.robot.grip(stage.grip == "close")
            self._retreat(number, stage.retreat)
        return self._outcome(True, "")

    def _outcome(self, done: bool, reason: str) -> Outcome:
        times = (self.step_seconds, self.step_cpu_seconds, self.search_seconds)
        return Outcome(done, reason, tuple(self.reports), *(tuple(each) for each in times))

    def _stage(self, number: int, stage: Stage) -> str:
        """Bring its points to their goals. Returns why that was not possible, or nothing."""
        reason, steps = "", 0
        for attempt in range(1, ATTEMPTS + 1):
            found = self._search(locate, stage)
            if found is None:
                reason = "its points are not found on the picture"
            else:
                demo = closest(stage, found.points, found.xy)
                follower = self._follow(number, stage, demo, found)
                steps += follower.steps
                report = StageReport(stage.name, follower.state == "arrived", demo, steps, follower.error, attempt)
                if follower.state == "arrived":
                    self.reports.append(report)
                    return ""
                reason = self._why(follower)
                if follower.state not in ("lost", "stuck") or attempt == ATTEMPTS:
                    self.reports.append(report)
                    return reason
            if attempt < ATTEMPTS:
                self._look_elsewhere(number, attempt)
        return reason

    def _search(
        self, where: Callable[[Tracker, Stage, np.ndarray, float], Located | None], stage: Stage
    ) -> Located | None:
        image = self._picture()
        began = time.perf_counter()
        found = where(self.tracker, stage, image, self.plan.camera.fps)
        self.search_seconds.append(time.perf_counter() - began)
        return found

    def _follow(self, number: int, stage: Stage, demo: int, found: Located) -> Follower:
        """Along the demonstration's path, and the last bit by the picture on which it ends, if there is one."""
        said = self.tracker.provenance(live=True)
        last = stage.paths[typical(stage)]
        follower = Follower(self.plan, stage, demo, found.points, said, coarse=last.end is not None)
        self._run(number, follower, found.session)
        if last.end is None or follower.state != "arrived":
            return follower
        end = Path2D(last.end, last.xy[-1:], last.visible[-1:], last.end)
        exact = replace(stage, paths=(end,), tolerance=EXACT * stage.tolerance)
        for _ in range(LOOKS):
            anew = self._search(locate_end, stage)
            if anew is None:
                follower.state = "lost"
                return follower
            follower = Follower(self.plan, exact, 0, anew.points, said, allowed=EXACT, steps=follower.steps)
            if follower.is_there(anew.xy):
                return follower
            self._run(number, follower, anew.session)
            if follower.state == "moving":  # stopped, or out of time
                return follower
        return follower

    def _run(self, number: int, follower: Follower, session: Session) -> None:
        left = max(round(self.limit * self.plan.camera.fps) - follower.steps, 1)
        frames = self._frames(number, follower, session, left)
        run(session, frames, [follower], self.control)
        self.robot.move(STILL)

    def _why(self, follower: Follower) -> str:
        share = f"{100 * follower.error:.0f} % of the picture's width"
        if follower.state == "lost":
            return "its points were lost and not found again"
        if follower.state == "stuck":
            return f"the points stay {share} from their goals; the arm may not reach them, or something holds it"
        if not self.timed_out:
            return "it was stopped"
        return f"the points were still {share} from their goals after {self.limit:g} s"

    def _frames(self, number: int, follower: Follower, session: Session, most: int) -> Iterator[Frame]:
        """Pictures, one for each control step; between two of them the robot moves as the follower says."""
        for index in range(most):
            if index:
                self.robot.move(follower.velocity)
            image = self._picture()
            began, begun = time.perf_counter(), time.thread_time()
            follower.steps += 1
            yield Frame(session.frame, session.frame / self.plan.camera.fps, image)
            self.step_seconds.append(time.perf_counter() - began)
            self.step_cpu_seconds.append(time.thread_time() - begun)
            if self.watch is not None:
                self.watch(image, number, follower.moments[-1] if follower.moments else None)
            if follower.state != "moving":
                return
        self.timed_out = True

    def _picture(self) -> np.ndarray:
        image = np.asarray(self.robot.frame())
        camera = self.plan.camera
        if image.shape != (camera.height, camera.width, 3) or image.dtype != np.uint8:
            raise ShapeError(
                f"the robot's pictures must be [{camera.height},{camera.width},3] uint8, got {image.dtype} "
                f"{list(image.shape)}"
            )
        return image

    def _look_elsewhere(self, number: int, attempt: int) -> None:
        """Higher up more is seen; what was hidden by the hand, or by what it holds, is not after a turn."""
        self._retreat(number, self.plan.gains.fastest_approach)
        speed, fps = self.plan.gains.fastest_turn, self.plan.camera.fps
        turn = LOOK if attempt == 1 else -2 * LOOK
        for _ in range(round(abs(turn) / speed * fps)):
            self.robot.move(Velocity(0.0, 0.0, 0.0, math.copysign(speed, turn)))
            if self.watch is not None:
                self.watch(self._picture(), number, None)

    def _retreat(self, number: int, distance: float) -> None:
        """Straight back along the view."""
        speed, fps = self.plan.gains.fastest, self.plan.camera.fps
        for _ in range(round(distance / speed * fps)):
            self.robot.move(Velocity(0.0, 0.0, -speed, 0.0))
            if self.watch is not None:
                self.watch(self._picture(), number, None)
