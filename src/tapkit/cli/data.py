"""`tapkit data`: what a benchmark on disk holds, and writing benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tapkit import storage
from tapkit.cli.options import say
from tapkit.cli.outputs import Force, claim
from tapkit.errors import one_line

data_app = typer.Typer(
    add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="Check and convert datasets."
)

Where = Annotated[str, typer.Argument(help="A benchmark's folder or file, or 'tiny'.")]


@data_app.command()
def check(
    dataset: Where,
    quick: Annotated[bool, typer.Option("--quick", help="Annotations only; open no video.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="A line for every clip, also the good ones.")
    ] = False,
) -> None:
    """Say what is there, missing, truncated or known to be bad. Exit code 1 if anything is missing or damaged."""
    from tapkit.datasets import open_dataset
    from tapkit.datasets.check import check_clips

    benchmark = open_dataset(dataset)
    print(f"{benchmark.name}: {len(benchmark)} clips")
    counts: dict[str, int] = {}
    for finding in check_clips(benchmark, frames=False) if quick else benchmark.check():
        counts[finding.level] = counts.get(finding.level, 0) + 1
        if verbose or finding.level != "ok":
            print(f"  {finding.level:8} {one_line(finding.where)}: {one_line(finding.what)}", flush=True)
    print(", ".join(f"{number} {level}" for level, number in sorted(counts.items())) or "nothing found")
    if counts.keys() & {"missing", "damaged"}:
        raise typer.Exit(1)


@data_app.command()
def convert(
    dataset: Where,
    out: Annotated[Path, typer.Argument(help="NAME.pkl: a TAP-Vid pickle; else a folder in tapkit's format.")],
    clip: Annotated[list[str] | None, typer.Option("--clip", help="Only this clip. Repeatable.")] = None,
    force: Force = False,
) -> None:
    """Write a benchmark as a TAP-Vid pickle or in tapkit's folder format, one clip at a time."""
    from tapkit.datasets import open_dataset
    from tapkit.datasets.folder import write_clip
    from tapkit.datasets.tapvid import write_tapvid

    benchmark = open_dataset(dataset)
    names = clip or list(benchmark.names())
    single = out.suffix == ".pkl"
    claim(out if single else None, folders=[] if single else [out], inputs=[dataset], force=force)
    clips = (benchmark.clip(name) for name in names)
    if single:
        count = write_tapvid(out, clips)
    else:
        count = 0
        for each in clips:
            write_clip(out / storage.file_name(each.name), each)
            count += 1
    say(f"wrote {count} clips to {out}")
