"""Tracker: a model with its weights, ready to track clips or to run live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from tapkit._version import __version__
from tapkit.engine.checkpoint import Checkpoint
from tapkit.engine.driver import Driver
from tapkit.engine.memory import parse_bytes
from tapkit.engine.offline import Direction, Progress, Run, plan
from tapkit.engine.results import DiskResults, MemoryResults, Record, Results
from tapkit.engine.session import Session
from tapkit.models.base import Model, Size
from tapkit.types import ModelCard, Provenance, Queries, Tracks, VideoInfo
from tapkit.types.storage import Block, Stored, check_suffix, write
from tapkit.video.base import Source
from tapkit.video.using import using

_DRIVERS = {
    "causal": ("tapkit.engine.causal", "CausalDriver"),
    "window": ("tapkit.engine.windows", "WindowDriver"),
    "offline": ("tapkit.engine.clip", "ClipDriver"),
}


class Tracker:
    """What `tapkit.load` returns. All inference runs in `torch.inference_mode()`."""

    def __init__(self, model: Model, weights_sha256: str = "") -> None:
        self.model = model
        self.weights_sha256 = weights_sha256

    @property
    def card(self) -> ModelCard:
        """What is known of the model."""
        return self.model.card

    def __repr__(self) -> str:
        return f"Tracker({self.card.id}, {self.card.streaming}, on {self.model.device})"

    # -- live -------------------------------------------------------------------------------------

    def start(self, info: VideoInfo, queries: Any = (), memory: str | int | None = None) -> Session:
        """A session over a video of that size; `queries` are points known already.

        `memory` ("2GB") bounds what offline and windowed models take by splitting points.
        """
        size = self.model.frame_size(info.size) or info.size
        session = Session(self.model, info, self._driver(size, parse_bytes(memory)))
        if len(queries):
            session.add(queries)
        return session

    def _driver(self, size: Size, budget: int | None) -> Driver:
        module, name = _DRIVERS[self.card.streaming]
        driver: Callable[..., Driver] = getattr(import_module(module), name)
        with torch.inference_mode():
            return driver(self.model, size, budget)

    # -- whole clips ------------------------------------------------------------------------------

    def track(
        self,
        video: Any,
        queries: Any,
        direction: Direction = "both",
        memory: str | int | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Tracks:
        """Track points through a clip.

        Args:
            video: anything `tapkit.open_video` takes.
            queries: `Queries` or rows (t, x, y), pixels of the video, corner origin; any frame, any order.
            direction: "both" from each query's frame (the default), "forward" or "backward" only.
            memory: a budget such as "2GB", kept by splitting the points.
            progress: called after every frame.

        Raises `QueryError` for queries outside the clip, `VideoError` for a video that cannot be read,
        `MemoryBudgetError` for a budget too small for one point.
        """
        with using(video) as source:
            asked = self._check(queries, source.info)
            results = MemoryResults(len(asked), source.info.frames)
            run = self._execute(source, asked, results, direction, memory, None, progress, None)
            record, frames = results.points(0, len(asked)), run.frames
            return Tracks(
                xy=record.xy[:, :frames],
                visible=record.visible[:, :frames],
                confidence=record.confidence[:, :frames],
                valid=record.valid[:, :frames],
                queries=asked,
                video=_seen(source.info, frames),
                source=self._provenance(direction, memory),
            )

    def track_to(
        self,
        path: str | Path,
        video: Any,
        queries: Any,
        direction: Direction = "both",
        memory: str | int | None = None,
        progress: Callable[[Progress], None] | None = None,
        on_complete: Callable[[int, Record], None] | None = None,
    ) -> Path:
        """As `track`, but the result goes to `path` (.npz, .zarr, .csv, .parquet) and never into memory.

        While it runs, everything is kept in the folder `PATH.partial`: after Ctrl-C or a crash the same call goes
        on where it stopped. `on_complete(frame, record)` is called once for each frame, in order, as soon as
        nothing about it can change any more.
        """
        path = Path(path)
        check_suffix(path)
        with using(video) as source:
            asked = self._check(queries, source.info)
            job = {
                **self._provenance(direction, memory).to_dict(),
                "video": {**source.info.to_dict(), **_file_identity(source.info.path)},
                "queries": asked.array().tolist(),
                "ids": asked.ids.tolist(),
            }
            checkpoint = Checkpoint(path.with_name(path.name + ".partial"), job)
            results = DiskResults(checkpoint.results, len(asked))
            try:
                run = self._execute(source, asked, results, direction, memory, checkpoint, progress, on_complete)
                info = _seen(source.info, run.frames)
                content = Stored(
                    asked, info, self._provenance(direction, memory), run.frames, blocks(results, run.frames)
                )
                write(content, path)
            finally:
                results.close()
            checkpoint.remove()
            return path

    def _check(self, queries: Any, info: VideoInfo) -> Queries:
        return Queries.of(queries).check(info.size, info.frames)

    def _execute(
        self,
        source: Source,
        queries: Queries,
        results: Results,
        direction: Direction,
        memory: str | int | None,
        checkpoint: Checkpoint | None,
        progress: Callable[[Progress], None] | None,
        on_complete: Callable[[int, Record], None] | None,
    ) -> Run:
        passes = plan(self.model, queries, source.info, direction, parse_bytes(memory))
        run = Run(
            lambda info, points: self.start(info, points, memory),
            source,
            queries,
            results,
            direction,
            checkpoint=checkpoint,
            progress=progress,
            on_complete=on_complete,
        )
        run.execute(passes)
        return run

    def _provenance(self, direction: str, memory: str | int | None) -> Provenance:
        options = {**self.model.options, "direction": direction}
        if self.card.joint and memory is not None:
            options["memory"] = memory  # splitting the points of a joint model changes its results
        return Provenance.of(self.card, __version__, self.weights_sha256, **options)


def _seen(info: VideoInfo, frames: int) -> VideoInfo:
    """The info of a video of which `frames` frames could be read."""
    return replace(info, frames=frames, times=None if info.times is None else info.times[:frames])


def _file_identity(path: str | None) -> dict[str, Any]:
    """Size and time of change of the file, so that another video of the same name is another job."""
    if path is None or not Path(path).is_file():
        return {}
    stat = Path(path).stat()
    return {"bytes": stat.st_size, "changed": stat.st_mtime_ns}


def blocks(results: Results, frames: int) -> Callable[[int, int], Block]:
    """Reads points start..stop of the results as storage wants them."""

    def read(start: int, stop: int) -> Block:
        record = results.points(start, stop)
        block = {name: part[:, :frames] for name, part in record._asdict().items()}
        block["xy"][~block["valid"]] = float("nan")
        block["keyframe"] = block["valid"] & False
        return block

    return read
