"""What trackers say beside what people say; runs in parts; summaries and places to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tapkit.annotate import Project, SetKeyframe, SetVisibility, Unknown, blocks, reading
from tapkit.annotate.values import Doubt
from tapkit.errors import QueryError, ShapeError, UsageError
from tapkit.types import Provenance

SHORT, LONG = 1, 2


def place_point(project: Project, clip: int = SHORT, t: int = 2, x: float = 12.0, label: str = "") -> int:
    edit = {"op": "add_point", "t": t, "x": x, "y": 20.0, "label": label}
    return project.edit(clip, [edit]).points[0].id


def straight(start: int, stop: int, x: float = 10.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = stop - start
    return np.stack([x + np.arange(start, stop), np.full(n, 20.0)], -1), np.full(n, 0.9), np.full(n, 0.7)


def x_of(project: Project, clip: int = SHORT) -> list[float]:
    return np.nan_to_num(project.positions(clip)[0].xy[:, 0], nan=-1).tolist()


def test_keyframes_and_a_humans_visibility_hold_against_any_prediction(project: Project) -> None:
    point = place_point(project)
    project.edit(SHORT, [SetVisibility(point, 8, 10, "occluded"), SetKeyframe(point, 6, 30, 21)])
    project.store_span(SHORT, point, 0, 12, *straight(0, 12), "strand", "abc")
    (found,) = project.positions(SHORT)
    assert found.xy[2].tolist() == [12, 20] and found.xy[6].tolist() == [30, 21]
    assert found.source == "ppkpppkppppp" and found.visible.tolist() == [True] * 8 + [False] * 2 + [True] * 2
    (point_now,) = project.points(SHORT).points
    assert [(k.t, k.x) for k in point_now.keyframes] == [(2, 12), (6, 30)] and len(point_now.hidden) == 1
    # The prediction said 16 at frame 6: its path is bent by 14 there, and stays so behind it.
    assert x_of(project) == pytest.approx([10, 11, 12, 16.5, 21, 25.5, 30, 31, 32, 33, 34, 35])


def test_a_run_that_comes_in_parts_is_one_event_and_meets_keyframes_like_a_whole_one(project: Project) -> None:
    point = place_point(project)
    project.edit(SHORT, [SetKeyframe(point, 6, 30, 20), SetKeyframe(point, 9, 9, 20)])
    xy, visible, confidence = straight(2, 12)
    run = None
    for start, stop in ((2, 6), (6, 9), (9, 12)):  # keyframes lie on the seams
        part = slice(start - 2, stop - 2)
        stored = project.store_span(SHORT, point, start, stop, xy[part], visible[part], confidence[part], "s", run=run)
        run = stored.run
    parts = x_of(project)
    assert [event.kind for event in project.events(SHORT)] == ["edit", "edit", "run"]
    project.undo(SHORT)
    assert project.positions(SHORT)[0].source == "--k---k--k--"
    with pytest.raises(UsageError, match="was undone"):
        project.store_span(SHORT, point, 2, 6, *straight(2, 6), "s", run=run)
    project.store_span(SHORT, point, 2, 12, xy, visible, confidence, "s")
    assert x_of(project) == pytest.approx(parts)
    backwards = [(9, 12), (6, 9), (2, 6)]
    project.undo(SHORT)
    run = None
    for start, stop in backwards:
        run = project.store_span(SHORT, point, start, stop, *straight(start, stop), "s", run=run).run
    assert x_of(project) == pytest.approx(parts)


def test_tracking_anew_from_a_keyframe_keeps_what_the_first_run_missed_it_by(project: Project) -> None:
    point = place_point(project, t=0, x=10)
    project.store_span(SHORT, point, 0, 12, *straight(0, 12), "s")
    project.edit(SHORT, [SetKeyframe(point, 6, 22, 20)])  # the prediction says 16 there
    project.store_span(SHORT, point, 6, 12, *straight(6, 12, x=16), "s")  # begins on the keyframe
    assert x_of(project) == pytest.approx([10, 12, 14, 16, 18, 20, 22, 23, 24, 25, 26, 27])
    assert Doubt(6, point, "missed", 6.0) in project.doubtful(SHORT)
    project.undo(SHORT)
    assert x_of(project)[6:] == pytest.approx([22, 23, 24, 25, 26, 27])


def test_several_points_and_gaps(project: Project) -> None:
    ids = [place_point(project, x=10), place_point(project, x=11)]
    xy = np.stack([straight(0, 12)[0], straight(0, 12, 30)[0]])
    xy[0, 3:5] = np.nan
    project.store_span(SHORT, ids, 0, 12, xy, np.full((2, 12), 0.9), np.full((2, 12), 0.9), "s")
    assert [each.source for each in project.positions(SHORT)] == ["ppk--ppppppp", "ppkppppppppp"]
    again = np.full((12, 2), np.nan)
    again[3] = (13, 20)
    project.store_span(SHORT, ids[0], 0, 12, again, np.full(12, 0.2), np.full(12, 0.9), "other")
    (found,) = project.positions(SHORT, [ids[0]])
    assert found.source == "ppkp-ppppppp" and not found.visible[3] and found.visible[5]


DOES_NOT_FIT: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"stop": 13}, ShapeError, "positions must be"),
    ({"start": 4, "stop": 4}, UsageError, "no span"),
    ({"visible": np.full(12, 1.5)}, UsageError, "probabilities"),
    ({"confidence": np.zeros(11)}, ShapeError, "confidence must be"),
    ({"points": 99}, Unknown, "no point 99"),
    ({"points": []}, UsageError, "one point or"),
    ({"run": 77}, Unknown, "no run 77"),
]


def test_what_does_not_fit_is_refused(project: Project) -> None:
    point = place_point(project)
    xy, visible, confidence = straight(0, 12)
    for change, error, said in DOES_NOT_FIT:
        given = {"points": point, "start": 0, "stop": 12, "visible": visible, "confidence": confidence, **change}
        with pytest.raises(error, match=said):
            project.store_span(
                SHORT, given["points"], given["start"], given["stop"], xy, given["visible"], given["confidence"], "s",
                run=given.get("run"),
            )  # fmt: skip
    with pytest.raises(UsageError, match="the clip has 12 frames"):
        project.store_span(SHORT, point, 4, 16, xy, visible, confidence, "s")
    assert project.clip(SHORT).revision == 1
    with pytest.raises(QueryError, match="not within the clip"):
        project.positions(SHORT, start=3, stop=14)


def long_tracks(project: Project, count: int = 3) -> list[int]:
    """Points over three blocks, with humps of doubt, a run of another rule, keyframes and spans."""
    random = np.random.default_rng(3)
    ids = [place_point(project, LONG, t=5, x=10) for _ in range(count)]
    walk = 12 + random.normal(0, 0.2, (count, 600, 2)).cumsum(1).clip(-10, 8)
    visible, confidence = random.uniform(0, 1, (2, count, 600))
    apart = np.where(random.random((count, 600)) < 0.01, 2.0, 0.1)
    project.store_span(LONG, ids, 0, 600, walk, visible, confidence, "a", disagreement=apart)
    made = Provenance("b", "hash", visible_rule="visible*confidence", visible_threshold=0.3)
    part = slice(200, 300)
    project.store_span(LONG, ids[:2], 200, 300, walk[:2, part], visible[:2, part], confidence[:2, part], made)
    edits = [
        SetKeyframe(ids[0], 300, 20, 4),
        SetKeyframe(ids[0], 310, 3, 4),
        SetVisibility(ids[1], 250, 520, "outside"),
    ]
    project.edit(LONG, edits)
    return ids


def test_a_summary_says_what_the_positions_say(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = long_tracks(project)
    found = {each.id: each for each in project.positions(LONG)}
    exact = project.summary(LONG, 38)
    assert exact.bins == tuple(range(0, 600, 16)) and [p.id for p in exact.points] == ids
    for each in exact.points:
        for start, share, least in zip(exact.bins, each.visible, each.confidence, strict=True):
            part = slice(start, start + 16)
            assert share == pytest.approx(found[each.id].visible[part].mean(), abs=1e-3)
            assert least == pytest.approx(found[each.id].confidence[part].min(), abs=1e-3)
    monkeypatch.setattr(reading, "EXACT", 0)  # from digests, as for clips of any size
    quick = project.summary(LONG, 38)
    assert quick.bins == exact.bins
    for one, other in zip(quick.points, exact.points, strict=True):
        assert one.visible == other.visible
        np.testing.assert_allclose(one.confidence, other.confidence, atol=1 / 200)
        np.testing.assert_allclose(one.doubt, other.doubt, atol=0.06)  # a jump over the edge of a block is not in it
    some = project.summary(LONG, 38, points=ids[:1])
    assert some.bins == quick.bins and some.points == quick.points[:1]
    assert project.summary(LONG, 38, points=[]).points == ()
    assert project.summary(LONG, 5).bins == (0, 128, 256, 384, 512)
    assert project.summary(SHORT, 5).points == ()


def test_bins_without_positions_have_no_figures(project: Project) -> None:
    place_point(project, t=2)
    (found,) = project.summary(SHORT, 4).points
    assert found.visible == (1, None, None, None) and found.confidence == (1, None, None, None)
    with pytest.raises(UsageError, match="at least one bin"):
        project.summary(SHORT, 0)


def test_places_to_look_at(project: Project) -> None:
    point, other = place_point(project, t=0, x=10, label="a"), place_point(project, t=0, x=10, label="b")
    xy, visible, confidence = straight(0, 12)
    xy[7:] += (40, 0)
    confidence[1:6] = 0.2
    apart = np.zeros(12)
    apart[9:11] = (3, 4)
    project.store_span(SHORT, point, 0, 12, xy, visible, confidence, "s", disagreement=apart)
    project.store_span(SHORT, other, 0, 12, *straight(0, 12), "s")
    found = project.doubtful(SHORT)
    assert [(d.t, d.point, d.reason) for d in found] == [
        (1, point, "unsure"), (7, point, "jump"), (10, point, "disagreement"),
    ]  # fmt: skip
    assert [d.value for d in found] == pytest.approx([0.2, 41, 4], abs=1e-4)
    assert project.summary(SHORT, 12).points[0].doubt[7] == 1
    project.store_span(SHORT, point, 0, 12, *straight(0, 12), "s")
    assert project.doubtful(SHORT) == []


def test_digests_count_by_each_sources_rule() -> None:
    frames = blocks.empty(1, blocks.FRAMES)
    frames[:, :8]["x"] = frames[:, :8]["y"] = 1.0
    for name, value in (("visible", 0.6), ("confidence", 0.75), ("source", 2)):
        frames[name][:, :8] = value
    (digest,) = blocks.digests(frames, {2: ("visible*confidence", 0.5)}, (48, 64))
    assert blocks.undigest([digest])[0, 0].tolist() == [8, 0, 191, 0]
    (digest,) = blocks.digests(frames, {2: ("visible", 0.5)}, (48, 64))
    assert blocks.undigest([digest])[0, 0].tolist() == [8, 8, 191, 64]
