"""Fits of one video as trackers: making one (interrupted and continued at will), and reading a finished one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tapkit import weights as stored
from tapkit.engine.interrupts import SafePoint
from tapkit.engine.tracker import Tracker
from tapkit.errors import StorageError, UsageError, VideoError, did_you_mean
from tapkit.per_video.fit import Job, Progress, run
from tapkit.per_video.folder import STATE, FitFolder, read_state
from tapkit.per_video.known import METHODS, method
from tapkit.per_video.prepare.store import Prepared
from tapkit.types import ModelCard
from tapkit.video.base import Source

LEAST_FREE = 256 << 20
"""Bytes that must be free on the disk before a fit begins."""


class FittedTracker(Tracker):
    """A tracker that knows one video: it answers queries on any frame, both ways, and nothing is fitted again."""

    def __init__(self, model: Any, digest: str, folder: Path) -> None:
        super().__init__(model, digest)
        self.folder = folder
        """Where the fit lies."""


def is_fit(name: object) -> bool:
    """Whether a model is named that is the folder of a fit, or its state file."""
    if not isinstance(name, str | Path):
        return False
    path = Path(name)
    return path.name == STATE or path.suffix == ".fit" or (path / "fit.json").is_file()


def card_of_fit(path: str | Path) -> ModelCard:
    """The card of the method of a fit. Raises `WeightsError` where there is none."""
    return method(_method_of(read_state(_state(path), training=False).facts)).card


def load_fit(path: str | Path, device: torch.device) -> FittedTracker:
    """The tracker out of a fit's folder, or of its state file. Raises `WeightsError`."""
    state = _state(path)
    found = read_state(state, training=False)
    made = method(_method_of(found.facts))
    model: Any = made.answer(found.state.model, found.place, found.facts["options"])
    model.thumbs = found.thumbs
    model.options = {**model.options, "steps_done": found.facts.get("step")}
    return FittedTracker(model.to(device), stored.sha256(state), state.parent)


def _state(path: str | Path) -> Path:
    return Path(path) if Path(path).name == STATE else Path(path) / STATE


def _method_of(facts: Mapping[str, Any]) -> str:
    known = str(facts["method"])
    if known not in METHODS:
        raise UsageError(f"this fit is of {known!r}, which this version does not have (it has {', '.join(METHODS)})")
    return known


def options_of(model: str, preset: str, given: Mapping[str, Any]) -> Any:
    """The options of a preset of a method, with what is given besides. Raises `UsageError`."""
    if model not in METHODS:
        hint = did_you_mean(model, METHODS)
        raise UsageError(f"there is no method {model!r} that is fitted to a video{hint} (known: {', '.join(METHODS)})")
    presets = method(model).presets
    if preset not in presets:
        raise UsageError(f"{model} has no preset {preset!r} (known: {', '.join(presets)})")
    chosen = presets[preset]
    return type(chosen).of(model, {**chosen.to_json(), **given})


def fit_video(
    source: Source,
    path: Path,
    *,
    model: str,
    preset: str,
    device: torch.device,
    minutes: float | None = None,
    prepared: Path | None = None,
    seed: int = 0,
    title: str = "",
    force: bool = False,
    say: Callable[[str], object] = lambda text: None,
    report: Callable[[Progress], object] = lambda progress: None,
    options: Mapping[str, Any] = {},
) -> bool:
    """Fit to a video in the folder `path`, or go on there; returns whether the schedule has ended.

    Ctrl-C ends it after the step at hand, with everything kept, and is then raised. Raises `UsageError` for options
    that cannot be, another fit in the folder, and a video that nothing can be learned from; `VideoError`,
    `StorageError`.
    """
    if source.live:
        raise UsageError("a method is fitted to a whole video, not to one that is still coming in")
    chosen = options_of(model, preset, options).located()
    folder = FitFolder(path)
    info = source.info
    video = {"width": info.width, "height": info.height, "frames": info.frames}
    folder.claim({"method": model, "preset": preset, "options": chosen.to_json(), "seed": seed, "video": video}, force)
    _check_disk(path)
    store = prepared or folder.prepared
    with SafePoint() as point:

        def told(progress: Progress) -> None:
            report(progress)
            if progress.stage != "fit" and point.interrupted is not None:
                point.leave()  # while preparing nothing is half done either: each array is whole or not there

        job = Job(
            folder, Prepared.of(store, source, chosen.max_side, chosen.flow_side), method(model), chosen, preset, seed,
            device, minutes, title, say, told, lambda: point.interrupted is not None,
        )  # fmt: skip
        if not job.folder.state.is_file():
            _check_one_scene(job.prepared)
        return run(job)


def _check_disk(path: Path) -> None:
    free = shutil.disk_usage(next(parent for parent in (path, *path.resolve().parents) if parent.is_dir())).free
    if free < LEAST_FREE:
        raise StorageError(
            f"only {free >> 20} MiB are free where {path} lies, and a fit needs {LEAST_FREE >> 20} at the least"
        )


def _check_one_scene(prepared: Prepared) -> None:
    """Raise `VideoError` for a clip with a scene cut: nothing corresponds across it."""
    import numpy as np

    from tapkit.video.cuts import CutDetector

    cut = CutDetector()
    for index, frame in enumerate(prepared.frames):
        if cut(torch.from_numpy(np.array(frame)).permute(2, 0, 1)):
            raise VideoError(
                f"a new scene begins on frame {index}: fit each scene by itself (--end {index}, then --start {index})"
            )
