"""One black and one white for a whole clip: pictures and files of more than 8 bits."""

from __future__ import annotations

import sys
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tapkit.errors import UsageError, VideoWarning
from tapkit.video import open_video

sys.path.insert(0, str(Path(__file__).parent))
from clips import coded_frame, write_clip

BASE = np.random.default_rng(3).integers(0, 256, (9, 24, 32), dtype=np.uint8)
BASE[:, 0, :2] = 0, 255  # each picture holds black and white


def save(folder: Path, pictures, ending: str = "tif") -> Path:
    folder.mkdir(exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"f{number:03d}.{ending}")
    return folder


def images(source) -> np.ndarray:
    return np.stack([frame.image for frame in source.frames()])


def inferred(where, **options):
    """The source, which must warn once that black and white were inferred."""
    with pytest.warns(
        VideoWarning, match=r"black is taken to be .* white .* from the values of .*--value-range"
    ) as told:
        source = open_video(where, **options)
    assert len(told) == 1
    return source


def quiet(where, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return open_video(where, **options)


@pytest.mark.parametrize("ending", ["tif", "png"])
@pytest.mark.parametrize(("factor", "offset"), [(1, 0), (16, 0), (1, 150), (3, 900)])
def test_a_small_part_of_16_bits_gives_the_pictures_of_8_bits(ending, factor, offset, tmp_path):
    counts = BASE.astype(np.uint16) * factor + offset
    seen = images(inferred(save(tmp_path / "dim", counts, ending)))
    np.testing.assert_array_equal(seen[..., 1], BASE)


def test_16_bits_that_are_used_keep_their_own_range(tmp_path):
    for factor in (257, 128, 70):
        seen = images(quiet(save(tmp_path / "deep", BASE.astype(np.uint16) * factor)))
        expected = np.rint(BASE * (factor / 257))
        assert np.abs(seen[..., 0] - expected).max() <= 1


def test_float_pictures_that_pass_one_do_not_jump(tmp_path):
    gain = np.linspace(0.5, 1.5, 9)[:, None, None]
    seen = images(inferred(save(tmp_path / "hdr", (BASE[:1] / 255 * gain).astype(np.float32))))
    brightness = seen.mean((1, 2, 3))
    assert np.all(np.diff(brightness) > 0) and np.diff(brightness).max() < 2 * np.diff(brightness).min() + 2
    assert np.array_equal(images(quiet(save(tmp_path / "unit", (BASE / 255).astype(np.float32))))[..., 2], BASE)


def test_negative_values_do_not_wrap(tmp_path):
    for kind in (np.int32, np.float32):
        signed = BASE.astype(kind) - 100
        np.testing.assert_array_equal(images(inferred(save(tmp_path / "signed", signed)))[..., 0], BASE)


def test_hot_pixels_do_not_take_the_range(tmp_path):
    counts = np.tile(BASE.astype(np.uint16), (1, 8, 8))
    counts[:, 5, 5] = 60000
    seen = images(inferred(save(tmp_path / "hot", counts)))
    assert np.abs(seen[..., 0].astype(int) - np.tile(BASE, (1, 8, 8)))[counts < 256].max() <= 1
    assert (seen[:, 5, 5] == 255).all()


def test_nan_is_black_and_a_constant_clip_is_no_fault(tmp_path):
    pictures = BASE.astype(np.float32) * 20
    pictures[2, 3, 3] = np.nan
    seen = images(inferred(save(tmp_path / "nan", pictures)))
    assert (seen[2, 3, 3] == 0).all() and np.array_equal(seen[1, ..., 0], BASE[1])
    assert images(inferred(save(tmp_path / "flat", np.full((3, 8, 8), 700, np.uint16)))).shape == (3, 8, 8, 3)


def test_a_long_clip_is_sampled_and_clipped_where_it_goes_beyond(tmp_path, monkeypatch):
    monkeypatch.setattr("tapkit.video.value_range.SCANNED", 1000)
    pictures = np.stack([BASE[0].astype(np.uint16) + 100] * 70)
    pictures[5] += 300  # not among the frames that are looked at
    seen = images(inferred(save(tmp_path / "long", pictures)))
    assert (seen[5] == 255).all() and 15 <= seen[4].min() <= 30 and 230 <= seen[4].max() <= 245


@pytest.mark.parametrize("where", ["{}", "{}/*.tif", "{}/f%03d.tif"])
def test_a_stated_value_range_holds_for_folders_and_patterns(where, tmp_path):
    folder = save(tmp_path / "counts", BASE.astype(np.uint16) + 150)
    seen = images(quiet(where.format(folder), value_range=(150, 405)))
    np.testing.assert_array_equal(seen[..., 0], BASE)
    listed = images(quiet(sorted(folder.iterdir()), value_range=(150, 405)))
    np.testing.assert_array_equal(listed, seen)
    with pytest.raises(UsageError, match=r"no value of the first picture .* they are 150\.\.405"):
        open_video(folder, value_range=(1000, 2000))
    with pytest.raises(UsageError, match="value_range"):
        open_video(folder, value_range=(5, 5))


def test_8_bit_files_take_a_stated_range_too(tmp_path):
    seen = images(quiet(save(tmp_path / "eight", BASE, "png"), value_range=(0, 127.5)))
    np.testing.assert_array_equal(seen[..., 0], np.minimum(BASE.astype(int) * 2, 255))
    clip = write_clip(tmp_path / "clip.mp4", 3, options={"crf": "1"})
    plain, bright = images(quiet(clip)).astype(int), images(quiet(clip, value_range=128)).astype(int)
    assert np.abs(bright - np.minimum(plain * 255 / 128, 255)).max() <= 1


def grey16(path: Path, pictures) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:], "gray16le"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="gray16le")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_video_files_of_16_bits_follow_the_same_rule(tmp_path):
    dim = grey16(tmp_path / "dim.mkv", BASE.astype(np.uint16) * 16)
    source = inferred(dim)
    np.testing.assert_array_equal(images(source)[..., 0], BASE)
    back = [frame.image for frame in source.frames(8, step=-1)][::-1]
    np.testing.assert_array_equal(np.stack(back)[..., 0], BASE)
    np.testing.assert_array_equal(source.read(4).image[..., 0], BASE[4])
    np.testing.assert_array_equal(images(quiet(dim, value_range=4080))[..., 0], BASE)
    full = grey16(tmp_path / "full.mkv", BASE.astype(np.uint16) * 257)
    np.testing.assert_array_equal(images(quiet(full))[..., 0], BASE)


def test_colours_of_16_bits_keep_their_depth(tmp_path):
    rgb = np.stack([BASE[0], BASE[1], BASE[2]], -1)
    for number in range(3):
        with av.open(str(tmp_path / f"c{number}.png"), "w", format="image2") as out:
            stream = out.add_stream("png", rate=25)
            stream.height, stream.width, stream.pix_fmt = 24, 32, "rgb48be"
            out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb.astype(np.uint16) * 4, format="rgb48be")))
            out.mux(stream.encode(None))
    seen = images(inferred(tmp_path / "*.png"))
    np.testing.assert_array_equal(seen[0], rgb)


def test_tracks_of_8_and_of_16_bits_are_the_same(tmp_path):
    from scipy.ndimage import gaussian_filter

    import tapkit

    texture = gaussian_filter(np.random.default_rng(0).normal(size=(140, 170)), 2)
    texture = ((texture - texture.min()) / np.ptp(texture) * 255).round().astype(np.uint8)
    moving = np.stack([texture[10 + t : 106 + t, 20 + 2 * t : 132 + 2 * t] for t in range(8)])
    moving[:, 0, :2] = 0, 255
    eight = save(tmp_path / "eight", moving, "png")
    sixteen = save(tmp_path / "sixteen", moving.astype(np.uint16) * 257, "png")
    dim = save(tmp_path / "dim", moving.astype(np.uint16) + 150, "png")
    points = [(0, 50.5, 50.5), (0, 70.5, 40.5), (0, 90.5, 60.5)]
    known = tapkit.track(str(eight), queries=points, model="lucas-kanade")
    for folder in (sixteen, dim):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VideoWarning)
            found = tapkit.track(str(folder), queries=points, model="lucas-kanade")
        np.testing.assert_array_equal(found.xy, known.xy)
    assert np.abs(known.xy[:, 7] - (known.xy[:, 0] - [14, 7])).max() < 0.5


# -- DPX and EXR ----------------------------------------------------------------------------------


def plates(folder: Path, codec: str, form: str, convert=lambda image: image) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(3):
        with av.open(str(folder / f"plate.{1001 + number}.{codec}"), "w", format="image2") as out:
            stream = out.add_stream(codec, rate=25)
            stream.height, stream.width, stream.pix_fmt = 48, 64, form
            image = convert(coded_frame(number))
            given = "rgb24" if image.dtype == np.uint8 else form
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format=given).reformat(format=form)))
            out.mux(stream.encode(None))
    return folder


def test_dpx_sequences_are_read_with_their_numbers(tmp_path):
    folder = plates(tmp_path / "dpx", "dpx", "gbrp10be")
    for where in (folder, folder / "plate.%04d.dpx", folder / "*.dpx"):
        source = quiet(where)
        assert (source.info.frames, source.info.start_frame) == (3, 1001)
        assert np.abs(source.read(2).image.astype(int) - coded_frame(2)).max() <= 1


def test_exr_is_linear_light_shown_through_the_curve_of_srgb(tmp_path):
    def linear(image):
        level = image.astype(np.float32) / 255
        return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)

    source = quiet(plates(tmp_path / "exr", "exr", "gbrpf32le", linear))
    assert (source.info.frames, source.info.start_frame) == (3, 1001)
    assert np.abs(source.read(2).image.astype(int) - coded_frame(2)).max() <= 1
    darker = quiet(tmp_path / "exr", value_range=(0, 4)).read(2).image
    assert 0.5 < darker.mean() / source.read(2).image.mean() < 0.6  # 4 ** (-1 / 2.4) = 0.56
    depth = plates(tmp_path / "depth", "exr", "gbrpf32le", lambda image: image.astype(np.float32) * 3 + 90)
    assert np.ptp(inferred(depth).read(2).image) == 255
