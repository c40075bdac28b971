"""Clicks against accuracy: how well a point is annotated by few clicks, with and without the track assist.

    python benchmarks/annotation_clicks.py FOLDER [--clips libby,judo] [--flow dis] [--model strand]

FOLDER holds NAME/frames/*.jpg and NAME/tracks.npz (xy [N,T,2] pixels, visible [N,T]) as `tapkit eval` reads it. The
clicks are the ground truth's: the query (the first frame on which a point is visible) and k = 0, 1, 2, 3 further
visible frames, evenly spread, the last one among them. Methods:

- linear: straight lines between the clicks (with k = 0: where the query is);
- assist: along the motion of the flow model through all clicks (`tapkit.annotate.solve`), without being told where the
  point is hidden; and told (the spans in which the ground truth is hidden), as annotators mark them;
- through: the tracker from every click, both ways, blended between two clicks (`tapkit.annotate.blend`); and faded
  linearly, as `Tracker.track(keyframes=...)` does;
- alone: the tracker from the query, the same for every k.

delta_avg (TAP-Vid: share within 1, 2, 4, 8, 16 pixels of a 256x256 frame, mean) over the frames after the query on
which the point is visible: on those without a click ("between"), and on all of them ("all"). Mean over the clips.
Stored in benchmarks/results/annotation_clicks.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tapkit
from tapkit.annotate.blend import blend
from tapkit.annotate.solve import Click, FlowMotion, solve_track
from tapkit.metrics.tapvid import THRESHOLDS
from tapkit.types import Queries

RESULTS = Path(__file__).parent / "results" / "annotation_clicks.json"
MOST = 3
"""Further clicks."""


class Truth(NamedTuple):
    """A clip's annotation: N tracks that are ever visible."""

    xy: np.ndarray
    visible: np.ndarray
    query: np.ndarray
    """[N] first visible frame."""


def read(path: Path) -> Truth:
    """The tracks of a clip."""
    with np.load(path) as content:
        visible = content["visible"] & np.isfinite(content["xy"]).all(-1)
        rows = visible.any(1)
        return Truth(content["xy"][rows].astype(float), visible[rows], visible[rows].argmax(1))


def chosen(visible: np.ndarray, query: int, further: int) -> list[int]:
    """Frames that are clicked: the query, and up to `further` visible ones, evenly spread, the last among them."""
    later = np.flatnonzero(visible[query + 1 :]) + query + 1
    if not further or not len(later):
        return [query]
    places = np.linspace(-1, len(later) - 1, further + 1)[1:].round().astype(int).clip(0)
    return [query, *sorted(set(later[places].tolist()))]


def linear(truth: Truth, clicks: list[list[int]]) -> np.ndarray:
    """Straight lines, [N,T,2]."""
    frames = np.arange(truth.xy.shape[1])
    return np.stack(
        [np.stack([np.interp(frames, t, truth.xy[n, t, axis]) for axis in (0, 1)], -1) for n, t in enumerate(clicks)]
    )


def assisted(truth: Truth, clicks: list[list[int]], motion: FlowMotion, told: bool) -> np.ndarray:
    """Along the motion, [N,T,2]."""
    found = []
    for n, frames in enumerate(clicks):
        placed = [Click(t, *truth.xy[n, t].tolist()) for t in frames]
        gone = [(t, t + 1) for t in range(truth.xy.shape[1]) if told and not truth.visible[n, t]]
        found.append(solve_track(placed, motion, gone).xy)
    return np.stack(found)


class Tracked(NamedTuple):
    """What the tracker says from every click of every k, [M,T] each."""

    place: dict[tuple[int, int], int]
    """Row of the track from (point, frame)."""
    xy: np.ndarray
    visible: np.ndarray
    confidence: np.ndarray


def tracked(truth: Truth, clicks: set[tuple[int, int]], tracker: tapkit.Tracker, frames: Path) -> Tracked:
    """The tracker from all clicks (point, frame), both ways; its points do not help one another."""
    ordered = sorted(clicks)
    t = np.array([frame for _, frame in ordered])
    xy = np.array([truth.xy[n, frame] for n, frame in ordered])
    tracks = tracker.track(str(frames), Queries(t, xy, np.arange(len(ordered))))
    place = {key: row for row, key in enumerate(ordered)}
    return Tracked(place, tracks.xy.astype(float), tracks.visible, tracks.confidence)


def through(clicks: list[list[int]], found: Tracked, sure: bool) -> np.ndarray:
    """One track through all clicks of each point, [N,T,2]; `sure`: weighted by how sure each side is."""
    tracks = []
    for n, frames in enumerate(clicks):
        rows = [found.place[n, t] for t in frames]
        visible, confidence = found.visible[rows], found.confidence[rows]
        if not sure:
            visible, confidence = np.ones_like(visible), np.ones_like(confidence)
        tracks.append(blend(np.array(frames), found.xy[rows], visible, confidence, 2.0 if sure else 1.0).xy)
    return np.stack(tracks)


def within(found: np.ndarray, truth: Truth, mask: np.ndarray, size: tuple[int, int]) -> float:
    """delta_avg over the positions of `mask` [N,T]."""
    scale = np.array([256 / size[1], 256 / size[0]])
    off = np.linalg.norm((found - truth.xy) * scale, axis=-1)[mask]
    return float(np.mean([(off < limit).mean() for limit in THRESHOLDS])) if len(off) else float("nan")


def measure(folder: Path, flow: str, tracker: tapkit.Tracker, add: Callable[[str, int, str, float], None]) -> None:
    """All methods on one clip."""
    truth = read(folder / "tracks.npz")
    frames = folder / "frames"
    count, length = truth.visible.shape
    after = truth.visible & (np.arange(length) > truth.query[:, None])
    every = [
        [chosen(truth.visible[n], int(truth.query[n]), further) for n in range(count)] for further in range(MOST + 1)
    ]
    found = tracked(truth, {(n, t) for clicks in every for n in range(count) for t in clicks[n]}, tracker, frames)
    with tapkit.open_video(str(frames)) as video:
        motion = FlowMotion(video, flow)
        size = video.info.size
        motion.prepare(0, length)
        for further, clicks in enumerate(every):
            between = after.copy()
            for n, each in enumerate(clicks):
                between[n, each] = False
            began = time.process_time()
            answers = {
                "linear": linear(truth, clicks),
                f"assist {flow}": assisted(truth, clicks, motion, False),
                f"assist {flow}, told": assisted(truth, clicks, motion, True),
            }
            add("seconds of assist", further, "all", (time.process_time() - began) / 2)
            answers["through"] = through(clicks, found, True)
            answers["through, linear"] = through(clicks, found, False)
            answers["alone"] = through(every[0], found, True)
            for name, xy in answers.items():
                add(name, further, "between", within(xy, truth, between, size))
                add(name, further, "all", within(xy, truth, after, size))


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", default="")
    parser.add_argument("--flow", default="dis")
    parser.add_argument("--model", default="strand")
    asked = parser.parse_args()
    names = asked.clips.split(",") if asked.clips else sorted(p.parent.name for p in asked.folder.glob("*/tracks.npz"))
    tracker = tapkit.load(asked.model, device="cpu")
    values: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for name in names:
        measure(asked.folder / name, asked.flow, tracker, lambda *key: values[key[:3]].append(key[3]))
        print(name, flush=True)
    table: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for (method, further, where), found in values.items():
        scale = 1 if method.startswith("seconds") else 100
        title = method.replace("through", f"through {asked.model}").replace("alone", f"{asked.model} alone")
        table[title][str(further)][where] = round(scale * float(np.nanmean(found)), 2)
    for method, rows in table.items():
        cells = (f"{k}: {v.get('between', float('nan')):6.2f} {v['all']:6.2f}" for k, v in rows.items())
        print(f"{method:<24}", *cells)
    if not asked.clips:
        RESULTS.write_text(json.dumps({"clips": names, "further clicks": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
