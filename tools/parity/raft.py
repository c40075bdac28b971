"""Parity cases of RAFT, large and small (vectors/raft/README.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity import Check, Parity, compare
from tapkit.flow.raft.model import RaftModel, build_large, build_small, warm_start

CELLS, PIXELS = 1e-4, 1e-3


@torch.inference_mode()
def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """The checks of one case."""
    kind = str(case["model"])
    build = build_small if kind == "raft_small" else build_large
    options = {"iterations": int(case["iters"]), "pad": str(case.get("pad_mode", "sintel"))}
    model = build(parity.weights(kind), **options)
    clip = parity.seeded.video(*(int(case[key]) for key in ("frames", "height", "width", "video_seed")))
    pair = torch.from_numpy(clip[[int(case["frame_a"]), int(case["frame_b"])]]).permute(0, 3, 1, 2)
    size = (int(case["height"]), int(case["width"]))
    left, right, top, bottom = model.padding(size)
    checks = (
        [compare("pad_ltrb", np.array([left, top, right, bottom]), case["pad_ltrb"], 0.0)] if "pad_ltrb" in case else []
    )
    features = model.encode(pair)
    first, second = (type(features)(*(part[i : i + 1] for part in features)) for i in (0, 1))
    start = torch.from_numpy(case["flow_init"])[None] if "flow_init" in case else None
    steps = list(model.network.iterate(first.matching, second.matching, first.context, int(case["iters"]), start))
    flow, low = model.flow_from(first, second, size, start)
    hidden, rest = model.network.begin(first.context)
    ours: dict[str, tuple[Tensor, float]] = {
        "flow_low": (low[0], CELLS),
        "flow_up": (flow.xy[0], PIXELS),
        "iter_flow_low": (torch.stack([step.flow[0] for step in steps]), CELLS),
        "iter_flow_up_sample": (_samples(model, steps, size), PIXELS),
        "dbg_fmap1": (_sparse(first.matching), CELLS),
        "dbg_fmap2": (_sparse(second.matching), CELLS),
        "dbg_cnet_raw": (_sparse(first.context), CELLS),
        "dbg_net_init": (_sparse(hidden), CELLS),
        "dbg_inp": (_sparse(rest), CELLS),
        "dbg_net_iter0": (_sparse(steps[0].hidden), CELLS),
        "dbg_delta_iter0": (steps[0].delta[0], CELLS),
        "dbg_corr_iter0_corner": (steps[0].correlation[0, :, 0, 0], CELLS),
        "dbg_warm_start_next": (warm_start(low[0]), CELLS),
    }
    if "dbg_probe_yx" in case:
        y, x = (int(v) for v in case["dbg_probe_yx"])
        for number in range(len(steps)):
            ours[f"dbg_corr_iter{number}_probe"] = (steps[number].correlation[0, :, y, x], CELLS)
            ours[f"dbg_motion_iter{number}_probe"] = (steps[number].motion[0, :, y, x], CELLS)
            if model.network.mask is not None:
                logits = model.network.mask_logits(steps[number].hidden)
                ours[f"dbg_mask_iter{number}_probe"] = (logits[0, :, y, x], CELLS)
    return checks + [
        compare(key, value, case[key], tolerance) for key, (value, tolerance) in ours.items() if key in case
    ]


def _sparse(maps: Tensor) -> Tensor:
    return maps[0, ::8, ::3, ::3]


def _samples(model: RaftModel, steps: list[Any], size: tuple[int, int]) -> Tensor:
    """Every fifth pixel of the flow after each iteration."""
    return torch.stack([model.cropped(model.network.enlarge(step), size)[0, :, ::5, ::5] for step in steps])
