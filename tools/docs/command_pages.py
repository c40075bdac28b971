"""The reference of the command line: what each command says of itself with --help."""

from __future__ import annotations

import os
from typing import Any

import click

_WIDTH = 100


def commands_page() -> str:
    """One section for each command, in the order of `tapkit --help`."""
    from tapkit.cli.main import COMMANDS, app

    os.environ["COLUMNS"] = str(_WIDTH)
    parts = [
        "# Command line",
        "Written when this page is built, from the commands' own `--help`. Every command ends with an exit code that "
        "says [what went wrong](errors.md#exit-codes), and prints one sentence instead of a traceback (`--debug` shows it).",
        _help(app, "tapkit", None),
    ]
    context = click.Context(app, info_name="tapkit")
    for name in COMMANDS:
        command: Any = app.get_command(context, name)
        parts += [f"## tapkit {name}", _help(command, name, context)]
        inner = click.Context(command, info_name=name, parent=context)
        for sub, each in sorted(getattr(command, "commands", {}).items()):
            parts += [f"### tapkit {name} {sub}", _help(each, sub, inner)]
    return "\n\n".join(parts) + "\n"


def _help(command: Any, name: str, parent: click.Context | None) -> str:
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=_WIDTH, max_content_width=_WIDTH, color=False
    )
    text = command.get_help(context)
    return "```text\n" + click.unstyle(text).rstrip().replace("\b\n", "") + "\n```"
