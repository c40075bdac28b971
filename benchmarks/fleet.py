"""Many videos: does anything get lost or done twice when processes are killed, and what does the bookkeeping cost?

    python benchmarks/fleet.py [PART ...] [--videos 200] [--store]

PARTs, all by default:

    list       a work list of 10,000 entries is begun: seconds, and memory that it takes
    processes  small videos with two processes; the parent is killed (SIGKILL) in the middle and the command given again
    ray        the same on a local Ray cluster of two workers, one of which is killed (SIGKILL) in the middle
    overhead   items that wait for two seconds: wall time on Ray and with processes, against two workers without cost

In `processes` and `ray` one video is broken. What they write is compared, array by array, with the same videos tracked
one after another in this process. `overhead` waits instead of computing, so that it measures the bookkeeping on a
busy machine, too. Linux. --store writes benchmarks/results/fleet.json (the parts that ran; others are kept).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import fleet, storage
from tapkit.fleet.begin import begin
from tapkit.fleet.task import Do, Facts, Item, Tell

RESULTS = Path(__file__).parent / "results" / "fleet.json"
GRID, FRAMES, SIZE = 5, 16, (96, 128)
ENTRIES = 10_000


@dataclass(frozen=True)
class Watched:
    """A task, with a line in a journal for each item that was done, and the number of the process that did it."""

    task: fleet.Task
    journal: str

    def identity(self) -> Mapping[str, Any]:
        """See `Task`."""
        return self.task.identity()

    def items(self) -> Iterable[Item]:
        """See `Task`."""
        return self.task.items()

    def result(self, name: str) -> str:
        """See `Task`."""
        return self.task.result(name)

    def ready(self, device: str) -> Do:
        """See `Task`."""
        do = self.task.ready(device)

        def watched(item: Item, folder: Path, tell: Tell) -> Facts:
            facts = do(item, folder, tell)
            with open(self.journal, "a") as journal:
                journal.write(f"{os.getpid()} {item.name}\n")
            return facts

        return watched


@dataclass(frozen=True)
class Waiting:
    """A task whose items take a time and compute nothing."""

    count: int
    seconds: float

    def identity(self) -> Mapping[str, Any]:
        """See `Task`."""
        return {"kind": "waiting"}

    def items(self) -> Iterable[Item]:
        """See `Task`."""
        return (Item(f"item{number:05d}", "") for number in range(self.count))

    def result(self, name: str) -> str:
        """See `Task`."""
        return f"{name}.txt"

    def ready(self, device: str) -> Do:
        """See `Task`."""

        def wait(item: Item, folder: Path, tell: Tell) -> Facts:
            time.sleep(self.seconds)
            (folder / self.result(item.name)).write_text("done")
            return {"frames": 1}

        return wait


def write_videos(folder: Path, count: int) -> None:
    """Small videos of noise that moves, and one file that is no video."""
    from tapkit.types import VideoInfo
    from tapkit.video.writer import VideoWriter

    folder.mkdir()
    height, width = SIZE
    for number in range(count - 1):
        random = np.random.default_rng(number)
        cells = random.integers(0, 256, (height // 4 + 20, width // 4 + 20, 3))
        picture = np.kron(cells, np.ones((4, 4, 1))).astype(np.uint8)
        step = random.integers(-2, 3, 2)
        with VideoWriter(folder / f"take{number:04d}.mp4", VideoInfo(width, height, frames=FRAMES)) as writer:
            for t in range(FRAMES):
                top, left = 40 + t * step
                writer.write(picture[top : top + height, left : left + width].copy())
    (folder / "broken.mp4").write_text("no video")


def job(folder: Path, journal: Path) -> Watched:
    """Tracking all videos of a folder."""
    task = fleet.Tracking(fleet.Videos([folder]), "lucas-kanade", grid=GRID, formats=("csv",))
    return Watched(task, str(journal))


def compared(folder: Path, out: Path, journal: Path) -> dict[str, Any]:
    """How the results in `out` compare with tracking one video after another, and how often each was done."""
    import tapkit
    from tapkit.types import Tracks

    tracker = tapkit.load("lucas-kanade", device="cpu")
    differ = []
    for item in fleet.Videos([folder]):
        if item.name == "broken":
            continue
        with tapkit.open_video(item.source) as source:
            alone = tracker.track(source, tapkit.api.make_queries(source, grid=GRID))
        found = Tracks.load(out / f"{item.name}.tracks.npz")
        if not (np.array_equal(alone.xy, found.xy) and np.array_equal(alone.visible, found.visible)):
            differ.append(item.name)
    lines = [line.split() for line in journal.read_text().splitlines()]
    times = Counter(name for _, name in lines)
    return {
        "results": len(list(out.glob("*.tracks.npz"))),
        "csv": len(list(out.glob("*.csv"))),
        "differ": differ,
        "done more than once": sum(count > 1 for count in times.values()),
        "processes": len({pid for pid, _ in lines}),
    }


def part_list(scratch: Path, videos: int) -> dict[str, Any]:
    """Begin a work list of many entries."""
    folder = scratch / "many"
    folder.mkdir()
    for number in range(ENTRIES):
        (folder / f"take{number:05d}.mp4").touch()
    before, computed, started = resident(), time.process_time(), time.perf_counter()
    task = fleet.Tracking(fleet.Videos([folder]), "lucas-kanade", grid=GRID)
    with begin(task, str(scratch / "many-out"), None, False, False) as (worklist, _):
        seconds, computed = time.perf_counter() - started, time.process_time() - computed
        owner, taken = worklist.enter(), time.perf_counter()
        for _ in range(1000):
            claim = worklist.claim(owner)
            assert claim is not None and worklist.done(owner, claim.id, {"frames": 1})
        each = (time.perf_counter() - taken) / 1000
    grown = resident() - before
    return {
        "entries": ENTRIES, "seconds": round(seconds, 2), "cpu_seconds": round(computed, 2),
        "grown_mb": round(grown, 1), "ms_each": round(1000 * each, 2),
    }  # fmt: skip


def part_processes(scratch: Path, videos: int) -> dict[str, Any]:
    """Kill the parent when a third is done; give the command again."""
    folder, out, journal = scratch / "videos", scratch / "out", scratch / "journal"
    write_videos(folder, videos)
    command = [sys.executable, __file__, "--child", str(folder), str(out), str(journal)]
    started = time.perf_counter()
    first = subprocess.Popen(command)
    wait_for(journal, videos // 3)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = len(journal.read_text().splitlines())
    last = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    summary = json.loads(last.stdout.splitlines()[-1])
    failure, done = summary["failures"][0]["error"].replace(str(folder) + "/", ""), summary["done"] + summary["there"]
    return {
        "videos": videos, "when_killed": before, "seconds": round(seconds, 1), "done": done,
        "failed": summary["failed"], "failure": failure,
        **compared(folder, out, journal),
    }  # fmt: skip


def part_ray(scratch: Path, videos: int) -> dict[str, Any]:
    """Kill one worker of a local cluster when a third is done."""
    folder, out, journal = scratch / "ray-videos", scratch / "ray-out", scratch / "ray-journal"
    write_videos(folder, videos)
    killed: list[int] = []

    def kill(status: Any) -> None:
        if not killed and status.counts.done >= videos // 3:
            pid = int(journal.read_text().splitlines()[-1].split()[0])
            os.kill(pid, signal.SIGKILL)
            killed.append(status.counts.done)

    start_ray()
    started = time.perf_counter()
    summary = fleet.run_on_ray(job(folder, journal), out, device="cpu", report=kill)
    seconds = time.perf_counter() - started
    failure = summary.to_json()["failures"][0]["error"].replace(str(folder) + "/", "")
    return {
        "videos": videos, "when_killed": killed[0], "seconds": round(seconds, 1), "done": summary.done + summary.there,
        "failed": summary.failed, "failure": failure, **compared(folder, out, journal),
    }  # fmt: skip


def part_overhead(scratch: Path, videos: int) -> dict[str, Any]:
    """Items of two seconds on two workers."""
    task = Waiting(40, 2.0)
    least = task.count * task.seconds / 2
    start_ray()
    found: dict[str, Any] = {"items": task.count, "seconds_each": task.seconds, "least": least}
    for name in ("ray", "processes"):
        started = time.perf_counter()
        if name == "ray":
            fleet.run_on_ray(task, scratch / "wait-ray", device="cpu", jobs=2)
        else:
            fleet.run(task, scratch / "wait", device="cpu", jobs=2)
        seconds = time.perf_counter() - started
        found[name] = {"seconds": round(seconds, 2), "overhead": round(seconds / least - 1, 4)}
    return found


def start_ray() -> None:
    """A cluster of two workers in this machine, once."""
    import ray

    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        for attempt in range(10):
            try:
                ray.init(
                    "local", num_cpus=2, include_dashboard=False, object_store_memory=200 << 20, log_to_driver=False
                )
                break
            except Exception as error:  # Ray gives its processes 30 s to start, which a busy machine may exceed
                print(f"attempt {attempt + 1}: {error}", file=sys.stderr)
                ray.shutdown()
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def wait_for(journal: Path, count: int) -> None:
    """Until so many lines are in the journal."""
    while not journal.exists() or len(journal.read_text().splitlines()) < count:
        time.sleep(0.05)


def resident() -> float:
    """Resident memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


PARTS = {"list": part_list, "processes": part_processes, "ray": part_ray, "overhead": part_overhead}


def main() -> None:
    """Run and print, and store if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--child", nargs=3, metavar=("FOLDER", "OUT", "JOURNAL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        folder, out, journal = map(Path, arguments.child)
        print(json.dumps(fleet.run(job(folder, journal), out, device="cpu", jobs=2).to_json()))
        return
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {sorted(unknown)[0]}")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.parts or PARTS:
            load = os.getloadavg()[0]
            results[name] = {
                **PARTS[name](Path(scratch), arguments.videos),
                "cpus": os.cpu_count(),
                "load": round(load, 1),
            }
            print(f"{name}: {json.dumps(results[name])}", flush=True)
            if arguments.store:
                storage.write_text(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
