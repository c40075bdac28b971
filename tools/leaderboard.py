"""Write docs/benchmarks/leaderboard.md: published numbers beside ours, each with its protocol and its source.

    python tools/leaderboard.py [--check]

Published numbers come from the model cards and, for what has no card, from benchmarks/published.json. Ours come
from the result files of `tapkit eval` in benchmarks/results/eval/. Nothing on the page is typed by hand; --check
fails if the page is not what this would write.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tapkit import registry
from tapkit.evaluation.report import interval, number
from tapkit.evaluation.result import HEADLINE, ModelResult, Result

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks" / "leaderboard.md"
RESULTS = ROOT / "benchmarks" / "results" / "eval"
PUBLISHED = ROOT / "benchmarks" / "published.json"
COLUMNS = ("AJ", "delta_avg", "OA")
ORDER = ("TAP-Vid DAVIS", "TAP-Vid Kinetics", "TAP-Vid RGB-Stacking", "RoboTAP", "PointOdyssey", "tapkit tiny")
ALIASES = {"PointOdyssey test": "PointOdyssey"}


class Row(NamedTuple):
    """One line of a table."""

    dataset: str
    mode: str
    """first, strided, or empty where the benchmark has no query modes."""
    method: str
    values: dict[str, str]
    rank: tuple[float, float]
    """By AJ, and below all that have one by delta_avg."""
    protocol: str
    source: str
    ours: bool


def mode_of(protocol: str) -> str:
    """The query mode that a protocol string begins with."""
    for mode in ("first", "strided"):
        if protocol.startswith(f"query {mode}"):
            return mode
    return ""


def published() -> Iterator[Row]:
    """Rows of cards, then of methods without a card."""
    groups: dict[tuple[str, str, str, str], dict[str, float]] = {}
    for id, card in registry.cards().items():
        for figure in card.published:
            dataset = ALIASES.get(figure.dataset, figure.dataset)
            groups.setdefault((id, dataset, figure.protocol, figure.source), {})[figure.metric] = figure.value
    known = {(id, dataset) for id, dataset, _, _ in groups}
    for (id, dataset, protocol, source), values in groups.items():
        yield _row(dataset, f"{registry.card(id).name} (`{id}`)", values, protocol, source)
    for entry in json.loads(PUBLISHED.read_text()):
        if (entry["id"], entry["dataset"]) not in known:
            yield _row(entry["dataset"], entry["method"], entry["values"], entry["protocol"], entry["source"])


def _row(dataset: str, method: str, values: dict[str, float], protocol: str, source: str) -> Row:
    shown = {key: f"{value:.1f}" if round(value, 1) == value else f"{value:g}" for key, value in values.items()}
    rank = values.get("AJ", 0.0), values.get("delta_avg", 0.0)
    return Row(dataset, mode_of(protocol), method, shown, rank, protocol, source, False)


def measured() -> Iterator[Row]:
    """Rows of stored results."""
    for path in sorted(RESULTS.glob("*.json")):
        result = Result.load(path)
        for model in result.models:
            yield _measured_row(path, result, model)


def _measured_row(path: Path, result: Result, model: ModelResult) -> Row:
    shown = {}
    for key, column in zip(HEADLINE, COLUMNS, strict=True):
        mean = model.summary[key]
        span = interval(key, mean)
        shown[column] = f"**{number(key, mean.value)}**" + (f" ({span})" if span else "")
    source = (
        f"[{path.name}](../../benchmarks/results/eval/{path.name}): {len(model.scores)} of {result.clips} clips, data "
        f"{result.dataset_hash}, weights {model.weights_sha256[:12] or 'none'}, tapkit {result.environment['tapkit']}; "
        f"`{result.command}`"
    )
    rank = 100 * (model.summary[HEADLINE[0]].value or 0.0), 0.0
    method = f"{model.name} (`{model.id}`)"
    return Row(result.dataset, result.query_mode, method, shown, rank, model.protocol, source, True)


def page() -> str:
    """The whole page."""
    rows = [*measured(), *published()]
    datasets = sorted({r.dataset for r in rows}, key=lambda d: (ORDER.index(d) if d in ORDER else len(ORDER), d))
    lines = [
        "# Leaderboard",
        "",
        "Written by `python tools/leaderboard.py`; do not edit. Bold: measured with tapkit, by the command beside it",
        "(mean over clips; in brackets the 95% bootstrap interval over clips). Others: as the source prints them.",
        "Percent unless px is said.",
        "Protocols differ between rows: a number is comparable with another only where the protocols agree.",
        "",
    ]
    for dataset in datasets:
        for mode in ("first", "strided", ""):
            chosen = [r for r in rows if (r.dataset, r.mode) == (dataset, mode)]
            chosen.sort(key=lambda r: (-r.rank[0], -r.rank[1], r.method, r.protocol))
            if chosen:
                lines += _table(f"{dataset}, query {mode}" if mode else dataset, chosen)
    return "\n".join(lines)


def _table(title: str, rows: list[Row]) -> list[str]:
    extra = list(dict.fromkeys(key for r in rows for key in r.values if key not in COLUMNS))
    columns = [c for c in COLUMNS if any(c in r.values for r in rows)] + extra
    heads = ["method", *("δ avg" if c == "delta_avg" else c for c in columns), "protocol", "source"]
    lines = [f"## {title}", "", "| " + " | ".join(heads) + " |", "|---" + "|---:" * len(columns) + "|---|---|"]
    for r in rows:
        name = f"**{r.method}**" if r.ours else r.method
        cells = [name, *(r.values.get(c, "") for c in columns), r.protocol, r.source]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*lines, ""]


def main() -> int:
    """Write or check the page."""
    parser: Any = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is out of date")
    text = page()
    if parser.parse_args().check:
        current = PAGE.is_file() and PAGE.read_text() == text
        print("up to date" if current else f"{PAGE} is out of date: run python tools/leaderboard.py", file=sys.stderr)
        return 0 if current else 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text)
    print(f"wrote {PAGE}, {text.count(chr(10))} lines")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
