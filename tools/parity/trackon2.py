"""Runner of vectors/trackon2 (Track-On2), frame by frame through the adapter, with everything that the layers give."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity import Check, Parity, compare
from tapkit import coords
from tapkit.models.trackon.backbone import map_sizes
from tapkit.models.trackon.card import TRACK_ON2
from tapkit.models.trackon.deformable import cells
from tapkit.models.trackon.network import FrameMaps
from tapkit.models.trackon.tracker import TrackOn, TrackOnOptions, build_track_on2

TOLERANCE = 1e-3
"""Pixels, logits, and features relative to their spread."""
NEARLY_TIED = 2e-5
"""Where the 16th and 17th similarity are nearer than that, rounding may choose either (README of the vectors)."""
EXACT = ("patch_xy", "visible", "topk_cells")
IN_UNITS = ("position", "tracks", "vis_logit", "unc_logit", "offset_layers")
"""Compared in pixels and logits; all others relative to their spread."""
OF_POINTS = (
    *EXACT,
    *IN_UNITS,
    *("query_init", "after_feature_attention0", "query_decoded", "query_memory", "corr1_sample", "corr2_sample"),
    *("topk_gap", "argmax_gap", "topk_certainty_mean", "topk_score_mean"),
)
"""By frame and point."""
GAPS_OF = {"topk_gap": "corr1_sample", "argmax_gap": "corr2_sample"}
ROWS = {"rope_cos": 37, "injector0": 41, "h4": 211, "h8": 61, "h16": 17, "h32": 5, "f_fused": 211}
COLUMNS = {"rope_cos": 1, "injector0": 8, "h4": 4, "h8": 4, "h16": 4, "h32": 4, "f_fused": 4}


class Noting(TrackOn):
    """A tracker that keeps the maps of the frame seen last."""

    maps: FrameMaps

    def encode(self, frame: Tensor) -> FrameMaps:
        """See `TrackOn.encode`."""
        self.maps = super().encode(frame)
        return self.maps


@lru_cache(maxsize=1)
def _filled(parity: Parity) -> TrackOn:
    return build_track_on2(parity.weights("trackon2"))


def run(case: dict[str, np.ndarray], name: str, parity: Parity) -> list[Check]:
    """A clip, all its points joining on their frames."""
    del name
    frames, height, width = (int(case[key]) for key in ("frames", "height", "width"))
    options = TrackOnOptions(memory_frames=int(case["memory"]), support=int(case["support_grid"]))
    model = Noting(_filled(parity).network, TRACK_ON2, options)
    video = torch.from_numpy(parity.seeded.video(frames, height, width, int(case["video_seed"])))
    recorded = _track(model, video.permute(0, 3, 1, 2).contiguous(), torch.from_numpy(case["queries"]))
    return list(_checks(recorded, case))


def _checks(ours: dict[str, np.ndarray], case: dict[str, np.ndarray]) -> Iterator[Check]:
    tied = (ours["topk_cells"] != case["topk_cells"]).any(-1) & (np.nan_to_num(case["topk_gap"], nan=1.0) < NEARLY_TIED)
    # Another choice between nearly tied patches changes what follows, and by the memory all later frames of the point.
    counts = ~np.logical_or.accumulate(tied, 0)
    for key, theirs in case.items():
        if key not in ours or np.ndim(theirs) == 0:
            continue
        where = None
        if key in OF_POINTS:
            some = counts[:, : theirs.shape[1]]
            where = np.broadcast_to(some.reshape(*some.shape, *[1] * (theirs.ndim - 2)), theirs.shape)
        if key in EXACT:
            yield compare(key, ours[key], theirs, 0.0, where)
        elif key in IN_UNITS:
            yield compare(key, ours[key], theirs, TOLERANCE, where)
        else:
            # A gap is a difference of similarities, and as exact as those are.
            measured = case[GAPS_OF[key]] if key in GAPS_OF else theirs
            spread = float(np.nanstd(measured.astype(np.float64))) or 1.0
            yield compare(key, ours[key] / spread, theirs / spread, TOLERANCE, where)


@contextmanager
def _outputs(modules: dict[str, nn.Module], into: dict[str, list[Any]]) -> Iterator[None]:
    """Append what modules return to lists of these names."""
    with ExitStack() as stack:
        for name, module in modules.items():
            hook = module.register_forward_hook(
                lambda _m, _i, out, name=name: into.setdefault(name, []).append(out)  # type: ignore[misc]
            )
            stack.callback(hook.remove)
        yield


def _modules(model: TrackOn) -> dict[str, nn.Module]:
    network = model.network
    encoder, head = network.backbone.vit_encoder, network.prediction_head
    named: dict[str, nn.Module] = {
        "after_feature_attention0": network.feature_attention[0],
        "query_decoded": network.projection1,
        "query_memory": network.projection2,
        "fused_seen": network.reranking_head.fusion_layer,
        "spm": encoder.spm,
        "injector0": encoder.interactions[0].injector,
    }
    named |= {f"interaction{i}": interaction for i, interaction in enumerate(encoder.interactions)}
    named |= {f"offset{i}": block for i, block in enumerate(head.offset_transformer)}
    return named


@torch.inference_mode()
def _track(model: Noting, video: Tensor, queries: Tensor) -> dict[str, np.ndarray]:
    """Everything the case may hold: rows of points are the queries in their order, then 20 support points."""
    size, count, support = (video.shape[-2], video.shape[-1]), len(queries), model.supporting
    shown = count + min(support, 20)
    state, held = model.start(size), torch.arange(support) + count  # whose row each row of the state is
    columns: dict[str, list[np.ndarray]] = {}
    first: dict[str, np.ndarray] = {}
    for t, frame in enumerate(video):
        starts = (queries[:, 0] == t).nonzero()[:, 0]
        held = torch.cat([held, starts])
        into: dict[str, list[Any]] = {}
        with _outputs(_modules(model), into):
            state, prediction = model.step(state, frame, queries[starts, 1:])
        if t == 0:
            first = _intermediates(model, model.maps, into)
        ours = _of_points(model, model.maps, into, state.points.query)
        scale = torch.tensor([size[1] / model.resolution[1], size[0] / model.resolution[0]])
        ours["position"] = (ours["patch_xy"] + ours["offset_layers"][:, -1]) * scale
        through = torch.zeros(count, 2)
        through[held[support:]] = prediction.xy
        columns.setdefault("tracks", []).append(through.numpy())
        visible = torch.zeros(count, dtype=torch.bool)
        visible[held[support:]] = prediction.visible >= TRACK_ON2.visible_threshold
        columns.setdefault("visible", []).append(visible.numpy())
        for name, values in ours.items():
            empty = -1 if values.dtype == torch.long else np.nan
            full = np.full((shown, *values.shape[1:]), empty, values.numpy().dtype)
            some = held < shown
            full[held[some].numpy()] = values[some].numpy()
            columns.setdefault(name, []).append(full[:4] if name.startswith("corr") else full)
    return first | {name: np.stack(values) for name, values in columns.items()}


def _of_points(model: TrackOn, maps: Any, into: dict[str, list[Any]], begun: Tensor) -> dict[str, Tensor]:
    """What is known of each row of the state on one frame."""
    network, size = model.network, model.resolution
    decoded, memory = into["query_decoded"][0], into["query_memory"][0]
    corr1, corr2 = network.similarity(decoded, maps), network.similarity(memory, maps)
    best = corr1.topk(17).values
    patch = network._centres(corr2.argmax(-1), size)
    heads = network.prediction_head(memory, patch, maps.tokens, map_sizes(size))
    layers = [network.prediction_head.offset(torch.cat(into[f"offset{i}"])) for i in range(3)]
    seen = torch.cat(into["fused_seen"]).view(len(decoded), 16, -1)
    rerank = network.reranking_head
    return {
        "query_init": begun[:, ::4],
        "after_feature_attention0": into["after_feature_attention0"][0][0][:, ::4],
        "query_decoded": decoded[:, ::4],
        "query_memory": memory[:, ::4],
        "corr1_sample": corr1[:, ::61],
        "corr2_sample": corr2[:, ::61],
        "topk_cells": corr1.topk(16).indices.sort(-1).values,
        "topk_gap": best[:, 15] - best[:, 16],
        "argmax_gap": -corr2.topk(2).values.diff(dim=-1)[:, 0],
        "topk_certainty_mean": rerank.certainty_layer(seen)[..., 0].mean(1),
        "topk_score_mean": rerank.score_layer(seen)[..., 0].mean(1),
        "patch_xy": coords.resize(patch, (1, 1), size),
        "offset_layers": torch.stack(layers, 1),
        "vis_logit": heads.visible,
        "unc_logit": heads.uncertain,
    }


def _intermediates(model: TrackOn, maps: Any, into: dict[str, list[Any]]) -> dict[str, np.ndarray]:
    """What the backbone gives of the first frame."""
    sizes = map_sizes(model.resolution)
    encoder = model.network.backbone.vit_encoder
    parts = {"rope_cos": encoder.dinov3.rotary((27, 36))[0], "injector0": into["injector0"][0], "f_fused": maps.fused}
    parts |= {f"h{4 << i}": part for i, part in enumerate(maps.tokens.split(cells(sizes)))}
    found = {name: part[:: ROWS[name], :: COLUMNS[name]] for name, part in parts.items()}
    finest, *coarser = into["spm"][0]
    found["spm_c1"] = finest.view(*sizes[0], -1).permute(2, 0, 1)[::16, ::7, ::7]
    found |= {f"spm_c{i}": tokens[::53, ::8] for i, tokens in enumerate(coarser, 2)}
    for i in range(4):
        x, spatial = into[f"interaction{i}"][0]
        found |= {f"patch_{i}": x[5:][::41, ::8], f"cls_{i}": x[0, ::4], f"adapter_{i}": spatial[::101, ::8]}
    return {name: part.numpy() for name, part in found.items()}
