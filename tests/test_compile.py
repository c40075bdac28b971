"""load(compile=...): the parts of a network go through torch.compile, and the tracks stay what they were."""

from __future__ import annotations

import numpy as np
import pytest

import tapkit
from tapkit import api
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
