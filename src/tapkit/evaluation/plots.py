"""Plots as inline SVG: no library, no script, readable in light and dark pages.

Colours are CSS classes (`s0`, `s1`, ... for series), so that the page decides how they look.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 460, 280
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 14, 46
FEW = 20
"""Points that stand on fewer entries are drawn hollow and left out of the line."""


class Series(NamedTuple):
    """One line: values 0..1 at categories or at positions; None where undefined."""

    name: str
    values: Sequence[float | None]
    weights: Sequence[int]
    """How many entries stand behind each value."""


def _x(fraction: float) -> float:
    return LEFT + fraction * (WIDTH - LEFT - RIGHT)


def _y(value: float) -> float:
    return TOP + (1 - value) * (HEIGHT - TOP - BOTTOM)


def _kind(entries: int) -> str:
    """CSS class of a marker."""
    return "dot" if entries >= FEW else "few"


def _frame(title: str, x_label: str, y_label: str, body: Sequence[str]) -> str:
    grid = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(v):.1f}" y2="{_y(v):.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{_y(v) + 4:.1f}" text-anchor="end">{round(100 * v)}</text>'
        for v in (0, 0.25, 0.5, 0.75, 1)
    ]
    labels = [
        f'<text class="label" x="{_x(0.5):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text class="label" transform="translate(12 {_y(0.5):.1f}) rotate(-90)" text-anchor="middle">',
        f"{escape(y_label)}</text>",
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(grid)}{''.join(labels)}{''.join(body)}</svg>"
    )


def category_plot(title: str, labels: Sequence[str], series: Sequence[Series], x_label: str, y_label: str) -> str:
    """Lines over labelled bins, in percent. Bins in which no series has a value are left out.

    A marker's area grows with the share of the series' entries that lie in its bin.
    """
    used = [i for i in range(len(labels)) if any(s.values[i] is not None for s in series)]
    if not used:
        return _frame(
            title, x_label, y_label, ['<text class="label" x="230" y="130" text-anchor="middle">no data</text>']
        )
    place = {bin_: (k + 0.5) / len(used) for k, bin_ in enumerate(used)}
    body = [
        f'<text class="tick" x="{_x(place[i]):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
        f"{escape(labels[i])}</text>"
        for i in used
    ]
    for number, line in enumerate(series):
        points = [(i, line.values[i]) for i in used]
        total = max(sum(line.weights), 1)
        firm = [(i, v) for i, v in points if v is not None and line.weights[i] >= FEW]
        path = " ".join(f"{_x(place[i]):.1f},{_y(v):.1f}" for i, v in firm)
        body.append(f'<polyline class="line s{number}" points="{path}"/>')
        for i, value in points:
            if value is not None:
                radius = 2.0 + 7.0 * (line.weights[i] / total) ** 0.5
                tip = f"{line.name}: {100 * value:.1f} at {labels[i]} ({line.weights[i]} entries)"
                body.append(
                    f'<circle class="{_kind(line.weights[i])} s{number}" cx="{_x(place[i]):.1f}" cy="{_y(value):.1f}" '
                    f'r="{radius:.1f}">'
                    f"<title>{escape(tip)}</title></circle>"
                )
    return _frame(title, x_label, y_label, body)


class Bin(NamedTuple):
    """One bin of a reliability diagram."""

    predicted: float
    observed: float
    share: float
    """Of all predictions, 0..1."""
    entries: int
    """How many predictions."""


def reliability_plot(title: str, curves: Sequence[tuple[str, Sequence[Bin]]], x_label: str, y_label: str) -> str:
    """Observed frequency over predicted probability; the diagonal is perfect, the area of a dot is its share."""
    body = [f'<line class="ideal" x1="{_x(0):.1f}" y1="{_y(0):.1f}" x2="{_x(1):.1f}" y2="{_y(1):.1f}"/>']
    body += [
        f'<text class="tick" x="{_x(v):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{v:g}</text>'
        for v in (0, 0.25, 0.5, 0.75, 1)
    ]
    for number, (name, bins) in enumerate(curves):
        path = " ".join(f"{_x(b.predicted):.1f},{_y(b.observed):.1f}" for b in bins if b.entries >= FEW)
        body.append(f'<polyline class="line s{number}" points="{path}"/>')
        for b in bins:
            tip = f"{name}: said {b.predicted:.2f}, was so in {100 * b.observed:.1f}% ({100 * b.share:.1f}% of all)"
            body.append(
                f'<circle class="{_kind(b.entries)} s{number}" cx="{_x(b.predicted):.1f}" cy="{_y(b.observed):.1f}" '
                f'r="{2.0 + 9.0 * b.share**0.5:.1f}"><title>{escape(tip)}</title></circle>'
            )
    return _frame(title, x_label, y_label, body)


def clip_plot(title: str, clips: Sequence[str], series: Sequence[Series], x_label: str) -> str:
    """A row for each clip, a dot for each series at its value in percent."""
    row, left, top = 20, 150, 8
    height = top + row * len(clips) + 36
    span = WIDTH * 2 - left - 20

    def x(value: float) -> float:
        return left + value * span

    body = [
        f'<line class="grid" x1="{x(v):.1f}" x2="{x(v):.1f}" y1="{top}" y2="{height - 34}"/>'
        f'<text class="tick" x="{x(v):.1f}" y="{height - 20}" text-anchor="middle">{round(100 * v)}</text>'
        for v in (0, 0.25, 0.5, 0.75, 1)
    ]
    body.append(f'<text class="label" x="{x(0.5):.1f}" y="{height - 4}" text-anchor="middle">{escape(x_label)}</text>')
    for index, clip in enumerate(clips):
        y = top + row * (index + 0.5)
        shown = clip if len(clip) <= 22 else clip[:21] + "…"
        body.append(f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(shown)}</text>')
        body.append(f'<line class="grid" x1="{left}" x2="{x(1):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        for number, line in enumerate(series):
            value = line.values[index]
            if value is not None:
                tip = f"{clip}, {line.name}: {100 * value:.1f}"
                body.append(
                    f'<circle class="dot s{number}" cx="{x(value):.1f}" cy="{y:.1f}" r="5">'
                    f"<title>{escape(tip)}</title></circle>"
                )
    return (
        f'<svg viewBox="0 0 {WIDTH * 2} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )
