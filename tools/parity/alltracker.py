"""Parity cases of AllTracker: pairs, clips, the demo's two directions, layers (vectors/alltracker/README.md).

Clips go through the engine's own windows, so that what is compared is what users get: every sampled pixel is a point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity import Check, Parity, compare
from tapkit.engine.groups import GroupDriver
from tapkit.models.alltracker.correlation import Correlation
from tapkit.models.alltracker.network import Estimate, cell_grid, time_codes, within_frames
from tapkit.models.alltracker.tracker import AllTrackerModel, build

PIXELS, SCORES, LAYERS = 1e-3, 1e-4, 1e-3
CROP = np.s_[40:72, 48:80]


def clip_of(case: dict[str, Any], parity: Parity) -> Tensor:
    """The case's frames, uint8 [T,3,H,W]."""
    frames, height, width, seed = (int(case[name]) for name in ("frames", "height", "width", "video_seed"))
    return torch.from_numpy(parity.seeded.video(frames, height, width, seed)).permute(0, 3, 1, 2).contiguous()


def through_windows(model: AllTrackerModel, clip: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Motion [T,N,2] and scores [T,N,2] of pixels [N,2] (x, y) of the clip's first frame."""
    driver = GroupDriver(model, (clip.shape[-2], clip.shape[-1]))
    centres = pixels.float() + 0.5
    driver.add(torch.arange(len(pixels)), torch.cat([torch.zeros(len(pixels), 1), centres], 1))
    results = [result for index, frame in enumerate(clip) for result in driver.step(index, frame)] + driver.finish()
    final = {result.frame: result.prediction for result in results if result.final}
    answers = [final[index] for index in range(len(clip))]
    motion = torch.stack([answer.xy - centres for answer in answers])
    return motion, torch.stack([torch.stack([answer.visible, answer.confidence], -1) for answer in answers])


def from_frame(model: AllTrackerModel, clip: Tensor, start: int, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """As `through_windows`, from frame `start` forwards and backwards."""
    after = through_windows(model, clip[start:], pixels)
    if start == 0:
        return after
    before = through_windows(model, clip[: start + 1].flip(0), pixels)
    joined = [torch.cat([early.flip(0)[:-1], late]) for early, late in zip(before, after, strict=True)]
    return joined[0], joined[1]


def grid(rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """Pixels (x, y) [rows*columns,2], row by row."""
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return torch.from_numpy(np.stack([x.ravel(), y.ravel()], 1))


def clip_checks(case: dict[str, Any], model: AllTrackerModel, clip: Tensor) -> list[Check]:
    """Sampled pixels of all frames, all pixels of a part of one, and points."""
    height, width = clip.shape[-2:]
    step, crop, start = int(case["sample_step"]), int(case["crop_frame"]), int(case["query_frame"])
    rounded = torch.from_numpy(np.round(case["query_xy"])).long()
    rounded = rounded.clamp(min=0).minimum(torch.tensor([width - 1, height - 1]))
    rows, columns = np.arange(height), np.arange(width)
    sampled, part = grid(rows[::step], columns[::step]), grid(rows[CROP[0]], columns[CROP[1]])
    motion, scores = from_frame(model, clip, start, torch.cat([sampled, part, rounded]))
    ends = np.cumsum([len(sampled), len(part)]).tolist()
    shape = case["flows"].shape[-2:]

    def as_maps(values: Tensor, size: tuple[int, ...]) -> Tensor:
        return values.unflatten(-2, size).movedim(-1, -3)

    visconf = scores[:, ends[1] :]
    sure = visconf.prod(-1) >= 0.6
    clear = (visconf.prod(-1) - 0.6).abs().numpy() > SCORES
    return [
        compare("flows", as_maps(motion[:, : ends[0]], shape), case["flows"], PIXELS),
        compare("visconfs", as_maps(scores[:, : ends[0]], shape), case["visconfs"], SCORES),
        compare("flow_crop", as_maps(motion[crop, ends[0] : ends[1]], (32, 32)), case["flow_crop"], PIXELS),
        compare("visconf_crop", as_maps(scores[crop, ends[0] : ends[1]], (32, 32)), case["visconf_crop"], SCORES),
        compare("tracks", rounded + motion[:, ends[1] :], case["tracks"], PIXELS),
        compare("point_visconf", visconf, case["point_visconf"], SCORES),
        compare("point_visible", sure, case["point_visible"], 0.0, clear),
    ]


def pair_checks(case: dict[str, Any], model: AllTrackerModel, clip: Tensor) -> list[Check]:
    """Two frames: every iteration of a window of one."""
    size, step = (clip.shape[-2], clip.shape[-1]), int(case["sample_step"])
    maps = model.encode(clip).maps
    begin = torch.zeros(1, *maps.shape[1:3], 2)
    fields = []
    for count in range(1, int(case["iters"]) + 1):
        window = model.network.window(maps[0], maps[1:], Estimate(begin, begin), time_codes(16)[1:2], count)
        fields.append(model.field(window, 0, size))
    flow, scores = (torch.stack(parts) for parts in zip(*fields, strict=True))
    return [
        compare("flow_iters", flow[..., ::step, ::step], case["flow_iters"], PIXELS),
        compare("visconf_iters", scores[..., ::step, ::step], case["visconf_iters"], SCORES),
        compare("flow_crop", flow[-1][:, *CROP], case["flow_crop"], PIXELS),
        compare("visconf_crop", scores[-1][:, *CROP], case["visconf_crop"], SCORES),
    ]


def relative(name: str, ours: Tensor, theirs: np.ndarray) -> Check:
    """Layers are compared relative to their size."""
    size = max(float(np.abs(theirs).max()), 1.0)
    return compare(name, ours / size, theirs / size, LAYERS)


def layer_checks(case: dict[str, Any], model: AllTrackerModel, clip: Tensor) -> list[Check]:
    """The first iteration of the first window, layer by layer, and where the window ends."""
    network, count = model.network, model.window
    update = network.update_block
    maps = model.encode(clip[:count]).maps
    maps = torch.cat([maps, maps[-1:].expand(count - len(maps), -1, -1, -1)])
    frame, row, column = case["dbg_location"].tolist()
    here = (frame, row, column)
    zeros = torch.zeros(count, *maps.shape[1:3], 2)
    start, times = Estimate(zeros, zeros), time_codes(count)
    correlation = Correlation(maps[0], maps)
    looked_up = torch.stack([correlation.at(index, cell_grid(*maps.shape[1:3], maps.device)) for index in range(count)])
    state, context = network.state_and_context(maps[0])
    hidden = state.expand_as(maps[..., : state.shape[-1]])
    motion = torch.cat([update.motion_encoder(looked_up, start.flow), start.flow], -1)
    context_in_time = context[row, column] + times[frame]
    together = torch.cat([hidden[here], context_in_time, motion[here], start.score[here]])
    fixed = update.compressor.fixed(context, times)
    x = network.compressed(looked_up, hidden, start, slice(None), fixed)
    layers = {
        "dbg_fmap_sample": maps[:3, ::2, ::3, ::8].permute(0, 3, 1, 2),
        "dbg_corr": looked_up[here],
        "dbg_motion": motion[here],
        "dbg_compressor_in": together,
        "dbg_compressor_out": x[here],
    }
    for number, block in enumerate(update.refine):
        x = update.over_time(block, x.clone()) if number % 2 == 0 else within_frames(block, x)
        layers[f"dbg_refine{number}"] = x[here]
    after = update.refined(network.compressed(looked_up, hidden, start, slice(None), fixed))
    moved = network.moved(after, start)
    window = network.window(maps[0], maps, start, times, model.chosen.iterations)
    layers |= {
        "dbg_update_out": after[here],
        "dbg_flow_update": moved.flow[here],
        "dbg_visconf_update": moved.score[here],
        "dbg_upsample_logits": network.mask(after[frame : frame + 1])[0, row, column],
        "dbg_flow8_window0": window.estimate.flow.permute(0, 3, 1, 2),
        "dbg_visconf8_window0": window.estimate.score.permute(0, 3, 1, 2),
    }
    return [relative(name, values, case[name]) for name, values in layers.items() if name in case]


@torch.inference_mode()
def checks(case: dict[str, Any], parity: Parity, weights: str, factory: Any) -> list[Check]:
    """The checks of one case of either network."""
    mode, clip = str(case["mode"]), clip_of(case, parity)
    model: AllTrackerModel = factory(
        parity.weights(weights),
        input_size=None,
        iterations=int(case["iters"]),
        window=int(case["window"]),
        windows="overwrite" if mode == "forward" else "first",
    )
    if mode == "pair":
        return pair_checks(case, model, clip)
    found = clip_checks(case, model, clip)
    return found + layer_checks(case, model, clip) if "dbg_location" in case else found


def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """The checks of one case."""
    return checks(case, parity, "alltracker", build)
