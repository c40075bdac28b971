"""Pickles of benchmarks, read and not run: every one that holds more than arrays and plain containers is refused.

How they are read, and why that is safe, is told in `tapkit.unpickle`.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

from tapkit.errors import StorageError
from tapkit.unpickle import DAMAGE, Blob, LazyArray, Machine, Refused

__all__ = ["Blob", "LazyArray", "read_pickle"]


def read_pickle(path: str | Path, offset: int = 0) -> Any:
    """The object that a pickle of plain containers and numpy arrays describes, arrays as `LazyArray`.

    `offset` is where the pickle begins in the file. Raises `StorageError`, in one sentence, for a file that is
    truncated, is no pickle, or would build or call anything else.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return Machine(path, content, offset).run()
    except FileNotFoundError as error:
        raise StorageError(f"{path} does not exist") from error
    except Refused as refusal:
        raise StorageError(
            f"{path} is refused: it contains {refusal}, and only arrays and plain containers are read"
        ) from None
    except (IndexError, struct.error) as error:
        raise StorageError(f"{path} ends early or is not a pickle; a download may have been cut short") from error
    except DAMAGE as error:
        raise StorageError(f"{path} is damaged or not a pickle ({error})") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}") from error
