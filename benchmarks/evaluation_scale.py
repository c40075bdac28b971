"""Memory and time of reading and scoring a large benchmark: does either grow with the number of clips?

    python benchmarks/evaluation_scale.py [--clips 1000] [--model lucas-kanade]

Writes a TAP-Vid pickle of small synthetic clips one by one, evaluates it, and evaluates it again from the cached
predictions. Without --model a stand-in answers that nothing moves, so that only tapkit's own cost is measured.
Prints process CPU seconds, and resident memory at the 100th and at the last clip.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tapkit.datasets.base import Clip
from tapkit.datasets.frames import ArrayFrames
from tapkit.datasets.tapvid import TapVidPickles, write_tapvid
from tapkit.evaluation.protocol import Protocol
from tapkit.evaluation.report import html
from tapkit.evaluation.run import Contestant, Step, evaluate
from tapkit.storage import write_text
from tapkit.types import ModelCard, Tracks, VideoInfo

SIZE, FRAMES, TRACKS = (96, 128), 24, 12


class Still:
    """Says that nothing moves and everything is visible."""

    card = ModelCard("still", "Still", "", "", "", "none", True, "benchmarks:Still", confidence_radius=8.0)

    def track(self, video: Any, queries: Any, direction: str = "both") -> Tracks:
        """See `tapkit.Tracker.track`."""
        frames = sum(1 for _ in video.frames())
        one = np.ones((len(queries), frames))
        return Tracks(np.repeat(queries.xy[:, None], frames, 1), one, one, one > 0, queries, video.info)


def synthetic_clips(count: int) -> Iterator[Clip]:
    """Drifting noise with exact tracks, a clip at a time."""
    for number in range(count):
        random = np.random.default_rng(number)
        texture = np.kron(random.integers(0, 256, (40, 50, 3)), np.ones((4, 4, 1))).astype(np.uint8)
        step = random.integers(-2, 3, 2)
        video = np.stack([np.roll(texture, t * step[::-1], (0, 1))[: SIZE[0], : SIZE[1]] for t in range(FRAMES)])
        start = random.uniform((10, 10), (SIZE[1] - 10, SIZE[0] - 10), (TRACKS, 2))
        xy = start[:, None] + np.arange(FRAMES)[None, :, None] * step
        visible = ((xy > 0) & (xy < [SIZE[1], SIZE[0]])).all(-1)
        info = VideoInfo(SIZE[1], SIZE[0], frames=FRAMES)
        yield Clip(f"clip{number:05d}", xy, visible, SIZE, lambda v=video, i=info: ArrayFrames(v, i))  # type: ignore[misc]


def resident() -> float:
    """Resident memory of this process that is its own, in MB (mapped files are shared and can be dropped)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--model")
    arguments = parser.parse_args()
    contestant = Contestant.of(arguments.model) if arguments.model else Contestant(Still.card, make=Still)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        report("start", time.process_time())
        started = time.process_time()
        write_tapvid(folder / "made.pkl", synthetic_clips(arguments.clips))
        size = (folder / "made.pkl").stat().st_size / 1e6
        report(f"wrote {arguments.clips} clips, {size:.0f} MB", started)

        def progress(step: Step) -> None:
            if step.done in (100, step.total):
                report(f"  clip {step.done}", started)

        for what in ("predicted and scored", "scored from the cache"):
            started = time.process_time()
            dataset = TapVidPickles([folder / "made.pkl"])
            result = evaluate(dataset, [contestant], Protocol(), folder / "out", progress=progress)
            report(what, started)
        started = time.process_time()
        result.save(folder / "result.json")
        write_text(folder / "report.html", html(result))
        kept = sum(p.stat().st_size for p in (folder / "out").rglob("*") if p.is_file()) / 1e6
        json_size, page = ((folder / name).stat().st_size / 1e6 for name in ("result.json", "report.html"))
        report(
            f"wrote result.json ({json_size:.1f} MB) and the page ({page:.2f} MB); predictions {kept:.0f} MB", started
        )


def report(what: str, started: float) -> None:
    """One line."""
    print(f"{what:72} {time.process_time() - started:7.1f} s CPU  {resident():7.0f} MB", flush=True)


if __name__ == "__main__":
    main()
