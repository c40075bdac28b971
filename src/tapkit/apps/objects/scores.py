"""How good object tracks are: HOTA, IDF1 and MOTA.

HOTA: J. Luiten et al., HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking, IJCV 2021. IDF1: E. Ristani et
al., Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking, 2016. MOTA: K. Bernardin,
R. Stiefelhagen, Evaluating Multiple Object Tracking Performance: The CLEAR MOT Metrics, 2008. Agrees with TrackEval.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit.apps.objects.assignment import assign
from tapkit.apps.objects.detections import iou
from tapkit.apps.objects.table import ObjectTracks

_LEVELS = np.arange(0.05, 0.99, 0.05)
_OVERLAP = 0.5
_EPS = 1e-9


class ObjectScores(NamedTuple):
    """All in 0..1 but `mota`, which may be negative, and `switches`, a count."""

    hota: float
    """Mean over the overlaps 0.05, 0.10, ... 0.95 of sqrt(DetA AssA)."""
    deta: float
    """Detection accuracy: mean of TP / (TP + FN + FP)."""
    assa: float
    """Association accuracy."""
    idf1: float
    mota: float
    switches: int
    """Identity switches."""


class _Frames(NamedTuple):
    """Numbers of objects, counted from 0, and overlaps [G,F], of each frame."""

    truth: list[np.ndarray]
    found: list[np.ndarray]
    overlap: list[np.ndarray]

    @property
    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Boxes of each true object and of each object found."""
        both = [np.concatenate([np.zeros(0, np.int64), *part]) for part in (self.truth, self.found)]
        return np.bincount(both[0]).astype(np.float64), np.bincount(both[1]).astype(np.float64)


def score_objects(truth: ObjectTracks, found: ObjectTracks) -> ObjectScores:
    """Compare objects with the truth; classes and scores are not looked at. Nothing found scores 0."""
    frames = _frames(truth, found)
    hota, deta, assa = _hota(frames)
    mota, switches = _clear(frames)
    return ObjectScores(hota, deta, assa, _idf1(frames), mota, switches)


def _frames(truth: ObjectTracks, found: ObjectTracks) -> _Frames:
    numbers = [np.unique(part.id, return_inverse=True)[1].reshape(-1) for part in (truth, found)]
    frames = _Frames([], [], [])
    for frame in np.union1d(truth.frame, found.frame).tolist():
        g, f = (np.flatnonzero(part.frame == frame) for part in (truth, found))
        frames.truth.append(numbers[0][g])
        frames.found.append(numbers[1][f])
        frames.overlap.append(iou(truth.xyxy[g], found.xyxy[f]))
    return frames


def _hota(frames: _Frames) -> tuple[float, float, float]:
    truths, founds = frames.counts
    if not len(truths) or not len(founds):
        return 0.0, 0.0, 0.0
    shared = np.zeros((len(truths), len(founds)))
    for g, f, overlap in zip(*frames, strict=True):
        whole = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
        np.add.at(shared, np.ix_(g, f), overlap / np.maximum(whole, _EPS))
    together = shared / (truths[:, None] + founds[None] - shared)
    pairs: list[tuple[int, int, float]] = []
    for g, f, overlap in zip(*frames, strict=True):
        best = assign(together[np.ix_(g, f)] * overlap, 0.0)
        pairs += [(int(g[r]), int(f[c]), float(overlap[r, c])) for r, c in best]
    rows, columns = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
    values = np.array([pair[2] for pair in pairs])
    results = []
    for level in _LEVELS:
        hit = values >= level - _EPS
        count = np.zeros_like(shared)
        np.add.at(count, (rows[hit], columns[hit]), 1)
        hits = count.sum()
        deta = hits / (truths.sum() + founds.sum() - hits)
        each = count / np.maximum(truths[:, None] + founds[None] - count, 1)
        assa = (count * each).sum() / max(hits, 1)
        results.append((np.sqrt(deta * assa), deta, assa))
    hota, deta, assa = np.mean(results, 0)
    return float(hota), float(deta), float(assa)


def _idf1(frames: _Frames) -> float:
    truths, founds = frames.counts
    both = np.zeros((len(truths), len(founds)))
    for g, f, overlap in zip(*frames, strict=True):
        np.add.at(both, np.ix_(g, f), overlap >= _OVERLAP - _EPS)
    hits = sum(both[pair] for pair in assign(both, 0.0)) if both.size else 0.0
    return float(2 * hits / max(truths.sum() + founds.sum(), 1))


def _clear(frames: _Frames) -> tuple[float, int]:
    """Pairs of the frame before are kept where they still overlap."""
    truths, founds = frames.counts
    before: dict[int, int] = {}
    ever: dict[int, int] = {}
    hits = switches = 0
    for g, f, overlap in zip(*frames, strict=True):
        kept = np.array([[before.get(int(a)) == int(b) for b in f] for a in g], bool).reshape(overlap.shape)
        value = np.where(overlap >= _OVERLAP - _EPS, 1000 * kept + overlap, 0)
        before = {int(g[r]): int(f[c]) for r, c in assign(value, 0.0) if value[r, c] > 0} if value.size else {}
        hits += len(before)
        switches += sum(ever.get(a, b) != b for a, b in before.items())
        ever.update(before)
    missed = founds.sum() - hits
    return float((hits - missed - switches) / max(truths.sum(), 1)), switches
