"""`tapkit retrack`: corrected tracks, tracked again where they were corrected."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapkit.cli import footage as f
from tapkit.cli import options as o
from tapkit.cli.outputs import Force, claim
from tapkit.errors import UsageError

if TYPE_CHECKING:
    from tapkit.types import Keyframes


def retrack(
    video: Annotated[str, typer.Argument(help="The video that was tracked.")],
    tracks: Annotated[Path, typer.Argument(help="Its tracks (.npz, .zarr, .csv, .parquet), corrected or not yet.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the result goes. [NAME.retracked.npz beside TRACKS]")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="ID,T,X,Y", help="Where a point really is: id,frame,x,y. Repeatable."),
    ] = None,
    keys: Annotated[Path | None, typer.Option("--keys", help="CSV file of such positions, columns id,t,x,y.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Tracker. [the one of TRACKS]")] = None,
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    memory: Annotated[str | None, typer.Option(help='Budget such as "2GB".')] = None,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: o.Quiet = False,
) -> None:
    """Track again only what lies next to changed keyframes; everything else is kept as it is.

    Keyframes are positions that a human set: here with --key or --keys, or in another program (tapkit import marks
    them). The tracks pass through all of them.

      tapkit retrack clip.mp4 clip.tracks.npz --key left_block,66,310.5,122

      tapkit retrack clip.mp4 corrected.npz -o better.npz
    """
    from tapkit.engine.retrack import plan_retrack, retrack, with_keyframes
    from tapkit.motion import doubt
    from tapkit.types import Tracks

    target = output or tracks.with_name(f"{tracks.stem.removesuffix('.tracks')}.retracked{tracks.suffix}")
    claim(target, inputs=[video, tracks, keys, weights], force=force)
    with f.open_footage(video, start, end, step, value_range, stream) as source:
        stored = Tracks.load(tracks)
        given = _given(key, keys)
        if given is not None:
            stored = with_keyframes(stored, given)
        plan = plan_retrack(stored)
        tracker = o.load_tracker_of(stored, model, weights, device, option, quiet)
        started = time.perf_counter()
        with o.progress_of("tracking again", quiet) as progress:
            better = retrack(tracker, source, stored, memory=memory, progress=progress, plan=plan)
        seconds = time.perf_counter() - started
    better.save(target)
    summary = {
        "tracks": str(target),
        "points": len(better),
        "keyframes": int(better.keyframes().t.size),
        "changed": len(plan.changed),
        "spans": len(plan.stretches),
        "positions": sum(stretch.positions for stretch in plan.stretches),
        "of": len(better) * better.frames,
        "seconds": round(seconds, 3),
        "model": better.source.model,
        "doubts": doubt.sentence(better),
    }
    if as_json:
        print(json.dumps(summary))
    elif not quiet:
        done = f"{summary['positions']} of {summary['of']} positions tracked again in {seconds:.1f} s"
        print(f"{target}: " + (done if plan.changed or plan.stretches else "no keyframe has changed, all is kept"))
        print(summary["doubts"])


def _given(key: list[str] | None, keys: Path | None) -> Keyframes | None:
    """Those of --key and of --keys; None without any."""
    from tapkit.types import Keyframes
    from tapkit.types.queries import csv_points

    rows = [_one(text) for text in key or ()]
    if keys is not None:
        points, ids = csv_points(keys)
        if ids is None:
            raise UsageError(f"{keys} has no column id: whose positions are these?")
        rows += [(name, *point) for name, point in zip(ids, points, strict=True)]
    return Keyframes.of(rows) if rows else None


def _one(text: str) -> tuple[str, float, float, float]:
    try:
        name, *numbers = text.rsplit(",", 3)
        t, x, y = (float(part) for part in numbers)
    except ValueError as error:
        raise UsageError(f"--key takes id,frame,x,y such as nose,40,310.5,122, got {text!r}") from error
    return name, t, x, y
