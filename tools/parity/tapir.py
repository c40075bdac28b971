"""Runner of vectors/tapir; also of all offline cases of the family (bootstapir, offline_forward of tapir_causal)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity import Check, Parity, compare
from tapkit.models.base import Prediction
from tapkit.models.tapir.causal import CausalTapir, build_bootstapir_causal, build_tapir_causal
from tapkit.models.tapir.network import Estimate, QueryFeatures, Tapir
from tapkit.models.tapir.tracker import Features, TapirModel, build_bootstapir, build_tapir

Case = dict[str, np.ndarray]
PIXELS, LOGITS, FEATURES, MIXER = 1e-3, 5e-4, 1e-5, 1e-3
BUILDERS: dict[str, Callable[..., Any]] = {
    "tapir": build_tapir,
    "bootstapir": build_bootstapir,
    "tapir causal": build_tapir_causal,
    "bootstapir causal": build_bootstapir_causal,
}


def _sizes(rows: np.ndarray) -> tuple[tuple[int, int], ...]:
    return tuple((int(h), int(w)) for h, w in np.atleast_2d(rows))


@lru_cache(maxsize=1)
def _model(manifest: str, parity: Parity, causal: bool, options: tuple[tuple[str, Any], ...]) -> Any:
    kind = "bootstapir" if "extra_convs.blocks.0.conv.bias" in parity.manifest(manifest)["tensors"] else "tapir"
    return BUILDERS[f"{kind} causal" if causal else kind](parity.weights(manifest), **dict(options))


def model_of(case: Case, parity: Parity, manifest: str) -> Any:
    """The tracker that a case describes, at the video's own resolution."""
    options: dict[str, Any] = {"resolution": None, "initial_resolution": _sizes(case["initial_resolution"])[0]}
    options["softmax_temperature"] = float(case["softmax_temperature"])
    if "refinement_resolutions" in case:
        options["refinement_resolutions"] = _sizes(case["refinement_resolutions"])
    manifest = str(case["manifest"]) if "manifest" in case else manifest
    return _model(manifest, parity, bool(case["causal"]), tuple(options.items()))


def video_of(case: Case, parity: Parity) -> Tensor:
    """uint8 [T,3,H,W]"""
    frames, height, width, seed = (int(case[key]) for key in ("frames", "height", "width", "video_seed"))
    return torch.from_numpy(parity.seeded.video(frames, height, width, seed)).permute(0, 3, 1, 2)


def queries_of(case: Case) -> Tensor:
    """[N,3] (t, x, y), corner origin."""
    return torch.from_numpy(case["queries_tyx_raster"][:, [0, 2, 1]].astype(np.float32))


class Watch:
    """Outputs and inputs of modules while the network runs."""

    def __init__(self, **modules: torch.nn.Module) -> None:
        self.seen: dict[str, list[Tensor]] = {}
        self.handles = [module.register_forward_hook(self._note(name)) for name, module in modules.items()]

    def _note(self, name: str) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            self.seen.setdefault(f"{name} in", []).append(inputs[0])
            self.seen.setdefault(f"{name} out", []).append(output)

        return hook

    def __enter__(self) -> dict[str, list[Tensor]]:
        return self.seen

    def __exit__(self, *details: object) -> None:
        for handle in self.handles:
            handle.remove()


def _whole_clip(model: TapirModel, features: Features, size: tuple[int, int], queries: Tensor) -> list[Estimate]:
    """All estimates for all points in one block: the first guess, then each step."""
    levels, maps = model.levels(size), features.levels()
    of_query = model.query_features(features, size, queries)
    start = TapirModel._pin(model, model.network.match(maps[0].lowres, of_query.lowres[0]), size, queries)
    pyramids = [model.network.pyramid(maps[k]) for k in levels.refined]
    resolutions = [levels.maps[k] for k in levels.refined]
    at_levels = QueryFeatures(*(tuple(field[k] for k in levels.refined) for field in of_query))
    return [start, *model.network.refine(start, pyramids, resolutions, at_levels)]


def records(checks: list[Check], case: Case, network: Tapir, size: tuple[int, int], estimates: list[Estimate]) -> None:
    """Compare `iter_*` with the estimates ([T,N], pixels of R_0)."""
    height, width = network.config.initial_resolution
    scale = torch.tensor([size[1] / width, size[0] / height])
    kept = estimates[: len(case["iter_tracks"])]
    ours = torch.stack([(estimate.xy * scale).transpose(0, 1) for estimate in kept])
    checks.append(compare("iter_tracks", ours, case["iter_tracks"], PIXELS))
    for name in ("occlusion", "expected_dist"):
        ours = torch.stack([getattr(estimate, name).T for estimate in kept])
        checks.append(compare(f"iter_{name}", ours, case[f"iter_{name}"], LOGITS))


def _features(checks: list[Check], case: Case, features: Features, of_query: QueryFeatures, last: int) -> None:
    for name, maps, step, channels in (("lowres", features.lowres, 8, 16), ("hires", features.hires, 16, 16)):
        for suffix, index in (("0", 0), ("_last", last)):
            if (key := f"feat_{name}{suffix}") in case:
                ours = maps[index][:, ::step, ::step, ::channels]
                checks.append(compare(key, ours, case[key], FEATURES))
            if (key := f"query_{name}{suffix}") in case:
                checks.append(compare(key, getattr(of_query, name)[index], case[key], FEATURES))


def _heads(checks: list[Check], case: Case, seen: dict[str, list[Tensor]], maps: Tensor, query: Tensor) -> None:
    """Cost, heat and hidden maps of point 1 on frame 1."""
    count, frames = len(query), len(maps)
    point = torch.einsum("hwc,c->hw", maps[1 % frames], query[1 % count])
    row = (1 % frames) * count + 1 % count
    ours = {"cost_t1_p1": point, "heat_t1_p1": torch.cat(seen["hid2 out"])[row, 0]}
    for key, value in ours.items():
        if key in case:
            checks.append(compare(key, value, case[key], FEATURES if key.startswith("cost") else MIXER))
    for key, name in (("hid1_t1_p1", "hid1 out"), ("occ_hid3_t1_p1", "hid3 out")):
        if key in case:
            # The vectors hold what came before the relu, which our layer applies itself.
            value = torch.cat(seen[name])[row, ::4, ::4, ::4]
            checks.append(compare(f"relu {key}", value, case[key].clip(min=0), MIXER))


def _mixer(checks: list[Check], case: Case, seen: dict[str, list[Tensor]]) -> None:
    for key in case:
        if key.startswith(("mixer_in_p1_it", "mixer_out_p1_it")):
            side, step = key.split("_")[1], int(key.rsplit("it", 1)[1])
            ours = seen[f"mixer {side}"][step][: len(case[key]), 1]
            checks.append(compare(key, ours, case[key], MIXER))
        elif key == "mixer_block0_p1_it0":
            checks.append(compare(key, seen["block0 out"][0][: len(case[key]), 1], case[key], MIXER))


def final(case: Case, prediction: Prediction, estimate: Estimate) -> list[Check]:
    """Compare tracks, logits and the visibility decision that follows from the card."""
    checks = [compare("tracks", prediction.xy, case["tracks"], PIXELS)]
    checks += [compare(name, getattr(estimate, name).T, case[name], LOGITS) for name in ("occlusion", "expected_dist")]
    score = prediction.visible * prediction.confidence
    clear = np.abs(score.numpy() - 0.5) > 1e-4
    checks.append(compare("visible", score > 0.5, case["visible"], 0, where=clear))
    return checks


@torch.inference_mode()
def offline(case: Case, parity: Parity, manifest: str) -> list[Check]:
    """A case of the ordinary forward pass."""
    model = model_of(case, parity, manifest)
    if isinstance(model, CausalTapir):  # the causal weights, run over the whole clip
        model = TapirModel(model.network, model.card, model.chosen)
    network = model.network
    video, queries = video_of(case, parity), queries_of(case)
    size = (video.shape[-2], video.shape[-1])
    features = model.encode(video)
    of_query = model.query_features(features, size, queries)
    heads, mixer = network.torch_cost_volume_track_mods, network.torch_pips_mixer
    watch = Watch(hid1=heads.hid1, hid2=heads.hid2, hid3=heads.hid3, mixer=mixer, block0=mixer.blocks[0])
    with watch as seen:
        estimates = _whole_clip(model, features, size, queries)
    estimate = model.estimate(features, size, of_query, queries)
    checks = final(case, model.track(features, size, queries), estimate)
    records(checks, case, network, size, estimates)
    _features(checks, case, features, of_query, model.levels(size).refined[-1])
    _heads(checks, case, seen, features.lowres[0], of_query.lowres[0])
    _mixer(checks, case, seen)
    if "stem_frame0" in case:
        images = torch.nn.functional.interpolate(
            video[:1].float() / 255 * 2 - 1, size=network.config.initial_resolution, mode="bilinear"
        )
        stem = network.resnet_torch.stem(images)[0, ::8, ::16, ::16]
        checks.append(compare("stem_frame0", stem, case["stem_frame0"].reshape(stem.shape), MIXER))
    return checks


def run(case: Case, name: str, parity: Parity) -> list[Check]:
    """An offline case of TAPIR."""
    return offline(case, parity, "tapir")
