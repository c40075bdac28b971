"""How good a network is, during training: TAP-Vid's figures on made clips that never change and on a folder's."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tapkit.datasets.folder import FolderDataset
from tapkit.metrics.tapvid import tapvid_metrics
from tapkit.models.strand.network import Network
from tapkit.train.config import Stage
from tapkit.train.data import whole_clip
from tapkit.train.lesson import VALIDATION, Lesson, Lessons, Queries
from tapkit.train.unroll import answer


class Figures(NamedTuple):
    """Means over clips, in percent; not-a-number where there was nothing to measure."""

    aj: float
    delta: float
    oa: float

    def __str__(self) -> str:
        return f"AJ {self.aj:.1f} delta_avg {self.delta:.1f} OA {self.oa:.1f}"


KEYS = ("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy")


def first_visible(visible: torch.Tensor) -> Queries:
    """Queries of mode "first": every point of [B,N,T] at its first visible frame, those never visible at none."""
    length = visible.shape[-1]
    frame = torch.where(visible.any(-1), visible.int().argmax(-1), length)
    frames = tuple(sorted({int(t) for t in frame.flatten().tolist() if t < length}))
    return Queries(frame, frames)


def figures(network: Network, lesson: Lesson, size: int) -> np.ndarray:
    """AJ, delta_avg, OA (fractions) of each clip of a lesson of size x size frames: [B,3] float64."""
    queries = first_visible(lesson.visible & lesson.known)
    found = answer(network, lesson, queries)
    scale = 256.0 / size
    rows = []
    for clip in range(len(lesson.video)):
        asked = (queries.frame[clip] < lesson.video.shape[1]).cpu()
        truth = [x[clip].cpu()[asked].numpy() for x in (queries.frame, lesson.xy, lesson.visible, lesson.known)]
        said = [x[clip].float().cpu()[asked].numpy() for x in found]
        result = tapvid_metrics(
            truth[0], truth[1] * scale, truth[2], said[0] * scale, said[1] > 0.5, "first", where=truth[3]
        )
        rows.append([float(result[key]) for key in KEYS])
    return np.array(rows, np.float64).reshape(-1, 3)


def _mean(rows: list[np.ndarray]) -> Figures:
    table = np.concatenate(rows) if rows else np.full((1, 3), np.nan)
    means = [float(100 * np.mean(column[np.isfinite(column)])) if np.isfinite(column).any() else float("nan")
             for column in table.T]  # fmt: skip
    return Figures(*means)


def on_lessons(network: Network, source: Lessons, stage: Stage, count: int, seed: int = VALIDATION) -> Figures:
    """Figures on `count` lessons that are always the same (and none of training's, whose seeds are smaller)."""
    network.eval()
    return _mean([figures(network, source.lesson(stage, seed + i), stage.size) for i in range(count)])


def on_folder(network: Network, root: Path, device: torch.device, size: int = 256) -> Figures:
    """Figures on all clips of a folder, frames resized to size x size as TAP-Vid does it; query mode first."""
    network.eval()
    return _mean([figures(network, whole_clip(clip, size, device)[0], size) for clip in FolderDataset(root)])
