"""The parts by themselves: rigid motions, two views, bundle adjustment, placing frames and points, votes."""

from __future__ import annotations

from dataclasses import replace

import camera_scenes
import numpy as np
import pytest
from camera_scenes import observed

from tapkit.apps.camera import CameraOptions, Observations
from tapkit.apps.camera import rigid as r
from tapkit.apps.camera.bundle import (
    Edges,
    Kernel,
    Scene,
    adjust,
    cauchy,
    geman,
    huber,
    linearise,
    misses,
    moved,
    sorted_edges,
)
from tapkit.apps.camera.epipolar import relative_pose, rotation_between, sampson, two_view
from tapkit.apps.camera.intrinsics import focal_of_view, intrinsics_of, pixels
from tapkit.apps.camera.leap import per_component
from tapkit.apps.camera.options import Tolerances
from tapkit.apps.camera.place import NARROW, WIDE, locate, triangulate
from tapkit.apps.camera.votes import parallax, vote, without_moving
from tapkit.errors import ShapeError, UsageError

# -- rigid motions -----------------------------------------------------------------------------------


def test_logarithms_and_quaternions_undo_one_another() -> None:
    random = np.random.default_rng(0)
    axis = random.normal(size=(40, 3))
    angle = np.concatenate([[0, 1e-9, 1e-6, 1e-3, np.pi - 1e-4], random.uniform(0, 3.1, 35)])
    xi = np.concatenate([random.normal(size=(40, 3)), axis / np.linalg.norm(axis, axis=1)[:, None] * angle[:, None]], 1)
    motion = r.motion(xi)
    assert np.allclose(r.logarithm(motion), xi, atol=1e-8)
    assert np.allclose(r.of_quaternion(r.quaternion(motion[:, :3, :3])), motion[:, :3, :3], atol=1e-12)
    assert np.allclose(motion @ r.inverse(motion), np.eye(4), atol=1e-12)
    # The translation is the one of a screw: half the motion, twice.
    assert np.allclose(r.motion(xi / 2) @ r.motion(xi / 2), motion, atol=1e-10)


def test_the_half_turn_has_a_quaternion() -> None:
    half = np.diag([1.0, -1.0, -1.0])
    assert np.allclose(np.abs(r.quaternion(half)), [1, 0, 0, 0])
    assert np.linalg.norm(r.rotation_vector(half)) == pytest.approx(np.pi)


# -- intrinsics --------------------------------------------------------------------------------------


def test_intrinsics_may_be_given_in_many_ways() -> None:
    matrix = np.array([[500, 0, 310], [0, 510, 250], [0, 0, 1.0]])
    whole = np.tile([500.0, 510, 310, 250], (3, 1))
    for given in (matrix, [500, 510, 310, 250], np.tile(matrix, (3, 1, 1)), whole):
        found, known = intrinsics_of(given, (480, 640), 3)
        assert known and np.array_equal(found, whole)
    assert intrinsics_of(400, (480, 640), 1, pixel_aspect=2.0)[0].tolist() == [[400, 800, 320, 240]]
    assert focal_of_view(90, 640) == pytest.approx(320)


@pytest.mark.parametrize("given", [[1, 2, 3], np.zeros((2, 4)), "wide", -500, float("nan"), [500, 0, 320, 240]])
def test_intrinsics_that_cannot_be_are_a_sentence(given: object) -> None:
    with pytest.raises((ShapeError, UsageError), match=r"focal|intrinsics"):
        intrinsics_of(given, (480, 640), 3)


# -- two views ---------------------------------------------------------------------------------------


def two_cameras(wrong: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Directions of 200 points in two cameras, of which a share is wrong; rotation, translation, and who is right."""
    random = np.random.default_rng(5)
    turn, shift = r.rotation(np.array([0.05, -0.1, 0.03])), np.array([0.2, 0.1, 0.05])
    world = random.uniform(-1, 1, (200, 3)) + [0, 0, 3]
    first, second = world / world[:, 2:], world @ turn.T + shift
    second = second / second[:, 2:]
    second[:, :2] += random.normal(size=(200, 2)) * 0.3 / 500
    right = random.random(200) >= wrong
    second[~right, :2] += random.normal(size=(int((~right).sum()), 2)) * 25 / 500
    return first, second, turn, shift, right


@pytest.mark.parametrize("calibrated", [True, False])
def test_two_views_are_found_among_wrong_points(calibrated: bool) -> None:
    first, second, turn, shift, right = two_cameras(0.4)
    found = two_view(first, second, 1.5 / 500, np.random.default_rng(0), calibrated, 0.4 / 500)
    assert found is not None
    assert found.inlier[right].mean() > 0.97 and found.inlier[~right].mean() < 0.2
    assert 500 * found.noise == pytest.approx(0.3, abs=0.12)
    if calibrated:
        own, way = relative_pose(found.matrix, first[found.inlier], second[found.inlier])
        assert np.degrees(np.linalg.norm(r.rotation_vector(own @ turn.T))) < 0.2
        assert way @ shift / np.linalg.norm(shift) > 0.995


def test_too_few_points_have_no_epipolar_geometry() -> None:
    first, second, *_ = two_cameras(0)
    assert two_view(first[:5], second[:5], 0.003, np.random.default_rng(0)) is None
    assert two_view(first[:7], second[:7], 0.003, np.random.default_rng(0), False) is None


def test_collinear_points_give_no_exception() -> None:
    line = np.stack([np.linspace(-1, 1, 30), np.linspace(-1, 1, 30), np.ones(30)], 1)
    for calibrated in (True, False):
        two_view(line, line + [0.1, 0, 0], 0.003, np.random.default_rng(0), calibrated)


def test_the_sampson_distance_is_that_to_the_nearest_pair_that_fits() -> None:
    first, second, turn, shift, _ = two_cameras(0)
    essential = r.hat(shift) @ turn
    near = sampson(essential, first, second)
    assert 500 * np.median(near) < 0.4
    pushed = second.copy()
    line = first @ essential.T
    pushed[:, :2] += 4 / 500 * line[:, :2] / np.linalg.norm(line[:, :2], axis=1, keepdims=True)
    # Half the way is taken by each of the two views, which have the same scale here.
    assert np.median(sampson(essential, first, pushed)) * 500 == pytest.approx(4 / np.sqrt(2), rel=0.1)


def test_a_rotation_is_found_though_a_third_moves() -> None:
    random = np.random.default_rng(2)
    turn = r.rotation(np.array([0.02, -0.08, 0.01]))
    first = np.concatenate([random.uniform(-0.6, 0.6, (90, 2)), np.ones((90, 1))], 1)
    second = first @ turn.T
    second = second / second[:, 2:]
    second[:30, :2] += 0.06
    found, far = rotation_between(first, second, np.ones(90))
    assert np.linalg.norm(found - turn) < 1e-3
    assert far[30:].max() < 1e-3 < far[:30].min()


# -- bundle adjustment -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundle() -> tuple[Scene, Edges]:
    """Eight frames, 60 points, exact but for 0.3 pixels of noise."""
    random = np.random.default_rng(1)
    xi = np.cumsum(random.normal(size=(8, 6)) * ([0.05] * 3 + [0.01] * 3), 0)
    xi[0] = 0
    pose, camera = r.motion(xi), np.tile([500.0, 510, 320, 240], (8, 1))
    world = np.stack([random.uniform(-1.5, 1.5, 60), random.uniform(-1, 1, 60), random.uniform(2, 5, 60)], 1)
    xy = pixels(r.apply(pose[None], world[:, None]), camera[None])
    anchor, every = random.integers(0, 8, 60), np.arange(60)
    scene = Scene(pose, camera, anchor, xy[every, anchor], 1 / r.apply(pose[anchor], world)[:, 2])
    point, frame = np.nonzero(np.ones((60, 8)))
    noisy = xy + 0.3 * random.normal(size=xy.shape)
    return scene, sorted_edges(Edges(point, frame, noisy[point, frame], random.uniform(0.3, 1, len(point))), scene)


KERNELS = [huber(0.2), cauchy(0.4), geman(0.5), per_component(0.2)]


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_normal_equations_hold_the_slope_of_the_cost(bundle: tuple[Scene, Edges], kernel: Kernel) -> None:
    scene, edges = bundle
    normal = linearise(scene, edges, kernel, focal=True)
    none, still = np.zeros(49), np.zeros(60)
    for unknown in (6, 9, 23, 40, 48):
        change = none.copy()
        change[unknown] = 1e-6
        above, below = (linearise(moved(scene, s * change, still), edges, kernel).cost for s in (1, -1))
        assert (below - above) / 2e-6 == pytest.approx(normal.of_poses[unknown], rel=2e-3, abs=0.5)
    for point in (3, 30):
        change = still.copy()
        change[point] = 1e-6
        above, below = (linearise(moved(scene, none[:48], s * change), edges, kernel).cost for s in (1, -1))
        assert (below - above) / 2e-6 == pytest.approx(normal.of_points[point], rel=2e-3, abs=0.5)


def test_what_the_points_are_eliminated_from_has_the_same_solution(bundle: tuple[Scene, Edges]) -> None:
    from tapkit.apps.camera.bundle import step

    scene, edges = bundle
    n = linearise(scene, edges, huber(1.0))
    free = np.repeat(np.arange(8) > 0, 6)
    by_pose, by_point = step(n, free, np.full(48, 10.0), np.full(60, 1.0))
    whole = np.block([[n.poses + 10 * np.eye(48), n.joint], [n.joint.T, np.diag(n.points + 1)]])
    keep = np.concatenate([free, np.ones(60, bool)])
    straight = np.linalg.solve(whole[np.ix_(keep, keep)], np.concatenate([n.of_poses, n.of_points])[keep])
    assert np.allclose(np.concatenate([by_pose[free], by_point]), straight, atol=1e-9)
    assert not by_pose[~free].any()


def test_products_of_many_edges_are_summed_in_parts(
    bundle: tuple[Scene, Edges], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tapkit.apps.camera.bundle as module

    scene, edges = bundle
    at_once = linearise(scene, edges, huber(1.0), focal=True)
    monkeypatch.setattr(module, "_TOGETHER", 37)
    for one, other in zip(at_once, linearise(scene, edges, huber(1.0), focal=True), strict=True):
        assert np.allclose(one, other)


def test_poses_depths_and_the_focal_length_are_found_from_a_wrong_start(bundle: tuple[Scene, Edges]) -> None:
    scene, edges = bundle
    wrong = replace(
        scene, pose=np.tile(np.eye(4), (8, 1, 1)), camera=scene.camera * [0.8, 0.8, 1, 1], inverse=np.full(60, 1.0)
    )
    before = np.median(misses(wrong, edges))
    found = adjust(wrong, edges, np.arange(8) > 0, huber(1.0), 60, focal=True).scene
    assert np.median(misses(found, edges)) < 0.5 < 5 < before
    assert found.camera[0, :2] == pytest.approx([500, 510], rel=0.05)
    assert found.camera[0, 2:].tolist() == [320, 240]


def test_fixed_frames_stay(bundle: tuple[Scene, Edges]) -> None:
    scene, edges = bundle
    shaken = replace(scene, inverse=scene.inverse * 1.3)
    free = np.array([False, True, False, True, True, True, False, True])
    found = adjust(shaken, edges, free, cauchy(2.0), 10).scene
    assert np.array_equal(found.pose[~free], scene.pose[~free])
    assert not np.allclose(found.pose[free], scene.pose[free])


# -- frames from points, points from frames ----------------------------------------------------------


@pytest.mark.parametrize("stages", [NARROW, WIDE])
@pytest.mark.parametrize("far", [0.0, 0.3])
def test_a_frame_is_placed_from_points_of_which_some_are_wrong_or_far(stages: tuple, far: float) -> None:
    random = np.random.default_rng(0)
    points = np.stack([random.uniform(-1.5, 1.5, 150), random.uniform(-1, 1, 150), random.uniform(2, 5, 150)], 1)
    points[random.random(150) < far] *= 3000.0  # next to infinitely far: what has no parallax
    pose, camera = r.motion(np.array([0.02, 0.01, 0.03, 0.01, 0.035, -0.01])), np.array([[500.0, 500, 320, 240]])
    xy = pixels(r.apply(pose, points), camera) + 0.2 * random.normal(size=(150, 2))
    xy[:25] += 30 * random.normal(size=(25, 2))
    found, error = locate(np.eye(4)[None], camera, points, xy, np.ones(150), np.zeros(150, np.int64), stages)
    assert np.median(error[25:]) < 0.5
    assert np.abs(r.logarithm(found[0] @ r.inverse(pose))[3:]).max() < 1e-3


def test_frames_are_placed_each_by_its_own_points() -> None:
    random = np.random.default_rng(3)
    points = random.uniform(-1, 1, (60, 3)) + [0, 0, 3]
    pose, camera = r.motion(0.03 * random.normal(size=(4, 6))), np.tile([500.0, 500, 320, 240], (4, 1))
    frame = np.repeat([0, 1, 3], 20)  # the third frame sees nothing
    xy = pixels(r.apply(pose[frame], points), camera[frame])
    found, error = locate(np.tile(np.eye(4), (4, 1, 1)), camera, points, xy, np.ones(60), frame)
    assert error.max() < 0.01 and np.allclose(found[[0, 1, 3]], pose[[0, 1, 3]], atol=1e-4)
    assert np.array_equal(found[2], np.eye(4))


def test_points_are_placed_though_one_of_their_frames_is_wrong(bundle: tuple[Scene, Edges]) -> None:
    scene, edges = bundle
    depth, angle = triangulate(scene, edges)
    assert np.median(np.abs(depth - scene.inverse) / scene.inverse) < 0.02
    wrong = edges._replace(xy=edges.xy + 60.0 * (edges.frame == 7)[:, None])
    assert np.median(np.abs(triangulate(scene, wrong)[0] - scene.inverse) / scene.inverse) < 0.05
    assert (angle > 0).all() and angle.max() < 0.4


# -- observations and votes --------------------------------------------------------------------------


def test_observations_keep_what_the_rules_let_through() -> None:
    xy = np.full((4, 5, 2), 100.0)
    xy[1, 2:] = 3.0  # nearer to the border than 2 %
    visible = np.ones((4, 5))
    visible[2, 2:] = 0.3
    confidence = np.ones((4, 5))
    confidence[3, 0] = 0.4
    found = Observations.of(xy, visible, (480, 640), confidence, query_frame=[1, 0, 0, 2])
    assert (found.weight > 0).sum(1).tolist() == [5, 0, 0, 4]
    assert found.host.tolist() == [1, -1, -1, 2]
    assert Observations.of(xy, visible > 0.5, (480, 640)).host.tolist() == [0, -1, -1, 0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"xy": np.zeros((5, 2))}, "must be"),
        ({"visible": np.ones((5, 4), bool)}, r"looks like \[T,N\]"),
        ({"visible": np.full((4, 5), np.nan)}, "NaN is no probability"),
        ({"xy": np.full((4, 5, 2), np.nan)}, "finite wherever"),
        ({"query_frame": [0, 1, 2, 9]}, "0 to 4"),
        ({"query_frame": [0, 1]}, "query_frame must be"),
    ],
)
def test_arrays_that_cannot_be_observations_are_a_sentence(change: dict, said: str) -> None:
    arguments = {"xy": np.zeros((4, 5, 2)), "visible": np.ones((4, 5), bool), "size": (480, 640), **change}
    with pytest.raises((ShapeError, UsageError), match=said):
        Observations.of(**arguments)


def test_the_longest_run_of_frames_is_the_segment() -> None:
    weight = np.ones((20, 10))
    weight[:, 3] = 0
    whole = Observations(np.zeros((20, 10, 2)), weight, np.zeros(20, np.int64), (48, 64))
    assert whole.segment() == (4, 10)


def test_votes_tell_moving_points_from_still_ones() -> None:
    scene = camera_scenes.points(1, moving=0.3)
    found, camera = observed(scene), np.tile(camera_scenes.CAMERA, (30, 1))
    votes = vote(found, camera, True, CameraOptions(), 1)
    asked = votes.pairs >= 3
    moving = votes.moving(0.7)
    assert moving[asked & scene.dynamic].mean() > 0.88, "recall of moving points: 0.90 to 0.99 in the published table"
    assert scene.dynamic[moving].mean() > 0.93, "precision"
    assert votes.noise == pytest.approx(0.5, abs=0.15)
    left = without_moving(found, votes, 0.7)
    assert (left.weight[moving] == 0).all() and (left.weight[~moving] > 0).any(1).mean() > 0.9


def test_pairs_without_parallax_have_no_vote() -> None:
    scene = camera_scenes.points(0, turning=True, each=20)
    found, camera = observed(scene), np.tile(camera_scenes.CAMERA, (30, 1))
    assert parallax(found, camera, 0, 10) < 1.0 < 8 < parallax(observed(camera_scenes.points(0)), camera, 0, 10)
    votes = vote(found, camera, True, CameraOptions(), 1)
    assert votes.voted == 0 and not votes.moving(0.7).any()


def test_tolerances_follow_the_noise() -> None:
    assert Tolerances.of(0.5) == Tolerances(2.0, 5.0, 2.5, 3.0) == Tolerances.of(float("nan"))
    tight = Tolerances.of(0.05)
    assert tight.kernel < 0.5 and tight.last < 1.5
    assert Tolerances.of(9.0, most=2.0).last == 2.0


@pytest.mark.parametrize(
    "change", [{"method": "best"}, {"border": 2}, {"window": 1}, {"last_error": 0}, {"confidence": float("nan")}]
)
def test_options_that_cannot_be_are_a_sentence(change: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(change))):
        CameraOptions(**change)
