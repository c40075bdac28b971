"""Parts of a video as videos of their own, and pictures that change their size midway."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

from tapkit.errors import UsageError, VideoError, VideoWarning
from tapkit.video import open_video
from tapkit.video.span import Span, footage_of

sys.path.insert(0, str(Path(__file__).parent))
from clips import coded_frame, number_of, write_clip


def numbers(frames) -> list[int]:
    return [number_of(frame.image) for frame in frames]


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("span") / "clip.mp4", 40, options={"g": "12", "bf": "2"})


SOURCES = {
    "file": lambda clip: str(clip),
    "array": lambda clip: np.stack([coded_frame(number) for number in range(40)]),
    "list": lambda clip: [coded_frame(number) for number in range(40)],
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize(("start", "end", "step"), [(7, None, 1), (None, 9, 1), (5, 30, 4), (3, 1000, 7), (39, 40, 1)])
def test_a_part_reads_like_a_video_of_its_own(kind, start, end, step, clip):
    expected = list(range(40))[start:end:step]
    source = open_video(SOURCES[kind](clip), start=start, end=end, step=step)
    count = len(expected)
    assert source.info.frames == count and source.info.start_frame == (start or 0)
    frames = list(source.frames())
    assert numbers(frames) == expected and [frame.index for frame in frames] == list(range(count))
    assert numbers(source.frames(count - 1, step=-1)) == expected[::-1]
    assert numbers(source.frames(0, None, 2)) == expected[::2]
    assert numbers(source.frames(count - 1, 0, -2)) == expected[: 0 if count > 1 else None : -2] or count == 1
    for index in (0, count - 1, count // 2):
        frame = source.read(index, (24, 32))
        assert (frame.index, number_of(frame.image), frame.image.shape[0]) == (index, expected[index], 24)
    assert number_of(source.peek().image) == expected[0]
    whole = open_video(SOURCES[kind](clip)).info
    assert [frame.time for frame in frames] == pytest.approx([whole.time_of(index) for index in expected])
    assert [source.info.time_of(index) for index in range(count)] == pytest.approx([frame.time for frame in frames])
    assert source.info.fps == whole.fps / step
    for wrong in (count, -1):
        with pytest.raises(UsageError, match=rf"0\.\.{count - 1}"):
            source.read(wrong)


def test_live_sources_are_passed_over_and_thinned_out():
    def endless():
        for number in itertools.count():
            yield coded_frame(number % 256)

    source = open_video(endless(), start=5, step=3)
    assert source.live and source.info.frames is None and source.info.start_frame == 5
    peeked = source.peek()
    assert (peeked.index, number_of(peeked.image)) == (0, 5)
    first = list(itertools.islice(source.frames(), 3))
    assert [frame.index for frame in first] == [0, 1, 2] and numbers(first) == [5, 8, 11]
    following = next(iter(source.frames()))
    assert (following.index, number_of(following.image)) == (3, 14)
    ended = open_video((coded_frame(number) for number in range(30)), start=4, end=9)
    assert numbers(ended.frames()) == [4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"start": 40}, r"start is frame 40, but the video's frames are 0\.\.39"),
        ({"start": -1}, "from 0 on"),
        ({"start": 9, "end": 9}, "no frame from 9 up to, but not including, 9"),
        ({"end": 0}, "no frame"),
        ({"step": 0}, "step must be 1 or more"),
    ],
)
def test_parts_without_a_frame_are_usage_errors(part, message, clip):
    with pytest.raises(UsageError, match=message):
        open_video(clip, **part)


def test_parts_of_parts_and_of_open_sources(clip):
    source = open_video(clip)
    assert open_video(source) is source
    inner = Span(Span(source, 10, 30), 5, None, 2)
    assert numbers(inner.frames()) == list(range(15, 30, 2)) and inner.info.start_frame == 15
    assert numbers(open_video(source, start=38).frames()) == [38, 39]


@pytest.mark.parametrize("part", [{}, {"start": 12}, {"start": 3, "end": 33, "step": 5}, {"end": 7}])
def test_the_footage_of_a_part_is_found_again(part, clip):
    with open_video(clip, **part) as source:
        info, seen = source.info, numbers(source.frames())
    with footage_of(info) as again:
        assert numbers(again.frames()) == seen


# -- pictures that change their size --------------------------------------------------------------


def joined(path: Path, sizes, count: int = 10) -> Path:
    """A raw H.264 stream whose picture size changes every `count` frames."""
    data = b""
    for number, size in enumerate(sizes):
        part = path.with_name(f"part{number}.h264")
        data += write_clip(part, count, size=size, options={"g": "5", "bf": "0"}).read_bytes()
    path.write_bytes(data)
    return path


def test_another_shape_midway_is_an_error_that_names_the_frame(tmp_path):
    path = joined(tmp_path / "turned.h264", [(48, 64), (64, 48)])
    source = open_video(path)
    for read in (lambda: list(source.frames()), lambda: source.read(14), lambda: list(source.frames(19, step=-1))):
        with pytest.raises(VideoError, match=r"frame 1\d of .*turned\.h264 is 48x64, .* began with 64x48.*--end"):
            read()
    with pytest.raises(VideoError, match="frame 10 of"):
        list(source.frames(size=(24, 32)))
    assert numbers(open_video(path, end=10).frames()) == list(range(10))


def test_another_resolution_midway_is_scaled_and_told_of_once(tmp_path):
    source = open_video(joined(tmp_path / "adaptive.h264", [(48, 64), (96, 128), (48, 64)]))
    with pytest.warns(
        VideoWarning, match=r"frame 10 of .* is 128x96, but the video began with 64x48: it is scaled"
    ) as told:
        frames = list(source.frames())
    assert len(told) == 1 and {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert numbers(frames) == list(range(10)) * 3
