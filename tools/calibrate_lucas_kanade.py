"""Fit the probabilities of lucas-kanade on synthetic clips with exact ground truth, and print the coefficients.

    python tools/calibrate_lucas_kanade.py [--clips 60] [--photos ../shared/assets/photos]

Each clip: a photograph as background and cut-outs of others in front of it, all moving by their own smoothly changing
similarity, with noise, brightness drift and blur. Two logistic regressions (points being followed; points lost) for two
targets (visible; error below 8 px of a 256x256 frame), Newton's method. Never run on real evaluation clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from tapkit.models.lucas_kanade.evidence import Evidence, features
from tapkit.models.lucas_kanade.tracker import LucasKanade, LucasKanadeOptions

HEIGHT, WIDTH, FRAMES, POINTS = 360, 480, 48, 96


def path(rng: np.random.Generator, speed: float) -> list[np.ndarray]:
    """Smooth similarities [3,3], one a frame: where a layer's own coordinates are in the frame."""
    knots = np.linspace(0, FRAMES - 1, 6)
    curves = [np.interp(np.arange(FRAMES), knots, np.cumsum(rng.normal(0, s, 6))) for s in (speed, speed, 0.12, 0.08)]
    out = []
    for dx, dy, turn, zoom in zip(*curves, strict=True):
        scale = np.exp(zoom)
        cos, sin = scale * np.cos(turn), scale * np.sin(turn)
        centre = np.array([WIDTH / 2, HEIGHT / 2])
        shift = centre + (dx, dy) - np.array([[cos, -sin], [sin, cos]]) @ centre
        out.append(np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]], [0, 0, 1]]))
    return out


def synthetic_clip(rng: np.random.Generator, photos: list[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames [T,H,W,3] uint8, positions [N,T,2] (corner origin), visible [N,T]."""
    layers, alphas, paths = [], [], []
    for number in range(int(rng.integers(3, 7))):
        with Image.open(photos[rng.integers(len(photos))]) as image:
            picture = np.asarray(image.convert("RGB").resize((WIDTH, HEIGHT)))
        alpha = np.ones((HEIGHT, WIDTH), np.float32)
        if number:
            blob = cv2.GaussianBlur(rng.normal(size=(HEIGHT, WIDTH)).astype(np.float32), (0, 0), rng.uniform(20, 45))
            alpha = cv2.GaussianBlur((blob > np.quantile(blob, rng.uniform(0.8, 0.93))).astype(np.float32), (0, 0), 0.7)
        layers.append(picture)
        alphas.append(alpha)
        paths.append(path(rng, 6.0 if number == 0 else 22.0))
    frames, owners = [], []
    for t in range(FRAMES):
        canvas, owner = np.zeros((HEIGHT, WIDTH, 3), np.float32), np.zeros((HEIGHT, WIDTH), int)
        for number, (picture, alpha) in enumerate(zip(layers, alphas, strict=True)):
            # Pixel (i, j) of a layer is its centre (j + 0.5, i + 0.5); OpenCV counts centres as whole numbers.
            half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
            matrix = np.linalg.inv(half) @ paths[number][t] @ half
            border = cv2.BORDER_REFLECT if number == 0 else cv2.BORDER_CONSTANT
            warped = cv2.warpPerspective(picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=border)
            mask = (
                np.ones((HEIGHT, WIDTH), np.float32)
                if number == 0
                else cv2.warpPerspective(alpha, matrix, (WIDTH, HEIGHT))
            )
            canvas = canvas * (1 - mask[..., None]) + warped * mask[..., None]
            owner[mask > 0.5] = number
        canvas = canvas * (1 + 0.15 * np.sin(t / 9 + rng.uniform())) + rng.normal(0, 4, canvas.shape)
        if rng.uniform() < 0.15:
            canvas = cv2.blur(canvas, (int(rng.integers(2, 7)), 1))
        frames.append(canvas.clip(0, 255).astype(np.uint8))
        owners.append(owner)
    start = rng.uniform((4, 4), (WIDTH - 4, HEIGHT - 4), (POINTS, 2))
    whose = owners[0][start[:, 1].astype(int), start[:, 0].astype(int)]
    own = np.concatenate([start, np.ones((POINTS, 1))], 1)
    local = np.stack([np.linalg.inv(paths[w][0]) @ p for w, p in zip(whose, own, strict=True)])
    xy = np.stack([[(paths[w][t] @ p)[:2] for t in range(FRAMES)] for w, p in zip(whose, local, strict=True)])
    inside = ((xy >= 0) & (xy < (WIDTH, HEIGHT))).all(-1)
    cells = np.clip(xy.astype(int), 0, (WIDTH - 1, HEIGHT - 1))
    seen = np.stack([owners[t][cells[:, t, 1], cells[:, t, 0]] == whose for t in range(FRAMES)], 1)
    return np.stack(frames), xy, seen & inside


class Observer(LucasKanade):
    """Lucas-Kanade that keeps what it knew when it spoke."""

    seen: Evidence

    def _advance(self, state, gray):  # type: ignore[no-untyped-def]
        moved, self.seen = super()._advance(state, gray)
        return moved, self.seen


def collect(clips: int, photos: list[Path]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Features of followed and of lost points, with the two targets in the last columns."""
    rng = np.random.default_rng(0)
    followed, lost = [], []
    scale = np.array([256 / WIDTH, 256 / HEIGHT])
    for _ in range(clips):
        frames, xy, visible = synthetic_clip(rng, photos)
        model = Observer(LucasKanadeOptions())
        state = model.start((HEIGHT, WIDTH))
        for t, image in enumerate(frames):
            new = torch.from_numpy(xy[:, 0]).float() if t == 0 else torch.zeros(0, 2)
            state, prediction = model.step(state, torch.from_numpy(image).permute(2, 0, 1), new)
            if t == 0:
                continue
            error = np.linalg.norm((prediction.xy.numpy() - xy[:, t]) * scale, axis=-1)
            targets = np.stack([visible[:, t], error < 8], 1).astype(float)
            right, away = features(model.seen)
            tracked = model.seen.tracked.numpy()
            followed.append(np.concatenate([right, targets], 1)[tracked])
            lost.append(np.concatenate([away, targets], 1)[~tracked])
    return followed, lost


def logistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coefficients of a logistic regression with a little ridge, by Newton's method."""
    weights = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (p - y) + 1e-3 * weights
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(len(weights))
        weights -= np.linalg.solve(hessian, gradient)
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument(
        "--photos", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "assets" / "photos"
    )
    arguments = parser.parse_args()
    photos = sorted(arguments.photos.glob("*.jpg"))
    if not photos:
        raise SystemExit(f"no photographs in {arguments.photos}")
    for name, parts in zip(("FOLLOWED", "LOST"), collect(arguments.clips, photos), strict=True):
        rows = np.concatenate(parts)
        x, targets = rows[:, :-2], rows[:, -2:]
        fitted = [logistic(x, targets[:, i]) for i in range(2)]
        print(f"{name} = (" + ", ".join("(" + ", ".join(f"{w:.3f}" for w in f) + ")" for f in fitted) + ")")
        for i, f in enumerate(fitted):
            p = 1 / (1 + np.exp(-x @ f))
            bins = np.minimum((p * 10).astype(int), 9)
            gap = sum(
                abs(p[bins == b].mean() - targets[bins == b, i].mean()) * (bins == b).mean()
                for b in range(10)
                if (bins == b).any()
            )
            print(
                f"  {('visible', 'within 8 px')[i]}: {len(rows)} cases, "
                f"base rate {targets[:, i].mean():.3f}, ECE {gap:.4f}"
            )


if __name__ == "__main__":
    main()
