"""`tapkit export`: stored tracks in the format of another program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapkit.cli import options as o
from tapkit.cli.outputs import claim, present

if TYPE_CHECKING:
    from tapkit.export.format import Format


def export(
    tracks: Annotated[
        Path | None,
        typer.Argument(help="Tracks (.npz, .zarr, .csv, .parquet), or what tapkit dense or tapkit flow wrote."),
    ] = None,
    output: Annotated[Path | None, typer.Argument(help="Where to. [beside the tracks, with the usual ending]")] = None,
    to: Annotated[str | None, typer.Option("--to", "-t", help="Format. [by the ending of the output]")] = None,
    when: Annotated[
        str | None, typer.Option(help="Frames to write: visible, valid (occluded ones too) or all. [by format]")
    ] = None,
    gaps: Annotated[str, typer.Option(help="Between known positions: drop, hold or interpolate.")] = "drop",
    threshold: Annotated[
        float | None, typer.Option(help="Visible from this score on. [the model authors' own]")
    ] = None,
    start_frame: Annotated[
        int | None, typer.Option(help="Number of the first frame. [what the program expects]")
    ] = None,
    points: Annotated[str | None, typer.Option(help="Only these ids, with commas.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the format. Repeatable.")
    ] = None,
    refine: Annotated[
        bool, typer.Option("--refine", help="Align positions to a fraction of a pixel first; the video must be there.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is there already; write files of more than 2 GB, too.")
    ] = False,
    list_formats: Annotated[bool, typer.Option("--list", help="List the formats and their options.")] = False,
    quiet: o.Quiet = False,
) -> None:
    """Write tracks for another program: Nuke, After Effects, Blender, 3DEqualizer, CVAT, DeepLabCut, CSV and more.

    tapkit export clip.tracks.npz shot.nk --to nuke
    tapkit export clip.tracks.npz --to cvat --set tolerance=0.25
    tapkit export clip.dense.zarr --to stmap
    tapkit export --list
    """
    from tapkit.errors import UsageError

    if list_formats:
        print_formats()
        return
    if tracks is None:
        raise UsageError("which tracks? tapkit export TRACKS [OUTPUT] --to FORMAT (tapkit export --list)")
    if to is None and output is None:
        raise UsageError("which format? give --to FORMAT or an output file (tapkit export --list)")
    present(tracks)
    from tapkit.export import exr, library
    from tapkit.export.dense_files import is_dense, load_dense
    from tapkit.types import Tracks

    form = library.by_suffix(output) if to is None and output is not None else library.find(str(to), output)
    target = output or library.beside(tracks, form.name, form.suffix)
    selected = any(part is not None for part in (points, when, threshold, settings))
    if is_dense(tracks) and (tracks.suffix.lower() != ".zarr" or (form.name in exr.PLANES and not selected)):
        if selected:
            raise UsageError("flow is written whole: --points, --when, --threshold and --set are for tracks")
        if refine:
            raise UsageError("--refine is for tracks of single points, not for dense results")
        size = {"largest": float("inf")} if force else {}
        dense = load_dense(tracks)
        claim(*exr.dense_files(dense, target, start_frame), inputs=[tracks], force=force)
        exr.write_dense(dense, target, form.name, start_frame=start_frame, **size)
        if not quiet:
            print(target)
        return
    claim_format(form, target, tracks, force)
    stored = Tracks.load(tracks)
    if form.files is not None:
        first = form.number_of_first(stored.video, start_frame)
        claim(*form.files(target, range(first, first + stored.frames)), inputs=[tracks], force=force)
    if refine:
        from tapkit.apps.edit import refine_tracks

        stored = refine_tracks(stored)
    if points:
        stored = stored[[name.strip() for name in points.split(",")]]
    choices: dict[str, Any] = {"when": when, "gaps": gaps, "threshold": threshold, "start_frame": start_frame}
    if force:
        choices["largest"] = float("inf")
    with spoken(quiet):
        form.write(stored, target, **choices, **read_settings(form.name, form.options, settings))
    if not quiet:
        print(target)


def claim_format(form: Format, target: Path, tracks: Path, force: bool) -> None:
    """See `outputs.claim`; formats that are two files, or a folder, ask for all of it."""
    if form.suffix == "/":
        claim(folders=[target], inputs=[tracks], force=force)
    elif form.suffix == ".h5":  # DeepLabCut's tables: the CSV stands beside the HDF5
        claim(target.with_suffix(".h5"), target.with_suffix(".csv"), inputs=[tracks], force=force)
    else:
        claim(target, inputs=[tracks], force=force)


def read_settings(name: str, known: Mapping[str, Any], pairs: list[str] | None) -> dict[str, Any]:
    """NAME=VALUE pairs, each value made by the option that the format declares."""
    from tapkit.errors import UsageError
    from tapkit.parsing import parse_pairs

    chosen: dict[str, Any] = {}
    for option, value in parse_pairs(pairs).items():
        if option not in known:
            raise UsageError(f"{name} has no option {option!r}; it has {', '.join(known) or 'none'}")
        try:
            chosen[option] = known[option].kind(value)
        except UsageError:
            raise
        except ValueError as error:
            raise UsageError(f"{option} must be a {known[option].kind.__name__}, got {value!r}") from error
    return chosen


def print_formats() -> None:
    """Name, ending, directions, description and options of every format."""
    from tapkit.export import library

    entries = list(library.formats().values())
    for entry in entries:
        ways = "export, import" if entry.reader else "export"
        print(f"{entry.name:<16} {entry.suffix:<13} {ways:<15} {entry.description}")
        for name, option in entry.options.items():
            print(f"{'':<18}--set {name}=...  {option.help}")
    print()
    for name, meant in library.ALIASES.items():
        print(f"{name:<16} {' or '.join(meant)}, by the ending of the file")


@contextmanager
def spoken(quiet: bool) -> Iterator[None]:
    """Warnings as lines for the person at the terminal, each once."""
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    if not quiet:
        for text in dict.fromkeys(str(entry.message) for entry in caught):
            o.say(f"warning: {text}")
