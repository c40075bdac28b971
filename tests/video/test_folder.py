"""Image sequences: folders, patterns, lists of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tapkit.errors import VideoError, VideoWarning
from tapkit.video import open_video

PICTURES = np.random.default_rng(1).integers(0, 256, (12, 10, 16, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """shot_8.png to shot_19.png, and things that do not belong."""
    for number, picture in enumerate(PICTURES, start=8):
        Image.fromarray(picture).save(tmp_path / f"shot_{number}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("where", ["{}", "{}/*.png", "{}/shot_%d.png", "{}/shot_[0-9]*.png"])
def test_images_come_in_natural_order_with_their_first_number(where, folder):
    source = open_video(where.format(folder), fps=24)
    assert (source.info.frames, source.info.size, source.info.fps, source.info.start_frame) == (12, (10, 16), 24, 8)
    for order in (source.frames(), source.frames(11, step=-1)):
        assert all(np.array_equal(frame.image, PICTURES[frame.index]) for frame in order)
    assert source.read(6).time == 0.25


def test_a_list_of_files_keeps_its_order(folder):
    files = [folder / f"shot_{n}.png" for n in (10, 9, 8)]
    source = open_video(files, start_frame=0)
    assert [frame.image.tolist() for frame in source.frames()] == PICTURES[[2, 1, 0]].tolist()
    with pytest.raises(VideoError, match="there is no file"):
        open_video([*files, folder / "shot_99.png"])


def test_depth_palette_grey_and_orientation_are_understood(tmp_path):
    base = PICTURES[0]
    Image.fromarray(base[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert np.array_equal(open_video([tmp_path / "deep.png"]).read(0).image[..., 1], base[..., 0])
    Image.fromarray(base).convert("RGBA").save(tmp_path / "alpha.png")
    assert np.array_equal(open_video([tmp_path / "alpha.png"]).read(0).image, base)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned 90 degrees clockwise
    Image.fromarray(base).save(tmp_path / "phone.png", exif=turned)
    assert np.array_equal(open_video([tmp_path / "phone.png"]).read(0).image, np.rot90(base, -1))
    Image.fromarray(base).quantize(256).save(tmp_path / "palette.png")
    assert open_video([tmp_path / "palette.png"]).read(0).image.shape == base.shape


def test_one_unreadable_image_shows_the_one_before_and_warns_once(folder):
    for number in (11, 15):
        (folder / f"shot_{number}.png").write_bytes(b"broken")
    with pytest.warns(VideoWarning, match=r"shot_11\.png \(frame 3\)") as caught:  # noqa: PT031
        source = open_video(folder)
        images = [frame.image for frame in source.frames()]
    assert len(caught) == 1 and len(images) == 12
    assert np.array_equal(images[3], PICTURES[2]) and np.array_equal(images[7], PICTURES[6])


def test_missing_numbers_are_told_of(folder):
    (folder / "shot_12.png").unlink()
    with pytest.warns(VideoWarning, match=r"shot_13\.png follows shot_11\.png"):
        assert open_video(folder).info.frames == 11


def test_an_image_of_another_size_is_an_error_that_names_it(folder):
    Image.fromarray(PICTURES[0, :5]).save(folder / "shot_12.png")
    with pytest.raises(VideoError, match=r"shot_12\.png is 16x5"):
        list(open_video(folder).frames())


@pytest.mark.parametrize(
    "name", ["a\0b.mp4", "\ud800.mp4", "n" * 5000, "n" * 300 + "/a.mp4", "f%99999999999d.png", "a\0/*.png", "*" * 5000]
)
def test_what_no_file_can_be_called_is_a_video_error(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for video in (name, Path(name), [name]):
        with pytest.raises(VideoError) as error:
            open_video(video)
        assert str(error.value).encode() and len(str(error.value)) < 400, "it can be printed, and read"


def test_nothing_to_read_is_one_clear_error(tmp_path):
    with pytest.raises(VideoError, match="no images in the folder"):
        open_video(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(VideoError, match=r"only \.txt files"):
        open_video(tmp_path)
    with pytest.raises(VideoError, match="no image matches"):
        open_video(tmp_path / "*.png")
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(VideoError, match="none of the 1 files"), pytest.warns(VideoWarning):
        open_video(tmp_path)
