"""Processes of one machine: whoever dies whenever, everything is done once."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from copying import Copying, items, journal

from tapkit.errors import StorageError, TapkitError, UsageError
from tapkit.fleet import Summary, run
from tapkit.fleet.slots import cores, slots
from tapkit.fleet.worker import Worker

ALL = sorted(item.name for item in items(20))


def results(folder: Path) -> list[str]:
    return sorted(file.name.removesuffix(".done") for file in (folder / "out").rglob("*.done"))


def go(folder: Path, job: Copying, **how: object) -> Summary:
    return run(job, folder / "out", device="cpu", **{"jobs": 2, **how})  # type: ignore[arg-type]


def test_a_process_that_is_killed_and_an_item_that_is_broken_cost_nothing_else(tmp_path: Path) -> None:
    told: list[object] = []
    job = Copying(items(20, i3="dies once", i7="broken"), str(tmp_path))
    summary = go(tmp_path, job, report=told.append)
    assert (summary.total, summary.done, summary.failed, summary.frames) == (20, 19, 1, 38)
    assert journal(tmp_path) == results(tmp_path) == [name for name in ALL if name != "i7"]
    assert list(summary.lines())[2] == "failed: broken: i7 is no video" and told
    assert not list((tmp_path / "out" / ".tapkit-batch" / "work").iterdir()), "nothing unfinished is left"
    # The same again has nothing to do; results that have gone are made again, and failures if asked.
    (tmp_path / "out" / "i5.done").unlink()
    assert go(tmp_path, job).done == 19 and journal(tmp_path).count("i5") == 2
    fine = Copying(items(20, i3="dies once", i7="broken"), str(tmp_path))
    assert go(tmp_path, fine, retry_failed=True).failed == 1
    with pytest.raises(UsageError, match="one name"):
        go(tmp_path, Copying(items(20), str(tmp_path)))


def test_results_that_were_there_are_left_alone_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "i1.done").write_text("mine")
    job = Copying(items(3), str(tmp_path))
    assert go(tmp_path, job, jobs=1).there == 1 and (tmp_path / "out" / "i1.done").read_text() == "mine"
    assert go(tmp_path, job, jobs=1, replace=True).done == 3
    assert (tmp_path / "out" / "i1.done").read_text() != "mine"


def test_an_item_that_kills_every_process_fails_and_the_others_are_done(tmp_path: Path) -> None:
    summary = go(tmp_path, Copying(items(3, i0="dies"), str(tmp_path)), jobs=1)
    assert (summary.done, summary.failed) == (2, 1)
    assert "died over it 3 times (it was ended by SIGKILL)" in summary.to_json()["failures"][0]["error"]


def test_a_full_disk_of_one_process_leaves_its_items_to_the_others(tmp_path: Path) -> None:
    special = {f"i{n}": "full on one" for n in range(20)}
    summary = go(tmp_path, Copying(items(20, **special), str(tmp_path), 0.05))
    assert (summary.done, summary.failed, summary.left) == (20, 0, 0) and journal(tmp_path) == ALL


def test_a_full_disk_of_all_ends_the_run_and_keeps_what_is_done(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No space left on device; what is done is kept"):
        go(tmp_path, Copying(items(20, i5="full"), str(tmp_path)), jobs=1)
    assert journal(tmp_path) == ["i0", "i1", "i2", "i3", "i4"]


def test_what_cannot_be_put_in_place_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(Copying(items(1), str(tmp_path)), str(tmp_path / "out"), str(tmp_path / "work"), "cpu")
    (item,) = items(1)
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(full))
        outcome = worker.do(item, lambda _: None, lambda: True)
    assert outcome.state == "full" and "No space left" in outcome.sentence and not results(tmp_path)
    assert len(list((tmp_path / "work").rglob("i0.done"))) == 1
    assert worker.do(item, lambda _: None, lambda: False).state == "lost" and not results(tmp_path)
    assert worker.do(item, lambda _: None, lambda: True).state == "done" and results(tmp_path) == ["i0"]
    assert not list((tmp_path / "work").iterdir())


def test_what_is_wrong_for_all_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(TapkitError, match="there are no weights") as error:
        go(tmp_path, Copying(items(3), str(tmp_path), refused=True))
    assert error.value.exit_code == 4


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def parent(folder: Path) -> subprocess.Popen[str]:
    script = Path(__file__).with_name("copying.py")
    return subprocess.Popen(
        [sys.executable, script, folder, "20", "0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_after_the_parent_was_killed_the_same_call_does_the_rest_and_nothing_twice(
    tmp_path: Path, how: signal.Signals
) -> None:
    first = parent(tmp_path)
    until(lambda: len(journal(tmp_path)) >= 3)
    first.send_signal(how)
    said = first.communicate()[1]
    assert first.returncode in (-how, 128 + how, 1), said
    assert 3 <= len(journal(tmp_path)) < 20
    summary = go(tmp_path, Copying(items(20), str(tmp_path)))
    assert journal(tmp_path) == results(tmp_path) == ALL, "each once"
    assert summary.done + summary.there == 20
    assert not list((tmp_path / "out" / ".tapkit-batch" / "work").iterdir())


def test_slots() -> None:
    assert [slot.device for slot in slots("cpu", 3)] == ["cpu"] * 3
    assert sum(slot.threads for slot in slots("cpu", 1)) == cores()
    assert len(slots("cpu")) == max(cores() // 4, 1)
    with pytest.raises(UsageError, match="one process at least"):
        slots("cpu", 0)
