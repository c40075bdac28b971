"""Run a program of the project's environment, wherever it lies: `python3 tools/in_venv.py ruff check src`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """The exit status of the program; 2 if there is no environment."""
    if not arguments:
        print("usage: in_venv.py PROGRAM [ARGUMENTS]", file=sys.stderr)
        return 2
    root = Path(__file__).parents[1]
    folder = root / os.environ.get("VENV", ".venv") / ("Scripts" if os.name == "nt" else "bin")
    program = folder / (arguments[0] + (".exe" if os.name == "nt" else ""))
    if not program.exists():
        print(f"{program} is not there: `make test` sets the environment up", file=sys.stderr)
        return 2
    return subprocess.run([program, *arguments[1:]], cwd=root, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
