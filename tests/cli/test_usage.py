"""Wrong options and arguments: exit code 2, how the command is used, what was probably meant. Never a class's name."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from command_line import run

WRONG = [
    (["track", "a.mp4", "--gird", "3"], "--grid"),
    (["track"], "[Mm]issing argument"),
    (["track", "a.mp4", "--grid", "x"], "--grid"),
    (["track", "a.mp4", "--grid", "0"], "--grid"),
    (["track", "a.mp4", "--grid"], "--grid.*requires an argument"),
    (["track", "a.mp4", "--direction", "sideways"], "both"),
    (["draw", "a", "b", "c", "--trail", "-1"], "--trail"),
    (["data", "chek", "x"], "chek"),
    (["weights", "fetch"], "[Mm]issing argument"),
    (["trak", "a.mp4"], "did you mean 'track'"),
    (["--nope"], "--nope"),
]


@pytest.mark.parametrize(("arguments", "says"), WRONG)
def test_wrong_usage(arguments: list[str], says: str) -> None:
    said = run(*arguments, code=2).stderr
    assert said.startswith("Usage: tapkit") and re.search(says, said), said
    assert not re.search(r"NoSuchOption|BadParameter|MissingParameter|UsageError|--debug", said)


def test_every_command_refuses_an_option_that_it_does_not_have() -> None:
    from tapkit.cli.main import COMMANDS

    for name in COMMANDS:
        said = run(name, "--no-such-option", code=2).stderr
        assert "Usage: tapkit" in said and "no-such-option" in said, said


def test_no_arguments_give_the_help() -> None:
    done = subprocess.run([sys.executable, "-m", "tapkit"], capture_output=True, text=True)
    assert "Exit codes" in done.stdout + done.stderr and done.returncode in (0, 2)  # by the version of typer


def test_ctrl_c_is_130_and_one_line() -> None:
    code = (
        "import sys, types, tapkit.cli.main as c\n"
        "def stop(*a, **k): raise KeyboardInterrupt\n"
        "c.COMMANDS['models'] = ('stopper', 'stop', '')\n"
        "s = types.ModuleType('stopper'); s.stop = lambda: stop(); sys.modules['stopper'] = s\n"
        "sys.argv = ['tapkit', 'models']; c.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "tapkit: interrupted\n")
