"""ModelCard: everything about a tracker that is data, not code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Streaming = Literal["causal", "window", "offline", "pairwise", "per-video"]
VisibleRule = Literal["visible", "visible*confidence"]


@dataclass(frozen=True)
class PublishedNumber:
    """One figure of a paper or README, with the protocol it was measured under."""

    dataset: str
    """For instance "TAP-Vid DAVIS"."""
    metric: str
    """AJ, delta_avg, OA, survival, ..."""
    value: float
    """In percent where the field prints percent."""
    protocol: str
    """For instance "query first, 256x256, one query at a time with 5x5 support grid"."""
    source: str
    """Paper table or README that prints it."""

    @classmethod
    def triples(
        cls, protocol: str, source: str, rows: Mapping[str, tuple[float, float, float]]
    ) -> tuple[PublishedNumber, ...]:
        """AJ, delta_avg and OA for each dataset."""
        return tuple(
            cls(dataset, metric, value, protocol, source)
            for dataset, values in rows.items()
            for metric, value in zip(("AJ", "delta_avg", "OA"), values, strict=True)
        )


@dataclass(frozen=True)
class BackboneFile:
    """Weights of others that a published checkpoint does not contain, though its network cannot do without."""

    name: str
    """What it is, for instance "DINOv3 ViT-S+/16"."""
    prefix: str
    """What its tensors are called in the network, before their own names."""
    file: str
    """File name in the cache or in $TAPKIT_WEIGHTS."""
    source: str
    """Whose it is, where, and which file there."""
    licence: str
    """Its licence, and what that asks for."""


@dataclass(frozen=True)
class ModelCard:
    """The card of one tracker. The engine and the tools decide from it; nothing asks for a class."""

    id: str
    """Registry id, for instance "cotracker3-offline"; its meaning never changes."""
    name: str
    """Name as published."""
    paper: str
    """Authors, title, venue, year."""
    paper_url: str
    code_licence: str
    """Licence of the authors' code (ours is Apache-2.0 throughout)."""
    weights_licence: str
    commercial: bool
    """Whether the weights may be used commercially."""
    factory: str
    """"module:function" that builds the model: function(weights: Mapping[str, Tensor] | None, **options) -> Model."""
    options: str = ""
    """"module:Class" of its options, a `tapkit.models.options.Options`; empty: it has none."""
    weights_url: str | None = None
    """Authors' address of the checkpoint; None: the model needs no weights, or they are in the package."""
    weights_file: str | None = None
    """File name in the cache or in $TAPKIT_WEIGHTS; None: needs no weights."""
    weights_built_in: bool = False
    """Whether the file is inside the package."""
    weights_sha256: str | None = None
    """Known hash of the published file, if known; else recorded at the first download."""
    backbone: BackboneFile | None = None
    """A file of others that is needed besides, which is fetched by hand; None: the checkpoint is complete."""
    weights_md5: Mapping[str, str] = field(default_factory=dict)
    """MD5 of the published files of these weights, by file name, where it is known: `weights_file`, and the same in
    other formats, which serve as well."""
    streaming: Streaming = "causal"
    """causal: frame by frame; window: sliding windows; offline: needs the whole clip; pairwise: a flow model;
    per-video: fitted to each video first (`tapkit fit`)."""
    latency: int = 0
    """Frames that must be seen after a frame before its result is final; -1 for offline models (the whole clip)."""
    joint: bool = False
    """Whether points influence each other (chunks of points then change results)."""
    bidirectional: bool = False
    """Whether one pass over the clip tracks backwards from the query as well as forwards."""
    uses_past: bool = True
    """Whether frames before its query influence a point's track (recurrent image memory, shared windows)."""
    gives_flow: bool = False
    """Whether a tracker of whole clips also gives the flow between any two of their frames."""
    input_size: tuple[int, int] | None = None
    """(height, width) the network works at; None: the video's own."""
    visible_rule: VisibleRule = "visible"
    """What the authors threshold."""
    visible_threshold: float = 0.5
    """Authors' threshold on that."""
    confidence_radius: float | None = None
    """`confidence` is P(error < this many pixels), in pixels of `input_size` (of the video if that is None)."""
    longest_trained: int | None = None
    """Longest clip seen in training, frames."""
    half_precision_px: tuple[float, float] | None = None
    """By how much bfloat16 moves positions (the median, and what 90 % stay below), pixels of a clip of 256x256, random
    weights; None: not measured."""
    published: tuple[PublishedNumber, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Options of the factory that this id fixes (a variant's settings)."""
    trainable: str = ""
    """"module:name" of what builds the network through which gradients flow, from weights or None; empty: there is
    none. See `tapkit.network`."""
    notes: str = ""
    """Deviations between paper and released code, and anything a user should know."""

    @property
    def needs_weights(self) -> bool:
        """Whether a checkpoint is needed at all."""
        return self.weights_file is not None

    @property
    def half_precision_is_safe(self) -> bool:
        """Whether bfloat16 moves so little that `tapkit.load` computes in it where the processor can: by less than
        0.1 px in the median and less than 1 px in nine of ten cases."""
        if self.half_precision_px is None:
            return False
        median, nine_of_ten = self.half_precision_px
        return median < 0.1 and nine_of_ten < 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        values["defaults"] = dict(self.defaults)
        values["weights_md5"] = dict(self.weights_md5)
        return values
