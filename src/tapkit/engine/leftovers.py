"""What runs that did not end well have left: folders that the same command continues from, and files half written.

NAME.npz.partial/           an interrupted run (`engine.checkpoint`); tracking to NAME.npz again continues it
NAME.npz.partial.lock       held by the process that is at work there
.NAME.PID-NUMBER.partial    a file or folder that a process was writing when it was killed (`storage`)
.tapkit-XXXX.partial/       the same, of several files
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tapkit import storage
from tapkit.errors import StorageError

BUSY_SECONDS = 60.0
"""What was changed within that time may be in use by another machine: running writers never pause so long."""


@dataclass(frozen=True)
class Leftover:
    """One folder or file."""

    path: Path
    result: Path | None
    """What it would have become, where its name says so."""
    size: int
    """Bytes."""
    age: float
    """Seconds since the last change."""
    resumable: bool
    """Whether the same command continues from it."""
    busy: bool
    """Whether a process is at work on it, as far as can be told."""


def find(folder: str | Path) -> list[Leftover]:
    """All that lies in `folder` and below, in the order of names. Raises `StorageError` if there is no such folder."""
    root = Path(folder)
    if not root.is_dir():
        raise StorageError(f"{root} is not a folder")
    return sorted((_look(path) for path in _candidates(root)), key=lambda found: found.path)


def clear(found: list[Leftover]) -> list[Leftover]:
    """Remove those that nobody is at work on; returns them. Raises `StorageError` for what cannot be removed."""
    gone = []
    for each in found:
        if each.busy or _look(each.path).busy:
            continue
        try:
            if each.path.is_dir() and not each.path.is_symlink():
                shutil.rmtree(each.path)
            else:
                each.path.unlink(missing_ok=True)
            lock = _lock_of(each.path)
            if each.resumable:
                lock.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove {each.path}: {storage.reason(error)}") from error
        gone.append(each)
    return gone


def _candidates(root: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(root):
        own = [name for name in folders if _is_ours(Path(here) / name)]
        yield from (Path(here) / name for name in own)
        yield from (Path(here) / name for name in files if _is_ours(Path(here) / name))
        folders[:] = [name for name in folders if name not in own]


def _is_ours(path: Path) -> bool:
    """Names alone do not tell: a folder that somebody called X.partial is none unless it holds a run."""
    if re.fullmatch(rf"\..+\.\d+-[0-9a-f]{{8}}{re.escape(storage.PARTIAL)}", path.name):
        return True
    if re.fullmatch(rf"\.tapkit-\w+{re.escape(storage.PARTIAL)}", path.name):
        return path.is_dir()
    return path.name.endswith(storage.PARTIAL) and _is_run(path)


def _is_run(path: Path) -> bool:
    try:
        return path.is_dir() and "sha256" in json.loads((path / "job.json").read_text())
    except (OSError, ValueError, TypeError):
        return False


def _look(path: Path) -> Leftover:
    inside = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else []
    facts = [status for p in (path, *inside) if (status := _status(p)) is not None]
    age = time.time() - max((status.st_mtime for status in facts), default=0.0)
    size = sum(status.st_size for p, status in zip((path, *inside), facts, strict=False) if p.is_file())
    run = _is_run(path)
    result = path.with_name(path.name.removesuffix(storage.PARTIAL)) if run else _result_of(path)
    return Leftover(path, result, size, age, run, (age < BUSY_SECONDS and not run) or _is_held(path, run))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # gone in the meantime
        return None


def _result_of(path: Path) -> Path | None:
    name = re.fullmatch(r"\.(.+)\.\d+-[0-9a-f]{8}" + re.escape(storage.PARTIAL), path.name)
    return None if name is None else path.with_name(name[1])


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _is_held(path: Path, run: bool) -> bool:
    """Whether the lock of a run is held, or the process that a file's name names is alive."""
    if run:
        if not _lock_of(path).exists():
            return False
        try:
            with FileLock(_lock_of(path), timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return False
    number = re.search(r"\.(\d+)-[0-9a-f]{8}" + re.escape(storage.PARTIAL) + "$", path.name)
    return number is not None and _is_alive(int(number[1]))


def _is_alive(process: int) -> bool:
    if os.name == "nt":
        return False  # asking would end the process there; the time of change has to do
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
