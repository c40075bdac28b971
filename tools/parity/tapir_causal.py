"""Runner of vectors/tapir_causal: Online TAPIR and Online BootsTAPIR, frame by frame.

The original was fed in chunks of one or more frames; the result does not depend on them, so we always step frame by
frame. `offline_forward` runs the causal weights over the whole clip.
"""

from __future__ import annotations

import torch
from torch import Tensor

from parity import Check, Parity, compare
from parity.tapir import Case, final, model_of, offline, queries_of, records, video_of
from tapkit.models.base import Prediction
from tapkit.models.tapir.causal import CausalTapir, TapirState
from tapkit.models.tapir.network import Estimate
from tapkit.models.tapir.tracker import Features

STATE = 1e-4


def run(case: Case, name: str, parity: Parity) -> list[Check]:
    """A streaming case, or the offline one."""
    del name
    if "chunks" not in case:
        return offline(case, parity, "tapir_causal")
    model = model_of(case, parity, "tapir_causal")
    return _stream(model, case, video_of(case, parity), queries_of(case))


def _one(features: Features, frame: int) -> Features:
    return Features(*(tuple(maps[frame : frame + 1] for maps in field) for field in features))


@torch.inference_mode()
def _stream(model: CausalTapir, case: Case, video: Tensor, queries: Tensor) -> list[Check]:
    size = (video.shape[-2], video.shape[-1])
    features = model.encode(video)
    whole_clip = "whole clip" in str(case["query_frames"])
    seen_on = features if whole_clip else _one(features, 0)
    if not whole_clip:
        queries = queries * torch.tensor([0.0, 1.0, 1.0])
    state = model.add(model.start(size), model.query_features(seen_on, size, queries))
    columns: list[Prediction] = []
    steps: list[list[Estimate]] = []
    for t in range(len(video)):
        if "insert_frame" in case and t == int(case["insert_frame"]):
            state = _replace(model, case, state, _one(features, t), size)
        steps.append(model.estimates(state, _one(features, t), size, []))
        state, answer = model.advance(state, _one(features, t), size)
        columns.append(answer)
    joined = [Estimate(*(torch.cat(field) for field in zip(*step, strict=True))) for step in zip(*steps, strict=True)]
    prediction = Prediction(*(torch.stack(field, 1) for field in zip(*columns, strict=True)))
    checks = final(case, prediction, joined[-1])
    records(checks, case, model.network, size, joined)
    for name in ("lowres", "hires"):
        checks.append(compare(f"query_{name}0", getattr(state.query, name)[0], case[f"query_{name}0"], 1e-5))
    checks += _state(case, state)
    checks.append(_pure(model, state, _one(features, len(video) - 1), size))
    return checks


def _replace(
    model: CausalTapir, case: Case, state: TapirState, features: Features, size: tuple[int, int]
) -> TapirState:
    """The state with one slot given to another point: the old one leaves, the new one takes its row."""
    y, x = case["insert_yx_raster"]
    grown = model.add(state, model.query_features(features, size, torch.tensor([[0.0, float(x), float(y)]])))
    rows = torch.arange(len(state.query.lowres[0]))
    rows[int(case["insert_slot"])] = len(rows)
    return model.select(grown, rows)


def _state(case: Case, state: TapirState) -> list[Check]:
    """Compare `state_s{s}_block_{b}_causal_{k}`: of 512 channels every 32nd, of 2048 every 128th."""
    checks = []
    for key in case:
        if not key.startswith("state_s"):
            continue
        _, entry, _, block, _, conv = key.split("_")
        past = state.past[int(entry[1:])][int(block)]
        if conv == "1":
            ours = torch.stack([past.narrow_older, past.narrow], 1)[..., ::32]
        else:  # ours is [N,part,channel], theirs channel * 4 + part
            ours = torch.stack([past.wide_older, past.wide], 1).transpose(-1, -2).flatten(-2)[..., ::128]
        checks.append(compare(key, ours, case[key], STATE))
    return checks


def _pure(model: CausalTapir, state: TapirState, features: Features, size: tuple[int, int]) -> Check:
    """A step leaves its state alone: twice the same call, twice the same answer."""
    first, second = (model.advance(state, features, size)[1] for _ in range(2))
    return compare("same step twice", first.xy, second.xy.numpy(), 0.0)
