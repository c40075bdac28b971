"""Nuke: Tracker4 nodes to paste, whole scripts, CornerPin2D. y is up, the origin the bottom-left corner of the picture.

Layout after real scripts of Nuke 7 and later. A Tracker4 node holds a table of 31 columns, one row for each point;
its curves give a frame with "x<frame>" and the values of following frames after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import coords
from tapkit.export.context import Context
from tapkit.export.corners import corner_rows
from tapkit.export.format import Format, Job, Option
from tapkit.export.found import Found
from tapkit.export.select import runs
from tapkit.export.text import NameRule, parse_rate, rate_text, read_text, table, write_text

PATTERN, SEARCH = 16, 24
"""Half sides of the pattern and search boxes drawn around a point, pixels (Nuke's own for a new track)."""

_COLUMNS = (
    ("5 1 20", "enable e"), ("3 1 75", "name name"), ("2 1 58", "track_x track_x"), ("2 1 58", "track_y track_y"),
    ("2 1 63", "offset_x offset_x"), ("2 1 63", "offset_y offset_y"), ("4 1 27", "T T"), ("4 1 27", "R R"),
    ("4 1 27", "S S"), ("2 0 45", "error error"), ("1 1 0", "error_min error_min"), ("1 1 0", "error_max error_max"),
    *(("1 1 0", f"{box}_{side} {box}_{side}") for box in ("pattern", "search") for side in "xyrt"),
    *(("2 1 0", f"{name} {name}") for name in (
        "key_track", *(f"key_{box}_{side}" for box in ("search", "track") for side in "xyrt"),
        "key_centre_offset_x", "key_centre_offset_y",
    )),
)  # fmt: skip


def _curve(numbers: np.ndarray, values: np.ndarray, spans: list[tuple[int, int]]) -> str:
    """An animated value: numbers [K] of frames, values [K]; a frame is named where a span begins and once after.

    The second naming after a gap keeps Nuke from spacing the keys that follow by the width of the gap.
    """
    parts = []
    for index, (start, stop) in enumerate(spans):
        text = table("%.5f ", values[start:stop])
        if index and stop - start > 1:
            head, rest = text.split(" ", 1)
            text = f"{head} x{numbers[start + 1]} {rest}"
        parts.append(f"x{numbers[start]} {text}")
    return "{curve " + "".join(parts).rstrip() + "}"


def _spans(frames: np.ndarray) -> list[tuple[int, int]]:
    """Runs of consecutive frames, as spans of indices."""
    cuts = np.flatnonzero(np.diff(frames) != 1) + 1
    edges = [0, *cuts.tolist(), len(frames)]
    return list(pairwise(edges))


def _switch(job: Job, shown: np.ndarray) -> str:
    """The enable curve: constant interpolation, 1 where a key stands, 0 in gaps."""
    parts: list[str] = []
    last = 0
    for start, stop in runs(shown):
        if start > last:
            parts.append(f"x{job.numbers[last]} 0")
        parts.append(f"x{job.numbers[start]} 1")
        last = stop
    if last < len(shown):
        parts.append(f"x{job.numbers[last]} 0")
    return "{curve K " + " ".join(parts) + "}"


def _row(job: Job, row: int, name: str, frames: np.ndarray, x: np.ndarray, y: np.ndarray) -> str:
    """One row of the table: 31 cells in the order of `_COLUMNS`."""
    numbers, spans = job.numbers[frames], _spans(frames)
    keys = np.searchsorted(frames, job.human_or_query(row))
    start = numbers[0]

    def at_keys(values: np.ndarray) -> str:
        return "{curve " + table("x%d %.5f ", numbers[keys], values[keys]).rstrip() + "}"

    boxes = [at_keys(axis + sign * half) for half in (SEARCH, PATTERN) for sign in (-1, 1) for axis in (x, y)]
    still = f"{{curve K x{start} 0}}"
    cells = [
        _switch(job, job.keys.key[row]), f'"{name}"', _curve(numbers, x, spans), _curve(numbers, y, spans),
        still, still, "1", "0", "0", f"{{curve x{start} 0}}", "1", "0",
        *(str(side) for half in (PATTERN, SEARCH) for side in (-half, -half, half, half)),
        "{}", *boxes, *[at_keys(np.full(len(x), PATTERN - 0.5))] * 2,
    ]  # fmt: skip
    return " { " + " ".join(cells) + " }\n"


def _tracker(job: Job) -> Iterator[str]:
    width, height = job.video.width, job.video.height
    yield f"Tracker4 {{\ntracks {{ {{ 1 {len(_COLUMNS)} {len(job.names)} }}\n{{"
    yield "\n".join(f" {{ {kind} {name} 1 }}" for kind, name in _COLUMNS)
    yield "\n}\n{\n"
    for row, curve in enumerate(job.curves(coords.flip_y(job.keys.xy, height))):
        yield _row(job, row, *curve)
    yield f"}}\n}}\ncenter {{{width / 2:g} {height / 2:g}}}\nselected_tracks 0\nname Tracker1\nxpos 0\nypos 0\n}}\n"


def _paste(job: Job, target: Path) -> None:
    head = "set cut_paste_input [stack 0]\nversion 11.0 v1\npush $cut_paste_input\n"
    write_text(target, [head, *_tracker(job)])


def _script(job: Job, target: Path) -> None:
    video, numbers = job.video, job.numbers
    shape = f"{video.width} {video.height} 0 0 {video.width} {video.height} {float(video.pixel_aspect):.6g} tapkit"
    head = (
        f"version 11.0 v1\nRoot {{\n inputs 0\n frame {numbers[0]}\n first_frame {numbers[0]}\n"
        f' last_frame {numbers[-1]}\n format "{shape}"\n fps {rate_text(video.fps)}\n}}\n'
    )
    if video.path:
        footage = _quoted(_literal(Path(video.path).resolve().as_posix()))
        head += (
            f'Read {{\n inputs 0\n file {footage}\n format "{shape}"\n first {numbers[0]}\n last {numbers[-1]}\n'
            f" origfirst {numbers[0]}\n origlast {numbers[-1]}\n origset true\n name Read1\n xpos 0\n ypos -100\n}}\n"
        )
    write_text(target, [head, *_tracker(job)])


def _literal(text: str) -> str:
    """Text as the value of a knob that Nuke evaluates (`file`): a bracket would begin an expression, that is, code."""
    return re.sub(r"([\\\[\]$])", r"\\\1", text)


def _quoted(text: str) -> str:
    """Text as a Tcl word of the script. The braces around it are counted, so those within it must be escaped too.

    >>> print(_quoted('a "[b]" {c'), _quoted("a\\nb"))
    "a \\"\\[b\\]\\" \\{c" "a\\012b"
    """
    escaped = re.sub(r'(["\\$\[\]{}])', r"\\\1", text)
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\{ord(match[0]):03o}", escaped) + '"'


def _corner_pin(job: Job, target: Path, corners: str = "", reference: int | None = None) -> None:
    """Four points as a CornerPin2D; Nuke counts its corners from the bottom left, against the clock."""
    rows, together, frame = corner_rows(job, corners, reference)
    rows = [rows[i] for i in (3, 2, 1, 0)]
    frames = np.flatnonzero(together)
    xy = coords.flip_y(job.keys.xy, job.video.height)
    spans = _spans(frames)
    parts = ["set cut_paste_input [stack 0]\nversion 11.0 v1\npush $cut_paste_input\nCornerPin2D {\n"]
    for number, row in enumerate(rows, 1):
        x, y = (_curve(job.numbers[frames], xy[row, frames, axis], spans) for axis in (0, 1))
        parts.append(f" to{number} {{{x} {y}}}\n")
    parts.append(" invert false\n")
    for number, row in enumerate(rows, 1):
        parts.append(f" from{number} {{{xy[row, frame, 0]:.5f} {xy[row, frame, 1]:.5f}}}\n")
    parts.append(" name CornerPin2D1\n xpos 0\n ypos 0\n}\n")
    write_text(target, parts)


# -- reading ------------------------------------------------------------------------------------------

_TOKEN = re.compile(r'\{\s*"?curve\b[^{}]*\}|"(?:[^"\\]|\\.)*"|[{}]|[^\s{}"]+')


def _read(path: Path, context: Context) -> Found:
    text = read_text(path)
    starts = [m.end() for m in re.finditer(r"^\s*Tracker4\s*\{", text, re.M)]
    if not starts:
        raise context.damaged("there is no Tracker4 node in it")
    shape = re.search(r'^\s*format "(\d+) (\d+) \S+ \S+ \S+ \S+ (\S+)', text, re.M)
    rate = re.search(r"^\s*fps (\S+)", text, re.M)
    first, last = (re.search(rf"^\s*{name}_frame (-?\d+)", text, re.M) for name in ("first", "last"))
    center = re.search(r"^\s*center \{(\S+) (\S+)\}", text, re.M)
    width = height = None
    if shape:
        width, height = int(shape[1]), int(shape[2])
    elif center:
        width, height = round(2 * float(center[1])), round(2 * float(center[2]))
    tall, _ = context.size(width, height)
    if shape is None and context.video is not None:  # the pivot may have been moved
        width = height = None
    tracks, human = [], []
    for start in starts:
        for name, frames, x, y, keys in _rows_of(text, start, context):
            tracks.append((name, frames, x, tall - y))
            human.append(np.isin(frames, keys))
    older = re.findall(r"^\s*Tracker[123]\s*\{", text, re.M)
    context.left_out("Tracker nodes of before Nuke 7", len(older))
    return Found.of(
        tracks, beyond=True, human=np.concatenate(human) if human else None,
        width=width, height=height,
        fps=parse_rate(rate[1]) if rate else None,
        pixel_aspect=Fraction(shape[3]).limit_denominator(10_000) if shape else None,
        first=int(first[1]) if first else None,
        frames=int(last[1]) - int(first[1]) + 1 if first and last else None,
    )  # fmt: skip


def _rows_of(text: str, start: int, context: Context) -> Iterator[tuple[str, Any, Any, Any, Any]]:
    """Name, frames, x, y and hand-set frames of every row of the node that begins at `start`."""
    body = re.compile(r"\s*tracks\s*\{").search(text, start)
    if body is None:
        raise context.damaged("its Tracker4 node has no table of tracks")
    content = _nested(text, body.end())
    if len(content) != 3 or len(content[1]) < 4:
        raise context.damaged("its Tracker4 node has another layout than Nuke 7 and later write")
    names = [column[3] for column in content[1]]
    cells = [names.index(name) for name in ("enable", "name", "track_x", "track_y")]
    key = names.index("key_track_x") if "key_track_x" in names else None
    for row in content[2]:
        enable, name, x, y = (row[cell] for cell in cells)
        frames, xs = _values(x)
        frames_y, ys = _values(y)
        frames, here, there = np.intersect1d(frames, frames_y, return_indices=True)
        xs, ys = xs[here], ys[there]
        on = _enabled(enable, frames)
        keys = _values(row[key])[0] if key is not None and key < len(row) else np.zeros(0, int)
        yield " ".join(name) if isinstance(name, list) else name, frames[on], xs[on], ys[on], keys


def _nested(text: str, start: int) -> list[Any]:
    """The Tcl list whose opening brace ends at `start`, as nested lists; curves stay text."""
    stack: list[list[Any]] = [[]]
    for match in _TOKEN.finditer(text, start):
        token = match[0]
        if token == "{":
            stack.append([])
        elif token == "}":
            done = stack.pop()
            if not stack:
                return done
            stack[-1].append(done)
        elif token[0] == '"':
            stack[-1].append(re.sub(r"\\(.)", r"\1", token[1:-1]))
        else:
            stack[-1].append(token)
    raise ValueError("a brace is never closed")


def _values(cell: Any) -> tuple[np.ndarray, np.ndarray]:
    """Frames [K] and values [K] of a curve, in one pair of braces or two; none of a cell that is not animated."""
    if isinstance(cell, list) and len(cell) == 1:
        cell = cell[0]
    if not isinstance(cell, str) or not cell.startswith("{"):
        return np.zeros(0, int), np.zeros(0)
    frames, values, frame = [], [], 0
    for token in cell[1:-1].replace('"', " ").split():  # Nuke 7 puts quotes around parts of it
        if re.fullmatch(r"x-?[\d.]+", token):
            frame = int(float(token[1:]))
        elif re.fullmatch(r"[-+]?(?:\d|\.\d).*", token):  # all else are kinds of interpolation and slopes
            frames.append(frame)
            values.append(float(token))
            frame += 1
    return np.array(frames, int), np.array(values)


def _enabled(cell: Any, frames: np.ndarray) -> np.ndarray:
    """Whether the point is switched on at `frames`: the value of the latest key, the first one before that."""
    switches, values = _values(cell)
    if not len(switches):
        return np.full(len(frames), str(cell) != "0")
    latest = np.clip(np.searchsorted(switches, frames, "right") - 1, 0, None)
    return values[latest] > 0.5


_NAMES = NameRule(r'[\x00-\x1f"\\{}\[\]$]', 100)
_CORNERS = {
    "corners": Option(str, "ids of four points: upper left, upper right, lower right, lower left, with commas"),
    "reference": Option(int, "frame (counted from 0) at which the pin does nothing; the first with all four"),
}
NUKE = Format(
    "nuke", ".nk", "Nuke Tracker4 node as text to paste", _paste, _read, _NAMES, first_frame=1, keeps_start=True,
    most_points=500,
)  # fmt: skip
NUKE_SCRIPT = Format(
    "nuke-script", ".nk", "Nuke script: project settings, Read and Tracker4", _script, _read, _NAMES, first_frame=1,
    keeps_start=True, square_only=False, most_points=500,
)  # fmt: skip
NUKE_CORNERPIN = Format(
    "nuke-cornerpin", ".nk", "Nuke CornerPin2D node of four points", _corner_pin, None, _NAMES, first_frame=1,
    keeps_start=True, holds_gaps=False, options=_CORNERS,
)  # fmt: skip
