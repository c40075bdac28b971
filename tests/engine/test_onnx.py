"""Exported graphs of causal TAPIR against torch, run by onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tapkit.engine.onnx_export import export
from tapkit.errors import StorageError, UsageError
from tapkit.models.tapir.card import TAPIR, TAPIR_CAUSAL
from tapkit.models.tapir.causal import CausalTapir
from tapkit.models.tapir.network import Tapir, TapirConfig
from tapkit.models.tapir.tracker import TapirOptions

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
runtime = pytest.importorskip("onnxruntime")
SIZES = [(64, 64), (96, 72)]


def model(size: tuple[int, int]) -> CausalTapir:
    """The same weights at any size."""
    torch.manual_seed(0)
    config = TapirConfig(pyramid_level=1, causal=True, iterations=2, blocks=1, initial_resolution=size)
    network = Tapir(config).requires_grad_(False)
    return CausalTapir(
        network, TAPIR_CAUSAL, TapirOptions.of("tapir", {"resolution": size, "initial_resolution": size})
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    export(model((64, 64)), folder / "made")
    return folder / "made"


@pytest.fixture(scope="module")
def sessions(folder: Path) -> tuple[Any, Any]:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    encode, update = (runtime.InferenceSession(str(folder / f"{name}.onnx"), options) for name in ("encode", "update"))
    return encode, update


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 7])
def test_graphs_give_the_answers_of_torch_at_any_size_and_number(
    sessions: tuple[Any, Any], size: tuple[int, int], count: int
) -> None:
    encode, update = sessions
    torch_model = model(size)
    generator = torch.Generator().manual_seed(1)
    video = torch.randint(0, 256, (3, 3, *size), generator=generator, dtype=torch.uint8)
    xy = torch.rand(count, 2, generator=generator) * torch.tensor([size[1], size[0]])
    state = torch_model.start(size)
    narrow, wide = np.zeros((count, 2, 1, 2, 512), np.float32), np.zeros((count, 2, 1, 2, 4, 512), np.float32)
    features: dict[str, Any] = {}
    for t, frame in enumerate(video):
        state, wanted = torch_model.step(state, frame, xy if t == 0 else torch.zeros(0, 2))
        hires, lowres, *seen = encode.run(None, {"frame": frame[None].float().numpy(), "points": xy.numpy()})
        features = features or dict(zip(("query_hires", "query_lowres"), seen, strict=True))
        given = {"hires": hires, "lowres": lowres, "narrow": narrow, "wide": wide, **features}
        *answer, narrow, wide = update.run(None, given)
        assert np.abs(answer[0] - wanted.xy.numpy()).max() < 1e-3
        for ours, theirs in zip(answer[1:], (wanted.visible, wanted.confidence), strict=True):
            assert np.abs(ours - theirs.numpy()).max() < 1e-4
    for entry, step in enumerate(state.past):
        assert np.abs(narrow[:, entry, 0, 1] - step[0].narrow.numpy()).max() < 1e-3
        assert np.abs(wide[:, entry, 0, 0] - step[0].wide_older.numpy()).max() < 1e-3


def test_the_description_names_inputs_axes_and_conventions(folder: Path) -> None:
    description = json.loads((folder / "model.json").read_text())
    encode, update = description["graphs"]
    assert encode["inputs"]["frame"] == [1, 3, "8*height", "8*width"]
    assert update["inputs"]["narrow"][0] == "points"
    assert description["card"]["id"] == description["model"] == "tapir-causal"
    assert "outer corner" in encode["notes"]


def test_models_without_graphs_and_unwritable_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tapir cannot be exported"):
        export(SimpleNamespace(card=TAPIR), tmp_path)  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        export(model((64, 64)), tmp_path / "file" / "inside")
