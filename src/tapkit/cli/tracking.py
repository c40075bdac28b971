"""What `tapkit track` does for one video, and for several in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tapkit.cli import footage as f
from tapkit.cli import options as o
from tapkit.cli.clips import placed
from tapkit.cli.outputs import claim
from tapkit.endings import OVERLAY
from tapkit.errors import TapkitError, UsageError, one_line

if TYPE_CHECKING:
    from tapkit.engine.tracker import Tracker
    from tapkit.sinks import Sink
    from tapkit.types import Queries
    from tapkit.types.skeleton import Skeleton
    from tapkit.video.base import Source

MOST_LOOKED_THROUGH = 20_000_000
"""Positions (points x frames) of a result that is looked through for jumps; larger ones stay on disk."""


@dataclass(frozen=True)
class Asked:
    """The options of the command that hold for each video."""

    grid: int | None
    points: Path | None
    at: list[str] | None
    mask: Path | None
    corners: int | None
    frame: int
    direction: Literal["both", "forward", "backward"]
    memory: str | None
    start: int | None
    end: int | None
    step: int
    value_range: str | None
    stream: int | None
    quiet: bool
    skeleton: str | None = None

    def track(self, clip: str, target: Path, overlay: Path | None, load: Callable[[], Tracker]) -> dict[str, Any]:
        """Track one video; returns what is to be said of it."""
        with f.open_footage(
            clip, self.start, self.end, self.step, self.value_range, self.stream
        ) as source:  # first of all: a name mistyped must not cost a download of weights
            tracker = load()
            queries = o.read_points(
                source,
                grid=self.grid, points=self.points, at=self.at, mask=self.mask, corners=self.corners, frame=self.frame,
            )  # fmt: skip
            edges = o.read_skeleton(self.skeleton, self.points, queries)
            started = time.perf_counter()
            with o.progress_of("tracking", self.quiet) as progress:
                try:
                    tracker.track_to(
                        target,
                        source,
                        queries,
                        direction=self.direction,
                        memory=self.memory,
                        progress=progress,
                        keyframes=o.read_keyframes(self.points),
                        sinks=_sinks(overlay, source, tracker, queries, edges),
                        skeleton=edges,
                    )
                except KeyboardInterrupt:
                    o.say(
                        f"interrupted; what is done is kept in {target}.partial: the same command continues from there"
                    )
                    raise
            seconds = time.perf_counter() - started
            return {
                "tracks": str(target),
                "overlay": str(overlay) if overlay else None,
                "points": len(queries),
                "frames": source.info.frames,
                "seconds": round(seconds, 3),
                "model": tracker.card.id,
                "doubts": _doubts(target, len(queries), source.info.frames),
            }


def show(summary: dict[str, Any]) -> None:
    """The summary for people: what was written, and what in it is in doubt."""
    drawn = f"; overlay {summary['overlay']}" if summary["overlay"] else ""
    print(f"{summary['tracks']}: {summary['points']} points in {summary['seconds']:.1f} s{drawn}")
    if summary["doubts"]:
        print(one_line(summary["doubts"]))


def _doubts(target: Path, points: int, frames: int | None) -> str | None:
    from tapkit.motion import doubt
    from tapkit.types import Tracks

    if points * (frames or 0) > MOST_LOOKED_THROUGH or not target.exists():
        return None
    return doubt.sentence(Tracks.load(target))


def claim_results(target: Path, overlay: Path | None, read: Sequence[str | Path | None], force: bool) -> None:
    """Refuse to replace what is there, but for the overlay of a run that was interrupted: the same command makes it
    anew."""
    resumed = target.with_name(target.name + ".partial").exists()
    claim(target, inputs=read, force=force)
    claim(target, videos=[overlay], inputs=read, force=force or resumed)


@dataclass(frozen=True)
class Batch:
    """Several videos, one after the other: a failure is reported, and the others go on."""

    asked: Asked
    load: Callable[[], Tracker]
    read: Sequence[Path | None]
    """Files that are read besides the videos."""
    force: bool

    def run(self, clips: Sequence[str], output: Path | None, overlay: Path | None) -> list[dict[str, Any]]:
        """A summary of each: as of one video, or {"video", "error"}, or {"video", "skipped"}."""
        targets = [placed(clip, output, ".tracks.npz") for clip in clips]
        drawn = [None if overlay is None else placed(clip, overlay, f"{OVERLAY}.mp4") for clip in clips]
        # Two videos of one name would have the same results; what is read must not be written over.
        claim(*targets, videos=drawn, inputs=[*clips, *self.read], force=True)
        self.load()  # what is wrong with the tracker is wrong for all of them
        for folder in {path.parent for path in [*targets, *drawn] if path is not None}:
            folder.mkdir(parents=True, exist_ok=True)
        summaries = []
        for number, (clip, target, picture) in enumerate(zip(clips, targets, drawn, strict=True), 1):
            self._say(f"[{number}/{len(clips)}] {clip}")
            summaries.append({"video": clip, **self._one(clip, target, picture)})
        failed = sum("error" in each for each in summaries)
        skipped = sum("skipped" in each for each in summaries)
        self._say(
            f"{len(clips) - failed - skipped} of {len(clips)} videos tracked"
            + f", {skipped} there already" * bool(skipped)
            + f", {failed} failed" * bool(failed)
        )
        return summaries

    def _one(self, clip: str, target: Path, overlay: Path | None) -> dict[str, Any]:
        if target.exists() and not self.force:
            self._say(f"{target} is there already and left alone (--force replaces it)")
            return {"tracks": str(target), "skipped": True}
        try:
            claim_results(target, overlay, [clip, *self.read], self.force)
            summary = self.asked.track(clip, target, overlay, self.load)
        except TapkitError as error:
            sentence = one_line(str(error))
        except OSError as error:
            from tapkit.storage import reason

            sentence = one_line(f"{str(error.filename)[:200]}: {reason(error)}" if error.filename else reason(error))
        else:
            if not self.asked.quiet:
                o.say(f"{summary['tracks']}: {summary['points']} points in {summary['seconds']:.1f} s")
                if summary["doubts"]:
                    o.say(one_line(summary["doubts"]))
            return summary
        o.say(one_line(f"tapkit: {clip} failed: {sentence}"))
        return {"error": sentence}

    def _say(self, text: str) -> None:
        if not self.asked.quiet:
            o.say(one_line(text))


def _sinks(path: Path | None, source: Source, tracker: Tracker, queries: Queries, edges: Skeleton) -> list[Sink]:
    """The overlay, where one is wanted. Its frames are decoded a second time, at their full size."""
    if path is None:
        return []
    if source.live:
        raise UsageError(
            "the overlay of a stream cannot be drawn afterwards; `tapkit live --record` draws while it plays"
        )
    from tapkit.sinks import Overlay

    said = tracker.provenance()
    return [
        Overlay(path, source.info, pictures=source.frames(), queries=queries, source=said, sound=True, skeleton=edges)
    ]
