"""The clips of a project: adding them, finding their videos again, and whether these are still what they were."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from tapkit import storage
from tapkit.annotate import footprint, rules
from tapkit.annotate.database import Database, lock_clip, look_at_clip, now
from tapkit.annotate.schema import clips, events, points, users
from tapkit.annotate.values import Clip
from tapkit.errors import TapkitError, UsageError, VideoError
from tapkit.types import VideoInfo

if TYPE_CHECKING:
    from tapkit.video.base import Source


def every(database: Database, user: int | None) -> list[Clip]:
    """See `Project.clips`."""
    with database.read() as connection:
        role = rules.role_of(connection, user)
        rows = connection.execute(sa.select(clips).where(~clips.c.removed).order_by(clips.c.id)).all()
        found = [_value(database, connection, row) for row in rows]
        if role != "annotator":
            return found
        own = {row.id for row in rows if any(a.user == user for a in rules.of_clip(connection, row.id))}
        return [clip for clip in found if clip.id in own]


def one(database: Database, clip: int, user: int | None) -> Clip:
    """See `Project.clip`."""
    with database.read() as connection:
        row = look_at_clip(connection, clip)
        rules.may_see(connection, clip, user)
        return _value(database, connection, row)


def add(database: Database, path: str | Path, name: str | None, user: int | None) -> Clip:
    """See `Project.add_clip`."""
    from tapkit.video import open_video

    with database.read() as connection:  # nothing is opened for those who may not add it
        rules.must_lead(connection, user, "add clips")
    text = os.fspath(path)
    if "://" in text or text.startswith("camera:"):
        raise UsageError("a clip of a project is a file or a folder: a camera or a stream cannot be looked at twice")
    whole = Path(text).expanduser().absolute()
    with open_video(str(whole)) as video:
        info = video.info
        if info.frames is None:
            info = _counted(video)
    files = footprint.files_of(whole)
    digest, stamp = footprint.content_hash(files), footprint.stamp(files)
    title = name or _title(whole)
    with database.write() as connection:
        rules.must_lead(connection, user, "add clips")
        there = connection.execute(
            sa.select(clips).where(clips.c.content_hash == digest, clips.c.frames == info.frames)
        ).first()
        place = {"path": str(whole), "relative": _relative(database, whole), "stamp": stamp, "removed": False}
        if there is not None:
            title = name or there.name
            if there.removed or there.name != title or not Path(there.path).exists():
                connection.execute(clips.update().where(clips.c.id == there.id).values(**place, name=title))
            return _value(database, connection, look_at_clip(connection, there.id))
        times = None if info.times is None else np.asarray(info.times, "<f8").tobytes()
        row = connection.execute(
            clips.insert().values(
                **place, name=title, content_hash=digest, video=json.dumps(info.to_dict()), times=times,
                frames=info.frames, width=info.width, height=info.height, revision=0, created=now(),
            )
        )  # fmt: skip
        assert row.inserted_primary_key is not None
        return _value(database, connection, look_at_clip(connection, row.inserted_primary_key[0]))


def _title(path: Path) -> str:
    """What a clip is called without more said: its file's name as one line in which something can be read."""
    name = path.name if path.is_dir() else path.stem
    line = re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", storage.shown(name)).strip()
    return line if line.strip(".") else storage.shown(path.name).strip()


def _counted(video: Source) -> VideoInfo:
    from dataclasses import replace

    count = sum(1 for _ in video.frames(size=(8, 8)))
    return replace(video.info, frames=count)


def relink(database: Database, clip: int, path: str | Path, user: int | None) -> Clip:
    """See `Project.relink`."""
    whole = Path(path).expanduser().absolute()
    files = footprint.files_of(whole)
    digest = footprint.content_hash(files)
    with database.write() as connection:
        rules.must_lead(connection, user, "move clips")
        row = lock_clip(connection, clip)
        if digest != row.content_hash:
            raise UsageError(f"{whole} is another video than that of {row.name}, or was changed")
        place = {"path": str(whole), "relative": _relative(database, whole), "stamp": footprint.stamp(files)}
        connection.execute(clips.update().where(clips.c.id == clip).values(**place))
        return _value(database, connection, look_at_clip(connection, clip))


def remove(database: Database, clip: int, user: int | None) -> None:
    """See `Project.remove_clip`."""
    with database.write() as connection:
        rules.must_lead(connection, user, "remove clips")
        lock_clip(connection, clip)
        connection.execute(clips.update().where(clips.c.id == clip).values(removed=True))


def source(database: Database, clip: int) -> Source:
    """See `Project.source`."""
    from tapkit.video import open_video

    with database.read() as connection:
        row = look_at_clip(connection, clip)
    problem = problem_of(database, row)
    if problem:
        raise VideoError(problem)
    return open_video(str(place_of(database, row)))


def info_of(row: sa.Row[Any]) -> VideoInfo:
    """Facts of the video, with the path where it was last seen."""
    times = None if row.times is None else np.frombuffer(row.times, "<f8")
    return VideoInfo.from_dict({**json.loads(row.video), "path": row.path}, times)


def place_of(database: Database, row: sa.Row[Any]) -> Path:
    """Where the video is: where it was, or at the same place beside a project that was moved together with it."""
    path: Path = Path(row.path)
    if not _there(path) and row.relative and database.folder is not None:
        beside: Path = (database.folder.absolute().parent / row.relative).resolve()
        if _there(beside):
            return beside
    return path


def _there(path: Path) -> bool:
    return path.exists() or (path.parent.is_dir() and any(c in path.name for c in "*?[%"))


_CHECKED: dict[tuple[str, str], str] = {}
"""(path, stamp) -> content hash of what was looked at, so that nothing is read twice."""


def problem_of(database: Database, row: sa.Row[Any]) -> str | None:
    """Why the video of a clip cannot be used, as a sentence."""
    path = place_of(database, row)
    try:
        files = footprint.files_of(path)
        stamp = footprint.stamp(files)
        if stamp == row.stamp:
            return None
        key = (str(path), stamp)
        if key not in _CHECKED:
            _CHECKED[key] = footprint.content_hash(files)
        if _CHECKED[key] == row.content_hash:
            return None
    except (TapkitError, OSError):
        return f"the video of {row.name} is not at {storage.shown(path)} any more: say where it is now"
    return f"{storage.shown(path)} is not the video any more that {row.name} was made of"


def _relative(database: Database, path: Path) -> str:
    if database.folder is None:
        return ""
    try:
        return Path(os.path.relpath(path, database.folder.absolute().parent)).as_posix()
    except ValueError:  # another drive
        return ""


def _value(database: Database, connection: sa.Connection, row: sa.Row[Any]) -> Clip:
    given = rules.of_clip(connection, row.id)
    names = {u.id: u.name for u in connection.execute(sa.select(users.c.id, users.c.name))} if given else {}
    count = sa.select(sa.func.count()).select_from(points)
    own = count.where(points.c.clip == row.id, points.c.layer == rules.COMMON, ~points.c.deleted)
    touched = connection.execute(sa.select(events.c.id).where(events.c.clip == row.id).limit(1)).first() is not None
    return Clip(
        id=row.id, name=row.name, path=str(place_of(database, row)), content_hash=row.content_hash, frames=row.frames,
        width=row.width, height=row.height, fps=info_of(row).fps, revision=row.revision,
        state=rules.state_of(given, touched), points=int(connection.execute(own).scalar() or 0),
        problem=problem_of(database, row), assigned_to=tuple(dict.fromkeys(names[a.user] for a in given)),
    )  # fmt: skip
