"""Parity cases of DINO-Tracker and of DINOv2's transformer (vectors/dino_tracker/README.md)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from parity import Check, Parity, compare
from tapkit.nn.dinov2 import DinoV2, DinoV2Config, token_grid
from tapkit.per_video.dino_tracker import losses, tracking
from tapkit.per_video.dino_tracker.grid import STRIDE, TokenGrid
from tapkit.per_video.dino_tracker.losses import HUBER, Buddies, Pair, unit_square
from tapkit.per_video.dino_tracker.network import DinoTracker, Features
from tapkit.per_video.dino_tracker.sampling import BACKGROUND, FOREGROUND, PAIRS
from tapkit.per_video.dino_tracker.weights import network_from
from tapkit.per_video.prepare.buddies import peaks
from tapkit.per_video.prepare.foreground import foreground_at
from tapkit.per_video.prepare.tokens import normalised

FEATURES, HEIGHTS, UNIT, TRACKS, ANCHORS, COSINES = 1e-4, 2e-3, 1e-3, 5e-3, 0.1, 1e-4
LOSSES, GRADIENTS, TOKENS, BUDDIES = 1e-5, 0.01, 1e-4, 1e-4
COUNTS = round(FOREGROUND * PAIRS), round(BACKGROUND * PAIRS)
TINY = DinoV2Config(48, 4, 3)


def clip(case: dict[str, Any], parity: Parity, frames: int | None = None) -> tuple[Tensor, TokenGrid]:
    """uint8 [T,3,H,W], and its tokens."""
    size = int(case["height"]), int(case["width"])
    video = parity.seeded.video(frames or int(case["frames"]), *size, int(case["video_seed"]))
    return torch.from_numpy(video).permute(0, 3, 1, 2).contiguous(), TokenGrid(size)


def patches(video: Tensor, parity: Parity, tag: str, dim: int) -> Tensor:
    """The cases' features in place of DINOv2's: [T,C,h,w]."""
    weight = parity.seeded.tensor(tag, (dim, 3, 14, 14))
    return F.conv2d(normalised(video), weight, stride=STRIDE)


def networks(parity: Parity) -> DinoTracker:
    return network_from(parity.weights("dino_tracker"))


@torch.no_grad()
def whole_tracks(case: dict[str, Any], parity: Parity) -> list[Check]:
    video, grid = clip(case, parity)
    network = networks(parity).eval()
    raw = patches(video, parity, "dino_tracker.toy_patch", 1024)
    features = network.refine(video / 255, raw, grid)
    queries = torch.from_numpy(case["queries"])
    frame, xy = queries[:, 0].long(), queries[:, 1:]
    cosines = losses.unit(features.at(frame[:1], xy[:1])) @ features.tokens.transpose(1, 2)
    cosines = cosines[:, 0].unflatten(1, grid.shape)
    found = tracking.track(network, features, frame, xy, anchor_cosine=float(case["anchor_threshold"]))
    _, looks = tracking.tracks(network, features, frame, xy)
    again = tracking.anchored(network, features, looks, found.anchors)
    padded = F.pad(again, (0, 0, 0, 0, 0, case["anchors"].shape[1] - again.shape[1]), value=torch.nan)
    head, safe = network.tracker_head, case["safe"]
    # From one token to the next, a cosine changes by up to 1: what the original's rounding moves it by counts so much.
    rounding = float(case.get("float64_gap_px", 0.0)) / STRIDE

    def some(maps: Tensor) -> Tensor:
        return maps[:, ::64, ::3, ::4]

    return [
        compare("raw", some(raw), case["raw"], FEATURES),
        compare("residual", some(features.maps - raw), case["residual"], FEATURES),
        compare("refined", some(features.maps), case["refined"], FEATURES),
        compare("cost0", cosines, case["cost0"], FEATURES),
        compare("head0", head.refine(cosines.relu()), case["head0"], HEIGHTS),
        compare("unit_coords", head(torch.from_numpy(case["unit_cost"]).flatten(1), grid), case["unit_coords"], UNIT),
        compare("tracks", found.xy, case["tracks"], TRACKS, safe),
        compare("anchors", padded, case["anchors"], ANCHORS, safe.all(1)),
        compare("cos_sims", found.cosine, case["cos_sims"], COSINES + rounding, safe),
        compare("occluded", found.hidden(float(case["cosine_threshold"])), case["occluded"], 0.0, safe),
    ]


def first_of(masks: Tensor, grid: TokenGrid) -> Callable[[int, Tensor], Tensor]:
    """The first so many of points on the foreground, and of those beside it."""

    def choose(number: int, xy: Tensor) -> Tensor:
        inside = foreground_at(masks[number], xy, grid.size)
        kinds = (inside.nonzero()[:, 0], (~inside).nonzero()[:, 0])
        return torch.cat([rows[:most] for rows, most in zip(kinds, COUNTS, strict=True)])

    return choose


def first_pixels(masks: Tensor, pairs: list[Pair]) -> tuple[Tensor, Tensor, Tensor]:
    """What goes round: for each pair the first so many pixels of the foreground and of the rest, row by row."""
    parts = []
    for pair in pairs:
        mask = masks[pair.source]
        cells = torch.cat([kind.nonzero()[:most] for kind, most in zip((mask, ~mask), COUNTS, strict=True)])
        ends = (torch.full((len(cells),), number) for number in pair)
        parts.append((*ends, cells.flip(1).float()))
    source, target, xy = (torch.cat(column) for column in zip(*parts, strict=True))
    return source, target, xy


def step_losses(case: dict[str, Any], network: DinoTracker, raw: Tensor, features: Features) -> dict[str, Tensor]:
    """The losses of a step under the case's names, and the positions found."""
    grid = features.grid
    chosen = torch.from_numpy(case["frames_set"])
    shape = (int(case["frames"]), *grid.size)
    bits = np.unpackbits(case["fg_masks"])[: int(np.prod(shape))].reshape(shape)
    masks = torch.from_numpy(bits).bool()[chosen]
    pairs = [Pair(*(int(n) for n in ends)) for ends in zip(case["pairs_source"], case["pairs_target"], strict=True)]
    source, target = (torch.from_numpy(case[name]) for name in ("source_index", "target_index"))
    places = network.locate(features, features.at(source, torch.from_numpy(case["source_points"])[:, :2]), target)
    coords = unit_square(places, grid.size)
    buddies = Buddies(*(torch.from_numpy(case[f"bb_{name}"]) for name in ("source", "target", "cos", "r")))
    kept = losses.cycles(network, features, *first_pixels(masks, pairs), float(case["cyc_thresh"]))
    length, direction = losses.prior_losses(features, raw)
    found = {
        "of": F.huber_loss(coords, torch.from_numpy(case["labels"]), delta=HUBER),
        "emb_norm": length,
        "emb_angle": direction,
        "cl_dino_bb": losses.raw_buddy_loss(features, [(pair, buddies) for pair in pairs]),
        "cl_ref_bb": losses.refined_buddy_loss(features, pairs, first_of(masks, grid)),
        "cyc": losses.cycle_loss(network, features, kept),
    }
    early = {"flow": "of", "length": "emb_norm", "direction": "emb_angle", "raw_buddies": "cl_dino_bb"}
    late = {**early, "cycle": "cyc", "refined_buddies": "cl_ref_bb"}
    for name, parts in (("total_early", early), ("total_late", late)):
        found[name] = losses.weighted({ours: found[theirs] for ours, theirs in parts.items()})
    return {**found, "cyc_count": torch.tensor(float(len(kept.begin))), "coords": coords}


def train_step(case: dict[str, Any], parity: Parity) -> list[Check]:
    video, grid = clip(case, parity)
    chosen = torch.from_numpy(case["frames_set"])
    network = networks(parity).train()
    raw = patches(video[chosen], parity, "dino_tracker.toy_patch", 1024)
    features = network.refine(video[chosen] / 255, raw, grid)
    found = step_losses(case, network, raw, features)
    checks = [compare("coords", found["coords"], case["coords"], FEATURES)]
    for name, theirs in zip(case["loss_names"].tolist(), case["losses"].tolist(), strict=True):
        allowed = 0.0 if name == "cyc_count" else LOSSES
        checks.append(
            compare(name, found[name].detach() / max(abs(theirs), 1e-12), theirs / max(abs(theirs), 1e-12), allowed)
        )
    found["total_late"].backward()
    parameters = dict(network.named_parameters())
    for name, theirs in zip(case["grad_names"].tolist(), case["grad_norms_f64"].tolist(), strict=True):
        if theirs > 1e-9:  # biases before a batch norm and that of the last layer change nothing
            ours = float(parameters[name].grad.norm())
            checks.append(Check(f"gradient {name}", abs(ours / theirs - 1), GRADIENTS))
    buffers = dict(network.named_buffers())
    for name, theirs in case.items():
        if after := re.fullmatch(r"after_delta_dino_layers_(\d+)_(running_\w+)", name):
            ours = buffers[f"delta_dino.layers.{after[1]}.{after[2]}"]
            checks.append(compare(name, ours[: len(theirs)], theirs, LOSSES))
    return checks


@torch.no_grad()
def best_buddies(case: dict[str, Any], parity: Parity) -> list[Check]:
    video, grid = clip(case, parity)
    raw = patches(video, parity, "dino_tracker.toy_patch_bb", int(case["feature_dim"]))
    tokens, centres = losses.unit(raw.flatten(2).transpose(1, 2)), grid.centres()
    how = {"half_box": float(case["box_size"]), "overlap": float(case["iou"]), "candidates": int(case["topk"])}
    checks = []
    for key in case:
        if not (ends := re.fullmatch(r"(\d+)_(\d+)_r", key)):
            continue
        name = f"{ends[1]}_{ends[2]}"
        found = peaks(tokens[int(ends[1])], tokens[int(ends[2])], centres, **how)
        ours = torch.cat([centres[found.source], centres[found.target]], 1).numpy()
        theirs = np.concatenate([case[f"{name}_source_coords"], case[f"{name}_target_coords"]], 1)
        places = {tuple(row): number for number, row in enumerate(ours.tolist())}
        rows = [(places[tuple(row)], n) for n, row in enumerate(theirs.tolist()) if tuple(row) in places]
        mine, other = np.array(rows).T
        # Near ties may change some pairs; those that both have are compared.
        checks.append(Check(f"{name} pairs", 1 - len(rows) / max(len(ours), len(theirs)), 0.01))
        checks.append(Check(f"{name} order", float((np.diff(mine) < 0).any()), 0.0))
        both = torch.stack([found.cosine, found.second], 1)
        for what, value in (("cos_sims", found.cosine), ("peak_affs", both), ("r", found.ambiguity)):
            checks.append(compare(f"{name} {what}", value[mine], case[f"{name}_{what}"][other], BUDDIES))
    return checks


@torch.no_grad()
def vit_tokens(case: dict[str, Any], parity: Parity) -> list[Check]:
    video, grid = clip(case, parity, frames=len(case["patch_tokens14"]))
    network = DinoV2(TINY)
    network.load_state_dict(parity.weights("dinov2_tiny"))
    images = normalised(video)
    last, middle = network(images).flatten(2).transpose(1, 2), network(images, STRIDE, int(case["block"]))
    return [
        compare("patch_tokens14", last, case["patch_tokens14"], TOKENS),
        compare("tokens7", middle[:, ::4, ::2, ::2], case["tokens7"], TOKENS),
        compare("pos14", network.positions(token_grid(grid.size))[:, ::8], case["pos14"], TOKENS),
        compare("pos7", network.positions(grid.shape)[:, ::8], case["pos7"], TOKENS),
    ]


KINDS = {"anchors": whole_tracks, "labels": train_step, "topk": best_buddies, "tokens7": vit_tokens}
"""By an array that only such cases have."""


def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """The checks of one case."""
    return next(kind for key, kind in KINDS.items() if key in case)(case, parity)
