"""Files that a browser sends: bounded, recognised as a video by their first bytes, and then opened as any input is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from tapkit import storage
from tapkit.errors import StorageError
from tapkit.web.refusals import NoVideo, TooLarge

LARGEST = 4 << 30
"""Bytes of one file."""
HEAD = 400
"""Bytes by which a video is recognised: two packets of a transport stream."""

_BEGINNINGS = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"\x00\x00\x01\xb0",  # MPEG program and elementary streams
    b"GIF87a", b"GIF89a", b"FLV\x01", b"OggS",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF
    b"\x06\x0e\x2b\x34",  # MXF
    b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+",  # TIFF
)  # fmt: skip
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""First boxes of MP4 and QuickTime files, at byte 4."""


def is_video(head: bytes) -> bool:
    """Whether a file that begins like this may be a video.

    Text is none of these: playlists and lists of files (HLS, DASH, SDP, ffconcat) name other files and addresses, which
    FFmpeg would open.
    """
    if head.startswith(_BEGINNINGS) or head[4:8] in _BOXES:
        return True
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"WEBP"):
        return True
    # MPEG transport streams, of 188 and of 192 bytes a packet
    return any(head[at : at + 1] == head[at + size : at + size + 1] == b"\x47" for at, size in ((0, 188), (4, 192)))


async def receive(parts: AsyncIterator[bytes], name: str, folder: Path, largest: int = LARGEST) -> Path:
    """Write an upload into `folder` under a name made of `name`; returns its path. Nothing is left of one that fails.

    A file that is there is never replaced: the name gets a number. Raises `TooLarge`, `NoVideo`, `StorageError`.
    """
    import tempfile

    from starlette.concurrency import run_in_threadpool

    plain = storage.file_name(Path(name.replace("\\", "/")).name.strip() or "clip")
    storage.make_folder(folder)
    taken, head = 0, b""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".upload-", delete=False) as part:
        target = Path(part.name)
        try:
            async for chunk in parts:
                taken += len(chunk)
                if taken > largest:
                    raise TooLarge(f"{plain} is larger than the {largest / 1e6:.0f} MB that are taken here")
                if len(head) < HEAD:
                    head += chunk[: HEAD - len(head)]
                    if len(head) >= HEAD and not is_video(head):
                        raise NoVideo(f"{plain} is no video that can be uploaded")
                await run_in_threadpool(part.write, chunk)
            if not is_video(head):
                raise NoVideo(f"{plain} is {'empty' if not taken else 'no video that can be uploaded'}")
            part.flush()
        except OSError as error:
            target.unlink(missing_ok=True)
            raise StorageError(f"{plain} cannot be stored: {storage.reason(error)}") from error
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    return _place(target, folder / plain)


def _place(part: Path, target: Path) -> Path:
    """Give a file its name, or the next free one, which is taken first: two uploads never get the same."""
    number = 1
    name = target
    try:
        while True:
            try:
                name.open("x").close()
                part.chmod(0o644)
                return part.replace(name)
            except FileExistsError:
                number += 1
                name = target.with_name(f"{target.stem}-{number}{target.suffix}")
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(f"{target.name} cannot be stored: {storage.reason(error)}") from error
