"""`tapkit batch`: many videos, on the processes of a machine, on the shards of a cluster, or on Ray."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tapkit.cli import footage as f
from tapkit.cli import options as o
from tapkit.cli.outputs import claim, present
from tapkit.errors import UsageError
from tapkit.registry import DEFAULT

if TYPE_CHECKING:
    from tapkit.fleet import Summary, Task, Tracking

Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, help="Processes (on Ray: actors). [one for each GPU, or for four cores]"),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Work on a Ray cluster (extra: ray): auto, ray://HOST:10001, or local for one on this machine.",
    ),
]
State = Annotated[
    Path | None,
    typer.Option("--state", help="Folder for the work list and what is unfinished. [OUTPUT/.tapkit-batch]"),
]
Retry = Annotated[bool, typer.Option("--retry-failed", help="Do failed ones again.")]


def batch(
    videos: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO...",
            help="Videos, folders with all below them, patterns ('takes/**/*.mp4'), lists (.txt, one on each line), "
            "addresses (s3://...; extra: remote).",
        ),
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Folder or address (s3://...) for the results.")],
    to: Annotated[
        str, typer.Option("--to", "-t", help="Formats to write beside the tracks, with commas (tapkit export --list).")
    ] = "",
    overlay: Annotated[bool, typer.Option("--overlay", help="Also draw the tracks over each video.")] = False,
    grid: o.Grid = None,
    points: o.Points = None,
    at: o.At = None,
    mask: o.Mask = None,
    corners: o.Corners = None,
    frame: o.OnFrame = 0,
    skeleton: o.Skeleton = None,
    model: o.Model = DEFAULT,
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    direction: Annotated[
        Literal["both", "forward", "backward"], typer.Option(help="Both ways from each point's frame, or one.")
    ] = "both",
    memory: Annotated[str | None, typer.Option(help='Budget of each process, such as "2GB".')] = None,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    jobs: Jobs = None,
    shard: Annotated[
        str, typer.Option("--shard", help="Do part i of n: i/n, by the names of the videos alone (Slurm arrays).")
    ] = "1/1",
    ray: Ray = None,
    state: State = None,
    retry_failed: Retry = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Also write what became of each video: .csv or .json.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Begin anew, and replace what is there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: o.Quiet = False,
) -> None:
    """Track points through many videos, with several processes or on a cluster.

    Without --grid, --points, --at, --mask or --corners, a grid of 16 x 16 points on --frame is tracked in each.
    Whatever happens (Ctrl-C, a process or machine that dies), the same command goes on where the work stopped, and no
    video is done twice. A video that fails is reported and passed over (exit code 1).

      tapkit batch takes/ --grid 20 --to csv,nuke -o out --jobs 4

      tapkit batch takes/ --grid 20 -o out --shard 3/8

      tapkit batch s3://bucket/takes --grid 20 -o s3://bucket/out --ray auto
    """
    from tapkit import fleet
    from tapkit.fleet.summary import check_report, is_report

    present(points, mask, weights)
    if report is not None:
        check_report(report)
        claim(report, inputs=[points, mask, weights, *videos], force=force or is_report(report))
    items = fleet.Videos(videos, shard)
    job = fleet.Tracking(
        items,
        model,
        None if weights is None else str(weights.resolve()),
        o.read_options(option),
        **_points(grid, points, at, mask, corners, skeleton),
        frame=frame, direction=direction, memory=memory, start=start, end=end, step=step,
        formats=tuple(name.strip() for name in to.split(",") if name.strip()), overlay=overlay,
    )  # fmt: skip
    if not quiet:
        _licence(job)
    summary = run_fleet(
        job, output, jobs=jobs, ray=ray, device=device, state=_of_shard(output, state, shard),
        retry_failed=retry_failed, force=force, quiet=quiet,
    )  # fmt: skip
    finish(summary, report, as_json, quiet)


def run_fleet(
    job: Task,
    output: str,
    *,
    jobs: int | None,
    ray: str | None,
    device: str,
    state: Path | None = None,
    retry_failed: bool = False,
    force: bool = False,
    quiet: bool = False,
    cpus: float = 1.0,
) -> Summary:
    """Do all items of a task, on processes or on Ray (`cpus` for each actor), with progress."""
    from tapkit import fleet
    from tapkit.fleet.show import progress

    with progress(quiet) as told:
        how: dict[str, Any] = {
            "jobs": jobs, "device": device, "state": state, "retry_failed": retry_failed, "replace": force,
            "report": told,
        }  # fmt: skip
        try:
            if ray is not None:
                return fleet.run_on_ray(job, output, address=ray, cpus=cpus, **how)
            return fleet.run(job, output, **how)
        except KeyboardInterrupt:
            o.say("interrupted; what is done is kept, and the same command goes on from there")
            raise


def finish(summary: Summary, report: Path | None, as_json: bool, quiet: bool) -> None:
    """Tell what a run has come to. Exit code 1 if anything failed."""
    from tapkit.fleet.summary import write_report

    if report is not None:
        write_report(summary, report)
    if as_json:
        print(json.dumps(summary.to_json()))
    elif not quiet:
        for line in summary.lines():
            print(line)
    if summary.failed:
        if quiet:
            o.say(f"tapkit: {summary.failed} of {summary.total} failed")
        raise typer.Exit(1)


def _points(
    grid: int | None,
    points: Path | None,
    at: list[str] | None,
    mask: Path | None,
    corners: int | None,
    skeleton: str | None,
) -> dict[str, Any]:
    """What is tracked in every video; a 16 x 16 grid if nothing is said."""
    given = o.given_points(points, at)
    if grid is None and mask is None and corners is None and given is None:
        grid = 16
    if skeleton is not None and given is None:
        raise UsageError("--skeleton names points by the ids of --points or --at")
    edges = () if given is None else o.read_skeleton(skeleton, points, given)
    return {
        "queries": given, "keyframes": o.read_keyframes(points), "skeleton": edges, "grid": grid, "corners": corners,
        "mask": o.read_mask(mask),
    }  # fmt: skip


def _licence(job: Tracking) -> None:
    from tapkit import registry

    o.say_licence(registry.card(job.model))


def _of_shard(output: str, state: Path | None, shard: str) -> Path | None:
    """The folder of a shard's work list: each has its own, so that they need nothing of each other."""
    if shard == "1/1":
        return state
    from tapkit.fleet.begin import state_folder

    return state_folder(output, state) / f"shard-{shard.replace('/', '-of-')}"
