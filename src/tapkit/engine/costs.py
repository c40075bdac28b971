"""What points and frames of a model take of a device's memory: measured where the device can tell, else estimated.

A budget is kept by splitting points, for which one must know what a point costs. Models give estimates
(`point_bytes`, `frame_bytes`). A GPU knows what is allocated on it, and what was at most: there a step is made with few
points and with more, on a blank frame, before anything is planned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from tapkit.engine.memory import device_memory, points_at_once
from tapkit.engine.state import flatten, unflatten
from tapkit.models.base import EncodesFrames, Model, Size, StartsFromTracks

_COMPARED = ((16, 64), (1, 9))
"""Points of the two steps whose peaks are compared; the second pair where there is no room for the first. With fewer,
what does not depend on points is most of the peak, and hides what does."""
_FRAMES = 8
"""Frames of the clip that models of whole clips are measured with; what a point takes grows with the clip."""


class Meter(Protocol):
    """Tells how much of a device's memory is allocated."""

    def restart(self) -> int:
        """Bytes allocated now; the peak is counted anew from here."""
        ...

    def peak(self) -> int:
        """Bytes that were allocated at most since."""
        ...


class CudaMeter:
    """By the counters of torch's allocator."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def restart(self) -> int:
        """See `Meter`."""
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)

    def peak(self) -> int:
        """See `Meter`."""
        return torch.cuda.max_memory_allocated(self.device)


def meter_of(device: torch.device) -> Meter | None:
    """None where nothing counts what is allocated (the CPU), or what was at most (MPS)."""
    return CudaMeter(device) if device.type == "cuda" else None


@dataclass(frozen=True)
class Costs:
    """Bytes of a device."""

    fixed: int
    """Held whatever the number of points: the features of the frames that are needed, and the work on a frame."""
    point: int
    """What one more point takes at the peak."""


def costs(model: Any, size: Size, frames: int | None = None, kind: str | None = None) -> Costs:
    """Of tracking with `model` in frames of `size`; `frames` of the clip, for models of whole clips.

    `kind` is as on the card, which says it if it is not given.

    Raises what torch raises where the device has no room for a single point.
    """
    meter = meter_of(model.device)
    if meter is None or isinstance(model, StartsFromTracks):  # those have another tracker run first
        return estimated(model, size, frames, kind)
    measure = {"causal": _causal, "window": _window, "offline": _clip}[kind or model.card.streaming]
    with torch.inference_mode():
        return measure(model, size, frames, meter)


def estimated(model: Any, size: Size, frames: int | None = None, kind: str | None = None) -> Costs:
    """By what the model says of itself."""
    kind = kind or model.card.streaming
    if kind == "causal":
        return Costs(0, model.point_bytes(size))
    if kind == "window":
        return Costs(model.window * model.frame_bytes(size), model.point_bytes(size))
    count = frames or 1
    return Costs(count * model.frame_bytes(size), model.point_bytes(count, size))


def points_within(budget: int | None, model: Any, size: Size, count: int, kind: str, frames: int | None = None) -> int:
    """How many of `count` points fit into a budget together; without one nothing is measured."""
    if budget is None or count == 0:
        return max(count, 1)
    with device_memory(model.device, 1):
        found = costs(model, size, frames, kind)
    return points_at_once(budget, found.fixed, found.point, count)


def _two_points(run: Callable[[int], object], meter: Meter) -> Costs:
    """From the peaks of runs with few and with many points; a first run is not counted: it makes what is kept."""
    run(1)
    for few, many in _COMPARED:
        try:
            peaks = [_peak(run, count, meter) for count in (few, many)]
        except torch.OutOfMemoryError:
            if (few, many) == _COMPARED[-1]:
                raise
            continue
        point = max((peaks[1] - peaks[0]) // (many - few), 1)
        return Costs(max(peaks[0] - point * few, 0), point)
    raise AssertionError("one of the pairs was returned or raised")


def _peak(run: Callable[[int], object], count: int, meter: Meter) -> int:
    before = meter.restart()
    run(count)
    return meter.peak() - before


def _causal(model: Any, size: Size, frames: int | None, meter: Meter) -> Costs:
    """A step in the middle; the states before the last frame and after it, and its features, are held meanwhile (see
    `CausalDriver`)."""
    frame = _blank(model, size)[0]

    def run(count: int) -> None:
        before, _ = model.step(model.start(size), frame, _spread(model, size, count))
        features = model.encode(frame[None]) if isinstance(model, EncodesFrames) else None
        held, _ = model.step(before, frame, _spread(model, size, 0))
        model.step(held, frame, _spread(model, size, 0))
        del features

    return _two_points(run, meter)


def _window(model: Any, size: Size, frames: int | None, meter: Meter) -> Costs:
    """A window, whose features are held meanwhile."""
    before = meter.restart()
    features = _repeated(model.encode(_blank(model, size)), model.window)
    encoding = meter.peak() - before

    def run(count: int) -> None:
        model.step(model.start(size), features, 0, _queries(model, size, count))

    found = _two_points(run, meter)
    return Costs(found.fixed + max(encoding, _size(features)), found.point)


def _clip(model: Any, size: Size, frames: int | None, meter: Meter) -> Costs:
    """A short clip; what a point takes is brought to the length of the whole as the model says that it grows."""
    count = frames or 1
    short = min(count, _FRAMES)
    features = _repeated(model.encode(_blank(model, size)), short)

    def run(points: int) -> None:
        model.track(features, size, _queries(model, size, points))

    found = _two_points(run, meter)
    longer = model.point_bytes(count, size) / max(model.point_bytes(short, size), 1)
    return Costs(found.fixed + _size(features) // short * count, max(int(found.point * longer), 1))


def _blank(model: Model, size: Size) -> Tensor:
    return torch.zeros(1, 3, *size, dtype=torch.uint8, device=model.device)


def _spread(model: Model, size: Size, count: int) -> Tensor:
    """Points along the frame's diagonal [count,2]."""
    along = (torch.arange(count, dtype=torch.float32) + 0.5) / max(count, 1)
    return torch.stack([along * size[1], along * size[0]], 1).to(model.device)


def _queries(model: Model, size: Size, count: int) -> Tensor:
    xy = _spread(model, size, count)
    return torch.cat([torch.zeros_like(xy[:, :1]), xy], 1)


def _repeated(features: Any, count: int) -> Any:
    """The features of one frame as those of `count`, each with room of its own."""
    return unflatten(features, {name: torch.cat([part] * count) for name, part in flatten(features).items()})


def _size(features: Any) -> int:
    return sum(part.numel() * part.element_size() for part in flatten(features).values())
