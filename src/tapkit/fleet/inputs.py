"""Which videos are meant: folders, patterns, lists in text files, addresses, and which of them are of a shard."""

from __future__ import annotations

import glob
import hashlib
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from tapkit import storage
from tapkit.endings import PICTURES, VIDEOS, footage, is_video
from tapkit.errors import UsageError, VideoError
from tapkit.fleet.places import before_pattern, is_address, listed
from tapkit.fleet.task import Item

LISTS = frozenset({".txt", ".lst"})
"""Endings of files that name a video on each line."""


@dataclass(frozen=True)
class Videos:
    """The videos that are meant: an iterable of `Item`, which looks anew each time.

        fleet.Videos(["takes/", "more/**/*.mov", "list.txt", "s3://bucket/takes"])

    A video is called by its path within its folder, or within what the pattern or the list has in common, so that
    results keep the order of folders.
    """

    given: Sequence[str | os.PathLike[str]]
    """Folders (with those below them; videos by their ending, and folders of pictures), patterns ("takes/**/*.mp4"),
    text files with a path or an address on each line (.txt; paths are relative to it), single videos; or addresses of
    the like."""
    shard: str = "1/1"
    """"i/n" takes a part: which one, is decided by a video's name alone."""

    def __iter__(self) -> Iterator[Item]:
        """Raises `UsageError` if there is none at all, `VideoError` for a name of nothing."""
        index, count = _parts(self.shard)
        found = False
        for name in self.given:
            for item in _named(str(os.fspath(name))):
                found = True
                if part_of(item.name, count) == index:
                    yield item
        if not found:
            raise UsageError(
                "there is no video in " + ", ".join(storage.shown(os.fspath(name)) for name in self.given[:5])
            )


def part_of(name: str, count: int) -> int:
    """Of `count` parts, from 1, the one that a name belongs to: whatever other names there are.

    >>> [part_of(name, 2) for name in ("take1", "take2", "take3", "take4")]
    [1, 2, 1, 1]
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
        found = (each for each in glob.iglob(str(path), recursive=True) if is_video(each))
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
    if not found:  # one file, of whatever ending
        yield from _items([address], posixpath.dirname(address))
    yield from _items(footage(found), folder)


def _files_of(folder: Path) -> Iterator[str]:
    """Paths of the videos of a folder and of those below it, by name; hidden ones are none of the footage. A folder of
    pictures alone is one video, and marked by a slash."""
    folders: list[str] = []
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                (folders if entry.is_dir(follow_symlinks=False) else names).append(entry.name)
    videos = footage(names)
    if not videos and not folders and any(PurePath(name).suffix.lower() in PICTURES for name in names):
        yield f"{folder}/"
    yield from (str(folder / name) for name in videos)
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
        inside = file[len(folder) :] if is_address(file) or not folder else posixpath.relpath(file, folder)
        if inside == ".":  # the folder itself is the video
            inside = f"{posixpath.basename(folder)}/"
        whole = inside if file.endswith("/") else posixpath.splitext(inside)[0]
        parts = [part for part in whole.replace(os.sep, "/").split("/") if part not in ("", ".")]
        yield Item("/".join(storage.file_name(part) for part in parts), file.rstrip("/"))
