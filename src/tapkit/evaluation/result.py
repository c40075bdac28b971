"""Result: what a benchmark run says, as one JSON file from which every table, plot and page is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import storage
from tapkit.errors import StorageError, UsageError
from tapkit.evaluation.score import ClipScore, from_json, to_json
from tapkit.metrics.calibration import Reliability
from tapkit.metrics.redetection import RedetectionEvents
from tapkit.metrics.statistics import Difference, Mean, mean_defined, paired_difference
from tapkit.metrics.tapvid import Counts

FORMAT = "tapkit-eval/1"
HEADLINE = ("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy")
"""AJ, delta_avg, OA."""
TITLES = {
    "average_jaccard": "AJ",
    "average_pts_within_thresh": "δ avg",
    "occlusion_accuracy": "OA",
    **{f"pts_within_{x}": f"δ {x} px" for x in (1, 2, 4, 8, 16)},
    **{f"jaccard_{x}": f"Jaccard {x} px" for x in (1, 2, 4, 8, 16)},
    "robustness/survival": "survival",
    "robustness/recovered": "recovered",
    "robustness/missed": "missed",
    "robustness/false_visible": "false visible",
    "robustness/jitter": "jitter (px)",
    "pointodyssey/delta_avg": "PO δ avg",
    "pointodyssey/survival_16": "PO survival (16 px)",
    "pointodyssey/survival_50": "PO survival (50 px)",
    "pointodyssey/mte": "PO MTE (px)",
    "pck/pck_0.2": "PCK 0.2",
    "pck/pck_t": "PCK-T (320x512)",
    "egopoints/delta_coarse": "EP δ avg*",
    "egopoints/out_of_view": "EP OOVA",
    "egopoints/in_view": "EP IVA",
}
"""How figures are headed in reports."""
PIXELS = ("robustness/jitter", "pointodyssey/mte")
"""Figures in pixels of a 256 x 256 frame; all others are fractions, printed in percent."""


@dataclass(frozen=True)
class ModelResult:
    """One model under one protocol."""

    id: str
    name: str
    protocol: str
    """The protocol string, complete."""
    weights_sha256: str
    options: Mapping[str, Any]
    licence: str
    scores: tuple[ClipScore, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    """Clips that could not be read or tracked: name -> why."""
    published: tuple[Mapping[str, Any], ...] = ()
    """The card's published numbers, as dicts."""

    @cached_property
    def summary(self) -> dict[str, Mean]:
        """Mean of every figure over clips, with its 95% interval."""
        keys = dict.fromkeys(key for score in self.scores for key in score.figures)
        nan = float("nan")
        return {key: mean_defined(np.array([score.figures.get(key, nan) for score in self.scores])) for key in keys}

    def pooled(self, curve: str) -> Counts:
        """Sums over clips for the curve "age", "hidden" or "speed"."""
        parts = [getattr(score, curve) for score in self.scores]
        return Counts(*(np.sum(fields, axis=0) for fields in zip(*parts, strict=True)))

    @cached_property
    def redetection(self) -> dict[str, float]:
        """AJ_RD over the events of all clips; NaN where there are none."""
        return RedetectionEvents.join([score.events for score in self.scores]).figures()

    def reliability(self, what: str) -> Reliability | None:
        """Reliability diagram over all clips of "visible" or "confidence"; None where it is not defined."""
        parts = [getattr(score, f"{what}_reliability") for score in self.scores]
        kept = [part for part in parts if part is not None]
        return Reliability.join(kept) if kept else None

    @property
    def seconds(self) -> float:
        """Tracking time in all."""
        return sum(score.seconds for score in self.scores)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the summary is written too, for readers that do not want to compute."""
        return {
            "id": self.id,
            "name": self.name,
            "protocol": self.protocol,
            "weights_sha256": self.weights_sha256,
            "options": dict(self.options),
            "licence": self.licence,
            "failed": dict(self.failed),
            "published": [dict(p) for p in self.published],
            "summary": {key: mean._asdict() for key, mean in self.summary.items()},
            "redetection": {key: None if np.isnan(v) else v for key, v in self.redetection.items()},
            "calibration": {
                what: None if (r := self.reliability(what)) is None else {"ece": r.ece, "brier": r.brier}
                for what in ("visible", "confidence")
            },
            "seconds": round(self.seconds, 2),
            "clips": [to_json(score) for score in self.scores],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelResult:
        """The inverse of `to_dict`."""
        plain = {k: values[k] for k in ("id", "name", "protocol", "weights_sha256", "options", "licence", "failed")}
        return cls(**plain, scores=tuple(from_json(c) for c in values["clips"]), published=tuple(values["published"]))


@dataclass(frozen=True)
class Result:
    """A run over one benchmark."""

    dataset: str
    citation: str
    query_mode: str
    clips: int
    """Clips that are there."""
    missing: Mapping[str, str]
    """Clips that the set names but that are not there."""
    environment: Mapping[str, str]
    """Versions and device."""
    models: tuple[ModelResult, ...]
    command: str = ""
    """What makes this result again."""

    @property
    def dataset_hash(self) -> str:
        """Of the annotations and files that were scored: the same for everybody who has the same data."""
        prints = sorted({(s.clip, s.fingerprint) for model in self.models for s in model.scores})
        return hashlib.sha256(json.dumps(prints).encode()).hexdigest()[:12]

    def model(self, id: str | None = None) -> ModelResult:
        """One of the models; without `id` the only one."""
        found = [m for m in self.models if id is None or m.id == id]
        if len(found) != 1:
            raise UsageError(f"say which model with FILE#MODEL; the result has {', '.join(m.id for m in self.models)}")
        return found[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "format": FORMAT,
            "dataset": self.dataset,
            "dataset_hash": self.dataset_hash,
            "citation": self.citation,
            "query_mode": self.query_mode,
            "clips": self.clips,
            "missing": dict(self.missing),
            "environment": dict(self.environment),
            "command": self.command,
            "models": [model.to_dict() for model in self.models],
        }

    def save(self, path: Path) -> Path:
        """Write JSON."""
        return storage.write_text(path, json.dumps(self.to_dict(), indent=None, separators=(",", ":")))

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read what `save` wrote; a folder means its result.json."""
        path = Path(path)
        path = path / "result.json" if path.is_dir() else path
        try:
            values = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise StorageError(f"{path} does not exist") from error
        except (OSError, ValueError) as error:
            raise StorageError(f"{path} cannot be read as JSON ({error})") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise StorageError(f"{path} is not a result of tapkit eval (format {FORMAT})")
        try:
            plain = {
                k: values[k]
                for k in ("dataset", "citation", "query_mode", "clips", "missing", "environment", "command")
            }
            return cls(models=tuple(ModelResult.from_dict(m) for m in values["models"]), **plain)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"{path} is a damaged result, or one of another version ({error!r})") from error


def open_model(reference: str) -> tuple[Result, ModelResult]:
    """FILE, FOLDER, or either with #MODEL."""
    path, _, model = reference.partition("#")
    result = Result.load(path)
    return result, result.model(model or None)


def compare_models(first: ModelResult, second: ModelResult, keys: Sequence[str] = HEADLINE) -> dict[str, Difference]:
    """`second` minus `first` for each figure, over the clips whose annotation both were scored on."""
    ours = {(s.clip, s.fingerprint): s.figures for s in first.scores}
    theirs = {(s.clip, s.fingerprint): s.figures for s in second.scores}
    common = [key for key in ours if key in theirs]
    if len(common) < 2:
        raise UsageError(
            f"{first.id} and {second.id} have {len(common)} clips in common (same name and annotation); two are needed"
        )
    nan = float("nan")
    return {
        key: paired_difference(
            np.array([ours[c].get(key, nan) for c in common]), np.array([theirs[c].get(key, nan) for c in common])
        )
        for key in keys
    }
