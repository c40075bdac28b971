"""A task on the processes of one machine: each takes items from the work list until none waits.

The parent computes nothing. It starts processes, one for each slot, and again where one has died; a process that it
started ends when the parent is gone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from tapkit.errors import StorageError, TapkitError
from tapkit.fleet.begin import begin
from tapkit.fleet.places import absolute
from tapkit.fleet.slots import Slot, slots
from tapkit.fleet.summary import Report, Status, Summary, summary_of
from tapkit.fleet.task import Task
from tapkit.fleet.worker import Worker, exit_code, note, refusal, sentence, work_folder
from tapkit.fleet.worklist import Claim, WorkList

BEAT = 2.0
"""Seconds between two signs of life of a process, with how far it is."""
_LOOK = 0.5
"""Seconds between two looks of the parent at the work list."""
_PATIENCE = 60.0
"""Seconds that processes have to store what they have, when the run is stopped."""
_REFUSED, _FULL, _STOPPED = 70, 74, 128 + signal.SIGTERM
"""Exit codes of a process: the task cannot be made ready; nothing can be written; it was told to stop."""
_MOST_STARTS = 3
"""So many processes may die one after another before they have taken an item."""


def run(
    task: Task,
    out: str | Path,
    *,
    jobs: int | None = None,
    device: str = "auto",
    state: str | Path | None = None,
    retry_failed: bool = False,
    replace: bool = False,
    report: Report | None = None,
) -> Summary:
    """Do all items of a task that are not done yet, on this machine.

    Args:
        task: what is to be done.
        out: folder or address (s3://...) for the results. What is there already is left alone.
        jobs, device: how many processes, and on which devices; see `tapkit.fleet.slots`.
        state: folder for the work list and unfinished results; None: ".tapkit-batch" in the output, or in the folder
            one is in if the output is an address.
        retry_failed: do failed items again.
        replace: begin anew and replace what is there.
        report: called with a `Status` twice a second.

    Returns the figures; failures are on the work list. Raises what is wrong for all items (weights that are missing,
    a full disk), KeyboardInterrupt after the processes have stored what they had. A Python script that calls it does so
    below `if __name__ == "__main__":`, as with every use of processes.
    """
    places = slots(device, jobs)
    where = absolute(out)
    with begin(task, where, state, retry_failed, replace) as (worklist, folder):
        parent = _Parent(task, where, worklist, folder, places)
        with _terminations():
            try:
                return parent.run(report)
            finally:
                parent.stop()


class _Parent:
    """One call of `run`."""

    def __init__(self, task: Task, out: str, worklist: WorkList, folder: Path, places: list[Slot]) -> None:
        self.worklist = worklist
        self.arguments = (task, out, str(worklist.path), work_folder(out, folder), worklist.replaces)
        self.free = list(places)
        self.working: dict[SpawnProcess, Slot] = {}
        self.started = time.monotonic()
        self.before = worklist.counts().frames
        self.died_starting = 0
        self.full = ""

    def run(self, report: Report | None) -> Summary:
        """Until no item waits and none is in anybody's hands."""
        while True:
            counts = self.worklist.counts()
            status = Status(counts, len(self.working), time.monotonic() - self.started, counts.frames - self.before)
            if report is not None:
                report(status)
            if not counts.waiting and not counts.running and not self.working:
                break
            self._start(counts.waiting)
            if not self.working:
                if counts.waiting and self.full:
                    raise StorageError(f"{self.full}; what is done is kept, and the same command goes on from there")
                # Those that run are in the hands of another parent, or of processes that are no more.
                if not self.worklist.reclaim():
                    time.sleep(_LOOK)
                continue
            ended = wait([process.sentinel for process in self.working], _LOOK)
            for process in [each for each in self.working if each.sentinel in ended]:
                process.join(_LOOK)  # its files are closed some time before it is gone
            self._bury()
        self.worklist.settle()
        return summary_of(self.worklist, status)

    def _start(self, waiting: int) -> None:
        """A process for each free slot, as long as there is work."""
        for _ in range(min(len(self.free), waiting - len(self.working))):
            slot = self.free.pop(0)
            process = multiprocessing.get_context("spawn").Process(target=work, args=(slot, *self.arguments))
            process.start()
            self.working[process] = slot

    def _bury(self) -> None:
        """See to the processes that have ended."""
        for process in [each for each in self.working if each.exitcode is not None]:
            slot = self.working.pop(process)
            owner, said, code = self.worklist.said_by(process.pid or 0)
            if process.exitcode == _REFUSED:
                raise refusal(said or "the task cannot be begun", code)
            if process.exitcode == _FULL:  # this slot is given up: others may have another disk
                self.full = said or "nothing can be written"
                self.worklist.reclaim()
                continue
            self.free.append(slot)
            if process.exitcode not in (0, _STOPPED):
                why = _death(process.exitcode or 0)
                held = 0 if owner is None else self.worklist.lost(owner, why)
                self.died_starting = 0 if held else self.died_starting + 1
                if self.died_starting >= _MOST_STARTS:
                    raise TapkitError(f"the processes die as soon as they are started: {why}")
            elif owner is not None:
                self.died_starting = 0

    def stop(self) -> None:
        """Let processes that still run store what they have, and wait for them."""
        for process in self.working:
            process.terminate()
        deadline = time.monotonic() + _PATIENCE
        try:
            for process in self.working:
                process.join(max(deadline - time.monotonic(), 0))
        finally:  # a second Ctrl-C: at once
            for process in self.working:
                if process.is_alive():
                    process.kill()
                    process.join()
            self.worklist.reclaim()


def _death(code: int) -> str:
    """What a process died of."""
    if code >= 0:
        return f"it ended with exit code {code}"
    with suppress(ValueError):
        return f"it was ended by {signal.Signals(-code).name}"
    return f"it was ended by signal {-code}"


@contextmanager
def _terminations() -> Iterator[None]:
    """SIGTERM (of Slurm, of a shutdown) as an exception, so that processes are stopped in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# -- in the process that does the work ------------------------------------------------------------


class _Stop:
    """SIGTERM: at once while an item is computed, for that is kept; later while its results are put in place."""

    def __init__(self) -> None:
        self.later = self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.check()

    def check(self) -> None:
        """Stop now, if that was asked for and may be done."""
        if self.asked and not self.later:
            raise SystemExit(_STOPPED)


class _Hand(NamedTuple):
    """What a process holds on to."""

    worklist: WorkList
    owner: int
    stop: _Stop

    def may_finish(self, id: int) -> bool:
        """Whether an item is still its own: then it is put in place and noted, whatever comes."""
        self.stop.later = True
        return self.worklist.holds(self.owner, id)


def work(slot: Slot, task: Task, out: str, path: str, folder: str | None, replace: bool) -> None:
    """Body of a process: items from the list at `path`, until none waits."""
    with suppress(AttributeError, OSError):
        os.setpgrp()  # Ctrl-C at the terminal reaches the parent only, which says here when to stop
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    slot.take()
    with WorkList(Path(path)) as worklist:
        hand = _Hand(worklist, worklist.enter(), stop)
        try:
            worker = Worker(task, out, folder, slot.device, replace)
            slot.settle()
        except Exception as error:
            worklist.says(hand.owner, sentence(error), exit_code(error))
            raise SystemExit(_REFUSED) from None
        try:
            with _Beat(Path(path), hand.owner) as beat:
                while (claim := worklist.claim(hand.owner)) is not None:
                    _one(worker, hand, claim, beat)
        except StorageError as error:  # of the list itself: whoever cannot write on it can do no more
            with suppress(StorageError):
                worklist.says(hand.owner, sentence(error), error.exit_code)
            raise SystemExit(_FULL) from None


def _one(worker: Worker, hand: _Hand, claim: Claim, beat: _Beat) -> None:
    worklist, owner, id = hand.worklist, hand.owner, claim.id
    beat.frames = 0
    try:
        outcome = worker.do(claim.item, beat.tell, lambda: hand.may_finish(id))
    except (KeyboardInterrupt, SystemExit):
        worklist.release(owner, id)
        raise SystemExit(_STOPPED) from None
    beat.frames = 0
    if not note(worklist, owner, id, outcome):
        worklist.says(owner, outcome.sentence, StorageError.exit_code)
        raise SystemExit(_FULL)
    hand.stop.later = False
    hand.stop.check()


class _Beat:
    """Signs of life from a thread of its own, with a connection of its own."""

    def __init__(self, path: Path, owner: int) -> None:
        self.path, self.owner = path, owner
        self.frames = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def tell(self, frames: int) -> None:
        """A `Tell`."""
        self.frames = frames

    def __enter__(self) -> _Beat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        with WorkList(self.path) as worklist:
            while not self._ended.wait(BEAT):
                with suppress(StorageError):  # a full disk is told by whoever has a result to write
                    worklist.beat(self.owner, self.frames)


def _end_with_parent() -> None:
    """When the parent has died, stop as if told so; at once, if that takes too long."""
    parent: Any = multiprocessing.parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(_STOPPED)
