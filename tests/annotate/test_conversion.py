"""Tracks out of a project and into one; every road there is to other programs; the assist on a project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tapkit.annotate import Project, SetKeyframe, SetSkeleton, SetVisibility
from tapkit.annotate.solve import KnownMotion
from tapkit.datasets import open_dataset
from tapkit.errors import ShapeError, UsageError
from tapkit.export import library
from tapkit.types import Provenance, Queries, Tracks

SHORT, LONG = 1, 2


def tracked(project: Project, seed: int = 0) -> Tracks:
    """Three tracks of the short clip, as a tracker gives them: one begins late, one ends early."""
    random = np.random.default_rng(seed)
    xy = np.cumsum(random.normal(0, 1, (3, 12, 2)), 1) + np.array([[20, 20], [40, 30], [30, 10]])[:, None]
    xy = xy.astype(np.float32)
    visible, confidence = random.uniform(0.2, 1, (2, 3, 12)).astype(np.float32)
    valid = np.ones((3, 12), bool)
    valid[1, :4] = valid[2, 9:] = False
    t = np.array([0, 4, 2])
    visible[np.arange(3), t] = 1
    queries = Queries(t, xy[np.arange(3), t], ["nose", "tail", "left ear"])
    with project.source(SHORT) as video:
        info = video.info
    made = Provenance("strand", "abc", "1.0", {"precision": "float32"}, "visible*confidence", 0.25)
    return Tracks(xy, visible, confidence, valid, queries, info, made, skeleton=(("nose", "tail"),))


def test_tracks_come_back_as_they_went_in(project: Project) -> None:
    tracks = tracked(project)
    clip = project.from_tracks(tracks)
    assert clip.id == SHORT and clip.points == 3
    back = project.to_tracks(SHORT)
    np.testing.assert_array_equal(back.xy, tracks.xy)
    np.testing.assert_array_equal(back.valid, tracks.valid)
    np.testing.assert_array_equal(back.visible_at(), tracks.visible_at())
    away = np.ones((3, 12), bool)
    away[np.arange(3), tracks.queries.t] = False  # queries have become keyframes, which are certain
    np.testing.assert_array_equal(back.visible[away & tracks.valid], tracks.visible[away & tracks.valid])
    np.testing.assert_array_equal(back.confidence[away & tracks.valid], tracks.confidence[away & tracks.valid])
    assert back.keyframe is not None and (back.keyframe == ~away).all()
    assert back.ids.tolist() == tracks.ids.tolist() and back.queries.t.tolist() == [0, 4, 2]
    assert back.skeleton == tracks.skeleton and back.source.model == "strand" and back.source.visible_threshold == 0.25
    assert [row[:2] for row in back.source.options["through"]] == [["nose", 0], ["tail", 4], ["left ear", 2]]
    project.undo(SHORT)
    assert len(project.to_tracks(SHORT)) == 0


def test_corrected_tracks_are_taken_up_by_the_points_they_are_of(project: Project) -> None:
    tracks = tracked(project)
    project.from_tracks(tracks)
    project.edit(SHORT, [SetKeyframe(1, 6, 50, 40)])
    moved, keyframe = tracks.xy.copy(), np.zeros((3, 12), bool)
    moved[1, 7], keyframe[1, 7] = (45, 31), True
    other = Queries(tracks.queries.t, tracks.queries.xy, ["nose", "tail", "new"])
    project.from_tracks(tracks.with_(xy=moved, keyframe=keyframe, queries=other), clip=SHORT)
    points = {p.label: [k.t for k in p.keyframes] for p in project.points(SHORT).points}
    assert points == {"nose": [0, 6], "tail": [4, 7], "left ear": [2], "new": [2]}
    with pytest.raises(ShapeError, match="the clip is 32x24"):
        project.from_tracks(tracks, clip=LONG)


def test_what_people_say_of_visibility_is_what_tracks_say(project: Project) -> None:
    project.from_tracks(tracked(project))
    project.edit(SHORT, [SetVisibility(1, 3, 9, "visible"), SetVisibility(3, 0, 12, "occluded")])
    back = project.to_tracks(SHORT)
    seen = np.stack([each.visible for each in project.positions(SHORT)])
    assert seen[0, 3:9].all() and not seen[2].any()
    np.testing.assert_array_equal(back.visible_at(), seen)
    assert len(project.to_tracks(SHORT, [2])) == 1


def test_names_are_unique_and_points_without_anything_stay_out(project: Project) -> None:
    new = {"op": "add_point", "t": 0, "x": 1, "y": 1}
    edits = [{**new, "label": "ear", "group": "dog"}, {**new, "label": "ear", "group": "dog"}, new]
    ids = [p.id for p in project.edit(SHORT, edits).points]
    project.edit(SHORT, [SetSkeleton(((ids[0], ids[1]),))])
    back = project.to_tracks(SHORT)
    assert back.ids.tolist() == ["dog.ear", f"dog.ear ({ids[1]})", f"point {ids[2]}"]
    assert back.skeleton == (("dog.ear", f"dog.ear ({ids[1]})"),)
    project.edit(SHORT, [{"op": "delete_keyframe", "point": ids[2], "t": 0}])
    assert len(project.to_tracks(SHORT)) == 2


def test_a_tapvid_pickle_that_its_reader_takes(project: Project, tmp_path: Path) -> None:
    project.from_tracks(tracked(project))
    project.edit(SHORT, [SetVisibility(1, 3, 9, "outside")])
    path = project.export(SHORT, tmp_path / "takes.pkl", "tapvid")
    (clip,) = open_dataset(str(path))
    seen = np.stack([each.visible for each in project.positions(SHORT)])
    np.testing.assert_array_equal(clip.visible, seen)
    np.testing.assert_allclose(clip.xy[seen], project.to_tracks(SHORT).xy[seen], atol=1e-3)


def test_a_whole_project_is_a_benchmark(project: Project, tmp_path: Path) -> None:
    from tapkit.datasets.tapvid import write_tapvid

    project.from_tracks(tracked(project))
    project.edit(LONG, [{"op": "add_point", "t": 5, "x": 3, "y": 4}])
    found = project.dataset()
    assert list(found.names()) == ["short", "long"] and len(found.clip("short")) == 3
    assert write_tapvid(tmp_path / "all.pkl", (found.clip(name) for name in ["short"])) == 1
    (clip,) = open_dataset(str(tmp_path / "all.pkl"))
    np.testing.assert_array_equal(clip.visible, found.clip("short").visible)
    with pytest.raises(UsageError, match="has no clip 'other'"):
        found.clip("other")


@pytest.mark.filterwarnings("ignore::tapkit.export.format.ExportWarning")
def test_exporters_take_a_project(project: Project, tmp_path: Path) -> None:
    if project.database.folder is None:
        pytest.skip("files do not depend on the database")
    project.from_tracks(tracked(project))
    there = project.to_tracks(SHORT, [1, 2])
    for name in ("nuke", "ae", "blender", "3de", "cvat", "coco", "csv", "fusion"):
        form = library.find(name)
        path = project.export(SHORT, tmp_path / f"{name}{form.suffix}", name, points=[1, 2])
        assert path.stat().st_size > 100, name
        if form.reader is None or name == "blender":  # what is read back is what Blender makes of its script
            continue
        back = Tracks.read(path, name, original=there)
        np.testing.assert_allclose(back.xy, there.xy, atol=0.02)
        project.from_tracks(back, clip=SHORT)  # nothing was corrected, so nothing changes
        assert [len(p.keyframes) for p in project.points(SHORT).points] == [1, 1, 1], name


def test_the_assist_goes_through_all_keyframes_and_is_one_undo(project: Project) -> None:
    flow = np.zeros((11, 48, 64, 2))
    flow[..., 0] = 2.0
    motion = KnownMotion(flow, -flow)
    point = project.edit(SHORT, [{"op": "add_point", "t": 3, "x": 20.0, "y": 20.0}]).points[0].id
    project.edit(SHORT, [SetKeyframe(point, 8, 32, 20), SetVisibility(point, 5, 7, "occluded")])
    told: list[tuple[int, int]] = []
    change = project.solve(SHORT, motion=motion, progress=lambda done, total: told.append((done, total)))
    assert change.text == "filled 1 point along the motion (known)" and told[-1] == (13, 13)
    (found,) = project.positions(SHORT)
    assert found.source == "pppkppppkppp" and not found.visible[5:7].any() and found.visible[[4, 7]].all()
    np.testing.assert_allclose(found.xy[:4, 0], [14, 16, 18, 20], atol=1e-3)
    np.testing.assert_allclose(found.xy[8:, 0], [32, 34, 36, 38], atol=1e-3)
    np.testing.assert_allclose(found.xy[7, 0], 30, atol=0.1)
    assert project.to_tracks(SHORT).source.model == "assist-known"
    project.undo(SHORT)
    assert project.positions(SHORT)[0].source == "---k----k---"
    project.solve(SHORT, [point], motion, until="keyframes")
    assert project.positions(SHORT)[0].source == "---kppppk---"


def test_an_assist_that_is_interrupted_or_has_nothing_to_do_changes_nothing(project: Project) -> None:
    flow = np.zeros((11, 48, 64, 2))
    motion = KnownMotion(flow, flow)
    with pytest.raises(UsageError, match="no point has a keyframe"):
        project.solve(SHORT, motion=motion)
    project.edit(SHORT, [{"op": "add_point", "t": 3, "x": 20.0, "y": 20.0}])
    with pytest.raises(UsageError, match="two keyframes"):
        project.solve(SHORT, motion=motion, until="keyframes")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project.solve(SHORT, motion=motion, progress=stop)
    assert project.positions(SHORT)[0].source.count("p") == 0


def test_motion_of_a_real_model_is_computed_once(project: Project) -> None:
    pytest.importorskip("cv2")
    if "sqlite" not in project.database.engine.name:
        pytest.skip("motion does not depend on the database")
    from tapkit.annotate.solve import FlowMotion

    with project.source(SHORT) as video:
        motion = FlowMotion(video, "dis", largest=32)
        told: list[tuple[int, int]] = []
        motion.prepare(2, 6, lambda *now: told.append(now))
        motion.prepare(0, 12, lambda *now: told.append(now))
        motion.prepare(3, 9, lambda *now: told.append(now))
        assert told == [(1, 3), (2, 3), (3, 3), (1, 8), (2, 8), (3, 8), (4, 8), (5, 8), (6, 8), (7, 8), (8, 8)]
        assert motion.forward(0, 11).shape == (11, 32, 32, 2) and motion.scale == (0.5, 32 / 48)
        assert np.abs(motion.backward(0, 11)).max() > 0
