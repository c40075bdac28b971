"""Parity cases of DOT: estimator, interpolation, refiner, and its modes over a clip (vectors/dot/README.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity import Check, Parity, compare
from tapkit import coords
from tapkit.flow.dot import estimator, tracker
from tapkit.flow.dot.boundaries import THRESHOLD, boundary_strength
from tapkit.flow.dot.coarse import SparseTracks, unit
from tapkit.flow.dot.everywhere import tracks_everywhere
from tapkit.flow.dot.motion import ClipMotion
from tapkit.flow.fields import pixel_centers

PIXELS, CELLS, PROBABILITIES, STRENGTH = 1e-3, 1e-4, 1e-4, 1e-5
MAPS = 1e-4


def clip_of(case: dict[str, Any], parity: Parity) -> Tensor:
    """The case's clip, uint8 [T,3,H,W]."""
    video = parity.seeded.video(*(int(case[key]) for key in ("frames", "height", "width", "video_seed")))
    return torch.from_numpy(video).permute(0, 3, 1, 2).contiguous()


def motion_of(case: dict[str, Any], parity: Parity) -> tuple[tracker.Dot, ClipMotion]:
    """The model with seeded weights, and the clip with the case's sparse tracks."""
    frames = clip_of(case, parity)
    size = (frames.shape[-2], frames.shape[-1])
    resolution = (int(case.get("model_height", size[0])), int(case.get("model_width", size[1])))
    model = tracker.build(parity.weights("dot_refiner"), resolution=resolution)
    points = torch.from_numpy(np.asarray(case["point_tracks"], np.float32))
    return model, model.motion(frames, SparseTracks(unit(points[..., :2], size), points[..., 2] > 0.5))


def features(matching: Tensor, context: Tensor) -> Tensor:
    """Both maps of a frame as the cases sample them."""
    return torch.cat([matching, context], 1)[0, ::16, ::3, ::3]


def compared(case: dict[str, Any], ours: dict[str, tuple[Any, float]]) -> list[Check]:
    return [compare(key, value, case[key], allowed) for key, (value, allowed) in ours.items() if key in case]


def motion_boundaries(case: dict[str, Any], parity: Parity) -> list[Check]:
    model = estimator.build(parity.weights("dot_estimator"))
    frames = clip_of(case, parity)[[int(case["frame_a"]), int(case["frame_b"])]]
    size = (frames.shape[-2], frames.shape[-1])
    first, second = (model.encode(frame[None]) for frame in frames)
    flow = model.flow(first, second, size).xy
    strength = boundary_strength(flow)[0]
    return compared(
        case,
        {
            "flow": (flow[0].permute(1, 2, 0), PIXELS),
            "boundary_strength": (strength, STRENGTH),
            "motion_boundaries": ((strength > THRESHOLD).float(), 0.0),
            "dbg_feats": (features(first.matching, first.context), MAPS),
        },
    )


def pair(case: dict[str, Any], parity: Parity) -> list[Check]:
    model, motion = motion_of(case, parity)
    first, second = int(case["frame_a"]), int(case["frame_b"])
    network, coarse = model.network, motion.coarse(first, second)
    maps = motion.matching(first), motion.matching(second), motion.context(first)
    steps = list(network.refine(*maps, *coarse, motion.iterations))
    dense = motion.dense(first, second)
    enlarged = [network.enlarge_both(step) for step in steps]
    threshold = model.card.visible_threshold
    ours: dict[str, tuple[Any, float]] = {
        "coarse_flow": (coarse[0][0].permute(1, 2, 0), 1e-5),
        "coarse_alpha": (coarse[1][0, 0], 0.0),
        "flow": (dense.flow[0].permute(1, 2, 0), PIXELS),
        "alpha_probability": (dense.visible[0], PROBABILITIES),
        "alpha_binary": ((dense.visible[0] > threshold).float(), 0.0),
        "iter_flow_sample": (torch.stack([flow[0, :, ::3, ::3].permute(1, 2, 0) for flow, _ in enlarged]), PIXELS),
        "iter_alpha_sample": (torch.stack([visible[0, ::3, ::3] for _, visible in enlarged]), PROBABILITIES),
        "dbg_feats": (features(maps[0], maps[2]), MAPS),
    }
    y, x = (int(v) for v in case.get("dbg_probe_yx", (0, 0)))
    for number, step in enumerate(steps):
        for name, value in {
            "dbg_flow_in": step.flow_before[0],
            "dbg_alpha_logit_in": step.logit_before[0, 0],
            "dbg_delta_flow": (step.flow - step.flow_before)[0],
            "dbg_delta_alpha": (step.logit - step.logit_before)[0, 0],
        }.items():
            ours[f"{name}_iter{number}"] = (value, CELLS)
        for name, value in {
            "dbg_corr": step.correlation,
            "dbg_mask": network.mask_logits(step.hidden),
            "dbg_alpha_mask": network.alpha_mask_logits(step.hidden),
        }.items():
            ours[f"{name}_iter{number}_probe"] = (value[0, :, y, x], CELLS)
    return compared(case, ours)


def tracks_for_queries(case: dict[str, Any], parity: Parity) -> list[Check]:
    model, motion = motion_of(case, parity)
    size = (motion.frames.shape[-2], motion.frames.shape[-1])
    queries = coords.to_tyx(torch.from_numpy(np.asarray(case["queries_tyx"], np.float32)))
    queries[:, 1:] = coords.from_centers(queries[:, 1:])
    found = model.track_with(motion, size, queries)
    xy, visible = coords.to_centers(found.xy).transpose(0, 1), model.card.visible_threshold < found.visible.T
    return [
        compare("tracks xy", xy, case["tracks"][..., :2], PIXELS),
        compare("tracks visible", visible.float(), case["tracks"][..., 2], 0.0),
    ]


def first_to_every(case: dict[str, Any], parity: Parity) -> list[Check]:
    model, motion = motion_of(case, parity)
    grid = coords.to_centers(pixel_centers(motion.size)).permute(2, 0, 1)
    found = []
    for second in range(len(motion.frames)):
        dense = motion.dense(0, second)
        visible = (dense.visible > model.card.visible_threshold).float()
        found.append(torch.cat([grid + dense.flow[0], visible])[:, ::4, ::4].permute(1, 2, 0))
    ours, theirs = torch.stack(found), case["tracks_sample"]
    return [
        compare("tracks_sample xy", ours[..., :2], theirs[..., :2], PIXELS),
        compare("tracks_sample visible", ours[..., 2], theirs[..., 2], 0.0),
    ]


def every_cell(case: dict[str, Any], parity: Parity) -> list[Check]:
    model, motion = motion_of(case, parity)
    size = (motion.frames.shape[-2], motion.frames.shape[-1])
    queries, found = tracks_everywhere(
        model, motion, size, int(case["opt_cell_size"]), int(case["opt_cell_time_steps"])
    )
    checks = [compare("track_total", np.array(len(queries)), case["track_total"], 0.0)]
    xy = coords.to_centers(found.xy).transpose(0, 1)[:, ::3]
    visible = (model.card.visible_threshold < found.visible.T).float()[:, ::3]
    theirs = case["tracks_sample"]
    return checks + [
        compare("tracks_sample xy", xy, theirs[..., :2], PIXELS),
        compare("tracks_sample visible", visible, theirs[..., 2], 0.0),
    ]


def last_to_first(case: dict[str, Any], parity: Parity) -> list[Check]:
    model, motion = motion_of(case, parity)
    dense = motion.dense(len(motion.frames) - 1, 0)
    visible = (dense.visible[0] > model.card.visible_threshold).float()
    return compared(case, {"flow": (dense.flow[0].permute(1, 2, 0), PIXELS), "alpha": (visible, 0.0)})


KINDS = {
    "motion_boundaries": motion_boundaries,
    "pair": pair,
    "tracks_for_queries": tracks_for_queries,
    "tracks_from_first_to_every_other_frame": first_to_every,
    "tracks_from_every_cell_in_every_frame": every_cell,
    "flow_from_last_to_first_frame": last_to_first,
}


@torch.inference_mode()
def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """The checks of one case."""
    return KINDS[str(case["kind"])](case, parity)
