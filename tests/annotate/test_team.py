"""Accounts, stages, blind layers, review, agreement, adoption: each rule is a test."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from tapkit.annotate import NotAllowed, Project, SetKeyframe, SetVisibility, Unknown, team
from tapkit.annotate.agreement import cohen
from tapkit.errors import UsageError

SHORT, LONG = 1, 2


class Team(NamedTuple):
    project: Project
    owner: int
    reviewer: int
    ann: int
    bob: int


@pytest.fixture
def crew(project: Project) -> Team:
    owner = project.add_user("olga", "owner", "hash").id
    others = [project.add_user(name, role, by=owner).id for name, role in (("rita", "reviewer"), ("ann", "annotator"))]  # type: ignore[arg-type]
    return Team(project, owner, *others, project.add_user("bob", "annotator", by=owner).id)


def place_point(project: Project, user: int, label: str = "nose", x: float = 10.0, clip: int = SHORT) -> int:
    edit = {"op": "add_point", "t": 0, "x": x, "y": 20.0, "label": label}
    return project.edit(clip, [edit], user=user).points[0].id


def walk(project: Project, user: int, point: int, x: float) -> None:
    xy = np.stack([x + np.arange(12.0), np.full(12, 20.0)], -1)
    project.store_span(SHORT, point, 0, 12, xy, np.ones(12), np.ones(12), "s", user=user)


def test_accounts(crew: Team) -> None:
    project = crew.project
    assert [(u.name, u.role, u.active) for u in project.users()] == [
        ("olga", "owner", True), ("rita", "reviewer", True), ("ann", "annotator", True), ("bob", "annotator", True),
    ]  # fmt: skip
    found = project.password_hash("olga")
    assert found is not None and found[0].id == crew.owner and found[1] == "hash"
    assert project.password_hash("nobody") is None
    with pytest.raises(UsageError, match="already"):
        project.add_user("ann", "annotator", by=crew.owner)
    for user in (crew.reviewer, crew.ann, None):
        with pytest.raises(NotAllowed):
            project.add_user("eve", "owner", by=user)
    with pytest.raises(NotAllowed):
        project.change_user(crew.ann, crew.ann, role="owner")
    with pytest.raises(NotAllowed):
        project.change_user(crew.bob, crew.ann, name="eve")
    assert project.change_user(crew.ann, crew.ann, name="anna", password_hash="new").name == "anna"
    with pytest.raises(UsageError, match="last owner"):
        project.change_user(crew.owner, crew.owner, active=False)
    project.change_user(crew.bob, crew.owner, active=False)
    assert project.password_hash("bob") is None
    with pytest.raises(NotAllowed, match="closed"):
        project.clips(crew.bob)
    with pytest.raises(UsageError, match="a name is"):
        project.add_user(" \n", "annotator", by=crew.owner)


def test_the_first_account_is_an_owners_and_from_then_on_nobody_is_nobody(project: Project) -> None:
    with pytest.raises(UsageError, match="owner's"):
        project.add_user("ann", "annotator")
    project.add_user("olga", "owner")
    for call in (project.clips, project.report):
        with pytest.raises(NotAllowed, match="say who you are"):
            call()
    with pytest.raises(NotAllowed):
        project.edit(SHORT, [{"op": "add_point", "t": 0, "x": 1, "y": 1}])
    with pytest.raises(Unknown):
        project.clips(99)


def test_annotators_see_and_change_what_is_theirs(crew: Team) -> None:
    project = crew.project
    for call in (project.points, project.clip, project.comments, project.to_tracks):
        with pytest.raises(NotAllowed, match="not assigned to you"):
            call(SHORT, user=crew.ann)
    with pytest.raises(NotAllowed):
        place_point(project, crew.ann)
    (share,) = project.assign(SHORT, [crew.ann], "points", by=crew.reviewer)
    assert (share.state, share.blind, project.clip(SHORT, crew.ann).state) == ("open", False, "open")
    assert [clip.id for clip in project.clips(crew.ann)] == [SHORT] and len(project.clips(crew.owner)) == 2
    place_point(project, crew.ann)
    assert project.clip(SHORT, crew.ann).state == "in work" and project.clip(SHORT, crew.owner).assigned_to == ("ann",)
    for what in (
        lambda: project.add_clip("x", user=crew.ann),
        lambda: project.remove_clip(SHORT, crew.ann),
        lambda: project.assign(SHORT, [crew.ann], "points", by=crew.ann),
        lambda: project.agreement(SHORT, crew.ann),
        lambda: project.adopt(SHORT, 1, "mean", crew.ann),
        lambda: project.points(SHORT, crew.ann, of=crew.bob),
        lambda: project.review(share.id, "accept", user=crew.ann),
    ):
        with pytest.raises((NotAllowed, UsageError)):
            what()


def test_stages(crew: Team) -> None:
    project = crew.project
    project.assign(SHORT, [crew.ann], "objects", by=crew.owner)
    box = {"op": "set_box", "t": 0, "x0": 1, "y0": 1, "x1": 9, "y1": 9, "label": "dog"}
    project.edit(SHORT, [box], user=crew.ann)
    with pytest.raises(NotAllowed, match="stage of this clip is objects"):
        place_point(project, crew.ann)
    project.assign(SHORT, [crew.bob], "points", by=crew.owner)
    place_point(project, crew.bob)
    with pytest.raises(NotAllowed, match="only points"):
        project.edit(SHORT, [box], user=crew.bob)
    with pytest.raises(NotAllowed, match="someone else cleans up"):
        project.assign(SHORT, [crew.bob], "clean-up", by=crew.owner)
    cara = project.add_user("cara", "annotator", by=crew.owner).id
    project.assign(SHORT, [cara], "clean-up", by=crew.owner)
    project.edit(SHORT, [{**box, "t": 6}, SetKeyframe(1, 4, 5, 5)], user=cara)
    with pytest.raises(NotAllowed, match="someone else places"):
        project.assign(SHORT, [cara], "points", by=crew.owner)
    with pytest.raises(UsageError, match="has this clip for points already"):
        project.assign(SHORT, [crew.bob], "points", by=crew.owner)
    with pytest.raises(UsageError, match="given to annotators"):
        project.assign(SHORT, [crew.reviewer], "points", by=crew.owner)
    with pytest.raises(UsageError, match="a stage is one of"):
        project.assign(SHORT, [crew.bob], "dancing", by=crew.owner)  # type: ignore[arg-type]


def test_handing_in_and_review(crew: Team) -> None:
    project = crew.project
    (share,) = project.assign(SHORT, [crew.ann], "points", by=crew.owner)
    point = place_point(project, crew.ann)
    with pytest.raises(UsageError, match="not handed in"):
        project.review(share.id, "accept", user=crew.reviewer)
    with pytest.raises(NotAllowed):
        project.submit(share.id, crew.bob)
    assert (
        project.submit(share.id, crew.ann).state == "to review" and project.clip(SHORT, crew.ann).state == "to review"
    )
    for call in (
        lambda: project.edit(SHORT, [SetKeyframe(point, 3, 1, 1)], user=crew.ann),
        lambda: project.undo(SHORT, crew.ann),
        lambda: walk(project, crew.ann, point, 10),
    ):
        with pytest.raises(NotAllowed, match="handed this clip in"):
            call()
    project.edit(SHORT, [SetKeyframe(point, 5, 2, 2)], user=crew.reviewer)  # reviewers correct
    with pytest.raises(UsageError, match="say in a comment why"):
        project.review(share.id, "reject", " ", crew.reviewer)
    back = project.review(share.id, "reject", "the nose drifts", crew.reviewer)
    assert (back.state, back.comment) == ("in work", "the nose drifts")
    project.edit(SHORT, [SetKeyframe(point, 3, 1, 1)], user=crew.ann)
    project.submit(share.id, crew.ann)
    assert project.review(share.id, "accept", user=crew.reviewer).state == "accepted"
    assert project.clip(SHORT, crew.owner).state == "accepted"
    for user in (crew.ann, crew.reviewer, crew.owner):
        with pytest.raises(NotAllowed, match="accepted"):
            project.edit(SHORT, [SetKeyframe(point, 3, 2, 2)], user=user)
    project.review(share.id, "reject", "one more look", crew.owner)
    project.edit(SHORT, [SetKeyframe(point, 3, 2, 2)], user=crew.ann)


def blind(crew: Team) -> int:
    """A clip with one point, given to both annotators, who track it 3 px apart; the second sees less of it."""
    project = crew.project
    point = place_point(project, crew.owner)
    project.edit(SHORT, [SetKeyframe(point, 6, 30, 20)], user=crew.owner)
    project.assign(SHORT, [crew.ann, crew.bob], "points", blind=True, by=crew.owner)
    for user, x in ((crew.ann, 10.0), (crew.bob, 13.0)):
        (own,) = project.points(SHORT, user).points
        assert own.origin == point and own.id != point and [k.t for k in own.keyframes] == [0]
        walk(project, user, own.id, x)
    (own,) = project.points(SHORT, crew.bob).points
    project.edit(SHORT, [SetVisibility(own.id, 9, 12, "occluded")], user=crew.bob)
    project.edit(SHORT, [SetKeyframe(own.id, 0, 13, 20)], user=crew.bob)
    return point


def test_blind_annotators_do_not_see_one_another(crew: Team) -> None:
    point = blind(crew)
    project = crew.project
    (mine,), (theirs,) = (project.points(SHORT, user).points for user in (crew.ann, crew.bob))
    assert mine.id != theirs.id
    for user, other in ((crew.ann, theirs.id), (crew.bob, mine.id), (crew.ann, point)):
        with pytest.raises(Unknown):
            project.edit(SHORT, [SetKeyframe(other, 1, 1, 1)], user=user)
        with pytest.raises(Unknown):
            project.positions(SHORT, [other], user=user)
    assert [p.id for p in project.points(SHORT, crew.owner).points] == [point]
    assert [p.id for p in project.points(SHORT, crew.owner, of=crew.bob).points] == [theirs.id]
    assert {e.user for e in project.events(SHORT, user=crew.ann)} == {crew.owner, crew.ann}
    project.undo(SHORT, crew.ann)
    with pytest.raises(UsageError, match="nothing to undo"):  # the layout is not theirs to take back
        project.undo(SHORT, crew.ann)


def test_agreement(crew: Team) -> None:
    point = blind(crew)
    project = crew.project
    place_point(project, crew.bob, "only bob's")
    found = project.agreement(SHORT, crew.reviewer)
    (each,) = found.points
    assert (each.point, each.label, each.users) == (point, "nose", (crew.ann, crew.bob))
    assert each.median == pytest.approx(3 * 256 / 64) and each.within == (0, 0, 0, 0, 1)
    assert each.kappa == pytest.approx(0)  # one says always visible: no better than chance
    assert [(d.t, d.reason, d.value) for d in found.places] == [(0, "disagreement", 12.0), (9, "visibility", 3.0)]
    assert [user for user, _ in found.unmatched] == [crew.bob]
    report = project.report(crew.owner)
    assert report.agreement == (("short", pytest.approx(12), pytest.approx(0)),)


def test_cohens_kappa() -> None:
    one, other = (
        np.repeat([True, True, False, False], [20, 5, 10, 15]),
        np.repeat([True, False, True, False], [20, 5, 10, 15]),
    )
    assert cohen(one, other) == pytest.approx(0.4)  # the example that textbooks have
    assert cohen(one, one) == 1 and cohen(one[:0], other[:0]) is None and cohen(one[:3], other[:3]) == 1


def test_adopting(crew: Team) -> None:
    point = blind(crew)
    project = crew.project
    before = project.points(SHORT, crew.owner).points
    project.adopt(SHORT, point, crew.bob, crew.reviewer)
    (found,) = project.positions(SHORT, user=crew.owner)
    assert found.source == "k" + "p" * 11 and found.xy[4, 0] == 17 and not found.visible[9:].any()
    change = project.adopt(SHORT, point, "mean", crew.reviewer)
    assert [k.t for k in change.points[0].keyframes] == [0]
    (found,) = project.positions(SHORT, user=crew.owner)
    assert found.xy[4, 0] == pytest.approx(15.5) and found.xy[10, 0] == pytest.approx(20) and found.visible.all()
    for _ in range(2):
        project.undo(SHORT, crew.reviewer)
    assert [p.keyframes for p in project.points(SHORT, crew.owner).points] == [p.keyframes for p in before]
    extra = place_point(project, crew.bob, "extra", x=3)
    change = project.adopt(SHORT, extra, crew.bob, crew.owner)
    assert change.points[0].label == "extra" and len(project.points(SHORT, crew.owner).points) == 2
    again = project.adopt(SHORT, extra, crew.bob, crew.owner)  # once more is not another point
    assert [p.id for p in again.points] == [change.points[0].id]
    assert len(project.points(SHORT, crew.owner).points) == 2
    with pytest.raises(Unknown, match="says nothing"):
        project.adopt(SHORT, point, crew.owner, crew.owner)
    with pytest.raises(Unknown, match="no point 99"):
        project.adopt(SHORT, 99, crew.bob, crew.owner)


def test_comments(crew: Team) -> None:
    project = crew.project
    point = place_point(project, crew.owner)
    project.comment(SHORT, " look here ", crew.owner, t=3, point=point)
    project.comment(SHORT, "and here", crew.reviewer)
    assert [(c.text, c.t, c.point, c.user) for c in project.comments(SHORT, crew.owner)] == [
        ("look here", 3, point, crew.owner), ("and here", None, None, crew.reviewer),
    ]  # fmt: skip
    for bad in ({"text": " "}, {"text": "x" * 5000}, {"text": "x", "t": 12}, {"text": "x", "point": 77}):
        with pytest.raises(UsageError):
            project.comment(SHORT, user=crew.owner, **bad)  # type: ignore[arg-type]


def test_time_is_counted_between_edits_that_follow_each_other(crew: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    project = crew.project
    project.assign(SHORT, [crew.ann], "points", by=crew.owner)
    clock = iter(
        f"2026-01-01T10:{minute:02d}:{second:02d}.000+00:00" for minute, second in ((0, 0), (0, 20), (9, 0), (9, 30))
    )
    monkeypatch.setattr("tapkit.annotate.recorder.now", lambda: next(clock))
    point = place_point(project, crew.ann)
    for t in (1, 2, 3):
        project.edit(SHORT, [SetKeyframe(point, t, 1, 1)], user=crew.ann)
    assert project.assignments(user=crew.ann)[0].seconds == 50 and team.IDLE == 60
    rows: dict[Any, Any] = {row.user: row for row in project.report(crew.owner).rows}
    row = rows["ann"]
    assert (row.points, row.keyframes, row.edits, row.seconds, row.seconds_per_track) == (1, 4, 4, 50, 50)
    assert [row.user for row in project.report(crew.ann).rows] == ["ann"]
