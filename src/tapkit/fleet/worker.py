"""Worker: does items of a task and puts their results in place. Each process, each actor of Ray, holds one."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir
from typing import Any, NamedTuple

from tapkit import storage
from tapkit.errors import StorageError, TapkitError, one_line
from tapkit.fleet.places import Local, place
from tapkit.fleet.task import Facts, Item, Task, Tell
from tapkit.fleet.worklist import WorkList

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""What the system says when nothing can be written any more: no fault of the item at hand."""


class Outcome(NamedTuple):
    """What became of an item."""

    state: str
    """"done"; "there": its result was there already; "failed"; "lost": it is another's by now; "full": nothing can be
    written here any more, the item is for another worker."""
    facts: Facts
    sentence: str = ""


class Worker:
    """A task that is ready on this process's device."""

    def __init__(self, task: Task, out: str, work: str | None, device: str, replace: bool = False) -> None:
        """Load what the task needs.

        Args:
            task: what is done.
            out: folder or address of the results.
            work: folder for what is not finished; None: a temporary one of this machine.
            device: see `tapkit.api.choose_device`.
            replace: whether results that are there are replaced.
        """
        self.task, self.replace = task, replace
        self.place = place(out)
        self.work = Path(work) if work is not None else temporary(out)
        self._identity = json.dumps(task.identity(), sort_keys=True, default=str)
        self._do = task.ready(device)

    def do(self, item: Item, tell: Tell, holds: Callable[[], bool]) -> Outcome:
        """Do one item; asks `holds` before anything is put in place. Whatever is wrong with the item is its outcome.

        KeyboardInterrupt and SystemExit go on up. What was computed until then, or could not be put in place, is kept
        for whoever does the item next.
        """
        folder = self._folder(item)
        try:
            if not self.replace and self.place.has(self.task.result(item.name)):
                return Outcome("there", {})
            storage.make_folder(folder)
            facts = self._facts(item, folder, tell)
        except Exception as error:
            if is_full(error):
                return Outcome("full", {}, sentence(error))
            shutil.rmtree(folder, ignore_errors=True)
            return Outcome("failed", {}, sentence(error))
        try:
            if not holds():
                return Outcome("lost", {})
            self._put(folder, self.task.result(item.name))
        except Exception as error:
            return Outcome("full" if is_full(error) else "failed", {}, sentence(error))
        shutil.rmtree(folder, ignore_errors=True)
        return Outcome("done", facts)

    def _folder(self, item: Item) -> Path:
        """Where what is unfinished of an item is kept: what another task has left there is none of it."""
        key = f"{item.name}\n{item.source}\n{self._identity}"
        return self.work / hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:20]

    def _facts(self, item: Item, folder: Path, tell: Tell) -> dict[str, Any]:
        """Do an item in `folder`; what is said of it, with the time it took and the warnings that were given."""
        started = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            facts = {**self._do(item, folder, tell)}
        facts["seconds"] = round(time.perf_counter() - started, 3)
        facts["warnings"] = list(dict.fromkeys(one_line(str(each.message)) for each in caught))
        return facts

    def _put(self, folder: Path, last: str) -> None:
        """Put all files of a folder in place, the one that says that the item is done at the end."""
        found = {file.relative_to(folder): file for file in sorted(folder.rglob("*")) if file.is_file()}
        files = {name.as_posix(): file for name, file in found.items() if not any(map(unfinished, name.parts))}
        final = files.pop(last)
        for name, file in files.items():
            self.place.put(file, name)
        self.place.put(final, last)


def unfinished(name: str) -> bool:
    """Whether a file or folder is what a process that was killed has left half written.

    >>> unfinished(".a.csv.12-ab.partial"), unfinished("a.npz.partial.lock"), unfinished("a.csv")
    (True, True, False)
    """
    return name.removesuffix(".lock").endswith(storage.PARTIAL)


def note(worklist: WorkList, owner: int, id: int, outcome: Outcome) -> bool:
    """Write on the work list what became of an item. False: whoever did it can do no more."""
    if outcome.state == "done":
        worklist.done(owner, id, outcome.facts)
    elif outcome.state == "there":
        worklist.there(owner, id)
    elif outcome.state == "failed":
        worklist.failed(owner, id, outcome.sentence)
    elif outcome.state == "full":
        worklist.release(owner, id)
    return outcome.state != "full"


def temporary(out: str) -> Path:
    """A folder of this machine for what is not finished of the results of `out`."""
    return Path(gettempdir()) / f"tapkit-batch-{hashlib.sha256(out.encode()).hexdigest()[:12]}"


def work_folder(out: str, state: Path) -> str | None:
    """Where unfinished results of a run are kept: beside the work list if the output is a folder, for then whoever
    writes results can write there."""
    return str(state / "work") if isinstance(place(out), Local) else None


def sentence(error: BaseException) -> str:
    """What is said of an error: that of tapkit as it is, others with their kind."""
    if isinstance(error, TapkitError):
        return one_line(str(error))
    if isinstance(error, OSError):
        name = f"{str(error.filename)[:200]}: " if error.filename else ""
        return one_line(name + storage.reason(error))
    return one_line(f"{type(error).__name__}: {str(error)[:300]}")


def exit_code(error: BaseException) -> int:
    """With which the command line ends for an error."""
    if isinstance(error, OSError) and not isinstance(error, TapkitError):
        return StorageError.exit_code
    return int(getattr(error, "exit_code", 1))


def refusal(said: str, code: int) -> TapkitError:
    """What another process said is wrong for all items."""
    error = TapkitError(said)
    error.exit_code = code
    return error


def is_full(error: BaseException) -> bool:
    """Whether an error, or what it came from, is that nothing can be written any more."""
    cause: Any = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in FULL:
            return True
        cause = cause.__cause__ or cause.__context__
    return False
