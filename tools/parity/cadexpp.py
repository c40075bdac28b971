"""Parity cases of CaDeX++: layers, tracks, losses (vectors/cadexpp/README.md).

The original evaluates the outermost segments of its functions 10^4 away from where they matter, which leaves it three
or four digits in single precision there. Where a point goes through one of those, it is compared to what that leaves;
elsewhere, and with its own double precision, to the tolerance of the README.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity import Check, Parity, compare
from tapkit.per_video.cadexpp.answer import CadexModel
from tapkit.per_video.cadexpp.card import CADEXPP
from tapkit.per_video.cadexpp.geometry import box, focal, nearest, unproject
from tapkit.per_video.cadexpp.losses import Batch, Losses, match_weight
from tapkit.per_video.cadexpp.network import CadexPP, Knots
from tapkit.per_video.cadexpp.options import CadexOptions
from tapkit.per_video.method import Place

EXACT, OUTER, PIXELS, DEPTH = 1e-5, 3e-3, 2e-3, 1e-5
OUTER_DEPTH = 1e-4
GRADIENTS = 0.02
"""Of the norm of the gradient of a tensor, for half of all tensors. Single ones differ by up to a tenth: the original's
gradient of the outermost slopes is the difference of numbers 10^4 times as large."""


def network_of(case: dict[str, Any], parity: Parity) -> CadexPP:
    """The network of the case; masks, bound and depth maps come from it, all else from the seeded checkpoint."""
    frames = int(case["frames"])
    bound = torch.from_numpy(case["bound"]) if "bound" in case else torch.tensor([[-1.0] * 3, [1.0] * 3])
    maps = case.get("depthmaps_optimised", case.get("depthmaps", np.ones((frames, 2, 2), np.float32)))
    network = CadexPP(frames, bound, torch.from_numpy(maps), tuple(int(a) for a in case["axes"]))
    name = "cadexpp" if frames < 40 else "cadexpp_n40"
    missing, unexpected = network.load_state_dict(parity.weights(name), strict=False)
    buffers = (".mask", ".bound", "depth_mem.depthmaps")
    assert not unexpected and all(key.endswith(buffers) for key in missing), (missing, unexpected)
    return network


def layers(case: dict[str, Any], parity: Parity) -> list[Check]:
    """Each layer by itself, both ways."""
    bijection = network_of(case, parity).deform_mlp
    points = torch.from_numpy(case["points"])
    time = bijection.time_features(torch.arange(len(points)))
    checks = [compare("time_feature", time, case["time_feature"], EXACT)]
    found: dict[str, list[Tensor]] = {"coeff": [], "segment": [], "forward": [], "back": []}
    for layer in bijection.layers1:
        axis = int(layer.mask.argmin())
        kept = torch.stack([points[..., k] for k in range(3) if k != axis], -1)
        parameters, moved = layer.map_st(kept, time), layer(points, time)
        found["coeff"].append(parameters)
        found["segment"].append(Knots.of(parameters).segment(points[..., axis]))
        found["forward"].append(moved)
        found["back"].append(layer(moved, time, True))
    ours = {name: torch.stack(parts) for name, parts in found.items()}
    inner = (case["segment"] > 0) & (case["segment"] < 4)
    checks += [compare(name, ours[name], case[name], EXACT) for name in ("coeff", "segment")]
    checks.append(compare("forward (double precision)", ours["forward"], case["forward_f64"], EXACT))
    for name in ("forward", "back"):
        checks.append(compare(f"{name} (inner)", ours[name], case[name], EXACT, inner))
        checks.append(compare(f"{name} (outer)", ours[name], case[name], OUTER, ~inner))
    return checks


def tracks(case: dict[str, Any], parity: Parity) -> list[Check]:
    """Tracks, depths and occlusion, and the way there."""
    network = network_of(case, parity)
    size, bijection = (int(case["height"]), int(case["width"])), network.deform_mlp
    queries, maps = torch.from_numpy(case["queries"]), torch.from_numpy(case["depthmaps"])
    index, pixels = queries[:, 0].long(), queries[:, 1:]
    local = unproject(pixels[:, None], nearest(maps[index][:, None], pixels[:, None], size)[..., 0], size)
    normalised, time = bijection.normalise(local), bijection.time_features(index)
    here, outputs, outer = normalised, [], torch.zeros(len(queries), dtype=torch.bool)
    for number, layer in enumerate(bijection.layers1):
        axis = int(layer.mask.argmin())
        kept = torch.stack([here[..., k] for k in range(3) if k != axis], -1)
        parameters = layer.map_st(kept, time)
        if number == 0:
            first = parameters
        segment = Knots.of(parameters).segment(here[..., axis])[:, 0]
        outer |= (segment == 0) | (segment == 4)
        here = layer(here, time)
        outputs.append(here[:, 0])
    checks = [
        compare("bound", box(maps, size), case["bound"], EXACT),
        compare("focal", np.array(focal(size)), case["focal"], 1e-4),
        compare("x3d", local[:, 0], case["x3d"], EXACT),
        compare("normalised", normalised[:, 0], case["normalised"], EXACT),
        compare("time_feature", time, case["time_feature"], EXACT),
        compare("coeff0", first[:, 0], case["coeff0"], EXACT),
        compare("layer_outputs (inner)", torch.stack(outputs), case["layer_outputs"], EXACT, _rows(outputs, ~outer)),
        compare("layer_outputs (outer)", torch.stack(outputs), case["layer_outputs"], OUTER, _rows(outputs, outer)),
        compare("canonical (inner)", here[:, 0], case["canonical"], EXACT, ~outer.numpy()),
        compare("canonical (outer)", here[:, 0], case["canonical"], OUTER, outer.numpy()),
    ]
    model = CadexModel(CADEXPP, {}, Place(int(case["frames"]), size), network)
    model.chosen = CadexOptions()
    there, depth = model.locate(index, pixels)
    occluded = model.follow(index, pixels)[1].T <= 0
    safe = case["safe"]
    # On which frames a point passes the ends of functions is not looked at: a depth that is off is off by their cost.
    close = np.abs(depth.numpy() - case["depth"]) <= OUTER_DEPTH
    inside = ((there >= 0) & (there <= torch.tensor([size[1] - 1, size[0] - 1]))).all(-1)
    return [
        *checks,
        compare("tracks", there, case["tracks"], PIXELS, safe),
        compare("depth", depth, case["depth"], OUTER_DEPTH, safe),
        Check("depth (share beyond 1e-5)", float((np.abs(depth.numpy() - case["depth"]) > DEPTH)[safe].mean()), 0.01),
        compare("occluded", occluded.float(), case["occluded"], 0.0, safe & close),
        compare("visible", ~occluded & inside, case["visible"], 0.0, safe & close),
    ]


def _rows(outputs: list[Tensor], rows: Tensor) -> np.ndarray:
    return rows[None, :].expand(len(outputs), -1).numpy()


def loss_terms(case: dict[str, Any], parity: Parity) -> list[Check]:
    """Losses of both batches at some steps of the schedule, and gradients. What the original's own double precision
    differs by (its largest error is left out in single precision, and counted in double) is allowed."""
    network = network_of(case, parity)
    size = (int(case["height"]), int(case["width"]))
    computed = Losses(network, torch.from_numpy(case["depthmaps"]), size)
    batches = {
        kind: Batch(
            *(torch.from_numpy(case[f"{kind}_{name}"]) for name in ("ids1", "ids2", "pts1", "pts2")),
            torch.from_numpy(case[f"{kind}_weights"])[..., 0],
        )
        for kind in ("dense", "long")
    }
    tolerance = max(EXACT, float(case["float64_rel_gap"]))
    checks = []

    def terms_at(step: float) -> tuple[dict[str, Tensor], Tensor]:
        dense, match = computed.dense(batches["dense"], step), computed.match(batches["long"], step)
        total = dense["total"] + match_weight(step) * match["total"]
        named = {"total": total, "Loss_dense": dense["total"], "Loss_match": match["total"]}
        for kind, terms in (("dense", dense), ("match", match)):
            named |= {f"{name}_{kind}": value for name, value in terms.items() if name != "total"}
        return named, total

    for number, step in enumerate(case["steps"]):
        named, _ = terms_at(float(step))
        for name, wanted in zip(case["loss_names"], case["losses"][number], strict=True):
            ours = named[str(name)].item()
            checks.append(Check(f"{name} at {step}", abs(ours - wanted) / max(abs(wanted), 1e-6), tolerance))
    _, total = terms_at(float(case["steps"][0]))
    total.backward()
    torch.nn.utils.clip_grad_norm_(network.depth_mem.parameters(), 10.0)
    gradients = {name: parameter.grad.norm().item() for name, parameter in network.named_parameters()}
    apart = []
    for name, wanted in zip(case["grad_names"], case["grad_norms_step0"], strict=True):
        known = str(name) if str(name) in gradients else "depth_mem.depthmaps"
        apart.append(abs(gradients[known] - wanted) / max(float(wanted), 1e-6))
    checks.append(Check("grad_norms (median of all tensors)", float(np.median(apart)), GRADIENTS))
    checks.append(Check("grad_norms (worst tensor)", max(apart), 5 * GRADIENTS))
    return checks


def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """The checks of one case."""
    if "loss_names" in case:
        return loss_terms(case, parity)
    with torch.inference_mode():
        return tracks(case, parity) if "queries" in case else layers(case, parity)
