"""Runner of vectors/tapnext (TAPNext and TAPNext++, published and tiny size)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity import Check, Parity, compare
from tapkit.models.tapnext.network import certainty, decode
from tapkit.models.tapnext.tracker import TapNext, TapNextOptions, build_tapnext

TOLERANCES = {"tracks_yx": 1e-3, "certainty": 1e-4, "visible_logits": 3e-4, "track_logits": 3e-4}
"""By the start of an array's name; tokens, block outputs and states: 1e-3."""


@lru_cache(maxsize=1)
def _filled(manifest: str, parity: Parity) -> TapNext:
    return build_tapnext(parity.weights(manifest))


def _model(manifest: str, parity: Parity, height: int, width: int) -> TapNext:
    filled = _filled(manifest, parity)
    return TapNext(filled.network, filled.card, TapNextOptions(resolution=(height, width)))


def run(case: dict[str, np.ndarray], name: str, parity: Parity) -> list[Check]:
    """All queries in slots of their own from the first frame, as the original has them."""
    del name
    frames, height, width = (int(case[key]) for key in ("frames", "height", "width"))
    model = _model(str(case["manifest"]), parity, height, width)
    video = torch.from_numpy(parity.seeded.video(frames, height, width, int(case["video_seed"])))
    ours = _explicit_slots(model, video.permute(0, 3, 1, 2), torch.from_numpy(case["queries_tyx_model"]), case)
    checks = []
    for key, value in ours.items():
        tolerance = next((t for start, t in TOLERANCES.items() if key.startswith(start)), 1e-3)
        if key in case:
            checks.append(compare(key, value, case[key], tolerance))
    through = _through_the_adapter(model, video.permute(0, 3, 1, 2), torch.from_numpy(case["queries_tyx_model"]))
    started = np.arange(frames)[:, None] >= case["queries_tyx_model"][None, :, 0]
    checks.append(compare("adapter tracks", through, case["tracks_yx"], TOLERANCES["tracks_yx"], where=started))
    return checks


@torch.no_grad()
def _explicit_slots(model: TapNext, video: Tensor, queries: Tensor, case: dict[str, np.ndarray]) -> dict[str, Any]:
    network = model.network
    patches = len(model._positions)
    shown = torch.from_numpy(case["token_ids"])
    query_t = queries[:, 0].round()
    code = network.query_tokens(queries[:, 1:])
    memory = network.empty_memory(patches + len(queries))
    columns: dict[str, list[Tensor]] = {}

    def note(**values: Tensor) -> None:
        for key, value in values.items():
            columns.setdefault(key, []).append(value)

    for t, frame in enumerate(video):
        points = torch.where((query_t == t)[:, None], code, network.mask_token)
        points = torch.where((query_t > t)[:, None], network.unknown_token, points)
        tokens = torch.cat([network.patch_tokens(model._prepare(frame), model._positions), points])
        x, memory, outputs = network(tokens, memory, t == 0)
        logits, visible = network.read(x[patches:])
        yx = decode(logits)
        note(
            tracks_yx=yx,
            visible_logits=visible,
            certainty=certainty(logits, yx, as_released=True),
            track_logits_p0=logits[0],
            track_logits_p_last=logits[-1],
            tokens_in=tokens[shown, :48],
            **{f"block_out_{i}": output[shown, :48] for i, output in enumerate(outputs)},
        )
    result: dict[str, Any] = {key: torch.stack(values) for key, values in columns.items()}
    result["state_rg_lru_block0"] = memory[0].hidden[shown, :96]
    result["state_conv_block0"] = torch.stack(memory[0].inputs, 1)[shown, :, :48]
    return result


def _through_the_adapter(model: TapNext, video: Tensor, queries: Tensor) -> Tensor:
    """[T,N,2] (y, x) in bins: points announced at the start and added on their frames."""
    height, width = video.shape[-2:]
    side = model.network.config.image_size
    order = torch.argsort(queries[:, 0], stable=True)
    waiting = queries[order]
    xy = waiting[:, 1:].flip(-1) * torch.tensor([width / side, height / side])
    state = model.expect(model.start((height, width)), len(queries))
    tracks = torch.zeros(len(video), len(queries), 2)
    for t, frame in enumerate(video):
        state, prediction = model.step(state, frame, xy[waiting[:, 0] == t])
        held = order[: len(prediction.xy)]
        tracks[t, held] = (prediction.xy * torch.tensor([256 / width, 256 / height])).flip(-1)
    return tracks
