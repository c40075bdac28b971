"""`track_objects` with real trackers, files and functions, and what bad input says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from crossing import crossing

import tapkit
from tapkit.apps.objects import (
    Detections,
    ObjectOptions,
    read_detections,
    score_objects,
    track_objects,
    write_objects,
)
from tapkit.apps.objects.drawing import ObjectDrawer, draw_objects
from tapkit.errors import ShapeError, StorageError, UsageError
from tapkit.video import open_video


@pytest.fixture(scope="module")
def scene():
    return crossing(seed=0, frames=20, size=(128, 192), count=2)


def test_strand_follows_two_objects_that_cross(scene) -> None:
    found = track_objects(scene.images, scene.detections)
    scores = score_objects(scene.truth, found.detected())
    assert scores.switches == 0 and scores.hota > 0.8
    assert found.video.frames == 20 and set(found.ids) == {1, 2}


def test_a_detector_is_called_with_the_frames_as_they_are(scene) -> None:
    seen = []

    def detect(image: np.ndarray) -> Detections:
        seen.append(image.copy())
        return scene.detections[len(seen) - 1]

    found = track_objects(scene.images, detect)
    listed = track_objects(scene.images, scene.detections)
    assert (np.stack(seen) == scene.images).all()
    assert (found.id == listed.id).all() and np.allclose(found.xyxy, listed.xyxy, atol=1.0)


def test_a_loaded_tracker_of_whole_clips_goes_clip_by_clip(scene) -> None:
    """A tracker that must have all frames before it answers; here made of a causal one."""
    pytest.importorskip("cv2")

    tracker = tapkit.load("flow-chain", device="cpu")

    class Clips:
        card = type("Card", (), {"streaming": "offline"})()

        def __init__(self) -> None:
            self.lengths: list[int] = []

        def track(self, images: np.ndarray, queries, direction: str):
            self.lengths.append(len(images))
            assert direction == "forward" and (queries.t == 0).all()
            return tracker.track(images, queries, direction)

    clips = Clips()
    found = track_objects(scene.images, scene.detections, tracker=clips, clip=8)  # type: ignore[arg-type]
    assert score_objects(scene.truth, found.detected()).switches == 0
    assert found.frame.max() == 19
    assert clips.lengths.count(8) >= 2 and max(clips.lengths) == 8  # frames 0-7, 7-14, 14-19


def test_boxes_of_one_frame_are_carried_through_the_video() -> None:
    scene = crossing(seed=3, frames=16, size=(128, 192), count=1)
    box = scene.truth.at(2).xyxy
    found = track_objects(scene.images, {2: Detections.of(box, label="card")}, free=True)
    assert found.frame.tolist() == list(range(2, 16)) and set(found.names) == {"card 1"}
    truth = scene.truth[scene.truth.frame >= 2]
    assert np.abs(found.xyxy - truth.xyxy).max() < 4


def test_the_iou_rule_needs_no_tracker_and_reads_no_frames(scene, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_video(scene.images)
    monkeypatch.setattr(source, "frames", lambda *a, **k: pytest.fail("frames were read"))
    found = track_objects(source, scene.detections, tracker="none", options=ObjectOptions("iou"))
    assert len(found.ids) >= 2


# -- files ----------------------------------------------------------------------------------------------


def test_motchallenge_files_count_from_one(tmp_path: Path, scene) -> None:
    path = tmp_path / "det.txt"
    path.write_text("1,-1,1,1,10,20,0.9,-1,-1,-1\n\n3,-1,11.5,6,4,4,0.5\n")
    found = read_detections(path)
    assert sorted(found) == [0, 2]
    assert found[0].xyxy.tolist() == [[0, 0, 10, 20]] and found[2].xyxy.tolist() == [[10.5, 5, 14.5, 9]]
    tracks = track_objects(scene.images, scene.detections, options=ObjectOptions("iou"))
    write_objects(tmp_path / "out.txt", tracks)
    back = read_detections(tmp_path / "out.txt")
    for t in range(20):
        here = tracks.detected().at(t)
        assert np.allclose(back.get(t, Detections.none()).xyxy, here.xyxy, atol=0.011)
    first = (tmp_path / "out.txt").read_text().splitlines()[0].split(",")
    assert first[0] == "1" and first[1] == "1" and first[7:] == ["-1", "-1", "-1"]


def test_coco_files_go_round_and_are_valid_for_pycocotools(tmp_path: Path, scene) -> None:
    tracks = track_objects(scene.images, scene.detections, options=ObjectOptions("iou"))
    path = write_objects(tmp_path / "out.json", tracks, "coco")
    back = read_detections(path, (128, 192))
    assert all(np.allclose(back[t].xyxy, tracks.at(t).xyxy) for t in back) and len(back) > 10
    content = json.loads(path.read_text())
    assert len(content["images"]) == 20 and {each["track_id"] for each in content["annotations"]} == set(tracks.ids)
    coco = pytest.importorskip("pycocotools.coco").COCO(str(path))
    assert len(coco.getAnnIds(imgIds=[1])) == len(tracks.at(0))
    results = tmp_path / "results.json"
    results.write_text(json.dumps([{"image_id": 4, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5}]))
    assert read_detections(results)[4].label.tolist() == ["7"]
    with pytest.raises(UsageError, match="192x128"):
        read_detections(path, (100, 100))


def test_csv_and_boxes_without_a_detection(tmp_path: Path, scene) -> None:
    holes = [each if t not in (5, 6) else Detections.none() for t, each in enumerate(scene.detections)]
    tracks = track_objects(scene.images, holes)
    assert tracks.interpolated.any()
    plain = write_objects(tmp_path / "a.csv", tracks, "csv").read_text().splitlines()
    whole = write_objects(tmp_path / "b.csv", tracks, "csv", interpolated=True).read_text().splitlines()
    assert len(whole) == len(tracks) + 1 and len(whole) - len(plain) == tracks.interpolated.sum()
    assert plain[0] == "frame,id,left,top,right,bottom,score,label,interpolated"


@pytest.mark.parametrize(
    ("name", "text", "error", "said"),
    [
        ("a.txt", "1,-1,5,5\n", StorageError, "line 1"),
        ("a.txt", "1,-1,5,5,10,10,0.5\nfoo\n", StorageError, "line 2"),
        ("a.txt", "0,-1,5,5,10,10,0.5\n", StorageError, "from 1"),
        ("a.txt", "1,-1,5,5,0,10,0.5\n", UsageError, "no area"),
        ("a.txt", "1,-1,5,nan,10,10,0.5\n", UsageError, "finite"),
        ("a.txt", "1,-1,5,5,10,10,55\n", UsageError, "0..1"),
        ("a.txt", "inf,-1,5,5,10,10,1\n", StorageError, "line 1"),
        ("a.json", "{", StorageError, "detections"),
        ("a.json", '[{"image_id": 0}]', StorageError, "bbox"),
        ("a.json", '{"images": [{"id": 1, "video_id": 1}, {"id": 2, "video_id": 2}], "annotations": []}',
         UsageError, "several videos"),
    ],
)  # fmt: skip
def test_files_that_are_damaged_are_said(
    tmp_path: Path, name: str, text: str, error: type[Exception], said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=said):
        read_detections(tmp_path / name)


def test_bad_input_is_a_sentence(tmp_path: Path, scene) -> None:
    images, box = scene.images, Detections.of([(10, 10, 40, 40)])
    with pytest.raises(UsageError, match="3 frames and the video has 20"):
        track_objects(images, [box] * 3)
    with pytest.raises(UsageError, match="frame 20, and the video has frames 0 to 19"):
        track_objects(images, {20: box})
    with pytest.raises(ShapeError, match="masks of frame 0 are 20x10"):
        track_objects(images, {0: Detections.of([(1, 1, 5, 5)], mask=np.ones((1, 10, 20)))})
    with pytest.raises(UsageError, match="must return Detections"):
        track_objects(images, lambda image: [(1, 2, 3, 4)])
    with pytest.raises(UsageError, match="without points"):
        track_objects(images, {0: box}, options=ObjectOptions("iou"), free=True)
    with pytest.raises(StorageError, match="does not exist"):
        track_objects(images, tmp_path / "none.txt")
    with pytest.raises(ShapeError):  # frames that change their size
        track_objects(iter([images[0], images[1, :64]]), lambda image: box)
    with pytest.raises(UsageError, match="written as"):
        write_objects(tmp_path / "x", track_objects(images, [box] * 20, options=ObjectOptions("iou")), "xml")
    with pytest.warns(UserWarning, match="20 detections lie wholly outside"):
        track_objects(images, [Detections.of([(500, 500, 600, 600)])] * 20)


# -- drawing --------------------------------------------------------------------------------------------


def test_boxes_and_names_are_where_the_objects_are(tmp_path: Path, scene) -> None:
    found = track_objects(scene.images, scene.detections)
    drawer = ObjectDrawer(found)
    plain, drawn = scene.images[4], drawer.draw(scene.images[4], 4)
    assert drawn.shape == plain.shape and (scene.images[4] == plain).all()
    for left, top, right, bottom in found.at(4).xyxy:
        row = round((top + bottom) / 2)
        for x in (left, right):
            if 2 < x < 190:
                assert (drawn[row, int(x) - 1 : int(x) + 2] != plain[row, int(x) - 1 : int(x) + 2]).any()
    bare = ObjectDrawer(found, names=False).draw(plain, 4)
    assert (bare != drawn).any()
    with pytest.raises(ShapeError):
        drawer.draw(plain[:50], 4)
    path = draw_objects(open_video(scene.images), found, tmp_path / "out.mp4")
    with open_video(path) as video:
        assert video.info.frames == 20 and video.info.size == (128, 192)
