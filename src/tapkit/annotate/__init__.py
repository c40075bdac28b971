"""The annotation document: clips, points, what people say about them, what trackers say, and how it came about.

    from tapkit.annotate import Project

    project = Project.create("shot.tapproj")
    clip = project.add_clip("clip.mp4")
    project.edit(clip.id, [{"op": "add_point", "t": 0, "x": 310.5, "y": 122.0, "label": "nose"}])
    tracks = project.to_tracks(clip.id)

A project is a database: SQLite in a folder NAME.tapproj, or PostgreSQL by its address. What people say (keyframes,
visibility) and what trackers say (predictions) are kept apart, so that neither is lost in the other; every change is an
event that can be undone. Nothing here needs a network or a browser, and importing it loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tapkit.annotate.edits import (
    AddPoint,
    DeleteBox,
    DeleteKeyframe,
    DeletePoint,
    DeletePrediction,
    Edit,
    EditPoint,
    MergePoints,
    SetBox,
    SetKeyframe,
    SetSkeleton,
    SetVisibility,
    parse_edits,
)
from tapkit.annotate.refusals import Conflict, NotAllowed, Unknown

if TYPE_CHECKING:
    from tapkit.annotate.project import Project

__all__ = [
    "AddPoint",
    "Conflict",
    "DeleteBox",
    "DeleteKeyframe",
    "DeletePoint",
    "DeletePrediction",
    "Edit",
    "EditPoint",
    "MergePoints",
    "NotAllowed",
    "Project",
    "SetBox",
    "SetKeyframe",
    "SetSkeleton",
    "SetVisibility",
    "Unknown",
    "parse_edits",
]


def __getattr__(name: str) -> Any:
    if name == "Project":  # needs SQLAlchemy, which the edits and their values do not
        return import_module("tapkit.annotate.project").Project
    raise AttributeError(f"module 'tapkit.annotate' has no attribute {name!r}")
