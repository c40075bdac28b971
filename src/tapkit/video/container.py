"""Opening a media file and choosing its video stream, with errors that say what is wrong."""

from __future__ import annotations

import stat
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from tapkit.errors import VideoError

TEXT = ("ansi", "bintext", "xbin", "idf")
"""What FFmpeg takes text files for: a terminal to be drawn."""


def open_stream(path: str, stream: int | None = None) -> tuple[InputContainer, VideoStream]:
    """The open file and its `stream`-th video stream (None: the one it marks as default), all others discarded.

    Raises VideoError if there is no such file, it is no video, or it has no such stream.
    """
    check_file(Path(path))
    try:
        # Metadata need not be UTF-8 (old phones write what they like); it is not used here.
        container = av.open(path, metadata_errors="replace")
    except (av.FFmpegError, UnicodeDecodeError, ValueError, OSError) as error:
        raise VideoError(why_not(Path(path), error)) from error
    try:
        return container, first_video(container, path, stream)
    except VideoError:
        container.close()
        raise


def first_video(container: InputContainer, name: str, stream: int | None = None) -> VideoStream:
    """The `stream`-th video stream of an open file (None: the one marked as default, else the first).

    All others are discarded. Raises VideoError if there is none.
    """
    pictures = _pictures(container)
    if not pictures or (stream is not None and not 0 <= stream < len(pictures)):
        if pictures:
            count = f"{len(pictures)} video stream{'s' * (len(pictures) > 1)}"
            raise VideoError(f"{name} has {count}, there is no stream {stream}: they are counted from 0")
        kinds = sorted({"text" if s in container.streams.video else s.type for s in container.streams})
        raise VideoError(f"{name} has no video in it, only {' and '.join(kinds) or 'nothing'}")
    chosen = pictures[_default(pictures) if stream is None else stream]
    for other in container.streams:
        if other is not chosen and hasattr(other, "discard"):
            other.discard = type(other.discard)["all"]
    return chosen


def several_streams(container: InputContainer, name: str) -> str | None:
    """A sentence about which of a file's video streams is read by default; None if it has only one."""
    pictures = _pictures(container)
    if len(pictures) < 2:
        return None
    sizes = ", ".join(f"{number}: {s.width}x{s.height}" for number, s in enumerate(pictures))
    chosen = _default(pictures)
    why = "which it marks as default" if "default" in _marks(pictures[chosen]) else "the first"
    return (
        f"{name} has {len(pictures)} video streams ({sizes}): stream {chosen} is read, {why}; "
        "stream= (--stream) chooses another"
    )


def check_file(path: Path) -> None:
    """Raise VideoError, in a sentence that says what to do, unless there is a file with something in it at `path`."""
    try:
        kind = path.stat()
    except FileNotFoundError:
        raise VideoError(f"there is no file {path}") from None
    except OSError as error:
        raise VideoError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    if stat.S_ISCHR(kind.st_mode) or stat.S_ISBLK(kind.st_mode):
        raise VideoError(
            f"{path} is a device, not a file with a video: a camera is opened as camera:0 or camera:{path}"
        )
    if stat.S_ISFIFO(kind.st_mode) or stat.S_ISSOCK(kind.st_mode):
        raise VideoError(f"{path} is a pipe, which can be read only once: save the video to a file first")
    if stat.S_ISREG(kind.st_mode) and kind.st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes): copy or record it again")


def why_not(path: Path, error: Exception) -> str:
    """One sentence on why the file at `path`, which gave `error` when opened, is no video, and what to do."""
    if isinstance(error, PermissionError):
        return f"{path} may not be read by this user: change its permissions or copy it"
    boxes = _boxes(path)
    if boxes and "moov" not in boxes and "moof" not in boxes and "mdat" in boxes:
        return (
            f"{path} is a recording that was never finished: its index (the moov box) is missing, as after a crash or "
            "a power failure; a repair tool such as untrunc can rebuild it from a good recording of the same camera"
        )
    if boxes and "moof" in boxes and "moov" not in boxes:
        return (
            f"{path} is a segment of a stream whose first segment (with the moov box) is missing: "
            "join the two, first the initialisation segment, then this one"
        )
    if boxes and _is_encrypted(path):
        return f"{path} is encrypted (it holds protected samples): decrypt it with its key first"
    known = _known_kind(path)
    if known:
        return f"{path} is not a video but {known}"
    return (
        f"{path} is not a video that can be read: {_reason(error)}; "
        "if another program plays it, convert it to MP4 there"
    )


def _is_encrypted(path: Path) -> bool:
    """Whether the head or the tail of an MP4 file describes samples under common encryption (encv)."""
    with path.open("rb") as file:
        head = file.read(1 << 20)
        file.seek(-min(path.stat().st_size, 1 << 20), 2)
        return b"encv" in head or b"encv" in file.read()


def _boxes(path: Path) -> list[str]:
    """The names of the top-level boxes of an MP4 or QuickTime file; empty for other files."""
    names: list[str] = []
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            at = 0
            while at + 8 <= end and len(names) < 1000:
                file.seek(at)
                head = file.read(16)
                size, name = int.from_bytes(head[:4], "big"), head[4:8].decode("latin-1")
                if not names and name not in ("ftyp", "styp", "sidx", "moof", "mdat", "wide", "skip", "free", "moov"):
                    return []
                names.append(name)
                size = int.from_bytes(head[8:16], "big") if size == 1 else size or end - at
                if size < 8:
                    break
                at += size
    except OSError:
        return []
    return names


_KINDS = (
    (0, b"PK\x03\x04", "an archive (ZIP, or NumPy's .npz): unpack it first"),
    (0, b"\x93NUMPY", "a NumPy array: load it with numpy.load and pass the array"),
    (0, b"\x89HDF", "an HDF5 file: pass its array, h5py.File(...)[name]"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x1f\x8b", "compressed (gzip): unpack it first"),
    (0, b"7z\xbc\xaf", "an archive (7z): unpack it first"),
    (0, b"Rar!", "an archive (RAR): unpack it first"),
    (0, b"<!DOCTYPE", "a web page: the download went wrong"),
    (0, b"<html", "a web page: the download went wrong"),
    (0, b"version https://git-lfs", "a Git LFS pointer: `git lfs pull` brings the file itself"),
)


def _known_kind(path: Path) -> str | None:
    """What a file that is no video is instead, by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return None
    if not any(head):
        return "a file that begins with zeros: its copy or download is incomplete"
    known = next((kind for at, mark, kind in _KINDS if head[at:].lower().startswith(mark.lower())), None)
    if known is None and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "a text file"
    return known


def _pictures(container: InputContainer) -> list[VideoStream]:
    return [s for s in container.streams.video if not _is_cover(s) and s.codec_context.name not in TEXT]


def _marks(stream: VideoStream) -> str:
    """The names of the marks on a stream, such as "default|attached_pic"."""
    return str(getattr(getattr(stream, "disposition", None), "name", "") or "")


def _default(pictures: list[VideoStream]) -> int:
    """Which of the streams is read if none is asked for."""
    return next((number for number, s in enumerate(pictures) if "default" in _marks(s)), 0)


def _is_cover(stream: VideoStream) -> bool:
    """Whether the stream is a still picture attached to sound."""
    return "attached_pic" in _marks(stream)


def _reason(error: Exception) -> str:
    if isinstance(error, av.FFmpegError):
        return str(error.strerror).lower()
    return str(error)
