"""AllTracker's exported graphs, run by onnxruntime, against its windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tapkit.engine.onnx_export import export
from tapkit.errors import UsageError
from tapkit.models.alltracker.network import Estimate, time_codes
from tapkit.models.alltracker.tracker import build_tiny

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
runtime = pytest.importorskip("onnxruntime")
SIZE = (100, 120)


def test_graphs_give_the_field_of_a_window(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_tiny(input_size=SIZE, window=4, iterations=2)
    export(model, tmp_path)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {
        name: runtime.InferenceSession(str(tmp_path / f"{name}.onnx"), options)
        for name in ("encode", "update", "enlarge")
    }
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (4, 3, *SIZE), generator=generator, dtype=torch.uint8)
    maps = np.concatenate([sessions["encode"].run(None, {"frame": frame[None].numpy()})[0] for frame in frames])
    with torch.inference_mode():
        expected = model.encode(frames).maps
        assert np.abs(maps - expected.numpy()).max() < 1e-3
        zeros = torch.zeros(4, *expected.shape[1:3], 2)
        window = model.network.window(expected[0], expected, Estimate(zeros, zeros), time_codes(4), 2)
        field = model.field(window, 3, SIZE)
    state = {"hidden": np.repeat(maps[:1], 4, 0), "flow": zeros.numpy(), "score": zeros.numpy()}
    for _ in range(2):
        given = {"anchor": maps[0], "frames": maps, **state}
        state = dict(zip(state, sessions["update"].run(None, given), strict=True))
    assert np.abs(state["flow"] - window.estimate.flow.numpy()).max() < 1e-4
    motion, probability = sessions["enlarge"].run(None, {name: values[3:] for name, values in state.items()})
    assert motion.shape == (2, *SIZE)
    assert np.abs(motion - field.flow.numpy()).max() < 1e-3
    assert np.abs(probability - field.probability.numpy()).max() < 1e-4


def test_a_size_must_be_chosen() -> None:
    with pytest.raises(UsageError, match="choose input_size"):
        build_tiny(input_size=None).graphs()
