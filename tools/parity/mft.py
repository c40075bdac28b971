"""Parity cases of MFT: tracks both ways, dense results, one pair and what its heads see (vectors/mft/README.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity import Check, Parity, compare
from tapkit import coords
from tapkit.flow.fields import pixel_centers
from tapkit.flow.mft.tracker import Mft, build

PIXELS, PROBABILITIES, CELLS = 1e-3, 1e-4, 1e-4
OUTLIERS = 0.001
"""Share of the dense pixels that may choose another chain."""


def model_of(case: dict[str, Any], parity: Parity) -> Mft:
    """The model with the case's options, seeded weights."""
    deltas = [float(delta) for delta in case["deltas"]]
    return build(
        parity.weights("mft"),
        resolution=None,
        iterations=int(case["iters"]),
        deltas=tuple(int(delta) for delta in deltas if np.isfinite(delta)),
        from_start=any(np.isinf(delta) for delta in deltas),
        occlusion_threshold=float(case["occlusion_threshold"]),
    )


def sweep(model: Mft, frames: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Positions [N,T,2] and P(hidden) [N,T] from each query on, zeros before; queries (t, x, y) in corner origin."""
    size = (frames.shape[-2], frames.shape[-1])
    xy, hidden = torch.zeros(len(queries), len(frames), 2), torch.zeros(len(queries), len(frames))
    state, order = model.start(size), torch.zeros(0, dtype=torch.long)
    for t, frame in enumerate(frames):
        new = (queries[:, 0] == t).nonzero()[:, 0]
        order = torch.cat([order, new])
        state, found = model.step(state, frame, queries[new, 1:])
        xy[order, t], hidden[order, t] = found.xy, 1 - found.visible
    return xy, hidden


def tracks(model: Mft, frames: Tensor, queries: Tensor, both: bool) -> tuple[Tensor, Tensor]:
    """The same, also backwards from each query if `both`; positions with pixel centres at integers."""
    xy, hidden = sweep(model, frames, queries)
    if both:
        last = len(frames) - 1
        turned = torch.cat([last - queries[:, :1], queries[:, 1:]], 1)
        early_xy, early_hidden = (part.flip(1) for part in sweep(model, frames.flip(0), turned))
        before = torch.arange(len(frames)) < queries[:, :1]
        xy, hidden = torch.where(before[..., None], early_xy, xy), torch.where(before, early_hidden, hidden)
    asked = (torch.arange(len(frames)) >= queries[:, :1]) | both
    return torch.where(asked[..., None], coords.to_centers(xy), 0.0), hidden


def dense(model: Mft, frames: Tensor) -> Tensor:
    """Results [T,4,h,w] of every pixel of the first frame."""
    height, width = frames.shape[-2:]
    state, found = model.start((height, width)), []
    new = pixel_centers((height, width)).flatten(0, 1)
    for frame in frames:
        state, _ = model.step(state, frame, new)
        found.append(state.history[0].view(height, width, 4).permute(2, 0, 1))
        new = new[:0]
    return torch.stack(found)


def of_pair(model: Mft, frames: Tensor, probe: tuple[int, int]) -> dict[str, tuple[Tensor, float]]:
    """What the network says of the first two frames."""
    size = (frames.shape[-2], frames.shape[-1])
    first, second = (model.pairs.encode(frame[None]) for frame in frames[:2])
    steps = list(model.network.iterate(first.matching, second.matching, first.context, model.pairs.settings.iterations))
    seen = model.network.head_input(steps[-1], first.context)
    said = model.network.heads(seen)
    flow = model.pairs.flow(first, second, size)
    assert flow.occlusion is not None and flow.uncertainty is not None
    return {
        "dbg_pair01_flow": (flow.xy[0, :, ::2, ::2], PIXELS),
        "dbg_pair01_occlusion": (flow.occlusion[0, ::2, ::2], PROBABILITIES),
        "dbg_pair01_sigma": (flow.uncertainty[0, ::2, ::2], PIXELS),
        "dbg_pair01_head_input_probe": (seen[0, :, probe[0], probe[1]], CELLS),
        "dbg_pair01_occl_logits_low": (said.occlusion[0], CELLS),
        "dbg_pair01_uncertainty_low": (said.uncertainty[0, 0], CELLS),
    }


def mostly(output: str, ours: Tensor, theirs: np.ndarray, tolerance: float) -> Check:
    """As `compare`, leaving out the worst entries, as many as may choose another chain."""
    compare(output, ours, theirs, tolerance)  # of the same shape
    difference = np.sort(np.abs(ours.numpy().astype(np.float64) - theirs).ravel())
    return Check(output, float(difference[: len(difference) - int(OUTLIERS * len(difference))].max()), tolerance)


@torch.inference_mode()
def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """The checks of one case."""
    model = model_of(case, parity)
    clip = parity.seeded.video(*(int(case[key]) for key in ("frames", "height", "width", "video_seed")))
    frames = torch.from_numpy(clip).permute(0, 3, 1, 2).contiguous()
    queries = torch.from_numpy(np.asarray(case["queries_txy"], np.float32))
    queries = torch.cat([queries[:, :1], coords.from_centers(queries[:, 1:])], 1)
    xy, hidden = tracks(model, frames, queries, bool(case["strided"]))
    checks = [
        compare("tracks", xy, case["tracks"], PIXELS),
        compare("occlusion_score", hidden, case["occlusion_score"], PROBABILITIES),
    ]
    if "dense_flow_sample" in case:
        results = dense(model, frames)[:, :, ::4, ::4]
        checks += [
            mostly("dense_flow_sample", results[:, :2], case["dense_flow_sample"], PIXELS),
            mostly("dense_occlusion_sample", results[:, 2], case["dense_occlusion_sample"], PROBABILITIES),
            mostly("dense_sigma_sample", results[:, 3], case["dense_sigma_sample"], PIXELS),
        ]
    y, x = (int(value) for value in case["dbg_probe_yx"]) if "dbg_probe_yx" in case else (0, 0)
    ours = of_pair(model, frames, (y, x))
    return checks + [compare(key, value, case[key], allowed) for key, (value, allowed) in ours.items() if key in case]
