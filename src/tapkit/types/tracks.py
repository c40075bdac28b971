"""Tracks: the answer. Where every point is on every frame, whether it is visible, and how sure we are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tapkit.errors import ShapeError, UsageError
from tapkit.types import skeleton as edges_of
from tapkit.types import smoothing
from tapkit.types.card import ModelCard, VisibleRule
from tapkit.types.keyframes import Keyframes
from tapkit.types.queries import Queries
from tapkit.types.skeleton import Skeleton
from tapkit.types.video_info import VideoInfo


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


@dataclass(frozen=True)
class Provenance:
    """How a result came about; enough to make it again, and to threshold it as its authors do."""

    model: str = ""
    """Registry id."""
    weights_sha256: str = ""
    version: str = ""
    """tapkit's version."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the model and of the call, JSON values only."""
    visible_rule: VisibleRule = "visible"
    visible_threshold: float = 0.5

    @classmethod
    def of(cls, card: ModelCard, version: str, weights_sha256: str = "", **options: Any) -> Provenance:
        """The provenance of a call to the model of `card`. Tuples among the options become lists, as in JSON."""
        plain = {name: _plain(value) for name, value in options.items()}
        return cls(card.id, weights_sha256, version, plain, card.visible_rule, card.visible_threshold)

    def score(self, visible: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """What the model's authors threshold: visible, or visible x confidence."""
        return visible * confidence if self.visible_rule == "visible*confidence" else visible

    def visible_at(self, visible: np.ndarray, confidence: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """Visible or not, bool: `score` above the threshold (None: the authors' own). Below 0 all is
        visible. Raises UsageError for one that is no number."""
        if threshold is not None and not (_is_number(threshold) and threshold == threshold):
            raise UsageError(f"threshold must be a number in 0..1, got {threshold!r}")
        limit = self.visible_threshold if threshold is None else threshold
        return self.score(visible, confidence) > limit

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "version": self.version,
            "options": dict(self.options),
            "visible_rule": self.visible_rule,
            "visible_threshold": self.visible_threshold,
        }


@dataclass(frozen=True, eq=False)
class Tracks:
    """N points over T frames. Arrays are read-only; `with_` makes changed copies.

    `xy` [N,T,2] float32, pixels of the original video, corner origin; NaN where not `valid`.
    `visible` [N,T] float32 = P(visible). `confidence` [N,T] float32 = P(the position is right to within the
    card's radius). `valid` [N,T] bool: the model was asked for this frame (not the same as visible).
    `keyframe` [N,T] bool: set by a human. `skeleton`: pairs of ids, the edges between points.
    Thresholds are applied by `visible_at` and nowhere else.
    """

    xy: np.ndarray
    visible: np.ndarray
    confidence: np.ndarray
    valid: np.ndarray
    queries: Queries
    video: VideoInfo
    source: Provenance = field(default_factory=Provenance)
    keyframe: np.ndarray | None = None
    skeleton: Skeleton = ()

    def __post_init__(self) -> None:
        xy = np.array(self.xy, dtype=np.float32)
        if xy.ndim != 3 or xy.shape[2] != 2:
            hint = "; did you mean [N,T,2] instead of [T,N,2]?" if xy.ndim == 4 else ""
            raise ShapeError(f"tracks xy must be [N,T,2], got {list(xy.shape)}{hint}")
        count, frames = xy.shape[:2]
        if len(self.queries) != count:
            swapped = "; is xy [T,N,2]? use xy.transpose(1, 0, 2)" if frames == len(self.queries) else ""
            raise ShapeError(f"xy has {count} points but there are {len(self.queries)} queries{swapped}")
        arrays: dict[str, np.ndarray[Any, Any]] = {"xy": xy}
        for name, dtype in (("visible", np.float32), ("confidence", np.float32), ("valid", bool), ("keyframe", bool)):
            value = getattr(self, name)
            if value is None:
                value = np.zeros((count, frames), bool)
            array = np.array(value, dtype=dtype)
            if array.shape != (count, frames):
                raise ShapeError(f"{name} must be [N,T]={[count, frames]} like xy, got {list(array.shape)}")
            arrays[name] = array
        empty = ~arrays["valid"]
        if empty.any():
            for name in ("visible", "confidence"):
                arrays[name][empty] = 0.0
            xy[empty] = np.nan
        for name in ("visible", "confidence"):
            values = arrays[name]
            if values.size and not (values.min() >= 0 and values.max() <= 1):
                raise UsageError(f"{name} must be probabilities in 0..1; logits need a sigmoid, NaN is no probability")
        if (~np.isfinite(xy).all(-1) & arrays["valid"]).any():
            raise UsageError("xy must be finite wherever valid is true; mark unknown positions as not valid")
        if self.video.frames is not None and self.video.frames != frames:
            raise ShapeError(f"the tracks have {frames} frames but the video has {self.video.frames}")
        object.__setattr__(self, "skeleton", edges_of.checked(self.skeleton, self.ids.tolist()))
        for name, array in arrays.items():
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    # -- looking ----------------------------------------------------------------------------------

    @property
    def ids(self) -> np.ndarray:
        """Names of the points, [N] str."""
        return self.queries.ids

    @property
    def frames(self) -> int:
        """T."""
        return int(self.xy.shape[1])

    def __len__(self) -> int:
        """N."""
        return int(self.xy.shape[0])

    def __repr__(self) -> str:
        shown = float(self.visible_at().sum() / max(int(self.valid.sum()), 1))
        return (
            f"Tracks({len(self)} points, {self.frames} frames, {self.video.width}x{self.video.height}, "
            f"visible {shown:.0%}, model {self.source.model or 'unknown'})"
        )

    def score(self) -> np.ndarray:
        """What the model's authors threshold: visible, or visible x confidence -> [N,T] float32."""
        return self.source.score(self.visible, self.confidence)

    def visible_at(self, threshold: float | None = None) -> np.ndarray:
        """Visible or not [N,T] bool: `score()` above the threshold (None: the authors' own), where valid."""
        return self.source.visible_at(self.visible, self.confidence, threshold) & self.valid

    def keyframes(self) -> Keyframes:
        """The positions that a human set. Tracking with them (`tapkit.track(video, tracks)`) passes through all."""
        rows, t = np.nonzero(self._keyframe & self.valid)
        return Keyframes(self.ids[rows], t, self.xy[rows, t])

    def times(self) -> np.ndarray:
        """Seconds at which each frame is shown, [T] float64."""
        return self.video.times_of(self.frames)

    # -- taking parts -----------------------------------------------------------------------------

    def __getitem__(self, points: Any) -> Tracks:
        """Some of the points: an id, ids, an index, indices, a slice, a mask [N]."""
        rows = self._rows(points)
        return self.with_(
            xy=self.xy[rows],
            visible=self.visible[rows],
            confidence=self.confidence[rows],
            valid=self.valid[rows],
            keyframe=self._keyframe[rows],
            queries=self.queries[rows],
            skeleton=edges_of.among(self.skeleton, self.ids[rows].tolist()),
        )

    def time(self, start: int, stop: int) -> Tracks:
        """Frames `start` to `stop` (excluded) as a clip of its own, frame numbers counted from 0 again.

        A point queried outside that span is queried anew where it is first valid within; points that are valid
        nowhere within the span are left out.
        """
        if not 0 <= start < stop <= self.frames:
            raise UsageError(f"frames {start}..{stop} are not a span of 0..{self.frames}")
        span = slice(start, stop)
        valid = self.valid[:, span]
        rows = np.flatnonzero(valid.any(1))
        t = self.queries.t[rows] - start
        xy = self.queries.xy[rows].copy()
        moved = (t < 0) | (t >= stop - start)
        t[moved] = valid[rows][moved].argmax(1)
        xy[moved] = self.xy[rows][moved][np.arange(int(moved.sum())), t[moved] + start]
        times = self.video.times
        video = replace(
            self.video,
            frames=stop - start,
            times=None if times is None else times[span],
            start_frame=self.video.start_frame + start * self.video.frame_step,
        )
        return self.with_(
            xy=self.xy[rows, span],
            visible=self.visible[rows, span],
            confidence=self.confidence[rows, span],
            valid=valid[rows],
            keyframe=self._keyframe[rows, span],
            queries=Queries(t, xy, self.ids[rows]),
            skeleton=edges_of.among(self.skeleton, self.ids[rows].tolist()),
            video=video,
        )

    def with_(self, **changes: Any) -> Tracks:
        """A copy with some fields changed. The skeleton follows points that are renamed in their order (`queries`)."""
        if self.skeleton and "queries" in changes and "skeleton" not in changes:
            before, after = self.ids.tolist(), changes["queries"].ids.tolist()
            in_order = len(before) == len(after) and set(before) != set(after)
            changes["skeleton"] = (
                edges_of.renamed(self.skeleton, dict(zip(before, after, strict=True)))
                if in_order
                else edges_of.among(self.skeleton, after)
            )
        return replace(self, **changes)

    # -- changed positions ------------------------------------------------------------------------

    def smooth(
        self, window: int = 9, order: int = 2, method: Literal["savgol", "median"] = "savgol", **use: Any
    ) -> Tracks:
        """Positions smoothed over time; what a human set stays where it is.

        Args:
            window: frames around each frame, odd.
            order: of the polynomial that "savgol" (Savitzky and Golay) fits to them, in the frames' own times.
            method: "savgol", or "median" against single outliers.
            use: `threshold`: as in `visible_at`. Only visible positions are smoothed, each unbroken run for itself.

        The change is noted in `source.options["edits"]`, which files keep. Raises `UsageError`.
        """
        if window < 1 or window % 2 == 0:
            raise UsageError(f"a window has an odd number of frames, got {window}")
        if not 0 <= order < window:
            raise UsageError(f"a polynomial over {window} frames has an order of 0 to {window - 1}, got {order}")
        mask = self.visible_at(use.pop("threshold", None))
        if use:
            raise UsageError(f"smooth has no option {next(iter(use))!r}")
        if method == "savgol":
            xy = smoothing.polynomial(self.xy, mask, self.times(), window, order)
        elif method == "median":
            xy = smoothing.median(self.xy, mask, window)
        else:
            raise UsageError(f'positions are smoothed by "savgol" or "median", not by {method!r}')
        xy[self._keyframe] = self.xy[self._keyframe]
        return self._edited({"smooth": method, "window": window, "order": order}, xy=xy)

    def filter(self, least: float) -> Tracks:
        """Without the positions whose confidence is below `least`: they become not valid. Human keyframes stay."""
        if not 0 <= least <= 1:
            raise UsageError(f"a confidence lies within 0..1, got {least}")
        return self._edited({"filter": least}, valid=self.valid & ((self.confidence >= least) | self._keyframe))

    def fill_gaps(self, longest: int, threshold: float | None = None) -> Tracks:
        """Straight lines through gaps of at most `longest` frames, in which a point was not visible.

        Filled positions are valid and can be told from measured ones: they are not visible, with a confidence of 0.
        """
        if longest < 1:
            raise UsageError(f"gaps have at least one frame, got {longest}")
        xy, new = smoothing.filled(self.xy, self.visible_at(threshold), self.times(), longest)
        new &= ~self._keyframe
        xy[~new] = self.xy[~new]
        zero = np.where(new, 0, 1).astype(np.float32)
        return self._edited(
            {"fill_gaps": longest},
            xy=xy, valid=self.valid | new, visible=self.visible * zero, confidence=self.confidence * zero,
        )  # fmt: skip

    def _edited(self, edit: dict[str, Any], **changes: Any) -> Tracks:
        options = {**self.source.options, "edits": [*self.source.options.get("edits", []), edit]}
        return self.with_(source=replace(self.source, options=options), **changes)

    @staticmethod
    def join(parts: Iterable[Tracks]) -> Tracks:
        """Points of several results over the same video as one result; ids must stay unique."""
        parts = list(parts)
        if not parts:
            raise UsageError("nothing to join: give at least one result")
        if len({(p.frames, p.video.size) for p in parts}) > 1:
            raise ShapeError("only results over the same video (same frames, same size) can be joined")
        return parts[0].with_(
            queries=Queries.join([p.queries for p in parts]),
            skeleton=tuple(edge for p in parts for edge in p.skeleton),
            **{
                name: np.concatenate([getattr(p, name) for p in parts])
                for name in ("xy", "visible", "confidence", "valid", "keyframe")
            },
        )

    @property
    def _keyframe(self) -> np.ndarray:
        assert self.keyframe is not None  # set by __post_init__
        return self.keyframe

    def _rows(self, points: Any) -> np.ndarray:
        if isinstance(points, str):
            points = [points]
        chosen = np.asarray(points) if not isinstance(points, (int, slice, np.integer)) else points
        if isinstance(chosen, np.ndarray) and chosen.dtype.kind in "US":
            where = {name: row for row, name in enumerate(self.ids.tolist())}
            missing = [name for name in chosen.tolist() if name not in where]
            if missing:
                raise UsageError(f"no point is called {missing[0]!r}; the ids are {', '.join(self.ids[:5])}, ...")
            return np.array([where[name] for name in chosen.tolist()], dtype=int)
        if isinstance(chosen, np.ndarray) and chosen.size == 0:
            return np.zeros(0, int)
        return np.atleast_1d(np.arange(len(self))[chosen])

    # -- files ------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write to .npz, .zarr, .csv or .parquet, by the ending of `path`; `load` reads it again. Returns the path.

        .csv and .parquet are a table with one row for each position (`tapkit.types.table` says what they cannot hold).
        """
        from tapkit.types.storage import save_tracks

        return save_tracks(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Tracks:
        """Read what `save` wrote, tables of `export` too. Nothing is unpickled, and nothing becomes a human keyframe
        that is not marked as one. Raises `StorageError`.
        """
        from tapkit.types.storage import load_tracks

        return load_tracks(Path(path))

    def write(self, path: str | Path, format: str | None = None, **options: Any) -> Path:
        """Write for another program: `format` as `tapkit export --list` shows them, None by the ending of `path`.

        Options common to all formats: when, threshold, gaps, start_frame (see `tapkit.export.format.Format.write`).
        """
        from tapkit.export import library

        form = library.by_suffix(path) if format is None else library.find(format, path)
        return form.write(self, path, **options)

    @classmethod
    def read(cls, path: str | Path, format: str | None = None, **options: Any) -> Tracks:
        """Read what another program wrote, human keyframes marked (see `tapkit.export.format.Format.read`)."""
        from tapkit.export import library

        form = library.by_suffix(path) if format is None else library.find(format, path)
        return form.read(path, **options)

    def __getattr__(self, name: str) -> Callable[..., Path]:
        """`tracks.to_FORMAT(path, **options)` for every format there is, those of other packages too."""
        if name.startswith("to_"):
            from tapkit.export import library

            wanted = name.removeprefix("to_").replace("_", "-")
            if wanted in library.formats():
                return partial(library.find(wanted).write, self)
            if wanted in library.ALIASES:
                return partial(self.write, format=wanted)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _plain(value: Any) -> Any:
    """An option as JSON would give it back."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (tuple, list)) else value
