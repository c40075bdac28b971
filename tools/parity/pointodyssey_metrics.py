"""Cases of vectors/pointodyssey_metrics: the full-sequence loader's choice of tracks, and the metrics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parity import Check, Parity, compare
from tapkit import coords
from tapkit.datasets.pointodyssey import evaluation_tracks
from tapkit.metrics.pointodyssey import trajectory_metrics
from tapkit.metrics.tapvid import THRESHOLDS


def run(case: Mapping[str, np.ndarray], name: str, parity: Parity) -> list[Check]:
    """The loader on the raw annotation, then the metric on the loader's reference output."""
    frame = int(case["frame_height"]), int(case["frame_width"])
    size = int(case["eval_height"]), int(case["eval_width"])
    raw = case["raw_visibilities"].T
    chosen = evaluation_tracks(case["raw_trajs_2d"].swapaxes(0, 1), raw == 1, raw < 2, frame, int(case["max_points"]))
    checks = [
        compare("trajs", chosen.xy.swapaxes(0, 1), case["trajs"], 1e-4),
        compare("visibs", chosen.visible.T, case["visibs"], 0.0),
        compare("valids", chosen.valid.T, case["valids"], 0.0),
    ]
    truth = coords.resize(case["trajs"].swapaxes(0, 1).astype(np.float64), frame, size)
    given = truth, case["valids"].T > 0, case["pred"].swapaxes(0, 1), size
    ours, at_50 = trajectory_metrics(*given), trajectory_metrics(*given, survival_threshold=50.0)
    ours_percent = {f"metric_d_{x:g}": 100 * d for x, d in zip(THRESHOLDS, ours.delta.tolist(), strict=True)} | {
        "metric_d_avg": 100 * ours.delta_avg,
        "metric_survival": 100 * ours.survival,
        "survival_50": 100 * at_50.survival,
        "metric_median_l2": ours.mte,
    }
    checks += [compare(key, value, case[key], 1e-3) for key, value in ours_percent.items() if key in case]
    checks.append(compare("track_median_l2", ours.track_mte, case["track_median_l2"], 1e-3))
    checks.append(compare("track_survival_frames_16", ours.track_frames, case["track_survival_frames_16"], 0.0))
    return checks
