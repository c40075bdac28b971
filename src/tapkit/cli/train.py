"""`tapkit train`: train the built-in tracker, fine-tune it on your own clips, or train GMRW on plain videos."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from tapkit.cli.options import Device, Quiet


def train(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run: its state and tables.")],
    model: Annotated[str, typer.Option("--model", help="strand, or gmrw (which needs no labels).")] = "strand",
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="Curriculum. strand: cpu (default), laptop, datacenter, finetune, lite0-features, lite0-tracking; "
            "gmrw: laptop (default), kubric, kinetics, kinetics-finetune.",
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
        typer.Option("--data", help="Train on these clips (tapkit's folder format); with --photos, on both."),
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
    init: Annotated[Path | None, typer.Option("--init", help="Weights to start from.")] = None,
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
    """Train the built-in tracker on synthetic clips, or fine-tune it on your own; train GMRW on plain videos.

        tapkit train --out run --photos photos/ --eval clips/ --minutes 60
        tapkit train --out run --resume --minutes 60 --export strand.safetensors
        tapkit train --out mine --preset finetune --data my_clips/ --init strand.safetensors
        tapkit train --out walk --model gmrw --videos my_videos/

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
        model=model,
        total_steps=total_steps,
        seed=seed,
        device=device,
        precision=precision,
        say=(lambda _: None) if quiet else partial(print, flush=True),
    )
