"""PointOdyssey, PCK, re-detection, robustness, calibration, statistics."""

import numpy as np
import pytest

from tapkit.errors import ShapeError, UsageError
from tapkit.metrics.calibration import Reliability, reliability
from tapkit.metrics.pck import pck
from tapkit.metrics.pointodyssey import trajectory_metrics
from tapkit.metrics.redetection import (
    RedetectionEvents,
    hidden_before,
    reappearances,
    redetection_events,
    robustness,
)
from tapkit.metrics.statistics import mean_defined, paired_difference


def line(tracks=2, frames=10):
    """Points that move right by a pixel a frame."""
    xy = np.zeros((tracks, frames, 2))
    xy[..., 0] = np.arange(frames)
    return xy


# -- PointOdyssey ---------------------------------------------------------------------------------


def test_survival_is_the_share_of_frames_before_the_first_failure():
    truth, valid = line(), np.ones((2, 10), bool)
    answer = truth.copy()
    answer[0, 4:6] += 100.0  # lost at frame 4 and found again: it stays lost
    result = trajectory_metrics(truth, valid, answer)
    assert result.track_frames.tolist() == [4, 10]
    assert result.survival == pytest.approx(0.7)


def test_a_frame_without_ground_truth_cannot_fail():
    truth, valid = line(), np.ones((2, 10), bool)
    valid[0, 4:6] = False
    answer = truth.copy()
    answer[0, 4:6] += 100.0
    assert trajectory_metrics(truth, valid, answer).survival == 1.0


def test_distances_are_scaled_to_256_by_axis():
    truth, valid = np.zeros((1, 3, 2)), np.ones((1, 3), bool)
    result = trajectory_metrics(truth, valid, truth + [4.0, 0.0], (512, 1024))
    assert result.mte == pytest.approx(1.0)


def test_a_point_without_ground_truth_is_counted_and_left_out_of_the_median_error():
    truth, valid = line(), np.ones((2, 10), bool)
    valid[1] = False
    result = trajectory_metrics(truth, valid, truth + [3.0, 4.0])
    assert result.mte == pytest.approx(5.0)
    assert result.undefined_tracks == 1


def test_without_any_ground_truth_everything_is_undefined():
    result = trajectory_metrics(line(), np.zeros((2, 10), bool), line())
    assert np.isnan(result.delta_avg)
    assert np.isnan(result.mte)


# -- PCK ------------------------------------------------------------------------------------------


def test_pck_grows_with_the_object():
    truth, seen = np.zeros((1, 3, 2)), np.ones((1, 3), bool)
    assert pck(truth, seen, truth + 3.0, np.array([1e4, 100.0, 900.0])) == 0.5


def test_pck_is_undefined_where_nothing_is_visible_after_the_first_frame():
    seen = np.array([[True, False, False]])
    assert np.isnan(pck(np.zeros((1, 3, 2)), seen, np.zeros((1, 3, 2)), np.full(3, 100.0)))


def test_pck_needs_an_area_for_each_frame():
    with pytest.raises(ShapeError):
        pck(np.zeros((1, 3, 2)), np.ones((1, 3)), np.zeros((1, 3, 2)), np.ones(2))


# -- re-detection ---------------------------------------------------------------------------------


def test_only_reappearances_after_a_longer_absence_than_before_are_events():
    seen = np.array([[1, 0, 0, 1, 0, 1, 0, 0, 0, 1]], bool)
    events = reappearances(seen)
    assert (events.frame.tolist(), events.hidden.tolist()) == ([3, 9], [2, 3])


def test_hidden_frames_before_count_from_the_start_of_the_clip():
    assert hidden_before(np.array([[0, 0, 1, 0]], bool)).tolist() == [[0, 1, 2, 0]]


def test_a_point_found_again_exactly_has_redetection_one_and_a_lost_one_zero():
    seen = np.array([[1, 0, 1, 1]] * 2, bool)
    truth = line(2, 4)
    answer = truth.copy()
    answer[1] += 50.0
    events = redetection_events(truth, seen, answer, seen)
    assert events.jaccard.mean(1).tolist() == [1.0, 0.0]


def test_a_point_that_appears_late_makes_an_event():
    seen = np.array([[0, 1, 1, 1]], bool)
    assert redetection_events(line(1, 4), seen, line(1, 4), seen).hidden.tolist() == [1]


def test_redetection_without_events_is_undefined():
    assert np.isnan(RedetectionEvents.join([]).figures()["AJ_RD"])


def test_robustness_of_a_perfect_tracker():
    truth, seen = line(3, 12), np.ones((3, 12), bool)
    seen[:, 5:7] = False
    evaluated = np.ones(seen.shape, bool)
    result = robustness(truth, seen, truth, seen, evaluated)
    assert (result.survival, result.recovered, result.missed, result.false_visible) == (1.0, 1.0, 0.0, 0.0)
    assert result.jitter == pytest.approx(0.0, abs=1e-12)


def test_robustness_says_how_a_tracker_fails():
    truth, seen = line(1, 10), np.ones((1, 10), bool)
    seen[0, 3:5] = False
    answer = truth.copy()
    answer[0, 5:] += 60.0  # never finds it again
    said = np.ones_like(seen)
    said[0, 9] = False
    result = robustness(truth, seen, answer, said, np.ones(seen.shape, bool))
    assert result.survival == pytest.approx(0.5)
    assert result.recovered == 0.0
    assert result.missed == pytest.approx(1 / 8)
    assert result.false_visible == 1.0


# -- calibration ----------------------------------------------------------------------------------


def test_a_calibrated_forecast_has_no_calibration_error():
    random = np.random.default_rng(0)
    p = random.random(200_000)
    diagram = reliability(p, random.random(p.shape) < p)
    assert diagram.ece < 0.01
    assert diagram.brier == pytest.approx(1 / 6, abs=0.01)


def test_overconfidence_is_measured():
    assert reliability(np.full(100, 0.95), np.arange(100) < 50).ece == pytest.approx(0.45)


def test_diagrams_of_clips_add_up():
    random = np.random.default_rng(1)
    p, y = random.random(300), random.random(300) > 0.5
    parts = [reliability(p[i : i + 100], y[i : i + 100]) for i in (0, 100, 200)]
    whole, joined = reliability(p, y), Reliability.join(parts)
    assert joined.ece == pytest.approx(whole.ece)
    assert joined.entries.tolist() == whole.entries.tolist()


def test_logits_are_refused():
    with pytest.raises(UsageError, match="sigmoid"):
        reliability(np.array([2.5]), np.array([True]))


def test_a_probability_of_one_is_in_the_last_bin_and_an_empty_diagram_is_undefined():
    assert reliability(np.array([1.0]), np.array([True])).entries.tolist() == [0] * 9 + [1]
    assert np.isnan(reliability(np.array([]), np.array([], bool)).ece)


# -- statistics -----------------------------------------------------------------------------------


def test_undefined_values_are_counted_and_not_averaged():
    mean = mean_defined(np.array([0.2, np.nan, 0.4, np.nan]))
    assert (mean.value, mean.defined, mean.undefined) == (pytest.approx(0.3), 2, 2)


def test_a_mean_of_nothing_is_none():
    assert mean_defined(np.array([np.nan, np.nan])) == (None, None, None, 0, 2)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        mean = mean_defined(random.normal(0.5, 0.1, 40), resamples=400, seed=trial)
        covered += mean.low <= 0.5 <= mean.high
    assert 0.88 <= covered / 200 <= 0.99


def test_a_constant_gain_is_more_than_noise():
    first = np.random.default_rng(0).random(20)
    gain = paired_difference(first, first + 0.01 + np.linspace(0, 0.002, 20))
    assert gain.significant
    assert gain.p < 0.001
    assert gain.better == 20


def test_two_equal_trackers_do_not_differ():
    random = np.random.default_rng(3)
    first = random.random(30)
    difference = paired_difference(first, first + random.normal(0, 0.05, 30))
    assert not difference.significant
    assert difference.p > 0.05


def test_clips_that_one_of_them_lacks_are_left_out():
    difference = paired_difference(np.array([0.1, np.nan, 0.3, 0.2]), np.array([0.2, 0.5, 0.4, np.nan]))
    assert difference.clips == 2


def test_a_comparison_needs_two_clips():
    with pytest.raises(UsageError, match="two clips"):
        paired_difference(np.array([0.1]), np.array([0.2]))
