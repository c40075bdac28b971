"""What was kept and what was thrown away, as pictures and on one page without scripts."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tapkit import storage
from tapkit.train.pseudo import dataset
from tapkit.train.pseudo.follow import WORDS, Fate, Labels

WIDTH = 300
"""Of each of the frames in a picture, pixels."""
SHOWN = 3
"""Frames of a piece that are shown."""
MOST_PICTURES = 200
"""On the page; the others stay in the folder beside it."""
COLOURS = {
    Fate.KEPT: (64, 200, 90),
    Fate.SHORT: (150, 150, 160),
    Fate.ASTRAY: (230, 60, 50),
    Fate.DISPUTED: (250, 160, 30),
}
_QUERY = (60, 130, 250)


def jpeg(video: np.ndarray, rows: np.ndarray, labels: Labels | None) -> bytes:
    """Frames of a piece [T,H,W,3] side by side with the points: by their fate, or as asked for where there is none.

    Believed positions are full dots, others rings.
    """
    frames = np.unique(np.linspace(0, len(video) - 1, SHOWN).round().astype(int))
    height, width = video.shape[1:3]
    scale = WIDTH / width
    sheet = Image.new("RGB", (len(frames) * (WIDTH + 4) - 4, max(round(height * scale), 1)), (250, 250, 248))
    for place, time in enumerate(frames.tolist()):
        small = Image.fromarray(video[time]).resize((WIDTH, sheet.height), Image.Resampling.BOX)
        pen = ImageDraw.Draw(small)
        if labels is None:
            for _, x, y in rows.tolist():
                _dot(pen, (x * scale, y * scale), _QUERY, full=time == 0)
        else:
            _points(pen, labels, rows, time, scale)
        sheet.paste(small, (place * (WIDTH + 4), 0))
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=80)
    return out.getvalue()


def _points(pen: ImageDraw.ImageDraw, labels: Labels, rows: np.ndarray, time: int, scale: float) -> None:
    """Points that have been asked for by then; those that are kept last, so that they lie on top."""
    for fate in sorted(Fate, reverse=True):
        for n in np.flatnonzero((labels.fate == fate) & (rows[:, 0] <= time)).tolist():
            x, y = labels.xy[n, time].tolist()
            if fate == Fate.KEPT and not labels.visible[n, time]:
                continue
            if fate == Fate.DISPUTED:  # there is no position that they agree on
                x, y = rows[n, 1:].tolist()
            _dot(pen, (x * scale, y * scale), COLOURS[fate], full=fate == Fate.KEPT)


def _dot(pen: ImageDraw.ImageDraw, at: tuple[float, float], colour: tuple[int, int, int], full: bool) -> None:
    radius = 2.2
    box = (at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius)
    pen.ellipse(box, fill=colour if full else None, outline=colour)


def write_report(out: Path, failures: Mapping[str, str]) -> Path:
    """Write OUT/report.json and OUT/report.html of all records in OUT; returns the page. Raises `StorageError`.

    `failures` are the videos of this run that could not be read, and why. The processes of a fleet leave the report to
    whoever started them.
    """
    pieces = list(dataset.records(out))
    summary = summarise(pieces, failures)
    storage.write_text(out / "report.json", json.dumps({**summary, "pieces": pieces}, indent=1) + "\n")
    return storage.write_text(out / "report.html", _page(out, summary, pieces))


def summarise(pieces: list[dict[str, Any]], failures: Mapping[str, str]) -> dict[str, Any]:
    """The figures: clips, tracks by their fate, by teacher, why pieces were thrown away, videos that failed."""
    tracks: Counter[str] = Counter()
    teachers: dict[str, Counter[str]] = {}
    for piece in pieces:
        tracks.update(piece.get("tracks", {}))
        for name in piece["teachers"]:
            own = teachers.setdefault(name, Counter())
            own.update({"pieces": 1, "clips": int(piece["kept"])})
            own.update({"asked": piece.get("asked", 0), "kept": piece.get("tracks", {}).get(WORDS[Fate.KEPT], 0)})
    return {
        "videos": len({piece["video"] for piece in pieces}),
        "clips": sum(bool(piece["kept"]) for piece in pieces),
        "thrown_away": sum(not piece["kept"] for piece in pieces),
        "tracks": dict(tracks),
        "teachers": {name: dict(counts) for name, counts in sorted(teachers.items())},
        "failed": dict(failures),
    }


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em; color: #2d3036 }
table { border-collapse: collapse } td, th { padding: .2em .9em .2em 0; text-align: left }
td.n { text-align: right } figure { margin: 1.2em 0 } figcaption { color: #667 } img { max-width: 100% }
.key span { display: inline-block; margin-right: 1.2em } .key i { display: inline-block; width: .8em; height: .8em;
border-radius: 50%; margin-right: .4em }
"""


def _page(out: Path, summary: Mapping[str, Any], pieces: list[dict[str, Any]]) -> str:
    kept = [piece for piece in pieces if piece["kept"]]
    thrown = [piece for piece in pieces if not piece["kept"]]
    key = (
        "".join(f'<span><i style="background: rgb{COLOURS[fate]}"></i>{escape(WORDS[fate])}</span>' for fate in Fate)
        + f'<span><i style="background: rgb{_QUERY}"></i>asked for, not followed</span>'
    )
    failed = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in summary["failed"].items())
    # Both kinds are shown, also where there are many of one.
    room = max(MOST_PICTURES - len(thrown), MOST_PICTURES // 2)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Pseudo-labels</title>'
        f"<style>{_STYLE}</style><h1>Pseudo-labels</h1>"
        f"<p>{summary['clips']} clips of {summary['videos']} videos; {summary['thrown_away']} pieces thrown away.</p>"
        + _table(("tracks", ""), summary["tracks"].items())
        + _table(
            ("teacher", "pieces", "clips", "asked", "kept"),
            [(n, c["pieces"], c["clips"], c["asked"], c["kept"]) for n, c in summary["teachers"].items()],
        )
        + (f"<h2>Videos that failed</h2><ul>{failed}</ul>" if failed else "")
        + f'<p class="key">{key}</p>'
        + f"<h2>Kept ({len(kept)})</h2>{_figures(out, kept, room)}"
        + f"<h2>Thrown away ({len(thrown)})</h2>{_figures(out, thrown, MOST_PICTURES - min(room, len(kept)))}</html>\n"
    )


def _table(heads: tuple[str, ...], rows: Any) -> str:
    cells = "".join(
        "<tr>"
        + "".join(f'<td class="{"n" if n else ""}">{escape(str(cell))}</td>' for n, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr>{cells}</table>"


def _figures(out: Path, pieces: list[dict[str, Any]], most: int) -> str:
    shown = []
    for number, piece in enumerate(pieces):
        picture = dataset.picture_file(out, piece["name"])
        image = ""
        if number < most and picture.is_file():
            with storage.reading(picture, "a picture of the report"):
                data = base64.b64encode(picture.read_bytes()).decode()
            image = f'<img alt="" src="data:image/jpeg;base64,{data}">'
        shown.append(f"<figure>{image}<figcaption>{escape(_caption(piece))}</figcaption></figure>")
    return "".join(shown)


def _caption(piece: Mapping[str, Any]) -> str:
    parts = [piece["video"], piece["name"], ", ".join(piece["teachers"])]
    if "first" in piece:
        back = ", played back" if piece["mirrored"] else ""
        parts.append(f"frames {piece['first']} to {piece['last']}, every {piece['step']}{back}")
    if piece["why"]:
        parts.append(piece["why"])
    parts += [f"{count} {word}" for word, count in piece.get("tracks", {}).items() if count]
    return " · ".join(parts)
