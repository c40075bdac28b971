"""A stage without a robot: random points that come closer, on random pictures (also of the end)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapkit.apps.servo import Path2D, Stage


def made_stage(demos: int, size: int = 96, points: int = 12, frames: int = 5, **more: Any) -> Stage:
    """Of each demonstration another way to the same end."""
    random = np.random.default_rng(demos)
    end = random.uniform(0.3, 0.7, (points, 2)) * size
    paths = []
    for _ in range(demos):
        away = random.uniform(-0.25, 0.25, 2) * size
        xy = np.stack([end + away * share for share in np.linspace(1, 0, frames)]).astype(np.float32)
        image = random.integers(0, 255, (size, size, 3), dtype=np.uint8)
        last = random.integers(0, 255, (size, size, 3), dtype=np.uint8)
        paths.append(Path2D(image, xy, random.random((frames, points)) > 0.1, last))
    return Stage(tuple(paths), **{"retreat": 0.1, "name": 'pick "it"', **more})
