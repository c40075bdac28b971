"""Where strand's time goes on a processor: CPU milliseconds of one thread for the parts of a frame.

    python benchmarks/strand_parts.py [--size 640x360] [--points 100 400] [--enlarge 2] [--rounds 5]

The first frames of the sample clip at that size are prepared, then tracked, again and again; of each frame the quickest
round counts, so that other programs disturb little. To compare two states of the code, run both in turn. With two
threads a file goes as fast as the slower of the two does its part: encoder and motion of the frame the one, tracking
the other. Both take longer then, as they wait for each other to begin operations.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

FRAMES, SKIP = 16, 4
"""The first `SKIP` frames are not counted: kernels are made on them."""


class Stopwatch:
    """CPU seconds of this thread in functions that are replaced by timed ones."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    def on(self, owner: Any, name: str, label: str) -> None:
        """Time `owner.name` from here on, under a label; within a part of the same label only once."""
        function: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            result = function(*args, **kwargs)
            self.spent[label] += time.thread_time() - began
            return result

        setattr(owner, name, timed)


def measure(width: int, height: int, points: int, enlarge: float, rounds: int) -> dict[str, float]:
    """Milliseconds of a frame by part."""
    import torch

    import tapkit
    from tapkit.engine.causal import CausalDriver
    from tapkit.engine.memory import keep_freed
    from tapkit.models.strand import network, tracker
    from tapkit.types import Queries
    from tapkit.video.samples import sample

    torch.set_num_threads(1)
    keep_freed()  # as a session does
    model = tapkit.load("strand", device="cpu", enlarge=enlarge).model
    size = model.frame_size((height, width)) or (height, width)
    with tapkit.open_video(sample()) as source:
        frames = [torch.from_numpy(f.image).permute(2, 0, 1).contiguous() for f in source.frames(0, FRAMES, size=size)]
    queries = torch.tensor(Queries.grid((size[0], size[1]), round(points**0.5)).xy, dtype=torch.float32)
    watch, at_once = Stopwatch(), CausalDriver(model, size).frames_at_once
    parts = [
        (model, "encode", "encoder"),
        (model, "compare", "motion of the frame"),
        (model, "follow", "tracking"),
        (tracker, "follow", "- pixels"),
        (network, "coarse_to_fine", "- matching"),
        (model.network.look, "forward", "- looks"),
    ]
    if model.network.refine is not None:
        parts.append((model.network.refine, "forward", "- refinement"))
    for owner, name, label in parts:
        watch.on(owner, name, label)
    quickest: dict[tuple[str, int], float] = {}
    with torch.inference_mode():
        for _ in range(rounds):
            driver, state, ahead = CausalDriver(model, size), model.start(size), []
            for first in range(0, FRAMES, at_once):
                watch.spent.clear()
                prepared = driver.prepare(frames[first : first + at_once])
                spent = {label: seconds / len(prepared) for label, seconds in watch.spent.items()}
                ahead += [(features, spent) for features in prepared]
            for t, (features, spent) in enumerate(ahead):
                watch.spent = defaultdict(float, spent)
                state, _ = model.follow(state, features, size, queries[: 0 if t else None])
                for label, seconds in watch.spent.items():
                    quickest[label, t] = min(seconds, quickest.get((label, t), seconds))
    counted = range(SKIP, FRAMES)
    return {label: sum(1000 * quickest[label, t] for t in counted) / len(counted) for _, _, label in parts}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--points", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--enlarge", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.size.split("x"))
    for points in arguments.points:
        found = measure(width, height, points, arguments.enlarge, arguments.rounds)
        print(f"{width}x{height}, {points} points: " + ", ".join(f"{name} {ms:.1f}" for name, ms in found.items()))


if __name__ == "__main__":
    main()
