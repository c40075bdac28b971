"""Running `tapkit` in this process, as the console script does."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest


class Done(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


def run(*arguments: object, code: int = 0) -> Done:
    """Run a command, which must leave with exit code `code` and without a traceback."""
    from tapkit.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        patch.setattr(sys, "argv", ["tapkit", *(str(a) if isinstance(a, Path) else a for a in arguments)])  # type: ignore[list-item]
        with pytest.raises(SystemExit) as left:
            main()
    assert (left.value.code or 0) == code, err.getvalue() + out.getvalue()
    assert "Traceback" not in err.getvalue()
    return Done(out.getvalue(), err.getvalue())
