"""Arrays, tensors and lists: every common layout and value range, and plain words where it is not clear."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tapkit.errors import ShapeError, UsageError
from tapkit.video import open_video

VIDEO = np.random.default_rng(0).integers(0, 256, (7, 20, 30, 3), dtype=np.uint8)
GREY = VIDEO[..., 0]

SAME = {
    "THWC": VIDEO,
    "TCHW": VIDEO.transpose(0, 3, 1, 2),
    "CTHW": VIDEO.transpose(3, 0, 1, 2),
    "1THWC": VIDEO[None],
    "1TCHW": VIDEO.transpose(0, 3, 1, 2)[None],
    "RGBA": np.concatenate([VIDEO, VIDEO[..., :1]], -1),
    "float 0..1": VIDEO / np.float32(255),
    "float 0..255": VIDEO.astype(np.float64),
    "half": (VIDEO / np.float32(255)).astype(np.float16),
    "int64": VIDEO.astype(np.int64),
    "uint16": VIDEO.astype(np.uint16) * 257,
    "tensor": torch.from_numpy(VIDEO).permute(0, 3, 1, 2)[None].float() / 255,
    "list": list(VIDEO),
    "list of tensors": [torch.from_numpy(f).permute(2, 0, 1) for f in VIDEO],
    "list of PIL": [Image.fromarray(f) for f in VIDEO],
}


@pytest.mark.parametrize("kind", SAME)
def test_every_layout_and_type_gives_the_same_frames(kind):
    source = open_video(SAME[kind], fps="30000/1001", start_frame=101)
    info = source.info
    assert (info.size, info.frames, str(info.fps), info.start_frame) == ((20, 30), 7, "30000/1001", 101)
    for order in (source.frames(), source.frames(6, step=-1)):
        for frame in order:
            assert np.array_equal(frame.image, VIDEO[frame.index])
            assert frame.time == pytest.approx(frame.index * 1001 / 30000)


@pytest.mark.parametrize("grey", [GREY, GREY[..., None], GREY[:, None], GREY / 255, GREY > 127])
def test_grey_videos_become_rgb(grey):
    image = open_video(grey).read(3).image
    expected = GREY[3] if grey.dtype != bool else 255 * (GREY[3] > 127)
    assert all(np.array_equal(image[..., c], expected) for c in range(3))


def test_bfloat16_tensors_are_read():
    image = open_video(torch.from_numpy(VIDEO).bfloat16() / 255).read(2).image
    assert np.abs(image.astype(int) - VIDEO[2]).max() <= 1


def test_frames_are_copies_and_are_resized_like_those_of_a_file():
    video = VIDEO.copy()
    source = open_video(video)
    source.read(0).image[:] = 0
    assert np.array_equal(video, VIDEO)
    small = source.read(1, size=(10, 15)).image.astype(float)
    assert np.abs(small - VIDEO[1].reshape(10, 2, 15, 2, 3).mean((1, 3))).max() <= 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 5, 3, 8, 8), np.uint8), "batch of 2 videos"),
        (np.zeros((6, 3, 20, 3), np.uint8), "THWC or TCHW"),
        (np.zeros((3, 20, 30), np.uint8), "THW or CHW"),
        (np.zeros((5, 20, 30, 2), np.uint8), r"got \[5, 20, 30, 2\]"),
        (np.zeros((0, 20, 30, 3), np.uint8), "no picture"),
        (np.zeros(7, np.uint8), r"got \[7\]"),
        ([], "empty list"),
        ([VIDEO[0], VIDEO[1, :10]], "frame 1 is 30x10"),
        ([VIDEO[0], GREY[1]], "frame 1 has shape"),
    ],
)
def test_unclear_shapes_are_refused_in_words(array, message):
    with pytest.raises(ShapeError, match=message):
        list(open_video(array).frames())


def test_a_stated_layout_settles_it():
    assert open_video(np.zeros((6, 3, 20, 3), np.uint8), layout="TCHW").info.size == (20, 3)
    assert open_video(np.zeros((3, 20, 30), np.uint8), layout="CHW").info.frames == 1
    assert open_video(VIDEO.transpose(1, 2, 0, 3), layout="HWTC").read(4).image.tolist() == VIDEO[4].tolist()
    for wrong in ("TCH", "TTHW", "THWX"):
        with pytest.raises((UsageError, ShapeError), match="layout"):
            open_video(VIDEO, layout=wrong)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 8, 8), np.nan), "not numbers"),
        (np.linspace(-1, 1, 128).reshape(2, 8, 8), r"value_range=\(-1, 1\)"),
        (np.linspace(0, 1.5, 128).reshape(2, 8, 8), "value_range"),
        (np.linspace(0, 900, 128).reshape(2, 8, 8), "value_range=1023"),
        (np.full((2, 8, 8), 4000, np.uint16), "value_range=4095"),
        (np.full((2, 8, 8), 200, np.uint16), "value_range=255"),
    ],
)
def test_unclear_values_are_refused_in_words(array, message):
    with pytest.raises(UsageError, match=message):
        open_video(array)


def test_a_stated_value_range_settles_it():
    signed = np.linspace(-1, 1, 128).reshape(2, 8, 8)
    image = open_video(signed, value_range=(-1, 1)).read(1).image
    assert image[-1, -1, 0] == 255 and abs(int(image[0, 0, 0]) - 128) <= 1
    assert open_video(np.full((2, 8, 8), 4095, np.uint16), value_range=4095).read(0).image.min() == 255
    with pytest.raises(UsageError, match="frame 0 has values"):
        open_video(VIDEO.astype(np.float32), value_range=(0, 1)).read(0)


def test_indices_outside_are_usage_errors():
    with pytest.raises(UsageError, match=r"frame 7 .* 0\.\.6"):
        open_video(VIDEO).read(7)


def test_what_is_no_video_says_so():
    for thing in (None, 3.5, b"clip.mp4", True):
        with pytest.raises(UsageError, match="not a video"):
            open_video(thing)


def test_an_open_source_is_returned_as_it_is():
    source = open_video(VIDEO)
    assert open_video(source) is source
