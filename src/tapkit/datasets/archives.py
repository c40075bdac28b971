"""Reading one array of a compressed .npz a few rows at a time, so that a 400 MB annotation needs no 400 MB."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

from tapkit.errors import StorageError

BLOCK_BYTES = 8 << 20


class ArrayHeader(NamedTuple):
    """Shape and type of a stored array."""

    shape: tuple[int, ...]
    dtype: np.dtype


def array_headers(path: Path) -> dict[str, ArrayHeader]:
    """What arrays an .npz holds, without reading them."""
    try:
        with zipfile.ZipFile(path) as archive:
            out = {}
            for member in archive.namelist():
                if member.endswith(".npy"):
                    with archive.open(member) as stream:
                        out[member[:-4]] = _header(stream, path, member)
            return out
    except FileNotFoundError as error:
        raise StorageError(f"{path} does not exist") from error
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise StorageError(f"{path} cannot be read ({error}); a download may have been cut short") from error


def _header(stream, path: Path, member: str) -> ArrayHeader:  # type: ignore[no-untyped-def]
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise StorageError(f"{path}: {member} holds Python objects, which are not unpickled")
    if fortran:
        raise StorageError(f"{path}: {member} is stored column by column, which cannot be read row by row")
    return ArrayHeader(shape, dtype)


def row_blocks(path: Path, key: str, block_bytes: int = BLOCK_BYTES) -> Iterator[np.ndarray]:
    """The array `key` as consecutive blocks of rows of about `block_bytes` each.

    Raises `StorageError` where the archive is damaged or shorter than its header says.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as stream:
            shape, dtype = _header(stream, path, key)
            row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
            step = max(1, block_bytes // max(row, 1))
            for start in range(0, shape[0], step):
                rows = min(step, shape[0] - start)
                data = stream.read(rows * row)
                if len(data) < rows * row:
                    raise StorageError(f"{path}: {key} ends early; the file is truncated")
                yield np.frombuffer(data, dtype).reshape(rows, *shape[1:])
    except KeyError as error:
        raise StorageError(f"{path} has no array {key!r}") from error
    except FileNotFoundError as error:
        raise StorageError(f"{path} does not exist") from error
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{path}: {key} cannot be read ({error}); the file is damaged") from error
