"""Flow that is believed only where features of both ends agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tapkit.errors import UsageError, WeightsError
from tapkit.per_video.cadexpp import options as cadexpp
from tapkit.per_video.method import FitOptions
from tapkit.per_video.omnimotion import options as omnimotion
from tapkit.per_video.prepare import flow_features
from tapkit.per_video.prepare.flow_features import reading_of
from tapkit.per_video.prepare.flows import BELIEVED, FlowRequest, pair_flows
from tapkit.per_video.prepare.store import Prepared

DEVICE = torch.device("cpu")


def test_frames_are_read_at_a_short_side_of_480() -> None:
    assert reading_of((480, 854), "dino-vits16", None).size == (480, 832)
    assert reading_of((160, 90), "dino-vits16", None).size == (832, 480)
    assert reading_of((100, 100), "dino-vits16", None).size == (480, 480)
    reading = reading_of((100, 240), "dino-vits16", None)
    assert reading.size == (480, 1152) and reading.stride == 16 and reading.deviation[0] == 0.228


def test_far_flow_must_agree_in_features_and_near_flow_need_not(
    tmp_path: Path, moving_clip: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_features, "SHORT", 112)
    monkeypatch.setattr("tapkit.per_video.prepare.flows.COLOUR", 2.0)  # all agree: else colours stand in for features
    clip = Prepared(tmp_path, moving_clip[0][:5])
    said: list[str] = []

    def report(what: str, done: int, total: int) -> None:
        said.append(what)

    plain = pair_flows(clip, FlowRequest(), DEVICE, report)
    assert "tokens" not in said
    checked = pair_flows(clip, FlowRequest(features="untrained", similar=0.9), DEVICE, report)
    assert "tokens" in said and said.count("flow") == 6, "flow is computed once"
    seen = {"near": 0, "far": 0}
    for first in range(5):
        for second in plain.targets(first):
            with_features, without = ((f.mask(first, second) & BELIEVED) > 0 for f in (checked, plain))
            if abs(first - second) < 3:
                assert np.array_equal(with_features, without)
            else:
                assert not (with_features & ~without).any()
                seen["far"] += int((without & ~with_features).sum())
                seen["near"] += int(with_features.sum())
    assert seen["far"] > 0 and seen["near"] > 0, "some is kept and some is not"
    said.clear()
    pair_flows(clip, FlowRequest(features="untrained", similar=0.9), DEVICE, report)
    assert not said


def test_a_missing_file_says_how_to_go_without(
    tmp_path: Path, moving_clip: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPKIT_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("tapkit.weights.download.fetch", lambda *_, **__: (_ for _ in ()).throw(TimeoutError("slow")))
    clip = Prepared(tmp_path, moving_clip[0][:4])
    with pytest.raises(WeightsError, match=r"dino_deitsmall16_pretrain\.pth.*--set features=none"):
        pair_flows(clip, FlowRequest(features="dino-vits16"), DEVICE, lambda *_: None)


@pytest.mark.parametrize("presets", [omnimotion.PRESETS, cadexpp.PRESETS], ids=["omnimotion", "cadex++"])
def test_only_the_published_presets_ask_for_features(presets: dict[str, FitOptions]) -> None:
    features = {name: options.to_json()["features"] for name, options in presets.items()}
    assert features == {"paper": "dino-vits16", "fast": "none", "cpu": "none"}
    with pytest.raises(UsageError, match="no backbone 'dino'"):
        type(presets["cpu"]).of("it", {"features": "dino"})
