"""Both methods learn a moving square from exact flow (a few steps of what benchmarks/per_video.py measures in full)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from per_video_scene import CADEXPP, OMNIMOTION, figures

import per_video
from tapkit.per_video.method import Place


@pytest.mark.parametrize(("model", "steps", "scene"), [("omnimotion", 80, OMNIMOTION), ("cadex++", 60, CADEXPP)])
def test_a_few_steps_bring_the_background_nearer(model, steps, scene) -> None:
    make, _, spacing = per_video.MAKERS[model]
    _, fit, method, options, schedule = make(1000, 0)
    place = Place(scene.frames, scene.size)

    def error() -> float:
        return figures(scene, method.answer(fit.state().model, place, options), 2 * spacing)["background_median"]

    before = error()
    assert before > 2.5  # nothing moves yet
    for index in range(steps):
        fit.step(index, schedule)
    assert error() < 0.6 * before


def test_the_scene_hides_what_the_square_covers() -> None:
    scene = OMNIMOTION
    ahead = np.array([[12.0, 16.0]])  # left of the square, which moves over it
    assert scene.seen(ahead, 0, 1).all() and not scene.seen(ahead, 0, 3).any()
    assert torch.from_numpy(scene.moved(ahead, 0, 3)).tolist() == [[15.0, 17.5]]
