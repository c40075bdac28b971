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
from typing import Any, NamedTuple

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


GUESSED = "a picture is incomplete, the decoder filled in the rest"


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


class Failure(NamedTuple):
    """Something that could not be decoded as it should."""

    pictures: int
    """How many pictures came out of the decoder before it was noticed (with some delay)."""
    reason: str


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
    failures: list[Failure] = []
    decoded, picture = _decode(path, stream, None, failures)
    if picture is None:
        reason = failures[0].reason if failures else packets.doubt or "it holds no complete picture"
        raise VideoError(f"nothing in {path} can be decoded: {reason}")
    timed = all(pts is not None for pts in decoded) and all(a < b for a, b in pairwise(decoded))
    if not timed:
        rate = next((r for r in rates if r <= 240), Fraction(25))
        ticks = np.arange(len(decoded), dtype=np.int64)
        return FrameIndex(ticks, np.zeros(1, np.int64), 1 / rate, rate, timed=False), picture
    damage = None
    if failures or packets.doubt:
        lost = [pts for pts in sorted(set(packets.pts) - set(decoded)) if pts > decoded[0]]
        at = lost[0] if lost else decoded[failures[0].pictures if failures else -1]
        frame = int(np.searchsorted(decoded, at)) - bool(lost)
        why = failures[0].reason if failures else packets.doubt
        damage = (
            f"{path} is damaged at {float(at * time_base):.2f} s (after frame {frame}): {why}; "
            f"all {len(decoded)} frames that can be decoded are used"
        )
    # A picture after the damage depends on how decoding got there: always start at the beginning.
    keys = [0] if damage else _key_frames(decoded, packets.keys)
    # The rate is that of the whole clip, frames included that the damage took.
    whole = sorted({*decoded, *packets.pts}) if damage else decoded
    fps = frame_rate(np.array(whole, np.int64), time_base, rates, packets.last_duration)
    return FrameIndex(np.array(decoded, np.int64), np.array(keys, np.int64), time_base, fps, damage=damage), picture


def _list_packets(container: InputContainer, video: VideoStream) -> _Packets:
    found = _Packets()
    lengths, codec = _length_bytes(video), video.codec_context.name
    empty = 0
    try:
        for packet in container.demux(video):
            if packet.size == 0:
                empty += packet.dts is not None
                continue
            if found.doubt is None and (packet.is_corrupt or (lengths and not _units_fit(packet, lengths))):
                found.doubt = "a packet is incomplete"
            if packet.is_discard or not _shown(packet, codec):
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
    found.doubt = found.doubt or _shortfall(container, video, found, empty)
    return found


def _shortfall(container: InputContainer, video: VideoStream, found: _Packets, empty: int) -> str | None:
    """What the header promises and the file does not hold, if it was cut off (`empty`: packets without a picture)."""
    kind = container.format.name
    if "mov" in kind and len(found.pts) + empty < video.frames:
        return f"{len(found.pts) + empty} of {video.frames} frames are in the file"
    if ("matroska" in kind or "flv" in kind) and len(found.pts) > 1:
        hours, minutes, seconds = (float(part) for part in video.metadata.get("DURATION", "0:0:0").split(":"))
        promised = 3600 * hours + 60 * minutes + seconds
        alone = all(stream.type not in ("audio", "subtitle") for stream in container.streams)
        if not promised and alone and container.duration:
            promised = container.duration / 1_000_000
        last = float(max(found.pts) * _time_base(video))
        step = (last - float(min(found.pts) * _time_base(video))) / (len(found.pts) - 1)
        if last + max(4 * step, 0.1) < promised:
            return f"it ends at {last:.2f} s instead of {promised:.2f} s"
    return None


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


def _shown(packet: av.Packet[Any], codec: str) -> bool:
    """Whether a packet brings a picture to show. VP8 and VP9 have some that only serve to predict others.

    Header bits as in RFC 6386, section 9.1 (VP8) and the VP9 bitstream specification, sections 6.2 and B.2.
    """
    if codec.removeprefix("lib") not in ("vp8", "vp9", "vpx", "vpx-vp9"):
        return True
    data = memoryview(packet)
    if "9" not in codec:
        return bool(data[0] & 0x10)
    several = data[-1] & 0xE0 == 0xC0  # the mark of a superframe, which ends in a picture that is shown
    profile_3 = data[0] & 0x30 == 0x30  # it has a reserved bit before the next two flags
    repeats, shows = (0x04, 0x01) if profile_3 else (0x08, 0x02)
    return several or bool(data[0] & (repeats | shows))


def _decode(
    path: str, stream: int, limit: int | None, failures: list[Failure] | None = None
) -> tuple[list[Any], Picture | None]:
    """The timestamps of the first `limit` decoded pictures (None: all), and what the first one is like."""
    pts: list[Any] = []
    picture: Picture | None = None
    container, video = open_stream(path, stream)
    with container:
        video.thread_type = "SLICE"  # frame threads would read far ahead, and tell of failures late
        for frame in decode_on(container, video, failures):
            picture = picture or _describe(frame, video)
            if frame.is_corrupt and failures is not None:
                failures.append(Failure(len(pts), GUESSED))
            pts.append(frame.pts)
            if limit is not None and len(pts) >= limit:
                break
    return pts, picture


def decode_on(
    container: InputContainer, video: VideoStream, failures: list[Failure] | None = None, from_key: bool = False
) -> Iterator[av.VideoFrame]:
    """Pictures from where the file stands (`from_key`: from the next key frame) to its end.

    What cannot be decoded is left out and noted in `failures`.
    """
    packets = container.demux(video)
    failures = [] if failures is None else failures
    count = 0
    packet: av.Packet[Any] | None
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            failures.append(Failure(count, str(error.strerror).lower()))
            packet = None
        if from_key and packet is not None and packet.size:
            if not packet.is_keyframe:
                continue
            from_key = False
        try:
            for frame in video.codec_context.decode(packet):
                count += 1
                yield frame
        except EOFError:  # the decoder was already emptied
            return
        except av.FFmpegError as error:
            failures.append(Failure(count, str(error.strerror).lower()))
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

    A stated or a common rate is taken if every timestamp agrees with it to within one tick up or down
    (Matroska rounds to milliseconds), the best of several; else it is the average over the clip, the last frame's
    duration included.

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
        if error <= 2 and (best is None or error < best[0] - 1e-6):
            best = error, rate
    if best is not None:
        return best[1]
    steps = np.diff(pts)
    typical = int(np.median(steps))
    last = last_duration if 0 < last_duration <= 4 * typical else typical
    return Fraction(len(pts)) / (Fraction(int(pts[-1] - pts[0]) + last) * time_base)
