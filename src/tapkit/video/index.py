"""Which frames a file has, when each is shown, and from where decoding can start.

The container's packets are listed once, without decoding. Frame counts and rates stated in headers are not
trusted. Where the list gives reason for doubt (damage, timestamps that are missing, that repeat, that start over,
or that are other than those of the decoded pictures) the file is decoded once, and what came out is the index:
every picture that the decoder gives is a frame, in the order in which it gives them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from tapkit.errors import VideoError
from tapkit.video.clock import NO_RATE, frame_rate, presentation, stated_rate
from tapkit.video.container import open_stream, several_streams
from tapkit.video.deep import full_range, is_deep
from tapkit.video.orientation import Orientation

PROBED = 4
"""Decoded pictures whose timestamps are compared with the list of packets at opening."""
REORDERED = 32
"""How many places a packet may stand from where its picture is shown: codecs reorder 16 pictures at most."""


GUESSED = "a picture is incomplete, the decoder filled in the rest"


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """The frames of one video stream, in presentation order."""

    pts: np.ndarray
    """[T] int64, ticks of `time_base`, as the pictures carry them: strictly increasing unless `counted`."""
    keys: np.ndarray
    """Frame indices [K] int64, increasing, where decoding can start; the first is 0."""
    time_base: Fraction
    fps: Fraction
    timed: bool = True
    """False: pictures carry no timestamps, `pts` only counts them (and keys is [0])."""
    counted: bool = False
    """Timestamps do not tell pictures apart (missing, repeated or starting over): the n-th decoded one is frame n,
    and where decoding starts at a key frame, which alone has its timestamp, the n-th one after it."""
    shown: np.ndarray | None = None
    """Ticks [T] float64, strictly increasing, at which frames are shown, where that is not `pts`."""
    damage: str | None = None
    """Where and how the file is broken, for the warning."""
    notes: tuple[str, ...] = ()
    """What else there is to say of a file that is not broken."""

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def times(self) -> np.ndarray:
        """Seconds [T] float64."""
        ticks = self.pts if self.shown is None else self.shown
        return ticks * self.time_base.numerator / self.time_base.denominator

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
    deep: bool = False
    """Whether it is grey or RGB with more than 8 bits."""
    full: float | None = 255
    """The greatest value that a channel can hold, None for floats."""


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
    rewound: bool = False
    """Whether decoding timestamps go back somewhere."""

    def identify_frames(self, ordered: list[int]) -> bool:
        """Whether the timestamps (`ordered`: sorted) can be trusted to tell frames apart: there, all different, and
        none far from where its packet stands."""
        if self.doubt or self.untimed or self.rewound or not ordered:
            return False
        ticks = np.array(ordered, np.int64)
        places = np.argsort(np.array(self.pts, np.int64), kind="stable") - np.arange(len(ticks))
        return bool((np.diff(ticks) > 0).all() and np.abs(places).max() <= REORDERED)


def index_file(path: str, stream: int | None = None) -> tuple[FrameIndex, Picture]:
    """The index of a video file, and what its pictures are like.

    Raises VideoError if not a single picture can be decoded.
    """
    container, video = open_stream(path, stream)
    with container:
        packets = _list_packets(container, video)
        time_base, rates = _time_base(video), _stated_rates(video)
        several = several_streams(container, path) if stream is None else None
    head, picture = _decode(path, stream, PROBED)
    listed = sorted(packets.pts)
    if picture is not None and packets.identify_frames(listed) and head == listed[: len(head)]:
        keys = _key_frames(listed, packets.keys)
        ticks = np.array(listed, np.int64)
        fps = frame_rate(ticks, time_base, rates, packets.last_duration)
        notes = () if several is None else (several,)
        return FrameIndex(ticks, np.array(keys, np.int64), time_base, fps, notes=notes), picture
    index, picture = _index_decoded(path, stream, packets, time_base, rates)
    return (index if several is None else replace(index, notes=(several, *index.notes))), picture


def _index_decoded(
    path: str, stream: int | None, packets: _Packets, time_base: Fraction, rates: list[Fraction]
) -> tuple[FrameIndex, Picture]:
    """The index of what really can be decoded, from decoding all of it."""
    failures: list[Failure] = []
    decoded, picture = _decode(path, stream, None, failures)
    if picture is None:
        reason = failures[0].reason if failures else packets.doubt or "it holds no complete picture"
        raise VideoError(f"nothing in {path} can be decoded: {reason}")
    damage = _damage(path, decoded, packets, failures, time_base)
    if any(pts is None for pts in decoded) or len(set(decoded)) == 1 < len(decoded):
        rate, known = stated_rate(rates, time_base)
        ticks = np.arange(len(decoded), dtype=np.int64)
        start, said = np.zeros(1, np.int64), () if known else (f"{path} {NO_RATE}",)
        index = FrameIndex(ticks, start, 1 / rate, rate, timed=False, counted=True, damage=damage, notes=said)
        return index, picture
    ticks = np.array(decoded, np.int64)
    steps = np.diff(ticks)
    if (steps > 0).all():
        # A picture after the damage depends on how decoding got there: always start at the beginning.
        keys = [0] if damage else _key_frames(decoded, packets.keys)
        # The rate is that of the whole clip, frames included that the damage took.
        whole = np.array(sorted({*decoded, *packets.pts}), np.int64) if damage else ticks
        fps = frame_rate(whole, time_base, rates, packets.last_duration)
        return FrameIndex(ticks, np.array(keys, np.int64), time_base, fps, damage=damage), picture
    shown = presentation(ticks)
    fps = frame_rate(shown, time_base, rates, packets.last_duration)
    back = np.flatnonzero(steps < 0) + 1
    keys = [0] if damage or back.size else _lone_keys(ticks, packets.keys)
    notes = (_rewound(path, len(ticks), back),) if back.size else ()
    return FrameIndex(
        ticks, np.array(keys, np.int64), time_base, fps, counted=True, shown=shown, damage=damage, notes=notes
    ), picture


def _rewound(path: str, count: int, back: np.ndarray) -> str:
    """What to say of a file of `count` frames whose timestamps go back at the frames `back`."""
    times = f"{len(back)} times" if len(back) > 1 else "1 time"
    return (
        f"the timestamps of {path} go back {times}, first at frame {back[0]} (as in recordings joined byte by byte): "
        f"all {count} frames are used, in the order in which they come, and times run on from there"
    )


def _damage(
    path: str, decoded: list[Any], packets: _Packets, failures: list[Failure], time_base: Fraction
) -> str | None:
    """Where and how the file is broken, in a sentence; None if it is whole."""
    if not failures and not packets.doubt:
        return None
    why = failures[0].reason if failures else packets.doubt
    known = [pts for pts in decoded if pts is not None]
    lost = [pts for pts in sorted(set(packets.pts) - set(known)) if known and pts > known[0]]
    ordered = len(known) == len(decoded) and all(a < b for a, b in pairwise(known))
    if not ordered:
        frame = min(failures[0].pictures, len(decoded) - 1) if failures else len(decoded) - 1
        return f"{path} is damaged (after frame {frame}): {why}; all {len(decoded)} frames that can be decoded are used"
    at = lost[0] if lost else known[min(failures[0].pictures, len(known) - 1) if failures else -1]
    frame = int(np.searchsorted(known, at)) - bool(lost)
    return (
        f"{path} is damaged at {float(at * time_base):.2f} s (after frame {frame}): {why}; "
        f"all {len(decoded)} frames that can be decoded are used"
    )


def _list_packets(container: InputContainer, video: VideoStream) -> _Packets:
    found = _Packets()
    lengths, codec = _length_bytes(video), video.codec_context.name
    empty, last = 0, None
    try:
        for packet in container.demux(video):
            if packet.size == 0:
                empty += packet.dts is not None
                continue
            if found.doubt is None and (packet.is_corrupt or (lengths and not _units_fit(packet, lengths))):
                found.doubt = "a packet is incomplete"
            if packet.dts is not None:
                found.rewound = found.rewound or (last is not None and packet.dts < last)
                last = packet.dts
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
    path: str, stream: int | None, limit: int | None, failures: list[Failure] | None = None
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
    ratio = Fraction(aspect) if aspect else Fraction(1)
    return Picture(frame.width, frame.height, Orientation.of(frame), ratio, is_deep(frame), full_range(frame))


def _time_base(video: VideoStream) -> Fraction:
    return Fraction(video.time_base) if video.time_base else Fraction(1, 90000)


def _stated_rates(video: VideoStream) -> list[Fraction]:
    """Frame rates that the file or FFmpeg's guess offers; only used where the timestamps agree with them."""
    rates = [Fraction(r) for r in (video.guessed_rate, video.average_rate, video.base_rate) if r]
    coded = video.codec_context.framerate
    # A bare H.264 stream that says more is taken to have 25 by FFmpeg; 600 and 1000 are clocks, not cameras.
    if coded and 240 < coded <= 2000 and coded not in (600, 1000) and rates[:1] == [25]:
        rates.insert(0, Fraction(coded))
    return rates


def _key_frames(pts: list[int], keys: list[int]) -> list[int]:
    """Key frames as frame indices; decoding can always start at the first frame."""
    where = np.searchsorted(pts, sorted(set(keys) & set(pts)))
    return sorted({0, *where.tolist()})


def _lone_keys(ticks: np.ndarray, keys: list[int]) -> list[int]:
    """The key frames whose timestamp no other frame of `ticks` [T] (never falling) has, as frame indices; and 0."""
    left, right = np.searchsorted(ticks, sorted(set(keys)), "left"), np.searchsorted(ticks, sorted(set(keys)), "right")
    return sorted({0, *left[right - left == 1].tolist()})
