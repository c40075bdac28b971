"""Parity cases of TAPTRv3 (vectors/taptrv3/README.md); `taptrv3_r18` shares what is here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from parity import Check, Parity
from parity.taptr import (
    Watched,
    boxes_of_layers,
    each_layer,
    finals,
    inputs,
    near,
    of_features,
    options,
)
from tapkit.models.taptr.decoder3 import CENTRE
from tapkit.models.taptr.encoder import pyramid_of
from tapkit.models.taptr.parts import inverse_sigmoid
from tapkit.models.taptr.tracker3 import Taptr3, build

LOGITS = 2e-4
THRESHOLD = 0.45
NAMES = {
    "query_update_p0": "query_updater",
    "apu_logits_p0": "layers.0.caupdate_weight_regressor",
    "fuse_out_p0": "ca_update_fuser",
    "query_pos_p0": "ref_point_head",
    "cross": "layers.0.cross_attn",
}


def run_frames(model: Taptr3, frames: Tensor, queries: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Frame by frame over a clip, points joining on their frames; figures [T,N,...], and the order of the rows."""
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    order = torch.argsort(queries[:, 0], stable=True)
    xy = model.normalised(queries[:, 1:], size)
    boxes = torch.cat([xy, torch.full_like(xy, 0.5)], 1)
    boxes = inverse_sigmoid(boxes).sigmoid().expand(len(frames), -1, -1).clone()
    shown = torch.where(torch.arange(len(frames))[:, None] == queries[:, 0], 1.0, 0.0)
    logits = inverse_sigmoid(torch.stack([torch.zeros_like(shown), shown, 1 - shown], -1))
    state, seen = model.start(size), []
    hook = model.network.transformer.decoder.register_forward_hook(lambda *call: seen.append(call[2]))
    for t, frame in enumerate(frames):
        seen.clear()
        state, _ = model.step(state, frame, queries[order][queries[order, 0] == t, 1:])
        rows = order[: len(state.t)]
        boxes[t, rows] = state.boxes.sigmoid()
        update = rows[queries[rows, 0] < t]
        if seen:
            logits[t, update] = seen[0].classes[0, : len(update)]
    hook.remove()
    return {"boxes": boxes, "logits": logits}, order


def run(case: dict[str, Any], name: str, parity: Parity, manifest: str = "taptrv3") -> list[Check]:
    """One case of TAPTRv3."""
    model = build(parity.weights(manifest), **options(case))
    frames, queries = inputs(case, parity)
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    decoder = "transformer.decoder."
    layers = {f"layer{n}_p0": f"{decoder}layers.{n}" for n in range(len(model.network.bbox_embed))}
    modules = {**layers, **{name: decoder + place for name, place in NAMES.items()}}
    with torch.inference_mode():
        with Watched(model.network, **modules).open() as watched, each_layer(model.network) as layers_seen:
            found, order = run_frames(model, frames, queries)
        tokens = model.encode(frames).tokens
        pyramid = pyramid_of(model.network_size(size))
        index, xy = queries[:, 0].long(), model.normalised(queries[:, 1:], size)
        sampled = model.network.sampled(tokens, pyramid, index, model.network.context_places(pyramid, xy))
        content = model.network.read(tokens, pyramid, index, model.network.context_places(pyramid, xy))
        checks = finals(case, found, THRESHOLD, LOGITS) + of_features(case, model, frames, tokens)
    checks += [near("query_feat_in", sampled[:2, CENTRE], case), near("query_feat", content[:, CENTRE], case)]
    t = queries[order, 0]
    active = [order[t <= frame] for frame in range(len(frames)) if bool((t < frame).any())]
    checks += boxes_of_layers(case, layers_seen, active)
    checks.append(near("sine_p0", watched.calls["query_pos_p0"][0][0][:, 0], case))
    checks.append(near("attn_logits_p0", watched.calls.pop("cross")[0][1].logits[:, 0], case))
    for name, calls in watched.calls.items():
        given, result = calls[0]
        result = result[0] if isinstance(result, tuple) else result
        checks.append(near(name, result[:, 0], case))
        if name == "fuse_out_p0":
            checks.append(near("fuse_in_p0", given[:, 0], case))
    return checks
