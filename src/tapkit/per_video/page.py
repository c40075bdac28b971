"""The page of a fit: loss curves, tracks of a grid at some steps, and what the method has to show of itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tapkit import storage
from tapkit.models.base import ClipModel
from tapkit.per_video.method import Fit, Picture
from tapkit.per_video.prepare.store import Prepared
from tapkit.types import ModelCard, Provenance, Queries, Tracks
from tapkit.video import open_video
from tapkit.viz.contact_sheet import contact_sheet
from tapkit.viz.draw import Style

GRID = 10
"""Points along the longer side of the grid that is drawn."""
SHEETS = 6
"""Frames of it."""
TRACKS = "tracks.png"
WEIGHTS = (
    "Losses change their weights over the schedule, and where the video is looked at hardest changes too: a total that "
    "rises need not be a fault."
)
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #2d3036 }
img { width: 100% } .cells { image-rendering: pixelated }
img, svg { max-width: 100%; border: 1px solid #ddd } figure { margin: 0 0 1.5em } figcaption { color: #666 }
table { border-collapse: collapse } td { padding: .1em 1em .1em 0; vertical-align: top }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1em }
"""


def write_page(
    folder: Path,
    title: str,
    card: ModelCard,
    facts: Mapping[str, Any],
    fit: Fit,
    model: ClipModel,
    prepared: Prepared,
    shown: Sequence[int],
) -> Path:
    """Draw the present moment (the last of `shown`), and write index.html over all moments; returns its path."""
    step = shown[-1]
    place = folder / "pictures" / f"{step:06d}"
    with storage.atomic(place) as part:
        part.mkdir()
        pictures = [Picture(TRACKS, f"A grid of points of the first frame, followed through the clip, step {step}")]
        Image.fromarray(_sheet(model, card, fit, prepared)).save(part / TRACKS)
        pictures += fit.pictures(part)
        lines = "\n".join(f"{picture.file}\t{' '.join(picture.caption.split())}" for picture in pictures)
        (part / "captions.txt").write_text(lines)
    body = [
        f"<h1>{escape(card.name)}, fitted to {escape(title)}</h1>",
        f"<p>Step {step} of {facts['steps']} after {facts['minutes']} minutes. {WEIGHTS}</p>",
        _facts(facts),
        _curves(folder / "log.csv"),
    ]
    for each in reversed(shown):
        body.append(f"<h2>Step {each}</h2>")
        for picture in _captions(folder / "pictures" / f"{each:06d}"):
            source = f"pictures/{each:06d}/{picture.file}"
            look = "" if picture.file == TRACKS else ' class="cells"'  # small pictures of cells, enlarged
            body.append(
                f'<figure><img{look} src="{escape(source)}" alt="{escape(picture.caption)}">'
                f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
            )
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style><body>{''.join(body)}</body></html>"
    )
    return storage.write_text(folder / "index.html", page)


def _captions(place: Path) -> list[Picture]:
    path = place / "captions.txt"
    rows = path.read_text().splitlines() if path.is_file() else []
    return [Picture(*row.split("\t", 1)) for row in rows if "\t" in row]


@torch.inference_mode()
def _sheet(model: ClipModel, card: ModelCard, fit: Fit, prepared: Prepared) -> np.ndarray:
    """Frames side by side with the tracks of a grid of the first frame."""
    height, width = prepared.size
    spacing = max(height, width) / GRID
    x, y = np.meshgrid(np.arange(spacing / 2, width, spacing), np.arange(spacing / 2, height, spacing))
    points = np.stack([np.zeros(x.size), x.ravel(), y.ravel()], 1).astype(np.float32)
    found = model.track(fit.encoded(), prepared.size, torch.from_numpy(points).to(model.device))
    with open_video(np.asarray(prepared.frames)) as source:
        tracks = Tracks(
            xy=found.xy.cpu().numpy(),
            visible=found.visible.cpu().numpy(),
            confidence=found.confidence.cpu().numpy(),
            valid=np.ones(found.visible.shape, bool),
            queries=Queries(points[:, 0].astype(np.int64), points[:, 1:], np.arange(len(points))),
            video=source.info,
            source=Provenance.of(card, "", ""),
        )
        return contact_sheet(source, tracks, SHEETS, style=Style(), times=False)


def _facts(facts: Mapping[str, Any]) -> str:
    rows = (f"<tr><td>{escape(str(name))}</td><td>{escape(str(value))}</td></tr>" for name, value in facts.items())
    return f"<details><summary>Options</summary><table>{''.join(rows)}</table></details>"


def _curves(log: Path) -> str:
    """One small plot of each loss, logarithmic where it is positive throughout."""
    from tapkit.per_video.fit import read_log

    rows = read_log(log)
    if len(rows) < 2:
        return ""
    names = [name for name in rows[0] if name not in ("step", "seconds")]
    known = {name: [(int(row["step"]), float(row[name])) for row in rows if row[name]] for name in names}
    curves = (_curve(name, *zip(*values, strict=True)) for name, values in known.items() if len(values) > 1)
    return f'<div class="curves">{"".join(curves)}</div>'


def _curve(name: str, steps: Sequence[int], values: Sequence[float]) -> str:
    width, height, left, low = 320, 180, 52, 24
    logarithmic = min(values) > 0
    heights = [math.log10(value) for value in values] if logarithmic else values
    bottom, top = min(heights), max(heights)
    span, length = (top - bottom) or 1.0, (steps[-1] - steps[0]) or 1
    points = " ".join(
        f"{left + (width - left - 6) * (step - steps[0]) / length:.1f},"
        f"{height - low - (height - low - 26) * (value - bottom) / span:.1f}"
        for step, value in zip(steps, heights, strict=True)
        if math.isfinite(value)
    )
    text = 'font-size="11" fill="#666" font-family="sans-serif"'
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)} over the steps">'
        f'<text x="{left}" y="15" font-size="13" font-family="sans-serif">{escape(name)}</text>'
        f'<text x="4" y="34" {text}>{max(values):.3g}</text>'
        f'<text x="4" y="{height - low}" {text}>{min(values):.3g}</text>'
        f'<text x="{left}" y="{height - 8}" {text}>{steps[0]}</text>'
        f'<text x="{width - 6}" y="{height - 8}" text-anchor="end" {text}>{steps[-1]}</text>'
        f'<polyline points="{points}" fill="none" stroke="#1f6feb" stroke-width="1.5"/></svg>'
    )
