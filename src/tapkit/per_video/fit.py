"""The loop of a fit: what it will cost, steps, checkpoints, log, pictures; on from the last checkpoint, whatever ended
the call before.

Batches are drawn from seed and step alone, so that a fit that was killed and continued has the loss curve of one
that was not. With a budget of minutes the schedule is fitted into what is left of it, anew at each checkpoint, since
machines are shared and slow down.
"""

from __future__ import annotations

import csv
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tapkit import storage
from tapkit.errors import StorageError, UsageError
from tapkit.per_video.folder import FitFolder, Stored, thumbs_of
from tapkit.per_video.method import Fit, Method, Place
from tapkit.per_video.prepare.store import Prepared

CHECKPOINT = 45.0
"""Seconds between two checkpoints, at most one step more."""
MEASURED = 3
"""Steps that are timed before a fit begins."""
SHOWN = (0.125, 0.25, 0.5, 1.0)
"""Shares of the schedule at which pictures are drawn."""
ROWS = 500
"""Rows of the log over the whole schedule."""
RESERVE = 0.05
"""Share of a budget of minutes that is kept for pictures and checkpoints."""


class Progress(NamedTuple):
    """How far a fit is."""

    stage: str
    """What is being done: "flow", "mask", ... while preparing; "fit"."""
    done: int
    total: int
    losses: Mapping[str, float]
    """Of the last steps; empty while preparing."""


class Cost(NamedTuple):
    """What a fit will take on this machine."""

    steps: int
    seconds_per_step: float
    memory: int
    """Bytes at the peak."""
    disk: int
    """Bytes of the folder, with what was prepared."""

    def __str__(self) -> str:
        minutes = self.steps * self.seconds_per_step / 60
        each = (
            f"{1000 * self.seconds_per_step:.0f} ms" if self.seconds_per_step < 1 else f"{self.seconds_per_step:.1f} s"
        )
        return (
            f"{self.steps} steps of about {each}: {minutes:.1f} minutes on this machine; "
            f"{self.memory / 2**30:.1f} GiB of memory, {self.disk / 2**20:.0f} MiB on disk"
        )


@dataclass
class Job:
    """What is to be fitted to what, and how to talk about it."""

    folder: FitFolder
    prepared: Prepared
    method: Method
    options: Any
    preset: str
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    minutes: float | None = None
    """Budget of the whole fit, all calls together; None: until the schedule ends."""
    title: str = ""
    """What the page calls the clip."""
    say: Callable[[str], object] = lambda text: None
    report: Callable[[Progress], object] = lambda progress: None
    interrupted: Callable[[], bool] = lambda: False
    """Asked after every step; true ends the call, with everything kept."""
    checkpoint: float | None = None
    """Seconds between two checkpoints; None: `CHECKPOINT`."""


def run(job: Job) -> bool:
    """Prepare and fit; returns whether the schedule has ended. Raises `UsageError` for a clip that nothing can be
    learned from, `StorageError` for a full disk: the last checkpoint stays."""
    started = time.monotonic()
    if job.minutes is not None and not job.minutes > 0:
        raise UsageError(f"a budget is more than 0 minutes, got {job.minutes:g}")
    stored = job.folder.load() if job.folder.state.is_file() else None
    job.method.prepare(
        job.prepared, job.options, job.device, lambda what, done, total: job.report(Progress(what, done, total, {}))
    )
    loop = _Loop(job, stored, started)
    if loop.index >= loop.steps:
        job.say(f"{job.folder.path} is fitted already: {loop.steps} steps")
        return True
    return loop.run()


class _Loop:
    """One call of `run` after preparing."""

    def __init__(self, job: Job, stored: Stored | None, started: float) -> None:
        self.job, self.started = job, started
        self.fit: Fit = job.method.build(job.prepared, job.options, job.seed, job.device)
        self.index, self.steps, self.before = 0, int(job.options.steps), 0.0
        self.window: Counter[str] = Counter()
        self.shown: list[int] = []
        self.thumbs = thumbs_of(job.prepared.frames)
        if stored is None:
            cost = _measure(job, self.steps)
            self.pace = cost.seconds_per_step
            self._plan()
            job.say(str(cost._replace(steps=self.steps)))
        else:
            self._restore(stored)
        self.log = _Log(job.folder.path / "log.csv", self.index)

    def _restore(self, stored: Stored) -> None:
        self.fit.load_state(stored.state)
        facts = stored.facts
        self.index, self.steps = int(facts["step"]), int(facts["steps"])
        self.before, self.pace = float(facts["seconds"]), float(facts["pace"])
        self.window, self.shown = Counter(facts["window"]), list(facts["shown"])
        if self.index < self.steps:
            self.job.say(f"continues at step {self.index} of {self.steps}")

    @property
    def spent(self) -> float:
        """Seconds of the fit, all calls together."""
        return self.before + time.monotonic() - self.started

    def _plan(self) -> None:
        """Fit the schedule into what is left of the budget."""
        if self.job.minutes is None:
            return
        left = 60 * self.job.minutes * (1 - RESERVE) - self.spent
        self.steps = min(max(self.index + int(left / self.pace), self.index + 1), int(self.job.options.steps))

    def run(self) -> bool:
        """Steps until the schedule ends or somebody stops it."""
        saved, saved_at = time.monotonic(), self.index
        apart = CHECKPOINT if self.job.checkpoint is None else self.job.checkpoint
        while self.index < self.steps:
            losses = self.fit.step(self.index, self.steps)
            self.index += 1
            self._note(losses)
            now = time.monotonic()
            if self.job.interrupted():
                self.save()
                self.job.say(f"stopped at step {self.index} of {self.steps}; the same command goes on from there")
                return False
            if now - saved > apart and self.index < self.steps:
                self.pace = (now - saved) / (self.index - saved_at)
                self._plan()
                self.save()
                saved, saved_at = time.monotonic(), self.index
            if any(self.index == max(round(share * self.steps), 1) for share in SHOWN[:-1]):
                self._show()
        self.save()
        self._show()
        self.save()
        return True

    def _note(self, losses: Mapping[str, float]) -> None:
        """Add a step to the log; a row is the mean over the steps since the row before."""
        total = losses.get("total", 0.0)
        if total != total:
            raise UsageError(
                f"the fit diverged at step {self.index}: its loss is not a number; the last checkpoint is kept, and "
                "fewer points in a batch or more smoothing (see the method's options) may help"
            )
        self.window.update(losses)
        self.window["_count"] += 1
        every = max(int(self.job.options.steps) // ROWS, 1)
        if self.index % every == 0 or self.index == self.steps:
            count = self.window.pop("_count")
            means = {name: value / count for name, value in self.window.items()}
            self.log.write(self.index, self.spent, means)
            self.window.clear()
            self.job.report(Progress("fit", self.index, self.steps, means))

    def save(self) -> None:
        """Write a checkpoint."""
        job = self.job
        facts = {
            "format": 1, "method": job.method.card.id, "preset": job.preset, "options": job.options.to_json(),
            "seed": job.seed, "size": list(job.prepared.size), "frames": len(job.prepared), "step": self.index,
            "steps": self.steps, "seconds": self.spent, "pace": self.pace, "window": dict(self.window),
            "shown": self.shown,
        }  # fmt: skip
        job.folder.save(self.fit.state(), self.thumbs, facts)

    def _show(self) -> None:
        """Draw pictures of this moment, and the page."""
        job = self.job
        model = job.method.answer(
            self.fit.state().model, Place(len(job.prepared), job.prepared.size), job.options
        ).to(job.device)  # fmt: skip
        self.shown = [*(step for step in self.shown if step != self.index), self.index]
        facts = {"steps": self.steps, "minutes": round(self.spent / 60, 1), "seed": job.seed, "preset": job.preset}
        from tapkit.per_video.page import write_page  # draws, by PyAV; the package's import stays light

        write_page(job.folder.path, job.title, job.method.card, {**facts, **job.options.to_json()}, self.fit, model,
                   job.prepared, self.shown)  # fmt: skip


def _measure(job: Job, steps: int) -> Cost:
    """Time some steps of a fit that is thrown away (the first of all warms up)."""
    trial = job.method.build(job.prepared, job.options, job.seed, job.device)
    trial.step(0, steps)
    begun = time.perf_counter()
    for index in range(MEASURED):  # over the whole schedule: late steps may cost more
        trial.step((2 * index + 1) * steps // (2 * MEASURED), steps)
    seconds = (time.perf_counter() - begun) / MEASURED
    state = trial.state()
    tensors = sum(t.numel() * t.element_size() for part in (state.model, state.training) for t in part.values())
    prepared = sum(path.stat().st_size for path in job.prepared.folder.rglob("*") if path.is_file())
    return Cost(steps, seconds, _peak(job.device), 2 * tensors + prepared)


def _peak(device: torch.device) -> int:
    """Bytes of memory at the peak so far: of the GPU, or of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _Log:
    """log.csv; rows beyond the step that a fit continues from are cut off, since they are computed again. A loss that
    comes in later than others gets a column then, which is empty above."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [row for row in read_log(path) if int(row["step"]) <= step]
        self.names = [name for name in kept[0] if name not in ("step", "seconds")] if kept else []
        if path.exists():
            self._rewrite(kept)

    def write(self, step: int, seconds: float, means: Mapping[str, float]) -> None:
        """Append a row."""
        new = not self.names
        later = [name for name in means if name not in self.names]
        self.names += later
        if later and not new:
            self._rewrite(read_log(self.path))
        row = {
            "step": step,
            "seconds": f"{seconds:.1f}",
            **{name: f"{means[name]:.7g}" if name in means else "" for name in self.names},
        }
        try:
            with open(self.path, "a", newline="") as file:
                self._write_rows(file, [row], new)
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {storage.reason(error)}") from error

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        with storage.atomic(self.path) as part, open(part, "w", newline="") as file:
            self._write_rows(file, rows, bool(rows))

    def _write_rows(self, file: Any, rows: list[dict[str, Any]], header: bool) -> None:
        writer = csv.DictWriter(file, ["step", "seconds", *self.names], restval="", extrasaction="ignore")
        if header:
            writer.writeheader()
        writer.writerows(rows)


def read_log(path: Path) -> list[dict[str, str]]:
    """The rows of log.csv; none where there is no such file. A row that was cut off is left out."""
    if not path.is_file():
        return []
    with storage.reading(path, "a log"), open(path, newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values() and (row.get("step") or "").isdigit()]
