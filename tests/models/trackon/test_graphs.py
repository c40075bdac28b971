"""Track-On2's exported graphs in onnxruntime beside torch, at other numbers of points than those of the export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_track_on import CONFIG, NONE, SIZE

from tapkit.models.trackon.tracker import TrackOn, build_track_on2
from tapkit.nn.vit import VitConfig

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
runtime = pytest.importorskip("onnxruntime")

SMALL = replace(CONFIG, layers=1, interactions=1, vit=VitConfig(width=128, depth=1, heads=2, hidden=64))
"""One of everything: the export takes as long as the graph has nodes."""


@pytest.fixture(scope="module")
def model() -> TrackOn:
    return build_track_on2(config=SMALL, resolution=SIZE, support=0, memory_frames=3)


@pytest.fixture(scope="module")
def sessions(model: TrackOn, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    from tapkit.engine.onnx_export import export

    folder: Path = tmp_path_factory.mktemp("track-on2")
    export(model, folder)
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = 1
    encode, update = (runtime.InferenceSession(folder / f"{name}.onnx", settings) for name in ("encode", "update"))
    return encode, update


@pytest.mark.parametrize("count", [1, 7])
def test_graphs_give_the_answers_of_torch_while_the_memory_fills_and_rolls(
    model: TrackOn, sessions: tuple[Any, Any], count: int
) -> None:
    encode, update = sessions
    generator = torch.Generator().manual_seed(0)
    video = torch.randint(0, 256, (5, 3, *SIZE), generator=generator, dtype=torch.uint8)
    xy = torch.rand(count, 2, generator=generator) * 64
    state = model.start(SIZE)
    query = np.zeros((0, SMALL.width), np.float32)
    memory, age = np.zeros((count, 3, SMALL.width), np.float32), np.zeros(count, np.int64)
    for t, frame in enumerate(video):
        state, wanted = model.step(state, frame, xy if t == 0 else NONE)
        fused, tokens, match, features = encode.run(None, {"frame": frame[None].float().numpy(), "points": xy.numpy()})
        query = features if t == 0 else query
        given = {"fused": fused, "tokens": tokens, "match": match, "query": query, "memory": memory, "age": age}
        *answer, memory, age = update.run(None, given)
        for ours, theirs in zip(answer, wanted, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-3)
    assert age.tolist() == [3] * count
    np.testing.assert_allclose(memory, state.points.memory.numpy(), atol=1e-3)
