"""Project: the document behind the studio and `tapkit project`. Safe to use from several threads and processes.

Every change is one transaction and one row of the event log; what has returned is on the disk. Methods that take a
`user` keep the rules of `annotate.rules`: in a project without accounts it is None and everything is allowed.
`session` tells apart two windows of one user (or of nobody): an edit is refused with a `Conflict` when another user or
another session has changed the same point since `base`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from tapkit.annotate import values as v
from tapkit.annotate.edits import Edit, parse_edits
from tapkit.errors import VideoError, require

if TYPE_CHECKING:
    from tapkit.annotate.dataset import ProjectDataset
    from tapkit.annotate.solve.motion import Motion
    from tapkit.engine.tracker import Tracker
    from tapkit.export.format import Format
    from tapkit.types import Provenance, Tracks
    from tapkit.video.base import Source

require("sqlalchemy", "annotate")

from tapkit.annotate import (  # noqa: E402  (only now is it known that the library is there)
    agreement,
    clips,
    conversion,
    history,
    reading,
    report,
    rules,
    runs,
    team,
    writing,
)
from tapkit.annotate.database import Database  # noqa: E402
from tapkit.annotate.doubt import DoubtCache  # noqa: E402

Edits = Sequence[Edit | Mapping[str, Any]]


class Project:
    """A project that is open. Errors: `UsageError` and its kinds `Unknown`, `NotAllowed`, `Conflict`; `StorageError`
    where the database cannot be read or written (full disk, no permission, no connection)."""

    def __init__(self, database: Database) -> None:
        """Use `create` or `open`."""
        self.database = database
        self._doubts = DoubtCache()

    @classmethod
    def create(cls, where: str | Path, name: str | None = None) -> Project:
        """A new project: a folder NAME.tapproj, or the address of an empty database (or schema) of PostgreSQL,
        postgresql://USER@HOST/DATABASE. Raises `UsageError` where something is there already.
        """
        return cls(Database.create(where, name))

    @classmethod
    def open(cls, where: str | Path, read_only: bool = False) -> Project:
        """A project that is there; one made by an older version is brought up to date first.

        Raises `StorageError` for what is no project, and for one made by a newer version.
        """
        return cls(Database.open(where, read_only))

    def close(self) -> None:
        """Let go of the database; a second call does nothing."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The folder, or the address without its password."""
        return self.database.where

    @property
    def name(self) -> str:
        """What it is called."""
        return self.database.name

    @property
    def read_only(self) -> str | None:
        """Why nothing can be changed here, as a sentence; None where it can."""
        return self.database.read_only

    # -- clips ------------------------------------------------------------------------------------

    def clips(self, user: int | None = None) -> list[v.Clip]:
        """All clips that the user may see: annotators those that are assigned to them."""
        return clips.every(self.database, user)

    def clip(self, clip: int, user: int | None = None) -> v.Clip:
        """One of them. Raises `Unknown`."""
        return clips.one(self.database, clip, user)

    def add_clip(self, path: str | Path, name: str | None = None, user: int | None = None) -> v.Clip:
        """A video file, folder or pattern of images becomes part of the project; one that is there is given back."""
        return clips.add(self.database, path, name, user)

    def relink(self, clip: int, path: str | Path, user: int | None = None) -> v.Clip:
        """Where a clip's video is now. Raises `UsageError` unless it is the same video."""
        return clips.relink(self.database, clip, path, user)

    def remove_clip(self, clip: int, user: int | None = None) -> None:
        """Take a clip out of the list. Its points stay in the database, and come back when it is added again."""
        clips.remove(self.database, clip, user)

    def source(self, clip: int) -> Source:
        """The clip's video, opened; to be closed by the caller. Raises `VideoError` where it is gone or changed."""
        return clips.source(self.database, clip)

    # -- looking ----------------------------------------------------------------------------------

    def points(self, clip: int, user: int | None = None, of: int | None = None) -> v.PointList:
        """The points of a clip as `user` sees them. `of`: in the blind layer of that user (reviewers and owners)."""
        return reading.points(self.database, clip, user, of)

    def objects(self, clip: int, user: int | None = None, of: int | None = None) -> list[v.Object]:
        """The objects of a clip with their boxes."""
        return reading.objects(self.database, clip, user, of)

    def positions(
        self,
        clip: int,
        points: Sequence[int] | None = None,
        start: int = 0,
        stop: int | None = None,
        user: int | None = None,
        of: int | None = None,
    ) -> list[v.Positions]:
        """Where points are on frames start..stop (excluded); None: all that the user sees, to the last frame.

        A keyframe holds where there is one. Elsewhere the prediction does, corrected so that the path passes through
        the keyframes: what it missed them by is spread linearly over the frames between two of them, and held beyond
        the last. Visibility: a human's span, else the keyframe's, else the prediction's.
        """
        return reading.positions(self.database, clip, points, start, stop, user, of)

    def summary(
        self,
        clip: int,
        bins: int,
        user: int | None = None,
        of: int | None = None,
        points: Sequence[int] | None = None,
    ) -> v.Summary:
        """The clip in at most `bins` bins of equal length, for a timeline; of some points, the others left out."""
        return reading.summary(self.database, clip, bins, user, of, points)

    def doubtful(self, clip: int, user: int | None = None, of: int | None = None) -> list[v.Doubt]:
        """Places to look at, by frame."""
        return reading.doubtful(self.database, clip, user, of, self._doubts)

    # -- changing ---------------------------------------------------------------------------------

    def edit(
        self,
        clip: int,
        edits: Edits,
        base: int | None = None,
        user: int | None = None,
        force: bool = False,
        session: str = "",
        of: int | None = None,
    ) -> v.Change:
        """Do all of `edits`, or none of them.

        `base`: the revision that the user has seen; None: the latest. Raises `Conflict` where others have changed the
        same points since, unless `force`.
        """
        return writing.edit(self.database, clip, parse_edits(edits), base, writing.Who(user, session, of), force)

    def undo(self, clip: int, user: int | None = None, session: str = "", force: bool = False) -> v.Change:
        """Take back the last thing that this user did in the clip. Raises `UsageError` where there is nothing, and
        `Conflict` where others have changed it since."""
        return history.undo(self.database, clip, writing.Who(user, session), force)

    def redo(self, clip: int, user: int | None = None, session: str = "", force: bool = False) -> v.Change:
        """Do again what was last undone, unless something else was done since."""
        return history.redo(self.database, clip, writing.Who(user, session), force)

    def events(self, clip: int, after: int = 0, user: int | None = None) -> list[v.Event]:
        """The log of a clip, from event `after` (excluded) on."""
        return history.events(self.database, clip, after, user)

    def compare(self, clip: int, event: int, user: int | None = None) -> list[v.Comparison]:
        """The points that an event changed, before it and now."""
        return history.compare(self.database, clip, event, user)

    def store_span(
        self,
        clip: int,
        point: int | Sequence[int],
        start: int,
        stop: int,
        positions: np.ndarray,
        visible: np.ndarray,
        confidence: np.ndarray,
        tracker: str | Provenance,
        weights_hash: str = "",
        *,
        disagreement: np.ndarray | None = None,
        run: int | None = None,
        user: int | None = None,
        session: str = "",
    ) -> v.Stored:
        """What a tracker says of frames start..stop (excluded): positions [n,2], visible [n], confidence [n]
        (probabilities), disagreement [n] pixels; of several points [P,n,2] and [P,n].

        NaN positions leave what is there. Keyframes and visibility that humans set hold nevertheless. One run of a
        tracker is one event and one undo: hand the first answer's `run` back with everything else that it finds.
        """
        found = runs.Found.of(point, start, stop, positions, visible, confidence, disagreement)
        return runs.store(self.database, clip, found, tracker, weights_hash, run, writing.Who(user, session))

    def solve(
        self,
        clip: int,
        points: int | Sequence[int] | None = None,
        motion: Motion | str = "dis",
        *,
        until: Literal["end", "keyframes"] = "end",
        user: int | None = None,
        session: str = "",
        progress: Callable[[int, int], object] | None = None,
    ) -> v.Change:
        """Fill the frames between keyframes along the motion of the picture, through all keyframes
        (`annotate.solve`); and before the first and after the last too, unless `until` is "keyframes".

        `motion`: a flow model's id, or a `Motion` to be used again. `progress` is called with frames done and in all;
        what it raises ends the work, and nothing is stored.
        """
        from tapkit.annotate import assist

        return assist.solve(self.database, clip, points, motion, until, writing.Who(user, session), progress)

    def track(
        self,
        clip: int,
        points: int | Sequence[int] | None = None,
        model: Tracker | str = "strand",
        *,
        until: Literal["end", "keyframes"] = "end",
        user: int | None = None,
        session: str = "",
        progress: Callable[[int, int], object] | None = None,
    ) -> v.Change:
        """The same by a tracker: from every keyframe both ways, blended between two of them (`annotate.blend`).

        `model`: a tracker's id, or one that is loaded. Raises what `tapkit.load` and `Tracker.track` raise.
        """
        from tapkit.annotate import following

        return following.track(self.database, clip, points, model, until, writing.Who(user, session), progress)

    # -- tracks -----------------------------------------------------------------------------------

    def to_tracks(
        self, clip: int, points: Sequence[int] | None = None, user: int | None = None, of: int | None = None
    ) -> Tracks:
        """The clip's points as tracks, keyframes marked: every exporter takes them."""
        return conversion.to_tracks(self.database, clip, points, user, of)

    def from_tracks(
        self,
        tracks: Tracks,
        video: str | Path | None = None,
        clip: int | None = None,
        user: int | None = None,
        session: str = "",
    ) -> v.Clip:
        """Tracks become points of a clip: of `clip`, or of that of `video` (None: the one that they name).

        Positions marked as human, and queries, become keyframes; the rest becomes predictions. Points of the same name
        are taken up: keyframes that differ are set, predictions are replaced.
        """
        return conversion.from_tracks(self.database, tracks, video, clip, writing.Who(user, session))

    def export(
        self,
        clip: int,
        path: str | Path,
        format: str | None = None,
        points: Sequence[int] | None = None,
        user: int | None = None,
        **options: Any,
    ) -> Path:
        """Write a clip's points for another program: formats and options as `Tracks.write` has them."""
        from tapkit.export import library

        form = library.by_suffix(path) if format is None else library.find(format, path)
        self.check_pictures(clip, form, options, user)
        return self.to_tracks(clip, points, user).write(path, format, **options)

    def check_pictures(self, clip: int, format: Format, options: Mapping[str, Any], user: int | None = None) -> None:
        """Raise `VideoError` where pictures of the clip would be exported and its video is gone or another one."""
        problem = self.clip(clip, user).problem
        if problem and format.shows_pictures(options):
            raise VideoError(problem)

    def dataset(self, user: int | None = None) -> ProjectDataset:
        """The whole project as a benchmark, for `tapkit.evaluation` and the writers of `tapkit.datasets`."""
        from tapkit.annotate.dataset import ProjectDataset

        return ProjectDataset(self, user)

    # -- people -----------------------------------------------------------------------------------

    def users(self) -> list[v.User]:
        """All accounts."""
        return team.users(self.database)

    def add_user(self, name: str, role: v.Role, password_hash: str = "", by: int | None = None) -> v.User:
        """A new account. The first one is an owner's; from then on owners make them."""
        return team.add_user(self.database, name, role, password_hash, by)

    def change_user(
        self,
        user: int,
        by: int | None,
        *,
        name: str | None = None,
        role: v.Role | None = None,
        active: bool | None = None,
        password_hash: str | None = None,
    ) -> v.User:
        """Change an account: owners any, others their own name and password. The last owner stays one."""
        return team.change_user(self.database, user, by, name, role, active, password_hash)

    def password_hash(self, name: str) -> tuple[v.User, str] | None:
        """The active account of that name with the hash of its password; None if there is none."""
        return team.password_hash(self.database, name)

    def assign(
        self, clip: int, users: Sequence[int], stage: v.Stage, blind: bool = False, by: int | None = None
    ) -> list[v.Assignment]:
        """Give a clip to people (owners and reviewers do). Blind: each works without seeing the others' work."""
        return team.assign(self.database, clip, users, stage, blind, by)

    def assignments(self, clip: int | None = None, user: int | None = None) -> list[v.Assignment]:
        """Who has what: of a clip, of a user."""
        return team.assignments(self.database, clip, user)

    def submit(self, assignment: int, user: int | None = None) -> v.Assignment:
        """The work is done, and waits for a reviewer; until then nothing more can be changed."""
        return team.submit(self.database, assignment, user)

    def review(
        self, assignment: int, decision: Literal["accept", "reject"], comment: str = "", user: int | None = None
    ) -> v.Assignment:
        """Accept what was submitted, or hand it back with a comment that says why."""
        return team.review(self.database, assignment, decision, comment, user)

    def adopt(self, clip: int, point: int, source: int | Literal["mean"], user: int | None = None) -> v.Change:
        """What an annotator (or the mean of all) says of a point becomes what the clip says of it."""
        return agreement.adopt(self.database, clip, point, source, writing.Who(user))

    def agreement(self, clip: int, user: int | None = None) -> v.Agreement:
        """How far those who annotated the clip agree (reviewers and owners)."""
        return agreement.of_clip(self.database, clip, user)

    def comments(self, clip: int, user: int | None = None) -> list[v.Comment]:
        """What was said about a clip, the oldest first; those who work blind see nothing of other annotators."""
        return team.comments(self.database, clip, user)

    def comment(
        self, clip: int, text: str, user: int | None = None, t: int | None = None, point: int | None = None
    ) -> v.Comment:
        """Say something about a clip, a frame or a point."""
        return team.comment(self.database, clip, text, user, t, point)

    def may_add_clips(self, user: int | None = None) -> None:
        """Raise `NotAllowed` for those who may not add clips."""
        with self.database.read() as connection:
            rules.must_lead(connection, user, "add clips")

    def audience(self, clip: int, of: int | None, users: Iterable[int | None]) -> set[int | None]:
        """Those of `users` who may hear what `of` does to the clip: not those who work blind to it."""
        if of is None:  # a project without accounts
            return set(users)
        with self.database.read() as connection:
            return rules.audience(connection, clip, of, users)

    def report(self, user: int | None = None) -> v.Report:
        """Who did what, how long it took, and how far they agree."""
        return report.of_project(self.database, user)
