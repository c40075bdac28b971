"""`tapkit bench`: frames a second x points x resolution x device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapkit.cli import options as o
from tapkit.errors import TapkitError, UsageError
from tapkit.parsing import parse_size

if TYPE_CHECKING:
    from tapkit.engine.tracker import Tracker
    from tapkit.evaluation.speed import Speed


def bench(
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Trackers; default: those that need no download.")
    ] = None,
    points: Annotated[list[int] | None, typer.Option("--points", help="Numbers of points. [1, 64, 256]")] = None,
    size: Annotated[list[str] | None, typer.Option("--size", metavar="WxH", help="Resolutions. [256x256]")] = None,
    frames: Annotated[int, typer.Option(min=2, help="Frames of the clip.")] = 24,
    device: o.Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: as torch chooses.")] = None,
    option: o.Option = None,
    reference_protocol: Annotated[
        bool,
        typer.Option(
            "--reference-protocol",
            help="Network only, one thread, CPU time, beside what the originals cost (from a checkout).",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure speed and memory of trackers on this machine.

    Weights do not change how long a network takes: where a checkpoint is not here, random weights are used.
    Every time is also given in multiples of a fixed workload measured in the same run ("x"), which is what to
    compare between machines.
    """
    if reference_protocol:
        _reference(model or [])
        return
    import torch

    from tapkit.evaluation.speed import measure

    if threads:
        torch.set_num_threads(threads)
    rows: list[Speed] = []
    for name in model or _ready():
        tracker = _tracker(name, device, option)
        for text in size or ["256x256"]:
            height, width = parse_size(text)
            for count in points or [1, 64, 256]:
                rows.append(measure(tracker, count, height, width, frames))
                if not as_json:
                    o.say(f"{name}: {count} points, {width}x{height}: {rows[-1].fps:.1f} frames/s")
    if as_json:
        print(json.dumps([row.to_dict() for row in rows], indent=1))
    else:
        _print(rows)


def _ready() -> list[str]:
    from tapkit import registry, weights

    trackers = (card for card in registry.cards().values() if card.streaming != "pairwise")
    return [card.id for card in trackers if not card.needs_weights or weights.find(card)]


def _tracker(name: str, device: str, option: list[str] | None) -> Tracker:
    from tapkit import api, registry, weights
    from tapkit.engine.tracker import Tracker

    card = registry.card(name)
    if card.needs_weights and weights.find(card) is None:
        return Tracker(registry.build(name, None, **o.read_options(option)).to(api.choose_device(device)), "random")
    return o.load_tracker(name, None, device, option, quiet=True)


def _print(rows: list[Speed]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{rows[0].device}, {rows[0].threads} threads, {rows[0].frames} frames" if rows else None)
    for name in (
        "model",
        "precision",
        "points",
        "size",
        "frames/s",
        "first ms",
        "median ms",
        "p95 ms",
        "x a frame",
        "peak MiB",
    ):
        table.add_column(name, justify="left" if name == "model" else "right")
    for r in rows:
        figures = (
            f"{r.fps:.1f}",
            f"{r.first_ms:.0f}",
            f"{r.median_ms:.1f}",
            f"{r.p95_ms:.1f}",
            f"{r.multiples:.3f}",
            "-" if r.peak_mib is None else f"{r.peak_mib:.1f}",
        )
        table.add_row(r.model, r.precision, str(r.points), f"{r.width}x{r.height}", *figures)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _reference(names: list[str]) -> None:
    script = Path(__file__).resolve().parents[3] / "benchmarks" / "reference_protocol.py"
    if not script.is_file():
        raise UsageError("--reference-protocol needs a checkout of the project: it compares with its parity folder")
    modules = [name.replace("-", "_") for name in names]
    if subprocess.run([sys.executable, str(script), *modules], check=False).returncode:
        raise TapkitError("the reference protocol did not finish")
