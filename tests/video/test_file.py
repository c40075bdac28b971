"""Video files: every frame once, in order, at its time, in any direction."""

from __future__ import annotations

import random
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from tapkit.errors import UsageError, VideoError, VideoWarning
from tapkit.video import open_video

sys.path.insert(0, str(Path(__file__).parent))
from clips import coded_frame, number_of, write_clip

KINDS = {
    "b_frames.mp4": {"options": {"g": "5", "bf": "3"}},
    "open_gop.mp4": {"options": {"x264-params": "keyint=6:min-keyint=6:open-gop=1:bframes=3:scenecut=0"}},
    "open_gop.ts": {"options": {"x264-params": "keyint=6:min-keyint=6:open-gop=1:bframes=3:scenecut=0"}},
    "all_intra.mp4": {"options": {"g": "1"}},
    "one_group.mkv": {"options": {"g": "999"}},
    "ten_bits.mov": {"pix_fmt": "yuv444p10le", "options": {"g": "7"}},
    "interlaced.mp4": {"options": {"flags": "+ildct+ilme", "x264-params": "tff=1", "g": "8"}},
    "alpha.mkv": {"codec": "ffv1", "pix_fmt": "bgra"},
    "hidden_frames.webm": {"codec": "libvpx", "options": {"g": "9", "auto-alt-ref": "1", "lag-in-frames": "10"}},
    "superframes.webm": {"codec": "libvpx-vp9", "options": {"g": "9", "deadline": "realtime", "lag-in-frames": "16"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "7"}, "time_base": Fraction(1, 30), "pts": range(30)},
    "no_timestamps.h264": {"options": {"g": "7", "bf": "2"}},
    "refresh.ts": {"options": {"x264-params": "intra-refresh=1:keyint=10"}},
}


def numbers(frames):
    return [number_of(frame.image) for frame in frames]


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("plain") / "plain.mp4", 40, options={"g": "12", "bf": "2"})


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_reads_the_same_in_all_directions(name, tmp_path):
    path = write_clip(tmp_path / name, 30, **KINDS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = open_video(path)
        assert source.info.frames == 30
        assert numbers(source.frames()) == list(range(30))
        assert numbers(source.frames(29, step=-1)) == list(range(29, -1, -1))
        assert numbers(source.frames(25, 3, -4)) == list(range(25, 3, -4))
        assert numbers(source.frames(2, None, 7)) == list(range(2, 30, 7))
        order = random.Random(1).sample(range(30), 30)
        assert [number_of(source.read(index).image) for index in order] == order


def test_times_and_rate_are_those_of_the_presentation_timestamps(tmp_path):
    ticks = [0, 20, 40, 100, 120, 400, 420, 440]
    info = open_video(write_clip(tmp_path / "uneven.mp4", 8, pts=ticks)).info
    np.testing.assert_allclose(info.times, np.array(ticks) / 600, atol=1e-9)
    assert info.variable_rate and info.frames == 8
    even = open_video(write_clip(tmp_path / "even.mkv", 30)).info
    assert even.fps == 30 and not even.variable_rate  # although Matroska rounds to 33, 67, 100 ms


def test_frames_before_time_zero_are_cut_as_the_edit_list_says(tmp_path):
    source = open_video(write_clip(tmp_path / "edit.mp4", 30, pts=range(-100, 500, 20), options={"g": "12"}))
    assert source.info.frames == 25
    assert numbers(source.frames()) == list(range(5, 30))
    assert numbers(source.frames(24, step=-1)) == list(range(29, 4, -1))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_metadata_is_applied(degrees, tmp_path):
    path = write_clip(tmp_path / "turned.mp4", 3, rotation=degrees)
    source = open_video(path)
    expected = np.rot90(coded_frame(1), degrees // 90)  # a display rotation turns counter-clockwise
    assert source.info.size == expected.shape[:2]
    assert np.abs(source.read(1).image.astype(int) - expected).mean() < 6
    small = source.read(1, size=(expected.shape[0] // 2, expected.shape[1] // 2)).image
    assert np.abs(small.astype(int) - expected.reshape(small.shape[0], 2, small.shape[1], 2, 3).mean((1, 3))).mean() < 8


def test_a_mirroring_display_matrix_is_applied(tmp_path):
    one = 1 << 16
    path = write_clip(tmp_path / "mirror.mp4", 2, matrix=[-one, 0, 0, 0, one, 0, 0, 0, 1 << 30])
    assert np.abs(open_video(path).read(1).image.astype(int) - coded_frame(1)[:, ::-1]).mean() < 6


def test_pixel_aspect_turns_with_the_picture(tmp_path):
    upright = write_clip(tmp_path / "wide.mp4", 2, aspect=Fraction(4, 3))
    turned = write_clip(tmp_path / "tall.mp4", 2, aspect=Fraction(4, 3), rotation=90)
    assert open_video(upright).info.pixel_aspect == Fraction(4, 3)
    assert open_video(turned).info.pixel_aspect == Fraction(3, 4)
    assert open_video(upright, pixel_aspect="16/15").info.pixel_aspect == Fraction(16, 15)


def test_odd_sizes_keep_every_pixel(tmp_path):
    source = open_video(write_clip(tmp_path / "odd.mp4", 3, size=(49, 63), pix_fmt="yuv444p", options={"crf": "1"}))
    assert source.info.size == (49, 63)
    assert np.abs(source.read(2).image.astype(int) - coded_frame(2, 49, 63)).max() < 25


@pytest.mark.parametrize("size", [(48, 80), (37, 101), (72, 640), (200, 500)])
def test_resizing_while_decoding_keeps_corners_in_place(size, tmp_path):
    # A ramp along x (grey, lossless): pixel i of w must have the value at (i + 0.5) / w of the width.
    wide = np.broadcast_to(((np.arange(320) + 0.5) / 320 * 219 + 16).round().astype(np.uint8), (96, 320))
    path = tmp_path / "ramp.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 320, "yuv420p"
        planes = np.concatenate([wide, np.full((48, 320), 128, np.uint8)])
        out.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        out.mux(stream.encode(None))
    image = open_video(path).read(0, size=size).image.astype(float)
    expected = (np.arange(size[1]) + 0.5) / size[1] * 255
    inner = slice(4, -4)
    error = (image.mean((0, 2)) - expected)[inner]
    # A picture at its own size is converted by the quick way, which rounds down: half a grey level of 255.
    assert -0.6 < error.mean() < 0.15 and np.abs(error - error.mean()).max() < 1.2


@pytest.mark.parametrize(
    "form", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "nv12", "yuv420p10le", "gray", "rgb24", "gbrp", "yuva420p"]
)
@pytest.mark.parametrize("size", [(177, 199), (400, 500), (354, 100)])
def test_a_frame_resized_while_decoding_is_the_full_one_resized(form, size):
    from tapkit.video.resize import resize_array, resize_picture

    image = np.random.default_rng(0).integers(0, 255, (118, 199, 3), dtype=np.uint8).repeat(3, 0).repeat(2, 1)
    picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=form)
    whole = resize_picture(picture, (354, 398), VideoReformatter())
    np.testing.assert_array_equal(resize_picture(picture, size, VideoReformatter()), resize_array(whole, size))


@pytest.mark.parametrize("form", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("width", [*range(48, 66, 2), 854, 1080])
def test_every_column_of_a_resized_picture_is_written(form, width):
    from tapkit.video.resize import resize_array, resize_picture

    rng = np.random.default_rng(0)
    for _ in range(3):  # memory that is reused would hide it
        image = rng.integers(0, 256, (32, width, 3), dtype=np.uint8)
        picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=form)
        whole = resize_picture(picture, (32, width), VideoReformatter())
        small = resize_picture(picture, (16, 24), VideoReformatter())
        np.testing.assert_array_equal(small, resize_array(whole, (16, 24)))


def test_reading_backwards_spills_to_disk_and_decodes_long_groups_in_parts(tmp_path):
    path = write_clip(tmp_path / "long.mp4", 120, options={"g": "999"})
    frame_bytes = 48 * 64 * 3
    for cache, spill in ((10 * frame_bytes, 1 << 30), (3 * frame_bytes, 30 * frame_bytes), (1, 1)):
        source = open_video(path, cache_bytes=cache, spill_bytes=spill)
        first = 119 if cache > 1 else 12
        assert numbers(source.frames(first, step=-1)) == list(range(first, -1, -1))


def test_two_iterators_and_single_reads_do_not_disturb_each_other(plain):
    source = open_video(plain)
    forwards, backwards = source.frames(), source.frames(39, step=-1)
    for count in range(40):
        assert number_of(next(forwards).image) == count
        assert number_of(next(backwards).image) == 39 - count
        assert number_of(source.read((7 * count) % 40).image) == (7 * count) % 40


def test_frames_belong_to_the_caller(plain):
    source = open_video(plain)
    for _ in range(2):
        image = source.read(5).image
        assert number_of(image) == 5
        image[:] = 0


def test_a_stated_rate_overrides_the_files_timing(plain):
    info = open_video(plain, fps=29.97).info
    assert info.fps == Fraction(2997, 100) and info.times is None


def test_indices_outside_the_video_are_usage_errors(plain):
    source = open_video(plain)
    for wrong in (40, -1):
        with pytest.raises(UsageError, match=r"0\.\.39"):
            source.read(wrong)
    with pytest.raises(UsageError, match="step"):
        source.frames(step=0)
    assert list(source.frames(40)) == []


def test_a_closed_source_closes_twice(plain):
    source = open_video(plain)
    source.read(3)
    source.close()
    source.close()


# -- broken files ---------------------------------------------------------------------------------


def broken(path: Path, change) -> Path:
    """A copy of `path` whose bytes `change` has altered."""
    data = change(bytearray(path.read_bytes()))
    copy = path.with_name("broken_" + path.name)
    copy.write_bytes(data)
    return copy


def zeroed(data: bytearray) -> bytearray:
    start, count = len(data) // 2, len(data) // 10
    data[start : start + count] = bytes(count)
    return data


def test_a_file_cut_short_gives_what_is_there_and_one_warning(tmp_path):
    path = write_clip(tmp_path / "cut.mkv", 60, size=(144, 192), options={"g": "12"})
    path = broken(path, lambda data: data[: len(data) * 7 // 10])
    with pytest.warns(VideoWarning, match=r"cut\.mkv is damaged at 1\.\d\d s \(after frame 3\d\)") as caught:  # noqa: PT031
        source = open_video(path)
        count = source.info.frames
        assert 30 <= count < 50
        assert numbers(source.frames()) == list(range(count))
        assert numbers(source.frames(count - 1, step=-1)) == list(range(count - 1, -1, -1))
    assert len(caught) == 1


def test_damage_in_the_middle_loses_only_what_cannot_be_decoded(tmp_path):
    path = broken(write_clip(tmp_path / "hole.mp4", 60, size=(144, 192), options={"g": "12", "bf": "2"}), zeroed)
    with pytest.warns(VideoWarning, match="damaged") as caught:  # noqa: PT031
        source = open_video(path)
        forwards = list(source.frames(size=(72, 96)))
        backwards = list(source.frames(len(forwards) - 1, step=-1, size=(72, 96)))[::-1]
        read = [source.read(index, size=(72, 96)) for index in range(len(forwards))]
    assert len(caught) == 1
    assert 45 <= len(forwards) == source.info.frames < 60
    assert numbers(forwards)[:25] == list(range(25)) and numbers(forwards)[-12:] == list(range(48, 60))
    assert source.info.fps == 30 and source.info.variable_rate  # what is lost shows as a gap in time
    for one, other in ((backwards, forwards), (read, forwards)):
        assert all(np.array_equal(a.image, b.image) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "empty"),
        ("garbage.mp4", bytes(range(256)) * 20, "not a video"),
        ("letter.txt", b"Dear reader,\n" * 50, "no video in it"),
        ("bad.png", b"\x89PNG\r\n\x1a\n" + b"x" * 100, "bad.png"),
    ],
)
def test_what_is_no_video_is_one_clear_error(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(VideoError, match=message) as caught:
        open_video(path)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_missing_files_and_sound_alone_are_clear_errors(tmp_path):
    with pytest.raises(VideoError, match="there is no file"):
        open_video(tmp_path / "missing.mp4")
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44100, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        out.mux(stream.encode(silence))
        out.mux(stream.encode(None))
    with pytest.raises(VideoError, match="no video in it, only audio"):
        open_video(path)
    with pytest.raises(VideoError, match="stream 3"):
        open_video(write_clip(tmp_path / "one.mp4", 2), stream=3)
