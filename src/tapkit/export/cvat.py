"""CVAT "for video 1.1" XML: one track of `points` for each point. Coordinates are tapkit's own; frames from 0.

CVAT draws a shape on every frame until a keyframe says outside="1", so the first frame of every gap gets one.
Each track carries its name in the attribute "id" and, if a human set positions, these carry the attribute "human":
the labels of the task must have both (docs/export/cvat.md), since CVAT refuses attributes that it does not know.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from tapkit.errors import UsageError
from tapkit.export.context import Context
from tapkit.export.format import Format, Job, Option, flag
from tapkit.export.found import Found, unique
from tapkit.export.text import NameRule, plain, table, write_text
from tapkit.types.extent import check_extent

_TEXT, _CHECKBOX = "text", "checkbox"


def _attribute_spec(name: str, kind: str, mutable: bool, default: str) -> str:
    return (
        f"<attribute><name>{name}</name><mutable>{mutable}</mutable><input_type>{kind}</input_type>"
        f"<default_value>{default}</default_value><values>{default}</values></attribute>"
    )


def _head(job: Job, label: str, attributes: bool, human: bool) -> str:
    video = job.video
    spec = ""
    if attributes:
        spec = _attribute_spec("id", _TEXT, False, "") + (
            _attribute_spec("human", _CHECKBOX, True, "false") if human else ""
        )
    name = escape(plain(Path(video.path).name if video.path else job.path.stem))
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta><task>'
        f"<name>{name}</name><size>{job.tracks.frames}</size><mode>interpolation</mode>\n"
        f"    <labels><label><name>{escape(label)}</name>"
        f"<type>points</type><attributes>{spec}</attributes></label></labels>\n"
        f"    <original_size><width>{video.width}</width><height>{video.height}</height></original_size>"
        "</task></meta>\n"
    )


def simplified(xy: np.ndarray, forced: np.ndarray, tolerance: float) -> np.ndarray:
    """Keys [K] bool to keep of a span xy [K,2] so that lines between them miss none by more than `tolerance`.

    Douglas and Peucker (1973), but over frames: the distance is to where the line is on that very frame. `forced`
    keys are kept, the first and the last too.
    """
    keep = forced.copy()
    keep[[0, -1]] = True
    corners = np.flatnonzero(keep).tolist()
    spans = list(pairwise(corners))
    while spans:
        start, stop = spans.pop()
        if stop - start < 2:
            continue
        along = np.arange(1, stop - start)[:, None] / (stop - start)
        error = np.abs(xy[start] + along * (xy[stop] - xy[start]) - xy[start + 1 : stop]).max(1)
        worst = int(error.argmax())
        if error[worst] > tolerance:
            middle = start + 1 + worst
            keep[middle] = True
            spans += [(start, middle), (middle, stop)]
    return keep


def _kept(job: Job, row: int, frames: np.ndarray, xy: np.ndarray, tolerance: float) -> np.ndarray:
    """Which keys of a point are written: all, or those that lines between them cannot replace."""
    if tolerance <= 0:
        return np.ones(len(frames), bool)
    shown = job.keys.shown[row, frames]
    turns = np.zeros(len(frames), bool)
    turns[1:] = shown[1:] != shown[:-1]
    keep = np.zeros(len(frames), bool)
    cuts = [0, *(np.flatnonzero(np.diff(frames) != 1) + 1).tolist(), len(frames)]
    for start, stop in pairwise(cuts):
        forced = (turns | job.keyframe[row, frames])[start:stop]
        keep[start:stop] = simplified(xy[start:stop], forced, tolerance)
    return keep


def _write(job: Job, target: Path, label: str = "point", attributes: bool = True, tolerance: float = 0.0) -> None:
    if not 0 <= tolerance < math.inf:
        raise UsageError(f"tolerance must be pixels, 0 or more, got {tolerance!r}")
    human, label = attributes and bool(job.keyframe.any()), plain(label)

    def parts() -> Iterator[str]:
        yield _head(job, label, attributes, human)
        for row, (name, frames, x, y) in enumerate(job.curves(job.keys.xy)):
            keep = _kept(job, row, frames, np.stack([x, y], 1), tolerance)
            yield f'  <track id="{row}" label={quoteattr(label)} source="auto">\n'
            yield from _points(
                job, row, name, (frames[keep], x[keep], y[keep]), _ends(frames, job.tracks.frames), attributes, human
            )
            yield "  </track>\n"
        yield "</annotations>\n"

    write_text(target, parts())


def _ends(frames: np.ndarray, count: int) -> np.ndarray:
    """First frames of gaps, and the frame after the last key if the clip continues."""
    after = frames[np.flatnonzero(np.diff(frames, append=count + 1) > 1)] + 1
    return after[after < count]


def _points(
    job: Job,
    row: int,
    name: str,
    keys: tuple[np.ndarray, np.ndarray, np.ndarray],
    ends: np.ndarray,
    attributes: bool,
    human: bool,
) -> Iterator[str]:
    """The <points> of one track, in the order of frames."""
    frames, x, y = keys
    last = np.searchsorted(frames, ends, "right") - 1
    order = np.argsort(np.concatenate([frames, ends]), kind="stable")
    outside = np.concatenate([np.zeros(len(frames), int), np.ones(len(ends), int)])[order]
    frame = np.concatenate([frames, ends])[order]
    px, py = np.concatenate([x, x[last]])[order], np.concatenate([y, y[last]])[order]
    hidden = np.concatenate([~job.keys.shown[row, frames], np.zeros(len(ends), bool)])[order]
    inner = ""
    if attributes:
        inner = f'<attribute name="id">{escape(name)}</attribute>'.replace("%", "%%")
    pattern = '    <points frame="%d" keyframe="1" outside="%d" occluded="%d" points="%.4f,%.4f" z_order="0">' + inner
    if not human:
        yield table(pattern + "</points>\n", job.first + frame, outside, hidden, px, py)
        return
    by_hand = np.array(["false", "true"])[(job.keyframe[row, frame] & ~outside.astype(bool)).astype(int)]
    pattern += '<attribute name="human">%s</attribute></points>\n'
    yield table(pattern, job.first + frame, outside, hidden, px, py, by_hand)


# -- reading ------------------------------------------------------------------------------------------

_Shape = tuple[float, ...]
"""frame, outside, occluded, x, y, and 1 for a keyframe, 2 for one with the human attribute."""


@dataclass
class _Task:
    """What the file says of a task: one video."""

    name: str
    width: int | None = None
    height: int | None = None
    frames: int | None = None


@dataclass
class _Content:
    """What was found so far."""

    tasks: dict[str, _Task] = field(default_factory=dict)
    """By the id that tracks give; "" where the file is of one task."""
    marked: bool = False
    """Whether the task's labels have the attribute "human"."""
    tracks: list[tuple[str, str, dict[str, list[_Shape]], bool]] = field(default_factory=list)
    """Task, name, shapes of each of its points, and whether it was drawn by hand."""


def _read(path: Path, context: Context) -> Found:
    """Track by track, so that files of hundreds of megabytes do not fill the memory.

    The points of a shape with several are called TRACK.1, TRACK.2, ..., those of a skeleton TRACK.LABEL.
    """
    content = _Content()
    try:
        for _, element in ElementTree.iterparse(path):
            if element.tag == "meta":
                content.tasks = _tasks(element)
                content.marked = any(name.text == "human" for name in element.iterfind(".//attribute/name"))
            elif element.tag == "track":
                _take(element, content, context)
                element.clear()
            elif element.tag == "image":
                context.left_out("shapes of single images", len(element.findall("*")))
                element.clear()
    except ElementTree.ParseError as error:
        raise context.damaged(f"it is not XML ({error})") from error
    if not content.tracks:
        raise context.damaged("it has no tracks of points: export the task as 'CVAT for video 1.1'")
    return _found(content, context)


def _found(content: _Content, context: Context) -> Found:
    """The tracks of the video that is meant."""
    titles = {identity: (content.tasks[identity].name if identity in content.tasks else identity) or "task"
              for identity in dict.fromkeys(task for task, *_ in content.tracks)}  # fmt: skip
    named = dict(zip(unique(list(titles.values())), titles, strict=True))
    chosen = named[context.one("video", list(named))]
    task = content.tasks.get(chosen, content.tasks.get("", _Task("")))
    tracks: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]] = []
    visible, human = [], []
    for its, name, points, by_hand in content.tracks:
        for part, shapes in points.items() if its == chosen else ():
            frames, x, y, shown, mark = _between(np.array(sorted(shapes), float), task.frames)
            tracks.append((f"{name}.{part}" if part else name, frames, x, y))
            visible.append(shown)
            human.append(mark > 1.5 if content.marked else (mark > 0.5) & by_hand)
    return Found.of(
        tracks, visible=np.concatenate(visible), human=np.concatenate(human), width=task.width, height=task.height,
        frames=task.frames,
    )  # fmt: skip


def _tasks(meta: ElementTree.Element) -> dict[str, _Task]:
    """The one task (or job) of the file under "", or those of a project by their ids."""
    several = meta.findall(".//tasks/task")
    tasks = {element.findtext("id", ""): _task(element) for element in several}
    return tasks or {"": _task(meta)}


def _task(element: ElementTree.Element) -> _Task:
    def number(*places: str) -> int | None:
        return next((int(text) for text in map(element.findtext, places) if text), None)

    name = element.findtext("source") or element.findtext("name") or element.findtext("./*/source") or ""
    return _Task(name, number(".//width"), number(".//height"), number("size", "./*/size"))


def _take(track: ElementTree.Element, content: _Content, context: Context) -> None:
    """Add the points of a track, or count it among what is left out."""
    points: dict[str, list[_Shape]] = {}
    others = {child.tag for child in track} - {"points", "skeleton", "attribute"}
    for other in others:
        context.left_out(f"{other} tracks")
    single = track.findall("points")
    most = max((len(_corners(shape)) for shape in single), default=0)
    for shape in single:
        corners = _corners(shape)
        for number in range(most):  # a point that a shape has not is outside
            x, y = corners[min(number, len(corners) - 1)]
            outside = number >= len(corners) or _is(shape, "outside")
            part = str(number + 1) if most > 1 else ""
            points.setdefault(part, []).append(_shape(shape, shape.get("frame", ""), x, y, outside))
    for skeleton in track.findall("skeleton"):
        for shape in skeleton.findall("points"):
            frame = skeleton.get("frame", shape.get("frame", ""))
            x, y = _corners(shape)[0]
            context.left_out("further positions of a skeleton's point", len(_corners(shape)) - 1)
            outside = _is(shape, "outside") or _is(skeleton, "outside")
            points.setdefault(shape.get("label", ""), []).append(_shape(shape, frame, x, y, outside))
    if points:
        by_hand = track.get("source", "manual") == "manual"
        content.tracks.append((track.get("task_id", ""), _name(track, len(content.tracks)), points, by_hand))


def _name(track: ElementTree.Element, number: int) -> str:
    """The attribute "id" that we write, else the number of the track."""
    return next((a.text for a in track.iter("attribute") if a.get("name") == "id" and a.text), f"track{number}")


def _corners(shape: ElementTree.Element) -> list[tuple[float, float]]:
    """The positions of a shape, one at least."""
    pairs = (pair.split(",") for pair in shape.get("points", "").split(";"))
    return [(float(x), float(y)) for x, y in pairs]


def _is(element: ElementTree.Element, name: str) -> bool:
    return element.get(name, "0") == "1"


def _shape(shape: ElementTree.Element, frame: str, x: float, y: float, outside: bool) -> _Shape:
    by_hand = any(a.get("name") == "human" and a.text == "true" for a in shape.findall("attribute"))
    key = shape.get("keyframe", "1") == "1"
    mark = (2.0 if by_hand else 1.0) if key else 0.0
    return float(frame), float(outside), float(_is(shape, "occluded")), x, y, mark


def _between(keys: np.ndarray, length: int | None) -> tuple[np.ndarray, ...]:
    """Positions on every frame on which CVAT shows the shape: frames, x, y, visible, mark [K].

    Between keyframes it draws straight lines; outside="1" ends a span; the last shape stays to the end of the clip.
    """
    frame, outside, occluded = keys[:, 0].astype(int), keys[:, 1] > 0.5, keys[:, 2] > 0.5
    check_extent(1, max(length or 0, int(frame[-1]) + 1))
    last = (length - 1) if length and not outside[-1] else int(frame[-1])
    every = np.arange(frame[0], max(last, frame[-1]) + 1)
    at = np.searchsorted(frame, every, "right") - 1
    here = ~outside[at]
    following = np.minimum(at + 1, len(frame) - 1)
    target = np.where(outside[following], at, following)  # towards an end of a span the shape stays where it is
    gap = np.maximum(frame[following] - frame[at], 1)
    along = (every - frame[at]) / gap
    xy = keys[at, 3:5] + along[:, None] * (keys[target, 3:5] - keys[at, 3:5])
    mark = np.where(every == frame[at], keys[at, 5], 0.0)
    return every[here], xy[here, 0], xy[here, 1], 1.0 - occluded[at][here], mark[here]


CVAT = Format(
    "cvat", ".xml", "CVAT for video 1.1", _write, _read, NameRule(r"[\x00-\x1f]", 200), occlusion=True, timing="index",
    most_points=500, bytes_per_key=150, options={
        "label": Option(str, "name of the label in the task"),
        "attributes": Option(flag, "no: without the attributes id and human"),
        "tolerance": Option(float, "pixels by which lines between fewer keyframes may miss; 0 writes every frame"),
    },
)  # fmt: skip
