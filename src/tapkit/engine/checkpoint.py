"""Checkpoint: how far an interrupted run had come, in a folder beside its result."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout
from torch import Tensor

from tapkit import storage
from tapkit.errors import StorageError


class Checkpoint:
    """`folder` holds job.json (what is being computed), progress.json and state.safetensors.

    A folder left by another job (other video, points, model or options) is emptied, one of other things refused. One
    process at a time: another one is refused with `StorageError` until this one, a context manager, is left.
    """

    @dataclass(frozen=True)
    class Position:
        """Where to go on: the pass, and whether `state()` leads into it (else it begins anew)."""

        task: int
        within: bool

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        self.folder = folder
        self._lock = FileLock(folder.with_name(folder.name + ".lock"))
        self._job = hashlib.sha256(json.dumps(job, sort_keys=True, default=str).encode()).hexdigest()
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise StorageError(
                f"another process is at work on {folder.with_suffix('')}; wait for it, or write to another file"
            ) from error
        except OSError as error:
            raise StorageError(f"cannot write {folder}: {error.strerror or error}") from error
        try:
            if folder.exists() and self._read("job.json").get("sha256") != self._job:
                if not folder.is_dir() or (any(folder.iterdir()) and not (folder / "job.json").exists()):
                    raise FileExistsError(errno.EEXIST, "something else than an interrupted run stands there")
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            self._write("job.json", {"sha256": self._job, **job})
        except OSError as error:
            self.__exit__()
            raise StorageError(f"cannot write {folder}: {error.strerror or error}") from error

    @property
    def results(self) -> Path:
        """Where the results of the run are collected."""
        return self.folder / "frames.bin"

    def position(self) -> Position | None:
        """Where the earlier run stopped; None if there was none, or if anything that it left is damaged or missing."""
        progress = self._read("progress.json")
        if not progress or progress.get("check") != self._check(progress):
            return None
        try:
            if self.results.stat().st_size < progress["bytes"]:
                return None
            if progress["state"] is not None and _digest(self.folder / progress["state"]) != progress["sha256"]:
                return None
        except OSError:
            return None
        return self.Position(progress["task"], progress["state"] is not None)

    @property
    def points(self) -> int | None:
        """How many points each pass of the earlier run has (its passes are counted by them); None: no such run."""
        found = self._read("points.json").get("points")
        return found if self.position() is not None and isinstance(found, int) and found > 0 else None

    @points.setter
    def points(self, count: int) -> None:
        try:
            self._write("points.json", {"points": count})
        except OSError as error:
            raise StorageError(f"cannot write {self.folder}: {error.strerror or error}") from error

    def forget(self) -> None:
        """The run begins anew, with other passes."""
        with contextlib.suppress(OSError):
            (self.folder / "progress.json").unlink(missing_ok=True)

    def state(self) -> dict[str, Tensor]:
        """The session's state at that position. Raises `StorageError`."""
        from safetensors.torch import load_file

        with storage.reading(self.folder, "an interrupted run"):
            return load_file(self.folder / self._read("progress.json")["state"])

    def save(self, task: int, state: Mapping[str, Tensor] | None) -> None:
        """Note that passes before `task` are done and this one is at `state` (None: at its beginning)."""
        old = self._read("progress.json").get("state")
        name = None
        try:
            if state is not None:
                # A new name each time: progress.json is what makes it count, in one atomic step.
                name = "state-b.safetensors" if old == "state-a.safetensors" else "state-a.safetensors"
                storage.write_tensors(self.folder / name, {key: tensor.cpu() for key, tensor in state.items()})
            progress = {
                "task": task,
                "state": name,
                "sha256": None if name is None else _digest(self.folder / name),
                "bytes": self.results.stat().st_size if self.results.exists() else 0,
            }
            self._write("progress.json", {**progress, "check": self._check(progress)})
        except OSError as error:
            raise StorageError(f"cannot write {self.folder}: {error.strerror or error}") from error

    def _check(self, progress: Mapping[str, Any]) -> str:
        """What shows that the facts of progress.json are those that were written, for this job."""
        facts = [progress.get(name) for name in ("task", "state", "sha256", "bytes")]
        return hashlib.sha256(json.dumps([self._job, *facts], default=str).encode()).hexdigest()

    def remove(self) -> None:
        """The run is complete and its result stored."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let another process continue from here."""
        self._lock.release()
        with contextlib.suppress(OSError):
            Path(self._lock.lock_file).unlink(missing_ok=True)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            content = json.loads((self.folder / name).read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        file = storage.Replacement(self.folder / name)
        try:
            file.partial.write_text(json.dumps(content, default=str))
            file.commit()
        finally:
            file.discard()


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
