"""Benchmarks that are folders: tapkit's own, PointOdyssey, Kubric, Dynamic Replica, BADJA; finding and checking."""

import gzip
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from tapkit.datasets import open_dataset
from tapkit.datasets.badja import Badja
from tapkit.datasets.base import Clip
from tapkit.datasets.dynamic_replica import DynamicReplica
from tapkit.datasets.folder import FolderDataset, write_clip
from tapkit.datasets.kubric_folders import KubricFolders
from tapkit.datasets.pointodyssey import PointOdyssey, annotation_blocks, choose_tracks, evaluation_tracks
from tapkit.datasets.tapvid import write_tapvid
from tapkit.errors import ShapeError, StorageError, UsageError, VideoError


def images(folder, count, size=(24, 32), ending="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(np.full((*size, 3), 10 * i, np.uint8)).save(folder / f"{i:05d}.{ending}")


# -- tapkit's own format --------------------------------------------------------------------------


def test_a_clip_that_is_written_is_read_back_exactly(tmp_path, made):
    clip = made.clip()
    write_clip(tmp_path / "set" / "walk", clip)
    made.same(FolderDataset(tmp_path / "set").clip("walk"), clip, 0)


def test_a_single_clip_is_a_benchmark_too(tmp_path, made):
    write_clip(tmp_path / "walk", made.clip())
    assert open_dataset(tmp_path / "walk").names() == ["walk"]


def test_a_clip_written_over_another_leaves_none_of_its_frames(tmp_path, made):
    write_clip(tmp_path / "walk", made.clip(frames=9))
    shorter = made.clip(frames=5)
    write_clip(tmp_path / "walk", shorter)
    made.same(FolderDataset(tmp_path).clip("walk"), shorter, 0)


def test_a_clip_whose_frames_cannot_be_read_leaves_what_was_there(tmp_path, made):
    before = made.clip()
    write_clip(tmp_path / "walk", before)

    def fail():
        raise VideoError("gone")

    clip = made.clip(seed=1)
    with pytest.raises(VideoError, match="gone"):
        write_clip(tmp_path / "walk", Clip("walk", clip.xy, clip.visible, clip.size, fail))
    made.same(FolderDataset(tmp_path).clip("walk"), before, 0)
    assert sorted(p.name for p in (tmp_path / "walk").iterdir()) == ["frames", "tracks.npz"]


def test_frames_are_ordered_by_number(tmp_path):
    folder = tmp_path / "a"
    (folder / "frames").mkdir(parents=True)
    for i in (2, 10, 1):
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(folder / "frames" / f"f{i}.png")
    np.savez(folder / "tracks.npz", xy=np.ones((1, 3, 2)), visible=np.ones((1, 3), bool))
    with FolderDataset(tmp_path).clip("a").open() as source:
        assert [int(f.image[0, 0, 0]) for f in source.frames()] == [1, 2, 10]


FOLDER_DAMAGE = {
    "a frame is missing": (
        lambda f: (f / "frames" / "00003.png").unlink(),
        StorageError,
        "has 5 frames but tracks of 6",
    ),
    "tracks cut short": (lambda f: cut(f / "tracks.npz", 200), StorageError, "damaged"),
    "tracks of pickles": (
        lambda f: np.savez(f / "tracks.npz", xy=np.array([{}], dtype=object), visible=np.ones((1, 6))),
        StorageError,
        "plain arrays",
    ),
    "no visible": (lambda f: np.savez(f / "tracks.npz", xy=np.ones((1, 6, 2))), StorageError, "no array 'visible'"),
    "visible without a position": (
        lambda f: np.savez(f / "tracks.npz", xy=np.full((1, 6, 2), np.nan), visible=np.ones((1, 6), bool)),
        UsageError,
        "visible on frame 0 but has no position",
    ),
    "tracks of another shape": (
        lambda f: np.savez(f / "tracks.npz", xy=np.ones((1, 6, 3)), visible=np.ones((1, 6), bool)),
        ShapeError,
        "xy must be",
    ),
    "another size": (
        lambda f: np.savez(f / "tracks.npz", xy=np.ones((1, 6, 2)), visible=np.ones((1, 6), bool), size=[10, 10]),
        StorageError,
        "says size",
    ),
    "the first image is text": (
        lambda f: (f / "frames" / "00000.png").write_text("no"),
        VideoError,
        "cannot be decoded as an image",
    ),
}


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize("name", FOLDER_DAMAGE)
def test_damage_is_one_sentence_and_found_by_check(tmp_path, made, name):
    damage, error, message = FOLDER_DAMAGE[name]
    write_clip(tmp_path / "good", made.clip("good"))
    write_clip(tmp_path / "bad", made.clip("bad"))
    damage(tmp_path / "bad")
    dataset = FolderDataset(tmp_path)
    with pytest.raises(error, match=message) as raised:
        dataset.clip("bad")
    assert "\n" not in str(raised.value)
    assert {(f.level, f.where) for f in dataset.check()} == {("damaged", "bad"), ("ok", "good")}


def test_a_damaged_last_frame_is_found_by_check(tmp_path, made):
    write_clip(tmp_path / "a", made.clip())
    path = sorted((tmp_path / "a" / "frames").iterdir())[-1]
    cut(path, 60)
    assert [f.level for f in FolderDataset(tmp_path).check()] == ["damaged"]


def test_a_clip_without_any_video_is_missing(tmp_path):
    (tmp_path / "a").mkdir()
    np.savez(tmp_path / "a" / "tracks.npz", xy=np.ones((1, 2, 2)), visible=np.ones((1, 2), bool))
    dataset = FolderDataset(tmp_path)
    assert dataset.names() == []
    assert "neither frames/ nor a video" in dataset.missing()["a"]


def test_the_fingerprint_knows_the_annotation_and_not_the_filler(made):
    clip = made.clip()
    filler = np.where(clip.visible[..., None], clip.xy, 77.0)
    moved = clip.xy + 0.5
    same = Clip(clip.name, filler, clip.visible, clip.size, clip.open)
    other = Clip(clip.name, moved, clip.visible, clip.size, clip.open)
    assert same.fingerprint() == clip.fingerprint() != other.fingerprint()


# -- PointOdyssey ---------------------------------------------------------------------------------


def odyssey_arrays(frames=20, points=60, size=(54, 96), seed=0):
    random = np.random.default_rng(seed)
    start = random.uniform(-5, (size[1] + 5, size[0] + 5), (1, points, 2))
    xy = (start + np.cumsum(random.normal(0, 1, (frames, points, 2)), 0)).astype(np.float16)
    xy[random.random((frames, points)) < 0.01] = np.inf
    state = random.choice([0, 1, 2], (frames, points), p=[0.15, 0.8, 0.05])
    return xy, state


@pytest.fixture
def odyssey(tmp_path):
    xy, state = odyssey_arrays()
    images(tmp_path / "val" / "old" / "rgbs", 20, (54, 96), "jpg")
    images(tmp_path / "val" / "new" / "rgbs", 18, (54, 96), "jpg")
    np.savez_compressed(tmp_path / "val" / "old" / "anno.npz", trajs_2d=xy, visibilities=state.astype(np.float16))
    np.savez_compressed(tmp_path / "val" / "new" / "anno.npz", trajs_2d=xy, visibs=state == 1, valids=state < 2)
    (tmp_path / "val" / "empty" / "rgbs").mkdir(parents=True)
    return tmp_path / "val"


def test_both_versions_of_the_annotation_are_read(odyssey):
    dataset = PointOdyssey(odyssey)
    assert dataset.names() == ["new", "old"]
    assert "anno.npz" in dataset.missing()["empty"]
    xy, state = odyssey_arrays()
    for name, frames in (("old", 20), ("new", 18)):
        expected = evaluation_tracks(
            xy[:frames].swapaxes(0, 1), (state == 1)[:frames].T, (state < 2)[:frames].T, (54, 96)
        )
        clip = dataset.clip(name)
        np.testing.assert_array_equal(clip.xy, expected.xy)
        np.testing.assert_array_equal(clip.valid, expected.valid)
        assert clip.frames == frames  # arrays may be longer than the folder


def test_sequences_that_a_truncated_download_lacks_are_counted(odyssey):
    assert PointOdyssey(odyssey).missing()["12 sequences"] == "3 of 15 are there"


def test_sequences_known_to_be_defective_are_named_by_check(odyssey):
    (odyssey / "old").rename(odyssey / "cab_h_bench_3rd")
    assert ("bad", "cab_h_bench_3rd") in {(f.level, f.where) for f in PointOdyssey(odyssey).check()}


def test_blocks_of_frames_choose_the_same_points_as_the_whole(odyssey):
    path = odyssey / "old" / "anno.npz"
    whole = list(annotation_blocks(path, 20))
    assert len(whole) == 1
    single = [tuple(part[t : t + 1] for part in whole[0]) for t in range(20)]
    one, many = (choose_tracks(lambda b=b: iter(b), (54, 96), 30) for b in (whole, single))
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_truncated_annotation_is_an_error_in_one_sentence(odyssey):
    cut(odyssey / "old" / "anno.npz", 900)
    with pytest.raises(StorageError, match=r"cut short|damaged"):
        PointOdyssey(odyssey).clip("old")


def test_all_points_are_asked_on_frame_zero(odyssey):
    clip = PointOdyssey(odyssey).clip("old")
    assert set(clip.queries[1].tolist()) == {0}
    assert clip.visible[clip.queries[0], 0].all()


# -- Kubric folders -------------------------------------------------------------------------------


@pytest.fixture
def kubric(tmp_path):
    for name in ("0001", "0002"):
        images(tmp_path / name / "frames", 5)
        hidden = np.zeros((3, 5), bool)
        hidden[1, 2:] = True
        np.save(
            tmp_path / name / f"{name}.npy",
            {"coords": np.full((3, 5, 2), 4.0), "visibility": hidden},
            allow_pickle=True,
        )
    return tmp_path


def test_kubric_visibility_is_stored_as_occlusion(kubric):
    clip = KubricFolders(kubric).clip("0001")
    assert clip.visible.tolist() == [[True] * 5, [True, True, False, False, False], [True] * 5]


def test_a_hostile_npy_is_refused(kubric, monkeypatch):
    monkeypatch.chdir(kubric)

    class Command:
        def __reduce__(self):
            import os

            return os.system, ("touch proof",)

    np.save(kubric / "0001" / "0001.npy", np.array({"coords": Command()}, dtype=object), allow_pickle=True)
    with pytest.raises(StorageError, match="refused"):
        KubricFolders(kubric).clip("0001")
    assert not (kubric / "proof").exists()
    assert KubricFolders(kubric).clip("0002").frames == 5


def test_a_plain_npy_is_not_a_kubric_annotation(kubric):
    np.save(kubric / "0001" / "0001.npy", np.zeros(3))
    with pytest.raises(StorageError, match="plain array"):
        KubricFolders(kubric).clip("0001")


# -- Dynamic Replica ------------------------------------------------------------------------------


@pytest.fixture
def replica(tmp_path):
    import torch

    entries = []
    for camera in ("left", "right"):
        for t in (2, 0, 1):
            image, tracks = f"seq/images/{camera}_{t}.png", f"seq/trajectories/{camera}_{t}.pth"
            for path in (image, tracks):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((20, 30, 3), t, np.uint8)).save(tmp_path / image)
            xy = torch.tensor([[3.0 + t, 4.0, 1.0], [29.0 + t, 5.0, 1.0], [6.0, 6.0, 1.0]])
            torch.save({"traj_2d": xy, "verts_inds_vis": torch.tensor([True, True, t > 0])}, tmp_path / tracks)
            entries.append(
                {
                    "sequence_name": "seq",
                    "frame_number": t,
                    "camera_name": camera,
                    "image": {"path": image},
                    "trajectories": {"path": tracks},
                }
            )
    with gzip.open(tmp_path / "frame_annotations_valid.jgz", "wt") as file:
        json.dump(entries, file)
    return tmp_path


def test_frames_of_the_left_camera_are_put_in_order(replica):
    clip = DynamicReplica(replica).clip("seq")
    assert len(clip) == 2  # the third point is hidden on frame 0
    first = int(np.argmin(clip.xy[:, 0, 0]))  # points are in a random order
    assert clip.xy[first, :, 0].tolist() == [3.0, 4.0, 5.0]
    assert clip.visible[1 - first].tolist() == [True, False, False]  # leaves the frame


def test_points_are_drawn_at_random_the_same_ones_every_time(tmp_path):
    import torch

    for folder in ("seq/images", "seq/trajectories"):
        (tmp_path / folder).mkdir(parents=True)
    Image.fromarray(np.zeros((200, 300, 3), np.uint8)).save(tmp_path / "seq/images/0.png")
    rows = torch.arange(1000) % 250
    xy = torch.stack([rows + 0.25, torch.arange(1000) / 10.0], 1)
    torch.save({"traj_2d": xy, "verts_inds_vis": torch.arange(1000) % 2 == 0}, tmp_path / "seq/trajectories/0.pth")
    entry = {"sequence_name": "seq", "frame_number": 0, "camera_name": "left"}
    entry |= {"image": {"path": "seq/images/0.png"}, "trajectories": {"path": "seq/trajectories/0.pth"}}
    with gzip.open(tmp_path / "frame_annotations_test.jgz", "wt") as file:
        json.dump([entry], file)
    drawn = DynamicReplica(tmp_path).clip("seq").xy[:, 0, 1] * 10
    assert len(drawn) == 256 == len(set(drawn.round().tolist()))
    assert (drawn.round() % 2 == 0).all()  # visible on frame 0
    assert 0.4 < (drawn < 500).mean() < 0.6 and (np.diff(drawn) < 0).any()  # from everywhere, in no order
    np.testing.assert_array_equal(DynamicReplica(tmp_path).clip("seq").xy[:, 0, 1] * 10, drawn)
    assert (DynamicReplica(tmp_path, seed=1).clip("seq").xy[:, 0, 1] * 10 != drawn).any()


def test_trajectory_files_that_are_not_tensors_are_refused(replica):
    (replica / "seq/trajectories/left_1.pth").write_bytes(pickle.dumps({"traj_2d": print}))
    with pytest.raises(StorageError, match="trajectory file"):
        DynamicReplica(replica).clip("seq")


def test_a_sequence_that_lacks_files_is_missing(replica):
    (replica / "seq/images/left_1.png").unlink()
    assert DynamicReplica(replica).missing() == {"seq": "lacks 1 of 3 images"}


# -- BADJA ----------------------------------------------------------------------------------------


@pytest.fixture
def badja(tmp_path):
    images(tmp_path / "DAVIS/bear", 7)
    images(tmp_path / "masks/bear", 7)
    entries = [
        {
            "image_path": f"DAVIS/bear/{t:05d}.png",
            "segmentation_path": f"masks/bear/{t:05d}.png",
            "joints": [[5 + t, 10], [6, 11], [7, 12]],
            "visibility": [1, t != 5, 0],
        }
        for t in (1, 5)
    ]
    (tmp_path / "joint_annotations").mkdir()
    (tmp_path / "joint_annotations" / "bear.json").write_text(json.dumps(entries))
    return tmp_path


def test_joints_are_row_and_column_of_pixel_centres(badja):
    clip = Badja(badja).clip("bear")
    assert clip.frames == 5  # from the first annotated frame to the last
    assert clip.xy[0, 0].tolist() == [10.5, 6.5]
    assert clip.queries[0].tolist() == [0]  # the others are not visible later


def test_frames_between_annotations_do_not_count(badja):
    clip = Badja(badja).clip("bear")
    assert clip.counted.any(0).tolist() == [True, False, False, False, True]
    assert clip.mask_area[4] == 24 * 32


# The released layout by hand: 37 joints, of which 20 are annotated; masks in colours, half the size of the picture.


@pytest.fixture
def released(tmp_path):
    def entry(frame, joints):
        rows, seen = [[0, 0]] * 37, [False] * 37
        for joint, place in joints.items():
            rows, seen = [*rows[:joint], place, *rows[joint + 1 :]], [*seen[:joint], True, *seen[joint + 1 :]]
        folder = f"Full-Resolution/bear/{frame:05d}"
        return {
            "image_path": f"DAVIS/JPEGImages/{folder}.jpg",
            "segmentation_path": f"DAVIS/Annotations/{folder}.png",
            "joints": rows,
            "visibility": seen,
        }

    images(tmp_path / "DAVIS/JPEGImages/Full-Resolution/bear", 6, ending="jpg")
    masks = tmp_path / "DAVIS/Annotations/Full-Resolution/bear"
    masks.mkdir(parents=True)
    mask = np.zeros((12, 16), np.uint8)
    mask[:5, :5], mask[8:, 8:] = 1, 2  # two objects: DAVIS paints the first red, the second green
    for frame in (0, 5):
        image = Image.fromarray(mask, "P")
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        image.save(masks / f"{frame:05d}.png")
    shown = {8: [3, 4], 16: [9, 9], 36: [5, 6]}  # 16 is none of the twenty
    entries = [entry(0, shown), entry(5, {8: [4, 5], 9: [7, 8], 16: [9, 9]})]
    (tmp_path / "joint_annotations").mkdir()
    (tmp_path / "joint_annotations" / "bear.json").write_text(json.dumps(entries))
    extra = [{**e, "image_path": e["image_path"].replace("DAVIS", "extra_videos")} for e in entries]
    images(tmp_path / "extra_videos/JPEGImages/Full-Resolution/bear", 6, ending="jpg")
    (tmp_path / "joint_annotations" / "rs_dog.json").write_text(json.dumps(extra))
    return tmp_path


def test_twenty_joints_are_annotated_and_those_visible_later_are_asked_for(released):
    clip = Badja(released).clip("bear")
    assert len(clip) == 20
    assert clip.queries[0].tolist() == [0, 1] and clip.queries[1].tolist() == [0, 0]  # joints 8 and 9
    assert clip.xy[:2, 0].tolist() == [[4.5, 3.5], [0.5, 0.5]]  # joint 9 has no position on the first frame
    assert clip.xy[:2, 5].tolist() == [[5.5, 4.5], [8.5, 7.5]]
    assert clip.visible[:2, [0, 5]].tolist() == [[True, True], [False, True]]
    assert clip.visible[19, 0] and not clip.visible[19, 1:].any()  # joint 36 is never visible again: not asked


def test_the_area_is_that_of_the_red_channel_at_the_size_of_the_picture(released):
    assert Badja(released).clip("bear").mask_area[[0, 5]].tolist() == [100.0, 100.0]  # 5x5 of a mask of half the size


def test_pck_counts_every_joint_that_is_visible_later(released):
    """0.2 sqrt(100) = 2 pixels."""
    from tapkit.metrics.pck import pck

    clip = Badja(released).clip("bear")
    rows = clip.queries[0]
    answer = clip.xy[rows].copy()
    answer[:, 5] += [[2.0, 0.0], [2.1, 0.0]]
    later = clip.counted[rows] & (np.arange(clip.frames) > 0)
    assert pck(clip.xy[rows], clip.visible[rows], answer, clip.mask_area, later) == 0.5


def test_pck_t_is_measured_at_the_size_of_the_published_script(released):
    """24 x 32 to 320 x 512: 2 px are 32 along x and 26.7 along y; 0.2 sqrt(100 * 320 * 512 / (24 * 32)) = 29.2."""
    from tapkit.evaluation.predict import Prediction
    from tapkit.evaluation.score import score_clip

    clip = Badja(released).clip("bear")
    rows, frame = clip.queries
    answer = clip.xy[rows].copy()
    answer[:, 5] += [[2.0, 0.0], [0.0, 2.0]]
    sure = np.ones(answer.shape[:2], np.float32)
    prediction = Prediction(rows, frame, answer, sure, sure, sure > 0, 0.0)
    figures = score_clip(clip, prediction, "first", families=("pck",)).figures
    assert figures["pck/pck_0.2"] == 1.0 and figures["pck/pck_t"] == 0.5


def test_animals_of_other_videos_are_no_part_of_the_benchmark(released):
    dataset = Badja(released)
    assert dataset.names() == ["bear"] and dataset.extra == ["rs_dog"]
    assert dataset.clip("rs_dog").frames == 6
    assert [f.where for f in dataset.check() if "figures of BADJA leave it out" in f.what] == ["rs_dog"]


def test_an_animal_whose_images_are_gone_is_missing(badja):
    (badja / "DAVIS/bear/00005.png").unlink()
    assert "lacks 1 annotated images" in Badja(badja).missing()["bear"]


# -- finding --------------------------------------------------------------------------------------


def test_benchmarks_are_recognised_by_what_lies_in_the_folder(request, tmp_path, made):
    for fixture, kind in (
        ("odyssey", PointOdyssey),
        ("kubric", KubricFolders),
        ("replica", DynamicReplica),
        ("badja", Badja),
    ):
        assert isinstance(open_dataset(request.getfixturevalue(fixture)), kind)
        for path in tmp_path.iterdir():  # all fixtures share tmp_path
            import shutil

            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_tapvid(tmp_path / "tapvid_davis.pkl", [made.clip()])
    assert open_dataset(tmp_path).name == "TAP-Vid DAVIS"
    assert open_dataset(tmp_path / "tapvid_davis.pkl").name == "TAP-Vid DAVIS"
    assert open_dataset("tiny").name == "tapkit tiny"


def test_a_folder_of_something_else_says_what_would_be_known(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(StorageError, match="holds no benchmark"):
        open_dataset(tmp_path)
    with pytest.raises(StorageError, match="does not exist"):
        open_dataset(tmp_path / "nothing")
    (tmp_path / "a.zip").write_text("")
    with pytest.raises(StorageError, match="unpack it"):
        open_dataset(tmp_path / "a.zip")


def test_check_counts_tracks_that_ask_nothing_and_positions_outside(tmp_path, made):
    clip = made.clip()
    visible = clip.visible.copy()
    visible[0] = False
    xy = clip.xy.copy()
    xy[1, 0] = [500, 3]
    write_clip(tmp_path / "a", Clip("a", xy, visible, clip.size, clip.open))
    said = " ".join(f.what for f in FolderDataset(tmp_path).check())
    assert "1 of 4 tracks are never visible" in said
    assert "1 positions are visible but outside" in said
