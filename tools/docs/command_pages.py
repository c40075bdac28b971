"""The reference of the command line: what each command says of itself with --help."""

from __future__ import annotations

import re
from typing import Any

import typer
from model_tables import table

from tapkit.cli.main import COMMANDS, app

_WIDTH = 100


def commands() -> str:
    """One section for each command, in the order of `tapkit --help`."""
    parts = [_help(app, "tapkit", None)]
    context = typer.Context(app, info_name="tapkit")
    for name in COMMANDS:
        command: Any = app.get_command(context, name)
        parts += [f"## tapkit {name}", _help(command, name, context)]
        inner = typer.Context(command, info_name=name, parent=context)
        for sub, each in sorted(getattr(command, "commands", {}).items()):
            parts += [f"### tapkit {name} {sub}", _help(each, sub, inner)]
    return "\n\n".join(parts)


def exit_codes() -> str:
    """The table of exit codes, from the last lines of `tapkit --help`."""
    told = str(app.epilog).partition("Exit codes:")[2]
    return table(["code", "meaning"], re.findall(r"(\d+) ([^,.]+)", told), "rl")


def _help(command: Any, name: str, parent: typer.Context | None) -> str:
    context = typer.Context(
        command, info_name=name, parent=parent, terminal_width=_WIDTH, max_content_width=_WIDTH, color=False
    )
    text = re.sub(r"\x1b\[[\d;]*m", "", command.get_help(context)).rstrip()
    if not text:
        raise RuntimeError(f"tapkit {name} --help gives no plain text (rich_markup_mode must be None)")
    return f"```text\n{text}\n```"
