"""Parity cases of PIPs: one window with all its iterations, and chained windows (vectors/pips/README.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity import Check, Parity, compare
from tapkit.models.pips.network import Features, Pips, chain
from tapkit.models.pips.tracker import build


def network(case: dict[str, Any], parity: Parity) -> Pips:
    """The network with the case's stride and iterations, seeded weights."""
    options = {"stride": int(case["stride"]), "iterations": int(case["iters"]), "input_size": None}
    return build(parity.weights("pips"), **options).network


def inputs(case: dict[str, Any], parity: Parity) -> tuple[Tensor, Tensor]:
    """The case's frames [T,3,H,W] and queries [N,3] (pixel centres at integers)."""
    frames, height, width = (int(case[name]) for name in ("frames", "height", "width"))
    clip = parity.seeded.video(frames, height, width, int(case["video_seed"]))
    queries = parity.seeded.queries(int(case["count"]), frames, height, width, int(case["query_seed"]))
    return torch.from_numpy(clip).permute(0, 3, 1, 2).float(), torch.from_numpy(queries)


def window(case: dict[str, Any], parity: Parity) -> list[Check]:
    """One window of eight frames; all queries on frame 0."""
    model = network(case, parity)
    frames, queries = inputs(case, parity)
    stride = model.config.stride
    levels: Features = model.encode(frames)
    start = queries[:, 1:] / stride
    index = torch.arange(8).expand(len(start), -1)
    tokens, changes = [], []
    assemble = model.tokens

    def recorded(*arguments: Any) -> Tensor:
        tokens.append(assemble(*arguments))
        return tokens[-1]

    model.tokens = recorded  # type: ignore[method-assign]
    hook = model.delta_block.register_forward_hook(lambda module, given, result: changes.append(result))
    steps = model.iterations(levels, index, start, None)
    hook.remove()
    features = levels.level0.permute(0, 3, 1, 2)
    checks = [
        compare("queries", queries, case["queries"], 0.0),
        compare("tracks", steps[-1].xy.transpose(0, 1) * stride, case["tracks"], 1e-3),
        compare(
            "coords_iters", torch.stack([s.xy for s in steps]).transpose(1, 2) * stride, case["coords_iters"], 1e-3
        ),
        compare("vis_logits", steps[-1].logits.T, case["vis_logits"], 1e-2),
        compare("fmap_shape", np.array(features.shape), case["fmap_shape"], 0.0),
        compare("fmap_sample", features[:, ::16, ::3, ::3], case["fmap_sample"], 1e-4),
        compare("template", steps[-1].template, case["template"], 1e-4),
        compare("token_iter0", tokens[0][0], case["token_iter0"], 1e-3),
        compare("mixer_out_iter0", changes[0][0], case["mixer_out_iter0"], 1e-4),
    ]
    if "token_iter1" in case:
        encoding = np.zeros(tokens[1].shape[-1], bool)
        encoding[324:516] = True
        for name, where, tolerance in (("encoding", encoding, 5e-2), ("rest", ~encoding, 1e-3)):
            checks.append(
                compare(f"token_iter1 ({name})", tokens[1][0], case["token_iter1"], tolerance, np.tile(where, (8, 1)))
            )
    return checks


def chained(case: dict[str, Any], parity: Parity) -> list[Check]:
    """Each query from its own frame to the end of the clip."""
    model = network(case, parity)
    frames, queries = inputs(case, parity)
    stride = model.config.stride
    t = queries[:, 0].long()
    result = chain(model, model.encode(frames), t, queries[:, 1:] / stride)
    valid = (torch.arange(len(frames)) >= t[:, None]).float()
    relative = torch.where(result.starts >= 0, result.starts - t[:, None], -1)
    return [
        compare("queries", queries, case["queries"], 0.0),
        compare("valid", valid.T, case["valid"], 0.0),
        compare("window_starts", relative, case["window_starts"], 0.0),
        compare("tracks", (result.xy * stride * valid[..., None]).transpose(0, 1), case["tracks"], 1e-3),
        compare("vis_logits", torch.where(valid > 0, result.logits, 0).T, case["vis_logits"], 1e-2),
    ]


@torch.inference_mode()
def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """The checks of one case."""
    return chained(case, parity) if str(case["mode"]) == "chain" else window(case, parity)
