"""Clocks that repeat, start over or are fast: every decoded frame counts, the same in every direction."""

from __future__ import annotations

import random
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tapkit.errors import VideoError, VideoWarning
from tapkit.video import open_video
from tapkit.video.clock import frame_rate, presentation, stated_rate

sys.path.insert(0, str(Path(__file__).parent))
from clips import number_of, write_clip


def all_ways(source, count: int, expected=None) -> None:
    """Hold that the source gives `count` frames numbered as `expected`, in every direction and by index."""
    expected = list(range(count)) if expected is None else expected
    assert source.info.frames == count
    assert [number_of(frame.image) for frame in source.frames()] == expected
    assert [number_of(f.image) for f in source.frames(count - 1, step=-1)] == expected[::-1]
    order = random.Random(1).sample(range(count), count)
    assert [number_of(source.read(index).image) for index in order] == [expected[index] for index in order]
    times = [source.info.time_of(index) for index in range(count)]
    assert (np.diff(times) > 0).all()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("fast.mkv", {"options": {"g": "40", "bf": "0"}}),
        ("fast_b.mkv", {"options": {"g": "30", "bf": "2"}}),
        ("fast.webm", {"codec": "libvpx-vp9", "options": {"g": "50", "deadline": "realtime"}}),
    ],
)
def test_frames_that_share_a_millisecond_are_all_there(name, kind, tmp_path):
    path = write_clip(tmp_path / name, 200, pts=range(200), time_base=Fraction(1, 1200), rate=1200, **kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = open_video(path)
    all_ways(source, 200)
    assert source.info.fps == 1200 and not source.info.variable_rate


def test_late_frames_on_one_millisecond_of_a_webcam_are_all_there(tmp_path):
    plain = write_clip(tmp_path / "plain.avi", 60, codec="mjpeg", pix_fmt="yuvj420p", pts=range(60),
                       time_base=Fraction(1, 30))  # fmt: skip
    stamps = [round(k * 1000 / 30) for k in range(60)]
    for k in (20, 41, 42):
        stamps[k] = stamps[k - 1]
    path = tmp_path / "late.mkv"
    with av.open(str(plain)) as read, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(read.streams.video[0])
        packets = [packet for packet in read.demux(video=0) if packet.size]
        for packet, stamp in zip(packets, stamps, strict=True):
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 1000), stamp, stamp
            out.mux(packet)
    source = open_video(path)
    all_ways(source, 60)
    assert abs(source.info.fps - 30) < 0.5


@pytest.mark.parametrize("ending", [".mpg", ".ts", ".flv"])
def test_a_clock_that_starts_over_loses_nothing_and_is_told_of(ending, tmp_path):
    kind = {"codec": "flv1" if ending == ".flv" else "mpeg2video", "rate": 25, "time_base": Fraction(1, 25)}
    path = write_clip(tmp_path / f"one{ending}", 40, pts=range(40), options={"g": "10", "bf": "0"}, **kind)
    both = tmp_path / f"both{ending}"
    second = path.read_bytes()
    both.write_bytes(path.read_bytes() + (second[13:] if ending == ".flv" else second))
    with pytest.warns(VideoWarning, match=r"go back 1 time, first at frame \d+"):
        source = open_video(both)
    count = source.info.frames
    seen = [number_of(frame.image) for frame in source.frames()]
    assert count >= 79 and seen[:40] == list(range(40)) and seen[-39:] == list(range(1, 40))
    all_ways(source, count, seen)
    assert source.info.fps == 25


@pytest.mark.parametrize("rate", [300, 480, 1000])
def test_rates_above_240_are_believed_when_the_frames_bear_them_out(rate, tmp_path):
    clip = write_clip(tmp_path / "fast.mp4", 30, rate=rate, pts=range(30), time_base=Fraction(1, rate))
    assert open_video(clip).info.fps == rate
    if rate == 1000:  # in a file without times, that is more likely to be the resolution of a clock
        return
    raw = write_clip(tmp_path / "fast.h264", 30, rate=rate, pts=range(30), time_base=Fraction(1, rate))
    assert open_video(raw).info.fps == rate


def test_a_wrong_stated_rate_is_computed_from_the_times():
    ticks = np.array([0, 33, 66, 100, 133, 166, 200]) * 3
    assert frame_rate(ticks, Fraction(1, 1000), [Fraction(1000), Fraction(25)]) == 10
    assert stated_rate([Fraction(1000)], Fraction(1, 1000)) == (Fraction(25), False)


def test_times_never_stand_still():
    assert presentation(np.array([5, 5, 5])).tolist() == [5, pytest.approx(5 + 1 / 3), pytest.approx(5 + 2 / 3)]
    assert presentation(np.array([0, 2, 4, 1, 3])).tolist() == [0, 2, 4, 6, 8]


# -- which stream, which file ---------------------------------------------------------------------


def two_streams(path: Path, default: int | None) -> Path:
    """A file with two video streams, whose pictures are numbered from 0 and from 100."""
    from clips import coded_frame

    with av.open(str(path), "w") as out:
        streams = [out.add_stream("libx264", rate=25) for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
            stream.disposition = type(stream.disposition).default if number == default else type(stream.disposition)(0)
        for k in range(6):
            for number, stream in enumerate(streams):
                picture = av.VideoFrame.from_ndarray(coded_frame(100 * number + k), format="rgb24")
                out.mux(stream.encode(picture.reformat(format="yuv420p")))
        for stream in streams:
            out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("default", "first"), [(1, 100), (0, 0)])
def test_the_default_stream_is_read_and_the_others_are_told_of(default, first, tmp_path):
    path = two_streams(tmp_path / "two.mkv", default)
    with pytest.warns(VideoWarning, match=rf"2 video streams .*stream {default} is read.*--stream"):
        source = open_video(path)
    assert [number_of(frame.image) for frame in source.frames()] == list(range(first, first + 6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert number_of(open_video(path, stream=1).read(2).image) == 102
        assert number_of(open_video(path, stream=0).read(2).image) == 2
    with pytest.raises(VideoError, match="2 video streams, there is no stream 2"):
        open_video(path, stream=2)


def test_the_streams_of_one_file_are_not_the_same_footage(tmp_path):
    """What an interrupted run of one stream left must not be continued with another."""
    path = two_streams(tmp_path / "two.mkv", 0)
    first, second, again = (open_video(path, stream=number).identity() for number in (0, 1, 0))
    assert first != second and first == again
    assert {**first, "stream": 1} == second, "all else is the same: it is one file"
    part = [open_video(path, stream=number, start=1).identity() for number in (0, 1)]
    assert part[0] != part[1]


def test_an_mp4_without_its_index_says_that_the_recording_was_never_finished(tmp_path):
    data = write_clip(tmp_path / "whole.mp4", 20).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: data.index(b"moov") - 4])
    with pytest.raises(VideoError, match=r"never finished.*moov.*repair"):
        open_video(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(200), "an archive"),
        (b"\x93NUMPY" + bytes(200), "numpy.load"),
        (bytes(5000), "incomplete"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!doctype html><p>404", "web page"),
        (b"root:x:0:0:root:/root\n" * 40, "a text file"),
        (bytes(range(250, 1, -1)) * 20, "convert it"),
    ],
)
def test_what_is_no_video_says_what_it_is_and_what_to_do(content, message, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=message) as caught:
        open_video(path)
    assert "\n" not in str(caught.value)


def test_a_lone_segment_says_so(tmp_path):
    options = {"movflags": "+frag_keyframe+empty_moov+default_base_moof"}
    whole = tmp_path / "whole.mp4"
    with av.open(str(whole), "w", options=options) as out:
        stream = out.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for _ in range(8):
            out.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        out.mux(stream.encode(None))
    data = whole.read_bytes()
    (tmp_path / "segment.mp4").write_bytes(data[data.index(b"moof") - 4 :])
    with pytest.raises(VideoError, match="segment of a stream whose first segment"):
        open_video(tmp_path / "segment.mp4")


def test_devices_pipes_and_locked_files_are_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(VideoError, match="is a device"):
        open_video("/dev/zero")
    if hasattr(__import__("os"), "mkfifo"):
        import os

        os.mkfifo(tmp_path / "pipe.mp4")
        with pytest.raises(VideoError, match="is a pipe"):
            open_video(tmp_path / "pipe.mp4")
    locked = write_clip(tmp_path / "locked.mp4", 2)

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(VideoError, match="may not be read by this user"):
        open_video(locked)
