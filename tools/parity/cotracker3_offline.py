"""Parity cases of CoTracker3 offline: model, predictor, evaluation (vectors/cotracker3_offline/README.md)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from parity import Check, Parity, compare
from parity.cotracker_recorder import (
    DELTA,
    INSIDE,
    PROBABILITY,
    STRIDE,
    TRACKS,
    Recorder,
    corner,
    encoder,
    grids,
    has_support,
    inputs,
    intermediates,
    unsized,
    visible_check,
)
from tapkit.models.cotracker.network3 import CoTracker3Network, Estimate, motion_codes
from tapkit.models.cotracker.tracker3 import CoTracker3Offline, build_offline
from tapkit.nn.posenc import octave_sines

PREDICTOR_THRESHOLD = 0.9
"""The authors' predictor thresholds visibility alone; their evaluation, and our card, the product at 0.6."""


def correlation(case: dict[str, Any], record: Recorder) -> list[Check]:
    """`corr_volume` and `corr_emb`: point 0, frame 1, first iteration; levels follow each other call by call."""
    calls = record.calls["corr_mlp"][:4]
    second = min(1, calls[0][0].shape[1] - 1)
    volumes = torch.stack([given[0, second] for given, _ in calls])[[0, 2]]
    squeezed = torch.stack([result[0, second] for _, result in calls])
    scale = max(1.0, float(abs(case["corr_volume"]).max()))
    return [
        compare("corr_volume", volumes, case["corr_volume"], INSIDE * scale),
        compare("corr_emb", squeezed, case["corr_emb"], INSIDE),
    ]


def short(case: dict[str, Any], parity: Parity) -> list[Check]:
    """The whole clip at once, with intermediate values."""
    model = build_offline(
        parity.weights("cotracker3_offline"), input_size=None, support="none", iterations=int(case["iters"])
    )
    frames, queries = inputs(case, parity)
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    with torch.inference_mode(), Recorder().watching(model.network, "corr_mlp") as record:
        result = model.track(model.encode(frames), size, corner(queries))
        checks = [encoder(case, model.network, frames)]
    checks += [
        compare("tracks", result.xy.transpose(0, 1) - 0.5, case["tracks"], TRACKS),
        compare("visibility", result.visible.T, case["visibility"], PROBABILITY),
        compare("confidence", result.confidence.T, case["confidence"], PROBABILITY),
    ]
    checks += intermediates(case, record, 1, len(frames)) + correlation(case, record)
    deltas = torch.stack(record.deltas)  # [k,N,T,4]
    sums = deltas.cumsum(0).transpose(1, 2)
    return [
        *checks,
        compare("delta", deltas[None], case["delta"], DELTA),
        compare("coords_iter", queries[:, 1:] + STRIDE * sums[..., :2], case["coords_iter"], TRACKS),
        compare("visibility_iter", sums[..., 2].sigmoid(), case["visibility_iter"], PROBABILITY),
        compare("confidence_iter", sums[..., 3].sigmoid(), case["confidence_iter"], PROBABILITY),
    ]


def tables(case: dict[str, Any], network: CoTracker3Network) -> list[Check]:
    """units.npz: time and motion codes, the correlation MLP of zeros, grids."""
    columns = case["columns"]
    motion = octave_sines(torch.from_numpy(case["motion_in"]), 10)
    with torch.inference_mode():
        zero = network.corr_mlp(torch.zeros(1, 2401))
    checks = [
        compare("time_embedding", network.time_table[:, columns], case["time_embedding"], 1e-6),
        compare("motion_embedding", motion, case["motion_embedding"], 1e-4),
        compare("corr_mlp_of_zero", zero, case["corr_mlp_of_zero"], 1e-5),
    ]
    for name in case:
        if name.startswith("time_embedding_resampled_"):
            codes = network.time_codes(int(name.rsplit("_", 1)[1]))
            checks.append(compare(name, codes[:, columns], case[name], 1e-5))
    assert motion_codes(torch.zeros(1, 1, 2)).shape[-1] == case["motion_embedding"].shape[-1]
    return checks + grids(case)


class Watched:
    """An offline adapter whose passes over all points, support included, are kept."""

    def __init__(self, model: CoTracker3Offline) -> None:
        self.model = model
        self.passes: list[tuple[Tensor, Estimate]] = []
        """Queries [M,3] in pixels of the network's input, and what the network said, [M,T,...]."""
        groups = model._groups

        def watched(features: Any, rows: Tensor) -> Estimate:
            result = groups(features, rows)
            flat = rows.flatten(0, 1)
            asked = torch.cat([flat[:, :1], flat[:, 1:] * STRIDE], 1)
            self.passes.append((asked, Estimate(*(part.flatten(0, 1) for part in result))))
            return result

        model._groups = watched  # type: ignore[method-assign]


def predictor(case: dict[str, Any], parity: Parity) -> list[Check]:
    """CoTrackerPredictor: resizing, support points, both directions, grids, masks."""
    frames, queries = inputs(case, parity)
    model = build_offline(parity.weights("cotracker3_offline"))
    checks = [resized(case, model, frames)]
    for run in sorted({name.removesuffix("_model_queries") for name in case if name.endswith("_model_queries")}):
        asked = torch.from_numpy(case[f"{run}_model_queries"])
        supported = has_support(asked)
        back = f"{run}_reverse_queries" in case
        own = queries if run in ("queries", "backward") else unsized(asked[: -36 if supported else None], frames)
        with torch.inference_mode():
            one = Watched(
                build_offline(
                    parity.weights("cotracker3_offline"), support="global:6" if supported else "none", reverse_pass=back
                )
            )
            size = (int(frames.shape[-2]), int(frames.shape[-1]))
            result = one.model.track(one.model.encode(frames), size, corner(own))
        checks += run_checks(case, run, own, one, result)
    return checks


def run_checks(case: dict[str, Any], run: str, own: Tensor, one: Watched, result: Any) -> list[Check]:
    """The arrays of one run of predictor.npz."""
    checks = []
    names = ("tracks", "visibility", "confidence")
    for (asked, estimate), prefix in zip(one.passes, (f"{run}_raw", f"{run}_reverse"), strict=False):
        key = f"{run}_model_queries" if prefix.endswith("raw") else f"{run}_reverse_queries"
        checks.append(compare(key, asked, case[key], 1e-3))
        values = (estimate.xy * STRIDE, estimate.visible.sigmoid(), estimate.confidence.sigmoid())
        for name, value in zip(names, values, strict=True):
            if f"{prefix}_{name}" in case:
                tolerance = TRACKS if name == "tracks" else PROBABILITY
                checks.append(compare(f"{prefix}_{name}", value.transpose(0, 1), case[f"{prefix}_{name}"], tolerance))
    xy, score = result.xy.transpose(0, 1) - 0.5, result.visible.T.clone()
    # That a point is at its query on the query's frame is the engine's doing.
    t, n = own[:, 0].long(), torch.arange(len(own))
    xy[t, n], score[t, n] = own[:, 1:], 1.0
    checks.append(compare(f"{run}_tracks", xy, case[f"{run}_tracks"], TRACKS))
    checks.append(visible_check(f"{run}_visible", score, PREDICTOR_THRESHOLD, case[f"{run}_visible"], len(own)))
    return checks


def resized(case: dict[str, Any], model: Any, frames: Tensor) -> Check:
    """Frame 1 as the network sees it."""
    seen = model.prepare_frames(frames[1:2])[0]
    return compare("resized_frame", seen[:, ::16, ::16], case["resized_frame"], 1e-2)


def single_point(case: dict[str, Any], parity: Parity) -> list[Check]:
    """The evaluation, one query at a time with local and global support."""
    frames, queries = inputs(case, parity)
    grid = {"local": int(case["local_grid_size"]), "global": int(case["grid_size"])}
    support = "+".join(f"{kind}:{count}" for kind, count in grid.items() if count) or "none"
    one = Watched(
        build_offline(parity.weights("cotracker3_offline"), single=True, support=support, iterations=int(case["iters"]))
    )
    with torch.inference_mode():
        size = (int(frames.shape[-2]), int(frames.shape[-1]))
        result = one.model.track(one.model.encode(frames), size, corner(queries))
    asked = torch.cat([asked for asked, _ in one.passes]).view(case["model_queries"].shape)
    score = result.visible * result.confidence
    return [
        compare("model_queries", asked, case["model_queries"], 1e-3),
        compare("tracks", result.xy.transpose(0, 1) - 0.5, case["tracks"], TRACKS),
        compare("visibility_times_confidence", score.T, case["visibility_times_confidence"], PROBABILITY),
    ]


def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """One case."""
    if "time_embedding" in case:
        return tables(case, build_offline(parity.weights("cotracker3_offline")).network)
    if "local_grid_size" in case:
        return single_point(case, parity)
    return predictor(case, parity) if "resized_frame" in case else short(case, parity)
