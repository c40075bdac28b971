"""Tracker: a model with its weights, ready to track clips or to run live."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tapkit._version import __version__
from tapkit.engine.anchors import Anchors
from tapkit.engine.checkpoint import Checkpoint
from tapkit.engine.control import Control, Progress
from tapkit.engine.driver import Driver, HasCopies, driver_of
from tapkit.engine.memory import parse_bytes, release, stepped_down
from tapkit.engine.offline import Direction, Pass, plan, points_at_once
from tapkit.engine.passes import ClipRun
from tapkit.engine.progress import reporting
from tapkit.engine.retrack import through
from tapkit.engine.run import finishing
from tapkit.engine.session import OnCut, Session
from tapkit.engine.slots import forget
from tapkit.engine.sparse import connect
from tapkit.errors import DeviceMemoryError, UsageError
from tapkit.models.base import Model, Size
from tapkit.sinks.base import Sink
from tapkit.sinks.table import DiskTable, MemoryTable, Table
from tapkit.types import Keyframes, ModelCard, Provenance, Queries, Tracks, VideoInfo
from tapkit.types.skeleton import Skeleton, checked
from tapkit.types.storage import Block, Stored, check_suffix, write
from tapkit.video.base import Source
from tapkit.video.live_frame import Colors, FrameReader
from tapkit.video.using import using


class Tracker:
    """What `tapkit.load` returns. All inference runs in `torch.inference_mode()`."""

    def __init__(self, model: Model, weights_sha256: str = "") -> None:
        self.model = model
        self.weights_sha256 = weights_sha256
        for copy in model.copies if isinstance(model, HasCopies) else (model,):
            connect(copy)

    @property
    def card(self) -> ModelCard:
        """What is known of the model."""
        return self.model.card

    def __repr__(self) -> str:
        return f"Tracker({self.card.id}, {self.card.streaming}, on {self.model.device})"

    # -- live -------------------------------------------------------------------------------------

    def start(
        self,
        info: VideoInfo,
        queries: Any = (),
        memory: str | int | None = None,
        *,
        colors: Colors = "rgb",
        value_range: float | tuple[float, float] | None = None,
        cuts: OnCut = "ignore",
    ) -> Session:
        """A session over a video of that size.

            with tracker.start(info, [(0, 310.5, 122.0)], colors="bgr") as session:
                results = session.step(frame)

        Args:
            info: of the video; a camera's is `VideoInfo(width, height, fps)`.
            queries: points known already.
            memory: a budget ("2GB") that bounds what offline and windowed models take, by splitting points.
            colors: order of the channels of frames that will be handed in: "rgb", or "bgr" as OpenCV has it.
            value_range: (black, white) of their values, or white alone; None: by type and first frame, see
                `tapkit.video.live_frame.FrameReader`.
            cuts: what is done about scene cuts: "ignore", "note" (`Session.cuts`), or "redetect": points are let go of
                there, and as many corners of the new scene are tracked instead.
        """
        if not isinstance(info, VideoInfo):
            raise UsageError(f"a session needs the video's VideoInfo (open_video(...).info), got {type(info).__name__}")
        size = self.model.frame_size(info.size) or info.size
        driver = self._driver(size, parse_bytes(memory), info.frames)
        session = Session(self.model, info, driver, FrameReader(colors, value_range), cuts)
        if queries is not None and len(queries):
            session.add(queries)
        return session

    def _driver(self, size: Size, budget: int | None, frames: int | None) -> Driver:
        with torch.inference_mode():
            return driver_of(self.model)(self.model, size, budget, frames)

    # -- whole clips ------------------------------------------------------------------------------

    def track(
        self,
        video: Any,
        queries: Any,
        direction: Direction = "both",
        memory: str | int | None = None,
        progress: Callable[[Progress], object] | bool | None = None,
        *,
        keyframes: Keyframes | None = None,
        sinks: Sequence[Sink] = (),
        control: Control | None = None,
        skeleton: Skeleton | None = None,
    ) -> Tracks:
        """Track points through a clip.

        Args:
            video: anything `tapkit.open_video` takes.
            queries: `Queries` or rows (t, x, y), pixels of the video, corner origin; any frame, any order. Or
                `Tracks`: their queries and the keyframes that a human set. Or `Keyframes` alone: each point is asked
                for on the first of its frames.
            direction: "both" from each query's frame (the default), "forward" or "backward" only.
            memory: a budget such as "2GB", kept by splitting the points.
            progress: called after every frame with a `Progress`; True shows a bar, False nothing. For more, see
                `control`.
            keyframes: positions that the tracks pass through; between two of them the tracks from both sides are
                cross-faded.
            sinks: take each frame's result, in order, as soon as nothing about it can change (see `tapkit.sinks`).
            control: progress, pause and cancel, from another thread.
            skeleton: pairs of ids, which the result keeps; None: that of `queries`, if they are `Tracks`.

        Raises `QueryError` for queries outside the clip, `VideoError` for a video that cannot be read,
        `MemoryBudgetError` for a budget too small for one point, `Cancelled`.
        """
        with finishing(sinks), using(video) as source, reporting(progress) as report:
            anchors = self._anchors(queries, keyframes, source.info)
            edges = _edges(skeleton, queries, anchors)
            table = MemoryTable(len(anchors.queries), source.info.frames)
            job = ClipJob(source, anchors, table, direction, _control(control, report), memory, sinks)
            frames = self.fill(job)
            block = anchors.block(table, 0, len(anchors.asked))
            return Tracks(
                **{name: part[:, :frames] for name, part in block.items()},
                queries=anchors.points,
                video=_seen(source.info, frames),
                source=self.provenance(direction, memory, anchors.keyframes),
                skeleton=edges,
            )

    def track_to(
        self,
        path: str | Path,
        video: Any,
        queries: Any,
        direction: Direction = "both",
        memory: str | int | None = None,
        progress: Callable[[Progress], object] | bool | None = None,
        *,
        keyframes: Keyframes | None = None,
        sinks: Sequence[Sink] = (),
        control: Control | None = None,
        skeleton: Skeleton | None = None,
    ) -> Path:
        """As `track`, but the result goes to `path` (.npz, .zarr, .csv, .parquet) and never into memory.

        While it runs, everything is kept in the folder `PATH.partial`: after Ctrl-C, `cancel`, an error of a sink or a
        crash the same call resumes where it stopped.
        """
        path = Path(path)
        # Sinks are finished last: a failed overlay costs no tracks.
        with finishing(sinks), using(video) as source, reporting(progress) as report:
            check_suffix(path)
            anchors = self._anchors(queries, keyframes, source.info)
            edges = _edges(skeleton, queries, anchors)
            provenance = self.provenance(direction, memory, anchors.keyframes)
            folder = path.with_name(path.name + ".partial")
            with Checkpoint(folder, _identity(source, anchors, provenance)) as checkpoint:
                with closing(DiskTable(checkpoint.results, len(anchors.queries))) as table:
                    job = ClipJob(source, anchors, table, direction, _control(control, report), memory, sinks)
                    frames = self.fill(job, checkpoint)
                    seen = _seen(source.info, frames)
                    write(Stored(anchors.points, seen, provenance, frames, job.reader(frames), edges), path)
                checkpoint.remove()
            return path

    def _anchors(self, queries: Any, keyframes: Keyframes | None, info: VideoInfo) -> Anchors:
        if isinstance(queries, Tracks):
            keyframes = queries.keyframes() if keyframes is None else keyframes
            queries = queries.queries
        elif isinstance(queries, Keyframes):
            keyframes = queries if keyframes is None else keyframes
            queries = queries.queries()
        asked = Queries.of(queries).check(info.size, info.frames)
        return Anchors(asked, None if keyframes is None else keyframes.check(info.size, info.frames))

    def steps(self, job: ClipJob) -> int:
        """How many frames all passes of a job have together, as far as it is known beforehand."""
        frames = job.source.info.frames
        return sum(task.length(frames) or 0 for task in self._planned(job, self._at_once(job)))

    def _at_once(self, job: ClipJob) -> int:
        return points_at_once(self.model, len(job.anchors.queries), job.source.info, parse_bytes(job.memory))

    def _planned(self, job: ClipJob, chunk: int) -> list[Pass]:
        return plan(self.model, job.anchors.queries, job.source.info, job.direction, chunk)

    def fill(self, job: ClipJob, checkpoint: Checkpoint | None = None) -> int:
        """Track a clip into the table of `job`; returns how many frames the clip really has.

        What `track` and `track_to` are made of, for those with a table of their own. Raises as they do; what was found
        until then is in the table.
        """
        chunk = None if checkpoint is None else checkpoint.points
        if chunk is None:
            chunk = self._at_once(job)
        clip_run = ClipRun(
            lambda info, points: self.start(info, points, job.memory),
            job.source,
            job.anchors,
            job.table,
            job.direction,
            sinks=job.sinks,
            control=job.control,
            checkpoint=checkpoint,
            # Under a budget nothing is held that need not be: the second thread's work takes memory of its own.
            ahead=job.memory is None and not job.source.live,
        )
        try:
            clip_run.execute(self._planned(job, chunk), chunk)
        except DeviceMemoryError as error:
            # Models of whole clips step down by themselves: their frames need not be encoded again for that.
            chunk = min(chunk, len(job.anchors.queries))
            if self.card.streaming == "offline" or chunk < 2:
                raise
            chunk = -(-chunk // 2)
            stepped_down(error, chunk)
        else:
            return clip_run.frames
        # Outside of the handler, which holds on to what had been made.
        for copy in self.model.copies if isinstance(self.model, HasCopies) else (self.model,):
            forget(copy)
            release(copy.device)
        clip_run.restart()
        clip_run.execute(self._planned(job, chunk), chunk)
        return clip_run.frames

    def provenance(
        self,
        direction: str = "forward",
        memory: str | int | None = None,
        keyframes: Keyframes | None = None,
        **more: Any,
    ) -> Provenance:
        """What a result of this tracker is to say of how it came about."""
        options = {**self.model.options, "direction": direction, **more}
        if getattr(self.model, "compiled", False):
            options["compiled"] = True
        if self.card.joint and memory is not None:
            options["memory"] = memory  # splitting the points of a joint model changes its results
        if keyframes is not None and len(keyframes):
            options["keyframes"] = len(keyframes)
            options["through"] = through(keyframes)
        return Provenance.of(self.card, __version__, self.weights_sha256, **options)


def _edges(skeleton: Skeleton | None, queries: Any, anchors: Anchors) -> Skeleton:
    """The skeleton that is meant; said to be wrong before anything is tracked."""
    if skeleton is None:
        skeleton = queries.skeleton if isinstance(queries, Tracks) else ()
    return checked(skeleton, anchors.points.ids.tolist())


class ClipJob(NamedTuple):
    """What a run over a clip is asked to do."""

    source: Source
    anchors: Anchors
    table: Table
    direction: Direction
    control: Control
    memory: str | int | None = None
    sinks: Sequence[Sink] = ()

    def reader(self, frames: int) -> Callable[[int, int], Block]:
        """Reads points start..stop of the results, for storage."""

        def read(start: int, stop: int) -> Block:
            block = self.anchors.block(self.table, start, stop)
            return {name: part[:, :frames] for name, part in block.items()}

        return read


def _control(control: Control | None, progress: Callable[[Progress], object] | None) -> Control:
    if control is None:
        return Control(progress)
    if progress is not None:
        raise UsageError("give progress= or control= (which carries one), not both")
    return control


def _identity(source: Source, anchors: Anchors, provenance: Provenance) -> dict[str, Any]:
    """What makes a run the same as an interrupted one."""
    return {
        "layout": 3,  # of the partial folder
        **provenance.to_dict(),
        "video": {**source.info.to_dict(), **source.identity(), "first": _digest(source)},
        "queries": anchors.queries.array().tolist(),
        "ids": anchors.queries.ids.tolist(),
        "owners": anchors.owner.tolist(),
    }


def _digest(source: Source) -> str:
    """Hash of the first picture, whatever the video is read from and however."""
    return hashlib.sha256(np.ascontiguousarray(source.peek().image).tobytes()).hexdigest()


def _seen(info: VideoInfo, frames: int) -> VideoInfo:
    """The info of a video of which `frames` frames could be read."""
    return replace(info, frames=frames, times=None if info.times is None else info.times[:frames])
