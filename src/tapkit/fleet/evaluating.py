"""Evaluation as a task: each clip of a benchmark is predicted by itself; the report is made of all afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapkit.fleet.task import Do, Facts, Item, Tell

if TYPE_CHECKING:
    from tapkit.evaluation.predict import PredictionFolder
    from tapkit.evaluation.protocol import Protocol
    from tapkit.evaluation.run import Contestant


@dataclass(frozen=True)
class Evaluating:
    """A `Task`: a tracker's predictions for all clips of a benchmark, where `tapkit.evaluation.run.evaluate` looks for
    them.

        fleet.run(fleet.Evaluating("tapvid_kinetics/", Protocol(), "strand"), "results", jobs=8)

    `tapkit eval tapvid_kinetics/ --model strand --out results` then makes the report without running a network.
    """

    dataset: str
    """See `tapkit.datasets.open_dataset`; the same on all machines."""
    protocol: Protocol
    model: str
    weights: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def identity(self) -> Mapping[str, Any]:
        """See `Task.identity`."""
        return {"kind": "evaluation", "dataset": self.dataset, "predictions": self._store.path.as_posix()}

    def items(self) -> Iterable[Item]:
        """See `Task.items`."""
        from tapkit.datasets import open_dataset

        store = self._store
        return (Item(store.file(name).stem, name) for name in open_dataset(self.dataset).names())

    def result(self, name: str) -> str:
        """See `Task.result`."""
        return f"{self._store.path.as_posix()}/{name}.npz"

    def ready(self, device: str) -> Do:
        """See `Task.ready`."""
        from tapkit.datasets import open_dataset
        from tapkit.evaluation.predict import predict
        from tapkit.evaluation.run import prediction_folder, write_facts

        dataset, contestant = open_dataset(self.dataset), self._contestant(device)
        tracker = contestant.tracker()

        def answer(item: Item, folder: Path, tell: Tell) -> Facts:
            clip = dataset.clip(item.source)
            store = prediction_folder(folder, contestant, self.protocol)
            write_facts(store, contestant)
            store.save(clip, predict(tracker, clip, self.protocol))
            return {"points": len(clip), "frames": clip.frames}

        return answer

    def _contestant(self, device: str = "auto") -> Contestant:
        from tapkit.evaluation.run import Contestant

        return Contestant.of(self.model, None if self.weights is None else Path(self.weights), device, **self.options)

    @cached_property
    def _store(self) -> PredictionFolder:
        """Where predictions are, relative to the output."""
        from tapkit.evaluation.run import prediction_folder

        return prediction_folder(Path(), self._contestant(), self.protocol)
