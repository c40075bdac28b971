"""Validation during training: TAP-Vid's metrics on synthetic clips that never change and on those of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tapkit.datasets.folder import FolderDataset
from tapkit.metrics.tapvid import tapvid_metrics
from tapkit.train.batch import VALIDATION_SEEDS, Batch, BatchSource, first_visible
from tapkit.train.config import Stage
from tapkit.train.recipe import Trainable
from tapkit.train.sources import whole_clip


class Figures(NamedTuple):
    """Means over clips, in percent; not-a-number where there was nothing to measure."""

    aj: float
    delta_avg: float
    oa: float

    def __str__(self) -> str:
        return f"AJ {self.aj:.1f} delta_avg {self.delta_avg:.1f} OA {self.oa:.1f}"


KEYS = ("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy")


def figures(trainable: Trainable, batch: Batch) -> np.ndarray:
    """AJ, delta_avg, OA (fractions) of each clip of a batch: [B,3] float64. Distances are those of 256x256 frames."""
    queries = first_visible(batch.visible & batch.known)
    found = trainable.predict(batch, queries)
    scale = np.array([256.0 / batch.video.shape[-1], 256.0 / batch.video.shape[-2]], np.float32)
    rows = []
    for clip in range(len(batch.video)):
        asked = (queries.frame[clip] < batch.video.shape[1]).cpu()
        truth = [x[clip].cpu()[asked].numpy() for x in (queries.frame, batch.xy, batch.visible, batch.known)]
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


def on_batches(
    trainable: Trainable, source: BatchSource, stage: Stage, count: int, seed: int = VALIDATION_SEEDS
) -> Figures:
    """Figures on `count` batches that are always the same (and none of training's, whose seeds are smaller)."""
    trainable.network.eval()
    return _mean([figures(trainable, source.batch(stage, seed + i)) for i in range(count)])


def on_folder(trainable: Trainable, root: Path, device: torch.device, size: int = 256) -> Figures:
    """Figures on all clips of a folder, frames resized to size x size as TAP-Vid does it; query mode first."""
    trainable.network.eval()
    return _mean([figures(trainable, whole_clip(clip, size, device)[0]) for clip in FolderDataset(root)])
