"""`tapkit info`: what is known of a video or of stored tracks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapkit.cli import footage as f
from tapkit.cli.outputs import present
from tapkit.errors import one_line

if TYPE_CHECKING:
    from tapkit.video.base import Source


_TRACKS = (".npz", ".zarr", ".csv", ".parquet")


def info(
    clip: Annotated[
        str,
        typer.Argument(
            help="Video (file, folder or pattern of images), tracks (.npz, .zarr, .csv, .parquet), or a dense result."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
) -> None:
    """What is known of a video, of stored tracks or of a dense result."""
    if Path(clip).suffix.lower() in _TRACKS:
        present(clip)
    else:
        f.present_video(clip)
    from tapkit.export.dense_files import is_dense
    from tapkit.types.storage import SUFFIXES

    if is_dense(clip):
        facts = _dense(Path(clip))
    elif Path(clip).suffix.lower() in SUFFIXES:
        facts = _tracks(Path(clip))
    else:
        facts = _video(f.open_footage(clip, start, end, step, value_range, stream), clip)
    if as_json:
        print(json.dumps(facts))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        if name in _LISTS:
            for line in _LISTS[name](value):
                print(f"{name:{width}}  {one_line(line)}")
            continue
        print(f"{name:{width}}  {one_line(str(value))}")


MOST_LINES = 20
"""Jumps, and stretches of doubt, that are printed; --json has all."""


def _listed(lines: list[str]) -> list[str]:
    left = len(lines) - MOST_LINES
    return lines if left <= 0 else [*lines[:MOST_LINES], f"and {left} more (--json lists all)"]


def _jumps(found: list[dict[str, Any]]) -> list[str]:
    return _listed([f"{each['id']} at frame {each['frame']}, by {each['pixels']:.1f} px" for each in found])


def _unsure(found: list[dict[str, Any]]) -> list[str]:
    return _listed([f"{each['id']} in frames {each['first']} to {each['last']}" for each in found])


_LISTS: dict[str, Callable[[list[dict[str, Any]]], list[str]]] = {"jumps": _jumps, "unsure": _unsure}
"""How facts that are lists are printed: a line each."""


def _video(opened: Source, clip: str) -> dict[str, Any]:
    from tapkit.video.span import Span

    with opened as source:
        video = source.info
        last = video.time_of((video.frames or 1) - 1) + float(1 / video.fps)
        if isinstance(source, Span):
            last -= video.time_of(0)
        return {
            "path": clip,
            "size": f"{video.width}x{video.height}",
            "frames": video.frames,
            "fps": str(video.fps),
            "seconds": None if not video.frames else round(last, 3),
            "variable_rate": video.variable_rate,
            "pixel_aspect": str(video.pixel_aspect),
            "start_frame": video.start_frame,
            "live": source.live,
        }


def _dense(path: Path) -> dict[str, Any]:
    from tapkit.export.dense_files import load_dense

    dense = load_dense(path)
    video = dense.video
    return {
        "path": str(path),
        "dense": dense.kind,
        "fields": len(dense),
        "frame": dense.frame if dense.one_frame else None,
        "cells": f"{dense.columns}x{dense.rows}",
        "step": dense.step,
        "frames": video.frames,
        "video": video.path,
        "size": f"{video.width}x{video.height}",
        "fps": str(video.fps),
        "model": dense.source.model,
        "version": dense.source.version,
        "options": dict(dense.source.options),
    }


def _tracks(path: Path) -> dict[str, Any]:
    from tapkit.motion import doubt
    from tapkit.types import Tracks

    tracks = Tracks.load(path)
    video, shown = tracks.video, tracks.visible_at()
    return {
        "path": str(path),
        "points": len(tracks),
        "frames": tracks.frames,
        "video": video.path,
        "size": f"{video.width}x{video.height}",
        "fps": str(video.fps),
        "model": tracks.source.model,
        "version": tracks.source.version,
        "options": {name: value for name, value in tracks.source.options.items() if name != "through"},
        "asked": int(tracks.valid.sum()),
        "visible": int(shown.sum()),
        **({"skeleton": ", ".join("-".join(edge) for edge in tracks.skeleton)} if tracks.skeleton else {}),
        "keyframes": 0 if tracks.keyframe is None else int(tracks.keyframe.sum()),
        **doubt.facts(tracks),
    }
