"""The tables. What they look like in a database is made by the migrations, which a test compares with this page.

A point lives in a *layer* of its clip: 0 is what the clip says, others are what one annotator says who works blind
(the number is that of the assignment). Points and objects are never removed but marked as deleted, so that undo brings
back all that hangs on them and an id never means something else.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

VERSIONS = ("0001", "0002")
"""Revisions of the migrations, the oldest first; the last one is what this page describes."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=True)


def _part_of(name: str, table: str, key: bool = False) -> Column[int]:
    return Column(name, Integer, ForeignKey(f"{table}.id"), primary_key=key, nullable=False, autoincrement=False)


projects = Table(
    "projects", metadata, _id(), Column("name", Text, nullable=False), Column("created", Text, nullable=False)
)

clips = Table(
    "clips",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("relative", Text, nullable=False),  # to the folder that the project is in; empty: none
    Column("content_hash", Text, nullable=False),
    Column("stamp", Text, nullable=False),  # of the files when they were hashed: as long as it is the same, so are they
    Column("video", Text, nullable=False),  # VideoInfo.to_dict() as JSON
    Column("times", LargeBinary),  # VideoInfo.times, float64
    Column("frames", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("removed", Boolean, nullable=False),
    Column("created", Text, nullable=False),
    sqlite_autoincrement=True,
)

objects = Table(
    "objects",
    metadata,
    _id(),
    _part_of("clip", "clips"),
    Column("layer", Integer, nullable=False),
    Column("label", Text, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Index(None, "clip", "layer"),
    sqlite_autoincrement=True,
)

boxes = Table(
    "boxes",
    metadata,
    _part_of("object", "objects", key=True),
    Column("frame", Integer, primary_key=True, autoincrement=False),
    *(Column(name, Double, nullable=False) for name in ("x0", "y0", "x1", "y1")),
    Column("author", Integer),
    Column("time", Text, nullable=False),
)

points = Table(
    "points",
    metadata,
    _id(),
    _part_of("clip", "clips"),
    Column("layer", Integer, nullable=False),
    Column("label", Text, nullable=False),
    Column("grouping", Text, nullable=False),
    Column("colour", Text, nullable=False),
    Column("object", Integer, ForeignKey("objects.id")),
    Column("origin", Integer, ForeignKey("points.id")),
    Column("revision", Integer, nullable=False),
    Column("author", Integer),
    Column("created", Text, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Index(None, "clip", "layer"),
    sqlite_autoincrement=True,
)

keyframes = Table(
    "keyframes",
    metadata,
    _part_of("point", "points", key=True),
    Column("frame", Integer, primary_key=True, autoincrement=False),
    Column("x", Double, nullable=False),
    Column("y", Double, nullable=False),
    Column("visible", Boolean, nullable=False),
    Column("author", Integer),
    Column("time", Text, nullable=False),
)

arrivals = Table(
    "arrivals",  # what the predictions from the frames before and after a keyframe say on its own frame
    metadata,
    _part_of("point", "points", key=True),
    Column("frame", Integer, primary_key=True, autoincrement=False),
    *(Column(name, Double) for name in ("left_x", "left_y", "right_x", "right_y")),
)

visibility = Table(
    "visibility",
    metadata,
    _part_of("point", "points", key=True),
    Column("start", Integer, primary_key=True, autoincrement=False),
    Column("stop", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("author", Integer),
    Column("time", Text, nullable=False),
)

skeletons = Table(
    "skeletons",
    metadata,
    _part_of("clip", "clips", key=True),
    Column("layer", Integer, primary_key=True, autoincrement=False),
    Column("links", Text, nullable=False),  # [[id, id], ...]
)

sources = Table(
    "sources",  # of predictions: each frame of a block names one
    metadata,
    _id(),
    Column("tracker", Text, nullable=False),
    Column("weights_hash", Text, nullable=False),
    Column("provenance", Text, nullable=False),  # Provenance.to_dict() as JSON
    UniqueConstraint("tracker", "weights_hash", "provenance"),
)

events = Table(
    "events",
    metadata,
    _id(),
    _part_of("clip", "clips"),
    Column("layer", Integer, nullable=False),
    Column("author", Integer),
    Column("session", Text, nullable=False),
    Column("time", Text, nullable=False),
    Column("kind", Text, nullable=False),  # edit, run, undo, redo
    Column("text", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("points", Text, nullable=False),  # [id, ...]
    Column("changes", Text, nullable=False),  # [[table, key, before, after], ...]: rows as they were and became
    Column("start", Integer),  # frames that a run has covered so far
    Column("stop", Integer),
    Column("undone_by", Integer),
    Column("redone_by", Integer),
    Index(None, "clip", "revision"),
    Index(None, "clip", "layer", "author"),
    sqlite_autoincrement=True,
)

blocks = Table(
    "blocks",  # predictions: `annotate.blocks`
    metadata,
    _part_of("point", "points", key=True),
    Column("block", Integer, primary_key=True, autoincrement=False),
    Column("event", Integer, nullable=False),  # that wrote it last
    Column("digest", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),  # last, so that SQLite reads the others without it
)

kept = Table(
    "kept",  # blocks as they were before an event; without data: there was none
    metadata,
    _part_of("event", "events", key=True),
    Column("point", Integer, primary_key=True, autoincrement=False),
    Column("block", Integer, primary_key=True, autoincrement=False),
    Column("writer", Integer),
    Column("digest", LargeBinary),
    Column("data", LargeBinary),
)

users = Table(
    "users",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created", Text, nullable=False),
    UniqueConstraint("name"),
    sqlite_autoincrement=True,
)

assignments = Table(
    "assignments",
    metadata,
    _id(),
    _part_of("clip", "clips"),
    _part_of("user", "users"),
    Column("stage", Text, nullable=False),
    Column("blind", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created", Text, nullable=False),
    Column("submitted", Text),
    Index(None, "clip"),
    Index(None, "user"),
    sqlite_autoincrement=True,
)

reviews = Table(
    "reviews",
    metadata,
    _id(),
    _part_of("assignment", "assignments"),
    Column("reviewer", Integer),
    Column("decision", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("time", Text, nullable=False),
    Index(None, "assignment"),
)

comments = Table(
    "comments",
    metadata,
    _id(),
    _part_of("clip", "clips"),
    Column("author", Integer),
    Column("time", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("frame", Integer),
    Column("point", Integer),
    Index(None, "clip"),
)
