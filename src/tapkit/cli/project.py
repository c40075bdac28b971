"""`tapkit project`: annotation projects without a browser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapkit.cli import options as o
from tapkit.cli.outputs import Force, present

if TYPE_CHECKING:
    from tapkit.annotate import Project
    from tapkit.annotate.values import Clip

project_app = typer.Typer(
    name="project",
    help="Annotation projects: clips, points, corrections. tapkit studio shows them in a browser.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Where = Annotated[str, typer.Argument(metavar="PROJECT", help="Folder NAME.tapproj, or postgresql://USER@HOST/DB.")]
ClipName = Annotated[
    str | None, typer.Option("--clip", "-c", help="Which clip, by name or number. [the only one there is]")
]
AsUser = Annotated[str | None, typer.Option("--user", help="Who you are, in a project with accounts.")]
Points = Annotated[str | None, typer.Option(help="Only these points: labels or numbers, with commas.")]


@project_app.command("new")
def new(
    where: Where,
    clips: Annotated[list[str] | None, typer.Argument(help="Videos to put into it: files, folders of images.")] = None,
    name: Annotated[str | None, typer.Option(help="What it is called. [as the folder]")] = None,
    quiet: o.Quiet = False,
) -> None:
    """Make a project, with clips if they are named.

    tapkit project new shot.tapproj clip.mp4
    """
    for clip in clips or ():
        present(clip)
    from tapkit.annotate import Project
    from tapkit.annotate.database import is_address

    place = where if is_address(where) or Path(where).suffix or Path(where).exists() else f"{where.rstrip('/')}.tapproj"
    with Project.create(place, name) as project:
        for clip in clips or ():
            project.add_clip(clip)
        if not quiet:
            print(project.where)


@project_app.command("add")
def add(
    where: Where,
    clips: Annotated[list[str], typer.Argument(help="Videos (files, folders of images), or tracks (.npz) of one.")],
    user: AsUser = None,
    quiet: o.Quiet = False,
) -> None:
    """Put clips into a project; tracks (.npz, .zarr) come with the points that they are of.

    tapkit project add shot.tapproj other.mp4 clip.tracks.npz
    """
    for clip in clips:
        present(clip)
    from tapkit.types import Tracks

    with _opened(where) as project:
        who = _user(project, user)
        for clip in clips:
            if clip.lower().endswith((".npz", ".zarr")):
                added = project.from_tracks(Tracks.load(clip), user=who)
            else:
                added = project.add_clip(clip, user=who)
            if not quiet:
                print(f"{added.id}  {added.name}: {added.frames} frames, {added.points} points")


@project_app.command("import")
def import_(
    where: Where,
    file: Annotated[Path, typer.Argument(help="Tracks, or what another program wrote.")],
    form: Annotated[str | None, typer.Option("--from", "-f", help="Format. [by the ending of FILE]")] = None,
    clip: ClipName = None,
    user: AsUser = None,
    quiet: o.Quiet = False,
) -> None:
    """Take points of a file into a clip: new ones, and keyframes of those that it has already.

    tapkit project import shot.tapproj corrected.nk --from nuke
    """
    present(file)
    from tapkit.cli.export import spoken
    from tapkit.types import Tracks
    from tapkit.types.storage import SUFFIXES

    with _opened(where) as project:
        who = _user(project, user)
        chosen = _clip(project, clip, who)
        with spoken(quiet):
            if form is None and file.suffix.lower() in SUFFIXES:
                tracks = Tracks.load(file)
            else:
                known = project.to_tracks(chosen.id, user=who)
                with project.source(chosen.id) as video:
                    info = video.info
                given = {"original": known} if len(known) else {"video": info}
                tracks = Tracks.read(file, form, **given)
        changed = project.from_tracks(tracks, clip=chosen.id, user=who)
        if not quiet:
            print(f"{changed.name}: {changed.points} points")


@project_app.command("export")
def export(
    where: Where,
    output: Annotated[Path, typer.Argument(help="File (or folder) to write.")],
    to: Annotated[str | None, typer.Option("--to", "-t", help="Format. [by the ending of the output]")] = None,
    clip: ClipName = None,
    every: Annotated[
        bool, typer.Option("--all", help="All clips: a TAP-Vid pickle (NAME.pkl), else a folder for tapkit eval.")
    ] = False,
    points: Points = None,
    when: Annotated[
        str | None, typer.Option(help="Frames to write: visible, valid (occluded ones too) or all. [by format]")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the format. Repeatable.")
    ] = None,
    user: AsUser = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Write the points of a clip for another program; tapkit export --list names the formats.

    tapkit project export shot.tapproj shot.nk --to nuke

    tapkit project export takes.tapproj take3.pkl --to tapvid --clip take3

    tapkit project export takes.tapproj takes.pkl --all
    """
    from tapkit.errors import UsageError

    if every:
        if any(part is not None for part in (to, clip, points, when, settings)):
            raise UsageError("--all writes all points of all clips: it goes without the options of one clip")
        _export_all(where, output, user, force)
        if not quiet:
            print(output)
        return
    from tapkit.cli.export import claim_format, read_settings, spoken
    from tapkit.cli.outputs import claim
    from tapkit.export import library

    with _opened(where) as project:
        who = _user(project, user)
        chosen = _clip(project, clip, who)
        plain = to is None and output.suffix.lower() in (".npz", ".zarr")
        if plain:
            claim(output, inputs=[project.where], force=force)
        form = None if plain else library.by_suffix(output) if to is None else library.find(to, output)
        if form is not None:
            claim_format(form, output, Path(project.where), force)
        tracks = project.to_tracks(chosen.id, _points(project, chosen, points, who), user=who)
        with spoken(quiet):
            if form is None:
                tracks.save(output)
            else:
                choices: dict[str, Any] = {"when": when, **read_settings(form.name, form.options, settings)}
                project.check_pictures(chosen.id, form, choices, who)
                form.write(tracks, output, **choices)
    if not quiet:
        print(output)


def _export_all(where: str, output: Path, user: str | None, force: bool) -> None:
    """All clips as one benchmark."""
    from tapkit import storage
    from tapkit.cli.outputs import claim
    from tapkit.datasets.folder import write_clip
    from tapkit.datasets.tapvid import write_tapvid

    with _opened(where) as project:
        found = project.dataset(_user(project, user))
        single = output.suffix == ".pkl"
        claim(output if single else None, folders=[] if single else [output], inputs=[project.where], force=force)
        if single:
            write_tapvid(output, found)
            return
        for each in found:
            write_clip(output / storage.file_name(each.name), each)


@project_app.command("solve")
def solve(
    where: Where,
    clip: ClipName = None,
    points: Points = None,
    flow: Annotated[str, typer.Option(help="Flow model that says how the picture moves (tapkit models).")] = "dis",
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A tracker that follows the points from every keyframe instead.")
    ] = None,
    only_between: Annotated[
        bool, typer.Option("--between", help="Only between keyframes, not before the first and after the last.")
    ] = False,
    user: AsUser = None,
    quiet: o.Quiet = False,
) -> None:
    """Fill the frames between the keyframes, through all of them: along the motion of the picture, or by a tracker.

    tapkit project solve shot.tapproj --points nose,tail

    tapkit project solve shot.tapproj --model strand
    """
    with _opened(where) as project:
        who = _user(project, user)
        chosen = _clip(project, clip, who)
        ids = _points(project, chosen, points, who)

        def told(done: int, total: int) -> None:
            if not quiet and (done == total or done % 10 == 0):
                o.say(f"{done} of {total}")

        choices: dict[str, Any] = {"until": "keyframes" if only_between else "end", "user": who, "progress": told}
        if model is None:
            change = project.solve(chosen.id, ids, flow, **choices)
        else:
            change = project.track(chosen.id, ids, model, **choices)
        if not quiet:
            print(change.text)


@project_app.command("report")
def report(
    where: Where,
    user: AsUser = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
) -> None:
    """The clips of a project, who worked on them, how long, and how far annotators agree.

    tapkit project report takes.tapproj
    """
    with _opened(where) as project:
        who = _user(project, user)
        clips, found = project.clips(who), project.report(who)
        if as_json:
            shown = [{**asdict(each), "fps": str(each.fps)} for each in clips]
            print(json.dumps({"project": project.name, "clips": shown, **asdict(found)}))
            return
    table = [("clip", "frames", "points", "state", "problem")]
    table += [(c.name, str(c.frames), str(c.points), c.state, c.problem or "") for c in clips]
    _print(table)
    if found.rows:
        rows = [("clip", "user", "stage", "state", "points", "keyframes", "edits", "minutes", "seconds a track")]
        rows += [
            (
                r.clip, r.user or "-", r.stage or "-", r.state or "-", str(r.points), str(r.keyframes), str(r.edits),
                f"{r.seconds / 60:.1f}", "-" if r.seconds_per_track is None else f"{r.seconds_per_track:.1f}",
            )
            for r in found.rows
        ]  # fmt: skip
        print()
        _print(rows)
    if found.agreement:
        print()
        cells = [
            (name, *("-" if value is None else f"{value:.2f}" for value in (median, kappa)))
            for name, median, kappa in found.agreement
        ]
        _print([("clip", "median distance at 256x256", "kappa of visibility"), *cells])


# -- what is meant ------------------------------------------------------------------------------------


def _opened(where: str) -> Project:
    from tapkit.annotate import Project

    return Project.open(where)


def _user(project: Project, name: str | None) -> int | None:
    """The number of a user. Raises `UsageError` for a name that nobody has."""
    from tapkit.errors import UsageError, did_you_mean

    if name is None:
        return None
    known = {user.name: user.id for user in project.users()}
    if name not in known:
        raise UsageError(f"there is no user {name!r} in this project{did_you_mean(name, known)}")
    return known[name]


def _clip(project: Project, wanted: str | None, user: int | None) -> Clip:
    """The clip that is meant, by name or number. Raises `UsageError`."""
    from tapkit.errors import UsageError, did_you_mean

    clips = project.clips(user)
    if wanted is None and len(clips) == 1:
        return clips[0]
    names = ", ".join(clip.name for clip in clips[:6]) or "none"
    if wanted is None:
        raise UsageError(f"which clip? this project has {names}: name it with --clip")
    found = [clip for clip in clips if clip.name == wanted] or [clip for clip in clips if str(clip.id) == wanted]
    if len(found) != 1:
        what = "there is no clip" if not found else "there are several clips"
        hint = did_you_mean(wanted, [clip.name for clip in clips])
        raise UsageError(f"{what} {wanted!r} in this project{hint} (it has {names})")
    return found[0]


def _points(project: Project, clip: Clip, wanted: str | None, user: int | None) -> list[int] | None:
    """Points by label or number; None: all. Raises `UsageError`."""
    from tapkit.errors import UsageError, did_you_mean

    if wanted is None:
        return None
    points = project.points(clip.id, user).points
    by_name = {(f"{p.group}.{p.label}" if p.group else p.label): p.id for p in points}
    numbers = {str(p.id): p.id for p in points}
    chosen = []
    for name in (part.strip() for part in wanted.split(",")):
        if name not in by_name and name not in numbers:
            raise UsageError(f"no point is called {name!r}{did_you_mean(name, by_name)}")
        chosen.append(by_name[name] if name in by_name else numbers[name])
    return chosen


def _print(rows: Sequence[Sequence[str]]) -> None:
    from tapkit.errors import one_line

    widths = [max(len(one_line(row[k])) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        print("  ".join(one_line(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
