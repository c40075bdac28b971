"""A function as a sink."""

from __future__ import annotations

from collections.abc import Callable

from tapkit.types import FrameResult
from tapkit.video.base import Frame


class Callback:
    """Calls functions with what comes: `Callback(print)` prints every result."""

    def __init__(
        self,
        on_result: Callable[[FrameResult], object] | None = None,
        on_frame: Callable[[Frame], object] | None = None,
        on_finish: Callable[[], object] | None = None,
    ) -> None:
        self._on_result, self._on_frame, self._on_finish = on_result, on_frame, on_finish

    def frame(self, frame: Frame) -> None:
        """See `Sink`."""
        if self._on_frame is not None:
            self._on_frame(frame)

    def result(self, result: FrameResult) -> None:
        """See `Sink`."""
        if self._on_result is not None:
            self._on_result(result)

    def finish(self) -> None:
        """See `Sink`."""
        if self._on_finish is not None:
            self._on_finish()
