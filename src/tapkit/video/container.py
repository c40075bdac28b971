"""Opening a media file and choosing its video stream, with errors that say what is wrong."""

from __future__ import annotations

from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from tapkit.errors import VideoError

TEXT = ("ansi", "bintext", "xbin", "idf")
"""What FFmpeg takes text files for: a terminal to be drawn."""


def open_stream(path: str, stream: int = 0) -> tuple[InputContainer, VideoStream]:
    """The open file and its `stream`-th video stream, all other streams discarded.

    Raises VideoError if there is no such file, it is no video, or it has no such stream.
    """
    _check_file(Path(path))
    try:
        # Metadata need not be UTF-8 (old phones write what they like); it is not used here.
        container = av.open(path, metadata_errors="replace")
    except (av.FFmpegError, UnicodeDecodeError, ValueError) as error:
        raise VideoError(f"{path} is not a video that can be read: {_reason(error)}") from error
    try:
        return container, first_video(container, path, stream)
    except VideoError:
        container.close()
        raise


def first_video(container: InputContainer, name: str, stream: int = 0) -> VideoStream:
    """The `stream`-th video stream of an open file; all others are discarded. Raises VideoError if there is none."""
    pictures = [s for s in container.streams.video if not _is_cover(s) and s.codec_context.name not in TEXT]
    if stream >= len(pictures):
        if pictures:
            raise VideoError(f"{name} has {len(pictures)} video streams, there is no stream {stream}")
        kinds = sorted({"text" if s in container.streams.video else s.type for s in container.streams})
        raise VideoError(f"{name} has no video in it, only {' and '.join(kinds) or 'nothing'}")
    for other in container.streams:
        if other is not pictures[stream] and hasattr(other, "discard"):
            other.discard = type(other.discard)["all"]
    return pictures[stream]


def _check_file(path: Path) -> None:
    if not path.exists():
        raise VideoError(f"there is no file {path}")
    if path.is_file() and path.stat().st_size == 0:
        raise VideoError(f"{path} is empty (0 bytes)")


def _is_cover(stream: VideoStream) -> bool:
    """Whether the stream is a still picture attached to sound."""
    return "attached_pic" in str(getattr(stream, "disposition", ""))


def _reason(error: Exception) -> str:
    if isinstance(error, av.FFmpegError):
        return str(error.strerror).lower()
    return str(error)
