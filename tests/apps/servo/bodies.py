"""Rigid planar objects that move on their own, each by turn, shift and scale, over a background; and Rand's index."""

from __future__ import annotations

import math

import numpy as np


def moving_bodies(
    objects: int, seed: int = 0, demos: int = 3, frames: int = 30, each: int = 16, back: int = 40, noise: float = 0.002
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """xy [N,F,2] in units of the picture, visible [N,F], body of each point [N] (0: the background)."""
    random = np.random.default_rng(seed)
    body = np.concatenate([np.zeros(back, int), np.repeat(np.arange(objects) + 1, each)])
    shape = random.uniform(-1, 1, (len(body), 2)) * np.where(body == 0, 0.45, 0.08)[:, None]
    clips = []
    for _ in range(demos):
        clip = np.zeros((len(body), frames, 2))
        for number in range(objects + 1):
            ends = _motions(random, number)
            for t in range(frames):
                x, y, turn, scale = ends[0] + (ends[1] - ends[0]) * t / (frames - 1)
                c, s = scale * math.cos(turn), scale * math.sin(turn)
                clip[body == number, t] = shape[body == number] @ np.array([[c, s], [-s, c]]) + (x, y)
        clips.append(clip)
    xy = np.concatenate(clips, 1) + random.normal(0, noise, (len(body), demos * frames, 2))
    visible = (random.random(xy.shape[:2]) > 0.15) & ((xy > 0) & (xy < 1)).all(2)
    return xy, visible, body


def _motions(random: np.random.Generator, number: int) -> np.ndarray:
    """Start and end of a body: x, y, turn, scale."""
    reach = 0.06 if number == 0 else 0.3
    rows = random.uniform(-1, 1, (2, 4)) * (reach, reach, 0.5, 0.25)
    return np.asarray(rows + (0.5, 0.5, 0.0, 1.0))


def adjusted_rand(first: np.ndarray, second: np.ndarray) -> float:
    """Agreement of two partitions, 1 for the same, about 0 by chance (Hubert and Arabie, 1985)."""
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1)

    def pairs(n: np.ndarray) -> float:
        return float((n * (n - 1) / 2).sum())

    both, a, b = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    expected = a * b / pairs(np.array([len(first)]))
    return (both - expected) / ((a + b) / 2 - expected)
