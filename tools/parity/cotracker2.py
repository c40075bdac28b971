"""Parity cases of CoTracker2: windows, streaming, predictors (vectors/cotracker2/README.md)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from parity import Check, Parity, compare
from parity.cotracker3_online import online_predictor, per_window, run_windows, stream_checks
from parity.cotracker_recorder import (
    INSIDE,
    STRIDE,
    SWIFT_PROBABILITY,
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
    window_starts,
)
from tapkit.models.cotracker.adapter import WindowState, WindowTrack
from tapkit.models.cotracker.network2 import flow_codes
from tapkit.models.cotracker.tracker2 import CoTracker2, build

PREDICTOR_THRESHOLD = 0.9
ONLINE_THRESHOLD = 0.6
"""Of the released predictors; the online one had 0.9 too before October 2024."""


class Complete(CoTracker2):
    """Also tracks the points that have not begun (what comes out of that means nothing, but the vectors hold it)."""

    def track_window(self, state: WindowState, start: WindowTrack, features: Any, first: int) -> WindowTrack:
        active = self.grouped(state.t < first + self.window)
        frames = torch.arange(first, first + self.window)
        mask = (self.grouped(state.t)[..., None] <= frames) & ((frames >= first + self.stride) | (first == 0))
        given = (start.xy, start.visible, mask, active, self.grouped(state.features[0]))
        xy, visible = self.network(features, *given, self.iterations)
        return WindowTrack(xy, visible, visible)


def model_of(case: dict[str, Any], parity: Parity, **options: Any) -> Complete:
    """The model with the case's window length and iterations."""
    window = int(case.get("window_len", 8))
    network = build(parity.weights("cotracker2"), window=window).network
    return Complete(network, iterations=int(case.get("iters", 6)), **options)


def same_where_begun(model: Complete, result: list[Any], frames: Tensor, queries: Tensor) -> list[Check]:
    """What users get, which leaves out points that have not begun, is the same for those that have."""
    ours = CoTracker2(model.network, **{k: v for k, v in model.options.items() if k != "window"})
    ours.input_size = model.input_size
    windows, _ = run_windows(ours, frames, queries)
    checks = []
    for name in ("xy", "visible"):
        worst = 0.0
        for number, first in enumerate(window_starts(len(frames), model.window)):
            begun = queries[:, 0] < first + model.window
            difference = (getattr(windows[number], name) - getattr(result[number], name))[begun].abs()
            worst = max(worst, float(difference.max()))
        checks.append(Check(f"as users get it: {name}", worst, TRACKS if name == "xy" else SWIFT_PROBABILITY))
    return checks


def whole(case: dict[str, Any], parity: Parity) -> list[Check]:
    """A whole clip in windows, with intermediate values."""
    model = model_of(case, parity, input_size=None, support="none")
    frames, queries = inputs(case, parity)
    with torch.inference_mode():
        with Recorder().watching(model.network, "track_feat_updater.0") as record:
            windows, sofar = run_windows(model, frames, queries)
        checks = [encoder(case, model.network, frames)]
        if not windows:  # the original returns zeros for clips this short, tapkit tracks them
            return checks
        checks += same_where_begun(model, windows, frames, queries)
    final = sofar[max(sofar)]
    checks += [
        compare("tracks", final.xy.transpose(0, 1), case["tracks"], TRACKS),
        compare("visibility", final.visible.T, case["visibility"], SWIFT_PROBABILITY),
    ]
    checks += intermediates(case, record, len(windows), model.window, slice(2, 130))
    checks += per_window(case, record, windows, queries, SWIFT_PROBABILITY)
    sel = [0, model.window // 2, model.window - 1]
    codes = model.network.time_table + model.network._position_codes(queries[None, :1, 1:] / STRIDE)[0, 0]
    seen = [tokens[0, sel, 130:326] - codes[sel, 130:326] for tokens in record.tokens[: len(case["fcorrs"])]]
    update = record.calls["track_feat_updater.0"][0][1][0, 0, sel]
    return [
        *checks,
        compare("fcorrs", torch.stack(seen), case["fcorrs"], INSIDE),
        compare("delta_feat", record.deltas[0][0, sel, 2:], case["delta_feat"], INSIDE),
        compare("feat_update", update, case["feat_update"], INSIDE),
    ]


def predictor(case: dict[str, Any], parity: Parity) -> list[Check]:
    """CoTrackerPredictor: resizing, support points, masks, and the reversed clip where the case has one."""
    frames, queries = inputs(case, parity)
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    checks = []
    for run in sorted({name.removesuffix("_model_queries") for name in case if name.endswith("_model_queries")}):
        asked = torch.from_numpy(case[f"{run}_model_queries"])
        supported = has_support(asked)
        own = queries if run in ("queries", "backward") else unsized(asked[: -36 if supported else None], frames)
        model = model_of(case, parity, support="global:6" if supported else "none")
        state = model._join(model.start(size), corner(own), 0)
        rows = torch.cat([state.t[:, None].float(), state.xy * STRIDE], 1)
        checks.append(compare(f"{run}_model_queries", rows, case[f"{run}_model_queries"], 1e-3))
        if "resized_frame" in case and run == "queries":
            seen = model.prepare_frames(frames[1:2])[0]
            checks.append(compare("resized_frame", seen[:, ::16, ::16], case["resized_frame"], 1e-2))
        # Support goes in as queries here, so that what becomes of it can be compared too.
        bare = model_of(case, parity, support="none")
        given = torch.cat([rows[:, :1], unsized(rows, frames)[:, 1:]], 1)
        checks += predictor_run(case, run, bare, frames, given, own)
    return checks


def predictor_run(
    case: dict[str, Any], run: str, model: Any, frames: Tensor, given: Tensor, own: Tensor
) -> list[Check]:
    """The arrays of one run of predictor.npz."""
    xy, visible = forward(model, frames, given)
    scale = resize_to_network(frames)
    checks = [
        compare(f"{run}_raw_tracks", xy * scale, case[f"{run}_raw_tracks"], TRACKS),
        compare(f"{run}_raw_visibility", visible, case[f"{run}_raw_visibility"], SWIFT_PROBABILITY),
    ]
    if f"{run}_reverse_queries" in case:
        turned = torch.cat([len(frames) - 1 - given[:, :1], given[:, 1:]], 1)
        back_xy, back_visible = forward(model, frames.flip(0), turned)
        checks += [
            compare(f"{run}_reverse_tracks", back_xy * scale, case[f"{run}_reverse_tracks"], TRACKS),
            compare(f"{run}_reverse_visibility", back_visible, case[f"{run}_reverse_visibility"], SWIFT_PROBABILITY),
        ]
        before = torch.arange(len(frames))[:, None] < given[:, 0]
        xy = torch.where(before[..., None], back_xy.flip(0), xy)
        visible = torch.where(before, back_visible.flip(0), visible)
    xy, visible = xy[:, : len(own)].clone(), visible[:, : len(own)].clone()
    t, n = own[:, 0].long(), torch.arange(len(own))
    xy[t, n], visible[t, n] = own[:, 1:], 1.0
    checks.append(compare(f"{run}_tracks", xy, case[f"{run}_tracks"], TRACKS))
    checks.append(visible_check(f"{run}_visible", visible, PREDICTOR_THRESHOLD, case[f"{run}_visible"], len(own)))
    return checks


def forward(model: Any, frames: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Tracks [T,N,2] (pixels of the clip, centres at integers) and visibility [T,N] over a whole clip."""
    with torch.inference_mode():
        _, sofar = run_windows(model, frames, queries)
    final = sofar[max(sofar)]
    return final.xy.transpose(0, 1), final.visible.T


def resize_to_network(frames: Tensor) -> Tensor:
    """Pixels of the clip (centres at integers) to pixels of 384x512."""
    return torch.tensor([511 / (frames.shape[-1] - 1), 383 / (frames.shape[-2] - 1)])


def tables(case: dict[str, Any], parity: Parity) -> list[Check]:
    """units.npz: time, position and displacement codes, grids."""
    network = build(parity.weights("cotracker2"), window=8).network
    columns = case["columns"]
    rows, across = (torch.from_numpy(case[f"pos_table_{name}"]).long() for name in ("rows", "columns"))
    cells = network.position_table[0].permute(1, 2, 0)[rows][:, across][..., columns]
    flow = torch.from_numpy(case["flow_in"])
    given = torch.stack([torch.zeros_like(flow), flow], 1)
    return [
        compare("time_embedding", network.time_table[:, columns], case["time_embedding"], 1e-6),
        compare("pos_table", cells, case["pos_table"], 1e-6),
        compare("flow_embedding", flow_codes(given)[:, 1], case["flow_embedding"], 1e-3),
        *grids(case),
    ]


def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """One case."""
    if "time_embedding" in case:
        return tables(case, parity)
    if "model_queries" in case:
        support = "global:6" if int(case["add_support_grid"]) else "none"
        model = model_of(case, parity, support=support)
        return online_predictor(
            case, model, *inputs(case, parity), threshold=ONLINE_THRESHOLD, probability=SWIFT_PROBABILITY
        )
    if any(key.endswith("_model_queries") for key in case):
        return predictor(case, parity)
    if "chunks" in case:
        model = model_of(case, parity, input_size=None, support="none")
        return stream_checks(case, model, *inputs(case, parity), probability=SWIFT_PROBABILITY)
    return whole(case, parity)
