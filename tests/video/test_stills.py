"""Pictures in one file: TIFF stacks, animated WebP, DICOM; and names that look like patterns."""

from __future__ import annotations

import sys
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tapkit.errors import MissingExtra, VideoError, VideoWarning
from tapkit.video import open_video

sys.path.insert(0, str(Path(__file__).parent))
from clips import coded_frame, number_of

GREY = np.stack([coded_frame(number)[..., 0] for number in range(12)])


def quiet(where, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error", VideoWarning)
        return open_video(where, **options)


def stack(path: Path, pictures, **tags) -> Path:
    pages = [Image.fromarray(picture) for picture in pictures]
    pages[0].save(path, save_all=True, append_images=pages[1:], **tags)
    return path


def numbers(source) -> list[int]:
    return [number_of(frame.image) for frame in source.frames()]


def all_ways(source, expected) -> None:
    assert numbers(source) == expected and source.info.frames == len(expected)
    back = source.frames(len(expected) - 1, step=-1)
    assert [number_of(frame.image) for frame in back] == expected[::-1]
    order = np.random.default_rng(0).permutation(len(expected))
    assert [number_of(source.read(int(index)).image) for index in order] == [expected[index] for index in order]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_all_pages_of_a_tiff_are_frames_and_its_name_is_no_number(kind, tmp_path):
    factor = 257 if kind == np.uint16 else 1
    source = quiet(stack(tmp_path / "stack16.tif", GREY.astype(kind) * factor))
    all_ways(source, list(range(12)))
    assert source.info.start_frame == 0
    source.close()
    source.close()


def test_a_folder_with_one_stack_in_it_is_that_stack(tmp_path):
    stack(tmp_path / "a.tif", GREY)
    assert quiet(tmp_path).info.frames == 12


def test_a_recording_split_into_stacks_goes_on_in_the_next(tmp_path):
    for number in range(3):
        stack(tmp_path / f"part_{number}.tif", GREY[4 * number : 4 * number + 4])
    all_ways(quiet(tmp_path), list(range(12)))


def test_tiffs_that_pillow_does_not_know_are_read_by_tifffile(tmp_path, monkeypatch):
    tifffile = pytest.importorskip("tifffile")
    for number in range(3):
        tifffile.imwrite(tmp_path / f"h{number}.tif", (GREY[number] / 255).astype(np.float16))
    all_ways(quiet(tmp_path), [0, 1, 2])
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingExtra, match=r"tapkit\[tiff\]"):
        open_video(tmp_path)


def test_another_depth_midway_is_an_error_that_names_the_file(tmp_path):
    for number in range(3):
        kind = np.uint16 if number == 2 else np.uint8
        Image.fromarray(GREY[number].astype(kind)).save(tmp_path / f"f{number}.png")
    with pytest.raises(VideoError, match=r"f2\.png has uint16 values, but the sequence began with uint8"):
        list(open_video(tmp_path).frames())


def test_pages_of_colour_and_thumbnails_between_them(tmp_path):
    colour = [coded_frame(number) for number in range(4)]
    pages = [picture for image in colour for picture in (image, image[::8, ::8])]
    all_ways(quiet(stack(tmp_path / "rgb.tif", pages)), [0, 1, 2, 3])


IMAGEJ = "ImageJ=1.53t\nimages=12\nchannels=2\nslices={z}\nframes={t}\nhyperstack=true\n"


def test_imagej_axes_say_which_pages_are_times(tmp_path):
    path = stack(tmp_path / "hyper.tif", GREY, description=IMAGEJ.format(z=2, t=3) + "finterval=0.5\n")
    with pytest.warns(VideoWarning, match=r"along its time axis \(3 frames\): channel 0 of 2 and slice 0 of 2 only"):
        source = open_video(path)
    all_ways(source, [0, 4, 8])
    assert source.info.fps == 2
    slices = stack(tmp_path / "slices.tif", GREY, description=IMAGEJ.format(z=6, t=1))
    with pytest.warns(VideoWarning, match=r"slice axis \(6 frames\): channel 0 of 2"):
        assert numbers(open_video(slices)) == [0, 2, 4, 6, 8, 10]


def test_ome_axes_say_which_pages_are_times(tmp_path):
    ome = (
        '<OME><Image><Pixels DimensionOrder="XYTCZ" SizeC="2" SizeT="6" SizeX="64" SizeY="48" SizeZ="1"/></Image></OME>'
    )
    with pytest.warns(VideoWarning, match="channel 0 of 2"):
        assert numbers(open_video(stack(tmp_path / "a.ome.tif", GREY, description=ome))) == [0, 1, 2, 3, 4, 5]


def test_a_large_imagej_stack_has_one_entry_for_all_its_pictures(tmp_path, monkeypatch):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "large.tif"
    description = "ImageJ=1.53t\nimages=12\nframes=12\n"
    tifffile.imwrite(path, GREY[:1].astype(">u2") * 257, byteorder=">", description=description, metadata=None)
    with path.open("ab") as file, tifffile.TiffFile(path) as read:
        page = read.pages[0]
        assert page.dataoffsets[0] + GREY[0].size * 2 == path.stat().st_size  # the pictures lie at the end
        file.write((GREY[1:].astype(">u2") * 257).tobytes())
    all_ways(quiet(path), list(range(12)))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingExtra, match=r"12 pictures of which only 1 .*tapkit\[tiff\]"):
        open_video(path)


def test_16_bit_colour_stacks_are_read(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    colour = np.stack([coded_frame(number) for number in range(3)]).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "deep.tif", colour, photometric="rgb")
    source = quiet(tmp_path / "deep.tif")
    all_ways(source, [0, 1, 2])
    np.testing.assert_array_equal(source.read(1).image, coded_frame(1))


def test_an_animated_webp_gives_all_its_pictures_at_their_times(tmp_path):
    pages = [Image.fromarray(coded_frame(number)) for number in range(40)]
    durations = [40] * 20 + [80] * 20
    pages[0].save(tmp_path / "a.webp", save_all=True, append_images=pages[1:], duration=durations, lossless=True)
    source = quiet(tmp_path / "a.webp")
    all_ways(source, list(range(40)))
    assert source.info.time_of(21) == pytest.approx(0.88) and source.info.fps == Fraction(50, 3)
    pages[7].save(tmp_path / "still.webp", lossless=True)
    assert numbers(quiet(tmp_path / "still.webp")) == [7]


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["take [1]", "a*b", "what?", "shot %04d", "100%d"])
def test_a_folder_that_exists_is_that_folder_whatever_its_name(name, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    for number in range(3):
        Image.fromarray(coded_frame(number)).save(folder / f"f{number:03d}.png")
    for where in (folder, folder / "*.png", folder / "f%03d.png", folder / "f[0-9]*.png"):
        assert numbers(quiet(where)) == [0, 1, 2]
    assert numbers(quiet(folder / "f001.png")) == [1]
    with pytest.raises(VideoError, match="there is no file"):
        open_video(folder / "missing.mp4")


def test_folders_can_still_be_searched_for_by_pattern(tmp_path):
    for take in "ab":
        (tmp_path / f"take_{take}").mkdir()
        Image.fromarray(coded_frame(1)).save(tmp_path / f"take_{take}" / "f1.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VideoWarning)
        assert open_video(tmp_path / "take_*" / "*.png").info.frames == 2


# -- DICOM ----------------------------------------------------------------------------------------


def dicom(path: Path, pixels: np.ndarray, **tags) -> Path:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.NumberOfFrames, data.Rows, data.Columns = pixels.shape[:3]
    colour = pixels.ndim == 4
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    data.BitsAllocated = 8 * pixels.dtype.itemsize
    data.BitsStored, data.HighBit = data.BitsAllocated, data.BitsAllocated - 1
    data.PixelRepresentation = 0
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = pixels.tobytes()
    pydicom.dcmwrite(str(path), data)
    return path


def test_a_multi_frame_dicom_is_read_with_its_rate_and_aspect(tmp_path):
    path = dicom(tmp_path / "us.dcm", GREY, FrameTime="40", PixelAspectRatio=["2", "1"])
    source = quiet(path)
    all_ways(source, list(range(12)))
    assert source.info.fps == 25 and float(source.info.pixel_aspect) == 0.5
    colour = np.stack([coded_frame(number) for number in range(5)])
    all_ways(quiet(dicom(tmp_path / "no_ending", colour)), [0, 1, 2, 3, 4])


def test_the_window_of_a_dicom_says_what_is_black_and_white(tmp_path):
    wide = GREY.astype(np.uint16) * 4 + 1000
    window = {"WindowCenter": "1010.5", "WindowWidth": "1021", "RescaleSlope": "1", "RescaleIntercept": "-500"}
    source = quiet(dicom(tmp_path / "w.dcm", wide, **window))
    seen = source.read(5).image[..., 0].astype(int)
    np.testing.assert_array_equal(seen, GREY[5])  # black is at 1000, white at 2020
    inverse = dicom(tmp_path / "i.dcm", GREY, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(quiet(inverse).read(5).image[..., 0], 255 - GREY[5])


def test_without_pydicom_a_dicom_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "us.dcm").write_bytes(bytes(128) + b"DICM" + bytes(300))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingExtra, match=r"is a DICOM file: .*tapkit\[dicom\].* or convert"):
        open_video(tmp_path / "us.dcm")
