"""What a two-frame flow model is to everything built on it: the counterpart of `tapkit.models.base`.

A flow model is a network (or a classical method) plus its adapter (resize, pad, normalise). It never opens a file,
picks a device or applies a threshold. The features of a frame are computed once, by `encode`, and serve all pairs
that the frame takes part in, as the first of a pair or as the second.

Pixels: the flow at row i, column j is that of the pixel's centre, which lies at (j + 0.5, i + 0.5) in corner-origin
coordinates. Displacements do not depend on the origin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from tapkit.models.base import Size
from tapkit.types import ModelCard

if TYPE_CHECKING:
    from tapkit.flow.stream import PairFlow, Pairs
    from tapkit.video.base import Source

__all__ = ["ClipFlowModel", "Flow", "FlowModel", "GivesFlow", "Size", "StartsFromFlow"]


class Flow(NamedTuple):
    """Motion of every pixel of P first frames to their second frames."""

    xy: Tensor
    """float32 [P,2,h,w]: displacement (x, y) in pixels of the handed frames, first -> second."""
    occlusion: Tensor | None = None
    """float32 [P,h,w]: P(the pixel of the first frame is hidden in the second); None: no such output."""
    uncertainty: Tensor | None = None
    """float32 [P,h,w]: the model's own measure (its card says which), e.g. a variance in px^2; None: none."""


class FlowModel(Protocol):
    """card.streaming == "pairwise". Frames are uint8 [B,3,h,w], RGB, at the size that `frame_size` asked for."""

    card: ModelCard
    options: Mapping[str, Any]
    """Options in force (JSON values), for the provenance."""

    @property
    def device(self) -> torch.device: ...

    def to(self, device: torch.device | str) -> Self: ...

    def frame_size(self, size: Size) -> Size | None:
        """At which size frames of a video of `size` are to be handed over; None: as they are."""
        ...

    def encode(self, frames: Tensor) -> Any:
        """Features of frames uint8 [B,3,h,w], each frame on its own: a NamedTuple of tensors with leading axis B."""
        ...

    def flow(self, first: Any, second: Any, size: Size) -> Flow:
        """P flows from the features of P first and P second frames; `size` is that of the handed frames."""
        ...

    def frame_bytes(self, size: Size) -> int:
        """About how much memory the features of one frame take."""
        ...

    def pair_bytes(self, size: Size) -> int:
        """About how much memory one pair takes in `flow` at its peak."""
        ...


@runtime_checkable
class StartsFromFlow(Protocol):
    """A flow model that can start from an earlier result of the same first frame. Asked for with isinstance."""

    def flow_from(self, first: Any, second: Any, size: Size, start: Tensor | None) -> tuple[Flow, Tensor]:
        """The flows, refined from `start` (None: from zero), and the same in the form that may start others."""
        ...


@runtime_checkable
class ClipFlowModel(Protocol):
    """What gives flow like a flow model, but must see the whole clip first. Asked for with isinstance."""

    card: ModelCard
    options: Mapping[str, Any]

    def flows(self, source: Source, pairs: Pairs, wanted: Callable[[int, int], bool]) -> Iterator[PairFlow]:
        """The flow of pairs of frames of a video, in the order in which their later frames come."""
        ...


@runtime_checkable
class GivesFlow(Protocol):
    """A tracker of whole clips (card.gives_flow) that knows the flow between any two of their frames."""

    def flows_between(self, features: Any, size: Size, pairs: Iterable[tuple[int, int]]) -> Iterator[Flow]:
        """The flow of each pair of frames (first, second) of the clip whose features are given, one by one."""
        ...
