"""`tapkit train`: train a tracker, or fine-tune it on your own clips."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tapkit.cli.options import Device, Quiet
from tapkit.errors import UsageError


def train(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run: its state and tables.")],
    model: Annotated[
        str | None,
        typer.Argument(
            help="What is trained: strand (default), cotracker3-online, cotracker3-offline, cotracker2, tapir, "
            "locotrack-small, locotrack-base, pips2, or gmrw (which needs no labels).",
            show_default=False,
        ),
    ] = None,
    model_option: Annotated[str | None, typer.Option("--model", help="The same, as an option.", hidden=True)] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="Curriculum: the model's first by default, an unknown name lists them. Published trackers: finetune "
            "(default), and what their papers did; strand: cpu (default), laptop, datacenter, finetune, ...",
        ),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option("--photos", help="Folder of photographs that synthetic clips are composed of.")
    ] = None,
    models: Annotated[
        Path | None, typer.Option("--models", help="Folder of GLB models for them (extra: synth). Default: built-in.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Train on these clips: tapkit's folder format, MOVi, Kubric, PointOdyssey, flow with frames, "
            "(gmrw) plain videos; with --photos, on both. Default: synthetic clips.",
        ),
    ] = None,
    share: Annotated[
        float, typer.Option("--share", min=0.01, max=0.99, help="With --photos and --data: share of clips of --data.")
    ] = 0.4,
    videos: Annotated[
        Path | None, typer.Option("--videos", help="Train on these videos without annotation (gmrw).")
    ] = None,
    gap: Annotated[int, typer.Option("--gap", min=1, help="With --videos: frames from one frame to the next.")] = 1,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Stop after that long; continue with --resume.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Stop after that many steps of this call.")] = None,
    total_steps: Annotated[
        int | None, typer.Option("--total-steps", help="Shorten or lengthen the whole curriculum to that many steps.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out from its last state.")] = False,
    init: Annotated[
        Path | None, typer.Option("--init", help='Weights to start from; "official": those of the authors.')
    ] = None,
    eval: Annotated[Path | None, typer.Option("--eval", help="Clips to measure on, in the folder format.")] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Write the averaged weights here (.safetensors), with a card (.json)."),
    ] = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option("--precision", help="auto, float32 or bfloat16.")] = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Of weights and batches.")] = 0,
    checkpoint_minutes: Annotated[float, typer.Option(help="Minutes between two states on disk.")] = 3.0,
    validate_minutes: Annotated[float, typer.Option(help="Minutes between two validations.")] = 10.0,
    compact: Annotated[
        bool, typer.Option("--compact", help="Keep the state in 16 bits where that does little.")
    ] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard's files too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace weights of another run at --export.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a tracker on synthetic clips or on annotated ones, or fine-tune a published one on your own.

        tapkit train cotracker3-online --data my_clips/ --init scaled_online.pth --out mine --export mine.safetensors
        tapkit train cotracker3-offline --data my_clips/ --init official --out mine
        tapkit train strand --out run --photos photos/ --eval clips/ --minutes 60
        tapkit train --out run --resume --minutes 60 --export strand.safetensors
        tapkit train gmrw --out walk --data my_videos/

    Ctrl-C stops after the step at hand and keeps the state. On several GPUs: torchrun --nproc-per-node 4 -m tapkit
    train ..., where each process takes its own. docs/training.md says what to expect where.
    """
    from tapkit.train.launch import Data, launch
    from tapkit.train.run import RunOptions

    options = RunOptions(
        out=out,
        minutes=minutes,
        steps=steps,
        resume=resume,
        init=init,
        eval=eval,
        export=export,
        checkpoint_minutes=checkpoint_minutes,
        validate_minutes=validate_minutes,
        compact=compact,
        tensorboard=tensorboard,
        replace=force,
        command=shlex.join(["tapkit", *sys.argv[1:]]),
    )
    launch(
        preset,
        Data(photos, models, data, share, videos, gap),
        options,
        model=chosen_model(model, model_option),
        total_steps=total_steps,
        seed=seed,
        device=device,
        precision=precision,
        say=(lambda _: None) if quiet else partial(print, flush=True),
    )


def chosen_model(argument: str | None, option: str | None) -> str:
    """The model of the argument, or of the option as older versions had it. Raises `UsageError` where they differ."""
    if argument and option and argument != option:
        raise UsageError(f"two models are given, {argument} and {option} (--model): name one")
    return argument or option or "strand"
