"""How videos are labelled, as data: `LabelOptions`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from tapkit import registry
from tapkit.errors import StorageError, UsageError

Detector = Literal["sift", "corners"]


@dataclass(frozen=True)
class LabelOptions:
    """Options of `label_video`. The defaults are those of CoTracker3's training on real videos.

    The source is the paper's section 3.1 and appendix, but for the filters (`round_trip`, `contrast`, `least`, `cuts`),
    which the authors do without: they label 100,000 chosen videos, and throw away none of what a teacher says.
    """

    teachers: tuple[str, ...] = (registry.DEFAULT,)
    """Registry ids. One of them is drawn for each piece, unless `agree` asks several."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Teacher -> checkpoint file; the official one for those that are not here."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Teacher -> options of that tracker, before those of the paper (`RULES`)."""
    agree: int = 0
    """0: one teacher says where the points are. n: all follow them, and n must agree (on the median's position)."""
    agree_within: float = 3.0
    """How near to the median a position must be to agree, pixels of a 256x256 frame."""
    pieces: int = 1
    """Drawn from each video."""
    frames: tuple[int, int] = (64, 64)
    """Least and most frames of a piece. (40, 79) for the offline student of the paper."""
    largest_step: int = 4
    """A piece has every k-th frame, k below this and so that the video is long enough."""
    size: tuple[int, int] = (384, 512)
    """(height, width) of the crop at the video's own resolution; smaller videos are taken whole."""
    points: int = 384
    """Queries of a piece."""
    points_per_frame: int = 48
    """On each of points / points_per_frame frames, drawn with repetition."""
    query_share: float = 0.25
    """Queries lie on the first so much of the piece."""
    detector: Detector = "sift"
    """SIFT key points (extra: cv), or Shi-Tomasi corners."""
    contrast: float = 4.0
    """Standard deviation in grey levels of the 9x9 pixels around a query, at least."""
    round_trip: float | None = 1.5
    """A point followed to where it is last seen and back must come back so near, pixels of a 256x256 frame."""
    least: float = 0.1
    """Pieces on which a smaller share of `points` hold up are thrown away."""
    cuts: bool = True
    """Whether pieces keep clear of scene cuts."""
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.teachers or len(set(self.teachers)) < len(self.teachers):
            raise UsageError("a committee needs at least one teacher, and each of them once")
        for name in self.teachers:
            if registry.card(name).streaming == "pairwise":
                raise UsageError(f"{name} computes flow and follows no points; teachers are trackers")
        strangers = sorted({*self.weights, *self.settings} - set(self.teachers))
        if strangers:
            raise UsageError(f"weights or options are given for {strangers[0]}, which is not among the teachers")
        if self.agree and not 2 <= self.agree <= len(self.teachers):
            raise UsageError(f"of {len(self.teachers)} teachers at least 2 and at most all can agree, not {self.agree}")
        if self.detector not in get_args(Detector):
            raise UsageError(f"queries come from {' or '.join(get_args(Detector))}, not {self.detector!r}")
        low, high = self.frames
        if not 4 <= low <= high:
            raise UsageError(f"a piece has at least 4 frames, and at most as many as the largest: got {low} to {high}")
        if min(self.size) < 64:
            raise UsageError(f"crops are at least 64x64 pixels, got {self.size[1]}x{self.size[0]}")
        if min(self.pieces, self.points, self.points_per_frame, self.largest_step) < 1 or self.seed < 0:
            raise UsageError("pieces, points and steps are at least 1, and the seed is not negative")
        if not (0 < self.query_share <= 1 and 0 <= self.least <= 1):
            raise UsageError("query_share and least are shares from 0 to 1")
        if self.agree_within <= 0 or (self.round_trip is not None and self.round_trip <= 0) or self.contrast < 0:
            raise UsageError("distances must be above 0 pixels, and contrast cannot be negative")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelOptions:
        """The inverse of `to_dict`. Raises `StorageError` for fields that are not known."""
        unknown = sorted(set(values) - {each.name for each in fields(cls)})
        if unknown:
            raise StorageError(f"options of pseudo-labels that this version does not know: {', '.join(unknown)}")
        lists = {name: tuple(values[name]) for name in ("teachers", "frames", "size") if name in values}
        return cls(**{**values, **lists})

    def identity(self) -> dict[str, Any]:
        """What decides the labels of a piece: all but how many pieces there are and where they are computed."""
        return {name: value for name, value in self.to_dict().items() if name not in ("pieces", "device")}
