"""One stage, step by step: which frame of the demonstration has been reached, and the velocity towards the next."""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from tapkit.apps.servo.camera import STILL, Velocity
from tapkit.apps.servo.consensus import agree_on_similarity, tolerance_of
from tapkit.apps.servo.control import command
from tapkit.apps.servo.plan import Plan, Stage
from tapkit.types import FrameResult, Provenance
from tapkit.video.base import Frame

LEAST_POINTS = 4
"""Fewer points than these do not move the hand."""
SETTLED = 5
"""Steps in a row for which the error must be below the stage's tolerance."""

SCALE = 0.03
"""How much wider or narrower than in the demonstration the points may lie at the end: 3 % of the distance to them.

The mean error alone would let a small thing be grasped from far too high."""
TURN = math.radians(2)
"""And how far they may be turned."""

State = Literal["moving", "arrived", "lost", "stuck"]


class Moment(NamedTuple):
    """What one step was decided on; for those who watch."""

    frame: int
    """Of the session."""
    xy: np.ndarray
    """[m,2] the points."""
    weights: np.ndarray
    """[m] from 0 to 1; 0: not used."""
    goals: np.ndarray
    """[m,2]."""
    reached: int
    """Frame of the path."""
    error: float
    """Mean distance to the goals, of the picture's width; infinite while too few points are seen."""
    velocity: Velocity


def misfit(xy: np.ndarray, goals: np.ndarray, width: int) -> float:
    """How much wider, or more turned, points [n,2] are than their goals; 1 is what is allowed at the end of a stage."""
    fit = agree_on_similarity(goals, xy, 2 * tolerance_of(goals, width))
    if fit is None or fit.ratio == 0:
        return math.inf
    return max(abs(math.log(abs(fit.ratio))) / SCALE, abs(cmath.phase(fit.ratio)) / TURN)


@dataclass
class Follower:
    """A sink for one stage: takes each frame's points and sets `velocity` and `state`."""

    plan: Plan
    stage: Stage
    demo: int
    """Whose path is followed."""
    points: np.ndarray
    """[m] numbers of the session's rows in the stage's table."""
    said: Provenance
    coarse: bool = False
    """Arrive as soon as the goal is near: what is left is done with the picture of the end."""
    allowed: float = 1.0
    """Of `SCALE` and `TURN`."""
    velocity: Velocity = STILL
    state: State = "moving"
    steps: int = 0
    """Pictures so far; counted by who carries out."""
    reached: int = 0
    error: float = float("inf")
    moments: list[Moment] = field(default_factory=list)
    """The last one only."""
    _blind: int = 0
    _settled: int = 0
    _best: float = float("inf")
    _since: int = 0
    """Steps since the error was least, or a frame of the path was reached."""

    def frame(self, frame: Frame) -> None:
        """See `Sink`."""

    def finish(self) -> None:
        """See `Sink`: stand still."""
        self.velocity = STILL

    def result(self, result: FrameResult) -> None:
        """See `Sink`: what is to be done on this frame."""
        seen = self.said.visible_at(result.visible, result.confidence)
        self.decide(result.frame, result.xy[np.argsort(result.rows)], (result.visible * seen)[np.argsort(result.rows)])

    def is_there(self, xy: np.ndarray) -> bool:
        """Whether points [m,2] that were just found on the picture leave nothing to do: the stage has then arrived."""
        path, width = self.stage.paths[self.demo], self.plan.camera.width
        goals = path.xy[-1, self.points]
        error = float(np.linalg.norm(goals - xy, axis=1).mean()) / width
        # More than what the hand is led to: it would else be sent to and fro by the noise of the search.
        if error < 1.5 * self.stage.tolerance and misfit(xy, goals, width) < 1.5 * self.allowed:
            self.reached, self.error, self.state = len(path.xy) - 1, error, "arrived"
        return self.state == "arrived"

    def decide(self, frame: int, xy: np.ndarray, visible: np.ndarray) -> None:
        """The velocity for points [m,2] with visibilities [m] (0: hidden)."""
        camera, path = self.plan.camera, self.stage.paths[self.demo]
        weights = self._trusted(xy, visible)
        last = len(path.xy) - 1
        before = self.reached
        self._advance(xy, weights, last)
        goal = min(self.reached + self.plan.lookahead, last)
        known = weights * path.visible[goal, self.points]
        goals = path.xy[goal, self.points]
        if (known > 0).sum() < LEAST_POINTS and goal < last:  # hidden there: a later frame of the path has more
            goal = self._next_seen(weights, goal)
            known, goals = weights * path.visible[goal, self.points], path.xy[goal, self.points]
            self.reached = max(self.reached, goal - self.plan.lookahead)
        if (known > 0).sum() < LEAST_POINTS:
            self._hold(frame, xy, weights, goals)
            return
        self._blind = 0
        self.error = float((known * np.linalg.norm(goals - xy, axis=1)).sum() / known.sum()) / camera.width
        self.velocity = command(
            camera.normalised(xy), camera.normalised(goals), known, self.stage.depth, self.plan.gains,
            camera.width / camera.focal,
        )  # fmt: skip
        at_end = self.reached == last
        self._judge(misfit(xy[known > 0], goals[known > 0], camera.width) if at_end else None, self.reached > before)
        self.moments[:] = [Moment(frame, xy, known, goals, self.reached, self.error, self.velocity)]

    def _trusted(self, xy: np.ndarray, visible: np.ndarray) -> np.ndarray:
        """Visibilities, 0 for points that are not where the others, together with the demonstration, say.

        The original trusts its tracker's visibility alone.
        """
        path = self.stage.paths[self.demo]
        goal = min(self.reached + self.plan.lookahead, len(path.xy) - 1)
        both = np.flatnonzero((visible > 0) & path.visible[goal, self.points])
        if len(both) < LEAST_POINTS:
            return visible
        goals = path.xy[goal, self.points[both]]
        fit = agree_on_similarity(goals, xy[both], 1.5 * tolerance_of(goals, self.plan.camera.width))
        if fit is None or fit.agree.sum() < LEAST_POINTS:
            return np.zeros_like(visible)
        weights = np.zeros_like(visible)
        weights[both[fit.agree]] = visible[both[fit.agree]]
        return weights

    def _advance(self, xy: np.ndarray, weights: np.ndarray, last: int) -> None:
        """Go on to the frame after the latest one that has been reached, of those up to the goal.

        (Where the demonstration was quick, its frames lie far apart: the goal may be reached and none of those before.)
        """
        ahead = self.reached
        while ahead < last and ahead <= self.reached + self.plan.lookahead:
            if self._off(xy, weights, ahead) < self.plan.reach:
                self.reached = ahead + 1
            ahead += 1

    def _off(self, xy: np.ndarray, weights: np.ndarray, frame: int) -> float:
        """Mean distance to where the points were on a frame of the path, of the width; 0 where none is known there."""
        path = self.stage.paths[self.demo]
        known = weights * path.visible[frame, self.points]
        total = float(known.sum())
        if total == 0:
            return 0.0 if (weights > 0).sum() >= LEAST_POINTS else float("inf")
        away = np.linalg.norm(path.xy[frame, self.points] - xy, axis=1)
        return float((known * away).sum()) / total / self.plan.camera.width

    def _next_seen(self, weights: np.ndarray, goal: int) -> int:
        visible = self.stage.paths[self.demo].visible[:, self.points]
        counts = ((weights > 0) & visible).sum(1)
        later = np.flatnonzero(counts[goal:] >= LEAST_POINTS)
        return goal + int(later[0]) if len(later) else goal

    def _hold(self, frame: int, xy: np.ndarray, weights: np.ndarray, goals: np.ndarray) -> None:
        """Too few points: stand still, and after a second give the stage up for lost."""
        self.velocity, self.error, self._settled = STILL, float("inf"), 0
        self._blind += 1
        if self._blind > self.plan.camera.fps:
            self.state = "lost"
        self.moments[:] = [Moment(frame, xy, np.zeros_like(weights), goals, self.reached, self.error, STILL)]

    def _judge(self, off: float | None, progressed: bool) -> None:
        """Whether the stage has arrived, or is stuck. (Of points that fit badly the error may no longer improve.)

        `off`: see `misfit`; None before the last frame of the path.
        """
        fps, tolerance = self.plan.camera.fps, self.stage.tolerance
        if progressed or self.error < 0.98 * self._best:
            self._best, self._since = self.error, 0
        else:
            self._since += 1
        at_end = off is not None
        if self.coarse:
            good = at_end and self.error < 2 * tolerance
            close_enough = at_end and self._since > 2 * fps and self.error < 4 * tolerance
        else:
            good = off is not None and off < self.allowed and self.error < tolerance
            nearly = off is not None and off < 2 * self.allowed and self.error < 2 * tolerance
            close_enough = nearly and self._since > 2 * fps
        self._settled = self._settled + 1 if good else 0
        if self._settled >= (2 if self.coarse else SETTLED) or close_enough:
            self.state, self.velocity = "arrived", STILL
        elif self._since > 6 * fps:
            self.state, self.velocity = "stuck", STILL
