"""Writing files so that none is ever half there: write beside the target, then put it in place in one step.

    with storage.atomic("clip.npz") as part:      # one file or folder, replaced as a whole
        part.write_bytes(data)
    with storage.staged("shot.jsx") as target:    # a file and what is written beside it
        target.write_text(script)

Whatever goes wrong within the block (an error, Ctrl-C, a full disk), what stood at the target before stays as it was
and nothing is left beside it. Everything in tapkit that writes results goes through here.

And reading files of which nothing is known, so that a damaged one gives a sentence and takes no memory that it does
not fill:

    with storage.reading("clip.npz", "a file of tracks"):
        arrays = storage.read_npz("clip.npz")
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tapkit.errors import StorageError, TapkitError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

PARTIAL = ".partial"
"""Ending of what is not complete yet. It hides the real ending, so that no search for `*.mp4` finds half a video."""


class Replacement:
    """What is going to stand at `path`: to be written to `partial`, then `commit` or `discard`.

    For writers whose work spans several calls; a single block is better served by `atomic`. Methods raise `OSError`.
    """

    def __init__(self, path: str | Path, sync: bool = False) -> None:
        """`sync`: also survive a power cut, see `atomic`."""
        self.path, self.sync = Path(path), sync
        self.partial = self.path if is_device(self.path) else _unused(self.path)

    def commit(self) -> None:
        """Put what was written in place of what stands at `path`."""
        if self.partial == self.path:
            return
        if self.sync:
            _flush(self.partial)
        _move(self.partial, self.path)
        if self.sync:
            _flush_entry(self.path.parent)

    def discard(self) -> None:
        """Remove what was written; nothing happens if there is nothing (any more)."""
        if self.partial != self.path:
            _remove(self.partial)


@contextmanager
def atomic(path: str | Path, sync: bool = False, parents: bool = True) -> Iterator[Path]:
    """A place beside `path` for one file or folder, which replaces what stands at `path` when the block is left.

    Args:
        path: what is to be written. A device or a pipe cannot be replaced: the block then writes to it directly.
        sync: flush to the disk before the old file goes, so that even a power cut leaves one of the two whole. It
            costs milliseconds, on slow disks seconds. Without it the same holds for a program that dies at any
            moment, which is enough for whatever can be computed again.
        parents: make the folder that `path` lies in, if need be.

    Yields:
        A path that does not exist yet, in the same folder, whose name ends in ".partial": formats must not be
        guessed from it.

    Raises `StorageError` for every `OSError` within the block; other errors go on up as they are.
    """
    path = Path(path)
    with _told(path):
        if parents:
            _make_folder(path.parent)
        replacement = Replacement(path, sync)
        try:
            yield replacement.partial
            replacement.commit()
        finally:
            replacement.discard()


@contextmanager
def staged(path: str | Path) -> Iterator[Path]:
    """A place under the final name, in a folder of its own, for a writer that writes several files.

    Everything in that folder is moved beside `path` when the block is left, file by file: in a folder that exists,
    files of other names stay. Each file is complete or absent; the set of them is not one step. Raises as `atomic`.
    """
    path = Path(path)
    with _told(path):
        _make_folder(path.parent)
        if is_device(path):
            yield path
            return
        folder = Path(tempfile.mkdtemp(prefix=".tapkit-", suffix=PARTIAL, dir=path.parent))
        try:
            yield folder / path.name
            for file in sorted(p for p in folder.rglob("*") if p.is_file()):
                target = path.parent / file.relative_to(folder)
                _make_folder(target.parent)
                os.replace(file, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def put(source: str | Path, path: str | Path) -> None:
    """Move a whole file to `path`, in one step: also from another disk. What stands there is replaced.

    Not even a power cut leaves a part of it there, see `atomic`. Raises `StorageError`.
    """
    source, path = Path(source), Path(path)
    with _told(path):
        _make_folder(path.parent)
        _flush_entry(source)
        try:
            _move(source, path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with atomic(path, sync=True) as part:
                shutil.copyfile(source, part)
            source.unlink()
        else:
            _flush_entry(path.parent)


def make_folder(path: str | Path) -> Path:
    """Make a folder and those it lies in, unless it is there; returns it. Raises `StorageError`."""
    path = Path(path)
    with _told(path):
        _make_folder(path)
    return path


def write_text(path: str | Path, text: str, sync: bool = False) -> Path:
    """Write a whole text file (UTF-8) or nothing; returns the path. Raises `StorageError`."""
    path = Path(path)
    with atomic(path, sync) as part:
        part.write_text(text, encoding="utf-8", errors="replace")
    return path


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file at exactly that path, which `atomic` may have given.

    Raises `OSError` like everything else that writes; safetensors has an error of its own for a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, dict(metadata) if metadata is not None else None)
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def file_name(name: str) -> str:
    """A name of any origin as that of a file or folder: itself where every system takes it, else one made of it.

    Different names stay different; none leads out of the folder, is hidden, or is longer than systems take.

    >>> file_name("bear"), file_name("../etc"), file_name("")
    ('bear', '_etc-f7f9121f', 'unnamed-e3b0c442')
    """
    import hashlib

    fine = re.fullmatch(r"[^\x00-\x1f\x7f/\\:*?\"<>|\ud800-\udfff]+", name) and name[0] != "." and name[-1] not in ". "
    if fine and len(name.encode()) <= 150 and not re.match(r"(?i:con|prn|aux|nul|com\d|lpt\d)(\.|$)", name):
        return name
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:40].lstrip(".")
    return f"{plain or 'unnamed'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def reason(error: OSError) -> str:
    """What the system said, in one line, without file names: libraries wrap it into paragraphs.

    >>> reason(OSError(28, "No space left on device", "/a/b.partial"))
    'No space left on device'
    """
    wrapped = re.search(r"error message = '([^']+)'", str(error))  # HDF5
    if wrapped:
        return wrapped[1]
    text = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    return text.split("\n")[0] or type(error).__name__


# -- reading ------------------------------------------------------------------------------------------

_INFLATED = 1100
"""More than DEFLATE can make of a byte (1032)."""


@contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Whatever a library says about the content of the file, as one sentence. `what` it should be: "a file of tracks".

    Raises `StorageError`; errors of tapkit go on up as they are, and so does Ctrl-C.
    """
    try:
        yield
    except TapkitError:
        raise
    except MemoryError as error:
        raise StorageError(f"{path} asks for more memory than there is") from error
    except FileNotFoundError as error:
        raise StorageError(f"{error.filename or path} does not exist") from error
    except PermissionError as error:
        raise StorageError(f"{error.filename or path} may not be read by this user") from error
    except Exception as error:
        raise StorageError(f"{path} is not {what}, or is damaged ({cause(error)})") from error


def cause(error: BaseException) -> str:
    """The first line of what a library said, without the name of a class and not too long."""
    if isinstance(error, OSError):
        return reason(error)[:120]
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"[:120] if error.args else "something is missing in it"
    said = str(getattr(error, "strerror", None) or error)  # FFmpeg's errors have the one without being OSErrors
    text = next((line.strip() for line in said.splitlines() if line.strip()), "")
    return text[:120] or "its content makes no sense"


def check_file(path: str | Path) -> Path:
    """The path, if a file or a folder is there. Raises `StorageError`: a device or a pipe could be without an end."""
    path = Path(path)
    if not os.path.lexists(path):
        raise StorageError(f"{shown(path)} does not exist")
    if is_device(path):
        raise StorageError(f"{path} is a device or a pipe: save what comes out of it to a file first")
    return path


def read_npz(path: str | Path, keys: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays of an .npz file (all, or those of `keys` that are there); nothing is unpickled.

    No array is made before its size is known to be that of the data in the file. To be called within `reading`, which
    says of which file its `ValueError`s are.
    """
    import numpy as np

    with zipfile.ZipFile(check_file(path)) as archive:
        names = [info.filename for info in archive.infolist()]
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if keys is None or name in keys:
                _check_member(archive, info, f"the array {name!r}")
    with np.load(path, allow_pickle=False) as content:
        wanted = [name.removesuffix(".npy") for name in names]
        return {name: content[name] for name in wanted if keys is None or name in keys}


def _check_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> None:
    """Raise `ValueError` unless an array is as large as its header says and no larger than its data can be."""
    import math

    import numpy as np

    if not info.filename.endswith(".npy"):
        raise ValueError(f"{what} is not an array")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(member)
        head = member.tell()
    if kind.hasobject:
        raise ValueError(f"{what} holds Python objects, which are not unpickled")
    declared = math.prod(shape) * kind.itemsize
    if any(n < 0 for n in shape) or head + declared != info.file_size:
        raise ValueError(f"{what} should have {declared} bytes by its shape {list(shape)} and has not")
    if info.file_size > _INFLATED * info.compress_size + 4096:
        raise ValueError(f"{what} cannot have the {info.file_size} bytes that it declares")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Failures of the file system as one sentence about the file that was wanted."""
    if not nameable(path):
        raise StorageError(f"cannot write {shown(path)}: it is no name that a file can have")
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"cannot write {shown(path)}: {reason(error)}") from error


def nameable(path: str | Path) -> bool:
    """Whether something can be called so: without a NUL, and of characters that the file system has."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def shown(path: str | Path) -> str:
    """A path for a message: short enough to read, and of characters that can be printed.

    >>> shown("clip.mp4"), shown("a\\0b"), len(shown("n" * 5000))
    ('clip.mp4', 'a\\\\x00b', 201)
    """
    text = str(path).replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 250 else f"{text[:100]}…{text[-100:]}"


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # "File exists" would not say what is wrong
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error


def _unused(path: Path) -> Path:
    """A hidden name beside `path` that nothing else has: two processes may write the same target."""
    return path.with_name(f".{path.name[:100]}.{os.getpid()}-{os.urandom(4).hex()}{PARTIAL}")


def is_device(path: Path) -> bool:
    """Whether something stands there that is neither a file nor a folder (/dev/stdout, a named pipe)."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _move(partial: Path, path: Path) -> None:
    if path.is_dir() and not path.is_symlink() and not partial.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))  # with whatever is in it
    if not path.is_dir() or path.is_symlink():
        os.replace(partial, path)
        return
    # A folder cannot be replaced by renaming over it: the old one steps aside, and comes back if the new one fails.
    aside = _unused(path)
    os.rename(path, aside)
    try:
        os.rename(partial, path)
    except OSError:
        os.rename(aside, path)
        raise
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _flush(path: Path) -> None:
    """Everything at `path` onto the disk."""
    for each in sorted(path.rglob("*")) if path.is_dir() else ():
        _flush_entry(each)
    _flush_entry(path)


def _flush_entry(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot flush a folder, and keeps its entries in a journal
    handle = os.open(path, os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(handle)
