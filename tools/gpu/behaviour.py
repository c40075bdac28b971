"""Does the engine keep its promises there? Sessions equal whole clips, budgets are kept, memory stays flat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gpu.exact import tf32, tracks
from gpu.subjects import Clip, clip, make, points
from tapkit import registry
from tapkit.engine import costs
from tapkit.types import VideoInfo


def sessions(device: torch.device, names: list[str], plan: Any, left: Callable[[], float]) -> list[dict]:
    """A session stepped by hand against `Tracker.track` over the same frames, forwards."""
    frames = clip(plan.behaviour_frames, plan.behaviour_size)
    queries = points(plan.behaviour_points, plan.behaviour_size)
    rows = []
    for name in names:
        row: dict[str, Any] = {"model": name}
        rows.append(row)
        if left() <= 0:
            row["verdict"] = "not run: out of time"
            continue
        try:
            subject = make(name, device, plan.options(name), plan.small)
            with tf32(False):
                stepped, _ = tracks(subject.tracker, frames, queries)
                whole = subject.tracker.track(Clip(frames), queries, direction="forward")
        except Exception as error:
            row["verdict"] = f"not run: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
            continue
        difference = float(np.abs(stepped.transpose(1, 0, 2) - whole.xy)[whole.valid].max())
        row |= {"largest_px": difference, "verdict": "ok" if difference <= plan.sessions_px else "FAIL"}
    return rows


def budget(device: torch.device, names: list[str], plan: Any) -> list[dict]:
    """What was measured of points, and whether a budget for half of them was kept; only where memory is counted."""
    meter, rows = costs.meter_of(device), []
    for name in names:
        row: dict[str, Any] = {"model": name}
        rows.append(row)
        try:
            subject = make(name, device, plan.options(name), plan.small)
            model, size = subject.tracker.model, plan.behaviour_size
            handed = model.frame_size(size) or size
            found = costs.costs(model, handed, plan.behaviour_frames)
            guessed = costs.estimated(model, handed, plan.behaviour_frames)
            row |= {"fixed": found.fixed, "point": found.point, "estimated_point": guessed.point}
            frames, count = Clip(clip(plan.behaviour_frames, size)), plan.budget_points
            limit = found.fixed + found.point * (count // 2)
            before = 0 if meter is None else meter.restart()
            subject.tracker.track(frames, points(count, size), direction="forward", memory=limit)
            if meter is None:
                row["verdict"] = "ok: memory is not counted here"
                continue
            row |= {"budget": limit, "peak": meter.peak() - before}
            row["verdict"] = "ok" if row["peak"] <= 1.1 * limit else "FAIL"
        except Exception as error:
            row["verdict"] = f"not run: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
    return rows


def flat(device: torch.device, names: list[str], plan: Any, left: Callable[[], float]) -> list[dict]:
    """A long session: bytes of the device that are held after a tenth of it, and at its end."""
    rows = []
    frames = clip(16, plan.behaviour_size)
    for name in names:
        if registry.card(name).streaming == "offline":
            continue
        row: dict[str, Any] = {"model": name}
        rows.append(row)
        try:
            subject = make(name, device, plan.options(name), plan.small)
            height, width = plan.behaviour_size
            session = subject.tracker.start(VideoInfo(width, height), points(plan.behaviour_points, (height, width)))
            held: list[int] = []
            for index in range(plan.long):
                if left() <= 0:
                    break
                session.step(frames[index % len(frames)])
                if index % max(plan.long // 10, 1) == max(plan.long // 10, 1) - 1:
                    held.append(torch.cuda.memory_allocated(device) if device.type == "cuda" else 0)
            row |= {"frames": session.frame, "held_mib": [value / 2**20 for value in held]}
            grown = held[-1] - held[0] if held else 0
            short = session.frame < plan.long
            row["verdict"] = "FAIL: it grows" if grown > 1 << 20 else "ok, cut short: out of time" if short else "ok"
        except Exception as error:
            row["verdict"] = f"not run: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
    return rows
