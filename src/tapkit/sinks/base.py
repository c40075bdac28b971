"""The contract of sinks."""

from __future__ import annotations

from typing import Protocol

from tapkit.types import FrameResult
from tapkit.video.base import Frame


class Sink(Protocol):
    """Takes what a run gives. Calls come from one thread, in this order: for every frame that was stepped `frame`, then
    `result` for whatever became known by it; once, at the end, `finish`.

    A result may belong to an earlier frame than the one stepped last (trackers with latency), and one frame may have
    several results (points that were added later). What a sink raises ends the run; the other sinks are finished.
    """

    def frame(self, frame: Frame) -> None:
        """A frame has been stepped. Its picture has the size at which the run reads the video, which an offline run
        chooses to suit the tracker."""

    def result(self, result: FrameResult) -> None:
        """Something is known about a frame; `result.final` says whether it may still change."""

    def finish(self) -> None:
        """Nothing more will come, also because the run was interrupted or failed: write and close what there is."""
