"""Runner of vectors/tapnet."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from parity import Check, Parity, compare
from tapkit.models.tapnet.tracker import TapNet, build_tapnet

PIXELS, LOGITS, FEATURES = 2e-3, 5e-4, 1e-5


@lru_cache(maxsize=1)
def _model(parity: Parity) -> TapNet:
    return build_tapnet(parity.weights("tapnet"), resolution=None)


@torch.inference_mode()
def run(case: dict[str, np.ndarray], name: str, parity: Parity) -> list[Check]:
    """The whole model through its adapter, at the video's own size."""
    del name
    model = _model(parity)
    frames, height, width, seed = (int(case[key]) for key in ("frames", "height", "width", "video_seed"))
    video = torch.from_numpy(parity.seeded.video(frames, height, width, seed)).permute(0, 3, 1, 2)
    queries = torch.from_numpy(case["queries_tyx_raster"][:, [0, 2, 1]].astype(np.float32))
    features = model.encode(video)
    maps = model.maps(features)
    of_query = model.query_features(maps, (height, width), queries)
    prediction = model.track(features, (height, width), queries)
    _, occlusion = model.network(maps, of_query)
    checks = [
        compare("tracks", prediction.xy, case["tracks"], PIXELS),
        compare("occlusion", occlusion.T, case["occlusion"], LOGITS),
        compare("occlusion as probability", prediction.visible.numpy(), 1 / (1 + np.exp(case["occlusion"])), LOGITS),
        compare("query_feats", of_query, case["query_feats"], FEATURES),
        compare("feature_grid", maps[:, ::4, ::4, ::8], case["feature_grid"], FEATURES),
    ]
    if "cost_t1_p1" in case:
        cost = torch.einsum("hwc,c->hw", maps[1], of_query[1])
        hidden = model.network.cost_volume_regression_1(cost[None, None], activation="relu")
        heat = model.network.cost_volume_regression_2(hidden)[0, 0]
        checks.append(compare("cost_t1_p1", cost, case["cost_t1_p1"], FEATURES))
        checks.append(compare("heat_t1_p1", heat, case["heat_t1_p1"], LOGITS))
    return checks
