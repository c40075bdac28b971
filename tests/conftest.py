"""What many tests use: a textured clip that moves by a known amount, and a tracker that knows the answer."""

from __future__ import annotations

import gc
import os

# Tests run side by side, one a core: more threads each, of their subprocesses too, only wait for one another. NumPy and
# PyTorch read this when they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

torch.set_num_threads(1)
# Until all tests are collected, what is imported and made stays: looking through it for garbage again and again is in
# vain.
gc.disable()


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random picture [H,W,3] uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    image = np.zeros((height, width, 3))
    for _ in range(24):
        angle, frequency, phase = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.6), rng.uniform(0, 2 * np.pi)
        wave = np.sin(frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        image += wave[..., None] * rng.uniform(0.2, 1, 3)
    image = (image - image.min()) / np.ptp(image)
    return (255 * image).astype(np.uint8)


@pytest.fixture
def moving_clip() -> tuple[np.ndarray, np.ndarray]:
    """12 frames [T,64,96,3] of a picture that moves by whole pixels, and its position [T,2] relative to frame 0."""
    steps = np.array([(3, 1), (2, -1), (-1, 2), (4, 0)] * 3)[:12]
    shift = np.concatenate([np.zeros((1, 2), int), steps.cumsum(0)[:-1]])
    margin = 40
    canvas = textured(64 + 2 * margin, 96 + 2 * margin)
    frames = [canvas[margin - dy : margin - dy + 64, margin - dx : margin - dx + 96] for dx, dy in shift]
    return np.stack(frames), shift.astype(np.float32)


def pytest_collection_finish() -> None:
    """What is there now is never looked through again: thousands of tests, and modules such as PyTorch's."""
    gc.freeze()
    gc.enable()


LONG = (
    "tests/test_parity",
    "tests/engine/test_onnx.py",
    "/test_graphs.py",
    "tests/train/test_run.py",
    "tests/train/test_launch.py",
    "tests/train/gmrw/test_training.py",
    "tests/per_video/",
    "tests/docs/test_nuke_shot.py",
    "tests/devices/",
)
"""Where tests of more than about ten seconds are; those that export to ONNX in a row, since the first one in a process
also waits for the exporter to be imported."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first: what one process of two is still at when the other has nothing left is waited for."""
    items.sort(key=lambda item: next((row for row, part in enumerate(LONG) if part in item.nodeid), len(LONG)))
