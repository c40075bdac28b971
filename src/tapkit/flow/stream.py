"""The flow of a whole video, pair by pair as its frames are decoded. The features of a frame are computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.constants import constant_like
from tapkit.errors import UsageError
from tapkit.flow.base import ClipFlowModel, Flow, FlowModel, Size
from tapkit.video.base import Source


class PairFlow(NamedTuple):
    """The flow of one pair of frames, at the video's size."""

    first: int
    """Index of the frame whose pixels move."""
    second: int
    """Index of the frame they move to."""
    xy: np.ndarray
    """[H,W,2] float32: displacement (x right, y down) in pixels of the video."""
    occlusion: np.ndarray | None
    """[H,W] float32: P(hidden in the second frame); None: the model has no such output."""
    uncertainty: np.ndarray | None
    """[H,W] float32: the model's own measure; None: none."""


@dataclass(frozen=True)
class Pairs:
    """Which pairs: of every frame with those `steps` later (earlier, if negative), or of the first with all others."""

    steps: tuple[int, ...] = (1,)
    from_first: bool = False

    @classmethod
    def of(cls, text: str) -> Pairs:
        """ "next", "previous", "first" (the first frame to each other), "step:K" (t to t + K), "all:K" (t to t + 1 ...
        t + K). Raises `UsageError`."""
        kind, colon, number = text.partition(":")
        plain = {"next": cls(), "previous": cls((-1,)), "first": cls((), True)}
        if not colon and kind in plain:
            return plain[kind]
        if kind in ("step", "all") and number.lstrip("-").isdigit() and int(number) != 0:
            count = int(number)
            if kind == "step":
                return cls((count,))
            if count > 0:
                return cls(tuple(range(1, count + 1)))
        raise UsageError(f"pairs are next, previous, first, step:K or all:K, got {text!r}")

    @property
    def reach(self) -> int:
        """How many frames back a pair may go."""
        return max((abs(step) for step in self.steps), default=0)

    def any_in(self, frames: int) -> bool:
        """Whether a clip of that many frames has such a pair at all."""
        return frames > (1 if self.from_first else min(abs(step) for step in self.steps))

    def with_frame(self, index: int) -> list[tuple[int, int]]:
        """(first, second) of the pairs of which frame `index` is the later one."""
        if self.from_first:
            return [(0, index)] if index else []
        found = [(index - step, index) if step > 0 else (index, index + step) for step in self.steps]
        return sorted(pair for pair in found if min(pair) >= 0)


@torch.inference_mode()
def flows(
    model: FlowModel | ClipFlowModel,
    source: Source,
    pairs: Pairs = Pairs(),
    wanted: Callable[[int, int], bool] = lambda first, second: True,
) -> Iterator[PairFlow]:
    """The flow of pairs, in the order in which their later frames come; those that are not `wanted` are left out.

    Memory: the features of the frames that are still needed, one frame, one flow. (A model that must see the whole clip
    first holds what it needs of all frames.)
    """
    if isinstance(model, ClipFlowModel):
        yield from model.flows(source, pairs, wanted)
        return
    video = source.info.size
    asked = model.frame_size(video)
    size = asked or video
    held: dict[int, Any] = {}
    waiting: dict[int, Tensor] = {}

    def features(index: int) -> Any:
        if index in waiting:
            held[index] = model.encode(waiting.pop(index))
        return held[index]

    for frame in source.frames(size=asked):
        index = frame.index
        waiting[index] = torch.from_numpy(np.ascontiguousarray(frame.image)).permute(2, 0, 1)[None].to(model.device)
        for first, second in pairs.with_frame(index):
            if wanted(first, second):
                flow = model.flow(features(first), features(second), size)
                yield as_arrays(first, second, flow, video)
        oldest = index - pairs.reach + 1
        for store in (held, waiting):
            for old in [key for key in store if key < oldest and not (pairs.from_first and key == 0)]:
                del store[old]


def as_arrays(first: int, second: int, flow: Flow, size: Size) -> PairFlow:
    """The flow of one pair of frames as arrays at the video's size."""
    height, width = flow.xy.shape[-2:]
    scale = constant_like([size[1] / width, size[0] / height], flow.xy)[:, None, None]
    xy = _resized(flow.xy * scale, size)[0].permute(1, 2, 0)
    more = [
        None if part is None else _resized(part[:, None], size)[0, 0].cpu().numpy()
        for part in (flow.occlusion, flow.uncertainty)
    ]
    return PairFlow(first, second, xy.contiguous().cpu().numpy(), *more)


def _resized(maps: Tensor, size: Size) -> Tensor:
    """Maps [1,C,h,w] at `size`, corners aligned with corners."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
