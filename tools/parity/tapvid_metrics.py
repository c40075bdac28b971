"""Cases of vectors/tapvid_metrics: samplers, metrics, re-detection and the official resize."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parity import Check, Parity, compare
from tapkit import coords
from tapkit.metrics.redetection import RedetectionEvents, reappearances, redetection_events
from tapkit.metrics.tapvid import QUERY_MODES, QueryMode, sample_queries, tapvid_metrics

EXACT = 1e-12
Case = Mapping[str, np.ndarray]


def run(case: Case, name: str, parity: Parity) -> list[Check]:
    """Everything the case holds, by what it holds."""
    if "event_b_t_n" in case:
        return _redetection(case)
    if any(key.endswith("/resized") for key in case):
        return _resize(case, parity)
    checks: list[Check] = []
    for mode in QUERY_MODES:
        if f"{mode}/query_points" in case:
            checks += _sampled(case, mode)
        elif f"{mode}/metric/average_jaccard" in case:
            checks += _figures(
                case,
                mode,
                case["query_points"],
                case["gt_tracks"],
                case["gt_occluded"],
                case["pred_tracks"],
                case["pred_occluded"],
            )
    return checks


def _figures(
    case: Case,
    mode: QueryMode,
    queries: np.ndarray,
    xy: np.ndarray,
    hidden: np.ndarray,
    pred: np.ndarray,
    pred_hidden: np.ndarray,
) -> list[Check]:
    checks = []
    for kind, trackwise in (("metric", False), ("trackwise", True)):
        ours = tapvid_metrics(queries[..., 0], xy, ~hidden, pred, ~pred_hidden.astype(bool), mode, trackwise)
        checks += [
            compare(key, ours[key.rsplit("/", 1)[1]], case[key], EXACT)
            for key in case
            if key.startswith(f"{mode}/{kind}/")
        ]
    return checks


def _sampled(case: Case, mode: QueryMode) -> list[Check]:
    xy = coords.from_normalized(case["points"].astype(np.float64), (int(case["height"]), int(case["width"])))
    rows = sample_queries(~case["occluded"], mode, int(case["query_stride"]))
    points = np.concatenate([rows.frame[:, None], xy[rows.track, rows.frame][:, ::-1]], 1)
    queries, target, hidden = points[None], xy[rows.track][None], case["occluded"][rows.track][None]
    checks = [
        compare(f"{mode}/query_points", queries, case[f"{mode}/query_points"], EXACT),
        compare(f"{mode}/target_points", target, case[f"{mode}/target_points"], EXACT),
        compare(f"{mode}/occluded", hidden, case[f"{mode}/occluded"], 0.0),
    ]
    if f"{mode}/trackgroup" in case:
        checks.append(compare(f"{mode}/trackgroup", rows.track[None], case[f"{mode}/trackgroup"], 0.0))
    return checks + _figures(
        case, mode, queries, target, hidden, case[f"{mode}/pred_tracks"], case[f"{mode}/pred_occluded"]
    )


def _redetection(case: Case) -> list[Check]:
    xy, pred = (case[key].transpose(0, 2, 1, 3) for key in ("gt_tracks", "pred_tracks"))
    seen, said = (case[key].transpose(0, 2, 1) for key in ("gt_visible", "pred_visible"))
    found = [(b, *event) for b, clip in enumerate(seen) for event in zip(*reappearances(clip), strict=True)]
    table = np.array([(b, t, n) for b, n, t, _ in found], np.int64).reshape(-1, 3)
    pooled = RedetectionEvents.join([redetection_events(*clip) for clip in zip(xy, seen, pred, said, strict=True)])
    ours = pooled.figures()
    return [
        compare("event_b_t_n", table, case["event_b_t_n"], 0.0),
        compare("event_duration", [event[3] for event in found], case["event_duration"], 0.0),
        *(compare(key, ours[key.split("/", 1)[1]], case[key], 1e-6) for key in case if key.startswith("metric/")),
    ]


def _resize(case: Case, parity: Parity) -> list[Check]:
    from tapkit.datasets.frames import lanczos

    checks = []
    for prefix in sorted({key.split("/")[0] for key in case}):
        frames, height, width, seed = (
            int(case[f"{prefix}/{key}"]) for key in ("frames", "height", "width", "video_seed")
        )
        theirs = case[f"{prefix}/resized"]
        ours = np.stack(
            [lanczos(image, theirs.shape[1:3]) for image in parity.seeded.video(frames, height, width, seed)]
        )
        checks.append(compare(f"{prefix}/resized", ours, theirs, 1.0))
    return checks
