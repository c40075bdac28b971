"""Identities on real clips with annotated points: boxes are made from the points of the ground truth.

    python benchmarks/objects_real.py FOLDER [--model strand] [--overlays OUT]

Points whose distances hardly change while both are visible are one object, or one part of a body; its box on a frame is
that around its visible points (two at least), a tenth larger. Detections are those boxes with the noise of
benchmarks/objects.py (4 % of the side, 8 % missed). A clip in which fewer than two objects are found says little and is
left out, by name. Stored in benchmarks/results/objects_real.json, by the folder's name.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from tapkit import api
from tapkit.apps.objects import Detections, ObjectOptions, ObjectTracks, score_objects, track_objects
from tapkit.apps.objects.drawing import draw_objects
from tapkit.datasets import open_dataset
from tapkit.datasets.base import Clip
from tapkit.types import VideoInfo

RESULTS = Path(__file__).parent / "results" / "objects_real.json"
_RIGID, _NEAR = 0.03, 0.25
"""Of the frame's longer side: how far the distance of two points of an object may vary, and how large it may be."""


def objects_of(clip: Clip) -> np.ndarray:
    """The object of each point [N] int: groups of points of which all pairs keep together (complete linkage)."""
    count, side = len(clip.xy), max(clip.size)
    apart = np.full((count, count), 2.0)
    for i in range(count):
        for j in range(i):
            both = clip.visible[i] & clip.visible[j]
            if both.sum() >= 5:
                distance = np.linalg.norm(clip.xy[i, both] - clip.xy[j, both], axis=1)
                apart[i, j] = apart[j, i] = min(2.0, max(distance.std() / _RIGID, distance.mean() / _NEAR) / side)
    np.fill_diagonal(apart, 0)
    return np.asarray(fcluster(linkage(squareform(apart), "complete"), 1.0, "distance"))


def boxes_of(clip: Clip) -> list[tuple[int, int, np.ndarray]]:
    """(frame, object counted from 1, box [4]) of all objects that have two points or more."""
    label = objects_of(clip)
    kept = [value for value in np.unique(label) if (label == value).sum() >= 2]
    rows = []
    for t in range(clip.frames):
        for number, value in enumerate(kept, 1):
            seen = clip.xy[(label == value) & clip.visible[:, t], t]
            if len(seen) >= 2:
                low, high = seen.min(0), seen.max(0)
                pad = np.maximum(0.1 * (high - low), 0.02 * max(clip.size))
                rows.append((t, number, np.concatenate([low - pad, high + pad])))
    return rows


def detections_of(rows: list[tuple[int, int, np.ndarray]], frames: int, seed: int) -> list[Detections]:
    """Noisy boxes, some missed, in random order."""
    random = np.random.default_rng(seed)
    found = []
    for t in range(frames):
        boxes = [
            box + random.normal(0, 0.04, 4) * np.tile(box[2:] - box[:2], 2)
            for frame, _, box in rows
            if frame == t and random.random() >= 0.08
        ]
        order = random.permutation(len(boxes))
        found.append(Detections.of(np.array(boxes).reshape(-1, 4)[order], 0.9) if boxes else Detections.none())
    return found


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="strand")
    parser.add_argument("--overlays", type=Path, help="folder for videos with the boxes of rule net")
    asked = parser.parse_args()
    tracker = api.load(asked.model)
    scores: dict[str, list[tuple[str, float, float, int]]] = {rule: [] for rule in ("net", "nettrack", "iou")}
    left_out = []
    for number, clip in enumerate(open_dataset(asked.folder)):
        rows = boxes_of(clip)
        if len({number for _, number, _ in rows}) < 2:
            left_out.append(clip.name)
            continue
        k = len(rows)
        height, width = clip.size
        truth = ObjectTracks(
            np.array([row[0] for row in rows]), np.array([row[1] for row in rows]), np.stack([row[2] for row in rows]),
            np.ones(k), np.full(k, ""), np.zeros(k, bool), VideoInfo(width, height, frames=clip.frames),
        )  # fmt: skip
        detections = detections_of(rows, clip.frames, number)
        for rule, kept in scores.items():
            with clip.open() as source:
                found = track_objects(source, detections, tracker=tracker, options=ObjectOptions(rule))  # type: ignore[arg-type]
                if rule == "net" and asked.overlays:
                    asked.overlays.mkdir(parents=True, exist_ok=True)
                    draw_objects(source, found, asked.overlays / f"{clip.name}.mp4", True)
            score = score_objects(truth, found.detected())
            kept.append((clip.name, score.hota, score.idf1, score.switches))
            print(clip.name, rule, f"HOTA {score.hota:.3f} IDF1 {score.idf1:.3f} switches {score.switches}", flush=True)
    table = {
        rule: {
            "hota": round(float(np.mean([row[1] for row in rows])), 4),
            "idf1": round(float(np.mean([row[2] for row in rows])), 4),
            "switches": sum(row[3] for row in rows),
        }
        for rule, rows in scores.items()
    }
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    clips = [row[0] for row in scores["net"]]
    stored[asked.folder.name] = {"model": asked.model, "clips": clips, "left_out": left_out, "rules": table}
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n")
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
