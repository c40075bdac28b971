"""The flow between pairs of frames of a clip, and what of it can be believed: tables of the store, an array for each
first frame, with an entry for each second one.

    flow-...   float16 [K,h,w,2]    displacement, pixels of the working size
    mask-...   uint8 [K,h,w]        bit 0: believed and seen in both frames; bit 1: believed, hidden in the second
    chain-...  float16 [K,h,w,2], chainmask-... uint8: the same where the direct flow was extended by chaining

Half precision keeps a displacement to within 1/32 px up to 64 px, and 1/8 px up to 256.
"""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.errors import StorageError, UsageError
from tapkit.flow.base import FlowModel, StartsFromFlow
from tapkit.flow.known import build_flow
from tapkit.per_video.prepare.flow_features import flow_features, reading_of
from tapkit.per_video.prepare.masks import (
    COLOUR,
    CYCLE,
    NEAR,
    SIMILAR,
    Frame,
    Mask,
    chain,
    correlation,
    grid,
    judge,
    read,
    walk,
)
from tapkit.per_video.prepare.store import Prepared, Table, save

Report = Callable[[str, int, int], object]
Features = Sequence[np.ndarray]
"""Features [fh,fw,C] of each frame."""
HELD = 1 << 30
"""Bytes of features of frames that are kept while flow is computed."""
BELIEVED, HIDDEN = 1, 2
LEAST_OVERLAP = 0.01
"""Share of all flow vectors that must be believed."""


@dataclass(frozen=True)
class FlowRequest:
    """Which flow a method learns from."""

    flow: str = "dis"
    """Id of the flow model."""
    weights: str | None = None
    """Its checkpoint file; None: the official one."""
    reach: int | None = None
    """Largest distance of two frames; None: all pairs."""
    cycle: float = CYCLE
    """Pixels by which a round trip may miss."""
    similar: float = SIMILAR
    """Cosine that features must have, where there are some."""
    agree: float | None = None
    """Pixels by which flow between frames 3 and more apart may differ from that over the frames between, where each
    step of it can be believed; None: they are not compared."""
    texture: float | None = None
    """Correlation that the surroundings of both ends must have between frames 3 and more apart (see
    `masks.correlation`); None: they are not compared."""
    chained: bool = False
    """Whether flow is extended by chaining over neighbouring frames."""
    features: str = "none"
    """Backbone whose features must agree between frames 3 and more apart; "none": round trips alone count."""
    features_weights: str | None = None
    """Its file; None: the published one."""

    def features_key(self, prepared: Prepared) -> str:
        """Which features those are."""
        if self.features == "none":
            return ""
        facts = reading_of(prepared.size, self.features, self.features_weights).facts(None)
        return json.dumps(facts, sort_keys=True)


class PairFlows:
    """The flow of all pairs within reach, read when it is asked for. Index coordinates, pixels of the working size."""

    def __init__(self, flow: Table, mask: Table, reach: int) -> None:
        self._flow, self._mask, self.reach = flow, mask, reach

    def __len__(self) -> int:
        return len(self._flow)

    def targets(self, first: int) -> list[int]:
        """The second frames that there are for a first one, rising."""
        return targets(first, len(self), self.reach)

    def _entry(self, first: int, second: int) -> int:
        return second - max(first - self.reach, 0) - (second > first)

    def flow(self, first: int, second: int) -> np.ndarray:
        """float16 [h,w,2]."""
        found: np.ndarray = self._flow[first][self._entry(first, second)]
        return found

    def mask(self, first: int, second: int) -> np.ndarray:
        """uint8 [h,w] of `BELIEVED` and `HIDDEN`."""
        found: np.ndarray = self._mask[first][self._entry(first, second)]
        return found

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """How many pixels of each pair can be learned from, [N,N]; in how many pairs each pixel can, [N,h,w]."""
        frames = len(self)
        of_pairs = np.zeros((frames, frames), np.int64)
        of_pixels = []
        for first in range(frames):
            usable = np.asarray(self._mask[first]) > 0
            of_pairs[first, self.targets(first)] = usable.sum((1, 2))
            of_pixels.append(usable.sum(0, dtype=np.uint16))
        return of_pairs, np.stack(of_pixels)


def targets(first: int, frames: int, reach: int) -> list[int]:
    """The frames within reach of one, without itself."""
    return [j for j in range(max(first - reach, 0), min(first + reach + 1, frames)) if j != first]


def pair_flows(
    prepared: Prepared,
    request: FlowRequest,
    device: torch.device,
    report: Report,
) -> PairFlows:
    """The flow that is asked for; what is not on disk yet is computed.

    Raises `UsageError` if hardly any flow can be believed; `WeightsError`, `StorageError`.
    """
    reach = min(request.reach or len(prepared), len(prepared) - 1)
    key: dict[str, Any] = {"flow": request.flow, "weights": request.weights, "reach": reach}
    if prepared.flow_frames is not prepared.frames:
        key["computed_at"] = list(prepared.flow_frames.shape[1:3])
    flow = prepared.table("flow", key)
    if flow.missing:
        _check_room(prepared, reach, len(flow.missing), request.chained)
        maker = _Maker(prepared, build_flow(request.flow, request.weights).to(device), reach)
        prepared.fill(flow, maker.of, report)
    judged = {**key, "cycle": request.cycle, "similar": request.similar, "features": request.features_key(prepared)}
    if request.features == "none":
        judged["colour"] = COLOUR
    if request.agree is not None:
        judged["agree"] = request.agree
    if request.texture is not None:
        judged["texture"] = request.texture
    mask = prepared.table("mask", judged)
    direct = PairFlows(flow, mask, reach)

    def features() -> Features | None:
        if request.features == "none":
            return None
        return flow_features(prepared, request.features, request.features_weights, device, report)

    if mask.missing:
        judge_all = _Judge(prepared, direct, request, features(), device)
        prepared.fill(mask, judge_all.of, report)
    if not request.chained:
        return _checked(direct)
    long, long_mask = prepared.table("chain", judged), prepared.table("chainmask", judged)
    if long.missing:
        links = _Links(prepared, direct, request.texture, features(), device)

        def both(first: int) -> np.ndarray:
            moved, seen = links.of(first)
            save(long_mask.path(first), seen)  # before the flow: what lacks either is computed again
            return moved

        prepared.fill(long, both, report)
    return _checked(PairFlows(long, long_mask, reach))


def _check_room(prepared: Prepared, reach: int, missing: int, chained: bool) -> None:
    """Raise `StorageError` unless the tables fit on the disk."""
    each = 5 * prepared.frames[0, :, :, 0].size * (2 if chained else 1)  # two half-precision numbers and a mask
    needed = missing * min(2 * reach, len(prepared) - 1) * each
    free = shutil.disk_usage(prepared.folder).free
    if needed > free:
        raise StorageError(
            f"flow of all pairs of frames takes {needed >> 20} MiB, and {free >> 20} are free where {prepared.folder} "
            "lies: a smaller max_side or reach takes less (--set reach=12)"
        )


def _checked(flows: PairFlows) -> PairFlows:
    of_pairs, of_pixels = flows.counts()
    pairs = sum(len(flows.targets(first)) for first in range(len(flows)))
    if of_pairs.sum() < LEAST_OVERLAP * pairs * of_pixels[0].size:
        raise UsageError(
            "hardly any flow between frames of this video survives a round trip, so there is nothing to fit to: the "
            "frames do not overlap, or the flow model cannot follow them"
        )
    return flows


class _Maker:
    """Computes flow from one frame to all within reach. Features of frames are computed once, as long as they fit."""

    def __init__(self, prepared: Prepared, model: FlowModel, reach: int) -> None:
        self.prepared, self.model, self.reach = prepared, model, reach
        height, width = prepared.flow_frames.shape[1:3]
        self.size = (int(height), int(width))
        self._held: OrderedDict[int, Any] = OrderedDict()
        self._most = max(HELD // max(model.frame_bytes(self.size), 1), 2)

    @torch.inference_mode()
    def of(self, first: int) -> np.ndarray:
        """float16 [K,h,w,2]; frames further and further away start from the flow before, where the model can."""
        found: dict[int, Tensor] = {}
        near = targets(first, len(self.prepared), self.reach)
        for side in ([j for j in near if j > first], [j for j in reversed(near) if j < first]):
            start: Tensor | None = None
            for second in side:
                a, b = self._features(first), self._features(second)
                if isinstance(self.model, StartsFromFlow):
                    flow, start = self.model.flow_from(a, b, self._handed, start)
                else:
                    flow = self.model.flow(a, b, self._handed)
                found[second] = self._resized(flow.xy)
        return np.stack([found[j].cpu().numpy().astype(np.float16) for j in near])

    @property
    def _handed(self) -> tuple[int, int]:
        return self.model.frame_size(self.size) or self.size

    def _features(self, index: int) -> Any:
        if index not in self._held:
            frame = torch.from_numpy(np.array(self.prepared.flow_frames[index])).permute(2, 0, 1)[None]
            if self._handed != self.size:
                frame = F.interpolate(frame.float(), self._handed, mode="area").round().to(torch.uint8)
            self._held[index] = self.model.encode(frame.to(self.model.device))
            if len(self._held) > self._most:
                self._held.popitem(last=False)
        self._held.move_to_end(index)
        return self._held[index]

    def _resized(self, xy: Tensor) -> Tensor:
        """[1,2,h,w] as [h,w,2] at the working size."""
        if tuple(xy.shape[-2:]) != self.prepared.size:
            height, width = self.prepared.size
            scale = xy.new_tensor([width / xy.shape[-1], height / xy.shape[-2]])
            xy = F.interpolate(xy, (height, width), mode="bilinear", align_corners=False) * scale[:, None, None]
        return xy[0].permute(1, 2, 0)


class _Judge:
    """Masks of the pairs of one first frame."""

    def __init__(
        self,
        prepared: Prepared,
        flows: PairFlows,
        request: FlowRequest,
        features: Features | None,
        device: torch.device,
    ) -> None:
        self.prepared = prepared
        self.flows, self.request, self.features, self.device = flows, request, features, device

    @torch.inference_mode()
    def of(self, first: int) -> np.ndarray:
        """uint8 [K,h,w]."""
        found = []
        stepped = {} if self.request.agree is None else self._stepped(first)
        for second in self.flows.targets(first):
            both = None if self.features is None else tuple(self._tensor(self.features[k]) for k in (first, second))
            mask = judge(
                self._tensor(self.flows.flow(first, second)),
                self._tensor(self.flows.flow(second, first)),
                abs(first - second),
                both,  # type: ignore[arg-type]
                self.request.cycle,
                self.request.similar,
            )
            if abs(first - second) >= NEAR:
                mask = mask._replace(cycle=mask.cycle & self._alike(first, second))
            if second in stepped and abs(first - second) >= NEAR:
                moved, sure = stepped[second]
                apart = (moved - self._tensor(self.flows.flow(first, second))).norm(dim=-1)
                mask = mask._replace(cycle=mask.cycle & ~(sure & (apart > self.request.agree)))
            found.append(mask.cycle.cpu().numpy() * np.uint8(BELIEVED) + mask.hidden.cpu().numpy() * np.uint8(HIDDEN))
        return np.stack(found)

    def _stepped(self, first: int) -> dict[int, tuple[Tensor, Tensor]]:
        """See `walk`: both ways."""
        near = self.flows.targets(first)

        def flow(here: int, there: int) -> Tensor:
            return self._tensor(self.flows.flow(here, there))

        def seen(here: int, there: int) -> Tensor:
            return judge(flow(here, there), flow(there, here), 1, cycle=self.request.cycle).cycle

        orders = range(first + 1, near[-1] + 1), range(first - 1, near[0] - 1, -1)
        return {k: v for order in orders for k, v in walk(first, order, flow, seen, self.prepared.size).items()}

    def _alike(self, first: int, second: int) -> Tensor:
        """Where both ends look alike, bool [h,w]: in colour, which stands in for features where there are none, and in
        texture, if that is asked for."""
        here, there = (self._tensor(self.prepared.frames[k]) / 255 for k in (first, second))
        arrives = read(there, grid(self.prepared.size, self.device) + self._tensor(self.flows.flow(first, second)))
        found = torch.ones(self.prepared.size, dtype=torch.bool, device=self.device)
        if self.features is None:
            found = (arrives - here).norm(dim=-1) < COLOUR
        if self.request.texture is not None:
            found = found & (correlation(here, arrives) > self.request.texture)
        return found

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(array, np.float32)).to(self.device)


class _Links:
    """Chains from one first frame, forwards and backwards."""

    def __init__(
        self,
        prepared: Prepared,
        flows: PairFlows,
        texture: float | None,
        features: Features | None,
        device: torch.device,
    ) -> None:
        self.prepared, self.flows, self.device = prepared, flows, device
        self.texture, self.features = texture, features

    @torch.inference_mode()
    def of(self, first: int) -> tuple[np.ndarray, np.ndarray]:
        """float16 [K,h,w,2], uint8 [K,h,w]."""
        near = self.flows.targets(first)
        ahead, behind = [j for j in near if j > first], [j for j in near if j < first]
        found: dict[int, tuple[Tensor, Tensor]] = {}
        orders = [range(first + 1, ahead[-1] + 1)] if ahead else []
        orders += [range(first - 1, behind[0] - 1, -1)] if behind else []
        for order in orders:
            found |= chain(first, order, self._flow, self._mask, self._frame, self.texture)
        moved = np.stack([found[j][0].cpu().numpy().astype(np.float16) for j in near])
        seen = [np.where(found[j][1].cpu().numpy(), BELIEVED, 0) | (self.flows.mask(first, j) & HIDDEN) for j in near]
        return moved, np.stack(seen).astype(np.uint8)

    def _flow(self, first: int, second: int) -> Tensor:
        return torch.from_numpy(np.asarray(self.flows.flow(first, second), np.float32)).to(self.device)

    def _mask(self, first: int, second: int) -> Mask:
        bits = torch.from_numpy(np.array(self.flows.mask(first, second))).to(self.device)
        return Mask((bits & BELIEVED) > 0, (bits & HIDDEN) > 0)

    def _frame(self, index: int) -> Frame:
        image = torch.from_numpy(np.asarray(self.prepared.frames[index], np.float32) / 255).to(self.device)
        held = None if self.features is None else torch.from_numpy(np.array(self.features[index])).float()
        return Frame(image, None if held is None else held.to(self.device))
