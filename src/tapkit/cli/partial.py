"""`tapkit partial`: what interrupted runs have left."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

partial_app = typer.Typer(
    help="List and clear what interrupted runs have left.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

Where = Annotated[Path, typer.Argument(help="Folder to look in, with those below it.")]


@partial_app.command("list")
def list_partial(
    folder: Where = Path("."), as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List interrupted runs, which the same command continues, and files that were never completed."""
    from tapkit.engine import leftovers

    found = leftovers.find(folder)
    if as_json:
        print(json.dumps([asdict(each) for each in found], default=str))
        return
    for each in found:
        what = "can be continued" if each.resumable else "unfinished file"
        print(f"{each.path}  {each.size / 2**20:.1f} MiB  {_age(each.age)}  {'in use' if each.busy else what}")
    if not found:
        print(f"nothing is left in {folder}")


@partial_app.command()
def clear(
    folder: Where = Path("."),
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Only files that nothing continues from; keep interrupted runs.")
    ] = False,
) -> None:
    """Remove them, except what a process is at work on."""
    from tapkit.engine import leftovers

    found = [each for each in leftovers.find(folder) if not (unfinished and each.resumable)]
    gone = leftovers.clear(found)
    for each in gone:
        print(each.path)
    kept = len(found) - len(gone)
    print(f"removed {len(gone)}, {sum(each.size for each in gone) / 2**20:.1f} MiB" + f"; {kept} in use" * bool(kept))


def _age(seconds: float) -> str:
    """How long ago, in the largest unit that fits.

    >>> _age(5), _age(7300), _age(400_000)
    ('5 s ago', '2 h ago', '4 days ago')
    """
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
