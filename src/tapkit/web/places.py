"""Which files the browser may name: those under the folders that were opened, and no other."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from tapkit import storage
from tapkit.annotate import NotAllowed, Unknown

VIDEOS = frozenset(
    {".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".wmv", ".flv", ".ogv"}
    | {".gif", ".webp", ".mxf", ".3gp", ".tif", ".tiff", ".dcm"}
)
"""Endings of files that are listed as clips of a folder, in small letters."""
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".exr", ".dpx", ".ppm", ".pgm", ".jp2"})
"""Endings of pictures: a folder of these is a clip."""
_STREAM = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_MARKS = ("..", "~")


class Places:
    """Folders that were opened when the server was started (or by its clips): nothing outside is ever read."""

    def __init__(self, folders: Iterable[str | Path]) -> None:
        self.folders = tuple(dict.fromkeys(Path(folder).resolve() for folder in folders))

    def inside(self, name: str) -> Path:
        """The file or folder of that name, with all links followed; a relative name is looked for in each folder.

        Raises `NotAllowed` for what lies outside, whether or not it exists, and `Unknown` for what does not exist.
        """
        if not isinstance(name, str) or not name.strip() or not storage.nameable(name) or len(name) > 4096:
            raise NotAllowed("that is no name of a file in the folders that were opened")
        if _STREAM.match(name) and os.name != "nt":
            raise NotAllowed("only files in the folders that were opened can be added, no addresses or cameras")
        if any(part in _MARKS for part in Path(name).parts):
            raise NotAllowed(f"{_shown(name)} is not in the folders that were opened")
        candidates = [Path(name)] if Path(name).is_absolute() else [folder / name for folder in self.folders]
        allowed = [real for path in candidates if self.holds(real := _real(path))]
        if not allowed:
            raise NotAllowed(f"{_shown(name)} is not in the folders that were opened")
        for real in allowed:
            if real.is_file() or real.is_dir():
                return real
        if any(os.path.lexists(path) for path in candidates):  # a link that leads outside
            raise NotAllowed(f"{_shown(name)} is not in the folders that were opened")
        raise Unknown(f"there is no {_shown(name)} in the folders that were opened")

    def holds(self, path: str | Path) -> bool:
        """Whether a path, with all links followed, lies in one of the folders."""
        real = _real(Path(path))
        return any(real == folder or folder in real.parents for folder in self.folders)

    def found(self, most: int = 1000) -> list[Path]:
        """Videos that lie directly in the folders, by name; links that lead outside are left out."""
        found: list[Path] = []
        for folder in self.folders:
            try:
                files = sorted(folder.iterdir())
            except OSError:
                continue
            found += [f for f in files if f.suffix.lower() in VIDEOS and f.is_file() and self.holds(f)]
        return found[:most]


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links
        raise NotAllowed(f"{_shown(str(path))} leads nowhere") from None


def _shown(name: str) -> str:
    shown = storage.shown(name)
    return shown if len(shown) < 120 else f"…{shown[-100:]}"
