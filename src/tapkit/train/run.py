"""A training run from its beginning or from a saved state to its end: time budget, state on disk, validation, log."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from tapkit.errors import UsageError
from tapkit.train import checkpoint
from tapkit.train.export import export_weights, hardware, read_card
from tapkit.train.log import Log
from tapkit.train.recipe import recipe
from tapkit.train.schedule import learning_rate, stage_at, validation_stage
from tapkit.train.trainer import Trainer
from tapkit.train.validate import Figures, on_batches, on_folder
from tapkit.weights import read

Say = Callable[[str], None]


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; what it learns is `TrainConfig`'s."""

    out: Path
    """Folder of the run: state/, train.csv, validation.csv, tensorboard/."""
    minutes: float | None = None
    """Stop after that long; the run can be resumed."""
    steps: int | None = None
    """Stop after that many steps of this call."""
    resume: bool = False
    init: Path | None = None
    """Weights to start from."""
    eval: Path | None = None
    """Folder of clips to measure on, in tapkit's format."""
    export: Path | None = None
    """Where to write the averaged weights at the end (.safetensors)."""
    replace: bool = True
    """Whether weights of another run that stand there are replaced."""
    checkpoint_minutes: float = 3.0
    validate_minutes: float = 10.0
    validate_clips: int = 8
    """Synthetic clips to measure on."""
    log_every: int = 20
    """Steps between two lines."""
    compact: bool = False
    """Keep moments and average in 16 bits on disk."""
    tensorboard: bool = False
    command: str = ""
    """As typed, for the card."""


class Run:
    """Calls a trainer until the curriculum, the minutes or the steps are over, or a signal comes."""

    def __init__(self, trainer: Trainer, options: RunOptions) -> None:
        """Load the state or the weights that the options name.

        Raises:
            UsageError: the folder holds a run already and is not to be resumed; `export` is there and not its own.
            StorageError: there is no state to resume, or it cannot be read.
            WeightsError: the weights do not fit the network.
        """
        self.trainer, self.options = trainer, options
        self.spent = 0.0
        """Seconds of training so far, in all calls."""
        self.commands: list[str] = []
        self.measured: dict[str, Any] = {}
        """What was measured last: {"synthetic": figures and step, "folder": ...}."""
        self.stopping = False
        self.state = options.out / "state"
        if options.init is not None:
            trainer.start_from(read(options.init), options.init.name)
        if options.resume:
            self._restore()
        elif checkpoint.exists(self.state):
            raise UsageError(f"{options.out} holds a run already: resume it (--resume) or name another folder")
        if options.export is not None and not options.replace:
            self._check_export(options.export)
        trainer.workers.same_everywhere(trainer.network)

    def run(self, say: Say = print) -> Mapping[str, Any]:
        """Train. Returns `measured`."""
        trainer, options = self.trainer, self.options
        log = Log(options.out, options.tensorboard, trainer.workers.rank == 0)
        if trainer.workers.rank:
            say = _silent
        if options.command:
            self.commands.append(options.command)
        first_step = trainer.step
        say(self._headline())
        with self._stop_on_signals():
            self._train(say, log)
        self.save()
        if self.stopping:
            say(f"stopped at step {trainer.step}; continue with --resume --out {options.out}")
        elif trainer.step > first_step:
            self.measure(say, log)
            self.save()
        if options.export is not None and trainer.workers.rank == 0:
            published = recipe(trainer.config.model).published(trainer.average)
            path, card = export_weights(options.export, published, self.facts())
            say(f"wrote {path} and {card.name}")
        log.close()
        trainer.workers.close()
        return self.measured

    def _train(self, say: Say, log: Log) -> None:
        """Steps until it is over; writes the state and measures now and then."""
        trainer, options = self.trainer, self.options
        started, first_step, first_spent, first_clips = time.monotonic(), trainer.step, self.spent, trainer.clips
        saved = measured = started
        recent: list[dict[str, float]] = []
        while not self._over(started, first_step):
            recent.append(trainer.train_step())
            now = time.monotonic()
            self.spent = first_spent + now - started
            if trainer.step % options.log_every == 0 or trainer.step == 1:
                self._report(say, log, recent, (trainer.clips - first_clips) / (now - started))
                recent = []
            if now - saved > 60 * options.checkpoint_minutes:
                self.save()
                saved = now
            if now - measured > 60 * options.validate_minutes:
                self.measure(say, log)
                measured = time.monotonic()

    def _over(self, started: float, first_step: int) -> bool:
        trainer, options = self.trainer, self.options
        late = options.minutes is not None and time.monotonic() - started >= 60 * options.minutes
        enough = options.steps is not None and trainer.step - first_step >= options.steps
        return trainer.workers.any(late or self.stopping) or enough or trainer.step >= trainer.config.steps

    def _report(self, say: Say, log: Log, recent: list[dict[str, float]], speed: float) -> None:
        trainer = self.trainer
        means = {name: sum(row[name] for row in recent) / len(recent) for name in recent[0]}
        number, stage = stage_at(trainer.config, trainer.step - 1)
        log.train(trainer.step, number, self.spent, learning_rate(trainer.config, trainer.step - 1), speed, means)
        shown = " ".join(f"{name} {means[name]:.3f}" for name in ("loss", *trainer.trainable.shown(stage)))
        say(
            f"step {trainer.step}/{trainer.config.steps} stage {number + 1} ({stage.size} px x {stage.frames}) "
            f"{shown} | {speed:.2f} clips/s, {self.spent / 60:.1f} min"
        )

    def _headline(self) -> str:
        trainer = self.trainer
        size = sum(p.numel() for p in trainer.network.parameters())
        return (
            f"{trainer.config.model}, {size / 1e6:.2f} M parameters, on {hardware(trainer.device)} x "
            f"{trainer.workers.count}, features in {str(trainer.dtype).removeprefix('torch.')}; "
            f"{trainer.source.description}; from {trainer.initial or 'random weights'}; "
            f"step {trainer.step} of {trainer.config.steps}"
        )

    # -- validation -------------------------------------------------------------------------------

    def measure(self, say: Say, log: Log) -> None:
        """Figures of the averaged weights, on synthetic clips and on the folder (the first process measures)."""
        trainer = self.trainer
        if trainer.workers.rank:
            return
        stage = validation_stage(stage_at(trainer.config, max(trainer.step - 1, 0))[1])
        with trainer.averaged() as averaged:
            figures = on_batches(averaged, trainer.source, stage, self.options.validate_clips)
            self._note("synthetic", "validation clips", figures, say, log)
            if self.options.eval is not None:
                figures = on_folder(averaged, self.options.eval, trainer.device)
                self._note("folder", str(self.options.eval), figures, say, log)

    def _note(self, key: str, where: str, figures: Figures, say: Say, log: Log) -> None:
        step = self.trainer.step
        self.measured[key] = {"step": step, **figures._asdict()}
        log.validation(step, key, self.spent, figures._asdict())
        say(f"step {step} on {where}: {figures}")

    # -- signals ----------------------------------------------------------------------------------

    @contextmanager
    def _stop_on_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the run after the step at hand; a second one at once."""

        def stop(number: int, frame: FrameType | None) -> None:
            if self.stopping:
                raise KeyboardInterrupt
            self.stopping = True

        before = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                before[number] = signal.signal(number, stop)
            except ValueError:  # not in the main thread: whoever called has the signals
                break
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # -- state ------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the state (the first process does)."""
        if self.trainer.workers.rank:
            return
        tensors, facts = self.trainer.state()
        own = {"seconds": self.spent, "commands": self.commands, "measured": self.measured}
        checkpoint.save(self.state, tensors, {**facts, **own}, self.options.compact)

    def _restore(self) -> None:
        tensors, facts = checkpoint.load(self.state, self.trainer.network)
        self.trainer.restore(tensors, facts)
        self.spent, self.commands = float(facts["seconds"]), list(facts["commands"])
        self.measured = {_OLD_PLACES.get(place, place): figures for place, figures in facts["measured"].items()}

    def _check_export(self, path: Path) -> None:
        """Weights that this very run exported before are replaced; others are not, unless `replace` says so."""
        card = read_card(path) if path.exists() else None
        commands = card.get("commands", []) if isinstance(card, dict) else []
        if path.exists() and not (self.commands and commands[:1] == self.commands[:1]):
            raise UsageError(f"{path} is there already and not of this run: --force replaces it, or name another file")

    def facts(self) -> dict[str, Any]:
        """What the card of the weights says."""
        trainer = self.trainer
        return {
            "model": trainer.config.model,
            "licence": recipe(trainer.config.model).licence,
            "data": trainer.source.description,
            "steps": trainer.step,
            "clips": trainer.clips,
            "seconds": round(self.spent),
            "hardware": f"{hardware(trainer.device)} x {trainer.workers.count}",
            "torch": torch.__version__,
            "python": sys.version.split()[0],
            "config": trainer.config.to_dict(),
            "figures": self.measured,
            "commands": self.commands,
            "initial_weights": trainer.initial,
        }


_OLD_PLACES = {"made": "synthetic"}
"""Names in states of older versions."""


def _silent(_: str) -> None:
    """Processes other than the first say nothing."""
