"""A result as Markdown and as one self-contained HTML page (no script, no file beside it)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from tapkit.evaluation.pictures import FAR, Picture
from tapkit.evaluation.plots import Bin, Series, category_plot, clip_plot, reliability_plot
from tapkit.evaluation.result import HEADLINE, PIXELS, TITLES, ModelResult, Result
from tapkit.evaluation.score import AGE_EDGES, HIDDEN_EDGES, SPEED_EDGES
from tapkit.metrics.statistics import Difference, Mean
from tapkit.metrics.tapvid import Counts

FAMILIES = ("pointodyssey/", "pck/")
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
        + (f", {len(result.missing)} missing" if result.missing else "")
        + f"; data {result.dataset_hash}",
        ", ".join(f"{key} {value}" for key, value in result.environment.items()),
    ]


# -- Markdown -------------------------------------------------------------------------------------


def markdown(result: Result) -> str:
    """The table with intervals, the protocols, and what was undefined or missing."""
    keys = headline_keys(result)
    lines = [f"# {result.dataset}, query {result.query_mode}", "", *facts(result), ""]
    heads = ["model", *(TITLES.get(k, k) for k in keys), "AJ_RD", "ECE visible", "seconds"]
    lines += ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for model in result.models:
        cells = [model.id]
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
        f"- {model.id}: {model.protocol}; weights {model.weights_sha256[:12] or 'none'}" for model in result.models
    ]
    lines += [f"- {note}" for note in undefined_notes(result)]
    return "\n".join(lines) + "\n"


def comparison(first: str, second: str, differences: Mapping[str, Difference]) -> str:
    """A paired comparison in words and figures."""
    lines = [f"{second} minus {first}, {next(iter(differences.values())).clips} clips (paired bootstrap over clips):"]
    for key, d in differences.items():
        verdict = "more than noise" if d.significant else "within noise"
        unit = 1 if key in PIXELS else 100
        lines.append(
            f"  {TITLES.get(key, key):8} {unit * d.value:+6.2f}  95% interval {unit * d.low:+6.2f} to {unit * d.high:+6.2f}  "
            f"p {d.p:.4f}  higher on {d.better}, lower on {d.worse}: {verdict}"
        )
    return "\n".join(lines)


def _ece(model: ModelResult, what: str) -> float | None:
    diagram = model.reliability(what)
    return None if diagram is None else diagram.ece


# -- HTML -----------------------------------------------------------------------------------------


def html(result: Result, pictures: Sequence[Picture] = ()) -> str:
    """The whole page."""
    title = f"{escape(result.dataset)}, query {escape(result.query_mode)}"
    legend = "".join(
        f'<span class="key"><svg viewBox="0 0 12 12"><circle class="dot s{i}" cx="6" cy="6" r="5"/></svg>{escape(m.id)}</span>'
        for i, m in enumerate(result.models)
    )
    notes = undefined_notes(result)
    parts = [
        f"<header><h1>{title}</h1>" + "".join(f"<p class='facts'>{escape(f)}</p>" for f in facts(result)) + "</header>",
        _table(result),
        "<section><h2>Protocol</h2><dl>" + "".join(_protocol(m) for m in result.models) + "</dl></section>",
        f"<section><h2>Where it breaks</h2><p class='legend'>{legend}</p><div class='plots'>{_plots(result)}</div></section>",
        f"<section><h2>Clip by clip</h2><p class='legend'>{legend}</p>{_clips(result)}</section>",
        _pictures(pictures),
        _details(result),
    ]
    if notes:
        parts.append(
            "<section><h2>Left out</h2><ul>" + "".join(f"<li>{escape(n)}</li>" for n in notes) + "</ul></section>"
        )
    foot = f"<footer>{escape(result.citation)}. Made by <code>tapkit eval</code>.</footer>" if result.citation else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main>{''.join(parts)}{foot}</main></body></html>"
    )


def _table(result: Result) -> str:
    keys = headline_keys(result)
    best = {
        key: max(
            (m.summary[key].value for m in result.models if key in m.summary and m.summary[key].value is not None),
            default=None,
        )
        for key in keys
    }
    heads = "".join(f"<th>{escape(TITLES.get(k, k))}</th>" for k in keys)
    rows = []
    for i, model in enumerate(result.models):
        cells = []
        for key in keys:
            mean = model.summary.get(key, Mean(None, None, None, 0, 0))
            top = len(result.models) > 1 and mean.value is not None and mean.value == best[key] and key not in PIXELS
            cells.append(
                f"<td{' class=best' if top else ''}><b>{number(key, mean.value)}</b><small>{interval(key, mean)}</small></td>"
            )
        extra = [
            number("", model.redetection.get("AJ_RD")),
            number("", _ece(model, "visible")),
            number("", _ece(model, "confidence")),
        ]
        cells += [f"<td><b>{value}</b><small></small></td>" for value in extra]
        queries = sum(score.queries for score in model.scores)
        cells.append(f"<td><b>{model.seconds:.0f} s</b><small>{queries} queries</small></td>")
        mark = f'<svg viewBox="0 0 12 12"><circle class="dot s{i}" cx="6" cy="6" r="5"/></svg>'
        rows.append(
            f"<tr><th class='model'>{mark}{escape(model.id)}<small>{escape(model.licence)}</small></th>{''.join(cells)}</tr>"
        )
    return (
        f"<section><div class='scroll'><table><thead><tr><th class='model'>tracker</th>{heads}<th>AJ<sub>RD</sub></th>"
        f"<th>ECE visible</th><th>ECE confid.</th><th>time</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        "<p class='facts'>Percent unless px is said. Small: 95% interval of the mean over clips (bootstrap). "
        "AJ<sub>RD</sub>: Jaccard after a point comes back. ECE: expected calibration error, lower is better. "
        "–: not defined for any clip, or by the tracker.</p></section>"
    )


def _protocol(model: ModelResult) -> str:
    weights = f"weights {model.weights_sha256[:16]}" if model.weights_sha256 else "no weights file"
    return f"<dt>{escape(model.id)}</dt><dd>{escape(model.protocol)}; {weights}</dd>"


def _plots(result: Result) -> str:
    plots = [
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
        return [str(a) if b - a == 1 else f"{a}–{b - 1}" for a, b in zip(edges, edges[1:], strict=False)] + [
            f"{edges[-1]}+"
        ]
    text = [f"{edge:g}".removeprefix("0") or "0" for edge in edges]
    return [f"{a}–{b}" for a, b in zip(text, text[1:], strict=False)] + [f"{text[-1]}+"]


def _reliability(result: Result, what: str, title: str, x_label: str, y_label: str) -> tuple[str, str]:
    curves = []
    for model in result.models:
        diagram = model.reliability(what)
        bins: list[Bin] = []
        if diagram is not None:
            predicted, happened = diagram.curve()
            total = max(int(diagram.count.sum()), 1)
            rows = zip(predicted.tolist(), happened.tolist(), diagram.count.tolist(), strict=True)
            bins = [Bin(p, h, c / total) for p, h, c in rows if c]
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
        f"<figure class='wide'><figcaption>{escape(p.model)}: {escape(p.clip)} <small>{escape(p.caption)}</small></figcaption>"
        f'<img alt="{escape(p.clip)}" src="data:image/jpeg;base64,{base64.b64encode(p.jpeg).decode()}"></figure>'
        for p in pictures
    )
    return (
        "<section><h2>Worst clips</h2><p class='legend'>"
        "<span class='key'><i style='background:#34c759'></i>right</span>"
        f"<span class='key'><i style='background:#ff453a'></i>off by {FAR:g} px or more: ring = truth, cross = said</span>"
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


STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfd;--card:#fff;--ink:#1d1d1f;--soft:#6e6e73;--rule:#e3e3e8;--best:#eef6ff;
--c0:#0a66d8;--c1:#d9480f;--c2:#2b8a3e;--c3:#9c36b5;--c4:#0b7285;--c5:#c2255c;--c6:#846200;--c7:#495057}
@media (prefers-color-scheme:dark){:root{--bg:#131315;--card:#1c1c1f;--ink:#f2f2f4;--soft:#a0a0a8;--rule:#34343a;--best:#17263a;
--c0:#4da3ff;--c1:#ff8a5c;--c2:#5fd07a;--c3:#d98cf0;--c4:#4fc3d9;--c5:#ff7aa8;--c6:#e0b94a;--c7:#b0b6bd}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:28px;line-height:1.2;margin:0 0 8px;letter-spacing:-.01em}h2{font-size:19px;margin:0 0 10px}
section{background:var(--card);border:1px solid var(--rule);border-radius:12px;padding:20px;margin:18px 0}
.facts,footer{color:var(--soft);font-size:13px;margin:6px 0 0}footer{margin-top:24px}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:9px 12px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap;vertical-align:top}
thead th{color:var(--soft);font-weight:500;font-size:13px}tbody tr:last-child>*{border-bottom:0}
td b{display:block;font-size:17px;font-weight:600}small{display:block;color:var(--soft);font-size:12px;font-weight:400}
td.best{background:var(--best)}th.model{text-align:left;font-weight:600}th.model svg,.key svg{width:11px;height:11px;margin-right:7px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 16px;margin:0;font-size:14px}dt{font-weight:600}dd{margin:0;color:var(--soft)}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;margin:0 0 10px;font-size:13px;color:var(--soft)}
.key i{display:inline-block;width:11px;height:11px;border-radius:50%;margin-right:7px}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(400px,1fr));gap:18px 26px}
figure{margin:0}figcaption{font-weight:600;font-size:14px;margin:0 0 4px}figcaption small{display:inline;margin-left:6px}
figure.wide{margin:0 0 16px}figure svg{width:100%;height:auto;display:block}figure img{width:100%;border-radius:8px;display:block}
svg .grid{stroke:var(--rule);stroke-width:1}svg .ideal{stroke:var(--soft);stroke-width:1;stroke-dasharray:4 4}
svg text{fill:var(--soft);font-size:11px;font-family:inherit}svg .label{font-size:12px}
svg .line{fill:none;stroke-width:2;stroke-linejoin:round}svg .dot{fill-opacity:.85}
summary{cursor:pointer;font-weight:600}ul{margin:0;padding-left:20px;font-size:14px;color:var(--soft)}
""" + "".join(f"svg .line.s{i}{{stroke:var(--c{i % 8})}}svg .dot.s{i}{{fill:var(--c{i % 8})}}" for i in range(24))
