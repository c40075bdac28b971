"""The track assist on a project: paths through the keyframes of points, stored as predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from tapkit.annotate import clips, lookup, reading, rules, runs
from tapkit.annotate.database import Database, lock_clip, look_at_clip
from tapkit.annotate.recorder import Recorder, Who
from tapkit.annotate.result import Said
from tapkit.annotate.solve import Click, FlowMotion, Motion, Solved, solve_track
from tapkit.annotate.values import Change
from tapkit.errors import UsageError
from tapkit.types import Provenance


def solve(
    database: Database,
    clip: int,
    points: int | Sequence[int] | None,
    motion: Motion | str,
    until: Literal["end", "keyframes"],
    who: Who,
    progress: Callable[[int, int], object] | None,
) -> Change:
    """See `Project.solve`."""
    if until not in ("end", "keyframes"):
        raise UsageError(f'a path goes to the "end" or between "keyframes", not {until!r}'[:200])
    wanted = [points] if isinstance(points, int) else points
    with database.read() as connection:
        row = look_at_clip(connection, clip)
        layer = rules.layer_to_change(connection, clip, who.user)
        ids = reading.chosen(connection, clip, layer, wanted)
        said = lookup.said(connection, ids)
    ids = [point for point in ids if len(said[point].t) > (until == "keyframes")]
    if not ids:
        needs = "two keyframes or more" if until == "keyframes" else "a keyframe"
        raise UsageError(f"there is nothing to fill: no point has {needs}")
    if isinstance(motion, str):
        with clips.source(database, clip) as video:
            solved = _solved(FlowMotion(video, motion), [said[point] for point in ids], until, progress)
        name = motion
    else:
        solved, name = _solved(motion, [said[point] for point in ids], until, progress), motion.name
    found = _found(ids, solved, row)
    with database.write() as connection:
        record = Recorder.begin(connection, lock_clip(connection, clip), layer, who, "run")
        runs.write(record, database, found, Provenance(f"assist-{name}", options={"flow": name}))
        return record.finish(f"filled {len(ids)} point{'s' * (len(ids) != 1)} along the motion ({name})")


def _solved(
    motion: Motion, said: Sequence[Said], until: str, progress: Callable[[int, int], object] | None
) -> list[Solved]:
    open_ends = until == "end"
    start = 0 if open_ends else min(int(each.t[0]) for each in said)
    stop = motion.frames if open_ends else max(int(each.t[-1]) for each in said) + 1
    total = stop - start + len(said)
    motion.prepare(start, stop, lambda done, _: progress and progress(done, total))
    solved = []
    for number, each in enumerate(said):
        clicks = [Click(int(t), float(x), float(y)) for t, (x, y) in zip(each.t, each.xy, strict=True)]
        hidden = [(first, last) for first, last, state in each.spans if state != "visible"]
        solved.append(solve_track(clicks, motion, hidden, open_ends))
        if progress is not None:
            progress(stop - start + number + 1, total)
    return solved


def _found(ids: Sequence[int], solved: Sequence[Solved], clip: Any) -> runs.Found:
    """All paths on all frames of the clip; NaN where a path does not go. Inside of the picture it is taken as seen:
    what is hidden, people say."""
    shape = (len(ids), clip.frames)
    xy, apart = np.full((*shape, 2), np.nan), np.full(shape, np.nan)
    confidence = np.zeros(shape)
    for n, each in enumerate(solved):
        span = slice(each.start, each.stop)
        xy[n, span], apart[n, span], confidence[n, span] = each.xy, each.disagreement, each.confidence
    with np.errstate(invalid="ignore"):
        visible = ((xy >= 0) & (xy <= (clip.width, clip.height))).all(-1).astype(float)
    return runs.Found.of(ids, 0, clip.frames, xy, visible, confidence, apart)
