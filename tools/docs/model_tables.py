"""Tables of trackers for the documentation and the README, from their cards and options. Nothing in them is typed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tapkit import registry
from tapkit.types import ModelCard

ROOT = Path(__file__).parents[2]

KINDS = {
    "causal": "causal",
    "window": "window",
    "offline": "offline",
    "pairwise": "two frames",
    "per-video": "fitted to each video",
}
"""How tables name the kinds of `card.streaming`; others stand as they are on the card."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> str:
    """A Markdown table; `align` has one letter for each column, l or r."""
    marks = ["---:" if side == "r" else "---" for side in (align or "l" * len(head))]
    lines = [head, marks, *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def page_of(model: str) -> str | None:
    """Which page (stem of docs/models/*.md) describes a tracker: the one whose title names it, else its family's.

    >>> page_of("bootstapir-causal"), page_of("locotrack-base"), page_of("pips2")
    ('tapir-causal', 'locotrack', 'pips2')
    """
    titles = _titles()
    named = [stem for stem, names in titles.items() if model in (stem, *names)]
    if named:
        return max(named, key=lambda stem: (model in titles[stem], stem == model))
    words = model.split("-")
    parts = ["-".join(words[:length]) for length in range(len(words) - 1, 0, -1)]
    parts += [part.replace("_", "-") for part in registry.card(model).factory.partition(":")[0].split(".")]
    return next((part for part in parts if part in titles), None)


@cache
def _titles() -> dict[str, list[str]]:
    """The names in the title of each page: "a, b" or "a and b"."""
    found = {}
    for path in sorted((ROOT / "docs" / "models").glob("*.md")):
        title = re.search(r"^# (.*)$", path.read_text(encoding="utf-8"), re.M)
        found[path.stem] = re.split(r", | and ", title[1]) if title and path.stem != "index" else []
    return found


def davis(card: ModelCard) -> dict[str, float]:
    """AJ, delta_avg and OA on TAP-Vid DAVIS, query first, as the authors print them; what they print of it."""
    found: dict[str, float] = {}
    for number in card.published:
        if (
            number.dataset == "TAP-Vid DAVIS"
            and "strided" not in number.protocol
            and number.metric in ("AJ", "delta_avg", "OA")
        ):
            found.setdefault(number.metric, number.value)
    return found


def latency(card: ModelCard) -> str:
    """Frames after which a result is final, in words for a table."""
    return "whole clip" if card.latency < 0 else str(card.latency)


def every_card() -> list[ModelCard]:
    """Those of all trackers, and of the methods that are fitted to each video."""
    return [*registry.cards().values(), *registry.per_video_cards().values()]


def overview(link: Any, cards: Iterable[ModelCard] | None = None) -> str:
    """All trackers, one row each; `link(card)` makes the first cell."""
    rows = []
    for card in every_card() if cards is None else cards:
        figures = davis(card)
        rows.append(
            [
                link(card),
                KINDS.get(card.streaming, card.streaming),
                latency(card),
                "joint" if card.joint else "independent",
                f"{card.input_size[1]} x {card.input_size[0]}" if card.input_size else "the video's",
                "in the package" if card.weights_built_in else ("download" if card.needs_weights else "none needed"),
                card.weights_licence,
                "yes" if card.commercial else "no",
                f"{figures['AJ']:g}" if "AJ" in figures else "",
                f"{figures['delta_avg']:g}" if "delta_avg" in figures else "",
            ]
        )
    head = ["tracker", "kind", "latency, frames", "points", "input", "weights", "licence of weights", "commercial use"]
    return table([*head, "DAVIS AJ", "DAVIS δ avg"], rows, "llrlllllrr")


def short(link: Any) -> str:
    """The table of the README: few columns."""
    rows = []
    for card in every_card():
        figures = davis(card)
        weights = "in the package" if card.weights_built_in else card.weights_licence
        rows.append(
            [
                link(card),
                KINDS.get(card.streaming, card.streaming) + _later(card.latency),
                weights if card.commercial else f"{weights}; not commercial",
                f"{figures['AJ']:g}" if "AJ" in figures else "",
            ]
        )
    return table(["tracker", "kind", "weights", "DAVIS AJ"], rows, "lllr")


def _later(frames: int) -> str:
    """How many frames later a windowed tracker answers."""
    return f", {frames} frame{'s' if frames > 1 else ''} later" if frames > 0 else ""


def card_table(card: ModelCard) -> str:
    """Everything on one card that a user asks for."""
    rows = [
        ["kind", KINDS.get(card.streaming, card.streaming)],
        ["latency, frames", latency(card)],
        ["points", "influence each other" if card.joint else "independent of each other"],
        ["one pass covers", "both directions" if card.bidirectional else "forward; a second pass covers backward"],
        ["frames before the query", "influence its track" if card.uses_past else "do not influence its track"],
        ["input", f"{card.input_size[1]} x {card.input_size[0]} pixels" if card.input_size else "the video's own size"],
        ["visible where", f"{card.visible_rule.replace('*', ' x ')} > {card.visible_threshold:g}"],
        ["confidence is", _confidence(card)],
        ["longest clip in training", f"{card.longest_trained} frames" if card.longest_trained else "not stated"],
        ["licence of the authors' code", card.code_licence],
        ["licence of the weights", card.weights_licence],
        ["commercial use of the weights", "yes" if card.commercial else "no"],
        ["weights", _weights(card)],
        ["paper", f"[{card.paper}]({card.paper_url})" if card.paper_url.startswith("http") else card.paper],
        ["notes", card.notes],
    ]
    return table(["", f"`{card.id}`"], [row for row in rows if row[1]])


def _confidence(card: ModelCard) -> str:
    if card.confidence_radius is None:
        return "not trained as a probability of being right"
    return f"P(error < {card.confidence_radius:g} px)"


def _weights(card: ModelCard) -> str:
    if card.weights_built_in:
        return f"`{card.weights_file}`, in the package"
    if not card.needs_weights:
        return "none needed"
    address = f" from <{card.weights_url}>" if card.weights_url else ""
    sums = ", ".join(f"MD5 of `{name}` {md5}" for name, md5 in card.weights_md5.items())
    return f"`{card.weights_file}`{address}" + (f"; {sums}" if sums else "")


def published_table(card: ModelCard) -> str:
    """The figures the authors (or others) print, each with its protocol; "" if there are none."""
    if not card.published:
        return ""
    rows = [[n.dataset, n.metric, f"{n.value:g}", n.protocol, n.source] for n in card.published]
    return table(["dataset", "metric", "value", "protocol", "source"], rows, "llrll")


def options_table(model: str) -> str:
    """What may be chosen of one tracker; "" if nothing."""
    fields = registry.options(model)
    return (
        table(
            ["option", "values", "default", "what it does"],
            [[f"`{f.name}`", f.type, f"`{f.default!r}`", f.help] for f in fields],
        )
        if fields
        else ""
    )
