"""How fast a tracker is here: frames a second x points x resolution x device, and in multiples of a fixed workload."""

from __future__ import annotations

import contextlib
import ctypes
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tapkit.engine.run import run
from tapkit.engine.tracker import Tracker
from tapkit.evaluation.calibrate import calibrate
from tapkit.sinks import Callback
from tapkit.types import Queries, VideoInfo
from tapkit.video.base import Frame


@dataclass(frozen=True)
class Speed:
    """One measurement."""

    model: str
    points: int
    width: int
    height: int
    frames: int
    device: str
    threads: int
    precision: str
    fps: float
    """Frames a second over the whole clip, decoding not included."""
    first_ms: float
    """Until the first call returns (all points are added on the first frame)."""
    median_ms: float
    """Of the time between results, for causal and windowed trackers; of the whole clip a frame otherwise."""
    p95_ms: float
    multiples: float
    """Seconds a frame, in multiples of the fixed workload timed right before and after."""
    peak_mib: float | None
    """Memory taken while the clip was tracked, beside the program and the weights: growth of resident memory to its
    peak, on a GPU of what is allocated. None where the system cannot tell."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def synthetic_clip(frames: int, height: int, width: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Frames uint8 [H,W,3] of a moving texture: noise at several scales that drifts by a pixel or two a frame."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros((height + 2 * frames + 8, width + 2 * frames + 8, 3), np.float32)
    for cell in (4, 16, 64):
        rows, columns = -(-canvas.shape[0] // cell), -(-canvas.shape[1] // cell)
        noise = rng.uniform(0, 80, (rows, columns, 3)).astype(np.float32)
        canvas += noise.repeat(cell, 0).repeat(cell, 1)[: canvas.shape[0], : canvas.shape[1]]
    texture = canvas.clip(0, 255).astype(np.uint8)
    for t in range(frames):
        yield np.ascontiguousarray(texture[t : t + height, 2 * t : 2 * t + width])


def measure(tracker: Tracker, points: int, height: int, width: int, frames: int = 24) -> Speed:
    """Track `points` random points through `frames` synthetic frames, after a warm-up of a few frames."""
    clip = list(synthetic_clip(frames, height, width))
    device = tracker.model.device
    queries = Queries.random((height, width), points, np.random.default_rng(0))
    _drive(tracker, clip[: max(frames // 4, 2)], queries)
    before = calibrate(device)
    memory = Memory(device)
    marks = _drive(tracker, clip, queries)
    growth, after = memory.growth_mib(), calibrate(device)
    steps = np.diff(marks)
    each = (marks[-1] - marks[0]) / frames
    spread = steps if tracker.card.streaming != "offline" else np.array([each])
    return Speed(
        model=tracker.card.id,
        points=points,
        width=width,
        height=height,
        frames=frames,
        device=device_name(device),
        threads=torch.get_num_threads(),
        precision=str(tracker.model.options.get("precision", "float32")),
        fps=1 / each,
        first_ms=1e3 * float(steps[0]),
        median_ms=1e3 * float(np.median(spread)),
        p95_ms=1e3 * float(np.percentile(spread, 95)),
        multiples=each / statistics.mean((before, after)),
        peak_mib=growth,
    )


def _drive(tracker: Tracker, clip: list[np.ndarray], queries: Queries) -> list[float]:
    """Times: at the start, after each frame, and after `finish`."""
    height, width = clip[0].shape[:2]
    marks = [time.perf_counter()]
    session = tracker.start(VideoInfo(width, height, frames=len(clip)), queries)
    frames = (Frame(index, index / 25, image) for index, image in enumerate(clip))
    run(session, frames, [Callback(on_frame=lambda _: marks.append(time.perf_counter()))])
    return [*marks, time.perf_counter()]


class Memory:
    """How far memory grows from here on.

    The peak of a process (`ru_maxrss`) never falls, so that it says nothing after a warm-up; Linux lets it be reset.
    What was freed is given back to the system first, or it would be used again unseen.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._known = device, False
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device) / 2**20
            return
        with contextlib.suppress(OSError, AttributeError):  # another system, or another C library
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
            self._known = True
        self._before = _status("VmRSS") if self._known else 0.0

    def growth_mib(self) -> float | None:
        """MiB from then to the peak since; None where that cannot be known."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**20 - self._before
        return max(_status("VmHWM") - self._before, 0.0) if self._known else None


def _status(name: str) -> float:
    """A line of /proc/self/status, which is in KiB, as MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return float(line.split()[1]) / 1024


def device_name(device: torch.device) -> str:
    """What the device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        try:
            with open("/proc/cpuinfo") as file:
                names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
            return f"{names[0]} x {len(names)}"
        except (OSError, IndexError):
            pass
    return str(device)
