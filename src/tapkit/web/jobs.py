"""Jobs: tracking and the assist, one after the other in a process of their own, with results stored as they come."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tapkit import registry
from tapkit.annotate import Unknown
from tapkit.annotate import values as v
from tapkit.errors import TapkitError, UsageError, one_line
from tapkit.types import Provenance
from tapkit.web import answers
from tapkit.web.crew import Crew
from tapkit.web.hub import Hub
from tapkit.web.refusals import no_weights
from tapkit.web.regions import Anchor, Group, Wish, grouped, region

if TYPE_CHECKING:
    from tapkit.annotate import Project

Kind = Literal["track", "solve"]
State = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
OVER = frozenset({"done", "failed", "cancelled"})
KEPT = 100
"""Jobs that are over and still listed."""
MOST = 100
"""Jobs that may wait."""
ALWAYS = ("strand", "lucas-kanade")
"""Trackers that need nothing but the package: listed until the process that tracks has said which there are."""


@dataclass
class Job:
    """Something that is computed for a clip."""

    id: int
    clip: int
    kind: Kind
    order: dict[str, Any]
    """For the process that tracks."""
    user: int | None
    window: str
    total: int | None
    state: State = "queued"
    done: int = 0
    rate: float | None = None
    """Steps a second."""
    seconds_left: float | None = None
    error: str | None = None
    points: tuple[int, ...] = ()
    run: int | None = None
    """Event of the document that its results belong to."""
    source: Provenance | None = None

    def seen(self) -> dict[str, Any]:
        """As the page sees it."""
        return {
            "type": "job",
            "job": self.id,
            "clip": self.clip,
            "kind": self.kind,
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "rate": self.rate,
            "seconds_left": self.seconds_left,
            "error": self.error,
            "points": list(self.points),
        }


@dataclass(frozen=True)
class Request:
    """What someone asked for."""

    kind: Kind
    points: Sequence[int] | None
    """None: all that they see."""
    model: str
    motion: str
    wish: Wish


class Jobs:
    """The jobs of a project.

    Args:
        project: where results go.
        target: what the process that tracks opens it by.
        hub: tells pages how far jobs are.
    """

    def __init__(self, project: Project, target: str, hub: Hub) -> None:
        self.project, self.target, self.hub = project, target, hub
        self._crew = Crew(self._heard)
        self._numbers = itertools.count(1)
        self._jobs: dict[int, Job] = {}
        self._waiting: deque[Job] = deque()
        self._now: Job | None = None
        self._lock = threading.RLock()
        self._trackers: list[dict[str, Any]] | None = None

    # -- asked for ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process that tracks, before anybody waits for it."""
        self._crew.start()

    def trackers(self) -> list[dict[str, Any]]:
        """Trackers that can be used: id, name, default."""
        if self._trackers is not None:
            return self._trackers
        cards = [registry.card(name) for name in ALWAYS]
        return [{"id": card.id, "name": card.name, "default": card.id == registry.DEFAULT} for card in cards]

    def submit(self, clip: int, request: Request, user: int | None, window: str) -> Job:
        """A new job. Raises `UsageError` for a request without anything to do, `VideoError` for a clip that is gone."""
        found = self.project.clip(clip, user)
        if found.problem is not None:
            raise UsageError(found.problem)
        seen = self.project.points(clip, user).points
        wanted = set(request.points if request.points is not None else [point.id for point in seen])
        if missing := wanted - {point.id for point in seen}:
            raise Unknown(f"there is no point {min(missing)} in the clip")
        chosen = [point for point in seen if point.id in wanted]
        if not chosen:
            raise UsageError("there is no point to track: place one first")
        build = self._track_order if request.kind == "track" else self._solve_order
        order, total, points = build(found, chosen, request, user)
        with self._lock:
            if len(self._waiting) >= MOST:
                raise UsageError(f"{MOST} jobs wait already: let some of them finish")
            job = Job(next(self._numbers), clip, request.kind, order, user, window, total, points=points)
            order["job"] = job.id
            self._jobs[job.id] = job
            self._forget()
            self._waiting.append(job)
            self._next()
        self._tell(job)
        return job

    def _track_order(
        self, clip: v.Clip, chosen: Sequence[v.Point], request: Request, user: int | None
    ) -> tuple[dict[str, Any], int | None, tuple[int, ...]]:
        self._check_tracker(request.model)
        groups = self._groups(clip, chosen, request.wish, user)
        if not groups and clip.frames == 1:
            raise UsageError("there is nothing to track: the clip has only one frame")
        if not groups:
            raise UsageError("there is nothing to track: no point has a keyframe at which it is seen")
        total = sum(group.last - group.first + 1 for group in groups)
        order = {
            "do": "track",
            "path": clip.path,
            "model": request.model,
            "groups": [
                {"first": g.first, "last": g.last, "direction": g.direction, "points": g.points} for g in groups
            ],
        }
        return order, total, tuple(sorted(point for group in groups for point, _ in group.points))

    def _check_tracker(self, model: str) -> None:
        registry.card(model)
        if self._trackers is not None and model not in {each["id"] for each in self._trackers}:
            raise no_weights(model)

    def _groups(self, clip: v.Clip, chosen: Sequence[v.Point], wish: Wish, user: int | None) -> list[Group]:
        now: dict[int, Anchor] = {}
        if wish.start is not None:
            if not 0 <= wish.start < clip.frames:
                raise UsageError(f"frame {wish.start} is not in the clip: its frames are 0..{clip.frames - 1}")
            ids = [point.id for point in chosen]
            for each in self.project.positions(clip.id, ids, wish.start, wish.start + 1, user):
                x, y = (float(value) for value in each.xy[0])
                if 0 <= x <= clip.width and 0 <= y <= clip.height:
                    now[each.id] = Anchor(wish.start, x, y)
        regions = []
        for point in chosen:
            keys = [Anchor(k.t, k.x, k.y) for k in point.keyframes if k.visible]
            found = region(keys, wish, clip.frames, now.get(point.id))
            if found is not None:
                regions.append((point.id, found))
        return grouped(regions, wish.direction)

    def _solve_order(
        self, clip: v.Clip, chosen: Sequence[v.Point], request: Request, user: int | None
    ) -> tuple[dict[str, Any], int | None, tuple[int, ...]]:
        points = [point.id for point in chosen if point.keyframes]
        if not points:
            raise UsageError("there is nothing to fill in: no point has a keyframe")
        registry.card(request.motion)
        until = "keyframes" if request.wish.until == "keyframes" else "end"
        order = {
            "do": "solve",
            "project": self.target,
            "clip": clip.id,
            "points": points,
            "motion": request.motion,
            "until": until,
            "user": user,
        }
        return order, None, tuple(points)

    def every(self, user: int | None, everything: bool = True) -> list[Job]:
        """All jobs that are listed, the newest last; of one user unless `everything`."""
        with self._lock:
            return [job for job in self._jobs.values() if everything or job.user == user]

    def get(self, job: int) -> Job:
        """One of them. Raises `Unknown`."""
        with self._lock:
            if job not in self._jobs:
                raise Unknown(f"there is no job {job}")
            return self._jobs[job]

    def pause(self, job: Job) -> None:
        """Wait after the frame at hand."""
        with self._lock:
            if job is self._now and job.state == "running":
                self._crew.order({"do": "pause", "job": job.id})
                job.state, job.seconds_left = "paused", None
        self._tell(job)

    def resume(self, job: Job) -> None:
        """Go on."""
        with self._lock:
            if job is self._now and job.state == "paused":
                self._crew.order({"do": "resume", "job": job.id})
                job.state = "running"
        self._tell(job)

    def cancel(self, job: Job) -> None:
        """Stop it; what it has found stays."""
        with self._lock:
            if job is self._now:
                self._crew.order({"do": "cancel", "job": job.id})
            elif job in self._waiting:
                self._waiting.remove(job)
                job.state = "cancelled"
        self._tell(job)

    def busy(self) -> bool:
        """Whether something runs."""
        now = self._now
        return now is not None and now.state == "running"

    def close(self) -> None:
        """End the process that tracks."""
        self._crew.close()

    # -- what the process says ----------------------------------------------------------------------

    def _heard(self, said: dict[str, Any]) -> None:
        if said["said"] == "ready":
            self._trackers = said["trackers"]
            return
        job = self._now
        if job is None or said.get("job", job.id) != job.id:
            return
        try:
            getattr(self, f"_{said['said']}")(job, said)
        except Exception as error:  # of the document: a full disk, say. The job ends, the server does not.
            text = str(error) if isinstance(error, TapkitError) else f"{type(error).__name__}: {str(error)[:300]}"
            self._crew.order({"do": "cancel", "job": job.id})
            job.error = job.error or one_line(text)

    def _started(self, job: Job, said: dict[str, Any]) -> None:
        job.source = Provenance(**said["source"])

    def _progress(self, job: Job, said: dict[str, Any]) -> None:
        job.done, job.total, job.rate = said["done"], said["total"], said["rate"]
        job.seconds_left = None if job.state == "paused" else said["seconds_left"]
        self._tell(job)

    def _positions(self, job: Job, said: dict[str, Any]) -> None:
        """Store what was found, then show what holds now: through keyframes, with what people said of visibility."""
        if job.error is not None:
            return
        left = said["points"]
        alive = {point.id for point in self.project.points(job.clip, job.user).points}
        left = [point for point in left if point["id"] in alive]  # others were deleted meanwhile
        if not left:
            return
        ids = [point["id"] for point in left]
        start, stop = said["start"], said["stop"]
        x, y, visible, confidence = (_array(left, name) for name in ("x", "y", "visible", "confidence"))
        apart = _array(left, "disagreement") if "disagreement" in left[0] else None
        assert job.source is not None
        stored = self.project.store_span(
            job.clip,
            ids,
            start,
            stop,
            np.stack([x, y], -1),
            visible,
            confidence,
            job.source,
            job.source.weights_sha256,
            disagreement=apart,
            run=job.run,
            user=job.user,
            session=job.window,
        )
        job.run = stored.run
        now = self.project.positions(job.clip, ids, start, stop, job.user)
        message = {
            "type": "positions",
            "job": job.id,
            "start": start,
            "stop": stop,
            "points": [answers.positions(each) for each in now],
        }
        self.hub.tell_user(job.clip, job.user, message)

    def _done(self, job: Job, said: dict[str, Any]) -> None:
        job.done = job.total or job.done
        job.run = said.get("event", job.run)
        changed = self._problem(job)
        if changed is not None:
            job.error = f"{changed}: it changed while it was tracked, so look at the result, or undo it"
        self._over(job, "done" if changed is None else "failed", said.get("revision"))

    def _problem(self, job: Job) -> str | None:
        """Why the video of a job is not the one any more that it began with."""
        try:
            return self.project.clip(job.clip, job.user).problem
        except TapkitError:  # the clip was taken out of the list, or of these hands
            return None

    def _failed(self, job: Job, said: dict[str, Any]) -> None:
        job.error = job.error or said["error"]
        self._over(job, "failed")

    def _cancelled(self, job: Job, said: dict[str, Any]) -> None:
        self._over(job, "cancelled" if job.error is None else "failed")

    def _ended(self, job: Job, said: dict[str, Any]) -> None:
        job.error = (
            f"the process that tracks ended by itself (code {said['code']}), perhaps for want of memory; what it had "
            "found is kept"
        )
        self._over(job, "failed")

    def _over(self, job: Job, state: State, revision: int | None = None) -> None:
        job.state, job.seconds_left = state, None
        with self._lock:
            self._now = None
            self._next()
        self._tell(job)
        try:
            revision = revision or self.project.clip(job.clip, job.user).revision
        except TapkitError:
            return
        message = {"type": "changed", "revision": revision, "points": list(job.points), "removed": []}
        message |= {"by": {"id": job.user, "name": None}, "job": job.id, "event": job.run}
        self.hub.tell(job.clip, message, lambda users: self.project.audience(job.clip, job.user, users))

    def _next(self) -> None:
        if self._now is None and self._waiting:
            self._now = job = self._waiting.popleft()
            job.state = "running"
            self._crew.order({**job.order, "job": job.id, "window": job.window})
            self._tell(job)

    def _forget(self) -> None:
        over = [job.id for job in self._jobs.values() if job.state in OVER]
        for id in over[: max(len(over) - KEPT, 0)]:
            del self._jobs[id]

    def _tell(self, job: Job) -> None:
        self.hub.tell_user(job.clip, job.user, job.seen())


def _array(points: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([[np.nan if value is None else value for value in point[name]] for point in points], np.float32)
