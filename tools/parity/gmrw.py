"""Parity cases of GMRW: chained and direct tracks, flows, layers of the transformer (vectors/gmrw/README.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity import Check, Parity, compare
from tapkit import coords
from tapkit.flow.gmrw.matching import flow_at, transitions
from tapkit.flow.gmrw.tracker import Gmrw, build
from tapkit.models.base import Prediction, Size

FEATURES, FLOWS, PIXELS, PROBABILITIES = 1e-4, 2e-3, 1e-3, 1e-5
DIRECT = "forward_backward_time_independent_query_point"


def model_of(case: dict[str, Any], parity: Parity) -> Gmrw:
    """The model with the case's options, seeded weights."""
    return build(
        parity.weights("gmrw"),
        resolution=None,
        upsample=int(case["upsample_factor"]),
        mode="direct" if str(case["setting"]).startswith(DIRECT) else "chain",
        flow_method=str(case["flow_method"]),
        window_threshold=max(float(case["window_threshold"]), 1e-3),
    )


def frames_of(case: dict[str, Any], parity: Parity) -> Tensor:
    """The case's clip, uint8 [T,3,H,W]."""
    video = parity.seeded.video(int(case["frames"]), int(case["height"]), int(case["width"]), int(case["video_seed"]))
    return torch.from_numpy(video).permute(0, 3, 1, 2).contiguous()


def sweep(model: Gmrw, frames: Tensor, queries: Tensor) -> Prediction:
    """Windows of two frames over the clip: what is said last of every frame; entries before a query mean nothing."""
    size: Size = (frames.shape[-2], frames.shape[-1])
    features = model.encode(frames)
    state = model.start(size)
    count, length = len(queries), len(frames)
    whole = Prediction(torch.zeros(count, length, 2), torch.zeros(count, length), torch.zeros(count, length))
    final = max(length - 1, 1)
    for first in range(final):
        pair = features._replace(maps=features.maps[[first, min(first + 1, length - 1)]])
        state, found = model.step(state, pair, first, queries)
        for all_frames, part in zip(whole, found, strict=True):
            all_frames[:, first : first + 2] = part[:, : length - first]
    return whole


def tracks(model: Gmrw, frames: Tensor, queries: Tensor) -> Prediction:
    """Both directions: forwards from each query, and before it over the reversed clip."""
    last = len(frames) - 1
    ahead = sweep(model, frames, queries)
    reversed_queries = torch.cat([last - queries[:, :1], queries[:, 1:]], 1)
    behind = Prediction(*(part.flip(1) for part in sweep(model, frames.flip(0), reversed_queries)))
    after = torch.arange(last + 1) >= queries[:, :1]
    return Prediction(
        torch.where(after[..., None], ahead.xy, behind.xy),
        torch.where(after, ahead.visible, behind.visible),
        torch.where(after, ahead.confidence, behind.confidence),
    )


def layer_outputs(model: Gmrw, maps: Tensor) -> dict[str, Tensor]:
    """The sampled intermediate values of the pair (0, 1)."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: Any, result: Tensor) -> None:
            kept[name] = result

        return hook

    layers = model.network.transformer.layers
    hooks = [layers[n].self_attn.register_forward_hook(keep(f"self{n}")) for n in (0, 1)]
    hooks += [layers[n].register_forward_hook(keep(f"layer{n}")) for n in (0, 1, 5)]
    first, second = model.relate(maps[0], maps[1])
    for hook in hooks:
        hook.remove()

    def tokens(x: Tensor) -> Tensor:
        return x.flatten(0, 1)[::7, ::4]

    def sampled(x: Tensor) -> Tensor:
        return x.permute(2, 0, 1)[::8, ::2, ::2]

    height, width = first.shape[:2]
    rows = first[[height // 2, 1], [width // 3, 1]]
    probabilities = transitions(rows, second.flatten(0, 1)).view(2, height, width)
    return {
        "dbg_layer0_after_self": tokens(kept["self0"][0]),
        "dbg_layer1_after_self": tokens(kept["self1"][0]),
        "dbg_layer0_out_first": tokens(kept["layer0"][0]),
        "dbg_layer1_out_first": tokens(kept["layer1"][0]),
        "dbg_layer5_out_first": tokens(kept["layer5"][0]),
        "dbg_layer0_out_second": tokens(kept["layer0"][1]),
        "dbg_transformer_out_second": sampled(second),
        "dbg_with_pos_f0": sampled(maps[0]),
        "dbg_prob_row": probabilities[0],
        "dbg_prob_row_corner": probabilities[1],
    }


def backbone_sample(model: Gmrw, frames: Tensor) -> Tensor:
    """The encoder's map of frame 0 before the position code, as the case samples it."""
    kept: list[Tensor] = []
    hook = model.network.backbone.register_forward_hook(lambda module, given, result: kept.append(result))
    model.encode(frames[:1])
    hook.remove()
    return kept[0][0, ::8, ::2, ::2]


def cycle_distances(model: Gmrw, frames: Tensor, xy: Tensor) -> Tensor:
    """|forward + backward flow| [T-1,N] at the tracked positions [N,T,2] of neighbouring frames."""
    size = (frames.shape[-2], frames.shape[-1])
    maps = model.encode(frames).maps
    found = []
    for t in range(len(frames) - 1):
        one, other = model.relate(maps[t], maps[t + 1])
        forward = flow_at(one, other, size, xy[:, t], model.matching)
        found.append((forward + flow_at(other, one, size, xy[:, t + 1], model.matching)).norm(dim=1))
    return torch.stack(found)


@torch.inference_mode()
def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """The checks of one case."""
    model = model_of(case, parity)
    frames = frames_of(case, parity)
    queries = coords.to_tyx(torch.from_numpy(np.asarray(case["queries_tyx"], np.float32)))
    found = tracks(model, frames, queries)
    checks = [
        compare("tracks", found.xy, case["tracks"], PIXELS),
        compare("occluded", 1 - found.visible, case["occluded"], 0.0),
    ]
    ours: dict[str, tuple[Tensor, float]] = {"dbg_backbone_f0": (backbone_sample(model, frames), FEATURES)}
    for key, value in layer_outputs(model, model.encode(frames[:2]).maps).items():
        ours[key] = (value, PROBABILITIES if "prob" in key else FEATURES)
    ours["dbg_forward_flow_0"] = (model.flow(frames[:2])[0], FLOWS)
    ours["dbg_backward_flow_last_to_prev"] = (model.flow(frames[-2:])[1], FLOWS)
    ours["dbg_cycle_distance"] = (cycle_distances(model, frames, found.xy), FLOWS)
    of_query = frames[int(queries[0, 0])]
    ours["dbg_direct_flow_q0_to_t1"] = (model.flow(torch.stack([of_query, frames[1]]))[0], FLOWS)
    return checks + [compare(key, value, case[key], allowed) for key, (value, allowed) in ours.items() if key in case]
