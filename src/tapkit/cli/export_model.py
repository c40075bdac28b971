"""`tapkit export-model`: a tracker as ONNX graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tapkit.cli import options as o
from tapkit.cli.outputs import Force, claim


def export_model(
    model: Annotated[str, typer.Argument(help="Registry id, for instance tapir-causal.")],
    folder: Annotated[Path, typer.Argument(help="Where the .onnx files and model.json go; made if need be.")],
    weights: o.Weights = None,
    option: o.Option = None,
    force: Force = False,
) -> None:
    """Write a tracker as ONNX graphs.

    One file encodes a frame, others update points; model.json names inputs, outputs and conventions. Any number of
    points, any size of frames. The state goes in and comes out, so the graphs run in any program with an ONNX runtime.

      tapkit export-model tapir-causal tapir_onnx
      tapkit export-model locotrack-small locotrack_onnx --weights locotrack_small.ckpt
    """
    from tapkit.engine.onnx_export import export

    claim(folders=[folder], inputs=[weights], force=force)
    tracker = o.load_tracker(model, weights, "cpu", option)
    for path in export(tracker.model, folder):
        typer.echo(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")
