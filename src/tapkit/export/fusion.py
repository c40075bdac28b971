"""Fusion and DaVinci Resolve: a Tracker with a path for each point, as .setting to paste, or in a .comp.

Positions are 0..1 over the picture, y up. Layout after settings of Fusion 9 and later: `TrackedCenterN` is driven by
an XYPath (two splines with a key for each frame) or by a PolyPath, a polyline around `Center` along which a spline
`Displacement` moves from 0 to 1. XYPath is written, both are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import coords
from tapkit.export.context import Context
from tapkit.export.format import Format, Job
from tapkit.export.found import Found
from tapkit.export.lua_table import KIND, parse
from tapkit.export.text import NameRule, parse_rate, rate_text, read_text, table, write_text

_LINK = re.compile(r"TrackedCenter(\d+)")
_RED, _GREEN = "Red = 255, Green = 0, Blue = 0", "Red = 0, Green = 255, Blue = 0"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _tools(job: Job) -> Iterator[str]:
    """One Tracker and the paths of its points."""
    unit = coords.to_normalized(coords.flip_y(job.keys.xy, job.video.height), job.video.size)
    yield "\tTools = ordered() {\n\t\tTracker1 = Tracker {\n\t\t\tTrackers = {\n"
    first = [(frames[0], x[0], y[0]) for _, frames, x, y in job.curves(unit)]
    for frame, x, y in first:
        yield (f"\t\t\t\t{{ PatternTime = {job.numbers[frame]}, PatternX = {x:.9f}, PatternY = {y:.9f}, }},\n")
    yield "\t\t\t},\n\t\t\tInputs = {\n"
    for number, (name, (_, x, y)) in enumerate(zip(job.names, first, strict=True), 1):
        yield (
            f"\t\t\t\tName{number} = Input {{ Value = {_quoted(name)}, }},\n"
            f"\t\t\t\tPatternCenter{number} = Input {{ Value = {{ {x:.9f}, {y:.9f} }}, }},\n"
            f'\t\t\t\tTrackedCenter{number} = Input {{ SourceOp = "Tracker1Path{number}", Source = "Value", }},\n'
        )
    yield "\t\t\t},\n\t\t\tViewInfo = OperatorInfo { Pos = { 0, 0 } },\n\t\t},\n"
    for number, (_, frames, x, y) in enumerate(job.curves(unit), 1):
        path = f"Tracker1Path{number}"
        yield f'\t\t{path} = XYPath {{\n\t\t\tShowKeyPoints = false,\n\t\t\tDrawMode = "ModifyOnly",\n'
        yield "\t\t\tInputs = {\n"
        for axis in "XY":
            yield f'\t\t\t\t{axis} = Input {{ SourceOp = "{path}{axis}", Source = "Value", }},\n'
        yield "\t\t\t},\n\t\t},\n"
        for axis, values, colour in (("X", x, _RED), ("Y", y, _GREEN)):
            yield f"\t\t{path}{axis} = BezierSpline {{\n\t\t\tSplineColor = {{ {colour} }},\n\t\t\tKeyFrames = {{\n"
            yield table("\t\t\t\t[%d] = { %.9f, Flags = { Linear = true } },\n", job.numbers[frames], values)
            yield "\t\t\t},\n\t\t},\n"
    yield "\t},\n"


def _setting(job: Job, target: Path) -> None:
    write_text(target, ["{\n", *_tools(job), '\tActiveTool = "Tracker1",\n}\n'])


def _composition(job: Job, target: Path) -> None:
    video, (first, last) = job.video, (job.numbers[0], job.numbers[-1])
    aspect = video.pixel_aspect
    head = (
        f"Composition {{\n\tCurrentTime = {first},\n\tRenderRange = {{ {first}, {last} }},\n"
        f"\tGlobalRange = {{ {first}, {last} }},\n\tPrefs = {{\n\t\tComp = {{\n\t\t\tFrameFormat = {{ "
        f"Width = {video.width}, Height = {video.height}, AspectX = {aspect.numerator}, "
        f"AspectY = {aspect.denominator}, Rate = {rate_text(video.fps)}, }},\n\t\t}},\n\t}},\n"
    )
    write_text(target, [head, *_tools(job), "}\n"])


# -- reading ------------------------------------------------------------------------------------------


def _read(path: Path, context: Context) -> Found:
    """The points of every Tracker, by their names; others of the same name get a number."""
    text = read_text(path).strip()
    content = parse(text.removeprefix("Composition").strip() if text.startswith("Composition") else text)
    tools = content.get("Tools", {})
    shape = content.get("Prefs", {}).get("Comp", {}).get("FrameFormat", {})
    size = context.size(shape.get("Width"), shape.get("Height"))
    scope, tracks = _flat(tools), []
    for tool in scope.values():
        if tool.get(KIND) == "Tracker":
            tracks += _points(tool.get("Inputs", {}), scope, size, context)
    context.left_out("planar trackers", sum(tool.get(KIND) == "PlanarTracker" for tool in scope.values()))
    if not tracks:
        raise context.damaged("it has no Tracker whose points have a path")
    span = content.get("GlobalRange", {})
    return Found.of(
        tracks, beyond=True, width=shape.get("Width"), height=shape.get("Height"),
        fps=parse_rate(f"{shape['Rate']:g}") if "Rate" in shape else None,
        first=int(span[1]) if 1 in span else None, frames=int(span[2] - span[1]) + 1 if 2 in span else None,
    )  # fmt: skip


def _flat(tools: dict[Any, Any]) -> dict[str, dict[Any, Any]]:
    """Tools by name, those within groups and macros too."""
    found: dict[str, dict[Any, Any]] = {}
    for name, tool in tools.items():
        if isinstance(tool, dict):
            found[str(name)] = tool
            found.update(_flat(tool.get("Tools", {})))
    return found


def _points(
    inputs: dict[Any, Any], tools: dict[str, Any], size: coords.Size, context: Context
) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """(name, frames, x, y) of the points of one Tracker."""
    found = []
    for key, entry in inputs.items():
        match = _LINK.fullmatch(str(key))
        path = tools.get(entry.get("SourceOp", "")) if match and isinstance(entry, dict) else None
        if match is None or path is None:
            continue
        frames, unit = _xy_path(path, tools) if path[KIND] == "XYPath" else _poly_path(path, tools, context)
        xy = coords.flip_y(coords.from_normalized(unit, size), size[0])
        title = inputs.get(f"Name{match[1]}", {}).get("Value") or f"Tracker {match[1]}"
        found.append((str(title), frames, xy[:, 0], xy[:, 1]))
    return found


def _spline(link: Any, tools: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Frames [K] and values [K] of the spline that drives an input; without one, nothing and its constant value."""
    spline = tools.get(link.get("SourceOp", "")) if isinstance(link, dict) else None
    if spline is None:
        value = link.get("Value", 0.5) if isinstance(link, dict) else 0.5
        return np.zeros(0), np.array([value], float)
    keys = sorted((key, value[1]) for key, value in spline.get("KeyFrames", {}).items() if key != KIND)
    frames, values = np.array(keys, float).reshape(-1, 2).T
    return frames, values


def _xy_path(path: dict[Any, Any], tools: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Frames [K] and positions [K,2]: where both splines have no key for a frame, one is interpolated straight."""
    inputs = path.get("Inputs", {})
    (tx, x), (ty, y) = (_spline(inputs.get(axis, {}), tools) for axis in "XY")
    frames = np.union1d(tx, ty)
    curves = [np.interp(frames, t, v) if len(t) else np.full(len(frames), v[0]) for t, v in ((tx, x), (ty, y))]
    return np.rint(frames).astype(int), np.stack(curves, 1)


def _poly_path(path: dict[Any, Any], tools: dict[str, Any], context: Context) -> tuple[np.ndarray, np.ndarray]:
    """Frames [K] and positions [K,2]: key k lies on point k where there are as many, as a Tracker writes them, else
    where its displacement is along the polyline."""
    inputs = path.get("Inputs", {})
    line = inputs["PolyLine"]["Value"]["Points"]
    points = np.array([[p.get("X", 0.0), p.get("Y", 0.0)] for key, p in line.items() if key != KIND], float)
    center = inputs.get("Center", {}).get("Value", {1: 0.5, 2: 0.5})
    points += (center[1], center[2])
    frames, along = _spline(inputs.get("Displacement", {}), tools)
    whole = len(frames) > 0 and along[0] < 1e-6 and (len(along) == 1 or along[-1] > 1 - 1e-6)
    if not whole or len(frames) != len(points) or (np.diff(along) < 0).any():
        context.say("a path has other keys than points: positions were taken along straight lines between its points")
        length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        where = along * length[-1]
        points = np.stack([np.interp(where, length, points[:, axis]) for axis in (0, 1)], 1)
    return np.rint(frames).astype(int), points[: len(frames)]


_NAMES = NameRule(r"[\x00-\x1f]", 100)
FUSION = Format(
    "fusion", ".setting", "Fusion Tracker node as text to paste", _setting, _read, _NAMES,
    holds_gaps=False, most_points=500, bytes_per_key=110,
)  # fmt: skip
FUSION_COMP = Format(
    "fusion-comp", ".comp", "Fusion composition with a Tracker", _composition, _read, _NAMES, keeps_start=True,
    square_only=False, holds_gaps=False, most_points=500, bytes_per_key=110,
)  # fmt: skip
