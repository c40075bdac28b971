"""What a model is to the engine: three small protocols, chosen by `card.streaming`.

A model is a network plus its adapter (resize, normalise, convert). It never opens a file, picks a device or
applies a threshold. Adapter coordinates are **pixels of the frames it is handed, corner origin**; the engine
scales between them and the original video, converts ids and numpy, keeps the answer at the query frame equal
to the query, runs both directions, and splits points and frames to fit a memory budget.

Frames are uint8 [3,h,w] or [B,3,h,w], RGB, at the size that `frame_size` asked for.
All tensors that come back live on the model's device; coordinates are float32 whatever the feature precision.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from tapkit.coords import Size as Size  # models import it from here
from tapkit.types import ModelCard

if TYPE_CHECKING:
    from tapkit.models.graphs import Graph


class Prediction(NamedTuple):
    """Answers of a model. One frame: xy [N,2], visible [N], confidence [N]. A clip: [N,T,2], [N,T], [N,T]."""

    xy: Tensor
    """float32, pixels of the handed frames, corner origin."""
    visible: Tensor
    """float32, P(visible)."""
    confidence: Tensor
    """float32, P(error within the card's radius)."""


class Model(Protocol):
    """What all three kinds share."""

    card: ModelCard
    options: Mapping[str, Any]
    """Options in force (JSON values), for the provenance."""

    @property
    def device(self) -> torch.device: ...

    def to(self, device: torch.device | str) -> Self: ...

    def frame_size(self, size: Size) -> Size | None:
        """At which size frames of a video of `size` are to be handed over (resized while decoding, area
        averaging, corner-aligned); None: as they are, the adapter resizes itself (exactly as its authors do)."""
        ...


class CausalModel(Model, Protocol):
    """card.streaming == "causal": one frame at a time, constant memory. Pure: no call changes its arguments.

    A model may also be one that `ExpectsPoints`.
    """

    def start(self, size: Size) -> Any:
        """The state before the first frame (of handed frames of `size`): a NamedTuple of tensors."""
        ...

    def step(self, state: Any, frame: Tensor, new_xy: Tensor) -> tuple[Any, Prediction]:
        """Take the next `frame` [3,h,w]; `new_xy` [M,2] are points queried on this very frame.

        Returns the new state and the prediction for all points the state then holds: those it held, in their
        order, followed by the new ones (rows N, then M).
        """
        ...

    def select(self, state: Any, rows: Tensor) -> Any:
        """The state with only these points (`rows` int64 [K]), in this order."""
        ...

    def point_bytes(self, size: Size) -> int:
        """About how much memory one more point takes: its state and its share of the peak within `step`."""
        ...


class ClipModel(Model, Protocol):
    """card.streaming == "offline": sees the features of the whole clip at once."""

    def encode(self, frames: Tensor) -> Any:
        """Features of frames [B,3,h,w], each frame on its own: a NamedTuple of tensors with leading axis B.

        The engine calls it on a few frames at a time and concatenates along that axis (so what couples frames,
        such as a temporal convolution, belongs into `track`)."""
        ...

    def track(self, features: Any, size: Size, queries: Tensor) -> Prediction:
        """Prediction [N,T,...] for queries [N,3] (t, x, y) over the clip whose features are given.

        A model with card.bidirectional answers for all frames; otherwise only frames from t on count, and the
        engine calls it a second time on the reversed clip for direction="both" or "backward"."""
        ...

    def point_bytes(self, frames: int, size: Size) -> int:
        """About how much memory one more point takes in `track` at its peak."""
        ...

    def frame_bytes(self, size: Size) -> int:
        """About how much memory the features of one frame take."""
        ...


class WindowModel(Model, Protocol):
    """card.streaming == "window": sliding windows of `window` frames that advance by `stride`.

    The engine encodes each frame once, keeps the features of one window, and calls `step` when a window is full
    (or the clip has ended: features of the last frame are then repeated, as the authors pad).
    """

    window: int
    stride: int

    def encode(self, frames: Tensor) -> Any:
        """As for `ClipModel`."""
        ...

    def start(self, size: Size) -> Any:
        """The state before the first window."""
        ...

    def step(self, state: Any, features: Any, first: int, queries: Tensor) -> tuple[Any, Prediction]:
        """One window whose first frame has the clip's index `first`; queries [N,3] (t, x, y) are all points asked
        so far, in a fixed order (new ones at the end; rows may be more than in the call before).

        Returns the new state (carrying what the next window starts from) and the prediction [N,window,...];
        entries of points whose t lies beyond the window mean nothing.
        """
        ...

    def select(self, state: Any, rows: Tensor) -> Any:
        """The state with only these points."""
        ...

    def point_bytes(self, size: Size) -> int:
        """About how much memory one more point takes in `step` at its peak."""
        ...

    def frame_bytes(self, size: Size) -> int:
        """About how much memory the features of one frame take; a window of them is held."""
        ...


# -- optional abilities: asked for with isinstance ---------------------------------------------------


@runtime_checkable
class ExpectsPoints(Protocol):
    """A causal model whose frames are influenced by points that are yet to come (TAPNext holds their places from the
    beginning)."""

    def expect(self, state: Any, count: int) -> Any:
        """The state, knowing that `count` points begin on the next frame or later. Called before a step."""
        ...


@runtime_checkable
class EncodesFrames(Protocol):
    """A causal model that looks at a frame before it asks where the points are: what it sees there is the same for all
    points. It can then be computed for the next frame while points are followed on this one, and need not be computed
    again for a point that is added on a frame already stepped.

    `step(state, frame, new_xy)` is `follow(state, encode(frame[None]), size, new_xy)`."""

    def encode(self, frames: Tensor) -> Any:
        """As for `ClipModel`. Changes nothing, so that another thread may be within `follow`."""
        ...

    def follow(self, state: Any, features: Any, size: Size, new_xy: Tensor) -> tuple[Any, Prediction]:
        """`CausalModel.step` for a frame of `size` whose features are given."""
        ...


@runtime_checkable
class ComparesFrames(Protocol):
    """A causal model that `EncodesFrames` and also finds out how one frame became the next, the same for all points:
    that can be computed ahead as well."""

    def compare(self, features: Sequence[Any]) -> list[Any]:
        """Of the features of frames that follow each other, one by one, all but the first with what the step from the
        frame before takes from both; `follow` makes it itself where it is given features without, or of another frame
        before. As `encode`, changes nothing."""
        ...


class Carried(NamedTuple):
    """What a step of a model with a `FixedStep` goes on from."""

    tensors: Any
    """On the device: nested tuples of tensors."""
    facts: Hashable = ()
    """What the step depends on besides, known on the host; steps with other facts are other work."""


@runtime_checkable
class FixedStep(Protocol):
    """A causal model whose step on a frame on which no point begins is the same work of the device again and again:
    no shape, and no choice of what is done, depends on the values of tensors, and nothing is sent or asked meanwhile.
    So it can be recorded once and played back (a CUDA graph), or compiled once.

    A state may then have more rows than there are points (`select` with rows named twice makes them): *spare* rows, so
    that the number of rows need not change with every point that comes or goes. Nobody reads their answers."""

    def carried(self, state: Any) -> Carried | None:
        """Of a state with points; None: its next step is unlike the others (the first frame of a stream)."""
        ...

    def fixed_step(self, carried: Carried, frame: Tensor, held: Tensor) -> tuple[Any, Prediction, Any]:
        """The step on `frame` [3,h,w], for the rows where `held` bool [K] is true; the others are spare, and change
        nothing in those. Returns the tensors to go on from, the prediction of all K rows, and, of a model that
        `EncodesFrames`, the features of the frame (else an empty tuple)."""
        ...

    def after(self, state: Any, tensors: Any) -> Any:
        """The state one frame after `state`, which goes on from these tensors."""
        ...


TrackPoints = Callable[[Tensor, Sequence[Tensor]], Prediction]
"""Tracks points for a model: given frames uint8 [T,3,h,w] and groups of queries [n,3] (t, x, y; pixels of these frames,
corner origin), those of a group tracked together, it gives the prediction of all groups one after the other [N,T];
`visible` is 0 or 1, by the threshold of the tracker's authors."""


@runtime_checkable
class StartsFromTracks(Protocol):
    """A clip model that starts from the tracks of another tracker. The engine runs that over the same frames."""

    @property
    def tracker(self) -> tuple[str, str | None, Mapping[str, Any]]:
        """Of the other tracker: its id, its checkpoint file (None: the official one) and its options."""
        ...

    def start_from(self, track: TrackPoints, facts: Mapping[str, Any]) -> None:
        """Called once, before anything is tracked: `track` runs the other tracker; `facts` (JSON values) belong among
        the model's options, for the provenance. Raises `WeightsError`."""
        ...


@runtime_checkable
class BeginsOnQueries(Protocol):
    """A window model whose windows begin on the frame of the query, not on the clip's first: AllTracker, which follows
    all pixels of that frame at once.

    Points of one frame then make a group with windows and a state of its own; `step` is called for the points of one
    group, and its first window begins on their frame. A window that the clip's end cuts short is handed over as it is:
    the model fills it up as its authors do.
    """

    begins_on_queries: bool


@runtime_checkable
class EndsWithClip(Protocol):
    """A window model whose last window is moved back, to end with the clip, rather than continued with the features of
    its last frame (TAPTR). Only clips shorter than one window are continued.

    The moved window may begin on any frame after the first of the window before, and answers its frames anew; so they
    are final only when no window can begin on or before them any more. `step` is then handed a `first` that is less
    than `stride` beyond the one before."""

    def expect_frames(self, state: Any, frames: int) -> Any:
        """The state, knowing that the clip has so many frames: what its windows hand on may depend on that. Called
        before the first step, where the length is known (not for a live source)."""
        ...


@runtime_checkable
class HasGraphs(Protocol):
    """A model whose network can be written as graphs that run without Python."""

    def graphs(self) -> list[Graph]:
        """The parts, usually "encode" (a frame) and "update" (points, given the features and the state)."""
        ...


@runtime_checkable
class Reports(Protocol):
    """A clip model whose `track` takes long: it says how far it is."""

    report: Callable[[int, int], object] | None
    """Set by the run while it waits for the answers: called with (steps done, steps in all). What it raises ends
    `track`."""
