"""Are the published numbers those of the device, too? All parity cases in float32, without TF32; then other types."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import check_parity
import numpy as np
import torch
from parity import Parity

from gpu.everywhere import everywhere
from gpu.subjects import clip, make, points


@contextmanager
def tf32(allowed: bool):
    """Whether matrices and convolutions of float32 may be multiplied with 10 bits."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def parity(device: torch.device, folder: Path, models: list[str] | None, left: Callable[[], float]) -> list[dict]:
    """A row for each case: the output that is worst, as a share of its tolerance."""
    root = Parity(check_parity.parity_root(folder))
    _forget_networks()
    try:
        return _cases(device, folder, models, left, root)
    finally:
        _forget_networks()


def _forget_networks() -> None:
    """Runners keep the network of the last case: none is to be met on another device than its own."""
    for name, module in list(sys.modules.items()):
        if name.startswith("parity."):
            for kept in list(vars(module).values()):
                if hasattr(kept, "cache_clear"):
                    kept.cache_clear()


def _cases(
    device: torch.device, folder: Path, models: list[str] | None, left: Callable[[], float], root: Parity
) -> list[dict]:
    rows = []
    for path in check_parity.cases(folder):
        model = path.parent.name
        if models is not None and model not in models:
            continue
        row: dict[str, Any] = {"model": model, "case": path.stem}
        rows.append(row)
        if left() <= 0:
            row["verdict"] = "not run: out of time"
            continue
        started = time.perf_counter()
        with tf32(False), everywhere(device):
            checks, trouble = check_parity.check_case(path, root)
        row["seconds"] = round(time.perf_counter() - started, 2)
        if not checks or trouble:
            row["verdict"] = "not run: " + (trouble.strip().splitlines() or ["nothing compared"])[-1]
            continue
        worst = max(checks, key=lambda check: check.difference / max(check.tolerance, 1e-12))
        failed = [check.output for check in checks if not check.passed]
        row |= {"output": worst.output, "difference": worst.difference, "tolerance": worst.tolerance}
        row |= {"verdict": "ok" if not failed else "FAIL", "failed": failed}
    return rows


PRECISIONS = ("tf32", "bfloat16", "float16")


def precision(device: torch.device, names: list[str], plan: Any, left: Callable[[], float]) -> list[dict]:
    """How far answers move from those of float32, in pixels of the frames: a row for each tracker and type."""
    rows = []
    frames = clip(plan.precision_frames, plan.precision_size)
    queries = points(plan.precision_points, plan.precision_size)
    for name in names:
        reference = None
        for kind in ("float32", *PRECISIONS):
            row: dict[str, Any] = {"model": name, "type": kind}
            if left() <= 0:
                rows.append(row | {"verdict": "not run: out of time"})
                continue
            if kind == "float16" and device.type == "cpu":  # whose own layout of weights has no kernels for it
                rows.append(row | {"verdict": "ok: not asked of a CPU"})
                continue
            try:
                subject = make(name, device, plan.options(name) | _asked(kind), plan.small)
                half = torch.autocast(device.type, torch.float16) if kind == "float16" else nullcontext()
                with tf32(kind == "tf32"), half:
                    found = tracks(subject.tracker, frames, queries)
            except Exception as error:
                rows.append(row | {"verdict": f"not run: {type(error).__name__}: {str(error).splitlines()[0][:200]}"})
                continue
            if reference is None:
                reference = found
                continue
            moved = np.linalg.norm(found[0] - reference[0], axis=-1)
            rows.append(
                row
                | {
                    "official": subject.official,
                    "median_px": float(np.median(moved)),
                    "p95_px": float(np.percentile(moved, 95)),
                    "largest_px": float(moved.max()),
                    "visible_changed": float((found[1] != reference[1]).mean()),
                    "verdict": "ok" if np.isfinite(moved).all() else "FAIL: not finite",
                }
            )
    return rows


def _asked(kind: str) -> dict[str, str]:
    return {"precision": "bfloat16" if kind == "bfloat16" else "float32"}


def tracks(tracker: Any, frames: list[np.ndarray], queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions [T,N,2] and whether visible [T,N], of a session over the frames."""
    from tapkit.types import VideoInfo

    height, width = frames[0].shape[:2]
    session = tracker.start(VideoInfo(width, height, frames=len(frames)), queries)
    results = [result for frame in frames for result in session.step(frame)] + session.finish()
    xy = np.full((len(frames), len(queries), 2), np.nan, np.float32)
    visible = np.zeros(xy.shape[:2], bool)
    for result in results:
        xy[result.frame, result.rows] = result.xy
        visible[result.frame, result.rows] = result.visible >= 0.5
    return xy, visible
