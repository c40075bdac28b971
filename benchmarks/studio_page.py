"""How long the studio's page takes to answer, in a headless Chromium with a server of its own on the same machine.

    python benchmarks/studio_page.py [--points 500] [--frames 10000] [--repeat 30] [--only sizes|many]

Clips are made here: a texture that moves. Times are in milliseconds, from the browser's own time of the event to the
moment when the canvas is drawn: `step` a key for the next frame (neighbours are fetched ahead), `jump` a key for a
frame that is not there yet, `click` the mark of a point that is placed, `stored` the server's answer to it, both also
while the tracker runs behind it. `scrub` is a drag over the whole timeline with all points tracked: pictures shown
per second, and the longest time for which the page did not answer. Stored in benchmarks/results/studio_page.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "studio_page.json"
sys.path.insert(0, str(ROOT / "tests" / "web"))

SIZES = {"360p": (640, 360, 200), "1080p": (1920, 1080, 120)}
AWAY = 37
"""Frames of a jump."""

STOPWATCH = """(() => {
    window.times = [];
    const started = new Map();
    window.startAt = null;
    for (const name of ["keydown", "pointerdown", "pointerup"])
        document.addEventListener(name, (event) => { window.startAt = event.timeStamp; }, true);
    studio.on("painted", () => {
        if (window.startAt === null || studio.player.shown !== studio.player.wanted) return;
        const from = window.startAt;
        window.startAt = null;
        window.times.push(performance.now() - from);
    });
})()"""
"""Pushes, for each key or click, the time until the frame that was asked for is drawn."""


def make_clip(path: Path, width: int, height: int, frames: int) -> Path:
    """A texture that moves by a few pixels a frame, as H.264 with a key picture every 24 frames."""
    canvas = np.random.default_rng(0).integers(0, 255, (height // 8 + 80, width // 8 + 80, 3), dtype=np.uint8)
    canvas = canvas.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "24", "g": "24"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for t in range(frames):
            x, y = 240 + round(200 * np.sin(t / 40)), 240 + round(160 * np.sin(t / 55))
            picture = np.ascontiguousarray(canvas[y : y + height, x : x + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def fill_project(folder: Path, video: Path, points: int, frames: int) -> Path:
    """A project with so many points, tracked on every frame of the video."""
    import tapkit
    from tapkit.annotate import Project
    from tapkit.types import Queries, Tracks

    with tapkit.open_video(video) as source:
        info = source.info
    random = np.random.default_rng(1)
    start = random.uniform(0.1, 0.9, (points, 2)) * (info.width, info.height)
    t = np.arange(frames)
    swing = np.stack([20 * np.sin(t / 40), 16 * np.sin(t / 55)], -1)
    xy = (start[:, None] + swing[None]).astype(np.float32)
    visible = (random.random((points, frames)) > 0.03).astype(np.float32)
    queries = Queries(np.zeros(points, np.int64), xy[:, 0], np.array([f"p{i}" for i in range(points)]))
    tracks = Tracks(xy, visible, np.full_like(visible, 0.9), np.ones((points, frames), bool), queries, info)
    where = folder / "many.tapproj"
    with Project.create(where) as project:
        project.from_tracks(tracks, video)
    return where


def measured(window: Any, act: Any, repeat: int) -> dict[str, float]:
    """Median and 95th percentile of what `act` starts, in ms."""
    window.js("window.times.length = 0")
    for i in range(repeat):
        act()
        window.wait(f"window.times.length > {i}")
    return summary(window.js("window.times"))


def summary(times: list[float]) -> dict[str, float]:
    return {"median": round(float(np.median(times)), 1), "p95": round(float(np.percentile(times, 95)), 1)}


def steps_and_jumps(window: Any, repeat: int) -> dict[str, Any]:
    """Frames by key: the next one, and one that is far away."""
    window.press("Escape")
    time.sleep(1.0)  # neighbours of the first frame
    step = measured(window, lambda: window.press("ArrowRight"), repeat)
    positions = iter(range(AWAY, 10**6, AWAY))
    count = window.js("studio.clip.frames")

    def jump() -> None:
        window.js(f"void (studio.player.wanted = {next(positions) % count})")
        window.press("ArrowRight")

    return {"step": step, "jump": measured(window, jump, min(repeat, 12))}


def clicks(window: Any, repeat: int) -> dict[str, Any]:
    """A point that is placed: until its mark is there, and until the server has it."""
    window.js("window.marks = []; window.stored = [];")
    for i in range(repeat):
        window.press("Escape", "n")
        window.js("""(() => {
            const count = studio.annotation.points.size;
            const look = () => {
                if (!window.clickAt || !studio.stage.ghosts.length) return;
                window.marks.push(performance.now() - window.clickAt);
                window.clickAt = null;
            };
            const clicked = (event) => { window.clickAt = window.sentAt = event.timeStamp; };
            document.addEventListener("pointerup", clicked, { capture: true, once: true });
            const off = studio.on("painted", look);
            const done = studio.annotation.on("points", () => {
                if (studio.annotation.points.size <= count) return;
                window.stored.push(performance.now() - window.sentAt);
                off(); done();
            });
        })()""")
        window.click(*np.random.default_rng(i).uniform(20, 300, 2))
        window.wait(f"window.stored.length > {i}")
    return {"click": summary(window.js("window.marks")), "stored": summary(window.js("window.stored"))}


def while_tracking(window: Any, repeat: int) -> dict[str, Any]:
    """The same while the tracker runs."""
    window.press("Escape", "Control+a")
    order = "{kind: 'track', points: studio.order(), model: 'strand', from: null, direction: 'both', until: 'end'}"
    window.js(f"void studio.start({order}, [])")
    window.wait("studio.jobs.running.some((job) => job.done > 0)")
    found = clicks(window, repeat)
    step = measured(window, lambda: window.press("ArrowRight"), repeat)
    running = window.js("studio.jobs.running.length")
    window.js("studio.jobs.running.forEach((job) => studio.api.job(job.job, 'cancel'))")
    return {**found, "step": step, "still_running": bool(running)}


def scrubbing(window: Any, seconds: float = 6.0) -> dict[str, Any]:
    """A drag to and fro over the whole timeline: pictures a second, and the longest pause of the page."""
    window.press("Escape")
    window.wait("studio.summary.points.size > 0")
    window.js("""(() => {
        window.shown = 0; window.longest = 0; window.draws = [];
        studio.on("painted", () => { window.shown += 1; });
        const draw = studio.stage.draw.bind(studio.stage);
        studio.stage.draw = () => {
            const from = performance.now();
            draw();
            window.draws.push(performance.now() - from);
        };
        let last = performance.now();
        const beat = () => {
            const now = performance.now();
            window.longest = Math.max(window.longest, now - last);
            last = now;
            setTimeout(beat, 0);
        };
        beat();
    })()""")
    ruler = window.page.locator("canvas.ruler").bounding_box()
    left, width, y = ruler["x"] + 125, ruler["width"] - 140, ruler["y"] + 10
    window.page.mouse.move(left, y)
    window.page.mouse.down()
    began, moves = time.perf_counter(), 0
    while (now := time.perf_counter() - began) < seconds:
        window.page.mouse.move(left + width * (0.5 - 0.5 * np.cos(2 * np.pi * now / seconds)), y)
        moves += 1
    window.page.mouse.up()
    shown, longest, draws = window.js("[window.shown, window.longest, window.draws]")
    return {
        "pictures_per_second": round(shown / seconds, 1),
        "longest_pause_ms": round(longest, 1),
        "draw_ms": summary(draws),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=500)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument(
        "--only", choices=["sizes", "many"], help="measure one part, and keep what is stored of the other"
    )
    given = parser.parse_args()

    from studio_in_browser import chromium

    from tapkit.evaluation.calibrate import calibrate

    result: dict[str, Any] = json.loads(RESULTS.read_text()) if given.only else {}
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        if given.only != "many":
            result |= {"cpus": os.cpu_count()} | by_size(browser, Path(name), given.repeat)
            result |= {"load": os.getloadavg()[1], "calibration_seconds": calibrate()}
        if given.only != "sizes":
            many = with_many(browser, Path(name), given.points, given.frames, given.repeat)
            many |= {"load": os.getloadavg()[1], "calibration_seconds": calibrate()}
            result |= {"points": given.points, "frames": given.frames, "many": many}
    print(json.dumps(result, indent=1))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


def by_size(browser: Any, folder: Path, repeat: int) -> dict[str, Any]:
    """Clips of two sizes, quiet and while the tracker runs."""
    from studio_in_browser import Window, running

    found = {}
    for size, (width, height, frames) in SIZES.items():
        make_clip(folder / f"{size}.mp4", width, height, frames)
    with running(folder) as address:
        for size in SIZES:
            window = Window(browser, address).open(size)
            window.js(STOPWATCH)
            found[size] = steps_and_jumps(window, repeat) | clicks(window, repeat)
            found[size]["while_tracking"] = while_tracking(window, min(repeat, 12))
            window.close()
    return found


def with_many(browser: Any, folder: Path, points: int, frames: int, repeat: int) -> dict[str, Any]:
    """A long clip with many points."""
    from studio_in_browser import Window, running

    own = folder / "many"
    own.mkdir()
    video = make_clip(own / "many.mp4", 320, 180, frames)
    began = time.perf_counter()
    project = fill_project(own, video, points, frames)
    print("project filled in", round(time.perf_counter() - began, 1), "s", flush=True)
    with running(project) as address:
        began = time.perf_counter()
        window = Window(browser, address).open("many")
        window.wait(f"studio.summary.points.size === {points}")
        opened = round(time.perf_counter() - began, 1)
        window.js(STOPWATCH)
        found = steps_and_jumps(window, repeat) | {"scrub": scrubbing(window), "open_seconds": opened}
        window.close()
    return found


if __name__ == "__main__":
    main()
