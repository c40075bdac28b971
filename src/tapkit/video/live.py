"""Videos that come once and in order: iterators, cameras, streams."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from tapkit.coords import Size
from tapkit.errors import UsageError, VideoError, VideoWarning, require
from tapkit.types import VideoInfo
from tapkit.video.base import Frame, Source

PATIENCE = 10.0
"""Seconds without a new frame after which a camera or a stream counts as gone."""


class Arrival(NamedTuple):
    """A picture that has come in, not yet converted."""

    time: float
    """Seconds since the first one."""
    convert: Callable[[Size | None], np.ndarray]
    """size (None: its own) -> RGB [H,W,3] uint8, a new array."""
    size: Size | None = None
    """(height, width) as it came, as shown; None: that of all others."""


def _resizer(image: np.ndarray) -> Callable[[Size | None], np.ndarray]:
    """`Arrival.convert` of an RGB image [H,W,3]."""
    from tapkit.video.resize import resize_array

    return lambda size: resize_array(image, size or (image.shape[0], image.shape[1]))


class LiveSource(Source):
    """Frames in the order in which they come, numbered from 0 as they are delivered."""

    live = True

    def __init__(self, arrivals: Iterator[Arrival], info: Callable[[Size], VideoInfo], name: str) -> None:
        """Wait for the first frame, whose size (height, width) is handed to `info`.

        Raises VideoError if none comes.
        """
        self._arrivals, self._name = arrivals, name
        self._ahead = next(arrivals, None)
        if self._ahead is None:
            raise VideoError(f"{name} gave no frame at all")
        height, width = self._ahead.convert(None).shape[:2]
        self.info = info((height, width))
        self._next = 0
        self._warned = False
        self._closed = False

    @property
    def dropped(self) -> int:
        """Pictures that came while the reader was busy, and were left out."""
        return int(getattr(self._arrivals, "dropped", 0))

    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1, size: Size | None = None
    ) -> Iterator[Frame]:
        """See `Source.frames`. Frames before `start` are passed over; those already delivered are gone (UsageError).

        Without a start it continues where the last iterator ended.
        """
        if step < 1:
            raise UsageError(f"{self._name} is live and can only be read forwards, not with step {step}")
        if 0 < start < self._next:
            raise UsageError(f"{self._name} is live: frame {start} has gone by, the next one is {self._next}")
        return self._deliver(start, stop, step, size)

    def _deliver(self, start: int, stop: int | None, step: int, size: Size | None) -> Iterator[Frame]:
        wanted = max(start, self._next)
        while not self._closed and (stop is None or self._next < stop):
            arrival = self._ahead if self._ahead is not None else next(self._arrivals, None)
            self._ahead = None
            if arrival is None:
                return
            index, self._next = self._next, self._next + 1
            if index == wanted:
                wanted += step
                if arrival.size not in (None, self.info.size):
                    self._resized(index, *arrival.size)
                # A stream that changes its resolution keeps the coordinates it began with.
                yield Frame(index, arrival.time, arrival.convert(size or self.info.size))

    def _resized(self, index: int, height: int, width: int) -> None:
        """A frame of another size: a warning if it only has another resolution, an error if it has another shape."""
        was = self.info
        what = f"frame {index} of {self._name} is {width}x{height}, but it began with {was.width}x{was.height}"
        if abs(was.width * height - was.height * width) > max(was.width, was.height, width, height):
            raise VideoError(f"{what}: open it again to use the new picture")
        if not self._warned:
            self._warned = True
            warnings.warn(f"{what}: it is scaled to that size, as is every further one", VideoWarning, stacklevel=2)

    def peek(self) -> Frame:
        """See `Source.peek`: the frame that comes next, which is not taken. Raises VideoError after the last one."""
        if self._ahead is None and not self._closed:
            self._ahead = next(self._arrivals, None)
        if self._ahead is None:
            raise VideoError(f"{self._name} has no further frame")
        return Frame(self._next, self._ahead.time, self._ahead.convert(self.info.size))

    def close(self) -> None:
        """Release the device or the connection; a second call does nothing."""
        self._closed = True
        self._ahead = None
        close = getattr(self._arrivals, "close", None)
        if close is not None:
            close()


class IteratorSource(LiveSource):
    """A Python iterator or generator of pictures (arrays, tensors, PIL images, `Frame`s)."""

    def __init__(
        self,
        pictures: Iterator[Any],
        *,
        fps: Fraction | None = None,
        pixel_aspect: Fraction | None = None,
        start_frame: int = 0,
        layout: str | None = None,
        value_range: float | tuple[float, float] | None = None,
    ) -> None:
        """Take frames from `pictures` as they are asked for; black and white are settled by the first one."""
        from tapkit.video.array import check_size, picture_reader

        rate = fps or Fraction(25)

        def arrivals() -> Iterator[Arrival]:
            read = None
            for index, picture in enumerate(pictures):
                seconds = picture.time if isinstance(picture, Frame) else float(index / rate)
                plain = picture.image if isinstance(picture, Frame) else picture
                if read is None:
                    read = picture_reader(plain, layout, value_range)
                image = read(plain, index)
                if index:
                    check_size(image, self.info, index)
                yield Arrival(seconds, _resizer(image))

        def info(size: Size) -> VideoInfo:
            return VideoInfo(size[1], size[0], rate, pixel_aspect=pixel_aspect or Fraction(1), start_frame=start_frame)

        super().__init__(arrivals(), info, "the iterator")
        self._pictures = pictures

    def close(self) -> None:
        """Close the generator, if it is one."""
        super().close()
        close = getattr(self._pictures, "close", None)
        if close is not None:
            close()


class Newest:
    """Reads `arrivals` in a thread of its own and hands on only the newest one: who is slow misses frames, and sees
    no old ones. `dropped` counts those missed."""

    def __init__(self, arrivals: Iterator[Arrival], name: str) -> None:
        self._name = name
        self._slot: Arrival | None = None
        self._ended = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, args=(arrivals,), name=f"tapkit {name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Arrival]:
        return self

    def __next__(self) -> Arrival:
        with self._changed:
            if not self._changed.wait_for(lambda: self._slot is not None or self._ended, PATIENCE):
                raise VideoError(f"{self._name} has sent no frame for {PATIENCE:.0f} s")
            if self._slot is None:
                if self._failure is not None:
                    raise self._failure
                raise StopIteration
            arrival, self._slot = self._slot, None
            return arrival

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(PATIENCE)

    def _run(self, arrivals: Iterator[Arrival]) -> None:
        try:
            for arrival in arrivals:
                with self._changed:
                    self.dropped += self._slot is not None
                    self._slot = arrival
                    self._changed.notify()
                if self._stop.is_set():
                    break
        except BaseException as error:  # handed to the reader
            self._failure = error
        finally:
            close = getattr(arrivals, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._ended = True
                self._changed.notify()


def open_live(name: str, *, fps: Fraction | None = None, pixel_aspect: Fraction | None = None) -> LiveSource:
    """A camera ("camera:0", "camera:/dev/video2") or the stream at an address.

    Raises VideoError if it does not answer, MissingExtra for a camera without OpenCV.
    """
    if name.startswith("camera:"):
        return _open_camera(name, fps, pixel_aspect)
    return _open_address(name, fps, pixel_aspect)


def _open_camera(name: str, fps: Fraction | None, pixel_aspect: Fraction | None) -> LiveSource:
    cv2 = require("cv2", "cv")
    which = name.removeprefix("camera:")
    device = cv2.VideoCapture(int(which) if which.isdigit() else which)
    if not device.isOpened():
        device.release()
        raise VideoError(f"there is no camera {which or '(no number given)'}, or another program is using it")
    stated = float(device.get(cv2.CAP_PROP_FPS) or 0)
    rate = fps or (Fraction(stated).limit_denominator(1001) if 1 <= stated <= 1000 else Fraction(30))

    def arrivals() -> Iterator[Arrival]:
        began = None
        try:
            while True:
                came, image = device.read()
                if not came:
                    return
                now = time.monotonic()
                began = now if began is None else began
                rgb = np.ascontiguousarray(image[..., ::-1])
                yield Arrival(now - began, _resizer(rgb), (rgb.shape[0], rgb.shape[1]))
        finally:
            device.release()

    def info(size: Size) -> VideoInfo:
        return VideoInfo(size[1], size[0], rate, pixel_aspect=pixel_aspect or Fraction(1), path=name)

    return LiveSource(Newest(arrivals(), name), info, name)


def _open_address(name: str, fps: Fraction | None, pixel_aspect: Fraction | None) -> LiveSource:
    import av

    from tapkit.video.clock import stated_rate
    from tapkit.video.container import first_video

    try:
        options = {"rtsp_transport": "tcp"} if name.startswith("rtsp") else {}
        container = av.open(name, options=options, metadata_errors="replace", timeout=PATIENCE)
    except (av.FFmpegError, UnicodeDecodeError, ValueError) as error:
        reason = str(getattr(error, "strerror", error)).lower()
        raise VideoError(f"nothing can be read from {name}: {reason}") from error
    video = first_video(container, name)
    video.thread_type = "SLICE"  # frame threads would add a delay of as many frames
    stated = [Fraction(rate) for rate in (video.guessed_rate, video.average_rate) if rate]
    rate = fps or stated_rate(stated, Fraction(video.time_base) if video.time_base else None)[0]
    # What has an end is read at the reader's own speed; what does not end is read as it comes.
    by_itself = name.split(":")[0] in ("rtsp", "rtsps", "rtp", "udp", "srt", "rtmp")
    playlist = container.format.name in ("hls", "dash")  # the size stated is that of the list
    endless = by_itself or (container.duration is None and (playlist or container.size <= 0))
    arrivals: Iterator[Arrival] = _arrivals(container, video, name)

    def info(size: Size) -> VideoInfo:
        aspect = pixel_aspect or Fraction(video.sample_aspect_ratio or 1)
        return VideoInfo(size[1], size[0], rate, pixel_aspect=aspect, path=name)

    return LiveSource(Newest(arrivals, name) if endless else arrivals, info, name)


def _arrivals(container: Any, video: Any, name: str) -> Iterator[Arrival]:
    """Decoded pictures of an open stream; when it breaks off there is one warning, and it ends."""
    from av.video.reformatter import VideoReformatter

    from tapkit.video.index import Failure, decode_on
    from tapkit.video.orientation import Orientation
    from tapkit.video.resize import resize_picture

    reformatter = VideoReformatter()
    first = None
    failures: list[Failure] = []
    count = 0
    with container:
        for picture in decode_on(container, video, failures):
            seconds = picture.time if picture.time is not None else 0.0
            first = seconds if first is None else first
            orientation = Orientation.of(picture)

            def convert(size: Size | None, picture: Any = picture, turn: Orientation = orientation) -> np.ndarray:
                own = (picture.height, picture.width)
                size = size if size is None or not turn.transpose else (size[1], size[0])
                return turn.apply(resize_picture(picture, size or own, reformatter))

            count += 1
            shown = (picture.width, picture.height) if orientation.transpose else (picture.height, picture.width)
            yield Arrival(seconds - first, convert, shown)
    if failures:
        warnings.warn(f"{name} was damaged or broke off: {failures[-1].reason}; {count} frames came", VideoWarning)
