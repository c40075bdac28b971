"""Frame numbers are the numbers that vary."""

from __future__ import annotations

import pytest

from tapkit.video.numbers import frame_numbers, numbers_of


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["img8.png", "img9.png", "img10.png"], (8, 9, 10)),
        (["f0003_1080p.png", "f0004_1080p.png"], (3, 4)),
        (["shot2_v012.0101.exr", "shot2_v012.0102.exr"], (101, 102)),
        (["take_0001_a3f9c2.png", "take_0002_bb0017.png", "take_0003_0d44e1.png"], (1, 2, 3)),
        (["a3f9c2_0007.png", "b0017_0008.png", "ee_0009.png"], (7, 8, 9)),
        (["cam1/img0001.jpg", "cam1/img0002.jpg"], (1, 2)),
        (["f_01_t0040.png", "f_02_t0080.png", "f_03_t0120.png"], (1, 2, 3)),
        (["t0040_01.png", "t0080_02.png"], (1, 2)),
        (["01-5.png", "02-9.png", "03-1.png"], (1, 2, 3)),
        (["a.png", "b.png"], None),
        (["shot.0101.png"], (101,)),
        (["0042.png"], (42,)),
        (["000000391895.jpg"], (391895,)),
        (["frame7.png"], (7,)),
        (["f0003_1080p.png"], None),
        (["clip-0001_jpg.rf.7.jpg", "clip-0002_jpg.rf.9.jpg"], (1, 2)),
        (["clip-0007_jpg.rf.9f00e7.jpg"], (7,)),
        ([], None),
    ],
)
def test_the_number_that_varies_is_the_frame(names, expected):
    found = frame_numbers(names)
    assert found.values == expected and (found.note is None or expected is None)


@pytest.mark.parametrize(
    ("names", "first", "note"),
    [
        (["1403636579763555584.png", "1403636579813555712.png", "1403636579863555840.png"], 0, "time stamps"),
        (["sh.1001.png", "sh.1003.png", "sh.1005.png"], 1001, "steps of 2"),
        (["s.1.png", "s.2.png", "s.4.png"], 1, r"not evenly spaced: s\.4\.png follows s\.2\.png"),
        (["a10.png", "a9.png", "a8.png"], 0, "no number in the names counts up"),
        (["a1_11.png", "a2_12.png", "a3_13.png"], 11, "several numbers"),
    ],
)
def test_what_is_unsure_is_said(names, first, note):
    import re

    found = frame_numbers(names)
    assert found.first == first and re.search(note, found.note)


def test_labelled_pictures_are_some_of_the_frames_in_any_order():
    assert numbers_of(["img30_v2.png", "img4_v2.png", "img30_v2.png"]) == ([30, 4, 30], None, None)
    assert numbers_of(["v1_0005.png", "v1_0009.png", "v2_0003.png"]).values is None
    values, note, _ = numbers_of(["a4_15.png", "a9_27.png", "a30_88.png"])
    assert values is not None and "several numbers in the names count up (a4_15.png)" in str(note)
