"""How every run over many items begins, on processes as on Ray: its work list, filled and looked through."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tapkit.fleet.places import Local, place
from tapkit.fleet.task import Task
from tapkit.fleet.worker import work_folder
from tapkit.fleet.worklist import WorkList

FOLDER = ".tapkit-batch"
"""Where a run keeps its work list and unfinished results."""
FILE = "worklist.sqlite"


def state_folder(out: str, state: str | Path | None = None) -> Path:
    """The folder of a run: the one given, else one in the output, or here if that is an address."""
    if state is not None:
        return Path(state).resolve()
    where = place(out)
    if isinstance(where, Local):
        return (where.folder / FOLDER).resolve()
    return (Path(FOLDER) / hashlib.sha256(out.rstrip("/").encode()).hexdigest()[:12]).resolve()


@contextmanager
def begin(
    task: Task, out: str, state: str | Path | None, retry_failed: bool, replace: bool
) -> Iterator[tuple[WorkList, Path]]:
    """The work list of a run with all its items, and the run's folder; see `tapkit.fleet.run`."""
    folder = state_folder(out, state)
    with WorkList.begin(folder / FILE, task.identity(), replace) as worklist:
        if replace and (work := work_folder(out, folder)) is not None:
            shutil.rmtree(work, ignore_errors=True)
        worklist.add(task.items())
        worklist.reclaim()
        if retry_failed:
            worklist.retry_failed()
        where = place(out)
        if isinstance(where, Local):  # of an address it would be a question to the server for each
            worklist.check(lambda name: where.has(task.result(name)))
        yield worklist, folder
