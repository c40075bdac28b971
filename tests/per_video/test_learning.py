"""Both methods learn a moving square from exact flow (a few steps of what benchmarks/per_video.py measures in full)."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from per_video_scene import CADEXPP, OMNIMOTION, figures

import per_video
from tapkit.per_video.method import Place


@pytest.mark.parametrize(("model", "steps", "scene"), [("omnimotion", 120, OMNIMOTION), ("cadex++", 60, CADEXPP)])
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


def test_layers_at_a_guessed_depth_are_learned_in_few_steps() -> None:
    """The square's own motion, which the published losses alone need hundreds of steps for."""
    from tapkit.per_video.omnimotion.method import OmniMotionFit

    scene, fit, _, options, _ = per_video.MAKERS["omnimotion"][0](100, 0)
    options = replace(
        options, layers=0.9, time_detail=32, detail=16, rate_bijection=3e-3, rate_color=3e-3, points=64
    )  # fmt: skip
    begun = OmniMotionFit(scene.prepared(), fit.flows, options, 0, torch.device("cpu"))
    assert begun.layers is not None
    square = torch.from_numpy(scene.on_square(scene.pixels, 0))
    depth = torch.nn.functional.interpolate(begun.layers.maps[None, :1], scene.size)[0, 0]
    assert depth[square].median() < depth[~square].median() - 0.5  # what moves differently is guessed to be in front

    terms = [begun.step(index, 100) for index in range(90)]
    assert np.mean([each["flow"] for each in terms[-10:]]) < 0.35 * terms[0]["flow"]
    assert np.mean([each["layer_density"] for each in terms[-10:]]) < 0.5 * terms[0]["layer_density"]
    assert "rgb" not in terms[-1] and "rgb" in begun.step(90, 100)  # then the published losses take over


def test_matches_far_apart_are_learned_from() -> None:
    """Half of all frames have exact matches with one 10 later; their error falls with the rest."""
    from tapkit.per_video.cadexpp.method import CadexFit
    from tapkit.per_video.prepare.long_matches import ROW

    _, fit, _, options, _ = per_video.MAKERS["cadex++"][0](200, 0)
    dice, scene, rows = np.random.default_rng(0), CADEXPP, []
    for first in range(scene.frames):
        found = np.empty(12 if first < 10 else 0, ROW)
        here = dice.uniform((4, 4), (40, 40), (len(found), 2))
        found["frame"], found["cosine"] = first + 10, 1
        found["x"], found["y"] = (here + 0.5).T
        found["to_x"], found["to_y"] = (scene.moved(here, first, first + 10) + 0.5).T
        rows.append(found)
    options = replace(options, depth="plane")
    matched = CadexFit(scene.prepared(), fit.sampler.flows, options, 0, torch.device("cpu"), rows)
    terms = [matched.step(index, 1000) for index in range(30)]
    assert np.mean([t["match_flow"] for t in terms[-5:]]) < 0.8 * terms[0]["match_flow"]
    assert matched.matches.draw(0).pixels.shape == (8, 12, 2) and "match_flow" not in fit.step(0, 1000)


def test_the_scene_hides_what_the_square_covers() -> None:
    scene = OMNIMOTION
    ahead = np.array([[12.0, 16.0]])  # left of the square, which moves over it
    assert scene.seen(ahead, 0, 1).all() and not scene.seen(ahead, 0, 3).any()
    assert torch.from_numpy(scene.moved(ahead, 0, 3)).tolist() == [[15.0, 17.5]]
