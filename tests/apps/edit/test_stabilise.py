"""Shake taken out, measured on a clip whose shake is known; paths, crops and what moves against the static scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planes import SIZE, clip, matrices, move, plane_tracks, points, tracks_of

from tapkit.apps.edit import EditWarning, Motion, prepare, stabilise
from tapkit.apps.edit.background import agreeing, background_motion, static_votes
from tapkit.apps.edit.region import rectangle
from tapkit.apps.edit.stabilise import crop_of, largest_rectangle, plan, smooth_path, way_in
from tapkit.errors import UsageError
from tapkit.types import Tracks

WHOLE = rectangle(0, 0, SIZE[1], SIZE[0])


def shaken(frames: int, seed: int = 0) -> np.ndarray:
    """A camera that shakes by 2 px RMS in either direction, still on frame 0."""
    shift = np.random.default_rng(seed).normal(0, 2, (frames, 2))
    shift[0] = 0
    out = np.tile(np.eye(3), (frames, 1, 1))
    out[:, :2, 2] = shift
    return out


def everywhere(truth: np.ndarray, noise: float = 0.3, count: int = 150) -> Tracks:
    return plane_tracks(truth, count, noise, 0.1, WHOLE)


def residual(result: object, truth: np.ndarray) -> np.ndarray:
    """Where scene points are shown, less their mean over time [T,n,2]."""
    spots = points(20, WHOLE)
    shown = []
    for t, matrix in enumerate(truth):
        shown.append(move(np.linalg.inv(way_in(result, t, SIZE)), move(matrix, spots)))  # type: ignore[arg-type]
    return np.stack(shown) - np.mean(shown, 0)


def test_a_locked_picture_stands_still(tmp_path: Path) -> None:
    """Acceptance (d): a clip shaken by 2 px RMS: below 0.25 px RMS, at least 90 % of the frame."""
    truth = shaken(24)
    film = clip(truth[:6])
    result = stabilise(
        film, tmp_path / "%03d.png", mode="lock", model="translation", tracks=everywhere(truth).time(0, 6)
    )
    long = plan(background_motion(prepare(everywhere(truth)), 0, "translation"), SIZE, 25.0, "lock", 1.0, "fixed")
    assert np.sqrt((residual(long, truth) ** 2).mean()) < 0.25
    assert crop_of(long) >= 0.9 and np.ptp(long.crop, 0).max() == 0
    pictures = np.stack([np.asarray(Image.open(tmp_path / f"{t:03d}.png"), float) for t in range(6)])
    inner = pictures[:, 15:-15, 15:-15]
    assert (
        np.abs(inner - inner[0]).mean()
        < 0.25 * np.abs(film[:, 15:-15, 15:-15].astype(float) - film[0, 15:-15, 15:-15]).mean()
    )
    assert (pictures[:, [0, -1]] > 5).any(-1).mean() > 0.99  # no black edges
    assert result.zoom.max() < 1.12


def test_a_smooth_camera_goes_on(tmp_path: Path) -> None:
    """A pan of 3 px a frame with shake: what is left is the pan, straight to a fraction of the shake."""
    truth = shaken(60)
    truth[:, 0, 2] += 3 * np.arange(60)
    motion = background_motion(prepare(_wide(truth)), 0, "translation")
    result = plan(motion, SIZE, 25.0, "smooth", 2.0, "none")
    shake = residual(result, truth)[5:-5].mean(1)
    straight = np.polynomial.polynomial.polyfit(np.arange(50), shake, 1)
    left = shake - np.polynomial.polynomial.polyval(np.arange(50), straight).T
    assert 2.5 < straight[1, 0] < 3.5 and np.sqrt((left**2).mean()) < 0.8
    jitter = np.diff(shake, 2, axis=0)
    before = np.diff(truth[5:-5, :2, 2], 2, axis=0)
    assert np.sqrt((jitter**2).mean()) < 0.1 * np.sqrt((before**2).mean())


def _wide(truth: np.ndarray) -> Tracks:
    """Points of a scene wider than the picture, each seen while it is in view."""
    start = np.random.default_rng(0).uniform((-200, 0), (SIZE[1], SIZE[0]), (500, 2))
    xy = np.stack([move(matrix, start) for matrix in truth], 1)
    seen = ((xy > 0) & (xy < (SIZE[1], SIZE[0]))).all(-1)
    return tracks_of(xy, seen.astype(float))


def test_the_smooth_path_is_the_least_of_its_cost() -> None:
    path = np.random.default_rng(0).normal(0, 1, (30, 2)).cumsum(0)
    smooth = smooth_path(path, 3.0, third=5.0)
    second, third = np.diff(np.eye(30), 2, axis=0), np.diff(np.eye(30), 3, axis=0)
    system = np.eye(30) + 81 * second.T @ second + 5 * third.T @ third
    np.testing.assert_allclose(smooth, np.linalg.solve(system, path), atol=1e-8)
    line = np.outer(np.arange(30.0), (1, -2))
    np.testing.assert_allclose(smooth_path(line, 9.0), line, atol=1e-6)


def test_the_largest_rectangle_is_inside_all_and_touches() -> None:
    dice = np.random.default_rng(0)
    quads = WHOLE + dice.uniform(-12, 12, (9, 1, 2)) + dice.uniform(-3, 3, (9, 4, 2))
    left, top, right, bottom = largest_rectangle(quads, SIZE)
    assert (right - left) / (bottom - top) == pytest.approx(SIZE[1] / SIZE[0])
    corners = rectangle(left, top, right, bottom)
    inside = []
    for scale in (1.0, 1.02):
        grown = corners.mean(0) + scale * (corners - corners.mean(0))
        side = np.roll(quads, -1, 1) - quads
        gap = grown[None, :, None] - quads[:, None]
        inside.append(bool((side[:, None, :, 0] * gap[..., 1] - side[:, None, :, 1] * gap[..., 0] > -1e-3).all()))
    assert inside == [True, False]
    np.testing.assert_allclose(largest_rectangle(WHOLE[None], SIZE), [0, 0, SIZE[1], SIZE[0]], atol=1e-6)


def known_motion(truth: np.ndarray) -> Motion:
    """The motion of a camera that is known exactly."""
    count = len(truth)
    one, none = np.ones(count), np.zeros((0, count))
    rows = np.zeros(0, int)
    return Motion(truth, one, ("translation",) * count, ("fitted",) * count, one, 0, WHOLE, rows, none, 0 * one)


def test_smoothing_weakens_before_the_picture_is_enlarged_too_far() -> None:
    truth = np.tile(np.eye(3), (80, 1, 1))
    truth[15:, 0, 2] = 70  # a jump that a strong smoothing would cut off
    motion = known_motion(truth)
    result = plan(motion, SIZE, 25.0, "smooth", 4.0, "fixed")
    assert result.strength < 4 and result.zoom.max() <= 1.3 + 1e-6
    with pytest.warns(EditWarning, match="enlarged by"):
        locked = plan(motion, SIZE, 25.0, "lock", 1.0, "fixed")
    assert locked.zoom.max() == pytest.approx(1.3)
    adaptive = plan(motion, SIZE, 25.0, "smooth", 0.1, "adaptive")
    assert np.ptp(adaptive.zoom) > 0.01 and np.abs(np.diff(adaptive.zoom)).max() < 0.05


def test_edges_are_taken_from_other_frames(tmp_path: Path) -> None:
    truth = shaken(6, 2) * 1.0
    truth[:, :2, 2] *= 3
    film = clip(truth)
    for crop in ("none", "inpaint-edges"):
        stabilise(
            film, tmp_path / crop / "%03d.png", mode="lock", model="translation", crop=crop, tracks=everywhere(truth)
        )  # type: ignore[arg-type]
    black = {}
    for crop in ("none", "inpaint-edges"):
        pictures = np.stack([np.asarray(Image.open(tmp_path / crop / f"{t:03d}.png")) for t in range(6)])
        black[crop] = (pictures.max(-1) < 8).mean()
    assert black["none"] > 0.01 and black["inpaint-edges"] < 0.2 * black["none"]


def test_the_static_scene_is_what_most_pairs_agree_on() -> None:
    """Points at several depths before a camera that moves sideways, and a third of them on things that move."""
    dice = np.random.default_rng(0)
    depth = dice.uniform(1, 3, 150)
    start = dice.uniform((10, 10), (160, 110), (150, 2))
    xy = np.stack([start + np.column_stack([-2.0 * t / depth, 0.4 * t / depth]) for t in range(20)], 1)
    xy[:50] += np.stack([np.column_stack([np.zeros(50), 1.5 * t * np.ones(50)]) for t in range(20)], 1)
    votes = static_votes(prepare(tracks_of(xy + dice.normal(0, 0.1, xy.shape))))
    assert (votes.static >= 50).mean() > 0.9 and len(votes.static) > 70


def test_what_moves_by_itself_does_not_agree_with_the_camera() -> None:
    """Cameras that move and turn in many ways, and up to 40 % of the points on one thing that moves."""
    dice = np.random.default_rng(0)
    kept, moving = [], []
    for seed in range(30):
        scene = dice.uniform((-4, -2.5, 4), (4, 2.5, 12), (120, 3))
        alone = dice.random(120) < dice.uniform(0.1, 0.4)
        after = scene + alone[:, None] * dice.normal(0, 0.4, 3) * (1, 1, 0.5)
        after = after + np.cross(dice.normal(0, 0.02, 3), after) + dice.normal(0, 0.25, 3)
        p, q = (xyz[:, :2] / xyz[:, 2:] * 900 + (640, 360) + dice.normal(0, 0.3, (120, 2)) for xyz in (scene, after))
        agree = agreeing(p, q, seed)
        assert agree is not None
        kept.append(agree[~alone].mean())
        moving.append(agree[alone].mean())
    assert np.min(kept) > 0.6 and np.mean(kept) > 0.9 and np.mean(moving) < 0.2, (kept, moving)


def test_too_few_points_have_no_geometry() -> None:
    p = np.random.default_rng(0).uniform(0, 100, (7, 2))
    assert agreeing(p, p + 1) is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "rolling"}, "model is translation"),
        ({"mode": "hold"}, "mode is lock or smooth"),
        ({"crop": "much"}, "crop one of"),
        ({"strength": 0}, "strength is more than 0"),
        ({"frame": 9}, "there is no frame 9"),
        ({"box": (500, 500, 600, 600)}, "no tracked point is visible in the region"),
    ],
)
def test_bad_usage_is_a_sentence(tmp_path: Path, options: dict[str, object], said: str) -> None:
    truth = shaken(4)
    with pytest.raises(UsageError, match=said):
        stabilise(np.zeros((4, *SIZE, 3), np.uint8), tmp_path / "o.mp4", tracks=everywhere(truth), **options)  # type: ignore[arg-type]
    assert not (tmp_path / "o.mp4").exists() and len(matrices(2)) == 2
