"""Which frames a file has, when each is shown, and from where decoding can start.

The container's packets are listed once, without decoding. Frame counts and rates stated in headers are not
trusted. Where the list gives reason for doubt (damage, timestamps missing or other than those of the decoded
pictures) the file is decoded once, and what came out is the index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from tapkit.errors import VideoError
from tapkit.video.container import open_stream
from tapkit.video.orientation import Orientation

COMMON_RATES = tuple(Fraction(r) for r in (24, 25, 30, 48, 50, 60, 90, 100, 120, 200, 240, 10, 12, 15, 20)) + tuple(
    Fraction(r * 1000, 1001) for r in (24, 30, 48, 60, 120, 240, 15)
)
PROBED = 4
"""Decoded pictures whose timestamps are compared with the list of packets at opening."""


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """The frames of one video stream, in presentation order."""

    pts: np.ndarray
    """[T] int64, strictly increasing, ticks of `time_base`."""
    keys: np.ndarray
    """Frame indices [K] int64, increasing, where decoding can start; the first is 0."""
    time_base: Fraction
    fps: Fraction
    timed: bool = True
    """False: pictures carry no usable timestamps, the n-th decoded one is frame n (and keys is [0])."""
    damage: str | None = None
    """Where and how the file is broken, for the warning."""

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def times(self) -> np.ndarray:
        """Seconds [T] float64."""
        return self.pts * self.time_base.numerator / self.time_base.denominator

    def key_before(self, index: int, back: int = 0) -> int:
        """The last frame <= `index` where decoding can start, or `back` such frames before that one."""
        return int(self.keys[max(int(np.searchsorted(self.keys, index, side="right")) - 1 - back, 0)])

    def find(self, pts: int) -> int | None:
        """The frame shown at `pts`, None if there is none."""
        index = int(np.searchsorted(self.pts, pts))
        return index if index < len(self.pts) and int(self.pts[index]) == pts else None


@dataclass(frozen=True)
class Picture:
    """What only a decoded picture tells."""

    width: int
    """As stored."""
    height: int
    orientation: Orientation
    pixel_aspect: Fraction
    """As stored (not turned)."""


@dataclass
class _Packets:
    """What the list of packets says."""

    pts: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    untimed: bool = False
    doubt: str | None = None
    last_duration: int = 0


def index_file(path: str, stream: int = 0) -> tuple[FrameIndex, Picture]:
    """The index of a video file, and what its pictures are like.

    Raises VideoError if not a single picture can be decoded.
    """
    container, video = open_stream(path, stream)
    with container:
        packets = _list_packets(container, video)
        time_base, rates = _time_base(video), _stated_rates(video)
    head, picture = _decode(path, stream, PROBED)
    listed = sorted(set(packets.pts))
    if picture is not None and not packets.doubt and not packets.untimed and head == listed[: len(head)]:
        keys = _key_frames(listed, packets.keys)
        ticks = np.array(listed, np.int64)
        fps = frame_rate(ticks, time_base, rates, packets.last_duration)
        return FrameIndex(ticks, np.array(keys, np.int64), time_base, fps), picture
    return _index_decoded(path, stream, packets, time_base, rates)


def _index_decoded(
    path: str, stream: int, packets: _Packets, time_base: Fraction, rates: list[Fraction]
) -> tuple[FrameIndex, Picture]:
    """The index of what really can be decoded, from decoding all of it."""
    failures: list[str] = []
    decoded, picture = _decode(path, stream, None, failures)
    if picture is None:
        reason = failures[0] if failures else packets.doubt or "it holds no complete picture"
        raise VideoError(f"nothing in {path} can be decoded: {reason}")
    timed = all(pts is not None for pts in decoded) and all(a < b for a, b in pairwise(decoded))
    if not timed:
        rate = next((r for r in rates if r <= 240), Fraction(25))
        ticks = np.arange(len(decoded), dtype=np.int64)
        return FrameIndex(ticks, np.zeros(1, np.int64), 1 / rate, rate, timed=False), picture
    missing = sorted(set(packets.pts) - set(decoded))
    damage = None
    if failures or packets.doubt:
        known = [pts for pts in missing if pts > decoded[0]]
        at = known[0] if known else decoded[-1]
        damage = (
            f"{path} is damaged at {float(at * time_base):.2f} s (after frame {np.searchsorted(decoded, at) - 1}): "
            f"{failures[0] if failures else packets.doubt}; all {len(decoded)} frames that can be decoded are used"
        )
    # A picture after the damage depends on how decoding got there: always start at the beginning.
    keys = [0] if damage else _key_frames(decoded, packets.keys)
    # The rate is that of the whole clip, frames included that the damage took.
    fps = frame_rate(np.array(sorted({*decoded, *packets.pts}), np.int64), time_base, rates, packets.last_duration)
    return FrameIndex(np.array(decoded, np.int64), np.array(keys, np.int64), time_base, fps, damage=damage), picture


def _list_packets(container: InputContainer, video: VideoStream) -> _Packets:
    found = _Packets()
    lengths = _length_bytes(video)
    empty = 0
    try:
        for packet in container.demux(video):
            if packet.size == 0:
                empty += packet.dts is not None
                continue
            if found.doubt is None and (packet.is_corrupt or (lengths and not _units_fit(packet, lengths))):
                found.doubt = "a packet is incomplete"
            if packet.is_discard:
                empty += 1
                continue
            if packet.pts is None:
                found.untimed = True
                continue
            found.pts.append(packet.pts)
            if packet.is_keyframe:
                found.keys.append(packet.pts)
            if packet.pts == max(found.pts[-1], found.pts[0]):
                found.last_duration = packet.duration or 0
    except av.FFmpegError as error:
        found.doubt = found.doubt or str(error.strerror).lower()
    if found.doubt is None and "mov" in container.format.name and len(found.pts) + empty < video.frames:
        found.doubt = f"{len(found.pts) + empty} of {video.frames} frames are in the file"
    return found


def _length_bytes(video: VideoStream) -> int:
    """How many bytes state the length of a unit in H.264 and HEVC packets; 0 where nothing does (other codecs)."""
    extra = bytes(video.codec_context.extradata or b"")
    name = video.codec_context.name
    if name == "h264" and len(extra) > 6 and extra[0] == 1:
        return (extra[4] & 3) + 1
    if name == "hevc" and len(extra) > 22 and extra[0] == 1:
        return (extra[21] & 3) + 1
    return 0


def _units_fit(packet: av.Packet[Any], lengths: int) -> bool:
    """Whether the units of an H.264 or HEVC packet (length, bytes, length, bytes, ...) fill it exactly."""
    data = memoryview(packet)
    at, size = 0, len(data)
    while at + lengths <= size:
        at += lengths + int.from_bytes(data[at : at + lengths], "big")
    return at == size


def _decode(
    path: str, stream: int, limit: int | None, failures: list[str] | None = None
) -> tuple[list[Any], Picture | None]:
    """The timestamps of the first `limit` decoded pictures (None: all), and what the first one is like."""
    pts: list[Any] = []
    picture: Picture | None = None
    container, video = open_stream(path, stream)
    with container:
        video.thread_type = "SLICE"  # frame threads would read far ahead, and tell of failures late
        for frame in decode_on(container, video, failures):
            picture = picture or _describe(frame, video)
            pts.append(frame.pts)
            if limit is not None and len(pts) >= limit:
                break
    return pts, picture


def decode_on(
    container: InputContainer, video: VideoStream, failures: list[str] | None = None, from_key: bool = False
) -> Iterator[av.VideoFrame]:
    """Pictures from where the file stands (`from_key`: from the next key frame) to its end.

    What cannot be decoded is left out and noted in `failures`.
    """
    packets = container.demux(video)
    failures = [] if failures is None else failures
    packet: av.Packet[Any] | None
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            failures.append(str(error.strerror).lower())
            packet = None
        if from_key and packet is not None and packet.size:
            if not packet.is_keyframe:
                continue
            from_key = False
        try:
            yield from video.codec_context.decode(packet)
        except EOFError:  # the decoder was already emptied
            return
        except av.FFmpegError as error:
            failures.append(str(error.strerror).lower())
        if packet is None:
            return


def _describe(frame: av.VideoFrame, video: VideoStream) -> Picture:
    aspect = video.sample_aspect_ratio or video.codec_context.sample_aspect_ratio
    return Picture(frame.width, frame.height, Orientation.of(frame), Fraction(aspect) if aspect else Fraction(1))


def _time_base(video: VideoStream) -> Fraction:
    return Fraction(video.time_base) if video.time_base else Fraction(1, 90000)


def _stated_rates(video: VideoStream) -> list[Fraction]:
    """Frame rates that the file or FFmpeg's guess offers; only used where the timestamps agree with them."""
    rates = (video.guessed_rate, video.average_rate, video.base_rate)
    return [Fraction(rate) for rate in rates if rate]


def _key_frames(pts: list[int], keys: list[int]) -> list[int]:
    """Key frames as frame indices; decoding can always start at the first frame."""
    where = np.searchsorted(pts, sorted(set(keys) & set(pts)))
    return sorted({0, *where.tolist()})


def frame_rate(
    pts: np.ndarray, time_base: Fraction, stated: Iterable[Fraction] = (), last_duration: int = 0
) -> Fraction:
    """Frames per second, exact, of frames shown at `pts` [T] (ticks of `time_base`).

    A stated or a common rate is taken if every timestamp agrees with it to within the rounding of one tick
    (Matroska rounds to milliseconds); else it is the average over the clip, the last frame's duration included.

    >>> frame_rate(np.array([0, 33, 67, 100, 133]), Fraction(1, 1000))
    Fraction(30, 1)
    >>> frame_rate(np.array([0, 40, 100]), Fraction(1, 1000), last_duration=50)
    Fraction(20, 1)
    """
    stated = [rate for rate in stated if 0 < rate <= 1000]
    if len(pts) < 2:
        return stated[0] if stated else Fraction(25)
    ticks = (pts - pts[0]).astype(np.float64)
    count = np.arange(len(pts))
    best: tuple[float, Fraction] | None = None
    for rate in [*stated, *COMMON_RATES]:
        error = float(np.ptp(ticks - count * float(1 / (rate * time_base))))
        if error < 1 + 1e-6 and (best is None or error < best[0] - 1e-6):
            best = error, rate
    if best is not None:
        return best[1]
    steps = np.diff(pts)
    typical = int(np.median(steps))
    last = last_duration if 0 < last_duration <= 4 * typical else typical
    return Fraction(len(pts)) / (Fraction(int(pts[-1] - pts[0]) + last) * time_base)
