"""`tapkit models`: what there is, and under which terms."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from tapkit.types import ModelCard


def models(
    commercial: Annotated[bool, typer.Option("--commercial", help="Only those that may be used commercially.")] = False,
    streaming: Annotated[str | None, typer.Option(help="Only causal, window, offline or per-video ones.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole cards as JSON.")] = False,
) -> None:
    """List the trackers: licence, streaming, resolution, published numbers, weights present or not."""
    from tapkit import registry

    chosen = [
        card
        for card in (*registry.cards().values(), *registry.per_video_cards().values())
        if (card.commercial or not commercial) and streaming in (None, card.streaming)
    ]
    if as_json:
        print(
            json.dumps(
                [{**c.to_dict(), "weights_present": _state(c, _found(c)) != "missing"} for c in chosen], indent=1
            )
        )
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    for name in (
        "id",
        "streaming",
        "latency",
        "input",
        "weights licence",
        "commercial",
        "published (first)",
        "weights",
    ):
        table.add_column(name, overflow="fold")
    for card in chosen:
        table.add_row(
            card.id,
            card.streaming,
            "clip" if card.latency < 0 else str(card.latency),
            f"{card.input_size[1]}x{card.input_size[0]}" if card.input_size else "any",
            card.weights_licence,
            "yes" if card.commercial else "no",
            _published(card),
            _state(card, _found(card)),
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _published(card: ModelCard) -> str:
    """The headline figures, AJ / delta_avg / OA: of TAP-Vid DAVIS, or of whatever comes first, which is named."""
    for name, wanted in (("DAVIS", "TAP-Vid DAVIS"), *((n.dataset, n.dataset) for n in card.published)):
        figures = {
            n.metric: n.value
            for n in reversed(card.published)
            if n.dataset == wanted and "strided" not in n.protocol and n.metric in ("AJ", "delta_avg", "OA")
        }
        if figures:
            shown = [_figure(figures[m]) if m in figures else "-" for m in ("AJ", "delta_avg", "OA")]
            return f"{name} " + " / ".join(shown)
    if card.published:
        first = card.published[0]
        return f"{first.dataset} {first.metric} {_figure(first.value)}"
    return ""


def _figure(value: float) -> str:
    """As papers print it: with the digits that it was given, and one behind the point at least."""
    return str(float(value))


def _found(card: ModelCard) -> object:
    """Where the weights lie, if all of them are on this machine."""
    from tapkit import weights

    if card.backbone is not None and weights.find_backbone(card.backbone) is None:
        return None
    return weights.find(card)


def _state(card: ModelCard, path: object) -> str:
    if not card.needs_weights:
        return "not needed"
    if card.weights_built_in:
        return "built in"
    return "present" if path else "missing"
