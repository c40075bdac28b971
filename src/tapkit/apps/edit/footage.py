"""Frames in their own depth, and files that keep it: 16-bit PNG and TIFF, OpenEXR in float, ProRes of 10 bits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import av
import numpy as np

from tapkit import storage
from tapkit.apps.edit.colour import Curve
from tapkit.errors import StorageError, UsageError
from tapkit.types import VideoInfo
from tapkit.video.base import DeepFrame, Depth, Source
from tapkit.video.writer import VideoWriter, is_prores

DEEP = {
    ".png": ("png", "rgb48be"),
    ".tif": ("tiff", "rgb48le"),
    ".tiff": ("tiff", "rgb48le"),
    ".exr": ("exr", "gbrpf32le"),
}
"""Endings of sequences: FFmpeg's encoder, and the values that it is given."""


class Writer(Protocol):
    """What frames are written to."""

    def write(self, image: Any, time: float | None = None) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def is_sequence(path: str | Path) -> bool:
    """Whether a path names a sequence of pictures: a pattern with a place for the number, or no ending at all."""
    name = Path(path).name
    return bool(re.search(r"%0?\d*d|#+", name)) or not Path(path).suffix


def keeps_depth(source: Source, output: str | Path) -> bool:
    """Whether frames are to be worked on in their own values: the source has more than 8 bits, and what is written can
    hold them."""
    if is_prores(output):
        return source.depth is not None and source.depth.dtype.kind == "u"
    ending = Path(output).suffix.lower()
    return is_sequence(output) and (ending == ".exr" or (ending in DEEP and source.depth is not None))


def frames_of(source: Source, output: str | Path) -> Iterator[DeepFrame]:
    """All frames as they are worked on for that output (see `depth_of`); their values are the caller's to change."""
    depth = source.depth
    if not keeps_depth(source, output):
        for frame in source.frames():
            yield DeepFrame(frame.index, frame.time, np.array(frame.image, order="C"))
        return
    light = Path(output).suffix.lower() == ".exr" and not (depth is not None and depth.linear)
    for each in source.deep_frames():
        values = Curve(depth).light(each.values) if light else each.values
        yield each._replace(values=np.ascontiguousarray(values))


def open_writer(
    output: str | Path, info: VideoInfo, depth: Depth | None = None, sound: str | Path | None = None
) -> Writer:
    """What writes frames of that depth to `output`: a video with the sound of `sound`, or a sequence.

    Raises `UsageError`, `StorageError`.
    """
    if is_prores(output) and depth is not None:
        return _Stretched(VideoWriter(output, info, quality="high", audio_from=sound), depth)
    if depth is not None or Path(output).suffix.lower() in (".tif", ".tiff", ".exr"):
        return DeepSequence(output, info)
    return VideoWriter(output, info, quality="high", audio_from=sound)


class _Stretched:
    """A writer of 16 bits for values of another range, such as the 0..1023 of 10 bits."""

    def __init__(self, writer: VideoWriter, depth: Depth) -> None:
        self._writer, self._depth = writer, depth

    def write(self, image: Any, time: float | None = None) -> None:
        """Append a frame [H,W,3]."""
        shown = (np.asarray(image, np.float32) - self._depth.black) / (self._depth.white - self._depth.black)
        self._writer.write(np.rint(np.clip(shown, 0, 1) * 65535).astype(np.uint16), time)

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, value, trace)


class DeepSequence:
    """Pictures of more than 8 bits, one file each, named by the frame's number. A context manager.

    Integers are written as 16 bits (PNG, TIFF), floats as they are (OpenEXR, linear light). A file has its name only
    when it is complete. Raises `UsageError` for another ending, or a folder whose pictures are the video itself.
    """

    def __init__(self, path: str | Path, info: VideoInfo) -> None:
        self.path, self.info = Path(path), info
        self._ending = self.path.suffix.lower()
        if self._ending not in DEEP:
            raise UsageError(f"sequences of more than 8 bits are {' '.join(DEEP)}, not {self._ending or 'a folder'}")
        self._pattern = re.sub(r"#+", lambda found: f"%0{len(found[0])}d", self.path.name)
        if len(re.findall(r"%0?\d*d", self._pattern)) != 1:
            raise UsageError(f"{self.path.name}: a sequence needs one place for the frame number, such as out_%05d.exr")
        self._folder = storage.make_folder(self.path.parent)
        own = Path(info.path or "")
        if info.path and own.is_dir() and self._folder.resolve() == own.resolve():
            raise UsageError(f"{self.path} would be among the pictures of the video itself: name another folder")
        self.frames = 0

    def write(self, image: Any, time: float | None = None) -> None:
        """Append a frame [H,W,3 or 4] of any type: the next one."""
        values, number = image, self.frames + self.info.start_frame
        target = self._folder / (self._pattern % number)
        with storage.atomic(target) as part:
            part.write_bytes(encode_picture(np.asarray(values), self._ending))
        self.frames += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.frames == 0:
            raise StorageError(f"{self.path} was not written, because there was no frame to write")


def encode_picture(values: np.ndarray, ending: str) -> bytes:
    """A picture [H,W,3 or 4] as the bytes of a PNG or TIFF of 16 bits, or of an OpenEXR file of 32-bit floats."""
    codec, form = DEEP[ending]
    alpha = values.shape[2] == 4
    if codec == "exr":
        planes = [
            np.ascontiguousarray(values[..., channel], np.float32) for channel in ((1, 2, 0, 3) if alpha else (1, 2, 0))
        ]
        frame = av.VideoFrame(values.shape[1], values.shape[0], "gbrapf32le" if alpha else form)
        for plane, own in zip(frame.planes, planes, strict=True):
            room = np.zeros((own.shape[0], plane.line_size // 4), np.float32)
            room[:, : own.shape[1]] = own
            plane.update(room.tobytes())
    else:
        wide = values.astype(np.uint16) * np.uint16(257) if values.dtype == np.uint8 else np.clip(values, 0, 65535)
        kind = form.replace("rgb48", "rgba64") if alpha else form
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(wide, np.uint16), format=kind)
    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = values.shape[1], values.shape[0], frame.format.name
    context.time_base = Fraction(1, 25)
    if codec == "exr":
        context.options = {"compression": "zip16", "format": "float"}
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def sound_of(source: Source) -> Path | None:
    """The file whose sound goes with a video; None where there is none."""
    path = source.info.path
    return Path(path) if path and Path(path).is_file() else None


def depth_of(source: Source, output: str | Path) -> Depth | None:
    """What the values mean in which frames are composited that are written to `output`; None: 8 bits.

    For OpenEXR they are linear light, whatever the source has.
    """
    if not keeps_depth(source, output):
        return None
    if Path(output).suffix.lower() == ".exr" and not (source.depth is not None and source.depth.linear):
        return Depth(np.dtype(np.float32), 0.0, 1.0, True)
    return source.depth
