"""What the pages on annotation say in figures: `benchmarks/annotation_clicks.py` and `annotation_scale.py`."""

from __future__ import annotations

import json
from pathlib import Path

from model_tables import table

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "annotation_clicks.json"
_TITLES = {
    "linear": "linear",
    "assist dis": "assist, `dis`",
    "assist dis, told": "assist, `dis`, told what is hidden",
    "strand alone": "`strand` alone",
    "through strand, linear": "through `strand`, linear fade",
    "through strand": "through `strand`",
}
_COLOURS = ("#888888", "#1b9e77", "#66c2a5", "#e6ab02", "#a6a6ff", "#5e3fbe")
_LEFT, _TOP, _WIDTH, _HEIGHT = 46, 14, 420, 250
_LOW, _HIGH = 20.0, 100.0


def annotation_clicks() -> str:
    """The figures as a table, and as curves (SVG in the page)."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))["further clicks"]
    ks = sorted(next(iter(found.values())), key=int)
    rows = []
    for name, title in _TITLES.items():
        rows.append([title, *(f"{found[name][k]['between']:.1f}" for k in ks)])
    head = ["delta_avg between the clicks", *(f"{int(k) + 1} click{'s' * (k != '0')}" for k in ks)]
    return f"{table(head, rows, 'l' + 'r' * len(ks))}\n\n{_curve(found, ks)}"


_ASKED = {
    "points": "all points with their keyframes",
    "summary_600": "the timeline of the whole clip",
    "positions_all_120": "positions of all points on 120 frames",
    "positions_one_whole": "positions of one point on all frames",
    "doubtful_first": "places to look at, for the first time",
    "doubtful_after_edit": "the same, after an edit",
    "edit": "one edit",
    "undo": "one undo",
    "store_16_frames": "16 frames of a run of a tracker on all points",
}


def annotation_scale() -> str:
    """How quick a large project is."""
    found = json.loads(RESULTS.with_name("annotation_scale.json").read_text(encoding="utf-8"))
    workload = found["workload_milliseconds"][1]
    rows = [
        [meaning, f"{found['milliseconds'][name][1]:.0f}", f"{found['milliseconds'][name][1] / workload:.2f}"]
        for name, meaning in _ASKED.items()
    ]
    head = [f"{found['points']} points x {found['frames']} frames", "ms of processor time", "fixed workloads"]
    return table(head, rows, "lrr")


def _curve(found: dict[str, dict[str, dict[str, float]]], ks: list[str]) -> str:
    parts = [f'<svg viewBox="0 0 760 310" role="img" aria-label="Clicks against accuracy" xmlns="{_SVG}">']
    for value in range(20, 101, 20):
        y = _y(value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{_WIDTH}" stroke="currentColor" stroke-opacity=".15"/>')
        parts.append(_text(_LEFT - 8, y + 4, str(value), "end"))
    for k in ks:
        parts.append(_text(_x(k, ks), _TOP + _HEIGHT + 22, str(int(k) + 1), "middle"))
    parts.append(_text(_LEFT + _WIDTH / 2, _TOP + _HEIGHT + 42, "clicks a track", "middle"))
    for place, ((name, title), colour) in enumerate(zip(_TITLES.items(), _COLOURS, strict=True)):
        at = [(_x(k, ks), _y(found[name][k]["between"])) for k in ks]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in at]
        y = _TOP + 24 + 24 * place
        parts.append(f'<path d="M{_LEFT + _WIDTH + 24} {y - 4}h22" stroke="{colour}" stroke-width="4"/>')
        parts.append(_text(_LEFT + _WIDTH + 54, y, title.replace("`", ""), "start"))
    return "".join([*parts, "</svg>"])


_SVG = "http://www.w3.org/2000/svg"


def _x(k: str, ks: list[str]) -> float:
    return _LEFT + 20 + (_WIDTH - 40) * ks.index(k) / max(len(ks) - 1, 1)


def _y(value: float) -> float:
    return _TOP + _HEIGHT * (_HIGH - value) / (_HIGH - _LOW)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="13" fill="currentColor">{text}</text>'
