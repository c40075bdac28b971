"""`tapkit pseudo-label`: clips to train on from videos without annotation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tapkit.cli import options as o
from tapkit.registry import DEFAULT


def pseudo_label(
    videos: Annotated[Path, typer.Argument(help="A video, or a folder of them.")],
    out: Annotated[Path, typer.Argument(help="Folder for the clips: OUT/000000, OUT/000001, ...")],
    clips: Annotated[int, typer.Option("--clips", "-n", min=1, help="How many pieces are drawn.")] = 100,
    model: o.Model = DEFAULT,
    weights: o.Weights = None,
    option: o.Option = None,
    frames: Annotated[int, typer.Option(min=2, help="Frames of each.")] = 24,
    points: Annotated[int, typer.Option(min=1, help="Points asked for in each.")] = 300,
    agree: Annotated[
        float,
        typer.Option(min=0.01, help="Forward and backward tracks must agree to this, in pixels of a 256x256 frame."),
    ] = 1.5,
    seed: Annotated[int, typer.Option(min=0, help="Of the first piece; piece i has seed + i.")] = 0,
    device: o.Device = "auto",
    quiet: o.Quiet = False,
) -> None:
    """Track points through pieces of videos and back, and keep as ground truth where both directions agree.

        tapkit pseudo-label videos/ labelled/ --clips 200
        tapkit train --out run --photos photos/ --data labelled/ --share 0.4 --init strand.safetensors

    Clips that are there already are kept, so an interrupted run can be repeated. Only use videos whose licence
    allows it.
    """
    from tapkit.api import load
    from tapkit.errors import VideoError
    from tapkit.train.pseudo import PseudoLabelSettings, label_videos

    if not videos.exists():  # before weights are fetched
        raise VideoError(f"there is no {videos}")
    teacher = load(model, weights, device, **o.read_options(option))
    settings = PseudoLabelSettings(frames=frames, points=points, agree=agree)
    written = label_videos(videos, out, teacher, clips, seed, settings, None if quiet else o.say)
    if not quiet:
        o.say(f"{out} holds {len(written)} of {clips} clips; on the others too few tracks agree")
