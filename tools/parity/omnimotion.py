"""Parity cases of OmniMotion: networks, tracks, losses, masks of flow and chains (vectors/omnimotion/README.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity import Check, Parity, compare
from tapkit.per_video.omnimotion.losses import Batch, Schedule, losses
from tapkit.per_video.omnimotion.network import NetworkConfig, OmniMotion
from tapkit.per_video.omnimotion.render import (
    OCCLUDED,
    cast,
    depths,
    heaviest,
    hidden,
    to_frame,
    to_pixels,
    weights_of,
)
from tapkit.per_video.prepare.masks import Frame, Mask, chain, judge

NETS, PIXELS, SCORES, LOSSES = 1e-4, 1e-3, 1e-4, 1e-5
GRADIENTS, HALF_OF_THEM, UPDATED = 0.12, 0.01, 1e-2
"""Of the norms of gradients, of the better half of these, of the loss after a step. The losses have kinks (L1), and
where terms of three times a gradient's norm cancel, rounding decides: exact gradients (float64) are up to 8.4 % from
the numbers of the case, which are float32, and the loss after a step 0.64 %; ours 10 and 0.65 % where MKL has
AVX-512."""
MASKS = 1e-3
"""Share of pixels that may differ."""
DISTORTIONS = {"w_rgb": "rgb", "w_flow_grad": "flow_grad", "w_distortion": "distortion"}
"""Names of the weights in a case, and ours."""


def network_of(case: dict[str, Any], parity: Parity) -> OmniMotion:
    """The networks of the case; masks come from its axes, all else from the seeded checkpoint."""
    affine = bool(case["affine"])
    network = OmniMotion(int(case["frames"]), NetworkConfig(affine=affine), tuple(int(a) for a in case["axes"]))
    weights = {k: v for k, v in parity.weights("omnimotion").items() if affine or ".affine_mlp." not in k}
    missing, unexpected = network.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.endswith(".mask") for name in missing), (missing, unexpected)
    return network


def nets(case: dict[str, Any], parity: Parity) -> list[Check]:
    """Each part of the networks."""
    network = network_of(case, parity)
    points = torch.from_numpy(case["points"])
    frames = len(points)
    index, flat = torch.arange(frames), points.flatten(1, 2)
    codes = network.codes(index)
    bijection = network.deform_mlp
    affine = bijection.affine_mlp(flat, codes.time) if case["affine"] else flat
    layer = bijection.layers1[0]
    kept = [k for k in range(3) if k != layer.axis]
    canonical = network.to_canonical(flat, codes)
    mapped = network.to_local(canonical, network.codes(frames - 1 - index))
    canonical, mapped = canonical.view_as(points), mapped.view_as(points)
    colour, density = network.field(canonical)
    weights = weights_of(density)
    ours = {
        "feature": network.feature_mlp(codes.time[:, None]),
        "code0": codes.layers[0],
        "after_affine": affine.view_as(points),
        "proj0": layer.projection(affine.view_as(points)[:, :, 0][..., kept]),
        "after_layer0": layer(affine, codes.layers[0]).view_as(points),
        "canonical": canonical,
        "mapped": mapped,
        "colour": colour,
        "density": density,
        "weights": weights,
        "rgb": (weights[..., None] * colour).sum(-2),
    }
    return [compare(name, value, case[name], NETS) for name, value in ours.items()]


def tracks(case: dict[str, Any], parity: Parity) -> list[Check]:
    """Both ways of reading out a point, its depth, occlusion; what is seen at the queries."""
    network = network_of(case, parity)
    frames, samples = int(case["frames"]), int(case["samples"])
    size = (int(case["height"]), int(case["width"]))
    queries = torch.from_numpy(case["queries"])
    index, pixels = queries[:, 0].long(), queries[:, None, 1:]
    z = depths(samples, pixels)
    rays = cast(network, pixels, network.codes(index), size, z)
    checks, safe = [], case["safe"]
    for kind in ("max", "sum"):
        found: dict[str, list[Tensor]] = {"tracks": [], "depth": [], "occ": []}
        for frame in range(frames):
            codes = network.codes(torch.full_like(index, frame))
            mapped = to_frame(network, rays.canonical, codes)
            local = heaviest(rays.weights, mapped) if kind == "max" else (rays.weights[..., None] * mapped).sum(-2)
            there = to_pixels(local, size)
            stopped = hidden(network, there, local[..., 2], codes, size, samples)
            own = (index == frame)[:, None]
            found["tracks"].append(torch.where(own[..., None], pixels, there)[:, 0])
            found["depth"].append(local[..., 2].masked_fill(own, float("nan"))[:, 0])
            found["occ"].append(stopped.masked_fill(own, 0.0)[:, 0])
        for name, tolerance in (("tracks", PIXELS), ("depth", PIXELS), ("occ", SCORES)):
            ours = torch.stack(found[name])
            checks.append(compare(f"{name}_{kind}", ours, case[f"{name}_{kind}"], tolerance, safe))
            if name == "occ" and kind == "max":
                checks.append(compare("visible", ours <= OCCLUDED, case["visible"], 0.0, safe))
    first = cast(network, pixels.transpose(0, 1), network.codes(index[:1]), size, z)
    checks.append(compare("rgb_first", (first.weights[..., None] * first.rgb).sum(-2)[0], case["rgb_first"], PIXELS))
    depth = (first.weights * first.local[..., 2]).sum(-1)[0]
    checks.append(compare("depth_first", depth, case["depth_first"], PIXELS))
    return checks


def loss_terms(case: dict[str, Any], parity: Parity) -> list[Check]:
    """Losses at some steps of the schedule, gradients, and the loss after a step of Adam."""
    network = network_of(case, parity)
    size = (int(case["height"]), int(case["width"]))
    first, second, pixels, targets, rgb, weights = (
        torch.from_numpy(case[name]) for name in ("ids1", "ids2", "pts1", "pts2", "gt_rgb1", "weights")
    )
    batch = Batch(first, second, pixels, targets, rgb, weights[..., 0])
    jitters = torch.from_numpy(case["t_rand"])
    near = bool(case.get("mask_near", 0))
    checks = []

    def at(number: int) -> Any:
        step = float(case["steps"][number])
        transparent = int(0.2 * jitters.shape[-1]) if near and step < 4000 else 0
        return losses(network, batch, size, Schedule.at(step), jitters[number], transparent)

    for number, step in enumerate(case["steps"]):
        outcome, schedule = at(number), Schedule.at(float(step))
        for name, wanted in zip(case["loss_names"], case["losses"][number], strict=True):
            named = DISTORTIONS.get(str(name))
            ours = getattr(schedule, named) if named else outcome.terms[str(name)].item()
            checks.append(Check(f"{name} at {step}", abs(ours - wanted) / max(abs(wanted), 1e-3), LOSSES))
    outcome = at(0)
    checks.append(compare("in_range", outcome.inside, case["in_range"], 0.0))
    checks.append(compare("px2s", outcome.predicted, case["px2s"], PIXELS))
    optimizer = torch.optim.Adam(
        [
            {"params": network.feature_mlp.parameters(), "lr": 1e-3},
            {"params": network.deform_mlp.parameters(), "lr": 1e-4},
            {"params": network.color_mlp.parameters(), "lr": 3e-4},
        ]
    )
    outcome.terms["total"].backward()
    gradients = {name: parameter.grad.norm().item() for name, parameter in network.named_parameters()}
    apart = [
        abs(gradients[str(name)] - wanted) / max(float(wanted), 1e-6)
        for name, wanted in zip(case["grad_names"], case["grad_norms"], strict=True)
    ]
    checks.append(Check("grad_norms", max(apart), GRADIENTS))
    checks.append(Check("half of the grad_norms", float(np.median(apart)), HALF_OF_THEM))
    optimizer.step()
    wanted = float(case["loss_after_update"])
    checks.append(Check("loss_after_update", abs(at(0).terms["total"].item() - wanted) / wanted, UPDATED))
    return checks


def flow_filter(case: dict[str, Any], parity: Parity) -> list[Check]:
    """Masks by round trips and features, counts; flows and masks after chaining."""
    frames, height, width = (int(case[name]) for name in ("frames", "height", "width"))
    tag, tensor = str(case["tag"]), parity.seeded.tensor
    base = 4 * tensor(f"{tag}.feature.base", (5, 7, 16))
    features = [base + 3.6 * tensor(f"{tag}.feature.{i}", (5, 7, 16)) for i in range(frames)]
    video = parity.seeded.video(frames, height, width, int(case["video_seed"]))
    images = torch.from_numpy(video).float() / 255
    flows = torch.from_numpy(case["flows_16"].astype(np.float32) / 16)
    pairs = [(i, j) for i in range(frames) for j in range(frames) if i != j]
    masks = {
        (i, j): judge(flows[i, j], flows[j, i], abs(i - j), (features[i], features[j])) for i, j in pairs
    }  # fmt: skip
    chained: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    for first in range(frames):
        for order in (range(first + 1, frames), range(first - 1, -1, -1)):
            found = chain(
                first, order, lambda i, j: flows[i, j], lambda i, j: masks[i, j],
                lambda i: Frame(images[i], features[i]),
            )  # fmt: skip
            chained |= {(first, second): each for second, each in found.items()}
    after = {pair: Mask(chained[pair][1], masks[pair].hidden) for pair in pairs}
    checks = []
    for stage, ours in (("filter", masks), ("chain", after)):
        shape = (frames, frames, height, width, 2)
        theirs = np.unpackbits(case[f"masks_{stage}"])[: np.prod(shape)].reshape(shape).astype(bool)
        differing = [(torch.stack(ours[i, j], -1).numpy() != theirs[i, j]).mean() for i, j in pairs]
        checks.append(Check(f"masks_{stage}", float(np.mean(differing)), MASKS))
        usable = {pair: mask.cycle | mask.hidden for pair, mask in ours.items()}
        stats = np.zeros((frames, frames))
        for pair in pairs:
            stats[pair] = usable[pair].sum()
        checks.append(compare(f"stats_{stage}", stats, case[f"stats_{stage}"], MASKS * height * width))
        counts = torch.stack([sum(usable[i, j].int() for j in range(frames) if j != i) for i in range(frames)])
        apart = (counts.numpy() != case[f"counts_{stage}"]).mean()
        checks.append(Check(f"counts_{stage}", float(apart), MASKS))
    ours = torch.stack([chained[int(i), int(j)][0] for i, j in case["chain_pairs"]])
    apart = (ours - torch.from_numpy(case["chain_flows"])).abs().amax(-1) > PIXELS
    checks.append(Check("chain_flows (share beyond 1e-3 px)", float(apart.float().mean()), MASKS))
    return checks


def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """The checks of one case."""
    if "t_rand" in case:
        return loss_terms(case, parity)
    with torch.inference_mode():
        if "flows_16" in case:
            return flow_filter(case, parity)
        return tracks(case, parity) if "queries" in case else nets(case, parity)
