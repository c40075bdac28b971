"""Asking a tracker what the protocol asks, clip by clip, and keeping the answers on disk.

An answer file is an .npz of plain arrays, put in place in one step, so that a half-written one never exists and several
processes may share the folder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from typing import Protocol as Structural

import numpy as np

from tapkit import coords, storage
from tapkit.datasets.base import Clip
from tapkit.datasets.folder import read_arrays
from tapkit.datasets.frames import Resized
from tapkit.errors import StorageError
from tapkit.evaluation.protocol import Protocol
from tapkit.types import ModelCard, Queries, Tracks


class Tracks3(Structural):
    """What a tracker has to offer here (`tapkit.Tracker` does)."""

    @property
    def card(self) -> ModelCard: ...

    def track(self, video: Any, queries: Any, direction: Any = "both") -> Tracks: ...


class Prediction(NamedTuple):
    """Answers for the queries of one clip, in the order of the protocol's queries."""

    track: np.ndarray
    """[Q] int64 row of the ground truth."""
    frame: np.ndarray
    """[Q] int64 query frame."""
    xy: np.ndarray
    """[Q,T,2] float32 pixels of the original video, corner origin; NaN where not asked."""
    visible: np.ndarray
    """[Q,T] float32 P(visible)."""
    confidence: np.ndarray
    """[Q,T] float32 P(position right to within the card's radius)."""
    said: np.ndarray
    """[Q,T] bool visible at the authors' threshold."""
    seconds: float
    """Wall time of tracking."""


@dataclass(frozen=True)
class PredictionFolder:
    """Answers of one model under one protocol: run.json and one .npz for each clip."""

    path: Path

    def has(self, clip: str) -> bool:
        """Whether that clip has been answered."""
        return self.file(clip).is_file()

    def save(self, clip: Clip, prediction: Prediction) -> None:
        """Keep the answers for a clip."""
        arrays = {name: np.asarray(value) for name, value in prediction._asdict().items()}
        with storage.atomic(self.file(clip.name)) as part, open(part, "wb") as file:
            np.savez_compressed(file, fingerprint=np.array(clip.fingerprint()), **arrays)  # type: ignore[arg-type]

    def load(self, clip: Clip) -> Prediction | None:
        """The answers for a clip; None if there are none, or if they belong to another annotation of that name."""
        if not self.has(clip.name):
            return None
        arrays = read_arrays(self.file(clip.name))
        if str(arrays.pop("fingerprint", "")) != clip.fingerprint():
            return None
        try:
            track, frame, xy, visible, confidence, said, seconds = (arrays[name] for name in Prediction._fields)
            return Prediction(track, frame, xy, visible, confidence, said, float(seconds))
        except (TypeError, KeyError) as error:
            raise StorageError(f"{self.file(clip.name)} is not a file of predictions; delete it") from error

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """Keep what was run (model, weights, options, protocol) beside the answers."""
        storage.write_text(self.path / "run.json", json.dumps(facts, indent=1, sort_keys=True))

    def read_facts(self) -> dict[str, Any] | None:
        """What `write_facts` kept, if anything."""
        try:
            facts: dict[str, Any] = json.loads((self.path / "run.json").read_text())
            return facts
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.path / 'run.json'} cannot be read ({error})") from error

    def file(self, clip: str) -> Path:
        """The file of a clip: a name that any system takes, still telling which one it is."""
        import hashlib

        plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in clip)[:80]
        known = plain == clip and plain[:1] not in ("", ".")
        suffix = "" if known else "-" + hashlib.sha256(clip.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        return self.path / f"{plain.lstrip('.')}{suffix}.npz"


def predict(tracker: Tracks3, clip: Clip, protocol: Protocol) -> Prediction:
    """Ask `tracker` for the queries of `clip`. Nothing but the queries is known to it."""
    rows = protocol.queries(clip)
    handed = protocol.handed_size(tracker.card) or clip.size
    height, width = handed
    # Ground truth may lie a rounding error outside the frame; a tracker must not be handed such a query.
    points = coords.resize(clip.xy[rows.track, rows.frame], clip.size, handed).clip(0, (width, height))
    queries = Queries(rows.frame, points, np.arange(len(points)))
    started = time.perf_counter()
    answers = [
        _track(tracker, clip, handed, part, protocol) for part in _calls(queries, protocol.one_by_one(tracker.card))
    ]
    seconds = time.perf_counter() - started
    frames = clip.frames

    def joined(arrays: list[np.ndarray], dtype: type, *tail: int) -> np.ndarray:
        if not arrays:
            return np.zeros((0, frames, *tail), dtype)
        return np.concatenate(arrays).astype(dtype)

    return Prediction(
        rows.track,
        rows.frame,
        coords.resize(joined([a.xy for a in answers], np.float32, 2), handed, clip.size),
        joined([a.visible for a in answers], np.float32),
        joined([a.confidence for a in answers], np.float32),
        joined([a.visible_at() for a in answers], bool),
        seconds,
    )


def _calls(queries: Queries, one_by_one: bool) -> list[Queries]:
    if one_by_one:
        return [queries[i] for i in range(len(queries))]
    return [queries] if len(queries) else []


def _track(tracker: Tracks3, clip: Clip, handed: tuple[int, int], queries: Queries, protocol: Protocol) -> Tracks:
    source = clip.open()
    video = source if handed == clip.size else Resized(source, handed)
    with video:
        answer = tracker.track(video, queries, direction=protocol.direction)
    if answer.frames != clip.frames:
        raise StorageError(
            f"clip {clip.name!r}: the video gave {answer.frames} frames but the annotation has {clip.frames}"
        )
    return answer
