"""Edits, undo and redo, conflicts: on both databases."""

from __future__ import annotations

import dataclasses
import math
import random
import threading
from typing import Any

import numpy as np
import pytest

from tapkit.annotate import Conflict, Project, SetKeyframe, Unknown, parse_edits
from tapkit.errors import QueryError, UsageError

SHORT, LONG = 1, 2


def place_point(project: Project, label: str = "nose", clip: int = SHORT, **more: Any) -> int:
    edit = {"op": "add_point", "t": 2, "x": 10.5, "y": 20.25, "label": label, **more}
    return project.edit(clip, [edit]).points[0].id


def state(project: Project, clip: int = SHORT) -> Any:
    """All that can be seen of a clip, without revisions and times."""
    found = project.points(clip)
    points = [
        dataclasses.replace(p, revision=0, keyframes=tuple(dataclasses.replace(k, time="") for k in p.keyframes))
        for p in found.points
    ]
    paths = [
        (each.id, each.source, np.nan_to_num(each.xy).tolist(), each.visible.tolist())
        for each in project.positions(clip)
    ]
    return points, found.skeleton, project.objects(clip), paths


def track(project: Project, point: int, start: int = 0, stop: int = 12, x: float = 10.0, **more: Any) -> int:
    n = stop - start
    xy = np.stack([x + np.arange(start, stop), np.full(n, 20.0)], -1)
    return project.store_span(SHORT, point, start, stop, xy, np.full(n, 0.9), np.full(n, 0.7), "strand", **more).run


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ([], "nothing to do"),
        ({"op": "add_point"}, "are a list"),
        ([{"op": "ad_point"}], "did you mean 'add_point'"),
        ([{"op": "add_point", "t": 1, "x": 2}], "needs y"),
        ([{"op": "delete_point", "point": 1, "why": 1}], "has no 'why'"),
        ([{"op": "delete_point", "point": True}], "whole number"),
        ([{"op": "set_keyframe", "point": 1, "t": 0, "x": math.nan, "y": 1}], "finite"),
        ([{"op": "set_keyframe", "point": 1, "t": 0, "x": 1, "y": 1, "visible": 1}], "true or false"),
        ([{"op": "set_visibility", "point": 1, "start": 4, "stop": 4, "state": "visible"}], "no span"),
        ([{"op": "set_visibility", "point": 1, "start": 4, "stop": 5, "state": "gone"}], "state must be"),
        ([{"op": "add_point", "t": 0, "x": 1, "y": 1, "label": "a\nb"}], "line of at most"),
        ([{"op": "add_point", "t": 0, "x": 1, "y": 1, "colour": "red"}], "#rrggbb"),
        ([{"op": "merge_points", "keep": 1, "other": 1}], "with itself"),
        ([{"op": "set_box", "t": 0, "x0": 3, "y0": 0, "x1": 3, "y1": 4}], "x0 < x1"),
        ([{"op": "set_skeleton", "links": [[1]]}], "pairs"),
        ([{"op": "add_point", "t": 2**40, "x": 1, "y": 1}], "whole number"),
        (["x"], "object with an op"),
    ],
)
def test_what_is_no_edit_is_said_in_a_sentence(edits: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_edits(edits)


def test_placing_moving_and_taking_back(project: Project) -> None:
    point = place_point(project, group="dog", colour="#ff0000")
    change = project.edit(SHORT, [SetKeyframe(point, 5, 11, 12), SetKeyframe(point, 2, 9, 8, visible=False)])
    assert change.text == "set dog.nose at frame 5, and 1 more" and change.revision == 2
    (shown,) = change.points
    assert [(k.t, k.x, k.y, k.visible) for k in shown.keyframes] == [(2, 9, 8, False), (5, 11, 12, True)]
    assert (shown.group, shown.colour, shown.revision) == ("dog", "#ff0000", 2)
    assert project.positions(SHORT)[0].source == "--k--k------"
    project.edit(SHORT, [{"op": "delete_keyframe", "point": point, "t": 5}])
    assert project.positions(SHORT)[0].source == "--k---------"
    assert project.edit(SHORT, [{"op": "delete_point", "point": point}]).removed == (point,)
    assert project.points(SHORT).points == () and project.clip(SHORT).points == 0


def test_all_or_nothing(project: Project) -> None:
    point = place_point(project)
    before = state(project)
    with pytest.raises(UsageError, match="no keyframe at frame 9"):
        project.edit(SHORT, [SetKeyframe(point, 5, 1, 1), {"op": "delete_keyframe", "point": point, "t": 9}])
    assert state(project) == before and project.clip(SHORT).revision == 1 and len(project.events(SHORT)) == 1


NOT_IN_THE_CLIP = [
    ({"op": "add_point", "t": 12, "x": 1, "y": 1}, "frame 12 is not in the clip"),
    ({"op": "add_point", "t": 0, "x": 64.1, "y": 1}, "outside of the picture"),
    ({"op": "set_keyframe", "point": 99, "t": 0, "x": 1, "y": 1}, "no point 99"),
    ({"op": "set_visibility", "point": 1, "start": 3, "stop": 13, "state": "visible"}, "frame 12"),
    ({"op": "set_box", "t": 0, "x0": 0, "y0": 0, "x1": 65, "y1": 4}, "within the picture"),
    ({"op": "edit_point", "point": 1, "object": 7}, "no object 7"),
    ({"op": "set_skeleton", "links": [[1, 5]]}, "no point 5"),
    ({"op": "delete_box", "object": 3}, "no object 3"),
]


def test_what_is_not_in_the_clip_is_refused(project: Project) -> None:
    place_point(project)
    for edit, said in NOT_IN_THE_CLIP:
        with pytest.raises((QueryError, Unknown), match=said):
            project.edit(SHORT, [edit])
    with pytest.raises(Unknown, match="no clip 9"):
        project.edit(9, [{"op": "delete_point", "point": 1}])
    assert project.clip(SHORT).revision == 1


def test_a_point_of_another_clip_is_not_touched(project: Project) -> None:
    place_point(project)
    other = place_point(project, clip=LONG)
    with pytest.raises(Unknown):
        project.edit(SHORT, [SetKeyframe(other, 0, 1, 1)])
    with pytest.raises(Unknown):
        project.positions(SHORT, [other])


def test_spans_of_visibility_join_split_and_vanish(project: Project) -> None:
    point = place_point(project)

    def say(start: int, stop: int, state: str | None) -> list[tuple[int, int, str]]:
        edit = {"op": "set_visibility", "point": point, "start": start, "stop": stop, "state": state}
        hidden = project.edit(SHORT, [edit]).points[0].hidden
        return [(h.start, h.stop, h.state) for h in hidden]

    assert say(2, 4, "occluded") == [(2, 4, "occluded")]
    assert say(4, 6, "occluded") == [(2, 6, "occluded")]
    assert say(3, 4, "outside") == [(2, 3, "occluded"), (3, 4, "outside"), (4, 6, "occluded")]
    assert say(6, 8, "visible")[-1] == (6, 8, "visible")
    assert say(0, 12, None) == []
    assert say(0, 12, "visible") == [(0, 12, "visible")]
    assert say(5, 6, None) == [(0, 5, "visible"), (6, 12, "visible")]


def test_boxes_and_skeletons(project: Project) -> None:
    a, b = place_point(project, "a"), place_point(project, "b")
    change = project.edit(SHORT, [{"op": "set_box", "t": 0, "x0": 1, "y0": 2, "x1": 10, "y1": 20, "label": "dog"}])
    (dog,) = change.objects
    project.edit(SHORT, [{"op": "set_box", "object": dog.id, "t": 6, "x0": 2, "y0": 2, "x1": 10, "y1": 20}])
    project.edit(SHORT, [{"op": "edit_point", "point": a, "object": dog.id}])
    assert project.edit(SHORT, [{"op": "set_skeleton", "links": [[a, b], [b, a]]}]).skeleton == ((b, a),)
    assert [box.t for box in project.objects(SHORT)[0].boxes] == [0, 6]
    assert project.points(SHORT).points[0].object == dog.id
    project.edit(SHORT, [{"op": "delete_box", "object": dog.id, "t": 6}])
    assert [box.t for box in project.objects(SHORT)[0].boxes] == [0]
    project.edit(SHORT, [{"op": "delete_point", "point": b}])
    assert project.points(SHORT).skeleton == ()
    for _ in range(2):
        project.undo(SHORT)
    assert project.points(SHORT).skeleton == ((b, a),) and len(project.objects(SHORT)[0].boxes) == 2


def test_merging_keeps_what_the_first_one_says(project: Project) -> None:
    keep, other = place_point(project, "keep"), place_point(project, "other")
    project.edit(SHORT, [SetKeyframe(other, 2, 50, 40), SetKeyframe(other, 9, 30, 30)])
    track(project, keep, 0, 6)
    track(project, other, 3, 12, x=30)
    hide = {"op": "set_visibility", "start": 4, "stop": 10, "state": "occluded"}
    project.edit(SHORT, [{**hide, "point": other}, {**hide, "point": keep, "start": 5, "stop": 7, "state": "visible"}])
    before = state(project)
    change = project.edit(SHORT, [{"op": "merge_points", "keep": keep, "other": other}])
    (merged,) = change.points
    assert change.removed == (other,) and [(k.t, k.x) for k in merged.keyframes] == [(2, 10.5), (9, 30)]
    assert [(h.start, h.stop, h.state) for h in merged.hidden] == [
        (4, 5, "occluded"),
        (5, 7, "visible"),
        (7, 10, "occluded"),
    ]
    assert project.positions(SHORT)[0].source == "ppkppppppkpp"
    project.undo(SHORT)
    assert state(project) == before


def test_whatever_was_done_undo_takes_all_of_it_back(project: Project) -> None:
    dice = random.Random(7)
    states = [state(project)]
    for _ in range(16 if project.database.folder else 7):  # a server answers slowly while others compute
        ids = [point.id for point in project.points(SHORT).points]
        any_point = dice.choice(ids) if ids else 0
        t, x, y = dice.randrange(12), dice.uniform(0, 64), dice.uniform(0, 48)
        start = dice.randrange(11)
        span = {"point": any_point, "start": start, "stop": dice.randrange(start + 1, 13)}
        choices: list[Any] = [{"op": "add_point", "t": t, "x": x, "y": y}]
        if ids:
            choices += [
                {"op": "set_keyframe", "point": any_point, "t": t, "x": x, "y": y, "visible": dice.random() < 0.5},
                {"op": "delete_point", "point": any_point},
                {"op": "set_visibility", **span, "state": dice.choice(["visible", "occluded", "outside", None])},
                {"op": "delete_prediction", **span},
                {"op": "edit_point", "point": any_point, "label": f"p{t}", "group": "g"},
                {"op": "set_box", "t": t, "x0": 0, "y0": 0, "x1": 1 + t, "y1": 5},
                "track", "track",
            ]  # fmt: skip
        if len(ids) > 1:
            choices.append({"op": "merge_points", "keep": ids[0], "other": ids[-1]})
        chosen = dice.choice(choices)
        if chosen == "track":
            track(project, any_point, span["start"], span["stop"], x)
        else:
            project.edit(SHORT, [chosen])
        states.append(state(project))
    for before in reversed(states[:-1]):
        project.undo(SHORT)
        assert state(project) == before
    with pytest.raises(UsageError, match="nothing to undo"):
        project.undo(SHORT)
    for after in states[1:]:
        project.redo(SHORT)
        assert state(project) == after
    with pytest.raises(UsageError, match="nothing to do again"):
        project.redo(SHORT)


def test_something_new_ends_what_can_be_done_again(project: Project) -> None:
    point = place_point(project)
    project.edit(SHORT, [SetKeyframe(point, 5, 1, 1)])
    project.undo(SHORT)
    assert project.points(SHORT).can_redo
    project.edit(SHORT, [SetKeyframe(point, 6, 1, 1)])
    found = project.points(SHORT)
    assert found.can_undo and not found.can_redo
    kinds = [(event.kind, event.undone) for event in project.events(SHORT)]
    assert kinds == [("edit", False), ("edit", True), ("undo", False), ("edit", False)]
    assert [event.id for event in project.events(SHORT, after=project.events(SHORT)[2].id)] == [4]


def test_edits_of_other_points_merge_and_of_the_same_one_conflict(project: Project) -> None:
    a, b = place_point(project, "a"), place_point(project, "b")
    base = project.points(SHORT).revision
    project.edit(SHORT, [SetKeyframe(a, 5, 1, 1)], base, session="left")
    project.edit(SHORT, [SetKeyframe(b, 5, 2, 2)], base, session="right")
    before = state(project)
    with pytest.raises(Conflict, match="another window") as told:
        project.edit(SHORT, [SetKeyframe(a, 5, 3, 3)], base, session="right")
    assert [(p.id, [k.x for k in p.keyframes]) for p in told.value.theirs] == [(a, [10.5, 1])]
    assert state(project) == before
    project.edit(SHORT, [SetKeyframe(a, 6, 3, 3)], base, session="left")  # one's own edits are no conflict
    project.edit(SHORT, [SetKeyframe(a, 5, 4, 4)], base, session="right", force=True)
    project.edit(SHORT, [SetKeyframe(a, 5, 5, 5)], project.points(SHORT).revision, session="left")
    track(project, a)  # what a tracker says is no reason to refuse what people say
    project.edit(SHORT, [SetKeyframe(b, 7, 5, 5)], project.points(SHORT).revision - 1, session="left")


def test_undo_of_what_others_changed_since_is_refused(project: Project) -> None:
    boss = project.add_user("boss", "owner").id
    second = project.add_user("second", "owner", by=boss).id
    point = project.edit(SHORT, [{"op": "add_point", "t": 0, "x": 1, "y": 1}], user=boss).points[0].id
    project.edit(SHORT, [SetKeyframe(point, 5, 3, 3)], user=second)
    with pytest.raises(Conflict, match="second has changed"):
        project.undo(SHORT, user=boss)
    assert project.undo(SHORT, user=second).text.startswith("undid: set point")
    with pytest.raises(Conflict):
        project.undo(SHORT, user=boss)
    assert project.undo(SHORT, user=boss, force=True).removed == (point,)


def test_many_at_once_lose_nothing(project: Project) -> None:
    points = [place_point(project, str(n)) for n in range(4)]
    failures: list[BaseException] = []

    def work(point: int) -> None:
        try:
            for t in range(3):
                project.edit(SHORT, [SetKeyframe(point, t, t, t)], session=str(point))
                track(project, point, t, t + 3, session=str(point))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(point,)) for point in points]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    found = project.points(SHORT)
    assert [len(p.keyframes) for p in found.points] == [3] * 4
    assert found.revision == len(project.events(SHORT)) == 4 + 4 * 6
    assert sorted(event.revision for event in project.events(SHORT)) == list(range(1, 29))


def test_before_and_after_a_correction(project: Project) -> None:
    point = place_point(project)
    track(project, point)
    event = project.edit(SHORT, [SetKeyframe(point, 8, 40, 30)]).event
    project.edit(SHORT, [{"op": "set_visibility", "point": point, "start": 9, "stop": 12, "state": "occluded"}])
    track(project, point, 8, 12, x=20)
    (found,) = project.compare(SHORT, event)
    assert found.before.source == "ppkppppppppp" and found.after.source == "ppkpppppkppp"
    assert found.before.xy[8, 0] == pytest.approx(16.5) and found.after.xy[8, 0] == 40
    assert found.before.visible.all() and not found.after.visible[9:].any()
    (whole,) = project.compare(SHORT, 1)
    assert whole.before.source == "-" * 12
