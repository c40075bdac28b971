"""What the road itself costs: many points through a session and through a whole-clip run, with a model that does
nothing; and how long a second import takes.

    python benchmarks/road.py [--points 65536] [--frames 20]

Prints seconds, and multiples of the fixed workload of `tapkit bench` measured in the same run.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tapkit.engine.tracker import Tracker
from tapkit.evaluation.calibrate import calibrate
from tapkit.models.base import Prediction
from tapkit.types import ModelCard, Queries
from tapkit.video import open_video

CARD = ModelCard("still", "", "", "", "", "", True, "")


class State(NamedTuple):
    """Where points are."""

    xy: Tensor


class Still:
    """Points stay where they are."""

    card, device, options = CARD, torch.device("cpu"), {}

    def to(self, device: Any) -> Still:
        return self

    def frame_size(self, size: Any) -> None:
        return None

    def point_bytes(self, size: Any) -> int:
        return 8

    def start(self, size: Any) -> State:
        return State(torch.zeros(0, 2))

    def step(self, state: State, frame: Tensor, new_xy: Tensor) -> tuple[State, Prediction]:
        xy = torch.cat([state.xy, new_xy])
        ones = torch.ones(len(xy))
        return State(xy), Prediction(xy, ones, ones)

    def select(self, state: State, rows: Tensor) -> State:
        return State(state.xy[rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=65536)
    parser.add_argument("--frames", type=int, default=20)
    asked = parser.parse_args()
    video = np.zeros((asked.frames, 64, 64, 3), np.uint8)
    xy = np.random.default_rng(0).uniform(0, 64, (asked.points, 2))
    queries = Queries.at(0, xy)
    unit = calibrate()
    took = {}
    for name in ("session", "whole clip"):
        best = float("inf")
        for _ in range(3):
            started = time.perf_counter()
            if name == "session":
                session = Tracker(Still()).start(open_video(video).info, queries)
                for image in video:
                    session.step(image)
            else:
                Tracker(Still()).track(video, queries, "forward")
            best = min(best, time.perf_counter() - started)
        took[name] = best
    for name, seconds in took.items():
        print(f"{name}: {asked.points} points x {asked.frames} frames in {seconds:.3f} s ({seconds / unit:.2f} x)")


if __name__ == "__main__":
    main()
