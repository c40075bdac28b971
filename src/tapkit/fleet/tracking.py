"""Tracking as a task: each video gets tracks, files for other programs and, if wanted, an overlay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tapkit import storage
from tapkit.endings import OVERLAY
from tapkit.errors import UsageError
from tapkit.fleet.places import fetched, is_address
from tapkit.fleet.task import Do, Facts, Item, Tell

if TYPE_CHECKING:
    import numpy as np

    from tapkit.engine.control import Progress
    from tapkit.engine.tracker import Tracker
    from tapkit.types import Keyframes, Queries
    from tapkit.types.skeleton import Skeleton
    from tapkit.video.base import Source

TRACKS = ".tracks.npz"


@dataclass(frozen=True)
class Tracking:
    """A `Task`: track points through each video.

        fleet.run(fleet.Tracking(fleet.Videos(["takes/"]), model="strand", grid=20), "out")

    An item NAME gives NAME.tracks.npz, a file for each of `formats`, and NAME.overlay.mp4.
    """

    videos: Iterable[Item]
    """See `tapkit.fleet.Videos`."""
    model: str = "strand"
    weights: str | None = None
    """Checkpoint file, the same on all machines; None: the official one."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the model."""
    queries: Queries | None = None
    """Points that are tracked in every video."""
    keyframes: Keyframes | None = None
    skeleton: Skeleton = ()
    grid: int | None = None
    corners: int | None = None
    mask: np.ndarray | None = None
    frame: int = 0
    """Of grid, corners and mask."""
    direction: Literal["both", "forward", "backward"] = "both"
    memory: str | None = None
    start: int | None = None
    end: int | None = None
    step: int = 1
    """Which frames of each video are used, see `tapkit.open_video`."""
    formats: tuple[str, ...] = ()
    """Names of `tapkit export --list`."""
    overlay: bool = False

    def __post_init__(self) -> None:
        from tapkit import registry
        from tapkit.export import library

        if self.queries is None and self.grid is None and self.corners is None and self.mask is None:
            raise UsageError("say which points: queries, grid, corners or mask")
        if registry.card(self.model).streaming == "pairwise":
            raise UsageError(f"{self.model} computes flow between two frames and tracks no points")
        registry.check_options(self.model, self.options)
        names = [library.find(name).name for name in self.formats]
        if len(set(names)) < len(names):
            raise UsageError(f"a format is named twice: {', '.join(self.formats)}")
        object.__setattr__(self, "formats", tuple(names))

    def identity(self) -> Mapping[str, Any]:
        """See `Task.identity`."""
        points = None if self.queries is None else [self.queries.array().tolist(), self.queries.ids.tolist()]
        weights = None
        if self.weights is not None:
            status = storage.check_file(self.weights).stat()
            weights = f"{Path(self.weights).name} {status.st_size} {int(status.st_mtime)}"
        return {
            "kind": "tracking", "model": self.model, "weights": weights, "options": dict(self.options),
            "grid": self.grid, "corners": self.corners, "frame": self.frame, "queries": points,
            "mask": None if self.mask is None else _digest(self.mask.tobytes()),
            "keyframes": None if self.keyframes is None else _keys(self.keyframes),
            "skeleton": [list(edge) for edge in self.skeleton],
            "direction": self.direction, "memory": self.memory,
            "frames": [self.start, self.end, self.step], "formats": list(self.formats), "overlay": self.overlay,
        }  # fmt: skip

    def items(self) -> Iterable[Item]:
        """See `Task.items`."""
        return self.videos

    def result(self, name: str) -> str:
        """See `Task.result`."""
        return name + TRACKS

    def ready(self, device: str) -> Do:
        """See `Task.ready`."""
        from tapkit.api import load

        tracker = load(self.model, self.weights, device, **self.options)
        return lambda item, folder, tell: self._track(tracker, item, folder, tell)

    def _track(self, tracker: Tracker, item: Item, folder: Path, tell: Tell) -> Facts:
        from tapkit.api import make_queries
        from tapkit.video import open_video

        target, drawn = folder / self.result(item.name), folder / f"{item.name}{OVERLAY}.mp4"
        if not (target.exists() and (drawn.exists() or not self.overlay)):  # else only what follows went wrong
            with (
                fetched(item.source, folder) as path,
                open_video(path, start=self.start, end=self.end, step=self.step) as source,
            ):
                if source.live:
                    raise UsageError(f"{item.source} is a stream: tapkit live tracks those")
                points = make_queries(
                    source, self.queries, grid=self.grid, corners=self.corners, mask=self.mask, frame=self.frame
                )
                total = source.info.frames or 0

                def report(now: Progress) -> None:  # passes in two directions are one video
                    tell(round(now.done / (now.total or now.done or 1) * total))

                tracker.track_to(
                    target, source, points, self.direction, self.memory, report, keyframes=self.keyframes,
                    sinks=self._sinks(drawn, source, tracker, points), skeleton=self.skeleton,
                )  # fmt: skip
        return self._hand_on(item, target)

    def _sinks(self, path: Path, source: Source, tracker: Tracker, points: Queries) -> list[Any]:
        if not self.overlay:
            return []
        from tapkit.sinks import Overlay

        path.parent.mkdir(parents=True, exist_ok=True)
        pictures, said = source.frames(), tracker.provenance()
        return [
            Overlay(
                path, source.info, pictures=pictures, queries=points, source=said, sound=True, skeleton=self.skeleton
            )
        ]

    def _hand_on(self, item: Item, target: Path) -> Facts:
        """Write the other formats beside the tracks."""
        from tapkit.export import library
        from tapkit.types import Tracks

        tracks = Tracks.load(target)
        if is_address(item.source):  # the copy that was read will be no more
            tracks = tracks.with_(video=replace(tracks.video, path=item.source))
            tracks.save(target)
        for name in self.formats:
            form = library.find(name)
            form.write(tracks, library.beside(target, form.name, form.suffix))
        return {"points": len(tracks), "frames": tracks.frames}


def _keys(keyframes: Keyframes) -> list[Any]:
    return [keyframes.ids.tolist(), keyframes.t.tolist(), keyframes.xy.tolist()]


def _digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()
