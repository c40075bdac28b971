"""How long the studio's server takes: frames as they are stepped through and jumped to, clicks, positions; idle, and
while a tracker runs, beside the server as it does (a process) and within it (a thread), which is what was not chosen.

    python benchmarks/studio_server.py [--json benchmarks/results/studio_server.json]

A real server is asked through HTTP on one connection. Prints median and 95th percentile in milliseconds, and in
multiples of the fixed workload of `tapkit bench` measured in the same run: machines differ, and are shared.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np

SIZES = {"640x360": (640, 360), "1920x1080": (1920, 1080)}
FRAMES = 120
PAUSE = 0.1
"""Seconds between two steps: a key that is held down repeats some ten times a second in a player that waits."""
POINTS, LONG = 500, 10_000
"""Of the timeline that must stay usable."""


def make_clip(path: Path, size: tuple[int, int]) -> None:
    """A large smooth texture that moves; H.264 as cameras write it, key pictures two seconds apart."""
    width, height = size
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (height // 24 + 20, width // 24 + 20, 3), dtype=np.uint8)
    canvas = np.kron(small, np.ones((24, 24, 1), np.uint8))
    canvas = canvas // 2 + rng.integers(0, 90, canvas.shape, dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "20", "g": "50", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for t in range(FRAMES):
            frame = np.ascontiguousarray(canvas[t : t + height, 2 * t : 2 * t + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@contextmanager
def server(clip: Path, threaded: bool = False) -> Iterator[httpx.Client]:
    """A running studio, and a client that is let in. `threaded`: a tracker runs in one of its threads."""
    own = [sys.executable, __file__, "--threaded", str(clip)] if threaded else None
    command = own or [sys.executable, "-m", "tapkit", "studio", str(clip), "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = None
            while found is None:
                line = process.stdout.readline()
                if not line:
                    raise SystemExit("the studio did not start")
                found = re.search(r"http://\S+", line)
            client = httpx.Client(base_url=found[0].partition("?")[0], timeout=120)
            client.get(found[0])
            client.headers["x-tapkit-token"] = client.get("/api/session").json()["token"]
            yield client
        finally:
            process.kill()


def serve_threaded(clip: str) -> None:
    """The server with a tracker in a thread of its own process, with one thread of torch's."""
    import torch

    import tapkit
    from tapkit.web import jobs, serve

    torch.set_num_threads(1)
    jobs.Jobs.start = lambda self: None  # type: ignore[method-assign]  # no process beside it

    def track() -> None:
        while True:
            tapkit.track(clip, grid=10, model="strand", device="cpu")

    threading.Thread(target=track, daemon=True).start()
    serve.serve(clip, port=0, browser=False, say=lambda line: print(line, flush=True))


def times(ask: Callable[[int], httpx.Response], numbers: Any, pause: float = 0.0) -> dict[str, float]:
    """Milliseconds of asking for each."""
    taken = []
    for number in numbers:
        started = time.perf_counter()
        answer = ask(int(number))
        taken.append(1000 * (time.perf_counter() - started))
        answer.raise_for_status()
        time.sleep(pause)
    return {"median": float(np.median(taken)), "p95": float(np.percentile(taken, 95)), "n": len(taken)}


def edit(client: httpx.Client, number: int) -> httpx.Response:
    """One click."""
    body = {"edits": [{"op": "add_point", "t": number % FRAMES, "x": 10 + number, "y": 20}]}
    return client.post("/api/clips/1/edits", json=body)


def frames(client: httpx.Client) -> dict[str, dict[str, float]]:
    """Stepping and jumping, at the clip's own height."""
    order = np.random.default_rng(0).permutation(FRAMES)[:20]

    def frame(t: int) -> httpx.Response:
        return client.get(f"/api/clips/1/frame/{t}")

    cold = times(frame, [60])
    return {
        "first": cold,
        "step": times(frame, range(61, 100), PAUSE),
        "step back": times(frame, range(59, 30, -1), PAUSE),
        "jump": times(frame, order),
    }


def measure(folder: Path, wanted: Sequence[str]) -> dict[str, Any]:
    """The parts that are wanted."""
    parts = {"frames": all_frames, "clicks": clicks, "positions": positions}
    return {name: part(folder) for name, part in parts.items() if name in wanted}


def all_frames(folder: Path) -> dict[str, Any]:
    """Frames of both sizes."""
    found = {}
    for name, size in SIZES.items():
        clip = folder / f"{name}.mp4"
        make_clip(clip, size)
        with server(clip) as client:
            wait_until_ready(client)
            found[name] = frames(client)
    return found


def clicks(folder: Path) -> dict[str, Any]:
    """Clicks, and frames, beside a tracker."""
    found: dict[str, Any] = {}
    clip = folder / "clicks.mp4"
    make_clip(clip, SIZES["640x360"])
    with server(clip) as client:
        wait_until_ready(client)
        found["idle"] = times(lambda n: edit(client, n), range(30), 0.05)
        body = {"model": "strand", "from": 0, "direction": "forward"}
        job = client.post("/api/clips/1/jobs", json=body).json()["job"]
        while not any(each["job"] == job and each["done"] for each in client.get("/api/jobs").json()):
            time.sleep(0.1)
        found["while tracking in a process"] = times(lambda n: edit(client, n), range(30, 60), 0.05)
        found["frames while tracking in a process"] = times(
            lambda t: client.get(f"/api/clips/1/frame/{t}?height=300"), range(30), PAUSE
        )
        found["tracking then"] = next(each["state"] for each in client.get("/api/jobs").json() if each["job"] == job)
    clip = folder / "threaded.mp4"
    make_clip(clip, SIZES["640x360"])
    with server(clip, threaded=True) as client:
        time.sleep(15)  # until it tracks
        found["while tracking in a thread"] = times(lambda n: edit(client, n), range(30), 0.05)
    return found


def wait_until_ready(client: httpx.Client) -> None:
    """Until the process that tracks has said what it can do."""
    for _ in range(600):
        if len(client.get("/api/session").json()["trackers"]) > 2:
            return
        time.sleep(0.1)


def positions(folder: Path) -> dict[str, Any]:
    """What a page asks for of a project with many points and frames."""
    from tapkit.annotate import Project

    clip = folder / "long.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        for t in range(LONG):
            frame.pts = t
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with Project.create(folder / "long.tapproj") as project:
        project.add_clip(clip)
        edits = [{"op": "add_point", "t": 0, "x": 32, "y": 32} for _ in range(POINTS)]
        ids = [point.id for point in project.edit(1, edits).points]
        ones = np.ones((POINTS, 1000))
        run = None
        for start in range(0, LONG, 1000):
            xy = np.random.default_rng(start).normal(32, 3, (POINTS, 1000, 2)).clip(0, 64)
            run = project.store_span(1, ids, start, start + 1000, xy, ones, ones, "strand", run=run).run
    with server(folder / "long.tapproj") as client:
        return {
            "points": times(lambda _: client.get("/api/clips/1/points"), range(5)),
            "100 frames": times(
                lambda t: client.get(f"/api/clips/1/positions?start={t}&stop={t + 100}"), range(0, 9000, 900)
            ),
            "summary, 500 bins": times(lambda _: client.get("/api/clips/1/summary?bins=500"), range(5)),
            "click": times(
                lambda n: client.post(
                    "/api/clips/1/edits",
                    json={"edits": [{"op": "set_keyframe", "point": ids[n], "t": 9 * n, "x": 30, "y": 30}]},
                ),
                range(10),
            ),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="store the figures here, beside those of other parts")
    parser.add_argument("--only", nargs="+", default=["frames", "clicks", "positions"], help="parts of it")
    parser.add_argument("--threaded", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.threaded:
        serve_threaded(arguments.threaded)
        return
    from tapkit.evaluation.calibrate import calibrate

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), arguments.only)
    unit = 1000 * calibrate()
    for part in found.values():
        part["machine"] = {"calibrate_ms": unit, "cpus": os.cpu_count(), "load_before": load}
    show(found, unit)
    if arguments.json:
        known = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
        arguments.json.write_text(json.dumps({**known, **found}, indent=2) + "\n")


def show(found: dict[str, Any], unit: float, name: str = "") -> None:
    """One line for each figure."""
    for key, value in found.items():
        if isinstance(value, dict) and "median" in value:
            print(
                f"{name}{key:28} median {value['median']:7.1f} ms   p95 {value['p95']:7.1f} ms   "
                f"({value['median'] / unit:.2f} and {value['p95'] / unit:.2f} x calibrate)"
            )
        elif isinstance(value, dict):
            print(f"{name}{key}")
            show(value, unit, name + "  ")
        else:
            print(f"{name}{key}: {value}")


if __name__ == "__main__":
    main()
