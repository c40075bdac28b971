"""What tells a video from another one: a hash of its bytes, quick for files of any size.

Of a file of more than 64 MiB the length and 256 stretches of 64 KiB, evenly spread with both ends, are hashed; of
images their names too, since these are their order. A video that was cut, converted or replaced has another hash; what
only its other bytes say may go unnoticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from tapkit import storage
from tapkit.errors import VideoError

WHOLE = 64 << 20
_STRETCH = 64 << 10
_STRETCHES = 256


def files_of(path: str | Path) -> list[Path]:
    """The files that a video is made of: itself, or images of a folder or a pattern. Raises `VideoError`."""
    path = Path(path).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir() or any(c in path.name for c in "*?[%"):
        from tapkit.video.folder import find_images

        return find_images(path)
    raise VideoError(f"{storage.shown(path)} is gone")


def stamp(files: Sequence[Path]) -> str:
    """Size and time of change of each file: quick to ask for, and equal only if nothing was written."""
    try:
        facts = [(file.name, status.st_size, status.st_mtime_ns) for file in files for status in (file.stat(),)]
    except OSError as error:
        raise VideoError(f"{storage.shown(error.filename or 'a file')} is gone") from error
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def content_hash(files: Sequence[Path]) -> str:
    """SHA-256 of what the files say, as hexadecimal digits."""
    digest = hashlib.sha256()
    several = len(files) > 1
    each = WHOLE // len(files) if several else WHOLE
    try:
        for file in files:
            size = file.stat().st_size
            digest.update(f"{file.name if several else ''}:{size}\n".encode("utf-8", "surrogateescape"))
            with open(file, "rb") as content:
                if size <= each:
                    digest.update(content.read())
                    continue
                count = max(min(_STRETCHES, each // _STRETCH), 2)
                for place in range(count):
                    content.seek((size - _STRETCH) * place // (count - 1))
                    digest.update(content.read(_STRETCH))
    except OSError as error:
        raise VideoError(f"{storage.shown(error.filename or 'a file')}: {storage.reason(error)}") from error
    return digest.hexdigest()
