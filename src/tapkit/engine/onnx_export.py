"""Models as ONNX files, so that they run without Python: one file for each graph, and a description in JSON."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from tapkit import storage
from tapkit._version import __version__
from tapkit.errors import UsageError, require
from tapkit.models.base import HasGraphs, Model
from tapkit.models.graphs import Graph

OPSET = 20
"""ONNX operator set of the files."""


def export(model: Model, folder: str | Path) -> list[Path]:
    """Write the graphs of a model into `folder` (made if need be) -> the .onnx files, then `model.json`.

    The description holds names, shapes (axes of any length by name), conventions and the model's card. Graphs are
    float32. Raises `UsageError` for models that have no graphs, `MissingExtra`, `StorageError`.
    """
    if not isinstance(model, HasGraphs):
        raise UsageError(f"{model.card.id} cannot be exported: its network is not written as separate graphs")
    require("onnx", "onnx")
    require("onnxscript", "onnx")
    folder = storage.make_folder(folder)
    parts = model.graphs()
    files = [_write(graph, folder / f"{graph.name}.onnx") for graph in parts]
    description = {
        "model": model.card.id,
        "version": __version__,
        "opset": OPSET,
        "options": dict(model.options),
        "card": model.card.to_dict(),
        "graphs": [_describe(graph) for graph in parts],
    }
    storage.write_text(folder / "model.json", json.dumps(description, indent=1, default=list))
    return [*files, folder / "model.json"]


def _dimension(text: str, known: dict[str, Any]) -> Any:
    """The axis called `text`: a name, or a multiple of one such as "8*height"."""
    factor, name = re.fullmatch(r"(?:(\d+)\*)?(\w+)", text).groups()  # type: ignore[union-attr]
    if name not in known:
        known[name] = torch.export.Dim(name, min=1, max=1 << 15)
    return known[name] if factor is None else int(factor) * known[name]


def _write(graph: Graph, path: Path) -> Path:
    known: dict[str, Any] = {}
    shapes = tuple(
        {axis: _dimension(text, known) for axis, text in graph.varying.get(name, {}).items()} or None
        for name in graph.inputs
    )
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns about its own deprecations
        program = torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            dynamo=True,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            verbose=False,
        )
        assert program is not None
        with storage.staged(path) as target:
            program.save(str(target), external_data=False)
    return path


def _describe(graph: Graph) -> dict[str, Any]:
    """Names and shapes of a graph for people and programs."""
    inputs = {}
    for name, example in graph.inputs.items():
        varying = graph.varying.get(name, {})
        inputs[name] = [varying.get(axis, length) for axis, length in enumerate(example.shape)]
    return {"file": f"{graph.name}.onnx", "inputs": inputs, "outputs": list(graph.outputs), "notes": graph.notes}
