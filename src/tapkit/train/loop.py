"""The training loop: plain PyTorch, one process or several under torchrun, at any time interrupted and gone on with."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import cos, isfinite, pi
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from tapkit.errors import TapkitError, UsageError
from tapkit.models.strand.network import Network, StrandConfig
from tapkit.nn.precision import feature_dtype
from tapkit.train import checkpoint
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.export import export_weights, hardware
from tapkit.train.lesson import Lesson, Lessons, choose_queries
from tapkit.train.log import Log
from tapkit.train.losses import PARTS, weighted
from tapkit.train.pairs import pair_losses
from tapkit.train.unroll import training_chunks
from tapkit.train.validate import Figures, on_folder, on_lessons
from tapkit.train.workers import Workers
from tapkit.weights import match, read


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; what it learns is `TrainConfig`'s."""

    out: Path
    """Folder of the run: state/, train.csv, validation.csv, tensorboard/."""
    minutes: float | None = None
    """Stop after that long; the run can be gone on with."""
    steps: int | None = None
    """Stop after that many steps of this call."""
    resume: bool = False
    init: Path | None = None
    """Weights to begin from."""
    eval: Path | None = None
    """Folder of clips to measure on, in tapkit's format."""
    export: Path | None = None
    """Where to write the averaged weights at the end (.safetensors)."""
    precision: str = "auto"
    checkpoint_minutes: float = 3.0
    validate_minutes: float = 10.0
    validate_clips: int = 8
    """Made clips to measure on."""
    log_every: int = 20
    """Steps between two lines."""
    compact: bool = False
    """Keep moments and average in 16 bits on disk."""
    tensorboard: bool = False
    command: str = ""
    """As typed, for the card."""


class Diverged(TapkitError):
    """The loss is not a number any more."""


class Trainer:
    """One run. `run()` trains until the curriculum, the minutes or the steps are over, or a signal comes."""

    def __init__(self, config: TrainConfig, lessons: Lessons, device: torch.device, options: RunOptions) -> None:
        self.config, self.lessons, self.device, self.options = config, lessons, device, options
        self.workers = Workers.from_environment(device)
        torch.manual_seed(config.seed)
        self.network = Network(StrandConfig()).to(device)
        self.step = 0
        self.spent = 0.0
        """Seconds of training so far, in all calls."""
        self.clips = 0
        self.commands: list[str] = []
        self.measured: dict[str, Any] = {}
        self.stopping = False
        self._bad = 0
        self.initial = None if options.init is None else options.init.name
        """File of the weights that the run began from."""
        if options.init is not None:
            found = match(read(options.init), self.network.state_dict(), "strand")
            self.network.load_state_dict({name: value.float() for name, value in found.items()})
        self.optimizer = self._make_optimizer()
        self.average = {name: value.clone() for name, value in self._tensors().items()}
        self.state = options.out / "state"
        if options.resume:
            self._restore()
        elif checkpoint.exists(self.state):
            raise UsageError(f"{options.out} holds a run already: go on with it (--resume) or name another folder")
        self.workers.same_everywhere(self.network)

    def _tensors(self) -> dict[str, Tensor]:
        """Weights and statistics, not copied."""
        return {name: value.detach() for name, value in self.network.state_dict(keep_vars=True).items()}

    def _task(self) -> str:
        return self.config.stage_at(self.step)[1].task

    def _make_optimizer(self) -> torch.optim.AdamW:
        matrices = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": self.config.decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=self.config.rate, betas=(0.9, 0.99), eps=1e-8)

    # -- one step ---------------------------------------------------------------------------------

    def rate(self, step: int) -> float:
        """The learning rate at a step: linear growth, then half a cosine, over the whole curriculum or the stage."""
        config = self.config
        number, stage = config.stage_at(step)
        peak, length, warmup = config.rate, config.steps, config.warmup
        if stage.rate is not None:
            step -= config.begins(number)
            peak, length, warmup = stage.rate, stage.steps, min(warmup, max(stage.steps // 10, 1))
        if step < warmup:
            return peak * (step + 1) / warmup
        done = min((step - warmup) / max(length - warmup, 1), 1.0)
        return peak * (config.last_rate + (1 - config.last_rate) * 0.5 * (1 + cos(pi * done)))

    def train_step(self) -> dict[str, float]:
        """One optimiser step. Returns the means of the loss and its parts. Raises `Diverged`."""
        _, stage = self.config.stage_at(self.step)
        # From the step alone, so that a run that was cut off sees the lessons it would have seen.
        seed = (self.config.seed * 1_000_003 + self.step) * self.workers.count + self.workers.rank
        lesson = self.lessons.lesson(stage, seed)
        self._prepare(stage)
        self.optimizer.zero_grad(set_to_none=True)
        sums = self._learn_pairs(lesson, seed) if stage.task == "pairs" else self._learn_clips(lesson, stage, seed)
        self._apply_gradients()
        self.step += 1
        self.clips += stage.batch * self.workers.count
        return {name: float(value) for name, value in sums.items()}

    def _prepare(self, stage: Stage) -> None:
        """Which parts learn. Statistics of the norms are gathered from pairs alone: there a batch has many scenes."""
        self.network.train()
        self.network.encoder.train(stage.task == "pairs")
        for p in self.network.encoder.parameters():
            p.requires_grad_(stage.encoder)

    def _learn_pairs(self, lesson: Lesson, seed: int) -> dict[str, Tensor]:
        """Gradients of a lesson of pairs; returns the parts of the loss."""
        with self._autocast():
            parts = pair_losses(self.network, lesson, seed)
        loss = parts["matching"] + parts["position"]
        loss.backward()  # type: ignore[no-untyped-call]
        found = {name: value.detach() for name, value in parts.items()}
        return {**self._nothing(), **found, "loss": loss.detach()}

    def _learn_clips(self, lesson: Lesson, stage: Stage, seed: int) -> dict[str, Tensor]:
        """Gradients of a lesson of clips; returns the parts of the loss."""
        queries = choose_queries(lesson.visible & lesson.known, torch.Generator().manual_seed(seed))
        sums = self._nothing()
        length = max(stage.frames - 1, 1)
        chunks = training_chunks(self.network, lesson, queries, self.config, stage.truncate, stage.encoder, seed)
        while True:
            with self._autocast():
                chunk = next(chunks, None)
            if chunk is None:
                return sums
            loss = weighted(chunk.parts, self.config) / length
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
            for name in PARTS:
                sums[name] = sums[name] + chunk.parts[name].detach() / length
            sums["loss"] = sums["loss"] + loss.detach()

    def _nothing(self) -> dict[str, Tensor]:
        """All that is reported, as zeros."""
        return dict.fromkeys((*PARTS, "found", "loss"), torch.zeros((), device=self.device))

    def _autocast(self) -> torch.autocast:
        dtype = feature_dtype(self.options.precision, self.device)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32)

    def _apply_gradients(self) -> None:
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        if self._task() == "pairs":  # the parts that track are not asked: they must not decay either
            parameters = [p for p in parameters if p.grad is not None]
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        shared: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
        if self._task() == "pairs":  # statistics of the norms too, so that all processes hold the same network
            shared += list(self.network.buffers())
        self.workers.average(shared)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.clip)
        if not isfinite(float(norm)):
            # One bad batch must not end a night's run; many in a row are a run that has gone wrong.
            self._bad += 1
            if self._bad > 20:
                raise Diverged(f"the gradients have not been finite for 20 steps, up to step {self.step}")
            return
        self._bad = 0
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.step)
        self.optimizer.step()
        # Random weights are to be forgotten quickly; good ones are worth averaging with.
        decay = self.config.ema if self.initial else min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), list(self._tensors().values()), 1 - decay)

    # -- the run ----------------------------------------------------------------------------------

    def run(self, say: Callable[[str], None] = print) -> Mapping[str, Any]:
        """Train. Returns what has been measured last: {"made": Figures as dict, "folder": ...}."""
        options, log = self.options, Log(self.options.out, self.options.tensorboard, self.workers.rank == 0)
        if self.workers.rank:
            say = _silent
        if options.command:
            self.commands.append(options.command)
        begun, first_step, first_spent, first_clips = time.monotonic(), self.step, self.spent, self.clips
        saved = measured = begun
        recent: list[dict[str, float]] = []
        say(self._headline())
        with self._stop_on_signals():
            while not self._over(begun, first_step):
                recent.append(self.train_step())
                now = time.monotonic()
                self.spent = first_spent + now - begun
                if self.step % options.log_every == 0 or self.step == 1:
                    speed = (self.clips - first_clips) / (now - begun)
                    self._report(say, log, recent, speed)
                    recent = []
                if now - saved > 60 * options.checkpoint_minutes:
                    self.save()
                    saved = now
                if now - measured > 60 * options.validate_minutes:
                    self.measure(say, log)
                    measured = time.monotonic()
        self.save()
        if self.stopping:
            say(f"stopped at step {self.step}; go on with --resume --out {options.out}")
        elif self.step > first_step:
            self.measure(say, log)
            self.save()
        if options.export is not None and self.workers.rank == 0:
            path, card = export_weights(options.export, self.average, self.facts())
            say(f"wrote {path} and {card.name}")
        log.close()
        self.workers.close()
        return self.measured

    def _over(self, begun: float, first_step: int) -> bool:
        options = self.options
        late = options.minutes is not None and time.monotonic() - begun >= 60 * options.minutes
        enough = options.steps is not None and self.step - first_step >= options.steps
        return self.workers.any(late or self.stopping) or enough or self.step >= self.config.steps

    def _report(self, say: Callable[[str], None], log: Log, recent: list[dict[str, float]], speed: float) -> None:
        means = {name: sum(row[name] for row in recent) / len(recent) for name in recent[0]}
        number, stage = self.config.stage_at(self.step - 1)
        which = "found" if stage.task == "pairs" else "visible"
        log.train(self.step, number, self.spent, self.rate(self.step - 1), speed, means)
        say(
            f"step {self.step}/{self.config.steps} stage {number + 1} ({stage.size} px x {stage.frames}) "
            f"loss {means['loss']:.3f} position {means['position']:.3f} matching {means['matching']:.2f} "
            f"{which} {means[which]:.3f} | {speed:.2f} clips/s, {self.spent / 60:.1f} min"
        )

    def measure(self, say: Callable[[str], None], log: Log) -> None:
        """Figures of the averaged weights, on made clips and on the folder."""
        if self.workers.rank:
            return
        _, stage = self.config.stage_at(max(self.step - 1, 0))
        with self.averaged() as network:
            made = on_lessons(network, self.lessons, _check_stage(stage), self.options.validate_clips)
            self._note("made", made, say, log)
            if self.options.eval is not None:
                self._note("folder", on_folder(network, self.options.eval, self.device), say, log)

    def _note(self, where: str, figures: Figures, say: Callable[[str], None], log: Log) -> None:
        self.measured[where] = {"step": self.step, **figures._asdict()}
        log.validation(self.step, where, self.spent, figures._asdict())
        say(f"step {self.step} on {where if where == 'made' else self.options.eval}: {figures}")

    @contextmanager
    def averaged(self) -> Iterator[Network]:
        """The network with the averaged weights, for the time being."""
        own = {name: value.clone() for name, value in self._tensors().items()}
        self._set(self.average)
        try:
            yield self.network
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, tensors: Mapping[str, Tensor]) -> None:
        for name, value in self._tensors().items():
            value.copy_(tensors[name])

    def _headline(self) -> str:
        size = sum(p.numel() for p in self.network.parameters())
        return (
            f"strand, {size / 1e6:.2f} M parameters, on {hardware(self.device)} x {self.workers.count}, features in "
            f"{str(feature_dtype(self.options.precision, self.device)).removeprefix('torch.')}; "
            f"{self.lessons.description}; step {self.step} of {self.config.steps}"
        )

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
        if self.workers.rank:
            return
        first, second = checkpoint.named_moments(self.network, self.optimizer)
        weights = self._tensors()
        run = {
            "step": self.step,
            "seconds": self.spent,
            "clips": self.clips,
            "commands": self.commands,
            "measured": self.measured,
            "initial": self.initial,
            "config": self.config.to_dict(),
            "random": torch.get_rng_state().tolist(),
            "updates": checkpoint.updates(self.network, self.optimizer),
        }
        tensors = {"model": weights, "average": self.average, "first": first, "second": second}
        checkpoint.save(self.state, tensors, run, self.options.compact)

    def _restore(self) -> None:
        tensors, run = checkpoint.load(self.state, self.network)
        self._set(tensors["model"])
        self.average = {name: tensors["average"][name].to(self.device) for name in self.average}
        self.step, self.spent, self.clips = int(run["step"]), float(run["seconds"]), int(run["clips"])
        self.commands, self.measured = list(run["commands"]), dict(run["measured"])
        self.initial = run.get("initial")
        checkpoint.set_moments(self.network, self.optimizer, tensors["first"], tensors["second"], run["updates"])
        torch.set_rng_state(torch.tensor(run["random"], dtype=torch.uint8))

    def facts(self) -> dict[str, Any]:
        """What the card of the weights says."""
        return {
            "data": self.lessons.description,
            "steps": self.step,
            "clips": self.clips,
            "seconds": round(self.spent),
            "hardware": f"{hardware(self.device)} x {self.workers.count}",
            "torch": torch.__version__,
            "python": sys.version.split()[0],
            "config": self.config.to_dict(),
            "figures": self.measured,
            "commands": self.commands,
            "initial_weights": self.initial,
        }


def _check_stage(stage: Stage) -> Stage:
    """The stage whose clips are measured on: one clip at a time, and never fewer than 8 frames."""
    return Stage(1, stage.size, max(stage.frames, 8), 1, stage.points, 1.0)


def _silent(_: str) -> None:
    """Processes other than the first say nothing."""
