"""LocoTrack's exported graphs in onnxruntime, at sizes, lengths and counts other than those of the export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tapkit.models.locotrack.graphs import MAPS, POINTS, STATE
from tapkit.models.locotrack.network import STEPS
from tapkit.models.locotrack.tracker import build_locotrack_small

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
runtime = pytest.importorskip("onnxruntime")

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return _released(build_locotrack_small().network.state_dict())


def _released(ours: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, value in ours.items():
        parts = value.chunk(3) if ".qkv." in name else (value,)
        kinds = ("query_proj", "key_proj", "value_proj") if ".qkv." in name else ("qkv",)
        tensors |= {name.replace("qkv", kind): part for kind, part in zip(kinds, parts, strict=True)}
    return tensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, weights: dict[str, torch.Tensor]) -> Path:
    from tapkit.engine.onnx_export import export

    target = tmp_path_factory.mktemp("locotrack")
    export(build_locotrack_small(weights), target)
    return target


@pytest.fixture(scope="module")
def sessions(folder: Path) -> dict[str, Any]:
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    return {name: runtime.InferenceSession(folder / f"{name}.onnx", settings) for name in ("encode", "start", "update")}


def run(session: Any, given: Arrays) -> Arrays:
    names = [output.name for output in session.get_outputs()]
    wanted = [item.name for item in session.get_inputs()]
    return dict(zip(names, session.run(names, {name: given[name] for name in wanted}), strict=True))


@pytest.mark.parametrize(("size", "length", "count"), [((64, 80), 3, 2), ((96, 64), 5, 7), ((64, 64), 4, 1)])
def test_graphs_give_what_torch_gives(
    sessions: dict[str, Any], weights: dict[str, torch.Tensor], size: tuple[int, int], length: int, count: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (length, 3, *size), dtype=torch.uint8, generator=generator)
    xy = torch.rand(count, 2, generator=generator) * torch.tensor([size[1], size[0]])
    queries = torch.cat([torch.randint(0, length, (count, 1), generator=generator).float(), xy], 1)
    model = build_locotrack_small(weights, resolution=None, refinement_resolutions=[size])
    expected = model.track(model.encode(frames), size, queries)

    maps = [run(sessions["encode"], {"frames": frame[None].numpy()}) for frame in frames]  # frame by frame
    values = {name: np.concatenate([one[name] for one in maps]) for name in MAPS}
    units = queries * torch.tensor([1.0, 256 / size[1], 256 / size[0]])
    values |= run(sessions["start"], {**values, "queries": units.numpy()})
    assert values.keys() == {*MAPS, *POINTS, *STATE}
    for _ in range(STEPS):
        values |= {name.removeprefix("next_"): value for name, value in run(sessions["update"], values).items()}
    ours = values["xy"] * np.array([size[1] / 256, size[0] / 256])
    np.testing.assert_allclose(ours, expected.xy.numpy(), atol=1e-3)
    np.testing.assert_allclose(1 / (1 + np.exp(values["occluded"])), expected.visible.numpy(), atol=1e-4)
    np.testing.assert_allclose(1 / (1 + np.exp(values["uncertain"])), expected.confidence.numpy(), atol=1e-4)


def test_the_description_names_shapes_and_conventions(folder: Path) -> None:
    described = json.loads((folder / "model.json").read_text())
    assert described["model"] == "locotrack-small"
    graphs = {graph["file"]: graph for graph in described["graphs"]}
    assert graphs["encode.onnx"]["inputs"]["frames"] == ["frames", 3, "8*height", "8*width"]
    assert graphs["update.onnx"]["inputs"]["xy"] == ["points", "frames", 2]
    assert "corner origin" in graphs["start.onnx"]["notes"]
