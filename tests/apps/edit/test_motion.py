"""How a region moves over a clip: exact planes, gaps, cuts, zooms, corrections, and what cannot be followed."""

from __future__ import annotations

import numpy as np
import pytest
from planes import QUAD, SIZE, matrices, move, plane_tracks, points, tracks_of

from tapkit.apps.edit import Motion, Pin, fit_motion, prepare
from tapkit.apps.edit.corrections import pin_points
from tapkit.apps.edit.motion import presence, smoothed
from tapkit.apps.edit.prepare import spikes
from tapkit.errors import QueryError, ShapeError, UsageError
from tapkit.types import Tracks

TRUTH = matrices(24)


def fitted(tracks: Tracks, kind: str = "homography", frame: int = 0, **options: object) -> Motion:
    return fit_motion(prepare(tracks), np.arange(len(tracks)), QUAD, frame, kind, **options)  # type: ignore[arg-type]


def gaps(motion: Motion, truth: np.ndarray = TRUTH, frame: int = 0) -> np.ndarray:
    wanted = np.stack([move(m @ np.linalg.inv(truth[frame]), QUAD) for m in truth])
    return np.hypot(*np.moveaxis(motion.path(QUAD) - wanted, -1, 0))


def hidden(tracks: Tracks, where: tuple[object, ...]) -> Tracks:
    seen = np.array(tracks.visible)
    seen[where] = 0
    return tracks.with_(visible=seen)


def test_a_clip_of_a_plane_in_noise() -> None:
    motion = fitted(plane_tracks(TRUTH, 200, 0.3, 0.2))
    assert np.sqrt((gaps(motion) ** 2).mean()) < 0.15 and gaps(motion).max() < 0.6
    assert motion.confidence.min() > 0.9 and set(motion.state) == {"fitted"} and not len(motion.bad_frames)


@pytest.mark.parametrize(
    ("kind", "part"), [("translation", (0.0, 0.0)), ("similarity", (1.0, 0.0)), ("homography", (1.0, 1.0))]
)
def test_auto_takes_the_simplest_model_that_explains_the_clip(kind: str, part: tuple[float, float]) -> None:
    truth = matrices(16, 1.0)
    truth[:, 2, :2] *= 8 * part[1]
    if not part[0]:
        truth[:, :2, :2] = np.eye(2)
    motion = fitted(plane_tracks(truth, 150, 0.2, 0.1), "auto")
    assert set(motion.kinds[1:]) <= {kind, "affine"} and motion.kinds.count(kind) > 8
    assert gaps(motion, truth).max() < 0.6


def test_reversed_in_time_it_is_the_mirror_image() -> None:
    """Acceptance (g): within 0.05 px."""
    tracks = plane_tracks(TRUTH[:10], 200, 0.3, 0.2)
    last = tracks.frames - 1
    back = tracks_of(np.array(tracks.xy[:, ::-1]), frame=last)
    one, two = fitted(tracks), fitted(back, frame=last)
    assert np.abs(one.path(QUAD) - two.path(QUAD)[::-1]).max() < 0.05


def test_another_reference_needs_no_new_fit() -> None:
    motion = fitted(plane_tracks(TRUTH, 60))
    moved = motion.from_frame(10)
    np.testing.assert_allclose(moved[10], np.eye(3), atol=1e-9)
    there = move(TRUTH[10], QUAD)
    for t in (0, 5, 23):
        assert np.abs(move(moved[t], there) - move(TRUTH[t], QUAD)).max() < 0.3
    with pytest.raises(UsageError, match="no frame 24"):
        motion.from_frame(24)


def test_without_points_the_last_place_is_held_and_the_edit_fades() -> None:
    motion = fitted(hidden(plane_tracks(TRUTH, 60), (slice(None), slice(10, 20))))
    assert motion.state[10:20] == ("held",) * 10 and (motion.confidence[10:20] == 0).all()
    assert (motion.matrices[15] == motion.matrices[9]).all()
    np.testing.assert_allclose(motion.presence[9:15], [1, 0.75, 0.5, 0.25, 0, 0])
    np.testing.assert_allclose(motion.presence[18:24], [0, 0, 0.25, 0.5, 0.75, 1])
    assert "on 10 frames no point was visible" in " ".join(motion.notes)
    assert gaps(motion)[20:].max() < 0.5  # it comes back to where it is


def test_hidden_from_the_frame_after_the_reference_on() -> None:
    motion = fitted(hidden(plane_tracks(TRUTH, 60), (slice(None), slice(1, None))))
    assert set(motion.state[1:]) == {"held"} and motion.presence[-1] == 0
    np.testing.assert_allclose(motion.matrices, np.tile(np.eye(3), (24, 1, 1)))


def test_presence_at_both_ends() -> None:
    np.testing.assert_allclose(presence(["held"] * 6 + ["fitted"] * 2, 7), [0, 0, 0, 0.25, 0.5, 0.75, 1, 1])
    np.testing.assert_allclose(presence(["fitted", "cut"]), [1, 0])


def test_few_common_points_are_reached_over_another_frame() -> None:
    """Half of the points are seen up to frame 14, the others from 8 on."""
    tracks = plane_tracks(TRUTH, 80)
    tracks = hidden(tracks, (slice(0, 40), slice(15, None)))
    seen = np.array(tracks.visible)
    seen[40:, 1:8] = 0
    seen[40:, 0] = 0
    motion = fitted(tracks.with_(visible=seen))
    assert set(motion.state[:15]) == {"fitted"} and set(motion.state[15:]) == {"chained"}
    assert gaps(motion).max() < 0.4


def test_a_large_zoom_is_fitted_from_nearer_frames() -> None:
    zoom = np.array([np.diag([s, s, 1.0]) for s in 1.12 ** np.arange(24)])
    tracks = plane_tracks(zoom, 120, 0.2, size=(2000, 2000))
    motion = fitted(tracks, "similarity")
    assert "re-anchored" in motion.state and any("scaled more than 4 times" in note for note in motion.notes)
    assert gaps(motion, zoom).max() < 2


def test_a_scene_cut_ends_it() -> None:
    tracks = plane_tracks(TRUTH[:15], 40)
    xy = np.array(tracks.xy)
    xy[:, 12:] = np.random.default_rng(0).uniform(0, 120, (40, 3, 2))
    dark, bright = np.full((*SIZE, 3), 30, np.uint8), np.full((*SIZE, 3), 220, np.uint8)

    def cut(t: int) -> np.ndarray:
        return dark if t < 12 else bright

    motion = fitted(tracks.with_(xy=xy), "similarity", picture=cut)
    assert motion.state[11] == "fitted" and set(motion.state[12:]) == {"cut"} and not motion.presence[12:].any()
    same = fitted(
        tracks.with_(xy=xy), "similarity", picture=lambda t: dark
    )  # the same colours: no cut, though nothing fits
    assert "cut" not in same.state


def test_a_mirror_is_said() -> None:
    """Most points follow a reflection: the confidence falls, and a note says so."""
    tracks = plane_tracks(TRUTH, 100)
    xy = np.array(tracks.xy)
    dice = np.random.default_rng(0)
    xy[:70, 6:] = dice.uniform(0, 120, (70, 18, 2))
    motion = fitted(tracks.with_(xy=xy))
    assert (motion.confidence[6:9] < 0.5).all() and list(motion.bad_frames[:2]) == [6, 7]
    assert gaps(motion)[-1].max() < 0.5  # what has agreed all along counts more and more
    assert any("fewer than half of the points agree" in note for note in motion.notes)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_one_to_three_points(count: int) -> None:
    motion = fitted(plane_tracks(TRUTH, count))
    assert set(motion.kinds[1:]) == {["translation", "similarity", "affine"][count - 1]}
    assert np.isfinite(motion.matrices).all()


def test_points_on_a_line_and_all_in_one_place() -> None:
    line = np.column_stack([np.linspace(40, 130, 30), np.linspace(30, 90, 30)])
    xy = np.stack([move(matrix, line) for matrix in TRUTH], 1)
    assert set(fitted(tracks_of(xy)).kinds[1:]) == {"similarity"}
    assert set(fitted(tracks_of(np.repeat(xy[:1], 5, 0))).kinds[1:]) == {"translation"}


def test_a_single_frame() -> None:
    motion = fitted(plane_tracks(TRUTH[:1], 30), "auto")
    assert motion.frames == 1 and (motion.matrices[0] == np.eye(3)).all() and motion.presence[0] == 1


def test_positions_that_are_not_finite_do_not_count() -> None:
    tracks = plane_tracks(TRUTH, 60)
    valid = np.array(tracks.valid)
    valid[:30, 5] = False
    xy = np.array(tracks.xy)
    xy[:30, 5] = np.nan
    ready = prepare(tracks.with_(xy=xy, valid=valid))
    assert (ready.weight[:30, 5] == 0).all() and np.isfinite(ready.xy).all()
    assert gaps(fitted(tracks.with_(xy=xy, valid=valid))).max() < 0.5


def test_tracks_of_another_size_are_refused() -> None:
    with pytest.raises(ShapeError, match="176x120, this one is 640x360"):
        prepare(plane_tracks(TRUTH, 5), size=(360, 640))
    prepare(plane_tracks(TRUTH, 5), size=SIZE)


def test_no_visible_point_on_the_reference_frame_is_a_sentence() -> None:
    tracks = hidden(plane_tracks(TRUTH, 5), (slice(None), 3))
    with pytest.raises(UsageError, match="no point of the region is visible on frame 3"):
        fitted(tracks, frame=3)
    with pytest.raises(UsageError, match="there is no frame 99"):
        fitted(tracks, frame=99)
    with pytest.raises(UsageError, match="not 'projective'"):
        fitted(tracks, "projective")


def test_gaps_are_bridged_without_weight() -> None:
    t = np.arange(24.0)
    path = np.stack([60 + 0.05 * t**2, 50 + t], 1)[None]
    seen = np.ones((1, 24))
    seen[0, 8:13] = 0
    holes = path.copy()
    holes[0, 8:13] = 0
    ready = prepare(tracks_of(holes, seen))
    assert (ready.weight[0, 8:13] == 0).all() and ready.known.all()
    assert np.abs(ready.xy - path).max() < 0.2  # a straight line would be off by 0.45
    assert prepare(tracks_of(holes, seen), max_gap=4).xy[0, 10, 0] == 0


def test_a_way_back_that_leads_elsewhere_takes_trust() -> None:
    tracks = plane_tracks(TRUTH, 4)
    xy = np.array(tracks.xy)
    xy[0] += 3
    xy[1, :, 0] += 3
    weight = prepare(tracks, returned=tracks.with_(xy=xy)).weight
    np.testing.assert_allclose(weight[:3, 5], [np.exp(-2), np.exp(-1), 1], atol=1e-4)
    half = prepare(tracks, returned=tracks.with_(xy=xy), input_size=(60, 88)).weight
    np.testing.assert_allclose(half[1, 5], np.exp(-0.25), atol=1e-4)


def test_spikes_lose_their_weight() -> None:
    residual = np.random.default_rng(0).normal(0, 0.3, (3, 24, 2))
    residual[1, 9] += (6, 0)
    residual[2, 4:] += (9, 0)  # a step, not a spike
    found = spikes(residual, np.ones((3, 24)))
    assert found.sum() == 1 and found[1, 9]
    assert not spikes(residual, np.zeros((3, 24))).any()


# -- corrections -----------------------------------------------------------------------------------


def test_a_pinned_corner_is_where_it_was_pinned() -> None:
    tracks = plane_tracks(TRUTH, 60)
    plain = fitted(tracks).path(QUAD)
    wanted = plain[12, 2] + (4, -3)
    path = fitted(tracks, pins=[Pin(12, 2, tuple(wanted))]).path(QUAD)
    np.testing.assert_allclose(path[12, 2], wanted, atol=1e-4)
    np.testing.assert_allclose(path[:, [0, 1, 3]], plain[:, [0, 1, 3]], atol=1e-4)
    np.testing.assert_allclose(path[0], plain[0], atol=1e-6)
    np.testing.assert_allclose(path[6, 2] - plain[6, 2], np.array([4, -3]) / 2, atol=1e-3)  # half-way of a smoothstep
    np.testing.assert_allclose(path[3, 2] - plain[3, 2], np.array([4, -3]) * 0.15625, atol=1e-3)
    np.testing.assert_allclose(path[20, 2] - plain[20, 2], (4, -3), atol=1e-3)  # and it stays


@pytest.mark.parametrize(
    ("pin", "said"), [(Pin(5, 9, (1, 1)), "corners are numbered"), (Pin(50, 1, (1, 1)), "frame 50")]
)
def test_pins_of_nothing_are_sentences(pin: Pin, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        fitted(plane_tracks(TRUTH, 20), pins=[pin])


def test_a_pinned_point_passes_through_its_pin_in_full_weight() -> None:
    tracks = hidden(plane_tracks(TRUTH, 4), (0, 12))
    ready = prepare(tracks)
    pinned = pin_points(ready, [Pin(12, "0", (50, 60))])
    assert pinned.weight[0, 12] == 1 and ready.weight[0, 12] == 0
    np.testing.assert_allclose(pinned.xy[0, 12], (50, 60))
    np.testing.assert_allclose(pinned.xy[0, 0], ready.xy[0, 0])
    np.testing.assert_allclose(pinned.xy[1:], ready.xy[1:])
    with pytest.raises(QueryError, match="no such point"):
        pin_points(ready, [Pin(3, "nose", (1, 1))])
    with pytest.raises(QueryError, match="finite"):
        Pin(3, 0, (np.nan, 1))


def test_smoothing_is_of_the_corners_and_keeps_straight_ways() -> None:
    ramp = np.outer(np.arange(30.0), [1, 2])
    np.testing.assert_allclose(smoothed(ramp, 3), ramp, atol=1e-9)
    truth = np.array([[[1, 0, t], [0, 1, 0], [0, 0, 1]] for t in range(24)], float)
    shaky = truth.copy()
    shaky[:, 0, 2] += np.random.default_rng(0).normal(0, 1, 24)
    tracks = plane_tracks(shaky, 40)
    assert gaps(fitted(tracks, smooth=3), truth)[4:-4].mean() < 0.6 * gaps(fitted(tracks), truth)[4:-4].mean()


def test_a_change_of_the_model_is_no_pop() -> None:
    """On frames 10 to 12 a few points on a line are left: what follows the corners goes on smoothly."""
    line = np.column_stack([np.linspace(40, 130, 12), np.linspace(30, 90, 12)])
    start = np.concatenate([points(60), line])
    xy = np.stack([move(matrix, start) for matrix in TRUTH], 1)
    seen = np.ones((72, 24))
    seen[:60, 10:13] = 0
    motion = fitted(tracks_of(xy, seen))
    assert set(motion.kinds[10:13]) == {"similarity"} and motion.kinds[9] == "homography"
    steps = np.hypot(*np.moveaxis(np.diff(motion.path(QUAD), axis=0), -1, 0)).max(1)
    assert steps[9:13].max() < 1.6 * np.median(steps)
