"""Make `.venv-blender`, an environment with Blender as a Python module, for the tests that run real Blender.

    python tools/blender_venv.py            # makes it if it is not there, prints its interpreter
    python tools/blender_venv.py --where    # only prints the interpreter if it works, exit status 1 if not

bpy wheels are made for one Python each: 4.5 (long-term support until 2027) wants Python 3.11. It is a GPL program of
its own: tapkit neither imports nor ships it, the tests run it as a subprocess. On a bare Debian it needs a few X
libraries even without a screen; where they are missing this says which.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv-blender"
WHEEL = "bpy==4.5.*"
PYTHON = "3.11"
DEBIAN = "libx11-6 libxi6 libxxf86vm1 libxfixes3 libxrender1 libxkbcommon0 libgl1 libegl1 libsm6 libice6"


def interpreter() -> Path:
    """The environment's Python, wherever the system puts it."""
    return FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def version() -> str | None:
    """Blender's version in the environment, None if it is not there or does not start."""
    if not interpreter().exists():
        return None
    asked = subprocess.run(
        [interpreter(), "-c", "import bpy; print(bpy.app.version_string)"], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        print(asked.stderr.strip().splitlines()[-1] if asked.stderr.strip() else "bpy does not start", file=sys.stderr)
        return None
    return asked.stdout.strip().splitlines()[-1]


def python311() -> str | None:
    """A Python that the wheel was made for: this one, or one on the path."""
    if sys.version_info[:2] == (3, 11):
        return sys.executable
    return shutil.which(f"python{PYTHON}")


def make() -> int:
    """Create the environment. Returns an exit status."""
    python = python311()
    if python is None:
        print(f"Blender's wheel needs Python {PYTHON}, which is not on the path", file=sys.stderr)
        return 1
    began = time.monotonic()
    subprocess.run([python, "-m", "venv", "--clear", FOLDER], check=True)
    subprocess.run([interpreter(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", WHEEL], check=True)
    found = version()
    if found is None:
        print(f"bpy was installed but does not start; on Debian: apt-get install -y {DEBIAN}", file=sys.stderr)
        return 1
    size = sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file() and not file.is_symlink())
    print(f"Blender {found}: {size / 1e6:.0f} MB in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--where", action="store_true", help="do not make it")
    arguments = parser.parse_args()
    if version() is None and (arguments.where or make()):
        return 1
    print(interpreter())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
