"""TAP-Vid pickles and CSV labels: read as released, written so that others can read them."""

import csv
import io
import pickle
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from tapkit.datasets.csv_tracks import ChosenFrames, CsvTracks
from tapkit.datasets.frames import ArrayFrames
from tapkit.datasets.tapvid import TapVidPickles, write_tapvid
from tapkit.errors import StorageError, UsageError, VideoError
from tapkit.types import VideoInfo


def released(made, clip):
    """A clip as the official pickles hold it."""
    height, width = clip.size
    return {
        "video": made.pixels(clip),
        "points": (clip.xy / np.array([width, height])).astype(np.float32),
        "occluded": ~clip.visible,
    }


def jpegs(video):
    out = []
    for image in video:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        out.append(buffer.getvalue())
    return out


@pytest.fixture
def clips(made):
    return [made.clip(name, seed=i) for i, name in enumerate(["one", "two"])]


def test_a_dict_of_clips_is_read_by_name(made, tmp_path, clips):
    path = tmp_path / "tapvid_davis.pkl"
    path.write_bytes(pickle.dumps({clip.name: released(made, clip) for clip in clips}))
    dataset = TapVidPickles([path])
    assert dataset.names() == ["one", "two"]
    made.same(dataset.clip("two"), clips[1])


def test_a_list_of_clips_is_read_by_number(made, tmp_path, clips):
    path = tmp_path / "tapvid_rgb_stacking.pkl"
    path.write_bytes(pickle.dumps([released(made, clip) for clip in clips]))
    dataset = TapVidPickles([path])
    assert dataset.names() == ["0000", "0001"]
    made.same(dataset.clip("0001"), clips[1])


@pytest.mark.parametrize("array", [True, False])
def test_frames_may_be_encoded_images(made, tmp_path, clips, array):
    entry = released(made, clips[0])
    images = jpegs(entry["video"])
    entry["video"] = np.array(images, dtype=object) if array else images
    path = tmp_path / "0000_of_0010.pkl"
    path.write_bytes(pickle.dumps([entry]))
    made.same(TapVidPickles([path]).clip("0000"), clips[0])


def test_several_files_are_one_set_and_equal_names_stay_apart(made, tmp_path, clips):
    paths = []
    for number in range(2):
        paths.append(tmp_path / f"robotap_split{number}.pkl")
        paths[-1].write_bytes(pickle.dumps({"same": released(made, clips[number])}))
    dataset = TapVidPickles(paths)
    assert dataset.names() == ["same", "same (robotap_split1)"]
    made.same(dataset.clip("same (robotap_split1)"), clips[1])


def test_lists_in_several_files_are_named_after_their_file(made, tmp_path, clips):
    paths = []
    for number in range(2):
        paths.append(tmp_path / f"000{number}_of_0010.pkl")
        paths[-1].write_bytes(pickle.dumps([released(made, clips[number])]))
    assert TapVidPickles(paths).names() == ["0000_of_0010-0000", "0001_of_0010-0000"]


@pytest.mark.parametrize("named", [True, False])
def test_what_is_written_is_read_back_and_by_plain_pickle_too(made, tmp_path, clips, named):
    path = tmp_path / "out.pkl"
    assert write_tapvid(path, iter(clips), named) == 2
    content = pickle.loads(path.read_bytes())
    entry = content["two"] if named else content[1]
    assert (entry["video"].dtype, entry["points"].dtype, entry["occluded"].dtype) == (np.uint8, np.float32, bool)
    np.testing.assert_array_equal(entry["video"], made.pixels(clips[1]))
    made.same(TapVidPickles([path]).clip("two" if named else "0001"), clips[1])


def test_unknown_positions_are_written_as_numbers(made, tmp_path):
    clip = made.clip()
    xy = np.where(clip.visible[..., None], clip.xy, np.nan)
    gaps = type(clip)(clip.name, xy, clip.visible, clip.size, clip.open)
    write_tapvid(tmp_path / "a.pkl", [gaps])
    assert np.isfinite(pickle.loads((tmp_path / "a.pkl").read_bytes())["walk"]["points"]).all()


DAMAGED = {
    "no points": ({"video": np.zeros((2, 4, 4, 3), np.uint8), "occluded": np.zeros((1, 2), bool)}, "has no points"),
    "too few frames": (
        {"video": np.zeros((2, 4, 4, 3), np.uint8), "points": np.zeros((1, 3, 2)), "occluded": np.zeros((1, 3), bool)},
        "2 frames but tracks of 3",
    ),
    "points of another shape": (
        {"video": np.zeros((2, 4, 4, 3), np.uint8), "points": np.zeros((1, 2, 3)), "occluded": np.zeros((1, 2), bool)},
        r"expected \[N,T,2\]",
    ),
    "video of floats": (
        {"video": np.zeros((2, 4, 4, 3)), "points": np.zeros((1, 2, 2)), "occluded": np.zeros((1, 2), bool)},
        r"is float64 frames \[2, 4, 4, 3\], neither uint8",
    ),
    "video as a list of arrays": (
        {
            "video": [np.zeros((4, 4, 3), np.uint8)] * 2,
            "points": np.zeros((1, 2, 2)),
            "occluded": np.zeros((1, 2), bool),
        },
        "is a list of 2 arrays",
    ),
    "frames before points": (
        {"video": np.zeros((2, 4, 4, 3), np.uint8), "points": np.zeros((2, 3, 2)), "occluded": np.zeros((2, 3), bool)},
        r"look like \[T,N,2\]; wanted \[N,T,2\]",
    ),
    "points in pixels": (
        {
            "video": np.zeros((2, 4, 4, 3), np.uint8),
            "points": np.full((1, 2, 2), 3),
            "occluded": np.zeros((1, 2), bool),
        },
        r"in pixels \(up to 3\); wanted 0\.\.1",
    ),
    "not a dict": ([1, 2], "has no video"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_clip_is_named_and_the_others_stay_readable(made, tmp_path, clips, name):
    entry, message = DAMAGED[name]
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"bad": entry, "good": released(made, clips[0])}))
    dataset = TapVidPickles([path])
    with pytest.raises(StorageError, match=message):
        dataset.clip("bad")
    made.same(dataset.clip("good"), clips[0])


def test_a_file_that_is_a_clip_itself_says_so(made, tmp_path, clips):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(released(made, clips[0])))
    with pytest.raises(StorageError, match="one clip, not a table of clips"):
        TapVidPickles([tmp_path / "a.pkl"]).names()


def test_an_unknown_clip_is_a_usage_error_that_lists_some(made, tmp_path, clips):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"one": released(made, clips[0])}))
    with pytest.raises(UsageError, match="it has 1: one"):
        TapVidPickles([path]).clip("three")


def test_a_large_pickle_costs_no_memory(tmp_path, made):
    import tracemalloc

    big = made.clip("big", frames=60, size=(360, 480))
    write_tapvid(tmp_path / "a.pkl", [big])
    assert (tmp_path / "a.pkl").stat().st_size > 30e6
    tracemalloc.start()
    clip = TapVidPickles([tmp_path / "a.pkl"]).clip("big")
    with clip.open() as source:
        source.read(40)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3e6  # a frame is half a megabyte


# -- CSV ------------------------------------------------------------------------------------------


def write_video(path, images, fps):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = images[0].shape[1], images[0].shape[0], "yuv444p"
        for image in images:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def grey_ramp(frames, size=(32, 48)):
    """Frames whose grey level says their number."""
    return [np.full((*size, 3), 4 * i + 8, np.uint8) for i in range(frames)]


def label(head, frames, x=0.25, y=0.5):
    return [*head, *[value for t in range(frames) for value in (x, y, t % 2)]]


@pytest.fixture
def kinetics(tmp_path):
    with open(tmp_path / "tapvid_kinetics.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(label(["abc", 3, 13], 20))
        writer.writerow(label(["gone", 0, 10], 20))
        writer.writerow(label(["abc", 3, 13], 20, x=0.75))
    (tmp_path / "val").mkdir()
    write_video(tmp_path / "val" / "abc_000003_000013.mp4", grey_ramp(15), 50)
    return tmp_path


def test_rows_of_one_clip_belong_together_and_missing_videos_are_named(kinetics):
    dataset = CsvTracks(kinetics / "tapvid_kinetics.csv")
    assert dataset.names() == ["abc_000003_000013"]
    assert list(dataset.missing()) == ["gone_000000_000010"]
    assert len(dataset.clip("abc_000003_000013")) == 2
    with pytest.raises(VideoError, match="no video"):
        dataset.clip("gone_000000_000010")


def test_videos_are_taken_at_25_frames_a_second_and_tracks_cut_to_them(made, kinetics):
    clip = CsvTracks(kinetics / "tapvid_kinetics.csv").clip("abc_000003_000013")
    assert clip.frames == 8  # 15 frames at 50 per second
    levels = made.pixels(clip)[:, 10, 10, 0].astype(int)
    assert np.abs(levels - [8 * (2 * i) // 2 + 8 for i in range(8)]).max() <= 4 + 1


def test_the_official_half_pixel_can_be_kept_or_left_out(kinetics):
    official = CsvTracks(kinetics / "tapvid_kinetics.csv").clip("abc_000003_000013")
    exact = CsvTracks(kinetics / "tapvid_kinetics.csv", half_pixel=False).clip("abc_000003_000013")
    np.testing.assert_allclose(exact.xy[0, 0], [12.0, 16.0])
    np.testing.assert_allclose(official.xy[0, 0], [11.5, 15.5])


def test_visibility_is_the_inverse_of_the_third_column(kinetics):
    clip = CsvTracks(kinetics / "tapvid_kinetics.csv").clip("abc_000003_000013")
    assert clip.visible[0].tolist() == [t % 2 == 0 for t in range(8)]


def test_long_clips_of_other_sets_are_cut_into_nearly_equal_parts(tmp_path):
    with open(tmp_path / "robotap.csv", "w", newline="") as file:
        csv.writer(file).writerow(label(["long"], 2500))
    write_video(tmp_path / "long.mp4", [np.zeros((16, 16, 3), np.uint8)] * 2400, 25)
    dataset = CsvTracks(tmp_path / "robotap.csv", kinetics=False)
    assert dataset.names() == ["long#0", "long#1", "long#2"]
    assert [dataset.clip(name).frames for name in dataset.names()] == [833, 833, 734]


@pytest.mark.parametrize("fields", [13, 711])
def test_the_old_kinetics_layout_is_recognised_as_such(tmp_path, fields):
    (tmp_path / "a.csv").write_text("abc,0,10," + ",".join(["0.5"] * (fields - 3)) + "\n")
    with pytest.raises(StorageError, match="before 16 December 2022"):
        CsvTracks(tmp_path / "a.csv").names()


def test_words_among_the_numbers_are_an_error_that_names_the_clip(kinetics):
    path = kinetics / "tapvid_kinetics.csv"
    path.write_text(path.read_text().replace("0.25", "left", 1))
    with pytest.raises(StorageError, match="abc_000003_000013"):
        CsvTracks(path).clip("abc_000003_000013")


def test_chosen_frames_repeat_and_read_backwards():
    video = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    source = ChosenFrames(ArrayFrames(video, VideoInfo(2, 2, frames=6)), np.array([0, 2, 2, 5]), None)
    assert [int(f.image[0, 0, 0]) for f in source.frames()] == [0, 2, 2, 5]
    assert [(f.index, int(f.image[0, 0, 0])) for f in source.frames(3, None, -1)] == [(3, 5), (2, 2), (1, 2), (0, 0)]
    assert int(source.read(1).image[0, 0, 0]) == 2
