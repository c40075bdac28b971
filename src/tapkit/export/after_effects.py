"""After Effects: keyframe text (which Mocha reads and writes too) and scripts that make one null for each point.

Positions are comp pixels, y down, corner origin: tapkit's own. The comp is taken to have the size and the pixel
aspect of the footage; with square=yes it has square pixels and x is widened accordingly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fractions import Fraction
from importlib import resources
from pathlib import Path

import numpy as np

from tapkit.errors import UsageError
from tapkit.export.corners import corner_rows
from tapkit.export.format import Format, Job, Option, flag
from tapkit.export.found import Context, Found
from tapkit.export.text import NameRule, parse_rate, rate_text, read_text, table, write_text

_AFTER, _POSITION = "\tFrame\tX pixels\tY pixels\t\n", "\tFrame\tX pixels\tY pixels\tZ pixels\t\n"
_CORNERS = ("Upper Left #2", "Upper Right #3", "Lower Right #5", "Lower Left #4")


def _head(job: Job, version: str, square: bool) -> str:
    video = job.video
    aspect = f"{float(video.pixel_aspect):.6g}"
    return (
        f"Adobe After Effects {version} Keyframe Data\n\n\tUnits Per Second\t{rate_text(video.fps)}\n"
        f"\tSource Width\t{video.width}\n\tSource Height\t{video.height}\n\tSource Pixel Aspect Ratio\t{aspect}\n"
        f"\tComp Pixel Aspect Ratio\t{1 if square else aspect}\n\n"
    )


def _comp(job: Job, square: bool) -> np.ndarray:
    """Positions in comp pixels, [N,T,2]."""
    return job.keys.xy * (float(job.video.pixel_aspect) if square else 1.0, 1.0)


def _blocks(job: Job, block: str, square: bool, corners: str) -> Iterator[str]:
    xy = _comp(job, square)
    if block == "corner-pin":
        rows, together, _ = corner_rows(job, corners)
        frames = np.flatnonzero(together)
        for row, corner in zip(rows, _CORNERS, strict=True):
            x, y = xy[row, frames].T
            yield f"Effects\tCorner Pin #1\t{corner}\n{_AFTER}"
            yield table("\t%d\t%.5f\t%.5f\t\n", job.numbers[frames], x, y) + "\n"
        return
    if block == "position" and len(job.names) > 1:
        raise UsageError(f"one layer takes one position, not {len(job.names)}: choose a point, or use ae-script")
    for number, (_, frames, x, y) in enumerate(job.curves(xy), 1):
        if block == "position":
            yield f"Transform\tPosition\n{_POSITION}" + table("\t%d\t%.5f\t%.5f\t0\t\n", job.numbers[frames], x, y)
        else:
            yield f"Motion Trackers\tTracker #1\tTrack Point #{number}\tFeature Center\n{_AFTER}"
            yield table("\t%d\t%.5f\t%.5f\t\n", job.numbers[frames], x, y)
        yield "\n"


def _block(text: str) -> str:
    if text not in ("tracker", "position", "corner-pin"):
        raise UsageError(f"block must be tracker, position or corner-pin, got {text!r}")
    return text


def _text(job: Job, target: Path, block: str = "tracker", square: bool = False, corners: str = "") -> None:
    end = "\nEnd of Keyframe Data\n"
    write_text(target, [_head(job, "8.0", square), *_blocks(job, _block(block), square, corners), end])


def _mocha(job: Job, target: Path) -> None:
    end = "\nEnd of Keyframe Data\n"
    write_text(target, [_head(job, "6.0", False), *_blocks(job, "tracker", False, ""), end], newline="\r\n")


def _script(job: Job, target: Path, square: bool = False) -> None:
    """A script for File > Scripts > Run: one null for each point, its position keyed in one call."""
    video = job.video
    template = resources.files("tapkit.export").joinpath("templates/after_effects.jsx").read_text("utf-8")
    times = [round(t, 6) for t in job.tracks.times().tolist()] if video.variable_rate else None
    facts = {
        "width": video.width, "height": video.height, "aspect": 1.0 if square else float(video.pixel_aspect),
        "fps": float(video.fps), "frames": job.tracks.frames, "first": job.first, "times": times,
        "path": str(Path(video.path).resolve()) if video.path else None,
    }  # fmt: skip
    head, tail = template.split("/*POINTS*/")
    write_text(target, [head.replace("/*FACTS*/", json.dumps(facts)), *_points(job, _comp(job, square)), tail])


def _points(job: Job, xy: np.ndarray) -> Iterator[str]:
    """Arguments of the script's `point` function: name, frames [K], positions [K,2], frames at which it disappears."""
    for name, frames, x, y in job.curves(xy):
        ends = np.flatnonzero(np.diff(frames) > 1)
        numbers = table("%d,", frames).rstrip(",")
        positions = table("[%.4f,%.4f],", x, y).rstrip(",")
        holds = table("%d,", ends + 1).rstrip(",")
        yield f"point({json.dumps(name)}, [{numbers}], [{positions}], [{holds}]);\n"


# -- reading ------------------------------------------------------------------------------------------


def _read(path: Path, context: Context) -> Found:
    text = read_text(path)
    if not re.match(r"\s*Adobe After Effects [\d.]+ Keyframe Data", text):
        raise context.damaged("it does not begin with 'Adobe After Effects 8.0 Keyframe Data'")
    facts = dict(re.findall(r"^\t([A-Z][A-Za-z ]+)\t([\d.]+)[ \t]*$", text, re.M))
    source, comp = (
        Fraction(facts.get(f"{n} Pixel Aspect Ratio", "1")).limit_denominator(10_000) for n in ("Source", "Comp")
    )
    widen = float(source) if comp == 1 != source else 1.0
    tracks = []
    for block in re.split(r"^(?=\S)", text, flags=re.M)[1:]:
        head, _, rest = block.partition("\n")
        if not re.match(r"Motion Trackers\t.*Feature Center|Transform\tPosition|Effects\t.*", head):
            if "\tFrame\t" in rest:
                context.left_out("properties that are no positions")
            continue
        lines = [line.rstrip("\t").split("\t")[1:4] for line in rest.splitlines() if re.match(r"\t-?[\d.]+\t", line)]
        if head.startswith("Effects") and any(len(line) < 3 for line in lines):
            context.left_out("properties that are no positions")
            continue
        values = np.array(lines, dtype=float).reshape(-1, 3)
        name = re.sub(r"^Motion Trackers\tTracker #1\t|\tFeature Center.*$", "", head).replace("\t", " ")
        tracks.append((name, np.rint(values[:, 0]).astype(int), values[:, 1] / widen, values[:, 2]))
    if not tracks:
        raise context.damaged("it has no block of positions (Motion Trackers, Position or a corner pin)")
    return Found.of(
        tracks, positional=True, width=int(facts["Source Width"]), height=int(facts["Source Height"]),
        fps=parse_rate(facts["Units Per Second"]), pixel_aspect=source,
    )  # fmt: skip


_SQUARE = Option(flag, "yes: the comp has square pixels; no: those of the footage")
AFTER_EFFECTS = Format(
    "ae", ".txt", "After Effects keyframe text to paste", _text, _read, square_only=False, holds_gaps=False,
    most_points=500,
    bytes_per_key=26, options={
        "block": Option(_block, "tracker: points of a motion tracker; position: of layers; corner-pin: of four points"),
        "square": _SQUARE,
        "corners": Option(str, "ids of the four corners: upper left, upper right, lower right, lower left"),
    },
)  # fmt: skip
AFTER_EFFECTS_SCRIPT = Format(
    "ae-script", ".jsx", "After Effects script: one null for each point", _script, None, NameRule(longest=120),
    timing="times", square_only=False, most_points=1000, bytes_per_key=25, options={"square": _SQUARE},
)  # fmt: skip
MOCHA = Format(
    "mocha", ".txt", "Mocha and older After Effects keyframe text", _mocha, _read, square_only=False,
    holds_gaps=False, most_points=500,
    bytes_per_key=27,
)  # fmt: skip
