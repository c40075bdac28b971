"""`tapkit pseudo-label`: clips to train on from videos without annotation, by one tracker or a committee."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tapkit.cli import options as o
from tapkit.cli.batch import Jobs, Ray, finish, run_fleet
from tapkit.errors import UsageError
from tapkit.parsing import parse_size
from tapkit.registry import DEFAULT

if TYPE_CHECKING:
    from tapkit.train.pseudo.options import LabelOptions


def pseudo_label(
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO...", help="Videos, or folders of them.")],
    out: Annotated[Path, typer.Argument(help="Folder for the clips, one folder each, and the report.")],
    teachers: Annotated[
        str,
        typer.Option(
            "--teachers", "--model", "-m", metavar="MODEL,MODEL,...", help="Trackers; `tapkit models` lists them."
        ),
    ] = DEFAULT,
    agree: Annotated[
        int, typer.Option("--agree", min=0, metavar="N", help="All teachers follow each point, and N must agree.")
    ] = 0,
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", metavar="MODEL=FILE", help="Checkpoint of a teacher. Repeatable; with one, FILE."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="MODEL:NAME=VALUE", help="An option of a teacher. Repeatable; with one, NAME=VALUE."
        ),
    ] = None,
    clips: Annotated[int, typer.Option("--clips", "-n", min=1, help="Pieces drawn from each video.")] = 1,
    frames: Annotated[str, typer.Option(metavar="N or N-M", help="Frames of a piece; drawn between N and M.")] = "64",
    step: Annotated[int, typer.Option(min=1, help="Every k-th frame is taken, k drawn below this.")] = 4,
    size: Annotated[
        str, typer.Option(metavar="WIDTHxHEIGHT", help="Largest crop, at the video's own resolution.")
    ] = "512x384",
    points: Annotated[int, typer.Option(min=1, help="Corners asked for in each piece.")] = 384,
    detector: Annotated[Literal["sift", "corners"], typer.Option(help="SIFT (extra: cv), or Shi-Tomasi.")] = "sift",
    contrast: Annotated[float, typer.Option(min=0, help="Texture around a corner, at least: grey levels.")] = 4.0,
    round_trip: Annotated[
        float,
        typer.Option(min=0, help="A point must find its way back so near, pixels of a 256x256 frame; 0: not checked."),
    ] = 1.5,
    within: Annotated[float, typer.Option(min=0.01, help="With --agree: so near, pixels of a 256x256 frame.")] = 3.0,
    least: Annotated[float, typer.Option(min=0, max=1, help="Share of the points that must hold up in a piece.")] = 0.1,
    cuts: Annotated[bool, typer.Option("--cuts/--no-cuts", help="Keep clear of scene cuts.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of pieces, points and teachers.")] = 0,
    device: o.Device = "auto",
    jobs: Jobs = None,
    ray: Ray = None,
    quiet: o.Quiet = False,
) -> None:
    """Track corners through pieces of videos, and keep as ground truth what holds up.

        tapkit pseudo-label videos/ labelled/ --teachers cotracker3-online,cotracker3-offline,tapir
        tapkit pseudo-label a.mp4 b.mp4 labelled/ --teachers strand,flowtrack,lucas-kanade --agree 2 --clips 10

    A teacher is drawn for each piece, as CoTracker3 does it, or several must agree. OUT/report.html shows what was kept
    and what was thrown away, and why. Pieces that are done are kept, so an interrupted run is continued by the same
    command; a video that fails is reported and passed over (exit code 1). Only use videos whose licence allows it.
    """
    from tapkit.cli.clips import clips_of
    from tapkit.train.pseudo.label import label_videos
    from tapkit.train.pseudo.options import LabelOptions

    names = tuple(name.strip() for name in teachers.split(","))
    options = LabelOptions(
        teachers=names,
        weights=_by_teacher(weights, "=", names, "--weights"),
        settings=_settings(option, names),
        agree=agree,
        agree_within=within,
        pieces=clips,
        frames=_range(frames),
        largest_step=step,
        size=parse_size(size),
        points=points,
        points_per_frame=min(points, 48),
        detector=detector,
        contrast=contrast,
        round_trip=round_trip or None,
        least=least,
        cuts=cuts,
        seed=seed,
        device=device,
    )
    if jobs is not None or ray is not None:
        _by_many(videos, out, options, jobs, ray, quiet)
        return
    found, _ = clips_of(videos)
    reports = label_videos(found, out, options, None if quiet else o.say)
    failed = sum(bool(report.error) for report in reports)
    if not quiet:
        pieces = sum(len(report.pieces) for report in reports)
        o.say(
            f"{out}: {sum(report.kept for report in reports)} clips of {pieces} pieces"
            + f", {failed} of {len(reports)} videos failed" * bool(failed)
            + f"; {out / 'report.html'} shows them"
        )
    if failed:
        raise typer.Exit(1)


def _by_many(
    videos: list[str], out: Path, options: LabelOptions, jobs: int | None, ray: str | None, quiet: bool
) -> None:
    """The same by several processes, or on a cluster."""
    from tapkit.fleet import Labelling, Videos
    from tapkit.train.pseudo.dataset import claim
    from tapkit.train.pseudo.report import write_report

    job = Labelling(Videos(videos), options)
    summary = run_fleet(job, str(claim(out, options)), jobs=jobs, ray=ray, device=options.device, quiet=quiet)
    page = write_report(out, {row.item.name: row.error for row in summary.failures()})
    if not quiet:
        o.say(f"{page} shows them")
    finish(summary, None, False, quiet)


def _by_teacher(given: list[str] | None, mark: str, names: Sequence[str], option: str) -> dict[str, str]:
    """MODEL=REST as a dict; REST alone is of the only teacher."""
    found = {}
    for text in given or ():
        name, found_mark, rest = text.partition(mark)
        if found_mark and name in names:
            found[name] = rest
        elif len(names) == 1:
            found[names[0]] = text
        else:
            raise UsageError(f"{option} needs to say whose: {names[0]}{mark}{text}")
    return found


def _settings(given: list[str] | None, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for text in given or ():
        ((name, rest),) = _by_teacher([text], ":", names, "--set").items()
        found.setdefault(name, {}).update(o.read_options([rest]))
    return found


def _range(text: str) -> tuple[int, int]:
    low, mark, high = text.partition("-")
    try:
        return int(low), int(high if mark else low)
    except ValueError:
        raise UsageError(f"--frames is a number such as 64, or a range such as 40-79, not {text!r}") from None
