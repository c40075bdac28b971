"""Where results go and videos come from: folders of this machine, and through fsspec whatever has an address (s3://,
gs://, ...). Plain paths never come near fsspec."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from tapkit import storage
from tapkit.errors import StorageError, TapkitError, UsageError, VideoError, require

WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "hf", "memory"})
"""Kinds of storage in which a file appears only when all of it has come."""


def is_address(name: str) -> bool:
    """Whether `name` is an address, not a path.

    >>> is_address("s3://bucket/takes"), is_address("takes/a.mp4"), is_address("C:/takes"), is_address("file:///a")
    (True, False, False, False)
    """
    return re.match(r"(?!file:)[a-zA-Z][a-zA-Z0-9+.-]+://", name) is not None


class Place(Protocol):
    """Where results are put: names are relative, with slashes."""

    def has(self, name: str) -> bool:
        """Whether something is there."""

    def put(self, file: Path, name: str) -> None:
        """Move a whole file there; at no moment is a part of it there. Raises `StorageError`."""


def place(where: str | Path) -> Place:
    """The place of a path or an address. Raises `MissingExtra`, `UsageError` for a kind of address that is unknown."""
    return Remote(str(where)) if is_address(str(where)) else Local(Path(str(where).removeprefix("file://")))


def absolute(where: str | Path) -> str:
    """The same path or address for processes in other folders and on other machines."""
    return str(where) if is_address(str(where)) else str(Path(str(where).removeprefix("file://")).absolute())


class Local:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        """See `Place.has`."""
        return (self.folder / name).exists()

    def put(self, file: Path, name: str) -> None:
        """See `Place.put`."""
        storage.put(file, self.folder / name)


class Remote:
    """What fsspec opens."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.system, self.root = _system(self.address)

    def has(self, name: str) -> bool:
        """See `Place.has`."""
        with talking(f"look at {self.address}/{name}"):
            # What was listed before may have changed: others write there, too.
            self.system.invalidate_cache()
            return bool(self.system.exists(self._path(name)))

    def put(self, file: Path, name: str) -> None:
        """See `Place.put`."""
        target = self._path(name)
        with talking(f"write {self.address}/{name}"):
            if _kind(self.address) in WHOLE:
                self.system.put_file(str(file), target)
            else:
                self.system.makedirs(posixpath.dirname(target), exist_ok=True)
                self.system.put_file(str(file), target + storage.PARTIAL)
                self.system.mv(target + storage.PARTIAL, target)
        file.unlink()

    def _path(self, name: str) -> str:
        return posixpath.join(self.root, name)


@contextmanager
def fetched(source: str, folder: Path) -> Iterator[Path | str]:
    """A video as a file of this machine: itself, or a copy in `folder`, which goes when all is well. Raises
    `VideoError`.

    Videos are not read across the network: decoding jumps to and fro in a file, each track direction reads it again,
    and a connection that breaks would cost what is computed.
    """
    if not is_address(source):
        yield source
        return
    system, path = _system(source)
    copy = folder / ".video" / storage.file_name(posixpath.basename(path))
    if not copy.exists():  # else an interrupted run has left it
        with talking(f"fetch {source}", VideoError), storage.atomic(copy) as part:
            system.get_file(path, str(part))
    yield copy
    copy.unlink(missing_ok=True)


def listed(address: str) -> tuple[str, list[str]]:
    """Addresses of all files of a folder and below it, or of a pattern, by name, and of the folder that they are in;
    none for what is one file. Raises `StorageError`."""
    system, path = _system(address)
    with talking(f"look into {address}"):
        if "*" in path or "?" in path or "[" in path:
            folder, found = before_pattern(path), system.glob(path)
        else:
            folder, found = path, [] if system.isfile(path) else system.find(path)
    return system.unstrip_protocol(folder).rstrip("/"), sorted(system.unstrip_protocol(name) for name in found)


def before_pattern(path: str) -> str:
    """The folder in which a pattern begins.

    >>> before_pattern("takes/day*/*.mp4"), before_pattern("*.mp4"), before_pattern("s3://b/*/c.mp4")
    ('takes', '', 's3://b')
    """
    parts = path.split("/")[:-1]
    fixed = next((n for n, part in enumerate(parts) if any(mark in part for mark in "*?[")), len(parts))
    return "/".join(parts[:fixed])


@contextmanager
def talking(what: str, kind: type[TapkitError] = StorageError) -> Iterator[None]:
    """What libraries say of a connection, as one sentence."""
    try:
        yield
    except TapkitError:
        raise
    except FileNotFoundError as error:
        raise kind(f"cannot {what}: there is no such file") from error
    except PermissionError as error:
        raise kind(f"cannot {what}: it is not allowed ({storage.cause(error)})") from error
    except Exception as error:  # each library has its own errors
        raise kind(f"cannot {what}: {storage.cause(error)}") from error


def _kind(address: str) -> str:
    return address.partition("://")[0].lower()


def _system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    fsspec = require("fsspec", "remote")
    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:  # says which package is wanted
        raise UsageError(f"{address} cannot be reached: {storage.cause(error)}") from error
    except ValueError as error:
        raise UsageError(f"{address} is no address of files: {storage.cause(error)}") from error
    except Exception as error:
        raise StorageError(f"{address} cannot be reached: {storage.cause(error)}") from error
    return system, str(path)
