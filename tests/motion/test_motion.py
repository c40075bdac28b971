"""Distances, speeds, jumps, smoothing: by hand, with gaps and uneven frame times."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import medfilt, savgol_filter

from tapkit.errors import UsageError
from tapkit.motion import Scale, jumps, speeds, stats, steps, write_stats
from tapkit.types import Queries, Tracks, VideoInfo
from tapkit.types.smoothing import runs_of

GAP = slice(10, 14)


def made(xy: np.ndarray, seen: np.ndarray | None = None, times: np.ndarray | None = None, **video: object) -> Tracks:
    count, frames = xy.shape[:2]
    seen = np.ones((count, frames)) if seen is None else seen
    info = VideoInfo(640, 480, Fraction(30), frames=frames, times=times, **video)  # type: ignore[arg-type]
    queries = Queries(np.zeros(count, int), xy[:, 0], np.array([f"p{row}" for row in range(count)]))
    return Tracks(xy, seen, np.ones((count, frames)), np.ones((count, frames), bool), queries, info)


def uneven(frames: int) -> np.ndarray:
    return np.cumsum(np.random.default_rng(1).uniform(0.01, 0.09, frames))


@pytest.fixture
def walk() -> Tracks:
    """A point that moves 3, 4, 0 px in turn, unseen for four frames, at uneven times."""
    move = np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])[np.arange(29) % 3]
    xy = np.concatenate([[[100.0, 50.0]], 100 + np.cumsum(move, 0) - (0, 50)])[None]
    seen = np.ones((1, 30))
    seen[0, GAP] = 0
    return made(xy, seen, uneven(30))


def test_distances_and_speeds_are_exact_with_gaps_and_uneven_times(walk: Tracks) -> None:
    row = stats(walk)[0]
    times, xy = walk.times(), walk.xy[0].astype(float)
    between = [t for t in range(29) if not {t, t + 1} & set(range(10, 14))]
    length = sum(float(np.linalg.norm(xy[t + 1] - xy[t])) for t in between)
    seconds = sum(times[t + 1] - times[t] for t in between)
    assert row["path_length_px"] == pytest.approx(length, abs=1e-6)
    assert row["mean_speed_px_per_s"] == pytest.approx(length / seconds, rel=1e-9)
    assert row["displacement_px"] == pytest.approx(float(np.linalg.norm(xy[-1] - xy[0])), abs=1e-6)
    assert row["duration_s"] == pytest.approx(times[-1] - times[0])
    assert (row["frames"], row["visible_frames"], row["gaps"], row["longest_gap"]) == (30, 26, 1, 4)
    speed = speeds(steps(walk))[0]
    both = float(np.linalg.norm(xy[5] - xy[4]) + np.linalg.norm(xy[6] - xy[5])) / (times[6] - times[4])
    assert speed[5] == pytest.approx(both, rel=1e-9)
    assert speed[9] == pytest.approx(float(np.linalg.norm(xy[9] - xy[8])) / (times[9] - times[8]), rel=1e-9)
    assert np.isnan(speed[GAP]).all()
    assert row["max_speed_px_per_s"] == pytest.approx(np.nanmax(speed))


def test_a_scale_and_pixels_that_are_not_square_count() -> None:
    xy = np.zeros((1, 3, 2)) + np.array([[10.0, 10.0], [20.0, 10.0], [20.0, 30.0]])
    row = stats(made(xy, pixel_aspect=Fraction(2)), Scale.parse("0.5 mm"))[0]
    assert row["path_length_mm"] == pytest.approx(0.5 * (10 * 2 + 20))
    assert row["mean_speed_mm_per_s"] == pytest.approx(0.5 * 40 / (2 / 30))


def test_a_scale_may_be_its_text_or_a_number(walk: Tracks) -> None:
    assert stats(walk, "0.5 mm") == stats(walk, Scale(0.5, "mm"))
    assert "path_length_units" in stats(walk, 0.5)[0]
    with pytest.raises(UsageError, match="width of a pixel"):
        steps(walk, "wide")


@pytest.mark.parametrize("text", ["", "mm", "-1 mm", "0", "1 2", "1e999 m", "1.2.3"])
def test_what_is_no_scale_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="width of a pixel"):
        Scale.parse(text)


def test_a_point_seen_once_or_never_has_no_speed(walk: Tracks) -> None:
    seen = np.zeros((2, 30))
    seen[0, 4] = 1
    once, never = stats(made(np.repeat(walk.xy, 2, 0), seen))
    assert once["mean_speed_px_per_s"] is None and once["displacement_px"] == 0
    assert never["visible_frames"] == 0 and never["first_frame"] is None


def test_hidden_positions_count_where_asked(walk: Tracks) -> None:
    length = np.linalg.norm(np.diff(walk.xy[0].astype(float), axis=0), axis=1).sum()
    assert stats(walk, hidden=True)[0]["path_length_px"] == pytest.approx(float(length), abs=1e-6)


def test_jumps_are_long_steps_of_points_that_do_not_move_so() -> None:
    xy = np.tile(np.array([100.0, 100.0]), (3, 40, 1))
    xy[0, 20:] += (200, 0)  # jumps once
    xy[1] += np.arange(40)[:, None] * np.array([60.0, 0])  # is that fast all the time
    xy[2, 20:] += (20, 0)  # a short step
    assert [(j.point, j.frame) for j in jumps(made(xy))] == [(0, 20)]
    hidden = np.ones((3, 40))
    hidden[0, 20] = 0
    assert jumps(made(xy, hidden)) == []
    assert stats(made(xy))[0]["jumps"] == 1


def test_the_table_has_units_in_its_names_and_no_formulas(walk: Tracks, tmp_path: Path) -> None:
    named = walk.with_(queries=Queries(walk.queries.t, walk.queries.xy, np.array(["=1+1"])))
    path = write_stats(stats(named, Scale(0.1, "mm")), tmp_path / "s.csv")
    rows = list(csv.reader(path.open()))
    assert "path_length_mm" in rows[0] and "duration_s" in rows[0] and "max_speed_mm_per_s" in rows[0]
    assert rows[1][0] == "'=1+1"


def test_runs() -> None:
    begin, end = runs_of(np.array([[0, 1, 1, 0, 1, 1, 1]], bool))
    assert begin[0, [1, 2, 4, 5, 6]].tolist() == [1, 1, 4, 4, 4]
    assert end[0, [1, 2, 4, 5, 6]].tolist() == [3, 3, 7, 7, 7]


def test_smoothing_is_savitzky_and_golay_at_a_constant_rate() -> None:
    xy = np.random.default_rng(0).normal(200, 5, (3, 50, 2))
    tracks = made(xy)
    expected = savgol_filter(tracks.xy.astype(float), 9, 2, axis=1, mode="interp")
    np.testing.assert_allclose(tracks.smooth(9, 2).xy, expected, atol=2e-4)
    seen = np.ones((3, 50))
    seen[1, 20:23] = 0
    smooth = made(xy, seen).smooth(9, 2)
    np.testing.assert_allclose(
        smooth.xy[1, :20], savgol_filter(tracks.xy[1, :20].astype(float), 9, 2, axis=0), atol=2e-4
    )
    np.testing.assert_array_equal(smooth.xy[1, 20:23], tracks.xy[1, 20:23])


def test_a_parabola_stays_what_it_is_at_uneven_times() -> None:
    times = uneven(40)
    xy = np.stack([100 + 30 * times + 40 * times**2, 50 - 20 * times], -1)[None]
    np.testing.assert_allclose(made(xy, times=times).smooth(9, 2).xy, xy, atol=1e-3)


def test_medians_take_single_outliers_away() -> None:
    xy = np.random.default_rng(0).normal(200, 5, (1, 30, 2))
    xy[0, 15] += 300
    tracks = made(xy)
    smooth = tracks.smooth(5, method="median")
    expected = np.stack([medfilt(tracks.xy[0, :, axis].astype(float), 5) for axis in (0, 1)], -1)
    np.testing.assert_allclose(smooth.xy[0, 2:-2], expected[2:-2], atol=1e-4)
    assert np.abs(smooth.xy[0, 15] - 200).max() < 20


def test_what_a_human_set_stays(walk: Tracks) -> None:
    key = np.zeros((1, 30), bool)
    key[0, 7] = True
    smooth = walk.with_(keyframe=key).smooth(9)
    np.testing.assert_array_equal(smooth.xy[0, 7], walk.xy[0, 7])
    assert not np.array_equal(smooth.xy[0, 6], walk.xy[0, 6])
    assert walk.with_(keyframe=key, confidence=np.zeros((1, 30))).filter(0.5).valid[0].nonzero()[0].tolist() == [7]


def test_filled_gaps_are_straight_and_marked(walk: Tracks, tmp_path: Path) -> None:
    assert np.array_equal(walk.fill_gaps(3).confidence, walk.confidence)
    filled = walk.fill_gaps(4)
    times, xy = walk.times(), walk.xy[0].astype(float)
    share = (times[11] - times[9]) / (times[14] - times[9])
    np.testing.assert_allclose(filled.xy[0, 11], xy[9] + share * (xy[14] - xy[9]), atol=1e-4)
    assert (filled.confidence[0, GAP] == 0).all() and not filled.visible_at()[0, GAP].any()
    assert filled.valid.all()
    back = Tracks.load(filled.smooth(5).save(tmp_path / "t.npz"))
    assert [next(iter(edit)) for edit in back.source.options["edits"]] == ["fill_gaps", "smooth"]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda t: t.smooth(4), "odd"),
        (lambda t: t.smooth(5, 5), "order"),
        (lambda t: t.smooth(5, method="mean"), "savgol"),
        (lambda t: t.filter(2), "0..1"),
        (lambda t: t.fill_gaps(0), "at least one"),
    ],
)
def test_odd_requests_are_said(walk: Tracks, call: object, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        call(walk)  # type: ignore[operator]
