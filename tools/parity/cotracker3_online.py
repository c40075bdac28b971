"""Parity cases of CoTracker3 online: windows, streaming, its predictor (vectors/cotracker3_online/README.md)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from parity import Check, Parity, compare
from parity.cotracker3_offline import correlation, tables
from parity.cotracker_recorder import (
    DELTA,
    PROBABILITY,
    STRIDE,
    TRACKS,
    Recorder,
    corner,
    encoder,
    grid_queries,
    inputs,
    intermediates,
    padded,
    visible_check,
    window_starts,
)
from tapkit.models.base import Prediction
from tapkit.models.cotracker.tracker3 import CoTracker3Online, build_online


def run_windows(model: Any, frames: Tensor, queries: Tensor) -> tuple[list[Prediction], dict[int, Prediction]]:
    """All windows of a clip with the whole features at hand: the prediction of each, and the whole after each.

    Also what later windows have overwritten, by the number of the window: [N,t,...] for the t frames seen so far.
    """
    features = model.encode(frames)
    state = model.start((int(frames.shape[-2]), int(frames.shape[-1])))
    windows, sofar, whole = [], {}, None
    for number, first in enumerate(window_starts(len(frames), model.window)):
        state, part = model.step(state, padded(features, first, model.window), first, corner(queries))
        windows.append(part)
        length = min(model.window, len(frames) - first)
        joined = [
            new[:, :length] if whole is None else torch.cat([old[:, :first], new[:, :length]], 1)
            for old, new in zip(part if whole is None else whole, part, strict=True)
        ]
        whole = Prediction(*joined)
        sofar[number] = Prediction(whole.xy - 0.5, whole.visible, whole.confidence)
    return windows, sofar


def per_window(
    case: dict[str, Any], record: Recorder, windows: list[Prediction], queries: Tensor, probability: float = PROBABILITY
) -> list[Check]:
    """`delta`, `coords_iter` and `visibility_window`."""
    count, iterations = len(queries), int(case["iters"])
    deltas = torch.stack(record.deltas).unflatten(0, (len(windows), iterations))  # [w,k,N,S,c]
    theirs = case["delta"]
    checks = [compare("delta", deltas[..., : theirs.shape[-1]], theirs, DELTA)]
    # What an iteration arrives at is what the window arrives at, less what later iterations add.
    last = torch.stack([part.xy - 0.5 for part in windows])[:, None]
    later = deltas[..., :2].flip(1).cumsum(1).flip(1) - deltas[..., :2]
    steps = (last - STRIDE * later).transpose(2, 3)
    reach = ~torch.isnan(torch.from_numpy(case["coords_iter"]))
    checks.append(compare("coords_iter", steps.where(reach, torch.nan), case["coords_iter"], TRACKS))
    ours = torch.stack([part.visible.T for part in windows])
    reach = ~torch.isnan(torch.from_numpy(case["visibility_window"]))
    assert steps.shape[3] == count
    checks.append(compare("visibility_window", ours.where(reach, torch.nan), case["visibility_window"], probability))
    return checks


def whole(case: dict[str, Any], parity: Parity) -> list[Check]:
    """A whole clip in windows, with intermediate values."""
    model = build_online(
        parity.weights("cotracker3_online"), input_size=None, support="none", iterations=int(case["iters"])
    )
    frames, queries = inputs(case, parity)
    with torch.inference_mode(), Recorder().watching(model.network, "corr_mlp") as record:
        windows, sofar = run_windows(model, frames, queries)
        checks = [encoder(case, model.network, frames)]
    if not windows:  # the original returns zeros for clips this short, tapkit tracks them
        return checks
    final = sofar[max(sofar)]
    for name, ours, tolerance in zip(
        ("tracks", "visibility", "confidence"), final, (TRACKS, PROBABILITY, PROBABILITY), strict=True
    ):
        checks.append(compare(name, ours.transpose(0, 1), case[name], tolerance))
    checks += intermediates(case, record, len(windows), model.window)
    checks += per_window(case, record, windows, queries) + correlation(case, record)
    return checks


def streaming(case: dict[str, Any], parity: Parity) -> list[Check]:
    """What every call returns, and the whole clip at once."""
    model = build_online(
        parity.weights("cotracker3_online"), input_size=None, support="none", iterations=int(case["iters"])
    )
    return stream_checks(case, model, *inputs(case, parity))


def stream_checks(
    case: dict[str, Any], model: Any, frames: Tensor, queries: Tensor, probability: float = PROBABILITY
) -> list[Check]:
    """streaming.npz of both windowed models; one has no confidence."""
    with torch.inference_mode():
        _, sofar = run_windows(model, frames, queries)
    chunks = [[k * model.stride, min(model.window, len(frames) - k * model.stride)] for k in sofar]
    assert chunks == case["chunks"].tolist()
    checks = []
    for key in [*sofar, "whole"]:
        result = sofar[max(sofar) if key == "whole" else key]
        for name, ours in zip(("tracks", "visibility", "confidence"), result, strict=True):
            if f"{name}_{key}" in case:
                tolerance = TRACKS if name == "tracks" else probability
                checks.append(compare(f"{name}_{key}", ours.transpose(0, 1), case[f"{name}_{key}"], tolerance))
    return checks


def online_predictor(
    case: dict[str, Any],
    model: Any,
    frames: Tensor,
    queries: Tensor,
    threshold: float,
    probability: float = PROBABILITY,
) -> list[Check]:
    """The online predictor of both windowed models: resizing, support points, every call's answer."""
    if not len(queries):
        queries = grid_queries(case, frames)
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    state = model._join(model.start(size), corner(queries), 0)
    asked = torch.cat([state.t[:, None].float(), state.xy * STRIDE], 1)
    checks = [compare("model_queries", asked, case["model_queries"], 1e-3)]
    seen: list[Any] = []
    track_window = model.track_window

    def watched(*given: Any) -> Any:
        seen.append(track_window(*given))
        return seen[-1]

    model.track_window = watched
    with torch.inference_mode():
        _, sofar = run_windows(model, frames, queries)
    raw: list[Tensor] = []
    for call, result in sofar.items():
        first, length = call * model.stride, min(model.window, len(frames) - call * model.stride)
        now = [part.flatten(0, 1)[:, :length].sigmoid() for part in seen[call][1:]]
        raw = [torch.cat([old[:, :first], new], 1) for old, new in zip(raw, now, strict=True)] if raw else now
        checks.append(compare(f"tracks_{call}", result.xy.transpose(0, 1), case[f"tracks_{call}"], TRACKS))
        score = raw[0].T
        for name, part in zip(("visibility", "confidence"), raw, strict=True):
            if f"raw_{name}_{call}" in case:
                checks.append(compare(f"raw_{name}_{call}", part.T, case[f"raw_{name}_{call}"], probability))
                score = score if name == "visibility" else score * part.T
        checks.append(visible_check(f"visible_{call}", score, threshold, case[f"visible_{call}"], len(queries)))
    return checks


def predictor(case: dict[str, Any], parity: Parity) -> list[Check]:
    """CoTrackerOnlinePredictor."""
    support = "global:6" if int(case["add_support_grid"]) else "none"
    model = build_online(parity.weights("cotracker3_online"), support=support)
    return online_predictor(case, model, *inputs(case, parity), model.card.visible_threshold)


def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """One case."""
    if "time_embedding" in case:
        return tables(case, CoTracker3Online(build_online(parity.weights("cotracker3_online")).network).network)
    if "model_queries" in case:
        return predictor(case, parity)
    return streaming(case, parity) if "chunks" in case else whole(case, parity)
