"""Results in the formats that other programs read, and back.

    from tapkit import export
    export.write(tracks, "shot.nk", "nuke")                    # or tracks.to_nuke("shot.nk")
    corrected = export.read("shot.nk", "nuke", original=tracks)  # human keyframes are marked

`formats()` lists them all; docs/export/ has a page for each program.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tapkit.export.context import ReadWarning
from tapkit.export.format import ExportWarning, Format, Job, Option
from tapkit.export.library import formats
from tapkit.types import Tracks

__all__ = ["ExportWarning", "Format", "Job", "Option", "ReadWarning", "formats", "read", "write"]


def write(tracks: Tracks, path: str | Path, format: str | None = None, **options: Any) -> Path:
    """Write tracks in a format (None: by the ending of `path`). Options: `Format.write`. Returns the path."""
    return tracks.write(path, format, **options)


def read(path: str | Path, format: str | None = None, **options: Any) -> Tracks:
    """Read what another program wrote. Options: `Format.read`. Returns tracks with human keyframes marked."""
    return Tracks.read(path, format, **options)
