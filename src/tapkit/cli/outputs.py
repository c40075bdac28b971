"""Where results go: names beside the input, and the one rule by which what is there already is replaced or not.

Every command that writes asks `claim` before it computes anything. A file that exists is kept unless --force was
given; what a command reads is never written to, --force or not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from tapkit import storage
from tapkit.endings import PICTURES
from tapkit.errors import StorageError, UsageError

Force = Annotated[bool, typer.Option("--force", help="Replace what is there already.")]
Name = str | Path | None

SEQUENCES = (".png", ".tif", ".tiff", ".exr")
"""Endings of numbered pictures that are written."""


def claim(
    *files: Name, videos: Iterable[Name] = (), folders: Iterable[Name] = (), inputs: Iterable[Name] = (), force: bool
) -> None:
    """Raise `UsageError` unless all that is to be written may be written.

    Args:
        files: what becomes one file, or one store (.zarr).
        videos: what may also be numbered pictures: a pattern (shot_%05d.png, shot_####.png) or a folder.
        folders: what becomes a folder of files.
        inputs: what is read, as the user named it: files, folders, patterns; addresses are left alone.
        force: whether what is there may be replaced.
    """
    try:
        _claim(files, videos, folders, inputs, force)
    except OSError as error:
        raise StorageError(f"cannot look at {error.filename}: {storage.reason(error)}") from error


def present(*inputs: Name) -> None:
    """Raise `StorageError` for files that are not there: to be asked before anything heavy is imported."""
    for name in inputs:
        if name is not None:
            storage.check_file(name)


def _claim(
    files: Iterable[Name], videos: Iterable[Name], folders: Iterable[Name], inputs: Iterable[Name], force: bool
) -> None:
    outputs = [
        *((Path(name), _file_there(Path(name))) for name in files if name is not None),
        *((Path(name), _video_there(Path(name))) for name in videos if name is not None),
        *((Path(name), _folder_there(Path(name))) for name in folders if name is not None),
    ]
    sources = [source for name in inputs if name is not None and (source := _source(str(name))) is not None]
    taken: dict[Path, Path] = {}
    for path, there in outputs:
        if storage.is_device(path):
            continue
        real = path.resolve()
        if real in taken:
            raise UsageError(f"{path} is named twice: each result needs a file of its own")
        taken[real] = path
        for source in sources:
            _keep(source, path, there)
        if there is not None and not force:
            raise UsageError(f"{there} is there already: --force replaces it, or name another place than {path}")


def _source(name: str) -> Path | None:
    """The file or folder that is read; of a pattern of images the folder that they are in; None for an address."""
    path = Path(name)
    if "://" in name or path.exists():
        return None if "://" in name else path
    return path.parent if any(c in path.name for c in "*?%[") and path.parent.is_dir() else None


def _keep(source: Path, path: Path, there: Path | None) -> None:
    """Refuse to write over something that is read: the thing itself, or a picture of a sequence."""
    for one in {path, there or path}:
        if _same(one, source):
            raise UsageError(f"{one} is what is read here: writing to it would destroy it; name another file")
        inside = one.exists() and source.is_dir() and source.resolve() in one.resolve().parents
        if inside and (source.suffix.lower() == ".zarr" or one.suffix.lower() in PICTURES):
            raise UsageError(f"{one} is a part of {source}, which is read here: name another folder")


def _file_there(path: Path) -> Path | None:
    """`path` if something stands there. Raises `UsageError` for a folder that is no store: it is not replaced."""
    if path.is_dir() and not storage.is_device(path):
        if not any(path.iterdir()):
            return None
        if path.suffix.lower() != ".zarr" or not any((path / name).exists() for name in ("zarr.json", ".zgroup")):
            raise UsageError(f"{path} is a folder with other things in it: name another file")
    return path if os.path.lexists(path) else None


def _folder_there(path: Path) -> Path | None:
    """`path` if there is anything in it, or a file of that name."""
    if path.is_dir():
        return path if any(path.iterdir()) else None
    return path if os.path.lexists(path) else None


def _video_there(path: Path) -> Path | None:
    """The file, or the first picture of a sequence, that a video would replace."""
    pattern = path.name
    if path.is_dir() or not path.suffix:
        path, pattern = path / "%06d.png", "%06d.png"
    place = re.search(r"%0?\d*d|#+", pattern) if path.suffix.lower() in SEQUENCES else None
    if place is None:
        return _file_there(path)
    name = re.compile(re.escape(pattern[: place.start()]) + r"\d+" + re.escape(pattern[place.end() :]))
    found = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    return next((each for each in found if name.fullmatch(each.name)), None)


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def beside(video: str, ending: str) -> Path:
    """VIDEO.ending beside the video; for a pattern of images beside their folder.

    >>> beside("takes/*.png", ".tracks.npz").as_posix(), beside("clip.mp4", ".flow").as_posix()
    ('takes.tracks.npz', 'clip.flow')
    """
    if "://" in video:
        raise UsageError("for a stream, say where the result goes with --output")
    path = Path(video.rstrip("/"))
    # What exists is that file or folder, whatever characters its name has; only the last part can be a pattern.
    if not path.exists() and any(c in path.name for c in "*?%["):
        path = path.parent
    if path.name in ("", ".", ".."):  # the folder that one is in
        return Path(f"{path.resolve().name}{ending}")
    return path.with_name(f"{path.name if path.is_dir() else path.stem}{ending}")
