"""Blender as a program of its own: where it is, and running one job in it. It is GPL; nothing here imports it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tapkit import storage
from tapkit.errors import MissingExtra, TapkitError, one_line

VARIABLE = "TAPKIT_BLENDER"
SCRIPT = Path(__file__).parent / "blender" / "film.py"
ENVIRONMENT = ".venv-blender"
"""Folder of a virtual environment that has bpy, looked for where one works and where tapkit is checked out."""


class BlenderError(TapkitError):
    """Blender has stopped with an error; the message says which."""


def find_blender() -> Path:
    """Blender, or a Python that has bpy: $TAPKIT_BLENDER, .venv-blender, or `blender` on the path.

    Raises `MissingExtra` with what to do if there is none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise MissingExtra(f"${VARIABLE} is {named[:200]!r}, which is no program that can be run")
        return Path(found)
    python = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    for root in (Path.cwd(), Path(__file__).parents[3]):
        if (root / ENVIRONMENT / python).exists():
            return root / ENVIRONMENT / python
    found = shutil.which("blender")
    if found is None:
        raise MissingExtra(
            f"Blender is not here; install it, or make an environment of its own: python3.11 -m venv {ENVIRONMENT} && "
            f"{ENVIRONMENT}/{python} -m pip install 'bpy==4.5.*' (elsewhere: let ${VARIABLE} name its Python)"
        )
    return Path(found)


def command(blender: Path, job: Path) -> list[str]:
    """How `blender` films the job of a file."""
    if blender.name.lower().startswith("python"):
        return [str(blender), str(SCRIPT), str(job)]
    options = ["--background", "--factory-startup", "--python-exit-code", "1", "--python"]
    return [str(blender), *options, str(SCRIPT), "--", str(job)]


def film(
    blender: Path,
    job: dict[str, Any],
    folder: Path,
    report: Callable[[dict[str, Any]], None],
    started: Callable[[subprocess.Popen[str]], None] | None = None,
) -> None:
    """Film one job; frames that are in its folder already are kept.

    Args:
        blender: from `find_blender`.
        job: see generate/blender/film.py.
        folder: of the frames, where the job and Blender's words are kept too (blender.log).
        report: called with what the script says: {"what": "frame", "number": ...}.
        started: called with the process, which whoever is interrupted must end.

    Raises `BlenderError` with the last thing that it said.
    """
    path, log = folder / "film.json", folder / "blender.log"
    storage.write_text(path, json.dumps({**job, "folder": str(folder.resolve())}))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    with open(log, "w", encoding="utf-8", errors="replace") as words:
        process = subprocess.Popen(
            command(blender, path),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
            env=environment,
            text=True,
            errors="replace",
        )
        try:
            if started is not None:
                started(process)
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("tapkit: "):
                    report(json.loads(line.removeprefix("tapkit: ")))
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if code:
        raise BlenderError(f"Blender stopped ({_reason(log, code)}); {log} has all it said")


def _reason(log: Path, code: int) -> str:
    """The last line of its errors, or how it ended."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if code < 0:
        return f"ended by signal {-code}"
    return one_line(lines[-1])[:300] if lines else f"exit code {code}"


def default_threads(jobs: int) -> int:
    """Threads for each of `jobs` Blenders at a time."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(cores // jobs, 1)
