"""`tapkit eval`: accuracy on a benchmark, and whether a difference is more than noise."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from tapkit.cli.batch import Jobs, Ray, run_fleet
from tapkit.cli.options import Device, Option, Quiet, Weights, read_options, say
from tapkit.errors import UsageError

if TYPE_CHECKING:
    from tapkit.datasets import Dataset
    from tapkit.evaluation.protocol import Protocol
    from tapkit.evaluation.run import Contestant, Step


def evaluate(
    dataset: Annotated[
        str | None, typer.Argument(help="A benchmark's folder or file, or 'tiny' (comes with tapkit).")
    ] = None,
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Tracker; repeat it for several.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for results and predictions.")] = None,
    mode: Annotated[str, typer.Option("--mode", help="Queries: first or strided.")] = "",
    stride: Annotated[int, typer.Option("--stride", help="Frames between queries in mode strided.")] = 5,
    resolution: Annotated[
        str, typer.Option("--resolution", help="native, model, or HxW; default: the benchmark's own protocol.")
    ] = "",
    points: Annotated[
        str, typer.Option("--points", help="joint, single (one query at a time) or auto; default: the benchmark's own.")
    ] = "",
    shard: Annotated[str, typer.Option("--shard", help="Do part i of n: i/n. All shards share --out.")] = "1/1",
    fresh: Annotated[bool, typer.Option("--fresh", help="Ignore cached predictions.")] = False,
    figures: Annotated[
        bool, typer.Option("--figures", help="Only print AJ, delta_avg and OA of each clip; write nothing.")
    ] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", metavar="A B", help="Compare two results: FILE, FOLDER, or either with #MODEL."),
    ] = None,
    weights: Weights = None,
    device: Device = "auto",
    option: Option = None,
    jobs: Jobs = None,
    ray: Ray = None,
    fit_preset: Annotated[
        str | None,
        typer.Option(
            "--fit-preset", help="Of a method that is fitted to each clip: paper, fast or cpu. [cpu, or fast]"
        ),
    ] = None,
    fit_minutes: Annotated[
        float | None, typer.Option("--fit-minutes", help="Budget of each fit; --out keeps the fits.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Measure trackers on a benchmark; results go to --out as result.json, result.md and report.html.

    Predictions are kept there too: a second call resumes where the first stopped, and figures are computed
    again without running a network. --figures keeps nothing: for somebody who is working on a tracker.

    \b
        tapkit eval tiny --model lucas-kanade
        tapkit eval tapvid_davis/ --model cotracker3-offline --model lucas-kanade --mode strided
        tapkit eval my_clips/ --model lucas-kanade --figures
        tapkit eval my_clips/ --model cadex++ --fit-preset cpu
        tapkit eval --compare before/ after/
    """
    if compare is not None:
        _compare(*compare)
        return
    if dataset is None or not model:
        raise UsageError("say what to measure on and which tracker: tapkit eval DATASET --model ID")
    if weights is not None and len(model) > 1:
        raise UsageError("--weights goes with a single --model")
    if figures and out is not None:
        raise UsageError("--figures writes nothing: leave out --out")
    from tapkit import registry

    together = jobs is not None or ray is not None
    if together and (figures or shard != "1/1"):
        raise UsageError("--jobs and --ray do all clips and write a report: leave out --figures and --shard")
    if together and (fitted := registry.per_video_cards().keys() & set(model)):
        raise UsageError(f"{min(fitted)} is fitted to each clip in turn: leave out --jobs and --ray")
    from tapkit.datasets import open_dataset
    from tapkit.evaluation.protocol import Protocol

    benchmark = open_dataset(dataset)
    protocol = Protocol(
        _mode(benchmark, mode),  # type: ignore[arg-type]
        stride,
        resolution or benchmark.resolution,
        points or benchmark.points,  # type: ignore[arg-type]
    )
    folder = out or Path("tapkit-eval") / _slug(f"{benchmark.name}-{protocol.query_mode}")
    with ExitStack() as stack:
        fits = Path(stack.enter_context(TemporaryDirectory(prefix="tapkit-fits-"))) if figures else folder / "fits"
        contestants = [
            _contestant(id, weights, device, read_options(option), Fitting(fits, fit_preset, fit_minutes, quiet))
            for id in dict.fromkeys(model)
        ]
        if figures:
            _figures(benchmark, contestants, protocol, shard)
            return
    given = {"--mode": mode, "--resolution": resolution, "--points": points}
    command = _command(dataset, [c.card.id for c in contestants], given, option)
    if fit_preset or fit_minutes:
        given |= {"--fit-preset": fit_preset or "", "--fit-minutes": f"{fit_minutes:g}" if fit_minutes else ""}
    if together:
        how: dict[str, Any] = {"jobs": jobs, "ray": ray, "device": device, "force": fresh, "quiet": quiet}
        for contestant in contestants:
            _predict(dataset, contestant, protocol, folder, how)
        fresh = False
    _measure(benchmark, contestants, protocol, folder, shard, fresh, quiet, command)


class Fitting(NamedTuple):
    """How methods are fitted to each clip, where one is measured."""

    folder: Path
    preset: str | None
    minutes: float | None
    quiet: bool


def _contestant(
    model: str, weights: Path | None, device: str, options: dict[str, Any], fitting: Fitting
) -> Contestant:  # fmt: skip
    """The tracker, or the method that is fitted to each clip. Raises `UsageError`."""
    from tapkit import registry
    from tapkit.evaluation.run import Contestant

    if model not in registry.per_video_cards():
        if fitting.preset or fitting.minutes:
            raise UsageError(
                f"--fit-preset and --fit-minutes are of methods that are fitted to a video; {model} is not"
            )
        return Contestant.of(model, weights, device, **options)
    if weights is not None:
        raise UsageError(f"{model} is fitted to each clip: it takes no --weights")
    return Contestant.fitted(
        model, fitting.folder, device, preset=fitting.preset, minutes=fitting.minutes,
        say=None if fitting.quiet else say, **options,
    )  # fmt: skip


def _predict(dataset: str, contestant: Contestant, protocol: Protocol, folder: Path, how: dict[str, Any]) -> None:
    """The predictions of a tracker by several processes; what fails is told by the report."""
    from tapkit.fleet import Evaluating
    from tapkit.fleet.begin import state_folder

    where = os.path.abspath(dataset) if os.path.exists(dataset) else dataset
    weights = None if contestant.weights is None else str(contestant.weights.resolve())
    job = Evaluating(where, protocol, contestant.card.id, weights, contestant.options)
    state = state_folder(str(folder)) / Path(job.result("")).parent.name
    run_fleet(job, str(folder), state=state, **how)


def _measure(
    benchmark: Dataset,
    contestants: list[Contestant],
    protocol: Protocol,
    folder: Path,
    shard: str,
    fresh: bool,
    quiet: bool,
    command: str,
) -> None:
    """Run this shard; write the reports if no other shard has work left."""
    from tapkit.evaluation.run import Shard, evaluate, unanswered
    from tapkit.evaluation.write import write_all

    part = Shard.parse(shard)
    result = evaluate(benchmark, contestants, protocol, folder, part, fresh, None if quiet else _Progress())
    if part.count > 1:
        failed = {name for m in result.models for name in m.failed}
        waiting = set(unanswered(benchmark, contestants, protocol, folder)) - failed
        if waiting:
            say(
                f"shard {shard} is done; {len(waiting)} clips wait for the others, the last of which writes the report "
                "(the same call without --shard does so at any time)"
            )
            return
        result = evaluate(benchmark, contestants, protocol, folder)
    paths = write_all(replace(result, command=command), benchmark, contestants, protocol, folder)
    print(paths["markdown"].read_text(encoding="utf-8"))
    say(f"wrote {paths['html']}, {paths['json'].name}, {paths['markdown'].name}")


def _figures(benchmark: Dataset, contestants: list[Contestant], protocol: Protocol, shard: str) -> None:
    """A line for each clip as it is done, then means and protocol of each model. What is cached goes with the call."""
    from tapkit.evaluation.result import HEADLINE, TITLES
    from tapkit.evaluation.run import Shard, evaluate

    heads = [TITLES[key].replace("δ", "delta") for key in HEADLINE]

    def show(step: Step) -> None:
        if step.done == 1:
            print(f"{step.model[:24]:24} {' '.join(f'{head:>9}' for head in heads)} {'seconds':>9}")
        if step.score is None:
            say(f"{step.clip}: FAILED, {step.error}")
        else:
            values = [step.score.figures[key] for key in HEADLINE]
            print(f"{step.clip[:24]:24} {_percent(values)} {step.score.seconds:9.2f}", flush=True)

    with TemporaryDirectory(prefix="tapkit-eval-") as folder:
        result = evaluate(benchmark, contestants, protocol, Path(folder), Shard.parse(shard), progress=show)
    for model in result.models:
        means = [model.summary[key].value if key in model.summary else None for key in HEADLINE]
        print(f"\nmean of {len(model.scores)} clips, {model.id}\n{'':24} {_percent(means)} {model.seconds:9.2f}")
        print(model.protocol)


def _percent(values: Sequence[float | None]) -> str:
    return " ".join(f"{'-':>9}" if value is None or value != value else f"{100 * value:9.1f}" for value in values)


def _mode(benchmark: Dataset, mode: str) -> str:
    if mode and benchmark.query_mode and mode != benchmark.query_mode:
        raise UsageError(f"{benchmark.name} is only defined for query mode {benchmark.query_mode}")
    return mode or benchmark.query_mode or "first"


def _command(dataset: str, models: list[str], given: dict[str, str], options: list[str] | None) -> str:
    """What makes the result again, without the folders of this machine."""
    where = shlex.quote(Path(dataset).resolve().name if os.path.exists(dataset) else dataset)
    parts = ["tapkit eval", where, *(f"--model {id}" for id in models)]
    parts += [f"{name} {value}" for name, value in given.items() if value]
    return " ".join([*parts, *(f"--set {shlex.quote(option)}" for option in options or ())])


def _compare(first: str, second: str) -> None:
    from tapkit.evaluation.report import comparison
    from tapkit.evaluation.result import compare_models, open_model

    (_, a), (_, b) = open_model(first), open_model(second)
    if a.protocol != b.protocol:
        say(f"note: the protocols differ\n  {a.id}: {a.protocol}\n  {b.id}: {b.protocol}")
    names = (a.id, b.id) if a.id != b.id else (f"{a.id} ({first})", f"{b.id} ({second})")
    print(comparison(*names, compare_models(a, b)))


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class _Progress:
    """A line for each clip: figures, time, and how long it will take."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}
        self.worked: dict[str, int] = {}

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        start = self.started.setdefault(
            step.model, now - (step.score.seconds if step.score and not step.cached else 0.0)
        )
        self.worked[step.model] = self.worked.get(step.model, 0) + (not step.cached)
        left = (now - start) / max(self.worked[step.model], 1) * (step.total - step.done)
        head = f"{step.model} {step.done}/{step.total} {step.clip}"
        if step.score is None:
            say(f"{head}: FAILED, {step.error}")
            return
        aj = 100 * step.score.figures["average_jaccard"]
        how = "cached" if step.cached else f"{step.score.seconds:.1f} s"
        say(f"{head}: AJ {aj:.1f} ({how})" + (f", {left:.0f} s left" if left >= 1 and not step.cached else ""))
