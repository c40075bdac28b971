"""Writing videos: mp4, mov (H.264, ProRes), mkv, webm, gif and PNG sequences, frame by frame, timed as the source is.

What holds for all of them:

- **Size.** Nothing is scaled. H.264 in the form that every player shows (4:2:0) needs even sides; a frame with an
  odd side gets its last column or row once more, so every pixel stays where it was and the picture is one pixel
  larger. The other formats keep odd sides.
- **Time.** A frame is shown at the time it is written with, variable rate included. The clock is fine enough for
  exact multiples of the frame duration in mp4 and mov; webm and mkv count milliseconds and gif hundredths of a
  second because their formats do (gif frames closer than 0.02 s are left out, since browsers slow those down);
  a PNG sequence has frame numbers and no clock. A video that begins with the source's first frame keeps the
  source's own zero; one that begins elsewhere (a part, a live camera) begins at 0.
- **Pixel aspect** is kept in mp4, mov and mkv; the others have square pixels, and a warning says so.
- **Colour** is converted to BT.709 and marked as such, so that players show the colours that were written.
- **Sound** of `audio_from` is copied as it is, or encoded anew where the container cannot hold it (gif and PNG
  have none). It ends with the picture if fewer frames were written than the source has.
- **Whatever happens, no half file gets the final name.** Frames go to a hidden file beside it, which is renamed
  when complete. Ctrl-C or an error elsewhere finishes the file with the frames written so far: a valid, shorter
  video. A full disk gives one StorageError and leaves nothing behind, except the complete images of a sequence.
"""

from __future__ import annotations

import errno
import re
import warnings
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import av
import av.container
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image

from tapkit import storage
from tapkit.errors import ShapeError, StorageError, UsageError
from tapkit.types import VideoInfo
from tapkit.video.audio_copy import AudioCopy
from tapkit.video.base import Frame
from tapkit.video.gif_palette import GifPalette

Quality = Literal["high", "good", "small"]
QUALITIES: tuple[Quality, ...] = ("high", "good", "small")

_BT709 = 1  # the number of BT.709 in ITU-T H.273, for primaries, transfer and matrix
_LIMITED_RANGE = 1


@dataclass(frozen=True)
class _Container:
    """What one file ending stands for."""

    format: str
    codec: str
    options: dict[Quality, dict[str, str]]
    audio: frozenset[str] = frozenset()
    """Audio codecs that are copied as they are."""
    audio_encoder: str = ""
    """Encoder for other sound; empty: the container has none."""
    ticks: int | None = None
    """Ticks per second if the format fixes them; None: as fine as wanted."""
    min_step: int = 1
    """Fewest ticks between two frames."""
    aspect: bool = True
    """Whether players learn of pixels that are not square."""
    even: bool = False
    """Whether sides must be even."""
    pixels: str = "yuv420p"
    """What the encoder is given."""
    deep: bool = False
    """Whether it has more than 8 bits, and takes frames of 16."""
    muxer: dict[str, str] = field(default_factory=dict)


_H264: dict[Quality, dict[str, str]] = {
    "high": {"crf": "16", "preset": "medium"},
    "good": {"crf": "20", "preset": "veryfast"},
    "small": {"crf": "27", "preset": "medium"},
}
_PRORES: dict[Quality, dict[str, str]] = {
    "high": {"profile": "3", "vendor": "apl0"},  # 422 HQ
    "good": {"profile": "2", "vendor": "apl0"},  # 422
    "small": {"profile": "0", "vendor": "apl0"},  # Proxy
}
_VP9_SPEED = {"b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
_VP9: dict[Quality, dict[str, str]] = {
    "high": {"crf": "20", **_VP9_SPEED},
    "good": {"crf": "30", **_VP9_SPEED},
    "small": {"crf": "40", **_VP9_SPEED},
}
_MP4_AUDIO = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})
_PCM = frozenset({"pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_u8"})
_FAST_START = {"movflags": "+faststart"}
_MP4 = _Container("mp4", "libx264", _H264, _MP4_AUDIO, "aac", even=True, muxer=_FAST_START)
_CONTAINERS: dict[str, _Container] = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": _Container(
        "mov", "libx264", _H264, frozenset({"aac", "mp3", "ac3", "alac"}) | _PCM, "aac", even=True, muxer=_FAST_START
    ),
    ".prores.mov": _Container(
        "mov", "prores_ks", _PRORES, _PCM, "pcm_s16le", even=True, pixels="yuv422p10le", deep=True, muxer=_FAST_START
    ),
    ".mkv": _Container(
        "matroska",
        "libx264",
        _H264,
        _MP4_AUDIO | _PCM | {"vorbis", "mp2"},
        "aac",
        ticks=1000,
        even=True,
        muxer={"avoid_negative_ts": "disabled"},  # it would move all frames by the reordering delay
    ),
    ".webm": _Container("webm", "libvpx-vp9", _VP9, frozenset({"opus", "vorbis"}), "libopus", ticks=1000, aspect=False),
    ".gif": _Container("gif", "gif", {"high": {}, "good": {}, "small": {}}, ticks=100, min_step=2, aspect=False),
}
_GIF_COLORS: dict[Quality, int] = {"high": 256, "good": 256, "small": 64}
_PNG_LEVEL: dict[Quality, int] = {"high": 3, "good": 3, "small": 9}
ENDINGS = (*_CONTAINERS, ".png")


class _Sink(Protocol):
    """Where frames go: an encoded file or a folder of images."""

    def write(self, image: np.ndarray, index: int, time: float) -> None: ...

    def finish(self, complete: bool) -> None: ...

    def discard(self) -> None: ...


class VideoWriter:
    """A video being written; use it as a context manager.

    Args:
        path: where to; its ending chooses the format: .mp4 .m4v .mov .mkv (H.264), .prores.mov (ProRes 422 of 10 bits,
            for cutting and grading; "high" is HQ, "small" is Proxy), .webm (VP9), .gif (looped),
            `shot_%05d.png` or `shot_####.png` (images named by frame number, counted from `info.start_frame`),
            or a folder (existing, or a name without an ending), which gets 000000.png and so on.
        info: size, rate, pixel aspect of the video, and how many frames it has if known.
        quality: "high" (visually lossless), "good" or "small".
        audio_from: a file whose sound is to go with the picture, or None.

    Raises:
        UsageError: unknown ending or quality; `path` is the video that `info` was read from, or one of its images.
        StorageError: the place cannot be written to.
        VideoError: `audio_from` cannot be opened.
    """

    def __init__(
        self, path: str | Path, info: VideoInfo, *, quality: Quality = "good", audio_from: str | Path | None = None
    ) -> None:
        if quality not in QUALITIES:
            raise UsageError(f"quality must be one of {', '.join(QUALITIES)}, got {quality!r}")
        self.path = Path(path)
        self.info = info
        self.frames = 0
        """Frames written so far."""
        self._last_time: float | None = None
        self._open = True
        self._types: tuple[type, ...] = (np.uint8,)
        for source in (info.path, audio_from):
            if source is not None and is_same_file(self.path, source):
                raise UsageError(f"{self.path} is the video itself: writing there would destroy it; name another file")
        ending = self.path.suffix.lower()
        if ending == ".png" or ending == "" or self.path.is_dir():
            self._sink: _Sink = _ImageSequence(self.path, info, quality)
        elif ending in _CONTAINERS:
            kind = _CONTAINERS[".prores.mov" if is_prores(self.path) else ending]
            self._types = (np.uint8, np.uint16) if kind.deep else (np.uint8,)
            self._sink = _EncodedFile(self.path, info, kind, quality, audio_from)
        else:
            raise UsageError(f"{self.path.name}: videos can be written as {' '.join(ENDINGS)}, not as {ending}")

    def write(self, image: Frame | np.ndarray, time: float | None = None) -> None:
        """Append a frame: a `Frame`, or an image [H,W,3] uint8 RGB shown at `time` seconds (None: the next of `info`);
        ProRes takes uint16 (0..65535), too.

        Raises:
            ShapeError: another size than `info` says.
            UsageError: times do not increase, or the writer is closed.
            StorageError: the disk is full or fails; nothing half-written stays.
        """
        if not self._open:
            raise UsageError(f"{self.path.name} is closed: no frame can be added")
        index = self.frames
        if isinstance(image, Frame):
            index, frame_time, image = image
            time = frame_time if time is None else time
        elif time is None:
            time = self.info.time_of(index)
        expected = (self.info.height, self.info.width, 3)
        if image.shape != expected or image.dtype not in self._types:
            types = " or ".join(each.__name__ for each in self._types)
            raise ShapeError(
                f"frames of this video are [H,W,3]={list(expected)} {types}, got {list(image.shape)} {image.dtype}"
            )
        if self._last_time is not None and time <= self._last_time:
            raise UsageError(f"frame times must increase, got {time:.6f} s after {self._last_time:.6f} s")
        try:
            self._sink.write(image, index, time)
        except (av.error.FFmpegError, OSError) as error:
            self._fail(error)
        self._last_time = time
        self.frames += 1

    def close(self) -> None:
        """Complete the file and give it its name; a second call does nothing.

        Raises:
            StorageError: it could not be completed, or no frame was written (then there is no file).
        """
        if not self._open:
            return
        self._open = False
        if self.frames == 0:
            self._sink.discard()
            raise StorageError(f"{self.path} was not written, because there was no frame to write")
        try:
            self._sink.finish(complete=self.info.frames is not None and self.frames >= self.info.frames)
        except (av.error.FFmpegError, OSError) as error:
            self._fail(error)
        except BaseException:
            self._sink.discard()
            raise

    def _fail(self, error: Exception) -> None:
        """Remove what is incomplete and say so."""
        self._open = False
        self._sink.discard()
        if isinstance(error, StorageError):
            raise error
        raise _storage_error(self.path, error, self.frames) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.frames == 0 and self._open:
            self._open = False
            self._sink.discard()
            return
        self.close()


def _storage_error(path: Path, error: Exception, frames: int = 0) -> StorageError:
    """One sentence about a failed write; FFmpeg's and Python's errors both carry an errno."""
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = "the disk is full"
    else:
        reason = getattr(error, "strerror", None) or str(error)
    after = f" after {frames} frames" if frames else ""
    return StorageError(f"{path} could not be written{after}: {reason}")


class _EncodedFile:
    """One file of a container format, encoded by FFmpeg through PyAV."""

    def __init__(
        self, path: Path, info: VideoInfo, kind: _Container, quality: Quality, audio_from: str | Path | None
    ) -> None:
        self._path, self._info, self._kind = path, info, kind
        if kind.codec not in av.codec.codecs_available:
            raise StorageError(f"this build of PyAV cannot encode {path.suffix}: it lacks {kind.codec}")
        if not path.parent.is_dir():
            raise StorageError(f"{path} cannot be written: there is no folder {path.parent}")
        self._file = storage.Replacement(path)
        try:
            self._output: Any = av.open(str(self._file.partial), "w", format=kind.format, options=dict(kind.muxer))
        except (av.error.FFmpegError, OSError) as error:
            raise _storage_error(path, error) from error
        if info.pixel_aspect != 1 and not kind.aspect:
            warnings.warn(
                f"{path.name}: players show {path.suffix} with square pixels; mp4 keeps their shape", stacklevel=3
            )
        self._fps = info.fps.limit_denominator(100_000)
        self._ticks = kind.ticks or self._fps.numerator * -(-90_000 // self._fps.numerator)
        self._palette = GifPalette(_GIF_COLORS[quality]) if kind.codec == "gif" else None
        self._reformatter = VideoReformatter()
        self._origin: float | None = None
        self._last = -kind.min_step
        self._audio: AudioCopy | None = None
        try:
            self._stream = self._video_stream(kind.options[quality])
            if audio_from is not None and kind.audio_encoder:
                self._audio = AudioCopy(self._output, str(audio_from), kind.audio, kind.audio_encoder)
        except BaseException:
            self.discard()
            raise

    def _video_stream(self, options: dict[str, str]) -> Any:
        stream = self._output.add_stream(self._kind.codec, rate=self._fps, options=dict(options))
        stream.width, stream.height = self._coded_size()
        stream.time_base = Fraction(1, self._ticks)
        context = stream.codec_context
        context.time_base = Fraction(1, self._ticks)
        context.sample_aspect_ratio = self._info.pixel_aspect
        if self._palette:
            stream.pix_fmt = "pal8"
            return stream
        stream.pix_fmt = self._kind.pixels
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED_RANGE
        return stream

    def _coded_size(self) -> tuple[int, int]:
        """(width, height) as encoded."""
        extra = 1 if self._kind.even else 0
        return self._info.width + self._info.width % 2 * extra, self._info.height + self._info.height % 2 * extra

    def write(self, image: np.ndarray, index: int, time: float) -> None:
        if self._origin is None:
            part = self._info.start_frame > 0 and self._info.times is not None  # of a longer video: begins at once
            whole = not part and abs(time - self._info.time_of(0)) <= 0.5 / float(self._fps)
            # A whole clip whose first frame comes a little late keeps that delay, for the sake of its sound.
            self._origin = 0.0 if whole and time >= 0 else time
            if self._audio:
                self._audio.begin(self._origin)
        ticks = round((time - self._origin) * self._ticks)
        if self._kind.min_step > 1 and ticks - self._last < self._kind.min_step:
            return
        self._last = max(ticks, self._last + 1)
        frame = self._frame(image)
        frame.pts = self._last
        frame.time_base = Fraction(1, self._ticks)
        for packet in self._stream.encode(frame):
            self._mux(packet)

    def _frame(self, image: np.ndarray) -> av.VideoFrame:
        if self._palette:
            indices = self._palette.apply(image)
            opaque = np.concatenate([np.full((256, 1), 255, np.uint8), self._palette.rgb], axis=1)  # ARGB
            return av.VideoFrame.from_ndarray((indices, opaque), format="pal8")  # type: ignore[arg-type]
        width, height = self._coded_size()
        if (height, width) != image.shape[:2]:
            image = np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)), "edge")
        stored = "rgb24" if image.dtype == np.uint8 else "rgb48le"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=stored)
        return self._reformatter.reformat(
            frame, format=self._kind.pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )

    def _mux(self, packet: Any) -> None:
        if not packet.duration:  # the last frame's is stored in the file: one ordinary frame
            packet.duration = round(1 / self._fps / packet.time_base)
        if self._audio:
            self._audio.pull(float(packet.dts * packet.time_base))
        self._output.mux(packet)

    def finish(self, complete: bool) -> None:
        for packet in self._stream.encode(None):
            self._mux(packet)
        if self._audio:
            end = self._last / self._ticks + float(1 / self._fps)
            self._audio.pull(float("inf") if complete else end)
            self._audio.close()
        self._output.close()
        self._file.commit()

    def discard(self) -> None:
        if self._audio:
            self._audio.close()
        try:
            self._output.close()
        except (av.error.FFmpegError, OSError):
            pass  # it failed before, and the file goes anyway
        finally:
            self._file.discard()


class _ImageSequence:
    """Numbered PNG files. Each is complete or absent; what was written stays whatever happens."""

    def __init__(self, path: Path, info: VideoInfo, quality: Quality) -> None:
        self._start = info.start_frame
        self._level = _PNG_LEVEL[quality]
        self._file: storage.Replacement | None = None
        if path.suffix.lower() == ".png" and not path.is_dir():
            self._folder, self._pattern = path.parent, _number_pattern(path.name)
        else:
            self._folder, self._pattern = path, "%06d.png"
        self._guard(info.path)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _storage_error(path, error) from error

    def _guard(self, source: str | None) -> None:
        """Refuse names that images of the source have."""
        if source is None or not self._folder.is_dir():
            return
        place = Path(source) if Path(source).is_dir() else Path(source).parent
        if not place.is_dir() or not is_same_file(place, self._folder):
            return
        before, after = re.split(r"%0?\d*d", self._pattern)
        name = re.compile(re.escape(before) + r"\d+" + re.escape(after))
        taken = next((file.name for file in sorted(place.iterdir()) if name.fullmatch(file.name)), None)
        if taken is not None:
            raise UsageError(
                f"{self._folder / self._pattern} would replace images of the video itself, such as {taken}; "
                "name another folder"
            )

    def write(self, image: np.ndarray, index: int, time: float) -> None:
        target = self._folder / (self._pattern % (self._start + index))
        self._file = storage.Replacement(target)
        with open(self._file.partial, "wb") as file:
            Image.fromarray(image).save(file, "png", compress_level=self._level)
        self._file.commit()

    def finish(self, complete: bool) -> None:
        pass

    def discard(self) -> None:
        if self._file:
            self._file.discard()


def is_prores(path: str | Path) -> bool:
    """Whether a video of that name is written as ProRes: `.prores.mov`."""
    return Path(path).name.lower().endswith(".prores.mov")


def is_same_file(path: str | Path, other: str | Path) -> bool:
    """Whether both are one existing file or folder, also by another name (links, relative paths)."""
    try:
        return Path(path).samefile(other)
    except (OSError, ValueError):  # one of them does not exist, or is no path at all (an address)
        return False


def _number_pattern(name: str) -> str:
    """The % pattern that a file name with one %0Nd or a run of # asks for."""
    hashes = re.findall(r"#+", name)
    if len(hashes) == 1 and "%" not in name:
        return name.replace(hashes[0], f"%0{len(hashes[0])}d")
    if len(re.findall(r"%0?\d*d", name)) == 1 and name.count("%") == 1 and not hashes:
        return name
    raise UsageError(
        f"{name}: a PNG sequence needs one place for the frame number, such as shot_%05d.png or shot_####.png"
    )
