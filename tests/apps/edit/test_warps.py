"""Moving least squares and splines against the golden numbers, and on a bend that is known."""

from __future__ import annotations

import numpy as np
import pytest

from tapkit.apps.edit.hull import hull, outside
from tapkit.apps.edit.mesh import ALPHA, folds
from tapkit.apps.edit.warps import LOCALS, Spline, mls
from tapkit.errors import UsageError

P = np.array([(10, 10), (90, 12), (88, 70), (12, 66), (50, 40)], float)
Q = np.array([(14, 18), (95, 30), (84, 86), (8, 72), (51, 52)], float)
W = np.array([1, 1, 0.5, 1, 2])
V = np.array([[30.0, 30.0]])


@pytest.mark.parametrize(
    ("kind", "there"),
    [("affine", (31.773762, 39.790739)), ("similarity", (31.947460, 39.592327)), ("rigid", (32.014918, 39.642525))],
)
def test_golden_moving_least_squares(kind: str, there: tuple[float, float]) -> None:
    np.testing.assert_allclose(mls(V, P, Q, W, kind), [there], atol=1e-6)  # type: ignore[arg-type]
    np.testing.assert_allclose(mls(V.astype(np.float32), P, Q, W, kind), [there], atol=1e-4)  # type: ignore[arg-type]


def test_golden_splines() -> None:
    loose, stiff = Spline.fit(P, Q, stiffness=0), Spline.fit(P, Q, stiffness=1000)
    assert loose is not None and stiff is not None
    np.testing.assert_allclose(loose(V), [[31.915871, 39.781232]], atol=1e-6)
    np.testing.assert_allclose(stiff(V), [[31.803691, 39.770678]], atol=1e-6)
    np.testing.assert_allclose(stiff(P[4:]), [[50.781403, 51.992911]], atol=1e-6)
    np.testing.assert_allclose(loose(P), Q, atol=1e-8)


def bend(xy: np.ndarray) -> np.ndarray:
    return xy + np.stack([8 * np.sin(2 * np.pi * xy[..., 1] / 300), 0 * xy[..., 0]], -1)


def test_a_smooth_bend() -> None:
    """Acceptance (b): amplitude 8 px, 150 points: mean error below 0.4 px within the hull."""
    p = np.random.default_rng(0).uniform(0, 1, (150, 2)) * (300, 200)
    grid = np.stack(np.meshgrid(np.arange(0, 300, 5.0), np.arange(0, 200, 5.0)), -1)
    inside = outside(grid.reshape(-1, 2), hull(p)).reshape(grid.shape[:2]) == 0
    spline = Spline.fit(p, bend(p))
    assert spline is not None and inside.mean() > 0.85
    for warp in (mls(grid, p, bend(p), np.ones(150), "affine", ALPHA), spline(grid)):
        assert np.hypot(*np.moveaxis(warp - bend(grid), -1, 0))[inside].mean() < 0.4


@pytest.mark.parametrize("kind", LOCALS)
def test_points_stay_on_their_points(kind: str) -> None:
    q = bend(P) + 3
    there = mls(P, P, q, np.ones(5), kind, nearest=1e-3)  # type: ignore[arg-type]
    np.testing.assert_allclose(there, q, atol=1e-3)


def test_duplicates_lines_and_few_points_are_no_spline() -> None:
    assert Spline.fit(P[:3], Q[:3]) is None
    line = np.column_stack([np.arange(9.0), np.arange(9.0)])
    assert Spline.fit(line, line + 1, stiffness=0) is None
    doubled = Spline.fit(np.concatenate([P, P]), np.concatenate([Q, Q]), stiffness=0)
    assert doubled is not None
    np.testing.assert_allclose(doubled(V), [[31.915871, 39.781232]], atol=1e-6)


def test_many_points_are_thinned_out() -> None:
    p = np.random.default_rng(0).uniform(0, 1, (600, 2)) * (300, 200)
    spline = Spline.fit(p, bend(p))
    assert spline is not None and len(spline.points) == 300
    assert np.hypot(*(spline(p) - bend(p)).T).mean() < 0.4


def test_an_unknown_kind_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="affine, similarity, rigid"):
        mls(V, P, Q, W, "projective")  # type: ignore[arg-type]


def test_folds_are_seen() -> None:
    grid = np.stack(np.meshgrid(np.arange(0, 40, 8.0), np.arange(0, 40, 8.0)), -1)
    over = grid.copy()
    over[2, 2] += (-17, 0)
    assert not folds(grid, grid) and folds(over, grid) and not folds(-grid, -grid)
