"""What `tapkit servo demo` shows: demonstrations recorded, a plan made of them, and trials of it, as files."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tapkit.apps.servo.camera import Camera
from tapkit.apps.servo.demonstrations import Demonstration, write_demonstration
from tapkit.apps.servo.drawing import Film
from tapkit.apps.servo.learning import LearnOptions, learn
from tapkit.apps.servo.plan import Plan
from tapkit.apps.servo.sim.arm import Arm
from tapkit.apps.servo.sim.demonstrate import demonstrate
from tapkit.apps.servo.sim.scene import Scene
from tapkit.apps.servo.sim.trial import Trial, attempt
from tapkit.engine.tracker import Tracker

_NEW = 1000
"""Scenes of trials are numbered from here on, those of demonstrations from 0."""

Told = Callable[[int, int], object] | None


class Demo:
    """The task of the demonstration: put the box on the pad."""

    def __init__(self, size: int = 256, demos: int = 5, distractors: int = 3, seed: int = 0) -> None:
        """`size`: side of the pictures; `seed`: of the scenes; `distractors`: in the new ones only."""
        self.size, self.demos, self.distractors, self.seed = size, demos, distractors, seed
        self.shown: list[Demonstration] = []

    def _scene(self, number: int, distractors: int) -> Scene:
        return Scene.random(10_000 * self.seed + number, distractors, looks=self.seed)

    def camera(self) -> Camera:
        """The simulated one."""
        with Arm(self._scene(0, 0), self.size) as arm:
            return arm.camera

    def check(self) -> None:
        """Raise `MissingExtra` or `TapkitError` now, if there is nothing to simulate or draw with."""
        with Arm(self._scene(_NEW, self.distractors), self.size) as arm:
            arm.frame()

    def record(self, folder: Path | None = None, told: Told = None) -> list[Demonstration]:
        """The demonstrations; each also as a video and a table in `folder`."""
        self.shown = []
        for number in range(self.demos):
            self.shown.append(demonstrate(self._scene(number, 0), number, self.size))
            if folder is not None:
                write_demonstration(folder / f"demo{number + 1}.mp4", self.shown[-1])
            if told is not None:
                told(number + 1, self.demos)
        return self.shown

    def learn(self, tracker: Tracker, options: LearnOptions | None = None, told: Told = None) -> Plan:
        """The plan that they show."""
        return learn(self.shown or self.record(), tracker, self.camera(), options, told)

    def attempt(self, plan: Plan, tracker: Tracker, number: int, film: Path | None = None) -> Trial:
        """Try it in new scene `number`, filmed if wanted."""
        with nullcontext() if film is None else Film(film, plan.camera) as watch:
            return attempt(plan, self._scene(_NEW + number, self.distractors), tracker, number, watch)

    @staticmethod
    def row(number: int, trial: Trial) -> dict[str, Any]:
        """A trial as JSON values."""
        outcome = trial.outcome
        return {
            "scene": number,
            "success": bool(trial.success),
            "offset_mm": round(1e3 * trial.offset, 2),
            "turn_degrees": round(math.degrees(trial.turn), 2),
            "simulated_seconds": round(trial.seconds, 1),
            "step_ms": round(outcome.step_ms, 1),
            "step_cpu_ms": round(outcome.step_cpu_ms, 1),
            "search_seconds": [round(s, 2) for s in outcome.search_seconds],
            "reason": outcome.reason,
            "stages": [
                {
                    "name": s.name,
                    "arrived": s.arrived,
                    "demo": s.demo + 1,
                    "steps": s.steps,
                    "error": round(s.error, 4) if math.isfinite(s.error) else None,
                    "attempts": s.attempts,
                }
                for s in outcome.stages
            ],
        }

    @staticmethod
    def line(number: int, trial: Trial) -> str:
        """A trial in words."""
        how = "success" if trial.success else "failure"
        why = f" ({trial.outcome.reason})" if trial.outcome.reason else ""
        return (
            f"scene {number}: {how}, {1e3 * trial.offset:.1f} mm and {math.degrees(trial.turn):.1f} degrees off after "
            f"{trial.seconds:.0f} s, {trial.outcome.step_ms:.0f} ms a step{why}"
        )
