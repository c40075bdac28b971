"""TAP-Vid figures against hand-counted cases, and against a plain re-statement of the definitions."""

import numpy as np
import pytest

from tapkit.errors import ShapeError, UsageError
from tapkit.metrics.tapvid import THRESHOLDS, compare, evaluated_entries, sample_queries, tapvid_metrics


def clip(seed, tracks=6, frames=12):
    random = np.random.default_rng(seed)
    truth = random.uniform(0, 256, (tracks, frames, 2))
    answer = truth + random.normal(0, 4, truth.shape)
    return truth, random.random((tracks, frames)) > 0.3, answer, random.random((tracks, frames)) > 0.4


def by_definition(query, truth, seen, answer, said, mode):
    """Loops over entries, as the paper's section 3 reads."""
    agree = total = visible = 0
    within = np.zeros(5)
    hits = np.zeros(5)
    false = np.zeros(5)
    for n in range(len(truth)):
        for t in range(truth.shape[1]):
            if t == query[n] or (mode == "first" and t < query[n]):
                continue
            total += 1
            agree += seen[n, t] == said[n, t]
            visible += seen[n, t]
            for i, threshold in enumerate(THRESHOLDS):
                near = seen[n, t] and np.linalg.norm(truth[n, t] - answer[n, t]) < threshold
                within[i] += near
                hits[i] += near and said[n, t]
                false[i] += said[n, t] and not near
    return agree / total, (within / visible).mean(), (hits / (visible + false)).mean()


@pytest.mark.parametrize("mode", ["first", "strided"])
@pytest.mark.parametrize("seed", range(5))
def test_figures_follow_the_definition(seed, mode):
    truth, seen, answer, said = clip(seed)
    query = np.random.default_rng(seed + 9).integers(0, 8, len(truth))
    ours = tapvid_metrics(query, truth, seen, answer, said, mode)
    expected = by_definition(query, truth, seen, answer, said, mode)
    keys = ("occlusion_accuracy", "average_pts_within_thresh", "average_jaccard")
    assert [float(ours[k]) for k in keys] == pytest.approx(expected, abs=1e-12)


def test_an_error_exactly_on_a_threshold_is_too_far():
    truth = np.zeros((1, 2, 2))
    seen = np.ones((1, 2), bool)
    figures = tapvid_metrics(np.array([0]), truth, seen, truth + [2.0, 0.0], seen)
    assert (figures["pts_within_2"], figures["pts_within_4"]) == (0.0, 1.0)


def test_a_track_that_is_never_visible_leaves_figures_undefined():
    truth, _, answer, _ = clip(0)
    hidden = np.zeros(truth.shape[:2], bool)
    figures = tapvid_metrics(np.zeros(len(truth)), truth, hidden, answer, hidden)
    assert np.isnan(figures["average_jaccard"])
    assert np.isnan(figures["pts_within_1"])
    assert figures["occlusion_accuracy"] == 1.0


def test_an_answer_that_is_not_a_number_is_wrong():
    truth, seen = np.zeros((1, 3, 2)), np.ones((1, 3), bool)
    answer = np.full_like(truth, np.nan)
    assert tapvid_metrics(np.array([0]), truth, seen, answer, seen)["average_jaccard"] == 0.0


def test_positions_of_hidden_entries_are_never_looked_at():
    truth, seen, answer, said = clip(3)
    query = np.zeros(len(truth))
    filler = np.where(seen[..., None], truth, np.nan)
    assert tapvid_metrics(query, truth, seen, answer, said) == tapvid_metrics(query, filler, seen, answer, said)


def test_sums_over_parts_give_the_figures_of_the_whole():
    truth, seen, answer, said = clip(1)
    entries = compare(truth, seen, answer, said, evaluated_entries(np.zeros(len(truth)), truth.shape[1], "first"))
    bins = np.random.default_rng(0).integers(0, 4, seen.shape)
    assert [f.tolist() for f in entries.binned(bins, 4).sum()] == [f.tolist() for f in entries.sum()]


def test_entries_in_no_bin_are_left_out():
    truth, seen, answer, said = clip(2)
    entries = compare(truth, seen, answer, said, np.ones(seen.shape, bool))
    assert entries.binned(np.full(seen.shape, -1), 3).evaluated.tolist() == [0, 0, 0]


def test_frames_that_were_never_annotated_can_be_left_out():
    truth, seen, answer, said = clip(4)
    where = np.zeros(seen.shape, bool)
    where[:, 5:] = True
    ours = tapvid_metrics(np.full(len(truth), 4), truth, seen, answer, said, where=where)
    cut = tapvid_metrics(np.full(len(truth), -1), truth[:, 5:], seen[:, 5:], answer[:, 5:], said[:, 5:])
    assert ours == cut


def test_first_queries_drop_tracks_that_are_never_visible():
    seen = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]], bool)
    rows = sample_queries(seen, "first")
    assert (rows.track.tolist(), rows.frame.tolist()) == ([0, 2], [2, 0])


def test_strided_queries_are_ordered_by_frame_and_then_by_track():
    seen = np.ones((2, 7), bool)
    seen[0, 3] = False
    rows = sample_queries(seen, "strided", 3)
    assert list(zip(rows.frame.tolist(), rows.track.tolist(), strict=True)) == [(0, 0), (0, 1), (3, 1), (6, 0), (6, 1)]


@pytest.mark.parametrize(
    "call",
    [
        lambda: sample_queries(np.ones((2, 3)), "last"),
        lambda: sample_queries(np.ones((2, 3)), "strided", 0),
        lambda: evaluated_entries(np.zeros(1), 3, "last"),
    ],
)
def test_unknown_modes_and_strides_are_refused(call):
    with pytest.raises(UsageError):
        call()


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ShapeError, match="visible must be"):
        compare(np.zeros((2, 3, 2)), np.ones((2, 3)), np.zeros((2, 3, 2)), np.ones((2, 4)), np.ones((2, 3), bool))
