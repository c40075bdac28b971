"""Endings of file names, by which videos and pictures are told from what else lies in a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

VIDEOS = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".wmv", ".mxf", ".ogv"}
)
"""Of videos. One that is named by itself may have any."""
PICTURES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".exr", ".dpx", ".ppm", ".pgm", ".jp2", ".dcm"}
)
"""Of single pictures and stacks of them: a folder of these is one video."""
OVERLAY = ".overlay"
"""What the name of a drawn video ends with, before its suffix."""


def is_video(name: str) -> bool:
    """Whether a name has the ending of a video."""
    return PurePath(name).suffix.lower() in VIDEOS


def footage(names: Iterable[str]) -> list[str]:
    """The videos among the names of a folder, in order. What was drawn over one of them is none of the footage.

    >>> footage(["b.mov", "a.mp4", "a.overlay.mp4", "c.overlay.mp4", "notes.txt"])
    ['a.mp4', 'b.mov', 'c.overlay.mp4']
    """
    videos = sorted(filter(is_video, names))
    stems = {name[: -len(PurePath(name).suffix)] for name in videos}

    def drawn(name: str) -> bool:
        stem = name[: -len(PurePath(name).suffix)]
        return stem.endswith(OVERLAY) and stem.removesuffix(OVERLAY) in stems

    return [name for name in videos if not drawn(name)]
