"""Demonstrations, clusters, stages, similarities and the plan's files, on data whose answers are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bodies import adjusted_rand, moving_bodies
from made import made_stage
from PIL import Image

from tapkit.apps.servo import (
    Camera,
    Choice,
    Demonstration,
    Gains,
    LearnOptions,
    Plan,
    PlanarOptions,
    RigidOptions,
    cluster_planar,
    cluster_rigid,
    read_demonstration,
    write_demonstration,
)
from tapkit.apps.servo.acquire import closest, laid_over, turned_picture, turned_points, typical
from tapkit.apps.servo.consensus import Similarity, agree_on_similarity, likeness, refined
from tapkit.apps.servo.demonstrations import check_demonstrations
from tapkit.apps.servo.learning import SEEN
from tapkit.apps.servo.rigid import errors_of, orthonormal
from tapkit.apps.servo.stages import Segment, find_object, retreats_of, segments, spread_out
from tapkit.apps.servo.tracking import PointTable
from tapkit.errors import ShapeError, StorageError, TapkitError, UsageError


def demonstration(closed: str, height: list[float] | None = None) -> Demonstration:
    frames = np.zeros((len(closed), 8, 8, 3), np.uint8)
    return Demonstration(frames, np.array([c == "x" for c in closed]), None if height is None else np.array(height))


# -- clusters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("objects", "seed"), [(2, 0), (3, 1), (4, 2)])
def test_similarities_find_the_bodies(objects: int, seed: int) -> None:
    """K objects and the background are K + 1 clusters; more are allowed, and are joined again."""
    xy, visible, body = moving_bodies(objects, seed)
    assert adjusted_rand(body, cluster_planar(xy, visible, PlanarOptions(clusters=8))) > 0.95


@pytest.mark.parametrize("seed", range(5))
def test_the_model_of_rigid_bodies_finds_the_bodies(seed: int) -> None:
    """The specification's test in small: as many clusters as bodies. `benchmarks/rigid_clusters.py` has larger ones."""
    xy, visible, body = moving_bodies(2, seed, demos=2, frames=20, each=12, back=16)
    often = visible.mean(1) > SEEN
    xy = np.where(visible[..., None], xy, np.nan)  # what is hidden may be anything
    found = cluster_rigid(xy[often], visible[often], [20, 20], RigidOptions(clusters=3, most=5, steps=40))
    assert adjusted_rand(body[often], found) > 0.95


@pytest.mark.parametrize(
    "options", [{"variance": 1e-4}, {"points_at_once": 24, "frames_at_once": 30}], ids=["EM", "a part at a time"]
)
def test_the_other_ways_of_fitting_bodies(options: dict[str, Any]) -> None:
    xy, visible, body = moving_bodies(1, 1, demos=2, frames=20, each=14, back=18)
    found = cluster_rigid(xy, visible, [20, 20], RigidOptions(clusters=2, most=4, steps=30, **options))
    assert adjusted_rand(body, found) > 0.95


@pytest.mark.parametrize("degrees", [4, 6])
def test_a_place_is_the_best_for_a_motion(degrees: int) -> None:
    """Errors are those of the projection at the place that SciPy's least squares finds."""
    import torch
    from scipy.optimize import least_squares

    random = np.random.default_rng(0)
    raw = random.normal(0, 0.3, (2, 9, 3, 4))
    xy, visible = random.random((5, 9, 2)), random.random((5, 9)) > 0.2
    x, y = (np.where(visible, xy[..., axis], 0).T for axis in (0, 1))
    observed = torch.from_numpy(np.stack([visible.T, x, y, x * x + y * y]))
    errors, places = errors_of(torch.from_numpy(raw), observed, degrees)
    turned = orthonormal(torch.from_numpy(raw[..., :3]), degrees).numpy()

    def residual(place: np.ndarray, c: int, p: int) -> np.ndarray:
        depth = np.clip(raw[c, :, 2, 3] + 1, 0.5, 2)
        moved = turned[c] @ place + np.stack([raw[c, :, 0, 3], raw[c, :, 1, 3], depth], -1)
        gap = (moved[:, :2] - xy[p] * moved[:, 2:]) / depth[:, None]
        flat = np.sqrt(0.1 * (visible[p] / depth**2).sum())
        return np.append(gap[visible[p]].ravel(), flat * place[2])

    for c, p in np.ndindex(2, 5):
        best = least_squares(residual, np.zeros(3), args=(c, p))
        away = np.clip(-0.5 - raw[c, :, 2, 3], 0, None) + np.clip(raw[c, :, 2, 3] - 1, 0, None)
        assert np.allclose(places[c, p, :3].numpy(), best.x, atol=1e-3)
        expected = 2 * best.cost + 0.02 * (away[visible[p]] ** 2).sum()
        assert errors[c, p].item() == pytest.approx(expected, rel=1e-3)


def test_the_model_of_rigid_bodies_finds_the_same_again() -> None:
    """Whatever random numbers the program has drawn before."""
    import torch

    xy, visible, _ = moving_bodies(2, 3, demos=1, frames=12, each=8, back=12)
    found = []
    for before in (1, 2):
        torch.manual_seed(before)
        found.append(cluster_rigid(xy, visible, [12], RigidOptions(clusters=3, most=3, steps=4)).tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize("degrees", [4, 6])
def test_raw_matrices_become_rotations(degrees: int) -> None:
    import torch

    raw = torch.randn(50, 3, 3, generator=torch.Generator().manual_seed(0))
    raw[0, 2] = raw[0, 1] * 1.0001  # a third row that says nothing
    turned = orthonormal(raw, degrees)
    assert torch.allclose(turned @ turned.mT, torch.eye(3).expand(50, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(turned), -torch.ones(50), atol=1e-5)  # always of one hand
    if degrees == 4:
        assert torch.equal(turned[:, 2], torch.tensor([[0.0, 0.0, 1.0]]).expand(50, 3))


def test_too_few_tracks_are_one_cluster() -> None:
    assert cluster_planar(np.zeros((2, 4, 2)), np.ones((2, 4), bool)).tolist() == [0, 0]
    unseen = cluster_planar(np.random.default_rng(0).random((12, 4, 2)), np.zeros((12, 4), bool))
    assert unseen.shape == (12,)


# -- demonstrations --------------------------------------------------------------------------------


def test_stages_end_where_the_gripper_acts_and_the_way_back_is_left_out() -> None:
    height = [9, 8, 7, 6, 5, 5, 6, 7, 8, 8, 8, 7, 6, 5, 5, 6, 7]
    shown = demonstration("....xxxxxxxxxx...", [h / 10 for h in height])
    assert [tuple(event) for event in shown.events] == [(4, True), (14, False)]
    back = retreats_of(shown)
    assert back == [pytest.approx(0.3), pytest.approx(0.2)]
    assert segments(shown, back) == [Segment(0, 3), Segment(8, 13)]
    plain = demonstration("....xxxxxxxxxx...")
    assert retreats_of(plain) == [None, None] and segments(plain, [None, None]) == [Segment(0, 3), Segment(4, 13)]


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (["...xxx"], "at least two demonstrations"),
        (["......", "......"], "the gripper does nothing"),
        (["...xxx...", "...xxx"], "demonstration 2 has the gripper events close, the first one has close, open"),
        (["...xxx", ".xxxxx"], "demonstration 2 has a stage of less than 3 frames"),
    ],
)
def test_demonstrations_that_do_not_fit_together(shown: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_demonstrations([demonstration(each) for each in shown])


def test_pictures_of_two_sizes_are_refused() -> None:
    other = Demonstration(np.zeros((6, 8, 9, 3), np.uint8), np.arange(6) > 3)
    with pytest.raises(UsageError, match="pictures of one size"):
        check_demonstrations([demonstration("...xxx"), other])


@pytest.mark.parametrize(
    ("frames", "closed", "height", "said"),
    [
        (np.zeros((4, 8, 8)), np.zeros(4), None, "are \\[T,H,W,3\\] uint8"),
        (np.zeros((4, 8, 8, 3), np.uint8), np.zeros(3), None, "the gripper's state at each of its 4 frames"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2), np.array([0, np.nan]), "heights must be 2 numbers"),
    ],
)
def test_a_demonstration_of_other_shapes_is_refused(
    frames: np.ndarray, closed: np.ndarray, height: np.ndarray | None, said: str
) -> None:
    with pytest.raises(ShapeError, match=said):
        Demonstration(frames, closed, height)


def test_demonstrations_survive_as_files(tmp_path: Path) -> None:
    frames = np.zeros((8, 32, 48, 3), np.uint8)
    frames[:, 8:20, 10:30] = (200, 90, 40)
    shown = Demonstration(frames, np.arange(8) > 4, np.linspace(0.3, 0.1, 8))
    back = read_demonstration(write_demonstration(tmp_path / "take.mp4", shown))
    assert back.size == (32, 48) and (back.closed == shown.closed).all()
    assert back.height is not None and np.allclose(back.height, shown.height, atol=1e-4)
    assert np.abs(back.frames.astype(int) - frames).mean() < 4
    (tmp_path / "take.gripper.csv").write_text("frame,closed\n0,0\n5,1\n")
    sparse = read_demonstration(tmp_path / "take.mp4")
    assert (sparse.closed == shown.closed).all() and sparse.height is None
    for text, said in (("frame,closed\n1,0\n", "begin with 0"), ("frame,shut\n0,0\n", "the columns frame and closed")):
        (tmp_path / "take.gripper.csv").write_text(text)
        with pytest.raises(UsageError, match=said):
            read_demonstration(tmp_path / "take.mp4")


# -- the object of a stage -------------------------------------------------------------------------


def table_of(seed: int = 0) -> tuple[PointTable, np.ndarray, list[Segment]]:
    """Three things in three demonstrations: one that ends at the same place, the table, and the gripper's fingers."""
    random = np.random.default_rng(seed)
    kind = np.repeat([0, 1, 2], 12)
    shape = random.uniform(-15, 15, (36, 2))
    xy = []
    for _ in range(3):
        share = np.linspace(1, 0, 10)[:, None, None]
        thing = np.array([60.0, 100.0]) + share * random.uniform(40, 90, 2)
        ground = random.uniform(80, 170, 2) + share * random.uniform(30, 60, 2)
        fingers = np.array([30.0, 30.0]) + 0 * share
        places = np.concatenate([thing, ground, fingers], 1)[:, kind]
        xy.append((places + shape + random.normal(0, 0.4, (10, 36, 2))).transpose(1, 0, 2).astype(np.float32))
    visible = tuple(np.ones((36, 10), bool) for _ in range(3))
    return PointTable(kind, kind, shape, tuple(xy), visible, (256, 256)), kind, [Segment(0, 9)] * 3


def test_the_object_is_what_moves_and_ends_at_the_same_place() -> None:
    table, kind, stage = table_of()
    found = find_object(table, kind, stage)
    assert found.cluster == 0 and found.scores.tolist() == [12, 0, 0] and (found.members == (kind == 0)).all()


def test_a_stage_about_nothing_is_said_so() -> None:
    table, kind, stage = table_of()
    apart = Choice(spread=0.0001)
    with pytest.raises(UsageError, match="stage 2: no object is at the same place"):
        find_object(table, kind, stage, apart, 2)


def test_points_are_spread_out() -> None:
    xy = np.array([[0, 0], [1, 0], [0, 1], [100, 0], [0, 100], [100, 100], [99, 99]], float)
    chosen = xy[spread_out(xy, 4)]
    assert np.linalg.norm(chosen[:, None] - chosen, axis=2)[np.triu_indices(4, 1)].min() > 90
    assert len(spread_out(xy, 9)) == 7 and len(spread_out(xy, 0)) == 0


# -- similarities ----------------------------------------------------------------------------------


def test_outliers_do_not_change_the_similarity() -> None:
    random = np.random.default_rng(0)
    first = random.uniform(0, 256, (40, 2))
    turn = 1.4 * np.exp(0.7j)
    moved = (first[:, 0] + 1j * first[:, 1]) * turn + (5 - 30j)
    second = np.stack([moved.real, moved.imag], 1) + random.normal(0, 0.3, (40, 2))
    second[:15] += random.uniform(20, 60, (15, 2))
    fit = agree_on_similarity(first, second, 3.0)
    assert fit is not None and fit.agree.tolist() == [False] * 15 + [True] * 25
    assert abs(fit.ratio - turn) < 0.01 and np.abs(fit(first[15:]) - second[15:]).max() < 2
    assert agree_on_similarity(np.zeros((5, 2)), np.ones((5, 2)), 3.0) is None
    assert agree_on_similarity(first[:1], second[:1], 3.0) is None


def test_pictures_are_compared_where_the_points_are() -> None:
    random = np.random.default_rng(0)
    small = random.integers(0, 255, (16, 16, 3), dtype=np.uint8)
    first = np.asarray(Image.fromarray(small).resize((128, 128), Image.Resampling.BICUBIC))
    xy = random.uniform(45, 80, (12, 2))
    second = (0.5 * turned_picture(first, 35).astype(float) + 40).astype(np.uint8)  # darker, too
    fit = agree_on_similarity(xy, turned_points(xy, (128, 128), 35), 1.0)
    assert fit is not None and likeness(first, second, fit, xy) > 0.95
    stays = agree_on_similarity(xy, xy, 1.0)
    assert stays is not None and abs(likeness(first, second, stays, xy)) < 0.4
    assert likeness(first, second, stays._replace(shift=500), xy) == 0.0


def test_what_hangs_in_front_does_not_decide_how_pictures_fit() -> None:
    """A thing in the hand is at the same place on both pictures; the points are beside it."""
    random = np.random.default_rng(1)
    small = random.integers(0, 255, (20, 20, 3), dtype=np.uint8)
    first = np.asarray(Image.fromarray(small).resize((128, 128), Image.Resampling.BICUBIC)).copy()
    turn = 1.06 * complex(math.cos(0.1), math.sin(0.1))
    true = Similarity(turn, (64 + 64j) * (1 - turn) + 2 - 1j, np.ones(1, bool))
    second = laid_over(first, true).copy()
    for picture in (first, second):
        picture[44:84, 44:84] = np.kron(np.indices((10, 10)).sum(0) % 2 * 255, np.ones((4, 4)))[..., None]
    angles = np.linspace(0, 2 * math.pi, 10, endpoint=False)
    xy = 64 + 38 * np.stack([np.cos(angles), np.sin(angles)], 1)
    guess = Similarity(1.02 * complex(math.cos(0.06), math.sin(0.06)), 0j, np.ones(1, bool))
    guess = guess._replace(shift=(64 + 64j) * (1 - guess.ratio))
    off = {}
    for around in (None, 4.0):
        fit, _ = refined(first, second, guess, xy, around)
        off[around] = float(np.abs(fit(xy) - true(xy)).max())
    assert off[4.0] < 0.5 < 2 < off[None]


def test_the_end_is_that_of_the_most_usual_demonstration() -> None:
    stage = made_stage(3)
    shifts = zip(stage.paths, (4, 1, 0), strict=True)
    moved = [replace(path, xy=path.xy + np.float32(by), visible=np.ones_like(path.visible)) for path, by in shifts]
    assert typical(replace(stage, paths=tuple(moved))) == 1
    moved[1] = replace(moved[1], visible=np.zeros_like(moved[1].visible))  # its end says nothing
    assert typical(replace(stage, paths=tuple(moved))) != 1


def test_points_of_a_turned_picture() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[10:14, 40:44] = 255
    for turn in (35.0, -70.0, 150.0):
        ((x, y),) = turned_points(np.array([[42.0, 12.0]]), (64, 64), turn)
        rows, columns = np.nonzero(turned_picture(picture, turn)[..., 0] > 128)
        assert abs(columns.mean() + 0.5 - x) < 0.6 and abs(rows.mean() + 0.5 - y) < 0.6


def test_a_picture_is_laid_over_another_where_its_points_go() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[10:14, 40:44] = 255
    fit = Similarity(0.9 * complex(math.cos(0.6), math.sin(0.6)), 5 - 3j, np.ones(1, bool))
    ((x, y),) = fit(np.array([[42.0, 12.0]]))
    rows, columns = np.nonzero(laid_over(picture, fit)[..., 0] > 128)
    assert abs(columns.mean() + 0.5 - x) < 0.5 and abs(rows.mean() + 0.5 - y) < 0.5


def test_the_closest_demonstration_is_followed() -> None:
    stage = made_stage(3)
    for number, path in enumerate(stage.paths):
        assert closest(stage, np.arange(12), path.xy[0] + 3) == number


# -- the plan --------------------------------------------------------------------------------------


def test_a_plan_survives_as_files_and_may_be_edited(tmp_path: Path) -> None:
    plan = Plan(Camera(96, 96, 70.0), (made_stage(2, grip="close"), made_stage(3, grip="open")), Gains(gain=1.2))
    folder = plan.save(tmp_path / "plan")
    back = Plan.load(folder)
    assert (back.camera, back.gains, back.reach) == (plan.camera, plan.gains, plan.reach)
    for stage, other in zip(plan.stages, back.stages, strict=True):
        assert (stage.grip, stage.retreat, stage.name) == (other.grip, other.retreat, other.name)
        for path, same in zip(stage.paths, other.paths, strict=True):
            assert (path.image == same.image).all() and (path.visible == same.visible).all()
            assert path.end is not None and same.end is not None and (path.end == same.end).all()
            assert np.abs(path.xy - same.xy).max() <= 0.0051
    text = (folder / "plan.toml").read_text()
    (folder / "plan.toml").write_text(
        text.replace("ignore = []", "ignore = [0, 3]", 1).replace("gain = 1.2", "gain = 2")
    )
    changed = Plan.load(folder)
    assert changed.gains.gain == 2 and np.flatnonzero(~changed.stages[0].used).tolist() == [0, 3]
    one = text[: text.rindex("[[stage]]")]
    (folder / "plan.toml").write_text(one)
    assert [stage.grip for stage in Plan.load(folder).stages] == ["close"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("format = 1", "format = 7", "not a plan that this version reads"),
        ("format = 1", "format = = 1", "is not TOML"),
        ('law = "auto"', 'law = "pid"', "law must be one of"),
        ("gain = 1.5", 'gain = "fast"', "gain must be a positive number"),
        ("gain = 1.5", "gian = 1.5", "says 'gian' in gains, which is not known; did you mean 'gain'"),
        ('grip = "close"', 'grip = "throw"', "grip must be close, open or none"),
        ("retreat = 0.1", "retreat = -1", "retreat of a stage must be a number from 0 on"),
        ("ignore = []", "ignore = [99]", "names points from 0 to 11"),
        ("ignore = []", "ignore = [0,1,2,3,4,5,6,7,8,9]", "at least 3 points that are not ignored"),
        ('files = "stage1"', 'files = "../stage1"', "must be the beginning of file names"),
        ('files = "stage1"', 'files = "stage9"', "stage9.csv does not exist"),
        ("width = 96", "width = 95", "pictures of stage 1 are 96x96, the camera's 95x96"),
        ("focal = 70.0", "", "not complete"),
        ("[[stage]]", "[stage]", "every stage begins with the line"),
    ],
)
def test_a_plan_that_was_edited_wrongly(tmp_path: Path, old: str, new: str, said: str) -> None:
    folder = Plan(Camera(96, 96, 70.0), (made_stage(2, grip="close"),)).save(tmp_path / "plan")
    text = (folder / "plan.toml").read_text()
    assert old in text
    (folder / "plan.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(TapkitError, match=said) as caught:
        Plan.load(folder)
    assert "\n" not in str(caught.value)


def test_damaged_tables_and_pictures_of_a_plan(tmp_path: Path) -> None:
    folder = Plan(Camera(96, 96, 70.0), (made_stage(2),)).save(tmp_path / "plan")
    lines = (folder / "stage1.csv").read_text().splitlines()
    for text, said in (
        ("\n".join(lines[:-1]), "has .* rows of demonstration 2"),
        ("demo,frame\n1,2\n", "with the columns demo, frame, point"),
        (lines[0], "has no rows"),
        ("\n".join([*lines[:-1], lines[-1][:-1] + "nan"]), "numbers that mean nothing"),
    ):
        (folder / "stage1.csv").write_text(text)
        with pytest.raises(StorageError, match=said):
            Plan.load(folder)
    (folder / "stage1.csv").write_text("\n".join(lines))
    (folder / "stage1_demo2_end.png").unlink()  # of an older plan
    assert [path.end is None for path in Plan.load(folder).stages[0].paths] == [False, True]
    Image.fromarray(np.zeros((96, 90, 3), np.uint8)).save(folder / "stage1_demo1_end.png")
    with pytest.raises(UsageError, match="pictures of stage 1 are 90x96"):
        Plan.load(folder)
    (folder / "stage1_demo2.png").write_bytes(b"no picture")
    with pytest.raises(StorageError, match="is not a picture"):
        Plan.load(folder)
    with pytest.raises(StorageError, match="does not exist"):
        Plan.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: RigidOptions(clusters=9, most=3), "clusters must be from 1 to most"),
        (lambda: RigidOptions(degrees=5), "degrees must be 4 or 6"),
        (lambda: RigidOptions(steps=0), "must be at least 1"),
        (lambda: PlanarOptions(clusters=0), "must be at least 1"),
        (lambda: PlanarOptions(tolerance=math.nan), "tolerance must be positive"),
        (lambda: LearnOptions(draw="some"), "draw must be one of ends, everywhere"),  # type: ignore[arg-type]
        (lambda: LearnOptions(clustering="none"), "clustering must be one of"),  # type: ignore[arg-type]
        (lambda: LearnOptions(step=0), "step must be at least 1"),
        (lambda: LearnOptions(active=2), "at least 4 points"),
        (lambda: Plan(Camera(96, 96, 70.0), ()), "at least one stage"),
        (lambda: made_stage(1, points=2), "3 points or more"),
    ],
)
def test_options_that_mean_nothing(made: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        made()  # type: ignore[operator]
