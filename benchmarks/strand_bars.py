"""What strand is held to beside AJ: visibility while occluded, jumps, drift, long clips. One table for one tracker.

    python benchmarks/strand_bars.py [--weights FILE] [--clips FOLDER] [--long FOLDER] [--rows still blocks ...]

Rows:
- clips, squeezed: a folder of annotated clips, frames as they are and resized to 256x256 first: AJ, delta_avg, OA
  (query first), and which shares of occluded points are called visible and of visible ones occluded;
- long: a folder of long annotated clips, each apart: median error in pixels of the video, points within 8 px (of a
  256x256 frame) in the last quarter; points that come back after a gap of three frames or more, five frames later:
  right, and wrong but called visible;
- still: the first frame of the sample clip "blocks" 60 times, without and with noise (standard deviation 8 grey
  levels): how far 100 points have drifted at the end, pixels;
- blocks: the sample clip. Points of the mat that hands and blocks cover and uncover again (found from the pixels: the
  mat and the camera stand still): how many are within 8 px at the end, how many are called visible while covered; of
  400 points of a grid, how many jump by more than 80 pixels between two frames while called visible on both.

Rows whose clips are not named are left out. Stored in benchmarks/results/strand_bars.json under --name.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import tapkit
from tapkit.datasets import open_dataset
from tapkit.evaluation.predict import predict
from tapkit.evaluation.protocol import Protocol
from tapkit.metrics.tapvid import evaluated_entries, tapvid_metrics
from tapkit.types import Queries
from tapkit.video.samples import sample

RESULTS = Path(__file__).parent / "results" / "strand_bars.json"
FRAMES, NOISE, SIDE = 60, 8.0, 10
NEAR, JUMP, GAP, LATER = 8.0, 80.0, 3, 5
COVERED, UNCOVERED, PATCH = 25.0, 8.0, 4
"""Mean differences in grey levels of patches of (2 * PATCH + 1)^2 pixels from the first frame."""


@dataclass(frozen=True)
class Setting:
    """What is measured, on what."""

    tracker: Any
    clips: Path | None
    long: Path | None


def on_clips(setting: Setting, resolution: str) -> dict[str, Any] | None:
    """Means over clips in percent."""
    if setting.clips is None:
        return None
    rows, by_clip = [], {}
    for clip in open_dataset(str(setting.clips)):
        found = predict(setting.tracker, clip, Protocol(resolution=resolution))
        scale = 256.0 / np.array([clip.size[1], clip.size[0]], np.float32)
        truth, visible = clip.xy[found.track], clip.visible[found.track]
        counted = None if clip.counted is None else clip.counted[found.track]
        figures = tapvid_metrics(found.frame, truth * scale, visible, found.xy * scale, found.said, where=counted)
        asked = evaluated_entries(found.frame, clip.frames, "first")
        asked = asked if counted is None else asked & counted
        hidden, seen = asked & ~visible, asked & visible
        keys = ("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy")
        row = [float(figures[key]) for key in keys]
        # Summed over clips below: many clips have hardly any occluded points.
        rows.append([*row, (found.said & hidden).sum(), hidden.sum(), (~found.said & seen).sum(), seen.sum()])
        by_clip[clip.name] = round(100 * row[0], 1)
    table = np.array(rows, np.float64)
    aj, delta, oa = 100 * np.nanmean(table[:, :3], 0)
    said, hidden, unsaid, seen = table[:, 3:].sum(0)
    return {
        "AJ": aj,
        "delta_avg": delta,
        "OA": oa,
        "occluded_said_visible": 100 * said / hidden,
        "visible_said_occluded": 100 * unsaid / seen,
        "AJ_by_clip": by_clip,
    }


def on_long(setting: Setting) -> dict[str, Any] | None:
    """Each clip of the folder of long ones."""
    if setting.long is None:
        return None
    result = {}
    for clip in open_dataset(str(setting.long)):
        found = predict(setting.tracker, clip, Protocol(resolution="native"))
        truth, visible = clip.xy[found.track], clip.visible[found.track]
        counted = np.ones_like(visible) if clip.counted is None else clip.counted[found.track]
        seen = evaluated_entries(found.frame, clip.frames, "first") & counted & visible
        error = np.linalg.norm(found.xy - truth, axis=-1)
        scale = 256.0 / np.array([clip.size[1], clip.size[0]], np.float32)
        near = np.linalg.norm((found.xy - truth) * scale, axis=-1) < NEAR
        last = seen & (np.arange(clip.frames) >= clip.frames * 3 // 4)
        right = wrong = events = 0
        for row, time_ in after_gaps(visible & counted, seen):
            events += 1
            right += int(near[row, time_])
            wrong += int(found.said[row, time_] and not near[row, time_])
        result[clip.name] = {
            "median_px": float(np.median(error[seen])),
            "last_quarter_within_8": 100 * near[last].mean(),
            "came_back": events,
            "right": right,
            "wrong_but_visible": wrong,
        }
    return result


def after_gaps(visible: np.ndarray, seen: np.ndarray) -> list[tuple[int, int]]:
    """(row, frame) `LATER` frames after each return from a gap of `GAP` frames, or where the run ends before."""
    events = []
    for row, line in enumerate(visible):
        turns = np.flatnonzero(np.diff(line.astype(int)))
        for first, back in pairwise(turns):
            if line[first] and not line[first + 1] and back - first >= GAP and seen[row, back + 1]:
                stop = back + 1
                while stop + 1 < len(line) and line[stop + 1] and stop - back - 1 < LATER:
                    stop += 1
                events.append((row, int(stop)))
    return events


def on_still(setting: Setting) -> dict[str, Any]:
    """Drift on a picture that stands still."""
    frame = frames_of(sample("blocks"))[0]
    random = np.random.default_rng(0)
    result = {}
    for noise in (0.0, NOISE):
        shape = (FRAMES, *frame.shape)
        clip = frame + noise * random.standard_normal(shape, np.float32) if noise else np.broadcast_to(frame, shape)
        queries = Queries.grid(frame.shape[:2], SIDE)
        tracks = setting.tracker.track(clip.clip(0, 255).round().astype(np.uint8), queries)
        drift = np.linalg.norm(tracks.xy[:, -1] - queries.xy, axis=-1)
        result[f"noise_{noise:.0f}"] = {"median_px": float(np.median(drift)), "p90_px": float(np.quantile(drift, 0.9))}
    return result


def on_blocks(setting: Setting) -> dict[str, Any]:
    """Points that are covered and uncovered, and jumps."""
    path = sample("blocks")
    frames = frames_of(path)
    places, covered = covered_points(frames)
    tracks = setting.tracker.track(path, Queries(np.zeros(len(places), int), places, np.arange(len(places))))
    near = np.linalg.norm(tracks.xy[:, -1] - places, axis=-1) < NEAR
    said = tracks.visible_at()
    grid = setting.tracker.track(path, Queries.grid(frames.shape[1:3], 20))
    seen = grid.visible_at()
    step = np.linalg.norm(np.diff(grid.xy, axis=1), axis=-1)
    jumps = (step > JUMP) & seen[:, 1:] & seen[:, :-1]
    return {
        "points": len(places),
        "right_at_the_end": 100 * near.mean(),
        "right_and_visible_at_the_end": 100 * (near & said[:, -1]).mean(),
        "visible_while_covered": 100 * said[covered].mean(),
        "jumping_points": int(jumps.any(1).sum()),
        "grid_called_visible": 100 * seen.mean(),
    }


def covered_points(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places [N,2] whose surroundings are the same on the first and the last frames and others in between.

    Also when they were covered for certain, [N,T] bool. frames [T,H,W,3] of a camera that stands still.
    """
    grey = frames.astype(np.float32).mean(-1)
    difference = np.abs(grey - grey[:1])
    height, width = grey.shape[1:]
    ys, xs = np.meshgrid(np.arange(16, height - 16, 8), np.arange(16, width - 16, 8), indexing="ij")
    places = np.stack([xs.ravel(), ys.ravel()], -1)
    window = np.stack(
        [difference[:, y - PATCH : y + PATCH + 1, x - PATCH : x + PATCH + 1].mean((1, 2)) for x, y in places]
    )
    texture = np.array([grey[0, y - PATCH : y + PATCH + 1, x - PATCH : x + PATCH + 1].std() for x, y in places])
    covered = window > COVERED
    same = (window[:, :3] < UNCOVERED).all(1) & (window[:, -5:] < UNCOVERED).all(1)
    chosen = same & (covered.sum(1) >= 5) & (texture > 4)
    return places[chosen].astype(np.float32) + 0.5, covered[chosen]


def frames_of(path: Path) -> np.ndarray:
    """All frames [T,H,W,3] uint8."""
    with tapkit.open_video(path) as source:
        return np.stack([np.asarray(frame.image) for frame in source.frames()])


ROWS: dict[str, Callable[[Setting], Any]] = {
    "still": on_still,
    "blocks": on_blocks,
    "clips": lambda setting: on_clips(setting, "native"),
    "squeezed": lambda setting: on_clips(setting, "256x256"),
    "long": on_long,
}


def rounded(value: Any) -> Any:
    """With two digits."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return round(float(value), 2) if isinstance(value, (float, np.floating)) else value


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="strand")
    parser.add_argument("--weights", type=Path, help="other weights than those of the package")
    parser.add_argument("--clips", type=Path, help="annotated clips that are not trained on")
    parser.add_argument("--long", type=Path, help="long annotated clips that are not trained on")
    parser.add_argument("--rows", nargs="+", choices=sorted(ROWS), default=list(ROWS))
    parser.add_argument("--name", help="in the stored file; default: the model's")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    tracker = tapkit.load(arguments.model, arguments.weights, device="cpu")
    setting = Setting(tracker, arguments.clips, arguments.long)
    stored = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    row = stored.setdefault(arguments.name or arguments.model, {})
    for name in arguments.rows:
        began = time.perf_counter()
        figures = ROWS[name](setting)
        if figures is None:
            continue
        row[name] = rounded(figures)
        row["date"] = time.strftime("%Y-%m-%d")
        print(f"{name} ({time.perf_counter() - began:.0f} s): {json.dumps(row[name])}", flush=True)
        arguments.out.parent.mkdir(exist_ok=True)
        arguments.out.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
