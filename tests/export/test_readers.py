"""Readers account for everything in a file: which animal, video, camera or scorer a position is of, and what is left
out. The files are small ones as the programs write them."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from example_clip import three_tracks
from typer.testing import CliRunner

from tapkit.errors import StorageError, UsageError
from tapkit.export import ExportWarning, ReadWarning
from tapkit.types import Tracks, VideoInfo

SMALL = VideoInfo(200, 100)


@pytest.fixture(autouse=True)
def _nothing_is_said_unless_a_test_expects_it() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReadWarning)
        yield


def frames_of(tracks: Tracks, point: int = 0) -> list[int]:
    return np.flatnonzero(tracks.valid[point]).tolist()


# -- COCO ---------------------------------------------------------------------------------------------


def coco(path: Path, images: list[dict], annotations: list[dict], **more: object) -> Path:
    facts = [{"id": n, "width": 200, "height": 100, **image} for n, image in enumerate(images, 1)]
    labels = [{"id": n, "category_id": 1, **annotation} for n, annotation in enumerate(annotations, 1)]
    categories = [{"id": 1, "name": "fish", "keypoints": ["head", "tail"]}]
    path.write_text(json.dumps({"images": facts, "annotations": labels, "categories": categories, **more}))
    return path


def fish(image: int, x: float, **more: object) -> dict:
    return {"image_id": image, "keypoints": [x, 10, 2, x + 5, 12, 1], **more}


THREE = [{"file_name": f"f{n:03d}.png"} for n in range(3)]


def test_coco_animals_are_told_apart_by_their_track(tmp_path: Path) -> None:
    both = [fish(n, x, track_id=t) for n in (1, 2, 3) for t, x in ((7, 20 + n), (9, 120 + n))]
    path = coco(tmp_path / "a.json", THREE, both)
    tracks = Tracks.read(path, "coco")
    assert tracks.ids.tolist() == ["7.head", "7.tail", "9.head", "9.tail"]
    assert tracks.xy[:, 0].tolist() == [[21.5, 10.5], [26.5, 12.5], [121.5, 10.5], [126.5, 12.5]]
    assert tracks.visible_at()[:, 0].tolist() == [True, False, True, False]
    one = Tracks.read(path, "coco", animal="9")
    assert one.ids.tolist() == ["head", "tail"] and one.xy[0, 0].tolist() == [121.5, 10.5]
    with pytest.raises(UsageError, match=r"a\.json has no animal called '8'; it has 7, 9"):
        Tracks.read(path, "coco", animal="8")
    inner = coco(tmp_path / "b.json", THREE, [fish(1, 20, attributes={"track_id": 1}), fish(1, 50, individual="b")])
    assert Tracks.read(inner, "coco").ids.tolist() == ["1.head", "1.tail", "b.head", "b.tail"]


def test_coco_animals_without_a_track_are_refused(tmp_path: Path) -> None:
    path = coco(tmp_path / "a.json", THREE, [fish(1, 20), fish(1, 120)])
    with pytest.raises(UsageError, match="has 2 animals on image 1, and no track_id"):
        Tracks.read(path, "coco")
    path = coco(tmp_path / "a.json", THREE, [fish(1, 20, track_id=3), fish(1, 120, track_id=3)])
    with pytest.raises(StorageError, match=r"two positions for the point 'head' on frame 0"):
        Tracks.read(path, "coco")
    path = coco(tmp_path / "a.json", THREE, [fish(1, 20, track_id=3), fish(1, 20, track_id=3)])
    assert Tracks.read(path, "coco").valid.sum() == 2, "the same position twice is one"


def test_coco_videos_are_told_apart(tmp_path: Path) -> None:
    images = [{"file_name": f"{video}/f{n:03d}.png"} for video in "ab" for n in range(2)]
    path = coco(tmp_path / "a.json", images, [fish(n, 10 * n) for n in (1, 2, 3, 4)])
    with pytest.raises(UsageError, match=r"has 2 videos \(a, b\): choose one with --video"):
        Tracks.read(path, "coco")
    assert Tracks.read(path, "coco", video_name="b").xy[0, :, 0].tolist() == [30.5, 40.5]
    named = VideoInfo(200, 100, path="/footage/a.mp4")
    assert Tracks.read(path, "coco", video=named).xy[0, :, 0].tolist() == [10.5, 20.5]
    images = [{"file_name": f"f{n}.png", "video_id": n // 2, "frame_id": n % 2} for n in range(4)]
    videos = [{"id": 0, "name": "left"}, {"id": 1, "name": "right"}]
    path = coco(tmp_path / "b.json", images, [fish(n, 10 * n) for n in (1, 2, 3, 4)], videos=videos)
    assert Tracks.read(path, "coco", video_name="right").xy[0, :, 0].tolist() == [30.5, 40.5]
    flat = [{"file_name": f"{video}_mp4-{n:04d}_jpg.rf.{video}{n}c0.jpg"} for video in "ab" for n in range(2)]
    path = coco(tmp_path / "d.json", flat, [fish(n, 10 * n) for n in (1, 2, 3, 4)])
    with pytest.raises(UsageError, match=r"has 2 videos \(a_mp4, b_mp4\)"):
        Tracks.read(path, "coco")
    assert Tracks.read(path, "coco", video_name="b.mp4").xy[0, :, 0].tolist() == [30.5, 40.5]
    parts = [{"file_name": f"{part}/f{n:03d}.png"} for n, part in enumerate(("train", "val", "train"))]
    assert Tracks.read(coco(tmp_path / "c.json", parts, [fish(2, 20)]), "coco").xy[0, 1, 0] == 20.5


@pytest.mark.parametrize(
    ("names", "frames"),
    [
        (["clip_mp4-0000_jpg.rf.a1b2c3.jpg", "clip_mp4-0010_jpg.rf.9f00e7.jpg", "clip_mp4-0020_jpg.rf.77c0.jpg"],
         [0, 10, 20]),
        (["clip-0000_jpg.rf.11a1.jpg", "clip-0010_jpg.rf.22a2.jpg", "clip-0020_jpg.rf.33a3.jpg"], [0, 10, 20]),
        (["img004_v2.png", "img017_v2.png", "img030_v2.png"], [4, 17, 30]),
        (["img030.png", "img004.png", "img017.png"], [30, 4, 17]),
        (["f1001.png", "f1002.png", "f1003.png"], [0, 1, 2]),
    ],
)  # fmt: skip
def test_coco_frames_are_the_number_that_varies_in_the_names(
    names: list[str], frames: list[int], tmp_path: Path
) -> None:
    path = coco(tmp_path / "a.json", [{"file_name": n} for n in names], [fish(n, 10 * n) for n in (1, 2, 3)])
    tracks = Tracks.read(path, "coco")
    assert tracks.xy[0, frames, 0].tolist() == [10.5, 20.5, 30.5] and tracks.valid[0].sum() == 3


def test_coco_says_what_is_unsure_and_what_it_leaves_out(tmp_path: Path) -> None:
    images = [{"file_name": name, "extra": {"name": f"g{n}.png"}} for n, name in enumerate(("x7.png", "x1.png"))]
    assert frames_of(Tracks.read(coco(tmp_path / "a.json", images, [fish(2, 20)]), "coco")) == [1]
    path = coco(tmp_path / "a.json", [{"file_name": "a.png"}, {"file_name": "b.png"}], [fish(2, 20)])
    with pytest.warns(ReadWarning, match="no frame numbers: they are numbered in their order"):
        assert frames_of(Tracks.read(path, "coco")) == [1]
    stamps = [{"file_name": f"{1403636579763555584 + n * 50000128}.png"} for n in (2, 0, 1)]
    with pytest.warns(ReadWarning, match="taken for time stamps"):
        assert frames_of(Tracks.read(coco(tmp_path / "a.json", stamps, [fish(1, 20)]), "coco")) == [2]
    odd = [{"file_name": name} for name in ("a1b2.png", "a1c1.png", "a1d3.png")]
    with pytest.raises(UsageError, match="names of the images do not say which frames they are"):
        Tracks.read(coco(tmp_path / "a.json", odd, [fish(1, 20)]), "coco")
    boxes = [fish(1, 20), {"image_id": 1, "bbox": [0, 0, 2, 2]}, {"image_id": 2, "bbox": [0, 0, 2, 2]}]
    with pytest.warns(ReadWarning, match=r"a\.json: not taken: 2 annotations without keypoints"):
        Tracks.read(coco(tmp_path / "a.json", THREE, boxes), "coco")
    sizes = [{"file_name": "f0.png"}, {"file_name": "f1.png", "width": 300}]
    with pytest.raises(UsageError, match=r"several sizes \(200x100, 300x100\)"):
        Tracks.read(coco(tmp_path / "a.json", sizes, [fish(1, 20), fish(2, 20)]), "coco")
    with pytest.warns(ReadWarning, match="it is of pictures of 200x100, the video has 400x200"):
        Tracks.read(coco(tmp_path / "a.json", THREE, [fish(1, 20)]), "coco", video=VideoInfo(400, 200))


def test_coco_categories_and_results(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "fish"}, {"id": 1, "name": "fish", "keypoints": ["head", "tail"]}]
    path = coco(tmp_path / "a.json", THREE, [fish(1, 20)], categories=categories)
    assert Tracks.read(path, "coco").ids.tolist() == ["head", "tail"]
    categories = [{"id": n, "name": name, "keypoints": ["head", "tail"]} for n, name in ((1, "fish"), (2, "bird"))]
    path = coco(tmp_path / "b.json", THREE, [fish(1, 20), fish(1, 60, category_id=2)], categories=categories)
    assert Tracks.read(path, "coco").ids.tolist() == ["fish.head", "fish.tail", "bird.head", "bird.tail"]
    (tmp_path / "c.json").write_text(json.dumps([{"image_id": 1, "category_id": 1, "keypoints": [1, 2, 0.9]}]))
    with pytest.raises(StorageError, match="list of COCO results, which names neither the images nor the points"):
        Tracks.read(tmp_path / "c.json", "coco")
    with pytest.raises(StorageError, match="an annotation of an image that it does not list"):
        Tracks.read(coco(tmp_path / "d.json", THREE, [fish(9, 20)]), "coco")


# -- SLEAP --------------------------------------------------------------------------------------------


def sleap(path: Path, rows: list[tuple], tracks: tuple[str, ...] = (), videos: tuple[str, ...] = ("a.mp4",)) -> Path:
    """rows: (video, frame, track or None, x, predicted)."""
    io = pytest.importorskip("sleap_io")
    skeleton = io.Skeleton(nodes=["head", "tail"], name="fish")
    clips = {name: io.Video(name, open_backend=False, backend_metadata={"shape": (10, 100, 200, 3)}) for name in videos}
    known = {name: io.Track(name) for name in tracks}
    frames: dict[tuple, list] = {}
    for video, frame, track, x, predicted in rows:
        kind = io.PredictedInstance if predicted else io.Instance
        xy = np.array([[x, 10], [x + 5, 12.0]])
        frames.setdefault((video, frame), []).append(kind.from_numpy(xy, skeleton, track=known.get(track)))
    labelled = [io.LabeledFrame(video=clips[v], frame_idx=t, instances=i) for (v, t), i in frames.items()]
    labels = io.Labels(labelled, videos=list(clips.values()), skeletons=[skeleton], tracks=list(known.values()))
    io.save_slp(labels, str(path), embed=False, verbose=False)
    return path


def test_sleap_videos_are_told_apart(tmp_path: Path) -> None:
    rows = [("a.mp4", 2, None, 20, False), ("b.mp4", 2, None, 120, False), ("b.mp4", 5, None, 130, False)]
    path = sleap(tmp_path / "a.slp", rows, videos=("a.mp4", "b.mp4", "c.mp4"))
    with pytest.raises(UsageError, match=r"has 2 videos \(a\.mp4, b\.mp4\)"):
        Tracks.read(path)
    tracks = Tracks.read(path, video_name="b.mp4")
    assert frames_of(tracks) == [2, 5] and tracks.xy[0, 2].tolist() == [120.5, 10.5]
    by_path = VideoInfo(200, 100, frames=10, path="/elsewhere/a.mp4")
    assert Tracks.read(path, video=by_path).xy[0, 2].tolist() == [20.5, 10.5]


def test_sleap_animals_that_are_not_tracked_are_refused(tmp_path: Path) -> None:
    rows = [("a.mp4", t, None, x + t, False) for t in range(3) for x in (20, 120)]
    with pytest.raises(UsageError, match="has 2 animals on frame 0 that are not tracked"):
        Tracks.read(sleap(tmp_path / "a.slp", rows))


def test_sleap_animals_are_named_or_chosen(tmp_path: Path) -> None:
    rows = [("a.mp4", t, name, x, False) for t in range(2) for name, x in (("A", 20), ("B", 120))]
    path = sleap(tmp_path / "a.slp", rows, ("A", "B"))
    assert Tracks.read(path).ids.tolist() == ["A.head", "A.tail", "B.head", "B.tail"]
    one = Tracks.read(path, animal="b")
    assert one.ids.tolist() == ["head", "tail"] and one.xy[0, 0].tolist() == [120.5, 10.5]
    path = sleap(tmp_path / "b.slp", [*rows, ("a.mp4", 3, None, 70, False)], ("A", "B"))
    with pytest.warns(ReadWarning, match="1 instances have no track"):
        assert Tracks.read(path).ids.tolist()[4:] == ["untracked.head", "untracked.tail"]


def test_a_users_instance_counts_before_a_predicted_one_of_the_same_animal(tmp_path: Path) -> None:
    rows = [("a.mp4", 1, "A", 20, True), ("a.mp4", 1, None, 30, False), ("a.mp4", 2, "A", 21, True)]
    tracks = Tracks.read(sleap(tmp_path / "a.slp", rows, ("A",)))
    assert tracks.xy[0, 1:3, 0].tolist() == [30.5, 21.5]
    assert tracks.keyframe[0].tolist() == [t == 1 for t in range(10)]


@pytest.mark.parametrize("dims", [True, False], ids=["sleap-io", "SLEAP"])
def test_sleap_analysis_files_are_read(dims: bool, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    xy = np.full((2, 2, 3, 4), np.nan)  # track, xy, node, frame
    xy[0, :, 0, 1], xy[0, :, 2, 3], xy[1, :, 1, 0] = (20, 10), (40, 12), (120, 50)
    with h5py.File(tmp_path / "a.analysis.h5", "w") as file:
        file["tracks"] = xy.transpose(3, 2, 1, 0) if dims else xy
        file["node_names"], file["track_names"] = [b"head", b"body", b"tail"], [b"A", b"B"]
        file["point_scores"] = np.full((2, 3, 4), 0.5)
        if dims:
            file["tracks"].attrs["dims"] = '["frame", "node", "xy", "track"]'
    tracks = Tracks.read(tmp_path / "a.analysis.h5", video=SMALL)
    assert tracks.ids.tolist() == ["A.head", "A.tail", "B.body"]
    assert tracks.xy[0, 1].tolist() == [20.5, 10.5] and tracks.xy[2, 0].tolist() == [120.5, 50.5]
    assert tracks.frames == 4 and tracks.confidence[0, 1] == 0.5 and not tracks.keyframe.any()
    assert Tracks.read(tmp_path / "a.analysis.h5", video=SMALL, animal="B").ids.tolist() == ["body"]


def test_sleap_analysis_files_of_tapkit_come_back(tracks: Tracks, tmp_path: Path) -> None:
    pytest.importorskip("sleap_io")
    back = Tracks.read(tracks.to_sleap_analysis(tmp_path / "a.analysis.h5", when="visible"))
    assert (back.valid == tracks.visible_at()).all() and back.ids.tolist() == tracks.ids.tolist()
    assert np.abs(back.xy - tracks.xy)[back.valid].max() < 1e-3 and back.video.size == tracks.video.size


# -- DeepLabCut ---------------------------------------------------------------------------------------


def dlc(names: list[str], parts: list[tuple] | None = None, cells: str = "") -> str:
    """A CSV of labelled data: `parts` (scorer, bodypart)."""
    parts = parts or [("anna", "nose"), ("anna", "tail")]
    heads = zip(*(part for part in parts for _ in "xy"), strict=True)
    lines = [f"{title},,,{','.join(map(str, row))}" for title, row in zip(("scorer", "bodyparts"), heads, strict=True)]
    lines.append("coords,,," + ",".join("xy" for _ in parts).replace("xy", "x,y"))
    for number, name in enumerate(names):
        values = ",".join(f"{10 * number + n + 0.5}" for n in range(2 * len(parts)))
        lines.append(f"labeled-data,{name.replace('/', ',')},{values}")
    return "\n".join(lines) + "\n"


def read_dlc(path: Path, text: str, **options: object) -> Tracks:
    pytest.importorskip("pandas")
    path.write_text(text)
    return Tracks.read(path, "dlc", video=SMALL, **options)


def test_dlc_frames_are_the_number_that_varies_in_the_names(tmp_path: Path) -> None:
    tracks = read_dlc(tmp_path / "a.csv", dlc(["v/img004_v2.png", "v/img017_v2.png", "v/img030_v2.png"]))
    assert frames_of(tracks) == [4, 17, 30] and tracks.xy[0, 17].tolist() == [11, 12]
    with pytest.raises(UsageError, match=r"'a\.png', do not say their frame numbers"):
        read_dlc(tmp_path / "b.csv", dlc(["v/a.png", "v/b.png"]))


def test_dlc_videos_and_scorers_are_told_apart(tmp_path: Path) -> None:
    text = dlc(["v1/img004.png", "v2/img004.png", "v2/img009.png"])
    with pytest.raises(UsageError, match=r"has 2 videos \(v1, v2\)"):
        read_dlc(tmp_path / "a.csv", text)
    tracks = read_dlc(tmp_path / "a.csv", text, video_name="v2")
    assert frames_of(tracks) == [4, 9] and tracks.xy[0, 4].tolist() == [11, 12]
    text = dlc(["v/img004.png"], [("anna", "nose"), ("ben", "nose")])
    with pytest.warns(ReadWarning, match="scorer anna was taken, not ben: --scorer chooses"):
        assert read_dlc(tmp_path / "b.csv", text).xy[0, 4].tolist() == [1, 2]
    assert read_dlc(tmp_path / "b.csv", text, scorer="ben").xy[0, 4].tolist() == [3, 4]
    with pytest.raises(UsageError, match="has no cameras to choose '2' from"):
        read_dlc(tmp_path / "b.csv", text, scorer="ben", camera="2")


def test_dlc_tables_of_spreadsheets(tmp_path: Path) -> None:
    text = dlc(["v 2/img004.png", "v 2/img017.png"])
    excel = re.sub(r"\b(\d+)\.(\d)\b", r"\1,\2", text.replace(",", ";"))
    assert frames_of(read_dlc(tmp_path / "a.csv", excel)) == [4, 17]
    joined = excel.replace(";;;", ";").replace(";v 2;", "\\v 2\\")
    tracks = read_dlc(tmp_path / "b.csv", joined)
    assert frames_of(tracks) == [4, 17] and tracks.xy[1, 17].tolist() == [13, 14]


def test_dlc_animals_are_named_or_chosen(tmp_path: Path) -> None:
    text = (
        "scorer,net,net,net,net\nindividuals,m1,m1,m2,m2\nbodyparts,nose,nose,nose,nose\ncoords,x,y,x,y\n"
        "0,1,2,30,40\n1,3,4,50,60\n"
    )
    assert read_dlc(tmp_path / "a.csv", text).ids.tolist() == ["m1.nose", "m2.nose"]
    one = read_dlc(tmp_path / "a.csv", text, animal="m2")
    assert one.ids.tolist() == ["nose"] and one.xy[0, 1].tolist() == [50.5, 60.5] and not one.keyframe.any()
    with pytest.raises(StorageError, match=r"two positions for the point 'm1\.nose' on frame 1"):
        read_dlc(tmp_path / "a.csv", text + "1,9,9,50,60\n")


def test_dlc_hdf5_variants(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    columns = pandas.MultiIndex.from_product([["anna"], [1, 2], ["x", "y"]], names=["scorer", "bodyparts", "coords"])
    index = pandas.MultiIndex.from_tuples([("labeled-data", "v", f"img{n}.png") for n in (4, 17)])
    frame = pandas.DataFrame(np.arange(8.0).reshape(2, 4), index=index, columns=columns)
    frame.to_hdf(tmp_path / "a.h5", key="df_with_missing")
    (frame + 50).to_hdf(tmp_path / "a.h5", key="keypoints")
    tracks = Tracks.read(tmp_path / "a.h5", "dlc", video=SMALL)
    assert tracks.ids.tolist() == ["1", "2"] and tracks.xy[1, 17].tolist() == [6.5, 7.5]
    frame.to_hdf(tmp_path / "b.h5", key="one")
    frame.to_hdf(tmp_path / "b.h5", key="two")
    with pytest.raises(UsageError, match=r"several tables \(one, two\), none of them called df_with_missing"):
        Tracks.read(tmp_path / "b.h5", "dlc", video=SMALL)


def test_a_folder_with_the_tables_of_two_scorers(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    for scorer in ("anna", "ben"):
        text = dlc(["v/img004.png"], [(scorer, "nose")])
        (tmp_path / f"CollectedData_{scorer}.csv").write_text(text.replace("1.5", str(len(scorer))))
    with pytest.warns(ReadWarning, match="scorer anna was taken, not ben"):
        assert Tracks.read(tmp_path, "dlc", video=SMALL).xy[0, 4].tolist() == [1, 4.5]
    assert Tracks.read(tmp_path, "dlc", video=SMALL, scorer="ben").xy[0, 4].tolist() == [1, 3.5]


# -- DLTdv, PFTrack, CVAT, Nuke -----------------------------------------------------------------------


def test_dltdv_cameras_are_told_apart(tmp_path: Path) -> None:
    head = [f"pt{p}_cam{c}_{axis}" for p in (1, 2) for c in (1, 2) for axis in "XY"]
    rows = [[100 * c + 10 * p + t for p in (1, 2) for c in (1, 2) for _ in "XY"] for t in range(3)]
    path = tmp_path / "xypts.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row in (head, *rows)))
    with pytest.warns(ReadWarning, match="camera cam1 was taken, not cam2"):
        tracks = Tracks.read(path, "dltdv", video=VideoInfo(1000, 1000))
    assert tracks.ids.tolist() == ["pt1", "pt2"] and tracks.xy[:, 0, 0].tolist() == [109.5, 119.5]
    other = Tracks.read(path, "dltdv", video=VideoInfo(1000, 1000), camera="2")
    assert other.ids.tolist() == ["pt1", "pt2"] and other.xy[:, 0, 0].tolist() == [209.5, 219.5]


@pytest.mark.parametrize("named", [True, False], ids=["the name again", "the eye alone"])
def test_pftracks_second_eye_is_no_point(named: bool, tmp_path: Path) -> None:
    again = '\n"a"' if named else ""
    text = (
        '\n"a"\n"Primary"\n2\n0 10 20 1\n1 11 20 1\n' + again + '\n"Secondary"\n1\n0 50 20 1\n'
        '\n"b"\n"Primary"\n1\n0 30 20 1\n'
    )
    (tmp_path / "a.2dt").write_text(text)
    with pytest.warns(ReadWarning, match="camera Primary was taken, not Secondary"):
        tracks = Tracks.read(tmp_path / "a.2dt", video=SMALL)
    assert tracks.ids.tolist() == ["a", "b"] and tracks.xy[:, 0, 0].tolist() == [10.5, 30.5]
    other = Tracks.read(tmp_path / "a.2dt", video=SMALL, camera="secondary")
    assert other.ids.tolist() == ["a"] and other.xy[:, 0, 0].tolist() == [50.5]
    (tmp_path / "b.2dt").write_text('\n"a"\n2\n0 10 20 1\n1 11 20 1\n\n"b"\n3\n0 10 20 1\n')
    with pytest.raises(StorageError, match="point 'b' has fewer than its 3 keys"):
        Tracks.read(tmp_path / "b.2dt", video=SMALL)


def cvat(path: Path, tracks: str, meta: str = "<task><size>10</size>{}</task>") -> Path:
    size = "<original_size><width>200</width><height>100</height></original_size>"
    path.write_text(f"<annotations><meta>{meta.format(size)}</meta>{tracks}</annotations>")
    return path


def points(frame: int, where: str, more: str = "") -> str:
    return f'<points frame="{frame}" keyframe="1" outside="0" occluded="0" points="{where}" {more}/>'


def test_cvat_shapes_of_several_points_and_skeletons(tmp_path: Path) -> None:
    three = points(0, "30,20;60,25;90,30") + points(4, "34,20;64,25")
    skeleton = "".join(
        f'<skeleton frame="{t}" keyframe="1">'
        f'<points label="nose" outside="0" occluded="1" keyframe="1" points="{t},50"/>'
        f'<points label="ear" outside="{t // 2}" occluded="0" keyframe="1" points="{t},60"/></skeleton>'
        for t in (0, 2)
    )
    box = '<box frame="0" keyframe="1" outside="0" xtl="1" ytl="2" xbr="3" ybr="4"/>'
    xml = f'<track id="0">{three}</track><track id="1">{skeleton}</track>' + f'<track id="2">{box}</track>' * 2
    with pytest.warns(ReadWarning, match=r"a\.xml: not taken: 2 box tracks"):
        tracks = Tracks.read(cvat(tmp_path / "a.xml", xml), "cvat")
    assert tracks.ids.tolist() == ["track0.1", "track0.2", "track0.3", "track1.nose", "track1.ear"]
    assert tracks.xy[:3, 0].tolist() == [[30, 20], [60, 25], [90, 30]] and tracks.xy[0, 2].tolist() == [32, 20]
    assert [frames_of(tracks, n) for n in (1, 2, 4)] == [list(range(10)), [0, 1, 2, 3], [0, 1]]
    assert tracks.xy[3, 1].tolist() == [1, 50] and not tracks.visible_at()[3].any()


def test_the_tasks_of_a_cvat_project_are_told_apart(tmp_path: Path) -> None:
    meta = "<project><tasks>" + "".join(
        f"<task><id>{n}</id><name>{name}</name><size>{n}</size>{{}}</task>" for n, name in ((5, "a"), (7, "b"))
    )
    xml = "".join(f'<track id="0" task_id="{n}">{points(0, f"{n},2")}</track>' for n in (5, 7))
    path = tmp_path / "a.xml"
    size = "<original_size><width>200</width><height>100</height></original_size>"
    path.write_text(f"<annotations><meta>{meta.format(size, size)}</tasks></project></meta>{xml}</annotations>")
    with pytest.raises(UsageError, match=r"has 2 videos \(a, b\)"):
        Tracks.read(path, "cvat")
    tracks = Tracks.read(path, "cvat", video_name="b")
    assert tracks.frames == 7 and tracks.xy[0, 0].tolist() == [7, 2]


def test_nuke_curves_with_quotes(tracks: Tracks, tmp_path: Path) -> None:
    plain = tracks.to_nuke(tmp_path / "a.nk").read_text()
    for number, curve in enumerate(('{"curve " x', '{"curve" x', "{ curve x", '{{"curve x')):
        head, name, rest = plain.partition('"gap"')
        rest = rest.replace("{curve x", curve)
        if curve.endswith('"curve x'):
            rest = re.sub(r'(\{\{"curve x[^}]*)\}', r'\1"}}', rest)
        (tmp_path / f"{number}.nk").write_text(head + name + rest)
        back = Tracks.read(tmp_path / f"{number}.nk", "nuke", original=tracks)
        assert np.array_equal(back.xy, tracks.xy, equal_nan=True), curve
    twice = plain.replace("{curve x1 20.25000", "{curve i x1 s0.5 20.25000")
    (tmp_path / "b.nk").write_text(twice)
    assert np.array_equal(Tracks.read(tmp_path / "b.nk", "nuke", original=tracks).xy, tracks.xy, equal_nan=True)


def test_a_key_outside_of_nukes_range_is_left_out_and_said(tmp_path: Path) -> None:
    tracks = three_tracks(start_frame=1001)
    text = tracks.to_nuke_script(tmp_path / "a.nk").read_text()
    for numbers in ("{curve x990 5 x1001 20.25", "{curve x-3 5 x1001 20.25"):
        early = text.replace("{curve x1001 20.25", numbers).replace(
            "{curve x1001 30.0", "{curve x990 5 x-3 5 x1001 30.0"
        )
        (tmp_path / "b.nk").write_text(early)
        with pytest.warns(ReadWarning, match="not taken: 1 keys outside of the clip, whose frames are 1001 to 1012"):
            back = Tracks.read(tmp_path / "b.nk", "nuke-script", original=tracks)
        assert np.array_equal(back.xy, tracks.xy, equal_nan=True)
        with pytest.warns(ReadWarning, match="not taken: 1 keys outside"):
            alone = Tracks.read(tmp_path / "b.nk", "nuke-script")
        assert alone.frames == 12 and (alone.valid == tracks.visible_at()).all()
    with pytest.raises(UsageError, match="is it of another clip"):
        Tracks.read(tmp_path / "a.nk", "nuke-script", original=tracks, start_frame=2001)


@pytest.mark.parametrize(
    ("clip", "says"),
    [
        ({"points": np.zeros((4, 2, 2)), "occluded": np.zeros((4, 2), bool)}, r"look like \[T,N,2\]"),
        ({"points": np.full((2, 4, 2), 9), "occluded": np.zeros((2, 4), bool)}, r"points in pixels \(up to 9\)"),
        (None, "one clip, not a table of clips"),
    ],
)
def test_tapvid_pickles_of_another_layout_are_named(clip: dict | None, says: str, tmp_path: Path) -> None:
    good = {
        "video": np.zeros((4, 8, 8, 3), np.uint8),
        "points": np.zeros((2, 4, 2)),
        "occluded": np.zeros((2, 4), bool),
    }
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(good if clip is None else {"a": {**good, **clip}}))
    with pytest.raises(StorageError, match=says):
        Tracks.read(path, "tapvid")


def test_the_clips_of_a_tapvid_pickle_are_told_apart(tmp_path: Path) -> None:
    clips = {
        name: {"video": np.zeros((4, 8, 8, 3)), "points": np.full((1, 4, 2), x), "occluded": np.zeros((1, 4), bool)}
        for name, x in (("a", 0.25), ("b", 0.5))
    }
    path = tmp_path / "set.pkl"
    path.write_bytes(pickle.dumps(clips))
    with pytest.raises(UsageError, match=r"has 2 videos \(a, b\)"):
        Tracks.read(path, "tapvid")
    assert Tracks.read(path, "tapvid", video_name="b").xy[0, 0].tolist() == [4, 4]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("coco", '{"images": [], "annotations": [], "categories": [7]}'),
        ("coco", '{"images": ' + "[" * 100_000),
        ("fusion", "{ Tools = 5 }"),
        ("fusion", '{ Tools = { A = Tracker { Inputs = "x" } } }'),
    ],
)
def test_parts_of_another_kind_than_expected_are_damage(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(StorageError, match=r"a\.txt") as error:
        Tracks.read(tmp_path / "a.txt", name, video=SMALL)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["nuke-script", "3de3", "fusion-comp", "ae", "cvat", "coco"])
def test_a_file_made_for_pictures_of_another_size_is_said(name: str, tracks: Tracks, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExportWarning)
        path = tracks.write(tmp_path / "a.txt", name)
    with pytest.warns(ReadWarning, match="it is of pictures of 320x180, the video has 640x360"):
        Tracks.read(path, name, video=VideoInfo(640, 360))


def test_blenders_tracks_of_other_objects_are_counted(tmp_path: Path) -> None:
    track = {"name": "a", "frames": [0], "positions": [[0.5, 0.5]], "keyed": [True], "muted": [False]}
    facts = {"width": 200, "height": 100, "fps": [25, 1], "frames": 3, "pixel_aspect": [1, 1]}
    document = {"format": "tapkit-blender", "tracks": [track, {**track, "frames": [1]}], "others": 3, **facts}
    (tmp_path / "a.json").write_text(json.dumps(document))
    with pytest.warns(ReadWarning, match="not taken: 3 tracks of other objects than the camera"):
        assert Tracks.read(tmp_path / "a.json", "blender").ids.tolist() == ["a", "a_2"]


# -- the command line ---------------------------------------------------------------------------------


def test_the_command_line_chooses_and_says_what_was_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from tapkit.cli.import_ import import_tracks

    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(import_tracks)
    images = [{"file_name": f"{video}/f{n:03d}.png"} for video in "ab" for n in range(2)]
    both = [fish(n, 10 * n + t, track_id=t) for n in (1, 2, 3, 4) for t in (0, 1)]
    coco(tmp_path / "a.json", images, [*both, {"image_id": 1, "bbox": [0, 0, 1, 1]}])
    done = CliRunner().invoke(app, ["a.json", "o.npz", "--from", "coco", "--video", "b", "--animal", "1"])
    assert done.exit_code == 0, done.exception
    assert "not taken: 1 annotations without keypoints" in done.stderr
    tracks = Tracks.load(tmp_path / "o.npz")
    assert tracks.ids.tolist() == ["head", "tail"] and tracks.xy[0, :, 0].tolist() == [31.5, 41.5]
    (tmp_path / "p.txt").write_text("a 0 0.1 0.2 7\n")
    done = CliRunner().invoke(app, ["p.txt", "--from", "syntheyes", "--video", "typo.mp4"])
    assert "there is no video 'typo.mp4', neither as a file nor in p.txt" in str(done.exception)
