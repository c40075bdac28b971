"""Matchmoving programs that read plain text: 3DEqualizer, SynthEyes, PFTrack, boujou, Shake and Nuke's CameraTracker.

Each has its own origin, direction of y and number of the first frame; a gap is a frame without a line. Layouts after
sample files that these programs wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tapkit import coords
from tapkit.export.context import Context
from tapkit.export.format import Format, Job
from tapkit.export.found import Found
from tapkit.export.text import NameRule, read_text, table, write_text

_WORD = NameRule(r"[\s#/]", 60)
"""One word; lines that begin with # or // are comments."""

# -- 3DEqualizer --------------------------------------------------------------------------------------


def _equalizer4(job: Job, target: Path) -> None:
    """Number of points; for each its name, colour (0), number of keys, and lines "frame x y" from the bottom left."""

    def parts() -> Iterator[str]:
        yield f"{len(job.names)}\n"
        for name, frames, x, y in job.curves(coords.flip_y(job.keys.xy, job.video.height)):
            yield f"{name}\n0\n{len(frames)}\n" + table("%d %.15f %.15f\n", job.numbers[frames], x, y)

    write_text(target, parts())


def _equalizer3(job: Job, target: Path) -> None:
    video = job.video

    def parts() -> Iterator[str]:
        yield (
            f"// 3DE Multiple Tracking Curves Export {video.width} x {video.height} * {job.tracks.frames} frames\n\n"
        )
        for name, frames, x, y in job.curves(coords.flip_y(job.keys.xy, video.height)):
            yield f"{name}\n" + table("\t%d\t%.6f\t%.6f\n", job.numbers[frames], x, y) + "\n"

    write_text(target, parts())


def _read_equalizer(path: Path, context: Context) -> Found:
    """Either version."""
    text = read_text(path)
    head = re.match(r"// 3DE Multiple Tracking Curves Export (\d+) x (\d+) \* (\d+) frames", text)
    if head is None:
        height, _ = context.size()
        tracks = _equalizer4_points(text, height, context)
        return Found.of(tracks)
    height, _ = context.size(int(head[1]), int(head[2]))
    tracks = []
    for name, lines in _named_blocks(text.split("\n")[1:]):
        frame, x, y = _columns(lines, 3)
        tracks.append((name, frame.astype(int), x, height - y))
    return Found.of(tracks, width=int(head[1]), height=int(head[2]), frames=int(head[3]))


def _equalizer4_points(
    text: str, height: int, context: Context
) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    lines = text.rstrip("\n").split("\n")
    tracks, at = [], 1
    for number in range(int(lines[0])):
        if at + 3 > len(lines):
            raise context.damaged(f"it ends in point {number + 1} of {lines[0].strip()}")
        name, count = lines[at].strip(), int(lines[at + 2])
        rows = lines[at + 3 : at + 3 + count]
        if len(rows) < count:
            raise context.damaged(f"point {name!r} has {len(rows)} of its {count} keys: the file is cut off")
        frame, x, y = _columns(rows, 3)
        tracks.append((name, frame.astype(int), x, height - y))
        at += 3 + count
    return tracks


def _columns(lines: list[str], count: int) -> np.ndarray:
    """The first `count` numbers of each line, [count,K]."""
    values = np.array(" ".join(" ".join(line.split()[:count]) for line in lines).split(), dtype=float)
    return values.reshape(-1, count).T


def _named_blocks(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Lines that begin with a tab or blanks belong to the name before them."""
    name, block = None, []
    for line in lines:
        if not line.strip():
            continue
        if line[0] in "\t ":
            block.append(line)
        else:
            if name is not None:
                yield name, block
            name, block = line.strip(), []
    if name is not None:
        yield name, block


# -- SynthEyes ----------------------------------------------------------------------------------------

_NORMAL, _FIRST = 7, 15
"""Status bits: 1 run, 2 enable, 4 ok, 8 key."""


def _syntheyes(job: Job, target: Path) -> None:
    """Tracker 2-D Paths: "name frame u v status"; the centres of the outermost pixels are -1 and 1, y is down."""
    uv = 2 * coords.to_centers(job.keys.xy) / _spread(job.video.width, job.video.height) - 1

    def parts() -> Iterator[str]:
        for name, frames, u, v in job.curves(uv):
            status = np.where(np.diff(frames, prepend=-2) > 1, _FIRST, _NORMAL)
            yield table(name.replace("%", "%%") + " %d %.9f %.9f %d\n", job.numbers[frames], u, v, status)

    write_text(target, parts())


def _spread(width: int, height: int) -> np.ndarray:
    return np.array([max(width - 1, 1), max(height - 1, 1)], float)


def _read_syntheyes(path: Path, context: Context) -> Found:
    height, width = context.size()
    names, point, (frame, u, v) = _labelled(read_text(path))
    xy = coords.from_centers((np.stack([u, v], 1) + 1) / 2 * _spread(width, height))
    return Found(names, point, frame.astype(int), xy, width=width, height=height)


def _labelled(text: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Lines "name frame x y ..." -> names in order of appearance, index of each line's name [K], numbers [3,K]."""
    lines = [line.split() for line in text.split("\n") if line.strip() and not line.startswith("#")]
    order: dict[str, int] = {}
    point = np.array([order.setdefault(line[0], len(order)) for line in lines], int)
    return list(order), point, np.array([line[1:4] for line in lines], float).reshape(-1, 3).T


# -- PFTrack ------------------------------------------------------------------------------------------


def _pftrack(job: Job, target: Path) -> None:
    """User tracks of PFTrack 5 and later (.2dt): bottom-left origin, pixel centres are integers, lines end in CR LF."""
    half = coords.flip_y(job.keys.xy, job.video.height) - 0.5

    def parts() -> Iterator[str]:
        for row, (name, frames, x, y) in enumerate(job.curves(half)):
            similarity = job.tracks.confidence[row, frames]
            yield f'\n\n"{name}"\n"Primary"\n{len(frames)}\n'
            yield table("%d %.4f %.4f %.3f\n", job.numbers[frames], x, y, similarity)

    write_text(target, parts(), newline="\r\n")


_EYES = re.compile(r"primary|secondary|(?:left|right|centre|center)(?: eye)?|(?:camera|view|eye) ?\d+", re.IGNORECASE)
"""What the line between a track's name and its number of keys says in a stereo project: whose keys these are."""


def _read_pftrack(path: Path, context: Context) -> Found:
    """One eye of a stereo project: the first, if none is asked for."""
    height, width = context.size()
    found = list(_pftrack_blocks(read_text(path).split("\n"), context))
    if not found:
        raise context.damaged("it has no track: a quoted name, a number of keys, and as many lines")
    eye = context.one("camera", [block[1] for block in found], first=True)
    tracks = []
    for name, of, rows in found:
        if of == eye:
            frame, x, y = _columns(rows, 3)
            tracks.append((name, frame.astype(int), x + 0.5, height - (y + 0.5)))
    return Found.of(tracks, width=width, height=height)


def _pftrack_blocks(lines: list[str], context: Context) -> Iterator[tuple[str, str, list[str]]]:
    """(name, eye, lines of keys) of every track and eye; the second eye of a track may stand without its name."""
    name, titles, at = "", [], 0
    while at < len(lines):
        line = lines[at].strip()
        at += 1
        if len(line) > 1 and line[0] == line[-1] == '"':
            titles.append(line[1:-1])
        elif titles and line.isdecimal():
            eye = titles.pop() if titles[1:] or (name and _EYES.fullmatch(titles[-1])) else "Primary"
            name = titles[-1] if titles else name
            rows = lines[at : at + int(line)]
            if sum(bool(row.strip()) for row in rows) < int(line):
                raise context.damaged(f"point {name!r} has fewer than its {line} keys: the file is cut off")
            yield name, eye, rows
            at, titles = at + int(line), []


# -- boujou -------------------------------------------------------------------------------------------


def _boujou(job: Job, target: Path) -> None:
    """2d tracks: "track view x y"; top-left origin whose first row is 1."""

    def parts() -> Iterator[str]:
        yield "# boujou 2d tracks export: text\n# boujou version: 4.1.0 28444\n"
        yield "# track_id    view      x    y\n"
        for name, frames, x, y in job.curves(job.keys.xy + (0.0, 1.0)):
            yield table(name.replace("%", "%%") + "  %d  %.4f  %.4f\n", job.numbers[frames], x, y)

    write_text(target, parts())


def _read_boujou(path: Path, context: Context) -> Found:
    height, width = context.size()
    names, point, (frame, x, y) = _labelled(read_text(path))
    return Found(names, point, frame.astype(int), np.stack([x, y - 1], 1), width=width, height=height)


# -- Shake, Nuke CameraTracker user tracks ------------------------------------------------------------


def _shake(job: Job, target: Path) -> None:
    """Text that Shake wrote and Nuke's CameraTracker imports as user tracks: bottom-left origin."""

    def parts() -> Iterator[str]:
        for row, (name, frames, x, y) in enumerate(job.curves(coords.flip_y(job.keys.xy, job.video.height))):
            correlation = job.tracks.confidence[row, frames]
            yield f"TrackName {name}\n   Frame             X             Y   Correlation\n"
            yield table("   %.2f   %.4f   %.4f   %.3f\n", job.numbers[frames], x, y, correlation) + "\n"

    write_text(target, parts())


def _read_shake(path: Path, context: Context) -> Found:
    height, width = context.size()
    tracks = []
    for name, lines in _named_blocks(read_text(path).split("\n")):
        frame, x, y = _columns([line for line in lines if "Frame" not in line], 3)
        tracks.append((name.removeprefix("TrackName "), np.rint(frame).astype(int), x, height - y))
    return Found.of(tracks, width=width, height=height)


EQUALIZER = Format(
    "3de", ".txt", "3DEqualizer 4 2D tracks", _equalizer4, _read_equalizer, _WORD, first_frame=1, bytes_per_key=44
)
EQUALIZER3 = Format(
    "3de3",
    ".txt",
    "3DEqualizer 3 tracking curves",
    _equalizer3,
    _read_equalizer,
    _WORD,
    first_frame=1,
    bytes_per_key=26,
)
SYNTHEYES = Format(
    "syntheyes", ".txt", "SynthEyes tracker 2-D paths", _syntheyes, _read_syntheyes, _WORD, bytes_per_key=36
)
PFTRACK = Format(
    "pftrack", ".2dt", "PFTrack user tracks", _pftrack, _read_pftrack, NameRule(r'[\x00-\x1f"]', 60), bytes_per_key=30
)
BOUJOU = Format("boujou", ".txt", "boujou 2d tracks", _boujou, _read_boujou, _WORD, bytes_per_key=32)
SHAKE = Format(
    "shake", ".txt", "Shake tracks, user tracks of Nuke's CameraTracker", _shake, _read_shake, _WORD, first_frame=1,
    keeps_start=True, bytes_per_key=36,
)  # fmt: skip
