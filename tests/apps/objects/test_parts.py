"""Assignment, propagation, detections, scores: against independent programs and values worked out by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from tapkit.apps.objects import Detections, ObjectTracks, score_objects
from tapkit.apps.objects.assignment import assign
from tapkit.apps.objects.propagation import fit_similarity, move_box
from tapkit.apps.objects.scores import _clear, _Frames, _hota, _idf1
from tapkit.errors import ShapeError, UsageError
from tapkit.types import VideoInfo


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (6, 4), (7, 7), (30, 40)])
def test_the_assignment_is_the_best_one(shape: tuple[int, int]) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    for seed in range(5):
        table = np.random.default_rng(seed).random(shape)
        minimum = 0.3
        gain = np.maximum(table - minimum, 0)
        rows, columns = optimize.linear_sum_assignment(-gain)
        pairs = assign(table, minimum)
        assert sum(table[p] - minimum for p in pairs) == pytest.approx(gain[rows, columns].sum())
        assert all(table[p] >= minimum for p in pairs) and len({c for _, c in pairs}) == len(pairs)


def test_the_assignment_by_hand() -> None:
    table = np.random.default_rng(3).random((4, 4))
    best = max(sum(table[i, p[i]] for i in range(4)) for p in permutations(range(4)))
    assert sum(table[p] for p in assign(table, 0.0)) == pytest.approx(best)
    assert assign(np.zeros((0, 3)), 0.1) == [] and assign(np.full((2, 2), 0.05), 0.1) == []


def test_a_box_moves_and_grows_with_its_points_in_spite_of_outliers() -> None:
    random = np.random.default_rng(0)
    before = random.random((16, 2)) * 40 + 100
    after = before * 1.2 + (5, -9)
    after[:6] += random.normal(0, 40, (6, 2))  # six of sixteen have gone astray
    scale, shift = fit_similarity(before, after)
    assert scale == pytest.approx(1.2, abs=1e-6) and np.allclose(shift, (5, -9), atol=1e-4)
    box = np.array([100, 100, 140, 140.0])
    assert np.allclose(move_box(box, before, after), box * 1.2 + [5, -9, 5, -9], atol=1e-3)
    assert np.allclose(move_box(box, before[:1], before[:1] + 3), box + 3)
    assert (move_box(box, before[:0], before[:0]) == box).all()
    assert np.allclose(move_box(box, before[[0, 0]], before[[0, 0]] + 2), box + 2)  # one place, twice


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (([[1, 2, 3]],), ShapeError, "[M,4]"),
        (([[1, 2, np.nan, 4]],), UsageError, "finite"),
        (([[10, 10, 5, 20]],), UsageError, "no area"),
        (([[1, 2, 3, 4]], 1.5), UsageError, "0..1"),
        (([[1, 2, 3, 4]], np.nan), UsageError, "0..1"),
        (([[1, 2, 3, 4]], [0.5, 0.5]), ShapeError, "one score"),
        (([[1, 2, 3, 4]], 1.0, "", np.ones((2, 4, 4))), ShapeError, "masks"),
    ],
)
def test_detections_that_cannot_be_are_said_in_a_sentence(given: tuple, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said.replace("[", r"\[").replace(".", r"\.")):
        Detections.of(*given)


def test_a_point_on_the_border_is_outside_and_mask_values_are_interpolated() -> None:
    box = Detections.of([(10, 10, 20, 20)])
    assert box.contains(np.array([(10, 15), (10.01, 15), (20, 15.0)]))[:, 0].tolist() == [0, 1, 0]
    mask = np.zeros((1, 4, 4), bool)
    mask[0, :, 2:] = True
    values = Detections.of([(2, 0, 4, 4)], mask=mask).contains(np.array([(2.5, 2), (2, 2), (1.5, 2), (9, 9.0)]))
    assert values[:, 0].tolist() == [1, 0.5, 0, 0]


def test_what_supervision_hands_over() -> None:
    class Found:
        xyxy = np.array([[1, 2, 3, 4.0]])
        confidence, class_id, mask = np.array([0.7]), np.array([3]), None

        def __init__(self) -> None:
            self.data = {"class_name": np.array(["cat"])}

    found = Detections.of_supervision(Found())
    assert found.score.tolist() == [0.7] and found.label.tolist() == ["cat"]


# -- scores -------------------------------------------------------------------------------------------


def test_scores_of_the_golden_case() -> None:
    """Two frames, gt {0,1} twice, tracker {0,1} then {0,2}, overlaps 0.9 and 0.8 on the diagonal."""
    overlap = np.diag([0.9, 0.8])
    frames = _Frames([np.array([0, 1])] * 2, [np.array([0, 1]), np.array([0, 2])], [overlap] * 2)
    assert np.round(_hota(frames), 4).tolist() == [0.7901, 0.8772, 0.7368]
    assert _idf1(frames) == 0.75 and _clear(frames) == (0.75, 1)


def made(rng: np.random.Generator, frames: int, count: int, noise: float, swaps: float) -> ObjectTracks:
    centre = rng.random((count, 1, 2)) * 200 + rng.normal(0, 3, (count, frames, 2)).cumsum(1)
    rows = []
    ids = np.arange(1, count + 1)
    for t in range(frames):
        if rng.random() < swaps:
            ids = rng.permutation(ids)
        for n in range(count):
            if rng.random() < 0.85:
                low = centre[n, t] + rng.normal(0, noise, 2)
                rows.append((t, ids[n], (*low, *(low + 40 + rng.normal(0, noise, 2)))))
    columns = [np.array(c) for c in zip(*rows, strict=True)]
    k = len(rows)
    return ObjectTracks(*columns, np.ones(k), np.full(k, ""), np.zeros(k, bool), VideoInfo(300, 300, frames=frames))


@pytest.mark.parametrize("seed", range(4))
def test_scores_agree_with_trackeval(seed: int) -> None:
    metrics = pytest.importorskip("trackeval.metrics")
    from tapkit.apps.objects.scores import _frames

    truth = made(np.random.default_rng(seed), 12, 5, 0, 0)
    found = made(np.random.default_rng(seed), 12, 5, 6, 0.3)
    frames = _frames(truth, found)
    counts = frames.counts
    data = {
        "num_timesteps": len(frames.truth), "num_gt_ids": len(counts[0]), "num_tracker_ids": len(counts[1]),
        "num_gt_dets": int(counts[0].sum()), "num_tracker_dets": int(counts[1].sum()), "gt_ids": frames.truth,
        "tracker_ids": frames.found, "similarity_scores": frames.overlap,
    }  # fmt: skip
    theirs = metrics.HOTA().eval_sequence(data)
    ours = score_objects(truth, found)
    expected = [float(np.mean(theirs[name])) for name in ("HOTA", "DetA", "AssA")]
    assert [ours.hota, ours.deta, ours.assa] == pytest.approx(expected, abs=1e-9)
    assert ours.idf1 == pytest.approx(metrics.Identity({"PRINT_CONFIG": False}).eval_sequence(data)["IDF1"])
    clear = metrics.CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
    assert (ours.mota, ours.switches) == (pytest.approx(clear["MOTA"]), clear["IDSW"])


def test_scores_of_nothing() -> None:
    truth = made(np.random.default_rng(0), 3, 2, 0, 0)
    nothing = truth[np.zeros(len(truth), bool)]
    assert score_objects(truth, nothing) == (0, 0, 0, 0, 0, 0)
    assert score_objects(truth, truth) == pytest.approx((1, 1, 1, 1, 1, 0))
