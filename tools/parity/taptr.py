"""Parity cases of TAPTR (vectors/taptr/README.md); `taptrv2` and `taptrv3` share what is here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity import Check, Parity, compare
from tapkit.models.taptr.encoder import pyramid_of
from tapkit.models.taptr.support import random_points
from tapkit.models.taptr.tracker import STRIDE, WINDOW, WindowTaptr, build
from tapkit.train.taptr.losses import total_loss

TRACKS, LOGITS, INSIDE, LOSS = 1e-3, 1e-4, 1e-4, 1e-5
"""Tolerances: pixels, logits, intermediate values relative to their range, losses."""


@contextmanager
def each_layer(network: Any) -> Iterator[list[list[Any]]]:
    """The results of all layers of the decoder, call by call; before them what the call began with."""
    decoder, seen = network.transformer.decoder, []
    inner = decoder.each_layer

    def noted(*arguments: Any) -> Iterator[Any]:
        boxes = next(a for a in arguments if torch.is_tensor(a) and a.shape[-1] == 4)
        seen.append([boxes.sigmoid()])
        for result in inner(*arguments):
            seen[-1].append(result)
            yield result

    decoder.each_layer = noted
    try:
        yield seen
    finally:
        del decoder.each_layer


def boxes_of_layers(case: dict[str, Any], calls: list[list[Any]], active: list[Tensor]) -> list[Check]:
    """The boxes before and after each layer (in some, after their attention) in the calls that the case has.

    active: the points that each call is about (a mask, or rows); others are left out here.
    """
    checks = []
    for number, ((first, *results), points) in enumerate(zip(calls[: len(case["refs"])], active, strict=False)):
        boxes = torch.stack([first, *(result.box for result in results)])
        checks.append(compare(f"refs {number}", boxes, case["refs"][number][:, :, points.numpy()], INSIDE))
        if "refs_ca" in case:
            moved = torch.stack([result.moved for result in results])
            checks.append(compare(f"refs_ca {number}", moved, case["refs_ca"][number][:, :, points.numpy()], INSIDE))
    return checks


class Watched:
    """What passed through modules while a context was open: call by call (first argument, result)."""

    def __init__(self, network: nn.Module, **modules: str) -> None:
        self.network, self.modules = network, modules
        self.calls: dict[str, list[tuple[Any, Any]]] = {name: [] for name in modules}

    @contextmanager
    def open(self) -> Iterator[Watched]:
        hooks = []
        for name, place in self.modules.items():

            def hook(module: nn.Module, given: Any, result: Any, calls: Any = self.calls[name]) -> None:
                calls.append((given[0], result))

            hooks.append(self.network.get_submodule(place).register_forward_hook(hook))
        try:
            yield self
        finally:
            for handle in hooks:
                handle.remove()


def inputs(case: dict[str, Any], parity: Parity) -> tuple[Tensor, Tensor]:
    """Frames uint8 [T,3,H,W] and queries [N,3] (t, x, y), corner origin."""
    frames, height, width = (int(case[name]) for name in ("frames", "height", "width"))
    clip = parity.seeded.video(frames, height, width, int(case["video_seed"]))
    queries = parity.seeded.queries(int(case["count"]), frames, height, width, int(case["query_seed"]))
    np.testing.assert_array_equal(queries, case["queries"])
    rows = torch.from_numpy(queries) + torch.tensor([0.0, 0.5, 0.5])
    return torch.from_numpy(clip).permute(0, 3, 1, 2).contiguous(), rows


def options(case: dict[str, Any]) -> dict[str, Any]:
    """The options of a model for a case: its input size, no support."""
    size = tuple(int(side) for side in case["resize"])
    return {"input_size": size if all(size) else None, "support": "none"}


def near(name: str, ours: Any, case: dict[str, Any], tolerance: float = INSIDE) -> Check:
    """An intermediate value, relative to its range."""
    theirs = np.asarray(case[name])
    scale = max(float(np.abs(theirs).max()), 1e-6)
    return compare(name, np.asarray(ours) / scale, theirs / scale, tolerance)


def starts(frames: int) -> list[int]:
    """First frames of the windows over a clip; the last ends with it."""
    first = list(range(0, frames - WINDOW + 1, STRIDE))
    return first + ([frames - WINDOW] if first[-1] + WINDOW < frames else [])


def run_windows(model: WindowTaptr, frames: Tensor, queries: Tensor) -> dict[str, Tensor]:
    """Windows over a clip, as a session runs them; all figures [T,N,...], in network units."""
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    features = model.encode(frames)
    state = model.expect_frames(model.start(size), len(frames))
    start = model._points(torch.cat([queries[:, :1], model.normalised(queries[:, 1:], size)], 1))
    boxes, classes = (start[place][:, :1].repeat(1, len(frames), 1) for place in (4, 5))
    for first in starts(len(frames)):
        tokens = type(features)(*(part[first : first + WINDOW] for part in features))
        state, _ = model.step(state, tokens, first, queries)
        boxes[:, first : first + WINDOW], classes[:, first : first + WINDOW] = state.boxes, state.classes
    box = boxes.sigmoid().transpose(0, 1)
    return {"boxes": box, "logits": classes.transpose(0, 1), "tokens": features.tokens}


def finals(
    case: dict[str, Any], found: dict[str, Tensor], threshold: float = 0.5, tolerance: float = LOGITS
) -> list[Check]:
    """Tracks, sizes, classes and visibility."""
    scale = torch.tensor([float(case["width"]) - 1, float(case["height"]) - 1])
    score = found["logits"][..., 1].sigmoid()
    clear = (score - threshold).abs() > 1e-3
    return [
        compare("tracks", found["boxes"][..., :2] * scale, case["tracks"], tracks_tolerance(case)),
        compare("boxes_wh", found["boxes"][..., 2:], case["boxes_wh"], INSIDE),
        compare("logits", found["logits"], case["logits"], tolerance),
        compare("visible", score > threshold, case["visible"], 0.0, clear.numpy()),
    ]


def tracks_tolerance(case: dict[str, Any]) -> float:
    """1e-3 px, but five times that where the original in float64 is half a thousandth away from itself (READMEs)."""
    return 5 * TRACKS if float(case.get("float64_gap_px", 0)) > 3e-4 else TRACKS


def of_features(case: dict[str, Any], model: Any, frames: Tensor, tokens: Tensor) -> list[Check]:
    """Levels and tokens of frame 0."""
    levels = model.network.levels(model.prepare(frames[:1]))
    checks = [near(f"src{number}", level[0, :4], case) for number, level in enumerate(levels)]
    return [*checks, near("memory", tokens[0, ::11, ::16], case)]


def whole(case: dict[str, Any], model: WindowTaptr, parity: Parity, names: dict[str, str]) -> list[Check]:
    """A whole clip with intermediate values; `names`: outputs of decoder modules for point 0 at their first call."""
    frames, queries = inputs(case, parity)
    size = (int(frames.shape[-2]), int(frames.shape[-1]))
    decoder = "transformer.decoder."
    layers = {f"layer{n}_p0": f"{decoder}layers.{n}" for n in range(len(model.network.bbox_embed))}
    others = {"window_update_p0": "query_between_window_updater", "query_pos_p0": f"{decoder}ref_point_head"}
    modules = {
        **layers,
        **others,
        **{name: decoder + place for name, place in names.items()},
        "cross": f"{decoder}layers.0.cross_attn",
    }
    with torch.inference_mode():
        with Watched(model.network, **modules).open() as watched, each_layer(model.network) as layers_seen:
            found = run_windows(model, frames, queries)
            if int(case["bidirectional"]):
                found = merged(model, frames, queries, found)
        checks = finals(case, found) + of_features(case, model, frames, found["tokens"])
        pyramid = pyramid_of(model.network_size(size))
        index, xy = queries[:, 0].long(), model.normalised(queries[:, 1:], size)
        sampled = model.network.sampled(found["tokens"], pyramid, index, model.network.query_places(pyramid, xy))
        content = model.network.query_features(found["tokens"], pyramid, index, xy)
    t = queries[:, 0]
    active = [t < first + WINDOW for first in starts(len(frames)) if bool((t < first + WINDOW - 1).any())]
    checks += boxes_of_layers(case, layers_seen, active)
    if "attn_logits_p0" in case:
        read = watched.calls.pop("cross")[0][1]
        checks.append(near("attn_logits_p0", read.logits[:, 0], case))
    checks += [near("query_feat_in", sampled[:2, 0], case), near("query_feat", content, case)]
    checks.append(near("sine_p0", watched.calls["query_pos_p0"][0][0][:, 0], case))
    for name in [*layers, *others, *names]:
        given, result = watched.calls[name][0]
        result = result[0] if isinstance(result, tuple) else result
        checks.append(near(name, result[:, 0], case))
        if name.endswith("_out_p0"):
            checks.append(near(name.replace("_out_", "_in_"), given[:, 0], case))
    return checks


def merged(model: WindowTaptr, frames: Tensor, queries: Tensor, forward: dict[str, Tensor]) -> dict[str, Tensor]:
    """Frames before each query from a run over the reversed clip."""
    turned = torch.cat([len(frames) - 1 - queries[:, :1], queries[:, 1:]], 1)
    back = run_windows(model, frames.flip(0), turned)
    before = (torch.arange(len(frames))[:, None] < queries[:, 0])[..., None]
    found = {name: torch.where(before, back[name].flip(0), forward[name]) for name in ("boxes", "logits")}
    return {**found, "tokens": forward["tokens"]}


def losses(case: dict[str, Any], moved: bool) -> list[Check]:
    """The terms of the loss."""
    xy = torch.from_numpy(case["pred_boxes"])[..., :2]
    after = torch.from_numpy(case["pred_boxes_ca"])[..., :2] if moved else None
    total, terms = total_loss(
        xy,
        torch.from_numpy(case["pred_logits"])[-1],
        torch.from_numpy(case["gt_boxes"])[..., :2].transpose(0, 1),
        torch.from_numpy(case["labels"]).T.long(),
        torch.from_numpy(case["mask"]).T.bool(),
        after,
    )
    checks = [compare("total", total, case["total"], 10 * LOSS)]
    for name, value in zip(case["loss_names"].tolist(), case["loss_values"], strict=True):
        layer = name.rsplit("_", 1)[1] if name[-1].isdigit() else len(xy) - 1
        ours = "class" if "_ce" in name else f"{'moved' if '_ca_' in name else 'xy'}_{layer}"
        checks.append(compare(name, terms[ours], value, LOSS))
    return checks


def support(case: dict[str, Any]) -> list[Check]:
    """The authors' random support points, exactly."""
    found = random_points(torch.from_numpy(case["real_xy"]), int(case["total"]), np.random.RandomState(0))
    return [
        compare("support_xy", found[:, 1:], case["support_xy"].astype(np.float32), 0.0),
        compare("support_start", found[:, 0], case["support_start"], 0.0),
    ]


def run(case: dict[str, Any], name: str, parity: Parity) -> list[Check]:
    """One case of TAPTR."""
    if "loss_names" in case:
        return losses(case, moved=False)
    if "support_xy" in case:
        return support(case)
    model = build(parity.weights("taptr"), **options(case))
    names = {"query_update_p0": "query_updater", "corr_out_p0": "layers.0.corr_fuser"}
    return whole(case, model, parity, names)
