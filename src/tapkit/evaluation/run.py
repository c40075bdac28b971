"""Running a benchmark: shards, resuming, cached predictions, progress."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tapkit import registry
from tapkit import weights as stored
from tapkit._version import __version__
from tapkit.api import choose_device, default_preset, load
from tapkit.datasets.base import Clip, Dataset
from tapkit.errors import StorageError, UsageError, VideoError
from tapkit.evaluation.fits import FitsEach
from tapkit.evaluation.predict import PredictionFolder, Tracks3, predict
from tapkit.evaluation.protocol import Protocol
from tapkit.evaluation.result import ModelResult, Result
from tapkit.evaluation.score import ClipScore, score_clip
from tapkit.evaluation.source_digest import source_digest
from tapkit.types import ModelCard


@dataclass
class Contestant:
    """A model to evaluate; its weights are loaded when, and only when, something has to be predicted."""

    card: ModelCard
    weights: Path | None = None
    device: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    make: Callable[[], Tracks3] | None = None
    """Builds the tracker; None: `tapkit.load` by the card's id."""
    fit: Mapping[str, Any] = field(default_factory=dict)
    """Of a method that is fitted to each clip: preset, minutes, seed."""
    _tracker: Tracks3 | None = None

    @classmethod
    def of(cls, model: str, weights: Path | None = None, device: str = "auto", **options: Any) -> Contestant:
        """By registry id. Raises `UsageError` for an unknown one, and for one that is fitted to each clip: see
        `fitted`."""
        card = registry.card(model)
        if card.streaming == "per-video":
            raise UsageError(f"{model} is fitted to each clip: use Contestant.fitted")
        return cls(card, weights, device, options)

    @classmethod
    def fitted(
        cls, model: str, folder: Path, device: str = "auto", *, preset: str | None = None,
        minutes: float | None = None, seed: int = 0, say: Callable[[str], object] | None = None, **options: Any,
    ) -> Contestant:  # fmt: skip
        """A method that is fitted to each clip, in `folder`; fits that are there already are used again."""
        given = {"preset": preset or default_preset(choose_device(device)), "minutes": minutes, "seed": seed}
        each = FitsEach(model, folder, device, given, options, say)
        return cls(each.card, None, device, options, lambda: each, given)

    def tracker(self) -> Tracks3:
        """The loaded tracker."""
        if self._tracker is None:
            # What is compared with published figures is computed as those were.
            exact = dict.fromkeys(registry.when_loaded(self.card), "float32")
            build = self.make or (lambda: load(self.card.id, self.weights, self.device, **{**exact, **self.options}))
            self._tracker = build()
        return self._tracker

    def release(self) -> None:
        """Forget the loaded weights."""
        self._tracker = None

    def identity(self) -> dict[str, Any]:
        """What predictions depend on besides protocol and data, as far as it is known without loading anything."""
        weights = _built_in_weights(self.card)
        if self.weights is not None:
            try:
                status = self.weights.stat()
            except OSError as error:
                raise StorageError(f"the weights {self.weights} cannot be read: {error.strerror}") from error
            weights = f"{self.weights.name} {status.st_size} {int(status.st_mtime)}"
        parts = _parts(self.card, self.options)
        return {
            **({"parts": parts} if parts else {}),
            **({"fit": dict(self.fit)} if self.fit else {}),
            "model": self.card.id,
            "weights": weights,
            "options": dict(self.options),
            "version": __version__,
            "rule": f"{self.card.visible_rule} > {self.card.visible_threshold:g}",
            "code": source_digest(self.card.factory),
        }


_MODELS = ("flow", "tracker")
"""Options whose value is the id of another model."""


def _parts(card: ModelCard, options: Mapping[str, Any]) -> dict[str, str]:
    """Digests of the source of the models that a tracker is told to build on (flow-chain, dot), by option."""
    if card.id not in registry.cards():
        return {}
    chosen = {field.name: field.default for field in registry.options(card.id) if field.name in _MODELS}
    chosen |= {name: options[name] for name in chosen if name in options}
    found = {}
    for name, model in chosen.items():
        with contextlib.suppress(UsageError):  # a model that there is not is told when it is loaded
            found[name] = source_digest(registry.card(str(model)).factory)
    return found


def _built_in_weights(card: ModelCard) -> str:
    """Hash of weights that come with the package (others are checked when they are loaded); "" if there are none."""
    path = stored.find(card) if card.weights_built_in else None
    if path is None or not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


@dataclass(frozen=True)
class Shard:
    """Which part of the clips this process does: number `index` (from 1) of `count`."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From "i/n".

        >>> Shard.parse("2/8")
        Shard(index=2, count=8)
        """
        index, slash, count = text.partition("/")
        if not (slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
            raise UsageError(f"a shard is i/n with 1 <= i <= n, for instance 1/8, got {text!r}")
        return cls(int(index), int(count))

    def of(self, names: Sequence[str]) -> list[str]:
        """The names that are this shard's."""
        return list(names)[self.index - 1 :: self.count]


WHOLE = Shard()
"""All clips."""


class Step(NamedTuple):
    """One clip done, for the progress line."""

    model: str
    clip: str
    done: int
    total: int
    cached: bool
    score: ClipScore | None
    """None: it failed."""
    error: str = ""


def evaluate(
    dataset: Dataset,
    contestants: Sequence[Contestant],
    protocol: Protocol,
    folder: Path,
    shard: Shard = WHOLE,
    fresh: bool = False,
    progress: Callable[[Step], None] | None = None,
) -> Result:
    """Predict what is not cached below `folder`, and score everything of this shard.

    Clips that cannot be read are reported in `ModelResult.failed` and left out; anything else that goes wrong is
    raised. One clip and one model are in memory at a time. `fresh` ignores cached predictions.
    """
    names = shard.of(dataset.names())
    if not names:
        raise UsageError(
            f"{dataset.name} has no clips here" + (f" for shard {shard.index}/{shard.count}" if shard.count > 1 else "")
        )
    models = []
    for contestant in contestants:
        models.append(_evaluate_one(dataset, names, contestant, protocol, folder, fresh, progress))
        contestant.release()
    return Result(
        dataset.name,
        dataset.citation,
        protocol.query_mode,
        len(dataset.names()),
        dataset.missing(),
        environment(contestants[0].device if contestants else "cpu"),
        tuple(models),
    )


def prediction_folder(folder: Path, contestant: Contestant, protocol: Protocol) -> PredictionFolder:
    """Where the predictions of a model under a protocol are kept."""
    return PredictionFolder(folder / "predictions" / f"{contestant.card.id}-{protocol.key(**contestant.identity())}")


def unanswered(dataset: Dataset, contestants: Sequence[Contestant], protocol: Protocol, folder: Path) -> list[str]:
    """Clips that some model has not been asked yet."""
    stores = [prediction_folder(folder, c, protocol) for c in contestants]
    return [name for name in dataset.names() if not all(store.has(name) for store in stores)]


def _evaluate_one(
    dataset: Dataset,
    names: Sequence[str],
    contestant: Contestant,
    protocol: Protocol,
    folder: Path,
    fresh: bool,
    progress: Callable[[Step], None] | None,
) -> ModelResult:
    store = prediction_folder(folder, contestant, protocol)
    scores, failed = [], {}
    for number, name in enumerate(names, 1):
        try:
            clip = dataset.clip(name)
            prediction = None if fresh else store.load(clip)
            cached = prediction is not None
            if prediction is None:
                _check_weights(store, contestant, fresh)
                prediction = predict(contestant.tracker(), clip, protocol)
                store.save(clip, prediction)
            score = _score(dataset, clip, prediction, contestant.card, protocol)
        except (VideoError, StorageError) as error:
            failed[name] = str(error)
            if progress:
                progress(Step(contestant.card.id, name, number, len(names), False, None, str(error)))
            continue
        scores.append(score)
        if progress:
            progress(Step(contestant.card.id, name, number, len(names), cached, score))
    card, facts = contestant.card, store.read_facts() or {}
    options = facts.get("in_force", dict(contestant.options))
    return ModelResult(
        card.id,
        card.name,
        protocol.describe(card, options, _threshold(card)),
        facts.get("weights_sha256", ""),
        dict(contestant.options),
        f"{card.weights_licence}",
        tuple(scores),
        failed,
        tuple(number.__dict__ for number in card.published),
    )


def _score(dataset: Dataset, clip: Clip, prediction: Any, card: ModelCard, protocol: Protocol) -> ClipScore:
    size = card.input_size or protocol.handed_size(card)
    return score_clip(clip, prediction, protocol.query_mode, card.confidence_radius, size, dataset.metrics)


def _check_weights(store: PredictionFolder, contestant: Contestant, fresh: bool) -> None:
    """Refuse to mix predictions of different weights in one folder."""
    known = store.read_facts()
    digest = getattr(contestant.tracker(), "weights_sha256", "")
    if known is None or fresh:
        write_facts(store, contestant)
    elif known.get("weights_sha256", "") != digest:
        raise UsageError(
            f"{store.path} holds predictions made with the weights {known.get('weights_sha256', '')[:12] or '(none)'}, "
            f"these are {digest[:12] or '(none)'}; use --fresh or another output folder"
        )


def write_facts(store: PredictionFolder, contestant: Contestant) -> None:
    """Keep with predictions what they are made with."""
    tracker = contestant.tracker()
    digest = getattr(tracker, "weights_sha256", "")
    in_force = dict(getattr(getattr(tracker, "model", None), "options", contestant.options))
    store.write_facts({**contestant.identity(), "weights_sha256": digest, "in_force": in_force})


def _threshold(card: ModelCard) -> str:
    return f"visible if {card.visible_rule} > {card.visible_threshold:g}"


def environment(device: str) -> dict[str, str]:
    """Versions and device, which results are to be read with."""
    import numpy
    import torch

    chosen = choose_device(device)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else platform.processor() or platform.machine()
    return {
        "tapkit": __version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "device": f"{chosen} ({name})",
    }
