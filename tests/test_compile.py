"""load(compile=...): the parts of a network go through torch.compile, and the tracks stay what they were."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import tapkit
from tapkit import api, registry
from tapkit.engine.tracker import Tracker
from tapkit.errors import UsageError
from tapkit.video.samples import sample


def test_a_compiled_network_tracks_as_before_and_says_so() -> None:
    with tapkit.open_video(sample("blocks")) as source:
        clip = [frame.image for frame in source.frames(0, 5, size=(96, 160))]
    queries = [(0, 60.0, 40.0), (1, 90.0, 45.0), (0, 30.0, 70.0)]
    plain = tapkit.load("strand", device="cpu", precision="float32")
    # Captured by dynamo and run by torch's own operators: generating code takes minutes.
    compiled = tapkit.load("strand", device="cpu", precision="float32", compile="eager")
    parts = [part for _, part in compiled.model.network.named_children()]
    assert parts and all(part._compiled_call_impl is not None for part in parts)
    before, after = plain.track(clip, queries), compiled.track(clip, queries)
    np.testing.assert_allclose(after.xy, before.xy, atol=0.05)
    np.testing.assert_allclose(after.visible, before.visible, atol=0.01)
    assert after.source.options["compiled"] is True and "compiled" not in before.source.options


def test_what_cannot_be_compiled_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="lucas-kanade has no network to compile"):
        tapkit.load("lucas-kanade", compile=True)
    with pytest.raises(UsageError, match="no backend 'fast'"):
        tapkit.load("strand", device="cpu", compile="fast")
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UsageError, match=r"needs a C\+\+ compiler"):
        api.load("strand", device="cpu", compile=True)


def test_the_steps_of_causal_tapir_are_compiled_once_for_all_blocks() -> None:
    made: list[int] = []

    def counting(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        made.append(len(inputs))
        return graph.forward

    options = {"resolution": (32, 48), "initial_resolution": (32, 48)}
    clip = np.random.default_rng(0).integers(0, 255, (3, 64, 96, 3), np.uint8)
    found = []
    for compiled in (False, True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            tracker = Tracker(registry.build("tapir-causal", None, **options))
        if compiled:
            tracker.model.compile(counting)
        found.append(tracker.track(clip, [(0, 20.0, 30.0), (0, 40.0, 40.0)], direction="forward").xy)
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)
    blocks = tracker.model.network.torch_pips_mixer.blocks
    assert all(hasattr(block.step, "_torchdynamo_orig_callable") for block in blocks)
    assert 0 < len(made) < len(blocks), "blocks share what is compiled"


def test_clicks_compile_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counting(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        made.append(len(inputs))
        return graph.forward

    monkeypatch.setattr("tapkit.engine.slots.LEAST", 4)
    tracker = tapkit.load("strand", device="cpu", precision="float32")
    tracker.model.compile(counting)
    session = tracker.start(tapkit.VideoInfo(64, 64), [(0, 20.0, 30.0), (0, 40.0, 40.0)])
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    counts = []
    for index in range(7):
        if index in (2, 4):
            session.add([(session.earliest, 30.0, 30.0), (session.frame, 10.0, 12.0)][index == 4 :])
        if index == 5:
            session.remove(["0"])
        session.step(frame)
        counts.append(len(made))
    assert counts[0] == 0 and counts[1] > 0, "of frames on which points begin, nothing"
    assert counts[2:5] == [counts[1]] * 3, "two, three and four points are of one rung"
    assert counts[5:] == [counts[5]] * 2
