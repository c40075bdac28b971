"""Lengths, directions and joints of skeletons, against figures worked out by hand."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tapkit.cli.main import app
from tapkit.errors import UsageError
from tapkit.motion import Scale, edge_lengths, edge_rows, edge_stats, joint_angles, write_stats
from tapkit.types import Queries, Tracks, VideoInfo


def arm(seen: np.ndarray | None = None, aspect: int = 1, times: np.ndarray | None = None) -> Tracks:
    """Shoulder at rest, elbow 30 px to its right, hand 40 px from the elbow: down, right, up, back on the shoulder."""
    shoulder, elbow = np.tile([100.0, 100.0], (4, 1)), np.tile([130.0, 100.0], (4, 1))
    hand = elbow + np.array([[0.0, 40.0], [40.0, 0.0], [0.0, -40.0], [-30.0, 0.0]])
    xy = np.stack([shoulder, elbow, hand])
    seen = np.ones((3, 4)) if seen is None else seen
    info = VideoInfo(640, 480, Fraction(25), 4, times, pixel_aspect=Fraction(aspect), start_frame=1001)
    queries = Queries(np.zeros(3, int), xy[:, 0], np.array(["shoulder", "elbow", "hand"]))
    edges = (("shoulder", "elbow"), ("elbow", "hand"))
    ones = np.ones((3, 4))
    return Tracks(xy, seen, ones, ones > 0, queries, info, skeleton=edges)


def test_lengths_and_directions() -> None:
    edges = edge_lengths(arm(), Scale(0.5, "mm"))
    assert edges.names == ["shoulder-elbow", "elbow-hand"]
    np.testing.assert_allclose(edges.length, [[15] * 4, [20, 20, 20, 15]], atol=1e-9)
    np.testing.assert_allclose(edges.direction, [[0] * 4, [-90, 0, 90, 180]], atol=1e-9)


def test_joints() -> None:
    joints = joint_angles(arm())
    assert joints.names == ["shoulder-elbow-hand"]
    np.testing.assert_allclose(joints.angle, [[90, 180, 90, 0]], atol=1e-9)


def test_three_edges_in_a_point_are_three_joints() -> None:
    tracks = arm()
    hub = Tracks.join([tracks, tracks[["hand"]].with_(queries=Queries([0], [[1.0, 1.0]], ["other"]))])
    hub = hub.with_(skeleton=(*hub.skeleton, ("elbow", "other")))
    assert joint_angles(hub).names == ["shoulder-elbow-hand", "shoulder-elbow-other", "hand-elbow-other"]


def test_what_was_not_seen_is_not_measured() -> None:
    seen = np.ones((3, 4))
    seen[2, 1] = 0
    tracks = arm(seen)
    assert np.isnan(edge_lengths(tracks).length).tolist() == [[False] * 4, [False, True, False, False]]
    assert np.isnan(joint_angles(tracks).angle).tolist() == [[False, True, False, False]]
    assert not np.isnan(edge_lengths(tracks, hidden=True).length).any()
    never = arm(np.zeros((3, 4)))
    assert all(row["frames"] == 0 and row["mean_length_px"] is None for row in edge_stats(never))


def test_pixels_that_are_not_square_are_made_so() -> None:
    edges = edge_lengths(arm(aspect=2))
    np.testing.assert_allclose(edges.length, [[60] * 4, [40, 80, 40, 60]], atol=1e-9)


def test_points_in_the_same_place_have_a_length_but_no_angle() -> None:
    tracks = arm()
    xy = tracks.xy.copy()
    xy[2, 0] = xy[1, 0]
    same = tracks.with_(xy=xy)
    assert edge_lengths(same).length[1, 0] == 0 and np.isnan(edge_lengths(same).direction[1, 0])
    assert np.isnan(joint_angles(same).angle[0, 0])


def test_statistics_of_edges_and_joints() -> None:
    upper, fore, joint = edge_stats(arm(), Scale(0.5, "mm"))
    assert (upper["name"], upper["kind"], upper["frames"]) == ("shoulder-elbow", "edge", 4)
    assert fore["mean_length_mm"] == pytest.approx(18.75) and fore["min_length_mm"] == pytest.approx(15)
    assert fore["max_length_mm"] == pytest.approx(20)
    assert (joint["name"], joint["kind"], joint["mean_length_mm"]) == ("shoulder-elbow-hand", "joint", None)
    assert (joint["mean_angle_deg"], joint["min_angle_deg"]) == pytest.approx((90, 0), abs=1e-9)


def test_directions_around_180_have_their_mean_there() -> None:
    tracks = arm()
    turn = np.radians([170, 175, -175, -170])
    xy = tracks.xy.copy()
    xy[2] = xy[1] + 40 * np.stack([np.cos(turn), -np.sin(turn)], 1)
    fore = edge_stats(tracks.with_(xy=xy))[1]
    assert abs(fore["mean_angle_deg"]) == pytest.approx(180, abs=1e-4)
    assert fore["max_angle_deg"] - fore["min_angle_deg"] == pytest.approx(20, abs=1e-3)


def test_a_line_for_each_frame_by_the_footages_count_and_times(tmp_path: Path) -> None:
    times = np.array([0.0, 0.1, 0.15, 0.4])
    tracks = arm(times=times)
    path = write_stats(edge_rows(tracks, Scale(0.5, "mm")), tmp_path / "e.csv")
    head, *rows = csv.reader(path.open())
    assert head == [
        "frame", "time_s", "shoulder-elbow length_mm", "shoulder-elbow angle_deg", "elbow-hand length_mm",
        "elbow-hand angle_deg", "shoulder-elbow-hand angle_deg",
    ]  # fmt: skip
    assert [row[0] for row in rows] == ["1001", "1002", "1003", "1004"]
    assert [float(row[1]) for row in rows] == times.tolist()
    assert [float(row[4]) for row in rows] == pytest.approx([20, 20, 20, 15])


def test_tracks_without_a_skeleton_are_told_so() -> None:
    for measure in (edge_lengths, joint_angles, edge_stats, edge_rows):
        with pytest.raises(UsageError, match="no skeleton"):
            measure(arm().with_(skeleton=()))


def run(*arguments: str) -> None:
    assert app.main(list(arguments), prog_name="tapkit", standalone_mode=False) in (None, 0)


def test_the_command_takes_edges_or_those_that_are_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(arm().save(tmp_path / "arm.npz"))
    run("stats", path, "--skeleton", "stored")
    said = capsys.readouterr().out
    assert "shoulder-elbow-hand" in said and "mean_angle_deg" in said
    run("stats", path, "--skeleton", "shoulder-hand", "--scale", "0.5 mm")
    said = capsys.readouterr().out
    assert "shoulder-hand" in said and "mean_length_mm" in said and "elbow" not in said
    out = tmp_path / "frames.csv"
    run("stats", path, str(out), "--skeleton", "stored", "--per-frame", "--quiet")
    assert len(out.read_text().splitlines()) == 5
    with pytest.raises(UsageError, match="goes with --skeleton"):
        run("stats", path, "--per-frame")
    with pytest.raises(UsageError, match="no point is called 'knee'"):
        run("stats", path, "--skeleton", "shoulder-knee")
