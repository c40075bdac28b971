"""Which videos are meant: folders, patterns, lists in text files, addresses, and which of them are of a shard."""

from __future__ import annotations

import glob
import hashlib
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tapkit import storage
from tapkit.errors import UsageError, VideoError
from tapkit.fleet.places import before_pattern, is_address, listed
from tapkit.fleet.task import Item

VIDEOS = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mts", ".m2ts", ".ts", ".mpg", ".mpeg", ".wmv", ".mxf", ".ogv"}
)
"""Endings by which the videos of a folder are told from what else is in it. A video named by itself may have any."""
OVERLAY = ".overlay"
"""What the name of a drawn video ends with, before its suffix."""
LISTS = frozenset({".txt", ".lst"})
"""Endings of files that name a video on each line."""


def read_videos(given: Sequence[str | os.PathLike[str]], shard: str = "1/1") -> Iterator[Item]:
    """The videos that are meant, one by one.

    Args:
        given: folders (with those below them, videos by their ending), patterns ("takes/**/*.mp4"), text files with a
            path or an address on each line (.txt; paths are relative to it), single videos; or addresses of the like.
            A video is called by its path within its folder, or within what the pattern or the list has in common, so
            that results keep the order of folders.
        shard: "i/n" takes a part: which one, is decided by a video's name alone.

    Raises `UsageError` if there is none at all, `VideoError` for a name of nothing.
    """
    index, count = _parts(shard)
    found = False
    for name in given:
        for item in _named(str(os.fspath(name))):
            found = True
            if part_of(item.name, count) == index:
                yield item
    if not found:
        raise UsageError("there is no video in " + ", ".join(storage.shown(os.fspath(name)) for name in given[:5]))


def part_of(name: str, count: int) -> int:
    """Of `count` parts, from 1, the one that a name belongs to: whatever other names there are.

    >>> [part_of(name, 2) for name in ("take1", "take2", "take3", "take4")]
    [1, 1, 2, 2]
    """
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) % count + 1


def _parts(shard: str) -> tuple[int, int]:
    """(i, n) of "i/n"."""
    if shard == "1/1":
        return 1, 1
    from tapkit.evaluation.run import Shard

    part = Shard.parse(shard)
    return part.index, part.count


def _named(name: str) -> Iterator[Item]:
    """The videos of one argument."""
    if is_address(name):
        yield from _remote(name)
        return
    path = Path(os.path.abspath(os.path.expanduser(name)))  # workers may be in another folder
    if path.is_dir():
        yield from _items(_files_of(path), str(path))
    elif path.is_file() and path.suffix.lower() in LISTS:
        yield from _of_list(path)
    elif not path.exists() and glob.has_magic(name):
        found = (each for each in glob.iglob(str(path), recursive=True) if _is_video(each))
        yield from _items(found, before_pattern(path.as_posix()) or ".")
    elif path.exists():
        yield from _items([str(path)], str(path.parent))
    else:
        raise VideoError(f"there is no file {storage.shown(name)}")


def _remote(address: str) -> Iterator[Item]:
    if posixpath.splitext(address)[1].lower() in LISTS:
        raise UsageError(f"a list of videos is read from a file of this machine, not from {address}")
    if posixpath.splitext(address)[1].lower() in VIDEOS and not glob.has_magic(address):
        yield from _items([address], posixpath.dirname(address))  # without a question to the server
        return
    folder, found = listed(address)
    names = [name for name in found if _is_video(name)]
    if not found:  # one file, of whatever ending
        yield from _items([address], posixpath.dirname(address))
    yield from _items(names, folder)


def _files_of(folder: Path) -> Iterator[str]:
    """Paths of the videos of a folder and of those below it, by name; hidden ones are none of the footage."""
    folders, names = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif _is_video(entry.name):
                names.append(entry.name)
    stems = {posixpath.splitext(name)[0] for name in names}
    for name in sorted(names):
        stem = posixpath.splitext(name)[0]
        if not (stem.endswith(OVERLAY) and stem.removesuffix(OVERLAY) in stems):  # drawn over one of them
            yield str(folder / name)
    for below in sorted(folders):
        yield from _files_of(folder / below)


def _of_list(path: Path) -> Iterator[Item]:
    """The videos that a text file names. It is read twice: first to see what their paths have in common."""
    common: str | None = None
    for line in _lines(path):
        folder = posixpath.dirname(line)
        common = folder if common is None else _common(common, folder)
    yield from _items(_lines(path), common or "")


def _lines(path: Path) -> Iterator[str]:
    with storage.reading(path, "a list of videos"), open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        for line in file:
            text = line.strip()
            if text and not text.startswith("#"):
                yield text if is_address(text) else str(path.parent / text)


def _common(first: str, second: str) -> str:
    """The folder that both are in.

    >>> _common("s3://b/takes/a", "s3://b/takes/b"), _common("/takes/ab", "/takes/ac"), _common("a", "b")
    ('s3://b/takes', '/takes', '')
    """
    shared = []
    for one, other in zip(first.split("/"), second.split("/"), strict=False):
        if one != other:
            break
        shared.append(one)
    return "/".join(shared)


def _items(files: Iterable[str], folder: str) -> Iterator[Item]:
    """Each file with its name: its path within `folder`, without the ending, of parts that any system takes."""
    for file in files:
        inside = posixpath.relpath(file, folder) if folder and not is_address(file) else file[len(folder) :]
        parts = [
            part for part in posixpath.splitext(inside.replace(os.sep, "/"))[0].split("/") if part not in ("", ".")
        ]
        yield Item("/".join(storage.file_name(part) for part in parts), file)


def _is_video(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in VIDEOS
