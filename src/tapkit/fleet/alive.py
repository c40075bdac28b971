"""Whether a process that is known by its number is still the one that it was."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def machine() -> str:
    """This machine, as far as numbers of processes go: the same in two containers only if they share them."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{socket.gethostname()} {space}".strip()


def born(pid: int) -> str:
    """When a process began, in the system's own measure: numbers of processes are given out again. "" if unknown."""
    try:
        # The name of the program, in brackets, may have spaces and brackets in it.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def alive(pid: int, since: str) -> bool | None:
    """Whether a process of this machine runs that has that number and began then; None where that cannot be told."""
    if os.name == "nt":
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not since or born(pid) == since
