"""A result as Markdown and as one self-contained HTML page (no script, no file beside it)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from itertools import pairwise

import numpy as np

from tapkit.evaluation.pictures import FAR, Picture
from tapkit.evaluation.plots import Bin, Series, category_plot, clip_plot, reliability_plot
from tapkit.evaluation.result import HEADLINE, PIXELS, TITLES, ModelResult, Result
from tapkit.evaluation.score import AGE_EDGES, HIDDEN_EDGES, SPEED_EDGES
from tapkit.metrics.statistics import Difference, Mean
from tapkit.metrics.tapvid import THRESHOLDS, Counts

FAMILIES = ("pointodyssey/", "egopoints/", "pck/")
DETAIL = (
    *(f"pts_within_{x}" for x in (1, 2, 4, 8, 16)),
    *(f"jaccard_{x}" for x in (1, 2, 4, 8, 16)),
    *(f"robustness/{x}" for x in ("survival", "recovered", "missed", "false_visible", "jitter")),
)


def number(key: str, value: float | None) -> str:
    """A figure as printed: percent with one digit, pixels with two, a dash where undefined."""
    if value is None or np.isnan(value):
        return "–"
    return f"{value:.2f}" if key in PIXELS else f"{100 * value:.1f}"


def interval(key: str, mean: Mean) -> str:
    """The 95% interval as printed; empty where there is none."""
    return "" if mean.low is None else f"{number(key, mean.low)}–{number(key, mean.high)}"


def headline_keys(result: Result) -> list[str]:
    """AJ, delta_avg and OA, and what else the field reports on this set."""
    found = dict.fromkeys(k for m in result.models for k in m.summary if k.startswith(FAMILIES))
    return [*HEADLINE, *found]


def undefined_notes(result: Result) -> list[str]:
    """What was left out of which mean."""
    notes = []
    for model in result.models:
        for key in headline_keys(result):
            mean = model.summary.get(key)
            if mean is not None and mean.undefined:
                notes.append(
                    f"{TITLES.get(key, key)} of {model.id} is undefined on {mean.undefined} clips, left out of its mean"
                )
        notes += [f"{model.id} failed on {clip}: {why}" for clip, why in model.failed.items()]
    notes += [f"missing: {name} ({why})" for name, why in result.missing.items()]
    return notes


def facts(result: Result) -> list[str]:
    """What stands above the table: data, mode, versions."""
    scored = len({score.clip for model in result.models for score in model.scores})
    return [
        f"{result.dataset}: {scored} of {result.clips} clips scored"
        + (
            f", missing: {', '.join(result.missing) if len(result.missing) <= 3 else len(result.missing)}"
            if result.missing
            else ""
        )
        + f"; data {result.dataset_hash}",
        ", ".join(f"{key} {value}" for key, value in result.environment.items()),
        *([result.command] if result.command else []),
    ]


# -- Markdown -------------------------------------------------------------------------------------


def markdown(result: Result) -> str:
    """The table with intervals, the protocols, and what was undefined or missing."""
    keys = headline_keys(result)
    lines = [f"# {as_text(result.dataset)}, query {as_text(result.query_mode)}", "", *map(as_text, facts(result)), ""]
    heads = ["model", *(TITLES.get(k, k) for k in keys), "AJ_RD", "ECE visible", "seconds"]
    lines += ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for model in result.models:
        cells = [as_text(model.id)]
        for key in keys:
            mean = model.summary.get(key)
            span = "" if mean is None else interval(key, mean)
            cells.append(("–" if mean is None else number(key, mean.value)) + (f" ({span})" if span else ""))
        cells += [
            number("", model.redetection.get("AJ_RD")),
            number("", _ece(model, "visible")),
            f"{model.seconds:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Percent, except where px is said; in brackets 95% intervals of the mean over clips (bootstrap).", ""]
    lines += [
        f"- {as_text(model.id)}: {as_text(model.protocol)}; weights {model.weights_sha256[:12] or 'none'}"
        for model in result.models
    ]
    lines += [f"- {as_text(note)}" for note in undefined_notes(result)]
    return "\n".join(lines) + "\n"


def comparison(first: str, second: str, differences: Mapping[str, Difference]) -> str:
    """A paired comparison in words and figures."""
    lines = [f"{second} minus {first}, {next(iter(differences.values())).clips} clips (paired bootstrap over clips):"]
    for key, d in differences.items():
        verdict = "more than noise" if d.significant else "within noise"
        unit = 1 if key in PIXELS else 100
        lines.append(
            f"  {TITLES.get(key, key):8} {unit * d.value:+6.2f}  95% {unit * d.low:+6.2f} to {unit * d.high:+6.2f}  "
            f"p {d.p:.4f}  higher on {d.better}, lower on {d.worse}: {verdict}"
        )
    return "\n".join(lines)


def as_text(text: str) -> str:
    """Text of any origin within a line of Markdown: what could be markup, a table's cell or a line of its own is not.

    >>> as_text("a|b <i>\\n# c")
    'a\\\\|b &lt;i> # c'
    """
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("](", "]\\(")


def _ece(model: ModelResult, what: str) -> float | None:
    diagram = model.reliability(what)
    return None if diagram is None else diagram.ece


# -- HTML -----------------------------------------------------------------------------------------


def html(result: Result, pictures: Sequence[Picture] = ()) -> str:
    """The whole page."""
    title = f"{escape(result.dataset)}, query {escape(result.query_mode)}"
    keys = "".join(f'<span class="key">{_dot(i)}{escape(m.id)}</span>' for i, m in enumerate(result.models))
    legend = f"<p class='legend'>{keys}</p>" if len(result.models) > 1 else ""
    notes = undefined_notes(result)
    parts = [
        f"<header><h1>{title}</h1>" + "".join(f"<p class='facts'>{escape(f)}</p>" for f in facts(result)) + "</header>",
        _table(result),
        "<section><h2>Protocol</h2><dl>" + "".join(_protocol(m) for m in result.models) + "</dl></section>",
        f"<section><h2>Where it breaks</h2>{legend}<div class='plots'>{_plots(result)}</div></section>",
        f"<section><h2>Clip by clip</h2>{legend}{_clips(result)}</section>",
        _pictures(pictures),
        _details(result),
    ]
    if notes:
        parts.append(
            "<section><h2>Left out</h2><ul>" + "".join(f"<li>{escape(n)}</li>" for n in notes) + "</ul></section>"
        )
    foot = f"<footer>{escape(result.citation)}. Made by <code>tapkit eval</code>.</footer>" if result.citation else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_style()}</style></head><body><main>{''.join(parts)}{foot}</main></body></html>"
    )


def _table(result: Result) -> str:
    keys = headline_keys(result)
    best = {}
    for key in keys:
        values = [
            mean.value for m in result.models if (mean := m.summary.get(key)) is not None and mean.value is not None
        ]
        best[key] = max((v for v in values if v is not None), default=None)
    heads = "".join(f"<th>{escape(TITLES.get(k, k))}</th>" for k in keys)
    rows = []
    for i, model in enumerate(result.models):
        cells = []
        for key in keys:
            mean = model.summary.get(key, Mean(None, None, None, 0, 0))
            top = len(result.models) > 1 and mean.value is not None and mean.value == best[key] and key not in PIXELS
            cells.append(
                f"<td{' class=best' if top else ''}><b>{number(key, mean.value)}</b>"
                f"<small>{interval(key, mean)}</small></td>"
            )
        extra = [
            number("", model.redetection.get("AJ_RD")),
            number("", _ece(model, "visible")),
            number("", _ece(model, "confidence")),
        ]
        cells += [f"<td><b>{value}</b><small></small></td>" for value in extra]
        queries = sum(score.queries for score in model.scores)
        cells.append(f"<td><b>{model.seconds:.0f} s</b><small>{queries} queries</small></td>")
        rows.append(
            f"<tr><th class='model'>{_dot(i)}{escape(model.id)}<small>weights: {escape(model.licence)}</small></th>"
            f"{''.join(cells)}</tr>"
        )
    return (
        f"<section><div class='scroll'><table><thead><tr><th class='model'>tracker</th>{heads}<th>AJ<sub>RD</sub></th>"
        "<th>ECE visible</th><th>ECE confid.</th><th>time</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        "<p class='facts'>Percent unless px is said. Small: 95% interval of the mean over clips (bootstrap). "
        "AJ<sub>RD</sub>: Jaccard after a point appears or returns. ECE: expected calibration error, lower is better. "
        "–: not defined for any clip, or by the tracker.</p></section>"
    )


def _dot(number: int) -> str:
    return f'<svg viewBox="0 0 12 12"><circle class="dot s{number}" cx="6" cy="6" r="5"/></svg>'


def _protocol(model: ModelResult) -> str:
    weights = f"weights {model.weights_sha256[:16]}" if model.weights_sha256 else "no weights file"
    return f"<dt>{escape(model.id)}</dt><dd>{escape(model.protocol)}; {weights}</dd>"


def _plots(result: Result) -> str:
    plots = [
        _thresholds(result),
        _curve(result, "age", AGE_EDGES, "Accuracy against track age", "frames since the query"),
        _curve(
            result, "hidden", HIDDEN_EDGES, "Accuracy after occlusion", "longest time hidden since the query, frames"
        ),
        _curve(result, "speed", SPEED_EDGES, "Accuracy against speed of motion", "pixels per frame (of 256 × 256)"),
        _reliability(result, "visible", "Is the visibility calibrated?", "said P(visible)", "was visible, %"),
    ]
    if any(model.reliability("confidence") is not None for model in result.models):
        plots.append(
            _reliability(result, "confidence", "Is the confidence calibrated?", "said confidence", "was right, %")
        )
    return "".join(f"<figure><figcaption>{title}</figcaption>{svg}</figure>" for title, svg in plots)


def _thresholds(result: Result) -> tuple[str, str]:
    labels = [f"{x:g}" for x in THRESHOLDS]
    series = []
    for model in result.models:
        means = [model.summary.get(f"pts_within_{label}") for label in labels]
        clips = [0 if mean is None else mean.defined for mean in means]
        entries = sum(int(score.age.visible.sum()) for score in model.scores)
        series.append(
            Series(model.id, [None if m is None else m.value for m in means], [entries if c else 0 for c in clips])
        )
    title = "How precise"
    return title, category_plot(title, labels, series, "threshold, pixels (of 256 × 256)", "δ of visible points, %")


def _curve(result: Result, name: str, edges: Sequence[float], title: str, x_label: str) -> tuple[str, str]:
    series = [Series(m.id, *_delta(m.pooled(name))) for m in result.models if m.scores]
    return title, category_plot(title, bin_labels(edges), series, x_label, "δ avg of visible points, %")


def _delta(counts: Counts) -> tuple[list[float | None], list[int]]:
    values = counts.figures()["average_pts_within_thresh"]
    return [None if np.isnan(v) else float(v) for v in values], counts.visible.tolist()


def bin_labels(edges: Sequence[float]) -> list[str]:
    """Names of bins [e0,e1), ..., [eK, inf).

    >>> bin_labels((0, 1, 2, 4))
    ['0', '1', '2–3', '4+']
    >>> bin_labels((0.0, 0.25, 0.5))
    ['0–.25', '.25–.5', '.5+']
    """
    if all(isinstance(edge, int) for edge in edges):
        return [str(a) if b - a == 1 else f"{a}–{b - 1}" for a, b in pairwise(edges)] + [f"{edges[-1]}+"]
    text = [f"{edge:g}".removeprefix("0") or "0" for edge in edges]
    return [f"{a}–{b}" for a, b in pairwise(text)] + [f"{text[-1]}+"]


def _reliability(result: Result, what: str, title: str, x_label: str, y_label: str) -> tuple[str, str]:
    curves = []
    for model in result.models:
        diagram = model.reliability(what)
        bins: list[Bin] = []
        if diagram is not None:
            predicted, happened = diagram.curve()
            total = max(int(diagram.entries.sum()), 1)
            rows = zip(predicted.tolist(), happened.tolist(), diagram.entries.tolist(), strict=True)
            bins = [Bin(p, h, c / total, c) for p, h, c in rows if c]
        curves.append((model.id, bins))
    return title, reliability_plot(title, curves, x_label, y_label)


def _clips(result: Result) -> str:
    names = list(dict.fromkeys(score.clip for model in result.models for score in model.scores))
    by_model = [{score.clip: score for score in model.scores} for model in result.models]

    def value(scores: Mapping[str, object], clip: str) -> float | None:
        score = scores.get(clip)
        aj = score.figures["average_jaccard"] if score is not None else float("nan")  # type: ignore[attr-defined]
        return None if np.isnan(aj) else float(aj)

    worst_first = sorted(names, key=lambda n: min((v for s in by_model if (v := value(s, n)) is not None), default=2.0))
    shown = worst_first[:60]
    series = [Series(m.id, [value(s, n) for n in shown], []) for m, s in zip(result.models, by_model, strict=True)]
    more = f"<p class='facts'>The worst 60 of {len(names)} clips.</p>" if len(names) > len(shown) else ""
    return f"<figure class='wide'>{clip_plot('AJ of each clip', shown, series, 'AJ, %')}</figure>{more}"


def _pictures(pictures: Sequence[Picture]) -> str:
    if not pictures:
        return ""
    figures = "".join(
        f"<figure class='wide'><figcaption>{escape(p.model)}: {escape(p.clip)} <small>{escape(p.caption)}</small>"
        "</figcaption>"
        f'<img alt="{escape(p.clip)}" src="data:image/jpeg;base64,{base64.b64encode(p.jpeg).decode()}"></figure>'
        for p in pictures
    )
    return (
        "<section><h2>Worst clips</h2><p class='legend'>"
        "<span class='key'><i style='background:#34c759'></i>right</span>"
        f"<span class='key'><i style='background:#ff453a'></i>off by {FAR:g} px or more "
        "(ring: truth, cross: answer)</span>"
        "<span class='key'><i style='background:#ffcc00'></i>visible, but said to be hidden</span>"
        "<span class='key'><i style='background:#bf5af2'></i>hidden, but said to be visible</span></p>"
        f"{figures}</section>"
    )


def _details(result: Result) -> str:
    rows = []
    for key in DETAIL:
        cells = []
        for model in result.models:
            mean = model.summary.get(key, Mean(None, None, None, 0, 0))
            undefined = f" ({mean.undefined} undefined)" if mean.undefined else ""
            cells.append(f"<td><b>{number(key, mean.value)}</b><small>{interval(key, mean)}{undefined}</small></td>")
        rows.append(f"<tr><th class='model'>{escape(TITLES[key])}</th>{''.join(cells)}</tr>")
    heads = "".join(f"<th>{escape(m.id)}</th>" for m in result.models)
    return (
        "<section><details><summary>All figures</summary><div class='scroll'><table><thead><tr><th class='model'></th>"
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        "<p class='facts'>survival: share of frames before a visible point is first more than 16 px off. recovered: "
        "points found again within 8 frames of coming back. jitter: median second difference of the error.</p>"
        "</details></section>"
    )


def _style() -> str:
    """The page's style sheet, with a colour class for each series."""
    sheet = resources.files("tapkit.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    series = (f".line.s{i},.few.s{i}{{stroke:var(--c{i % 8})}}.dot.s{i}{{fill:var(--c{i % 8})}}\n" for i in range(24))
    return sheet + "".join(series)
