"""A Ray cluster of two workers on this machine: whoever dies, everything is done once, with the same results."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import copying
import numpy as np
import pytest
from command_line import run as command
from copying import Copying, items, journal

import tapkit
from tapkit.errors import StorageError, TapkitError
from tapkit.fleet import run_on_ray
from tapkit.types import Tracks

ray: Any = pytest.importorskip("ray")
ALL = sorted(item.name for item in items(20))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One for all tests: it takes some seconds to begin."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(
                address="local", num_cpus=2, include_dashboard=False, object_store_memory=200 << 20,
                log_to_driver=False, configure_logging=False,
            )  # fmt: skip
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            pytest.skip("Ray gives its own processes 30 seconds to start, and this machine has too much else to do")
        ray.cloudpickle.register_pickle_by_value(copying)
        yield
        ray.shutdown()


def go(folder: Path, job: Copying, **how: Any) -> Any:
    return run_on_ray(job, folder / "out", device="cpu", **how)


def results(folder: Path) -> list[str]:
    return sorted(file.name.removesuffix(".done") for file in (folder / "out").rglob("*.done"))


@pytest.mark.usefixtures("cluster")
def test_an_actor_that_is_killed_and_a_broken_item_cost_nothing_else(tmp_path: Path) -> None:
    told: list[Any] = []
    job = Copying(items(20, i3="dies once", i7="broken"), str(tmp_path), 0.02)
    summary = go(tmp_path, job, report=told.append)
    assert (summary.total, summary.done, summary.there, summary.failed) == (20, 19, 0, 1)
    assert journal(tmp_path) == results(tmp_path) == [name for name in ALL if name != "i7"]
    assert summary.to_json()["failures"] == [{"name": "i7", "source": "broken", "error": "i7 is no video"}]
    assert max(status.counts.running for status in told) <= 4, "no more are in hand than two for each actor"
    done_by = {name: (tmp_path / "out" / f"{name}.done").read_text().split()[-1] for name in results(tmp_path)}
    assert str(os.getpid()) not in done_by.values(), "actors are processes of their own"
    # How many actors share the rest is a matter of how fast they start; whoever died over it did not do that one.
    assert done_by["i3"] != (tmp_path / "i3 died").read_text()


@pytest.mark.usefixtures("cluster")
def test_a_full_disk_of_one_machine_leaves_its_items_to_the_others_and_of_all_ends_the_run(tmp_path: Path) -> None:
    special = {f"i{n}": "full on one" for n in range(8)}
    summary = go(tmp_path / "one", _ready(tmp_path / "one", 8, **special))
    assert summary.done == 8 and journal(tmp_path / "one") == ALL[:1] + [f"i{n}" for n in range(1, 8)]
    with pytest.raises(StorageError, match="No space left"):
        go(tmp_path / "all", _ready(tmp_path / "all", 4, **{f"i{n}": "full" for n in range(4)}), jobs=1)


@pytest.mark.usefixtures("cluster")
def test_an_item_that_kills_every_actor_fails_and_takes_no_other_with_it(tmp_path: Path) -> None:
    summary = go(tmp_path, Copying(items(3, i0="dies"), str(tmp_path)), jobs=1)
    assert (summary.done, summary.failed) == (2, 1) and journal(tmp_path) == ["i1", "i2"]
    assert "died over it 3 times" in summary.to_json()["failures"][0]["error"]


@pytest.mark.usefixtures("cluster")
def test_what_is_wrong_for_all_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(TapkitError, match="there are no weights") as error:
        go(tmp_path, Copying(items(3), str(tmp_path), refused=True), jobs=1)
    assert error.value.exit_code == 4


@pytest.mark.usefixtures("cluster")
def test_videos_are_tracked_as_on_one_machine(videos: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    common = ("batch", videos, "-m", "lucas-kanade", "--device", "cpu", "--grid", 3, "--to", "csv")
    done = command(*common, "-o", str(tmp_path / "ray"), "--ray", "auto", "-j", 1, code=1)
    assert done.stdout.splitlines()[1].split()[:6] == ["5", "4", "0", "1", "0", "20"]
    alone = tapkit.track(videos / "monday" / "clip000.mp4", grid=3, model="lucas-kanade", device="cpu")
    found = Tracks.load(tmp_path / "ray" / "monday" / "clip000.tracks.npz")
    np.testing.assert_array_equal(found.xy, alone.xy)
    np.testing.assert_array_equal(found.confidence, alone.confidence)
    assert len(list((tmp_path / "ray").rglob("*.csv"))) == 4


def _ready(folder: Path, count: int, **special: str) -> Copying:
    folder.mkdir()
    return Copying(items(count, **special), str(folder), 0.02)
