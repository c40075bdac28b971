"""Parity cases of PIPs++: one window with all its iterations, and chained windows (vectors/pips2/README.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity import Check, Parity, compare
from parity.pips import inputs
from tapkit.models.pips.network2 import STRIDE, Pips2, chain, windows
from tapkit.models.pips.tracker2 import build


def network(case: dict[str, Any], parity: Parity) -> Pips2:
    """The network with the case's iterations and window, seeded weights."""
    options: dict[str, Any] = {"iterations": int(case["iters"]), "beautify": bool(case["beautify"]), "input_size": None}
    if "window" in case:
        options["window"] = int(case["window"])
    assert int(case["stride"]) == STRIDE, "PIPs++ has no other stride"
    return build(parity.weights("pips2"), **options).network


def window(case: dict[str, Any], parity: Parity) -> list[Check]:
    """One window of all frames, zero velocity as the first guess."""
    model = network(case, parity)
    frames, queries = inputs(case, parity)
    levels = model.encode(frames)
    guess = (queries[:, None, 1:] / STRIDE).repeat(1, len(frames), 1)
    index = torch.arange(len(frames)).expand(len(guess), -1)
    tokens: list[Tensor] = []
    changes: list[Tensor] = []
    blocks: list[Tensor] = []

    def network_ran(module: Any, given: tuple[Tensor, ...], result: Tensor) -> None:
        tokens.append(given[0][0])
        changes.append(result[0])

    hooks = [
        model.delta_block.register_forward_hook(network_ran),
        model.delta_block.basicblock_list[2].register_forward_hook(lambda m, g, result: blocks.append(result[0])),
    ]
    steps, templates = model.iterate(levels, index, guess)
    for hook in hooks:
        hook.remove()
    features = levels.level0.permute(0, 3, 1, 2)
    ours = {
        "tracks": (steps[-1].xy.transpose(0, 1) * STRIDE, 1e-3),
        "coords_iters": (torch.stack([step.xy for step in steps]).transpose(1, 2) * STRIDE, 1e-3),
        "coords_iters_unlocked": (torch.stack([step.free for step in steps]).transpose(1, 2) * STRIDE, 1e-3),
        "fmap_shape": (np.array(features.shape), 0.0),
        "fmap_sample": (features[:, ::16, ::3, ::3], 1e-4),
        "template": (templates.query[:, 0], 1e-4),
        "corr_iter0": (tokens[0][:, :588], 1e-3),
        "corr_iter1": (tokens[1][:, :588], 1e-3),
        "flow_iter1": (tokens[1][:, -2:], 1e-4),
        "token_iter1": (tokens[1], 1e-3),
        "block2_out_iter0": (blocks[0][:, ::4], 1e-3),
        "delta_iter0": (changes[0], 1e-4),
        "delta_iter1": (changes[1], 1e-4),
    }
    return [compare(name, value, case[name], tolerance) for name, (value, tolerance) in ours.items() if name in case]


def chained(case: dict[str, Any], parity: Parity) -> list[Check]:
    """Windows over the whole clip, each query from its start frame."""
    model = network(case, parity)
    frames, queries = inputs(case, parity)
    start_frames = torch.from_numpy(np.asarray(case["start_frames"])).long()
    result = chain(model, model.encode(frames), start_frames, queries[:, 1:] / STRIDE) * STRIDE
    valid = (torch.arange(len(frames)) >= start_frames[:, None]).float()
    spans = windows(len(frames), model.config.window)
    return [
        compare("queries", queries, case["queries"], 0.0),
        compare("valid", valid.T, case["valid"], 0.0),
        compare("windows_from_0", np.array(spans), case["windows_from_0"], 0.0),
        compare("tracks", (result * valid[..., None]).transpose(0, 1), case["tracks"], 5e-3),
    ]


@torch.inference_mode()
def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """The checks of one case."""
    return chained(case, parity) if str(case["mode"]) == "chain" else window(case, parity)
