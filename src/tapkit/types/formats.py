"""How `Tracks` finds file formats, which live in rooms above this one: by entry points, as in other packages.

A package adds formats by declaring in the group `tapkit.formats` a mapping from names to `FileFormat`s; tapkit's own
(`tapkit.export.library:FORMATS`) are declared so too. `tracks.to_nuke(path)` then writes the format "nuke".
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tapkit.errors import UsageError

if TYPE_CHECKING:
    from tapkit.types.tracks import Tracks

GROUP = "tapkit.formats"


class FileFormat(Protocol):
    """A format that tracks can be written in, and perhaps read from."""

    @property
    def name(self) -> str:
        """As in `tracks.to_NAME` and `--to NAME`; words are joined by "-" (by "_" in the method)."""

    @property
    def suffix(self) -> str:
        """Usual ending of a file; "/" for a folder."""

    def write(self, tracks: Tracks, path: str | Path, **options: Any) -> Path:
        """Write `tracks`; returns the path."""

    def read(self, path: str | Path, **options: Any) -> Tracks:
        """Read what a program wrote; UsageError where a format is for writing only."""


@cache
def formats() -> dict[str, FileFormat]:
    """All formats by name: tapkit's own, then those of other packages, which cannot replace them."""
    points = sorted(metadata.entry_points(group=GROUP), key=lambda point: (point.name != "tapkit", point.name))
    found: dict[str, FileFormat] = {}
    for point in points:
        for name, entry in point.load().items():
            found.setdefault(name, entry)
    return found


def find(name: str) -> FileFormat:
    """The format of that name; the error names the nearest ones."""
    known = formats()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3, 0.4) or list(known)
        raise UsageError(f"there is no format {name!r}; did you mean {', '.join(near)}? (tapkit export --list)")
    return known[name]


def by_suffix(path: str | Path) -> FileFormat:
    """The format that files with this ending have; an error if none does, or several do and none is called by it."""
    path = Path(path)
    ending = path.suffix.lower()
    fitting = [entry for entry in formats().values() if ending and path.name.lower().endswith(entry.suffix.lower())]
    if not fitting:
        raise UsageError(f"no format is known by the ending of {path.name!r}: name it (tapkit export --list)")
    longest = max(len(entry.suffix) for entry in fitting)
    fitting = [entry for entry in fitting if len(entry.suffix) == longest]
    named = [entry for entry in fitting if entry.name == ending[1:]]
    if len(fitting) > 1 and not named:
        names = ", ".join(entry.name for entry in fitting)
        raise UsageError(f"{path.name!r} may be any of {names}: name the format")
    return (named or fitting)[0]
