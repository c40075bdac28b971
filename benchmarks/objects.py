"""Objects that cross and cover one another: identities by points and by boxes alone, on the same detections.

    python benchmarks/objects.py [--speed 1] [--clips 8] [--frames 60] [--model strand]

The clips are made here: textured cards of different sizes move over a textured background, meet, and cover one another.
Detections are the visible parts' boxes, moved and resized by noise of 4 % of the side; a card that is more than 70 %
covered is not detected, and 8 % of the others are missed. Truth is the box of the visible part of every card of which
at least 30 % is visible. With --speed 1 cards move by 2 to 4.5 pixels a frame (they are 51 to 82 pixels large), with
--speed 2.2 by 4.4 to 10. Stored in benchmarks/results/objects.json, by speed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tapkit import api
from tapkit.apps.objects import Detections, ObjectOptions, ObjectTracks, score_objects, track_objects
from tapkit.types import VideoInfo

RESULTS = Path(__file__).parent / "results" / "objects.json"


_LEAST = 0.3
"""Share of a card that must be visible for it to be detected, and to count."""


class Crossing(NamedTuple):
    """One made clip."""

    images: np.ndarray
    """[T,H,W,3] uint8."""
    detections: list[Detections]
    truth: ObjectTracks


def crossing(
    seed: int, frames: int = 60, size: tuple[int, int] = (256, 384), count: int = 5, speed: float = 1.0
) -> Crossing:
    """Cards that swing to and fro across the frame with other phases and speeds, so that they meet all the time."""
    random = np.random.default_rng(seed)
    height, width = size
    back = _texture(random, height, width, 0.5)
    sides = random.uniform(0.2, 0.32, (count, 2)) * height
    cards = [_texture(random, round(h), round(w), 1.0) for h, w in sides]
    pace = speed * random.uniform(2.0, 4.5, count) * width / 384 * np.where(np.arange(count) % 2, -1, 1)
    start = random.uniform(0.1, 0.9, count)
    lane = random.uniform(0.3, 0.7, count)
    bounce, phase = random.uniform(0.05, 0.15, count), random.uniform(0, 6.28, count)
    images, detections, rows = [], [], []
    for t in range(frames):
        image = back.copy()
        owner = np.full(size, -1)
        boxes = np.zeros((count, 4), np.int64)
        for n, card in enumerate(cards):  # later cards lie in front
            h, w = card.shape[:2]
            x = _swing(start[n] * (width - w) + pace[n] * t, width - w)
            y = (lane[n] + bounce[n] * np.sin(0.15 * t + phase[n])) * (height - h)
            left, top = round(x), round(y)
            boxes[n] = left, top, left + w, top + h
            image[top : top + h, left : left + w] = card
            owner[top : top + h, left : left + w] = n
        images.append(image)
        detections.append(_detect(random, boxes, owner))
        for n, card in enumerate(cards):
            if (owner == n).sum() >= _LEAST * card.shape[0] * card.shape[1]:
                rows.append((t, n + 1, _box_of(owner == n)))
    return Crossing(np.stack(images), detections, _truth(rows, size, frames))


def _truth(rows: list[tuple[int, int, list[int]]], size: tuple[int, int], frames: int) -> ObjectTracks:
    k = len(rows)
    return ObjectTracks(
        np.array([row[0] for row in rows]), np.array([row[1] for row in rows]),
        np.array([row[2] for row in rows], np.float64), np.ones(k), np.full(k, ""), np.zeros(k, bool),
        VideoInfo(size[1], size[0], frames=frames),
    )  # fmt: skip


def _box_of(mask: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(mask)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def _swing(x: float, span: float) -> float:
    """A position that turns round at 0 and at `span`."""
    place = x % (2 * span)
    return min(place, 2 * span - place)


def _texture(random: np.random.Generator, height: int, width: int, strength: float) -> np.ndarray:
    """Smooth blotches of a colour of its own, [h,w,3] uint8."""
    tone = random.uniform(60, 190, 3)
    picture = np.zeros((height, width, 3))
    for cell, share in ((5, 0.5), (11, 0.5)):
        small = random.normal(0, 255, (height // cell + 2, width // cell + 2, 3)).clip(-128, 127) + 128
        layer = Image.fromarray(small.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        picture += share * (np.asarray(layer, np.float64) - 128)
    return (tone + strength * picture).clip(0, 255).astype(np.uint8)


def _detect(random: np.random.Generator, boxes: np.ndarray, owner: np.ndarray) -> Detections:
    found, scores = [], []
    for n, box in enumerate(boxes):
        sides = np.array([box[2] - box[0], box[3] - box[1]] * 2, np.float64)
        share = (owner == n).sum() / (sides[0] * sides[1])
        noise, missed = random.normal(0, 0.04, 4) * sides, random.random() < 0.08
        if share < _LEAST or missed:
            continue
        seen = np.array(_box_of(owner == n)) + noise
        found.append(seen)
        scores.append(min(0.99, 0.3 + 0.65 * share))
    order = random.permutation(len(found))
    return Detections.of(np.array(found).reshape(-1, 4)[order], np.array(scores)[order])


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--model", default="strand")
    asked = parser.parse_args()
    tracker = api.load(asked.model)
    table: dict[str, dict[str, float]] = {}
    for rule in ("net", "nettrack", "iou"):
        all_scores, seconds = [], 0.0
        for seed in range(asked.clips):
            clip = crossing(100 + seed, asked.frames, speed=asked.speed)
            began = time.perf_counter()
            found = track_objects(clip.images, clip.detections, tracker=tracker, options=ObjectOptions(rule))  # type: ignore[arg-type]
            seconds += time.perf_counter() - began
            all_scores.append(score_objects(clip.truth, found.detected()))
        means = {name: float(np.mean([getattr(s, name) for s in all_scores])) for name in all_scores[0]._fields}
        means["switches"] = sum(s.switches for s in all_scores)
        table[rule] = {name: round(value, 4) for name, value in means.items()}
        table[rule]["ms_per_frame"] = round(1000 * seconds / (asked.clips * asked.frames), 1)
        print(rule, table[rule], flush=True)
    made = {"clips": asked.clips, "frames": asked.frames, "objects": 5, "size": [256, 384], "model": asked.model}
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    stored[f"speed {asked.speed:g}"] = {"set": made, "rules": table}
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
