"""The work list: every item is taken by one, and what a dead process took comes back."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
from copying import items

from tapkit.errors import StorageError, UsageError
from tapkit.fleet import worklist as module
from tapkit.fleet.alive import alive, born
from tapkit.fleet.task import Item
from tapkit.fleet.worklist import Counts, WorkList

JOB = {"kind": "test"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "list.sqlite"
    with WorkList.begin(path, JOB) as worklist:
        worklist.add(items(4))
    return path


def other_owner(file: Path, place: str, pid: int, since: str, beat: float) -> int:
    with sqlite3.connect(file) as db:
        row = (place, pid, since, beat)
        return db.execute("insert into owners (machine, pid, born, beat) values (?, ?, ?, ?)", row).lastrowid or 0


def test_each_item_is_taken_once_by_threads_that_compete(tmp_path: Path) -> None:
    path = tmp_path / "list.sqlite"
    with WorkList.begin(path, JOB) as worklist:
        worklist.add(items(300))
    taken: list[str] = []

    def take() -> None:
        with WorkList(path) as mine:
            owner = mine.enter()
            while (claim := mine.claim(owner)) is not None:
                taken.append(claim.item.name)
                assert mine.done(owner, claim.id, {"frames": 2})

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(item.name for item in items(300))
    with WorkList(path) as worklist:
        assert worklist.counts() == Counts(done=300, frames=600)


def test_what_a_dead_process_took_is_given_back_and_what_a_living_one_holds_is_not(file: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with WorkList(file) as worklist:
        here = module.machine()
        dead = other_owner(file, here, ended.pid, "", 9e9)
        reused = other_owner(file, here, os.getpid(), "1", 9e9)  # its number belongs to another process by now
        silent = other_owner(file, "elsewhere", 1, "", 0.0)
        claims = [worklist.claim(owner) for owner in (dead, reused, silent, worklist.enter())]
        assert all(claims) and worklist.counts().running == 4
        assert worklist.reclaim() == 3 and worklist.counts() == Counts(waiting=3, running=1)
        assert not worklist.done(dead, claims[0].id, {}), "whoever lost an item cannot finish it"  # type: ignore[union-attr]
        import time

        far = other_owner(file, "elsewhere", 1, "", time.time())
        assert worklist.claim(far) and worklist.reclaim() == 0


def test_a_process_is_known_by_when_it_began() -> None:
    assert alive(os.getpid(), born(os.getpid())) and not alive(os.getpid(), "1")


def test_an_item_over_which_processes_die_fails_after_some(file: Path) -> None:
    with WorkList(file) as worklist:
        for _ in range(module.MOST_DEATHS):
            owner = worklist.enter()
            claim = worklist.claim(owner)
            assert claim is not None and claim.item.name == "i0"
            assert worklist.lost(owner, "SIGKILL") == 1
        (row,) = worklist.rows("failed")
        assert row.item.name == "i0" and "SIGKILL" in row.error
        assert worklist.retry_failed() == 1 and worklist.counts() == Counts(waiting=4)


def test_the_list_of_another_job_is_refused_and_begun_anew_only_if_asked(file: Path) -> None:
    with WorkList(file) as worklist:
        owner = worklist.enter()
        claim = worklist.claim(owner)
        assert claim is not None
        with pytest.raises(UsageError, match=r"another job \(kind 'test', now 'other'\)"):
            WorkList.begin(file, {"kind": "other"})
        with pytest.raises(StorageError, match="at work"):
            WorkList.begin(file, {"kind": "other"}, replace=True)
        worklist.failed(owner, claim.id, "broken")
    with WorkList.begin(file, {"kind": "other"}, replace=True) as worklist:
        assert worklist.counts() == Counts() and worklist.replaces
    with WorkList.begin(file, {"kind": "other"}) as worklist:
        assert worklist.replaces, "a run that was begun anew stays so until it is done"
        worklist.settle()
        assert not worklist.replaces


def test_a_list_of_which_nothing_was_done_is_taken_over(file: Path) -> None:
    with WorkList.begin(file, {"kind": "other"}) as worklist:
        assert worklist.counts() == Counts()


def test_items_can_be_added_but_not_two_of_one_name(file: Path) -> None:
    with WorkList.begin(file, JOB) as worklist:
        worklist.add(items(6))
        assert worklist.counts().waiting == 6
        with pytest.raises(UsageError, match="one name, i9"):
            worklist.add([Item("i9", "a"), Item("i9", "b")])
        with pytest.raises(UsageError, match="one name, i0"):
            worklist.add([Item("i0", "another")])
        assert worklist.counts().waiting == 6


def test_results_that_have_gone_are_made_again(file: Path) -> None:
    with WorkList(file) as worklist:
        owner = worklist.enter()
        for _ in range(3):
            claim = worklist.claim(owner)
            assert claim is not None and worklist.done(owner, claim.id, {"frames": 5})
        worklist.check(lambda name: name != "i1")
        assert worklist.counts() == Counts(waiting=2, done=2, frames=10)


def test_what_is_no_work_list_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_text("something else, which is long enough to be read")
    with pytest.raises(StorageError, match="no work list"):
        WorkList.begin(tmp_path / "x.sqlite", JOB)


def test_memory_does_not_grow_with_the_list(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        with WorkList.begin(tmp_path / f"{count}.sqlite", JOB) as worklist:
            worklist.add(Item(f"take{n:06d}", f"/videos/take{n:06d}.mp4") for n in range(count))
            assert worklist.counts().waiting == count
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(10_000) < peak(100) + 100_000
