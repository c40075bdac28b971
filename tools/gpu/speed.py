"""How fast is it? Frames a second, a step's p50 and p95, peak memory, as shares of what the device can do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from gpu.exact import tracks
from gpu.subjects import clip, make, points, synchronize
from tapkit.engine.costs import meter_of
from tapkit.engine.memory import release
from tapkit.engine.slots import PATIENCE
from tapkit.engine.tracker import Tracker
from tapkit.models.base import FixedStep
from tapkit.nn.neighbourhood import correlate
from tapkit.nn.packed import Linear
from tapkit.types import VideoInfo


def seconds(device: torch.device, work: Callable[[], object], repeats: int) -> float:
    """Median time of `work` on the device, after one run that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        synchronize(device)
        started = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


@torch.inference_mode()
def limits(device: torch.device, plan: Any) -> dict[str, float]:
    """What the device multiplies and copies: TFLOP/s of square matrices by type, GB/s of a copy."""
    side, found = plan.matrix, {}
    for kind in (torch.float32, torch.bfloat16, torch.float16):
        a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
        took = seconds(device, lambda a=a, b=b: a @ b, plan.repeats)
        found[f"{str(kind).removeprefix('torch.')}_tflops"] = 2 * side**3 / took / 1e12
    source = torch.empty(plan.copy_bytes // 4, device=device)
    target = torch.empty_like(source)
    found["copy_gb_s"] = 2 * plan.copy_bytes / seconds(device, lambda: target.copy_(source), plan.repeats) / 1e9
    return found


@torch.inference_mode()
def blocks(device: torch.device, plan: Any) -> list[dict]:
    """What many trackers share, against the plain formula in torch's own modules: times, the largest difference."""
    return [_linear(device, plan), _correlation(device, plan), _attention(device, plan)]


def _row(device: torch.device, plan: Any, what: str, ours: Callable[[], Any], plain: Callable[[], Any]) -> dict:
    difference = float((ours() - plain()).abs().max())
    times = [seconds(device, work, plan.repeats) for work in (ours, plain)]
    return {"block": what, "ours_ms": 1e3 * times[0], "plain_ms": 1e3 * times[1], "largest_difference": difference}


def _linear(device: torch.device, plan: Any) -> dict:
    ours, plain = Linear(384, 1536), nn.Linear(384, 1536)
    plain.load_state_dict(ours.state_dict())
    ours, plain = ours.to(device).eval(), plain.to(device).eval()
    x = torch.randn(plan.rows, 384, device=device)
    return _row(device, plan, "linear + gelu", lambda: ours(x, "gelu"), lambda: F.gelu(plain(x)))


def _correlation(device: torch.device, plan: Any) -> dict:
    """7x7 neighbourhoods of one level: products with whole cells that are blended, against blended cells' products."""
    maps = torch.randn(4, 48, 64, 128, device=device)
    xy = torch.rand(plan.rows, 2, device=device) * torch.tensor([60.0, 44.0], device=device) + 1
    frames = torch.randint(4, (plan.rows,), device=device)
    templates = torch.randn(plan.rows, 1, 128, device=device)
    ticks = torch.arange(-3, 4, device=device, dtype=torch.float32)
    around = torch.stack(torch.meshgrid(ticks, ticks, indexing="ij"), -1)
    scale = torch.tensor([63.0, 47.0], device=device)

    def plain() -> torch.Tensor:
        grid = (xy[:, None, None] + around) / scale * 2 - 1
        parts = []
        for frame in range(4):
            rows = frames == frame
            one = maps[frame : frame + 1].permute(0, 3, 1, 2)
            part = grid[rows].view(1, -1, 49, 2)
            parts.append((rows, F.grid_sample(one, part, align_corners=True)[0]))
        out = torch.empty(plan.rows, 1, 49, device=device)
        for rows, features in parts:
            out[rows] = torch.einsum("nkc,cns->nks", templates[rows], features) * 128**-0.5
        return out

    return _row(device, plan, "correlation 7x7", lambda: correlate([maps], templates, frames, xy), plain)


def _attention(device: torch.device, plan: Any) -> dict:
    from tapkit.nn.attention import attend

    q, k, v = (torch.randn(plan.rows // 16, 16, 384, device=device) for _ in range(3))

    def plain() -> torch.Tensor:
        heads = [x.view(len(x), 16, 8, 48).transpose(1, 2) for x in (q, k, v)]
        weights = (heads[0] @ heads[1].transpose(-1, -2) * 48**-0.5).softmax(-1)
        return (weights @ heads[2]).transpose(1, 2).flatten(2)

    return _row(device, plan, "attention over 16 frames", lambda: attend(q, k, v, 8), plain)


def recorded(device: torch.device, names: list[str], plan: Any, left: Callable[[], float]) -> list[dict]:
    """Steps of causal trackers as ever, and with a fixed number of rows, recorded where that wins: p50 of a step, by
    how much the answers differ, whether they are recorded. On other devices than CUDA nothing is."""
    rows = []
    size, count = plan.behaviour_size, plan.behaviour_points
    frames, queries = clip(plan.recorded_frames, size), points(count, size)
    for name in names:
        row: dict[str, Any] = {"model": name, "points": count, "height": size[0], "width": size[1]}
        try:
            model = make(name, device, plan.options(name) | {"precision": plan.types[0]}, plan.small).tracker.model
            if not isinstance(model, FixedStep):
                continue
            if left() <= 0:
                rows.append(row | {"verdict": "not run: out of time"})
                continue
            found = {}
            for way, asked in (("as_ever", False), ("fixed", None if device.type == "cuda" else True)):
                model.fixed_steps = asked
                tracker = Tracker(model)
                drive(tracker, frames[: PATIENCE + 2], queries)
                marks = drive(tracker, frames, queries)
                row[f"{way}_p50_ms"] = 1e3 * float(np.median(np.diff(marks[:-2])))
                found[way] = tracks(tracker, frames[: PATIENCE + 4], queries)[0]
            difference = float(np.abs(found["fixed"] - found["as_ever"]).max())
            chosen = bool(model.__dict__.get("_idle_recordings"))
            verdict = "ok" if difference <= plan.sessions_px else "FAIL"
            rows.append(row | {"recorded": chosen, "largest_px": difference, "verdict": verdict})
        except Exception as error:
            said = (str(error).splitlines() or [""])[0][:200]
            rows.append(row | {"verdict": f"not run: {type(error).__name__}: {said}"})
    return rows


def trackers(device: torch.device, names: list[str], plan: Any, left: Callable[[], float]) -> list[dict]:
    """A row for each tracker, type, frame size and number of points, in the order of the plan's cells.

    Each gets an equal share of the time that is left. Trackers stay on the device from one cell to the next.
    """
    cells = [(name, kind, size, count) for size, count in plan.cells for kind in plan.types for name in names]
    rows: list[dict] = []
    held: dict[tuple[str, str], Any] = {}
    for number, (name, kind, size, count) in enumerate(cells):
        row: dict[str, Any] = {"model": name, "type": kind, "points": count, "height": size[0], "width": size[1]}
        rows.append(row)
        share = left() / (len(cells) - number)
        if share <= 0:
            row["verdict"] = "not run: out of time"
            continue
        try:
            if (name, kind) not in held:
                held[name, kind] = make(name, device, plan.options(name) | {"precision": kind}, plan.small).tracker
            row |= measure(held[name, kind], count, size, plan, share)
            row["verdict"] = "ok"
        except Exception as error:
            row["verdict"] = f"not run: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
        release(device)
    return rows


def measure(tracker: Any, count: int, size: tuple[int, int], plan: Any, share: float) -> dict[str, float]:
    """Frames a second over a clip, after a warm-up; fewer frames where the share of the time is small."""
    device, queries = tracker.model.device, points(count, size)
    window = tracker.model.window if tracker.card.streaming == "window" else 2
    warm = clip(window + PATIENCE + 1, size)  # until what is recorded has been
    started = time.perf_counter()
    drive(tracker, warm, queries)
    each = (time.perf_counter() - started) / len(warm)
    frames = clip(int(min(max(share / 2 / each, window + 2), plan.frames)), size)
    meter = meter_of(device)
    before = 0 if meter is None else meter.restart()
    marks = drive(tracker, frames, queries)
    steps = np.diff(marks[:-1])
    figures = {
        "frames": len(frames),
        "fps": len(frames) / (marks[-1] - marks[0]),
        "step_p50_ms": 1e3 * float(np.median(steps)),
        "step_p95_ms": 1e3 * float(np.percentile(steps, 95)),
    }
    if meter is not None:
        figures["peak_mib"] = (meter.peak() - before) / 2**20
    return figures


def drive(tracker: Any, frames: list[np.ndarray], queries: np.ndarray) -> list[float]:
    """Times: at the start, after each frame, after `finish`."""
    device, (height, width) = tracker.model.device, frames[0].shape[:2]
    synchronize(device)
    marks = [time.perf_counter()]
    session = tracker.start(VideoInfo(width, height, frames=len(frames)), queries)
    for frame in frames:
        session.step(frame)
        marks.append(time.perf_counter())
    session.finish()
    synchronize(device)
    return [*marks, time.perf_counter()]
