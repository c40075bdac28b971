"""Runner of vectors/locotrack (small and base)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from parity import Check, Parity, compare
from tapkit.models.locotrack.network import MAPS, Estimate, PointFeatures, correlate
from tapkit.models.locotrack.tracker import ClipFeatures, LocoTrack, build_locotrack_base, build_locotrack_small

Arrays = dict[str, np.ndarray]


def _model(case: Arrays, parity: Parity) -> LocoTrack:
    """The model as the case called it: `inference()` resizes to 256x256 first, `forward` does not resize."""
    listed = case["refinement_resolutions"].tolist()
    build = build_locotrack_base if str(case["model"]).endswith("base") else build_locotrack_small
    return build(
        parity.weights(str(case["model"])),
        resolution=256 if str(case["mode"]) == "inference" else None,
        refinement_resolutions=None if listed == [[0, 0]] else listed,
    )


@torch.inference_mode()
def run(case: Arrays, name: str, parity: Parity) -> list[Check]:
    """Outputs through the adapter, then what lies between from the network."""
    del name
    frames, height, width = (int(case[key]) for key in ("frames", "height", "width"))
    model, size = _model(case, parity), (height, width)
    video = torch.from_numpy(parity.seeded.video(frames, height, width, int(case["video_seed"]))).permute(0, 3, 1, 2)
    queries = torch.from_numpy(case["queries_tyx"])[:, [0, 2, 1]]
    features = model.encode(video)
    out = model.track(features, size, queries)
    checks = [
        compare("tracks", out.xy, case["tracks"], 1e-3),
        compare("occluded", out.visible * out.confidence <= 0.5, case["occluded"], 0.0),
    ]
    for key, value in (("occlusion_logit", out.visible), ("expected_dist_logit", out.confidence)):
        logit = -torch.logit(value.double())
        checks.append(compare(f"adapter {key}", logit, case[key], 1e-3, where=np.abs(case[key]) < 6))
    points = model.point_features(features, size, queries)
    known = model._in_units(queries, size)
    first = model.network.match(features.initial(), points, known)
    states = [first, *model.network.refine(features.refined(), points, first)]
    scale = torch.tensor([width, height] if str(case["mode"]) == "forward" else [256, 256]) / 256
    logits = [torch.stack([state[field] for state in states]) for field in (1, 2)]
    checks += [
        compare("iter_tracks", torch.stack([state.xy for state in states]) * scale, case["iter_tracks"], 1e-3),
        compare("iter_occlusion", logits[0], case["iter_occlusion"], 1e-3),
        compare("iter_expected_dist", logits[1], case["iter_expected_dist"], 1e-3),
        compare("occlusion_logit", logits[0][-1], case["occlusion_logit"], 1e-3),
        compare("expected_dist_logit", logits[1][-1], case["expected_dist_logit"], 1e-3),
    ]
    used = [list(pair) for pair in model.resolutions(size)]
    listed = case["dbg_resolutions"].tolist()
    checks.append(compare("dbg_resolutions (first, last)", used, [listed[0], listed[-1]], 0.0))
    values = _inside(model, features, points, states) if "dbg_mixer_out_iter0_q1" in case else {}
    for key, (value, tolerance) in values.items():
        checks.append(compare(key, value, case[key], tolerance))
    return checks


def _inside(
    model: LocoTrack, features: ClipFeatures, points: PointFeatures, states: list[Estimate]
) -> dict[str, tuple[torch.Tensor, float]]:
    """Intermediate values of query 1 (at frame 1), as the vectors cut them, with their tolerances."""
    network, refined, initial = model.network, features.refined(), features.initial()
    one, frame, found = points.rows(slice(1, 2)), slice(1, 2), {}
    for number, name in enumerate(MAPS):
        level, support = getattr(refined, name), getattr(one, name)
        height, width = level.shape[1:3]
        found[f"dbg_feat_{name}"] = level[0, :: max(1, height // 6), :: max(1, width // 6), ::8], 1e-5
        found[f"dbg_support_{name}_q1"] = support[0].view(7, 7, -1)[..., :6], 1e-5
        xy = states[0].xy[1:2, frame] * torch.tensor([width / 256, height / 256])
        volume = correlate(level[frame], support, xy)
        found[f"dbg_corr4d_{name}_q1_t1"] = volume.view(7, 7, 7, 7), 1e-4
        found[f"dbg_cmd_emb_{name}_q1_t1"] = network.cmdtop[number](volume)[0], 1e-4
    costs = network.costs(initial.lowres[frame], initial.hires[frame], one.low, one.high)
    found["dbg_cost_in_t1_q1"] = costs[0, :, ::3, ::3], 1e-5
    found["dbg_cost_out_t1_q1"] = network.heat(costs)[0, 0], 1e-5
    for step in (0, 1):
        tokens = network.tokens(refined, one, Estimate(*(field[1:2] for field in states[step])))
        found[f"dbg_tokens_iter{step}_q1"] = tokens[0], 1e-3
        if step == 0:  # the other 384 outputs are never read, and we do not compute them
            read = F.linear(network.torch_pips_mixer.hidden(tokens), *network.torch_pips_mixer.output_rows(8))
            found["dbg_mixer_out_iter0_q1"] = read[0], 1e-3
    return found
