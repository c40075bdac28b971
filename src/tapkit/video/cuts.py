"""Scene cuts, noticed frame by frame as a video plays.

Block means of luminance are compared by normalised cross-correlation over small shifts, so that neither a change of
exposure nor a pan counts, and colours by the distance of coarse histograms. A cut is a frame whose structure differs
from that of the frame before, and whose sum of both stands out: against a fixed bar, and against the median of the
frames before, as in adaptive content detection (a shaky camera, a whip pan). Blank frames are passed over: a white
flash is no cut, and after black the picture is compared with the last one before it. Dissolves and fades are not
noticed: they have no frame on which the scene changes.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from torch import Tensor

ROWS, COLUMNS = 18, 32
"""Blocks of the small picture that is compared."""
SHIFT = (3, 5)
"""Blocks by which the picture may have moved between two frames, rows and columns."""
STRUCTURE = 0.3
"""A cut has a correlation of at most 1 - this much, at the best shift."""
BAR = 0.6
"""And this much of that difference (0..1) and the share of other colours (0..1) together."""
OUTSTANDING = 2.0
"""And so many times the median of the frames before."""
REMEMBERED = 12
"""Frames that make that median."""
_BLANK = 1.5 / 255
"""Standard deviation of luminance below which a picture shows nothing."""


class CutDetector:
    """Tells for each frame whether a new scene begins with it; memory is that of a small picture."""

    def __init__(self) -> None:
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._scores: deque[float] = deque(maxlen=REMEMBERED)

    def __call__(self, frame: Tensor) -> bool:
        """Whether `frame` (uint8 [3,H,W] RGB, any device), the next one, begins a new scene."""
        luma, colours = _small(frame)
        if luma.std() < _BLANK:
            return False
        before, self._before = self._before, (luma, colours)
        if before is None:
            return False
        structure = 1 - _best_correlation(before[0], luma)
        differing = 0.5 * float(np.abs(before[1] - colours).sum())
        score = structure + differing
        usual = float(np.median(self._scores)) if self._scores else 0.0
        cut = structure >= STRUCTURE and score >= BAR and score > OUTSTANDING * usual
        if cut:
            self._scores.clear()
        else:
            self._scores.append(score)
        return cut


def _small(frame: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Block means of luminance [ROWS,COLUMNS] in 0..1, and the share of blocks in each of 64 colours."""
    height, width = frame.shape[-2:]
    stride = max(min(height // (4 * ROWS), width // (4 * COLUMNS)), 1)
    part = frame[:, ::stride, ::stride].float()[None]
    blocks = torch.nn.functional.adaptive_avg_pool2d(part, (ROWS, COLUMNS))[0].cpu().numpy() / 255
    luma = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), blocks, 1)
    return luma, _histogram(blocks)


def _histogram(blocks: np.ndarray) -> np.ndarray:
    """Shares of 4 x 4 x 4 colours [64]; each block is spread over the bins beside it, so that no edge matters."""
    place = np.clip(blocks.reshape(3, -1) * 4 - 0.5, 0, 3)
    low = np.minimum(place.astype(int), 2)
    high = place - low
    out = np.zeros((4, 4, 4))
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod([high[c] if corner[c] else 1 - high[c] for c in range(3)], axis=0)
        np.add.at(out, tuple(low[c] + corner[c] for c in range(3)), weight)
    shares: np.ndarray = out.ravel() / blocks[0].size
    return shares


def _best_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """The highest normalised cross-correlation over all shifts, 0..1."""
    best = 0.0
    for dy in range(-SHIFT[0], SHIFT[0] + 1):
        for dx in range(-SHIFT[1], SHIFT[1] + 1):
            a = first[max(dy, 0) : ROWS + min(dy, 0), max(dx, 0) : COLUMNS + min(dx, 0)]
            b = second[max(-dy, 0) : ROWS + min(-dy, 0), max(-dx, 0) : COLUMNS + min(-dx, 0)]
            a, b = a - a.mean(), b - b.mean()
            norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
            if norm > 1e-9:
                best = max(best, float((a * b).sum()) / norm)
    return best
