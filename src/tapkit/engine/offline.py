"""A whole clip: which sessions answer the queries, in both directions, under a memory budget. A plan and nothing else.

Each pass is one session over the clip (forwards, or backwards from its end) for some of the points; `engine.passes`
carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tapkit.engine.driver import driver_of
from tapkit.errors import UsageError
from tapkit.models.base import Model
from tapkit.types import Queries, VideoInfo

Direction = Literal["both", "forward", "backward"]


@dataclass(frozen=True)
class Pass:
    """One session over the clip: frames start, start + step, ... for the points `rows`."""

    rows: slice
    start: int
    step: Literal[1, -1]

    def length(self, frames: int | None) -> int | None:
        """Frames it will see in a clip of `frames`."""
        if self.step < 0:
            return self.start + 1
        return None if frames is None else frames - self.start

    def local(self, queries: Queries) -> Queries:
        """Its points, with frames counted as its session counts them."""
        mine = queries[self.rows]
        return Queries((mine.t - self.start) * self.step, mine.xy, mine.ids)

    def frame(self, local: int) -> int:
        """The clip's number of the frame that its session counts as `local`."""
        return self.start + self.step * local


def points_at_once(model: Model, count: int, info: VideoInfo, budget: int | None) -> int:
    """How many of `count` points a pass over the clip may have."""
    size = model.frame_size(info.size) or info.size
    return driver_of(model).points_at_once(model, size, budget, count)


def plan(model: Model, queries: Queries, info: VideoInfo, direction: Direction, chunk: int) -> list[Pass]:
    """The passes that answer `queries`, `chunk` points each; those that go forward come last, so that frames are
    completed in order."""
    if direction not in ("both", "forward", "backward"):
        raise UsageError(f'direction must be "both", "forward" or "backward", got {direction!r}')
    card, count = model.card, len(queries)
    chunks = [slice(first, min(first + chunk, count)) for first in range(0, max(count, 1), chunk)]
    if card.bidirectional:
        return [Pass(rows, 0, 1) for rows in chunks]
    passes = []
    if direction != "forward":
        for rows in chunks:
            latest = int(queries.t[rows].max(initial=0))
            if latest > 0 or direction == "backward":
                if info.frames is None:
                    raise UsageError(
                        "this source only plays forwards, so points cannot be tracked back from a later frame; "
                        'use direction="forward", or record it to a file first'
                    )
                passes.append(Pass(rows, info.frames - 1 if card.uses_past else latest, -1))
    if direction != "backward":
        for rows in chunks:
            first = 0 if card.uses_past or not count else int(queries.t[rows].min())
            passes.append(Pass(rows, first, 1))
    return passes
