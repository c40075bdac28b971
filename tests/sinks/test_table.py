"""Tables: the same in memory and on disk, growing, resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tapkit.errors import StorageError
from tapkit.sinks import DiskTable, MemoryTable
from tapkit.types import FrameResult


def random_result(rng: np.random.Generator, frame: int, rows: np.ndarray) -> FrameResult:
    count = len(rows)
    xy = rng.uniform(size=(count, 2)).astype(np.float32)
    visible, confidence = rng.uniform(size=(2, count)).astype(np.float32)
    return FrameResult(frame, rows, xy, visible, confidence, keyframe=rng.uniform(size=count) < 0.3)


def same(ours: FrameResult, theirs: FrameResult) -> None:
    assert ours.frame == theirs.frame
    for name in ("rows", "xy", "visible", "confidence"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    np.testing.assert_array_equal(ours.keyframe, theirs.keyframe)


def test_both_kinds_of_table_hold_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    memory, disk = MemoryTable(5), DiskTable(tmp_path / "frames.bin", 5)
    given = {}
    for frame in [0, 1, 2, 7, 6, 3, 99]:
        given[frame] = random_result(rng, frame, np.sort(rng.permutation(5)[:3]))
        memory.result(given[frame])
        disk.result(given[frame])
    assert memory.frames == disk.frames == 100
    for frame in (0, 4, 7, 99, 150):
        same(memory.at(frame), disk.at(frame))
    np.testing.assert_array_equal(memory.at(7).xy, given[7].xy)
    disk.close()
    again = DiskTable(tmp_path / "frames.bin", 5)
    ours, theirs = memory.points(slice(1, 4)), again.points(slice(1, 4))
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    assert np.isnan(ours["xy"][~ours["valid"]]).all() and ours["keyframe"].any()
    again.close()


def test_tables_grow_with_points_that_were_not_announced(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    memory, disk = MemoryTable(), DiskTable(tmp_path / "frames.bin")
    results = [random_result(rng, frame, np.arange(frame * 3)) for frame in range(9)]
    for result in results:
        memory.result(result)
        disk.result(result)
    for result in results:
        same(memory.at(result.frame), disk.at(result.frame))
        np.testing.assert_array_equal(memory.at(result.frame).xy, result.xy)
    np.testing.assert_array_equal(memory.points(slice(0, 24))["xy"], disk.points(slice(0, 24))["xy"])
    disk.close()
    assert [path.name for path in tmp_path.iterdir()] == ["frames.bin"]


def test_provisional_results_are_not_kept() -> None:
    table = MemoryTable(2)
    table.result(random_result(np.random.default_rng(2), 0, np.arange(2))._replace(final=False))
    assert table.frames == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_sentence() -> None:
    table = DiskTable(Path("/dev/full"), 3)
    table.result(random_result(np.random.default_rng(3), 0, np.arange(3)))
    with pytest.raises(StorageError, match="No space left"):
        table.flush()
