"""Motion models against the golden numbers, SciPy's optimum, and what degenerate points may not do."""

from __future__ import annotations

import numpy as np
import pytest
from planes import QUAD, matrices, move, plane_tracks, points
from scipy.optimize import minimize

from tapkit.apps.edit.models import KINDS, affine, apply, dlt, fit, homography, similarity, through
from tapkit.apps.edit.robust import robust_fit

P = np.array([(10, 10), (90, 12), (88, 70), (12, 66), (50, 40)], float)
Q = np.array([(14, 18), (95, 30), (84, 86), (8, 72), (51, 52)], float)
W = np.array([1, 1, 0.5, 1, 2])
V = np.array([[30.0, 30.0]])


def test_golden_numbers() -> None:
    found = similarity(P, Q, W)
    assert found is not None
    np.testing.assert_allclose(found[:2], [[0.997902, -0.137213, 6.071167], [0.137213, 0.997902, 5.327181]], atol=1e-6)
    assert np.hypot(found[0, 0], found[1, 0]) == pytest.approx(1.007291, abs=1e-6)
    assert np.degrees(np.arctan2(found[1, 0], found[0, 0])) == pytest.approx(7.829156, abs=1e-6)
    np.testing.assert_allclose(
        affine(P, Q, W)[:2], [[1.014207, -0.146116, 5.640820], [0.128828, 0.964071, 6.966091]], atol=1e-6
    )
    np.testing.assert_allclose(apply(dlt(P, Q, W), V), [[31.772183, 39.773684]], atol=1e-6)


def test_the_homography_is_at_the_optimum_of_its_error() -> None:
    def cost(h: np.ndarray) -> float:
        m = np.append(h, 1).reshape(3, 3)
        there, back = move(m, P) - Q, move(np.linalg.inv(m), Q) - P
        return float(W @ ((there**2).sum(1) + (back**2).sum(1)))

    start = dlt(P, Q, W).ravel()[:8]
    best = minimize(cost, start, method="Nelder-Mead", options={"maxfev": 20000, "xatol": 1e-10, "fatol": 1e-12}).fun
    found = homography(P, Q, W)
    assert cost(found.ravel()[:8]) < cost(start)
    assert cost(found.ravel()[:8]) == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_each_model_gives_back_its_own_motion(kind: str) -> None:
    truth = {
        "translation": [[1, 0, 4], [0, 1, -7], [0, 0, 1]],
        "similarity": [[1.1, -0.2, 4], [0.2, 1.1, -7], [0, 0, 1]],
        "affine": [[1.1, -0.2, 4], [0.4, 0.9, -7], [0, 0, 1]],
        "homography": [[1.1, -0.2, 4], [0.4, 0.9, -7], [1e-3, -2e-3, 1]],
    }[kind]
    q = move(np.array(truth), P)
    np.testing.assert_allclose(fit(kind, P, q, W), truth, atol=1e-8)  # type: ignore[arg-type]
    found = robust_fit(kind, P, q, W)  # type: ignore[arg-type]
    assert found is not None and found.kind == kind and found.support == pytest.approx(1)
    np.testing.assert_allclose(apply(found.matrix, P), q, atol=1e-6)


def test_a_plane_in_noise_and_outliers() -> None:
    """Acceptance (a): 200 points, 0.3 px of noise, 20 % outliers: corners to 0.15 px RMS and 0.6 px at most."""
    truth = matrices(30)
    quad = QUAD * 2
    tracks = plane_tracks(truth, 200, 0.3, 0.2, quad, (240, 352))
    gaps = []
    for t in range(1, 30):
        found = robust_fit(
            "homography", tracks.xy[:, 0].astype(float), tracks.xy[:, t].astype(float), np.ones(200), quad
        )
        assert found is not None and 0.75 < found.support < 0.9
        gaps.append(np.hypot(*(apply(found.matrix, quad) - move(truth[t], quad)).T))
    assert np.sqrt(np.mean(np.square(gaps))) < 0.15
    assert np.max(gaps) < 0.6


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_points_get_the_model_that_they_can_say(count: int) -> None:
    q = move(np.array([[1.1, -0.2, 4], [0.2, 1.1, -7], [0, 0, 1]]), P)
    found = robust_fit("homography", P[:count], q[:count], np.ones(count))
    assert found is not None and found.kind == ["translation", "similarity", "affine"][count - 1]
    np.testing.assert_allclose(apply(found.matrix, P[:count]), q[:count], atol=1e-6)


def test_points_on_a_line_make_a_similarity() -> None:
    p = np.column_stack([np.linspace(0, 90, 30), np.linspace(5, 50, 30)])
    found = robust_fit("homography", p, p * 1.2 + 3, np.ones(30))
    assert found is not None and found.kind == "similarity"
    np.testing.assert_allclose(apply(found.matrix, p), p * 1.2 + 3, atol=1e-6)


def test_points_that_are_all_one_only_move() -> None:
    p = np.tile(P[:1], (9, 1))
    found = robust_fit("affine", p, p + 5, np.ones(9))
    assert found is not None and found.kind == "translation"
    np.testing.assert_allclose(found.matrix[:2, 2], 5)


def test_no_points_give_nothing() -> None:
    assert robust_fit("similarity", P, Q, np.zeros(5)) is None


def test_a_region_is_never_turned_over_or_blown_up() -> None:
    p = points(60)
    mirrored = p * (-1, 1) + (180, 0)
    found = robust_fit("homography", p, mirrored, np.ones(60), QUAD)
    assert found is not None and np.linalg.det(found.matrix[:2, :2]) > 0
    huge = robust_fit("homography", p, (p - p.mean(0)) * 9 + p.mean(0), np.ones(60), QUAD)
    assert huge is not None and huge.kind != "homography"  # 81 times its area


def test_what_something_took_along_does_not_win_over_the_frame_before() -> None:
    p = points(100)
    q = p.copy()
    q[:60] += (25, 9)  # a hand takes more than half of them along
    alone = robust_fit("translation", p, q, np.ones(100))
    assert alone is not None and np.hypot(*(alone.matrix[:2, 2])) > 20
    kept = robust_fit("translation", p, q, np.ones(100), near=np.eye(3))
    assert kept is not None and np.abs(kept.matrix[:2, 2]).max() < 0.01 and kept.support == pytest.approx(0.4)


def test_the_same_seed_gives_the_same_model() -> None:
    dice = np.random.default_rng(1)
    p = points(80)
    q = move(matrices(9)[8], p) + dice.normal(0, 0.5, p.shape)
    q[:25] += dice.uniform(-30, 30, (25, 2))
    one, two = (robust_fit("homography", p, q, np.ones(80), seed=3) for _ in range(2))
    assert one is not None and two is not None and (one.matrix == two.matrix).all()


def test_three_corners_on_a_line_have_no_homography() -> None:
    line = np.array([(0, 0), (1, 1), (2, 2), (5, 0)], float)
    assert through(line, QUAD) is None
    np.testing.assert_allclose(apply(through(QUAD, QUAD + 3), QUAD), QUAD + 3, atol=1e-9)
