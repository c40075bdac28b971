"""DOT: what the parity cases do not show. Exactness is shown by tools/check_parity.py."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tapkit
from tapkit import registry
from tapkit.engine.clip_flow import ClipFlow
from tapkit.engine.control import Cancelled, Control, Progress
from tapkit.engine.tracker import Tracker
from tapkit.errors import UsageError, WeightsError
from tapkit.flow.dot.boundaries import THRESHOLD, boundary_strength, draw, draw_batches, share_among_frames
from tapkit.flow.dot.coarse import SparseTracks, coarse_motion, nearest, unit, unit_grid
from tapkit.flow.dot.everywhere import tracks_everywhere
from tapkit.flow.dot.motion import ClipMotion, Dense, read_points, whole_field
from tapkit.flow.dot.tracker import Dot, build
from tapkit.flow.stream import Pairs
from tapkit.models.base import Prediction

SMALL: dict[str, Any] = {
    "tracker": "lucas-kanade", "flow": "dis", "tracks": 60, "batch": 25, "resolution": (64, 72), "iterations": 1,
}  # fmt: skip


def published() -> dict[str, Tensor]:
    """Seeded weights under the authors' names."""
    root = Path(__file__).parents[2] / "parity_set"
    sys.path.insert(0, str(root.parents[1] / "tools"))
    from parity import Parity

    return Parity(root).weights("dot_refiner")


def unmoved() -> dict[str, Tensor]:
    """Weights that leave the coarse motion as it is, and enlarge it by each cell's own value."""
    state = {name: tensor.clone() for name, tensor in published().items()}
    for name in ("flow_head.conv2", "alpha_head.conv2", "mask.2", "alpha_mask.2"):
        for part in ("weight", "bias"):
            state[f"update_block.{name}.{part}"].zero_()
    for name in ("mask.2", "alpha_mask.2"):
        state[f"update_block.{name}.bias"].view(9, -1)[4] = 400.0
    return state


def tracks_of(frames: int, count: int, size: tuple[int, int], seed: int = 0) -> SparseTracks:
    """Points that wander about."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, 1, (1, count, 2)) * (size[1], size[0]) + rng.normal(0, 2, (frames, count, 2)).cumsum(0)
    visible = rng.random((frames, count)) < 0.7
    return SparseTracks(unit(torch.from_numpy(xy.astype(np.float32)), size), torch.from_numpy(visible))


def frames_of(clip: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(clip)).permute(0, 3, 1, 2).contiguous()


# -- coarse motion --------------------------------------------------------------------------------------


def test_every_cell_moves_as_the_nearest_visible_track() -> None:
    size, cells = (40, 64), (7, 9)
    tracks = tracks_of(3, 30, size)
    flow, visible = coarse_motion(tracks, 0, 2, nearest(tracks.xy[0], tracks.visible[0], cells))
    for row in range(cells[0]):
        for column in range(cells[1]):
            x, y = column / (cells[1] - 1), row / (cells[0] - 1)
            seen = [n for n in range(30) if tracks.visible[0, n]]
            best = min(seen, key=lambda n: float((tracks.xy[0, n] - torch.tensor([x, y])).square().sum()))
            moved = (tracks.xy[2, best] - tracks.xy[0, best]) * torch.tensor([cells[1] - 1.0, cells[0] - 1.0])
            torch.testing.assert_close(flow[0, :, row, column], moved)
            assert visible[0, 0, row, column] == tracks.visible[2, best]


def test_without_a_visible_track_the_first_one_counts() -> None:
    tracks = tracks_of(2, 5, (32, 32))._replace(visible=torch.zeros(2, 5, dtype=torch.bool))
    assert (nearest(tracks.xy[0], tracks.visible[0], (4, 5)) == 0).all()


def test_equally_near_tracks_are_taken_in_their_order() -> None:
    points = torch.tensor([[0.9, 0.9], [0.25, 0.0], [0.75, 0.0], [0.25, 0.0]])
    assert nearest(points, torch.ones(4, dtype=torch.bool), (2, 3))[0].tolist() == [1, 1, 2]


def test_the_grid_ends_at_the_outermost_pixel_centres() -> None:
    grid = unit_grid((3, 5))
    assert grid[0, 0].tolist() == [0, 0] and grid[2, 4].tolist() == [1, 1] and grid[1, 1].tolist() == [0.25, 0.5]
    assert unit(torch.tensor([[63.0, 0.0], [0.0, 31.0]]), (32, 64)).tolist() == [[1, 0], [0, 1]]


# -- where points begin -----------------------------------------------------------------------------------


def test_boundaries_lie_where_motion_changes() -> None:
    flow = torch.zeros(2, 2, 60, 80)
    flow[:, 0, 20:40, 30:50] = 5
    flow[1] *= -3
    strength = boundary_strength(flow)
    torch.testing.assert_close(strength[0], strength[1], atol=1e-4, rtol=0)  # of the strongest of each frame
    mask = strength[0] > THRESHOLD
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    assert 14 <= rows.min() <= 19 and 40 <= rows.max() <= 45 and 24 <= columns.min() <= 29
    assert not mask[28:32, 38:42].any(), "motion does not change within the square"
    assert not (boundary_strength(torch.full((1, 2, 9, 9), 4.0)) > THRESHOLD).any()


def test_half_of_the_points_lie_on_boundaries_and_none_of_these_twice() -> None:
    mask = torch.zeros(30, 40, dtype=torch.bool)
    mask[3:6, 10:20] = True
    points = draw(mask, 40, torch.Generator().manual_seed(0))
    assert points.shape == (40, 2) and (points >= 0).all() and (points < torch.tensor([40, 30])).all()
    on = [tuple(point) for point in points[:20].tolist()]
    assert len(set(on)) == 20 and all(mask[y, x] for x, y in on)
    few = draw(mask & (torch.arange(40) < 11), 40, torch.Generator().manual_seed(0))
    assert len(few) == 40 and [bool(mask[y, x]) for x, y in few[:3].tolist()] == [True] * 3


def test_points_are_spread_over_the_frames_and_always_the_same() -> None:
    assert share_among_frames(20, range(6)) == [5, 3, 3, 3, 3, 3]
    asked: list[int] = []

    def mask(frame: int) -> Tensor:
        asked.append(frame)
        return torch.ones(8, 9, dtype=torch.bool)

    first = draw_batches(mask, range(6), [20, 5], 3)
    assert asked == list(range(6)), "the boundaries of a frame are found once"
    assert [len(part) for part in first] == [20, 5]
    assert first[0][:, 0].long().bincount().tolist() == [5, 3, 3, 3, 3, 3]
    assert first[1][:, 0].unique().tolist() == [0.0], "five points over six frames: the remainder is on the first"
    again, other = (draw_batches(mask, range(6), [20, 5], seed) for seed in (3, 4))
    assert all(map(torch.equal, first, again)) and not torch.equal(first[0], other[0])


# -- reading dense motion ---------------------------------------------------------------------------------


def test_points_read_the_motion_between_the_pixels_around_them() -> None:
    """Loops over the definition: bilinear in normalised positions, visible as the most visible of the pixels used."""
    torch.manual_seed(0)
    inner, size = (12, 16), (31, 22)
    dense = Dense(torch.randn(1, 2, *inner), torch.rand(1, *inner))
    xy = torch.rand(40, 2) * torch.tensor([21.0, 30.0]) + 0.5
    xy[0] = torch.tensor([0.5, 0.5])
    found, visible = read_points(dense, xy, size)
    for n in range(len(xy)):
        place = (xy[n] - 0.5) / torch.tensor([size[1] - 1.0, size[0] - 1.0])
        x, y = (place * torch.tensor([inner[1] - 1.0, inner[0] - 1.0])).tolist()
        at, best = torch.zeros(2), 0.0
        for j in range(inner[0]):
            for i in range(inner[1]):
                weight = max(0.0, 1 - abs(x - i)) * max(0.0, 1 - abs(y - j))
                target = torch.tensor([i / (inner[1] - 1), j / (inner[0] - 1)])
                moved = dense.flow[0, :, j, i] / torch.tensor([inner[1] - 1.0, inner[0] - 1.0])
                at += weight * (target + moved)
                best = max(best, float(dense.visible[0, j, i])) if weight > 0 else best
        torch.testing.assert_close(found[n], at * torch.tensor([21.0, 30.0]) + 0.5, atol=2e-4, rtol=0)
        assert abs(best - float(visible[n])) < 1e-6


def test_beyond_the_outermost_centres_the_border_moves_as_it_does() -> None:
    dense = Dense(torch.full((1, 2, 8, 8), 3.0), torch.ones(1, 8, 8))
    found, visible = read_points(dense, torch.tensor([[0.0, 0.0], [8.0, 8.0], [4.2, 0.1]]), (8, 8))
    torch.testing.assert_close(found, torch.tensor([[3.0, 3.0], [11.0, 11.0], [7.2, 3.1]]))
    assert visible.tolist() == [1, 1, 1]
    field = whole_field(dense, (16, 20))
    assert field.xy.shape == (1, 2, 16, 20) and field.occlusion is not None and not field.occlusion.any()


# -- the whole ---------------------------------------------------------------------------------------------


def tracker(state: dict[str, Tensor] | None = None, **options: Any) -> Tracker:
    return Tracker(registry.build("dot", published() if state is None else state, **{**SMALL, **options}))


def test_without_refinement_a_panning_clip_is_followed(panning: np.ndarray) -> None:
    """The picture moves by (-2, -1) a frame; points of any frame, in both directions, by the tracks of Lucas-Kanade."""
    clip = panning[:4]
    dot = tracker(unmoved(), tracks=300, batch=300, resolution=(120, 160))
    queries = [(0, 80.0, 60.0), (3, 60.5, 70.25)]
    found = dot.track(clip, queries)
    for n, (t, x, y) in enumerate(queries):
        truth = np.array([x, y]) + np.outer(np.arange(4) - t, (-2.0, -1.0))
        assert np.abs(found.xy[n] - truth).max() < 0.5
        assert found.visible_at()[n].all()


def test_what_is_covered_is_hidden(covered: np.ndarray) -> None:
    """A square passes over still ground, x = 8t .. 8t + 48 and y = 36 .. 84; the tracker of points knows that."""
    dot = tracker(unmoved(), tracks=1000, batch=1000, resolution=(120, 160), sampling="first")

    def truth(frames: Tensor, groups: Sequence[Tensor]) -> Prediction:
        (points,) = groups
        assert (points[:, 0] == 0).all()
        x, y = points[:, 1, None], points[:, 2, None]
        left = 8.0 * torch.arange(len(frames))
        inside = (y > 36) & (y < 84)
        hidden = inside & (x > left) & (x < left + 48) & (x > 48)
        own = inside & (x < 48)
        return Prediction(torch.stack([x + own * left, y.expand(-1, len(frames))], -1), (~hidden).float(), hidden * 1.0)

    dot.model.start_from(truth, {})
    found = dot.track(covered[:12], [(0, 70.0, 60.0), (0, 100.0, 12.0), (0, 24.0, 60.0)])
    seen = found.visible_at()
    assert seen[0].tolist() == [t < 3 or t > 8 for t in range(12)] and seen[1:].all()
    # Coarse flow counts 39 cells to the frame's width and is enlarged by 4, to 156 of 159 pixels: as published.
    np.testing.assert_allclose(found.xy[2, :, 0], 24 + 8 * 156 / 159 * np.arange(12), atol=0.1)
    np.testing.assert_allclose(found.xy[1], np.tile([100.0, 12.0], (12, 1)), atol=1e-3)


def test_flow_is_what_the_points_do(panning: np.ndarray) -> None:
    """The field of a pair at the video's size, against a track of every pixel; both ways through the engine."""
    clip = panning[:3]
    dot = tracker()
    pair = next(ClipFlow(dot).flows(tapkit.open_video(clip), Pairs.of("step:2"), lambda first, second: True))
    assert (pair.first, pair.second) == (0, 2) and pair.xy.shape == (120, 160, 2) and pair.occlusion is not None
    rows, columns = [0, 7, 60, 119], [0, 33, 80, 159]
    queries = [(0, x + 0.5, y + 0.5) for y in rows for x in columns]
    found = dot.track(clip, queries)
    moved = (found.xy[:, 2] - found.queries.xy).reshape(4, 4, 2)
    np.testing.assert_allclose(pair.xy[np.ix_(rows, columns)], moved, atol=1e-3)
    np.testing.assert_allclose(1 - pair.occlusion[np.ix_(rows, columns)], found.visible[:, 2].reshape(4, 4), atol=1e-5)


def test_flow_of_all_pairs_encodes_each_frame_once(panning: np.ndarray) -> None:
    dot = tracker()
    encoded: list[int] = []
    for part in (dot.model.network.matching, dot.model.network.context):
        part.register_forward_hook(lambda module, given, result: encoded.append(len(given[0])))
    pairs = list(ClipFlow(dot).flows(tapkit.open_video(panning[:4]), Pairs.of("all:3"), lambda first, second: True))
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    assert sum(encoded) == 4 + 3, "matching maps of 4 frames, context maps of the 3 that come first in a pair"


def test_tracks_of_one_frame_encode_each_frame_once_and_hold_few(panning: np.ndarray) -> None:
    dot = tracker()
    encoded: list[int] = []
    dot.model.network.matching.register_forward_hook(lambda module, given, result: encoded.append(len(given[0])))
    held: list[int] = []
    dense = ClipMotion.dense

    def spy(self: ClipMotion, first: int, second: int) -> Dense:
        result = dense(self, first, second)
        held.append(len(self._matching))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClipMotion, "dense", spy)
        dot.track(panning[:6, :64, :80], [(2, 30.0, 30.0), (2, 40.0, 20.0)])
    assert sum(encoded) == 6 and max(held) <= 3


def test_groups_of_points_and_other_points_change_nothing(panning: np.ndarray) -> None:
    dot = tracker()
    clip = panning[:2, :64, :80]
    queries = [(t, 20.0 + 9 * t, 30.0 + 5 * t) for t in range(2)] * 3
    whole = dot.track(clip, queries)
    split = dot.track(clip, queries, memory=3 * 64 * 80 * 2 + 3 * 16 * 2)
    alone = dot.track(clip, queries[1:2])
    np.testing.assert_allclose(whole.xy, split.xy, atol=1e-4)
    np.testing.assert_allclose(whole.xy[1:2], alone.xy, atol=1e-4)


def test_the_tracker_is_handed_points_in_batches_if_it_takes_them_jointly(panning: np.ndarray) -> None:
    seen: list[Sequence[int]] = []
    dot = tracker()
    own = dot.model._track_points

    def spy(frames: Tensor, groups: Sequence[Tensor]) -> Prediction:
        seen.append([len(group) for group in groups])
        return own(frames, groups)

    dot.model.start_from(spy, {})
    dot.track(panning[:3], [(0, 50.0, 50.0)])
    assert seen == [[25, 25, 10]]


def test_progress_is_told_and_ends_with_all_pairs(panning: np.ndarray) -> None:
    told: list[tuple[str, int, int | None]] = []
    tracker().track(
        panning[:3], [(0, 9.0, 9.0), (1, 50.0, 50.0)], progress=lambda p: told.append((p.stage, p.done, p.total))
    )
    assert told[-6:] == [("finish", done, 6) for done in range(1, 7)], "two first frames, three second ones"
    before = [stage for stage, *_ in told[:-6]]
    assert before.count("finish") > 3, "the frames of the tracker of sparse points are told as well"


def test_a_run_can_be_cancelled_while_points_are_tracked_for_it(panning: np.ndarray) -> None:
    control = Control()

    def cancel(progress: Progress) -> None:
        if progress.stage == "finish":
            control.cancel()

    control.progress = cancel
    with pytest.raises(Cancelled):
        tracker().track(panning[:3], [(0, 9.0, 9.0)], control=control)


def test_the_provenance_names_the_tracker_and_its_options(panning: np.ndarray) -> None:
    tracks = tracker(tracker_options={"levels": 2}).track(panning[:2], [(0, 50.0, 50.0)])
    options = tracks.source.options
    assert (options["tracker"], options["flow"]) == ("lucas-kanade", "dis")
    assert options["flow_options"] == {"preset": "medium"}
    assert (options["tracker_options"]["levels"], options["tracker_options"]["window"]) == (2, 15)


def test_every_cell_of_the_chosen_frames_is_visited(panning: np.ndarray) -> None:
    model: Dot = build(published(), **SMALL)
    frames, size = frames_of(panning[:4, :48, :60]), (48, 60)
    motion = model.motion(frames, tracks_of(4, 50, size))
    queries, found = tracks_everywhere(model, motion, size, 6, 2)
    assert len(queries) >= 80 and found.xy.shape == (len(queries), 4, 2)
    assert (queries[:80, 0] == 0).all(), "all cells of the first frame"
    with pytest.raises(UsageError, match="cells are 1 to 48 pixels"):
        tracks_everywhere(model, motion, size, 49)


def test_bfloat16_stays_near(panning: np.ndarray) -> None:
    exact, half = (tracker(precision=precision) for precision in ("float32", "bfloat16"))
    query = [(0, 80.0, 60.0), (1, 40.0, 40.0)]
    difference = np.abs(exact.track(panning[:2], query).xy - half.track(panning[:2], query).xy).max()
    assert 0 < difference < 0.5


# -- weights and bad input -----------------------------------------------------------------------------------


def test_the_tracker_s_checkpoint_may_bear_the_prefix_of_dot_s_authors(panning: np.ndarray, tmp_path: Path) -> None:
    from tapkit.models.pips.tracker import build as build_pips

    plain = build_pips().network.state_dict()
    torch.save({f"model.{name}": tensor for name, tensor in plain.items()}, tmp_path / "pips.pth")
    options = {"tracker": "pips", "tracker_weights": str(tmp_path / "pips.pth")}
    assert "tracker_weights_sha256" in tracker(**options).model.options


def test_another_model_s_checkpoint_is_refused() -> None:
    state = published()
    with pytest.raises(WeightsError, match="not weights of dot"):
        build({name: tensor for name, tensor in state.items() if "alpha" not in name})
    with pytest.raises(WeightsError, match="not weights of dot"):
        build({**state, "update_block.encoder.convf1.weight": torch.zeros(128, 2, 7, 7)})
    with pytest.raises(WeightsError, match="not weights of dot-estimator"):
        tapkit.api.load_flow("dot-estimator", state)


def test_missing_weights_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TAPKIT_WEIGHTS", "TAPKIT_CACHE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("tapkit.weights.urllib.request.urlopen", _no_network, raising=False)
    with pytest.raises(WeightsError, match="cotracker2"):
        tapkit.load("dot", published(), flow="dis")
    with pytest.raises(WeightsError, match=r"cvo_raft_patch_8\.pth"):
        tapkit.load("dot", published(), tracker="lucas-kanade")


def _no_network(*arguments: Any, **options: Any) -> Any:
    raise ConnectionError("no network")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tracker": "dot"}, "another tracker, not from its own"),
        ({"tracker": "dis"}, "flow between two frames"),
        ({"tracker": "lucas"}, "there is no tracker 'lucas'.*lucas-kanade"),
        ({"flow": "lucas-kanade"}, "no flow model 'lucas-kanade'"),
        ({"tracks": 0}, "tracks must be at least 1"),
        ({"resolution": (66, 72)}, "resolution must be multiples of 4"),
        ({"resolution": 32}, "at least 64x64"),
        ({"max_side": 4}, "max_side must be at least 8"),
        ({"sampling": "some"}, "sampling of dot must be"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tracker(**options)


def test_without_the_engine_it_says_what_is_missing() -> None:
    model = build(published(), **SMALL)
    with pytest.raises(UsageError, match=r"load it by tapkit\.load"):
        model.track(model.encode(torch.zeros(2, 3, 64, 64, dtype=torch.uint8)), (64, 64), torch.zeros(1, 3))


@pytest.mark.parametrize(("frames", "side"), [(1, 40), (3, 8), (2, 2)])
def test_single_frames_and_tiny_ones_are_answered(frames: int, side: int) -> None:
    clip = np.random.default_rng(0).integers(0, 255, (frames, side, side, 3), dtype=np.uint8)
    found = tracker(resolution=None, tracks=20, batch=20).track(clip, [(0, side / 2, side / 2)])
    assert found.xy.shape == (1, frames, 2) and np.isfinite(found.xy).all()


def test_other_models_give_no_flow_between_any_frames() -> None:
    with pytest.raises(UsageError, match="lucas-kanade gives no flow"):
        ClipFlow(Tracker(registry.build("lucas-kanade")))
    with pytest.raises(UsageError, match="no flow model 'lucas-kanade'"):
        tapkit.api.load_flow("lucas-kanade")


def test_dense_tracks_and_flow_through_the_package_s_front_door(panning: np.ndarray, tmp_path: Path) -> None:
    """`track_dense` and `flow` from a checkpoint file: the same motion, once as a store and once as fields."""
    pytest.importorskip("zarr")
    torch.save(published(), tmp_path / "dot.pth")
    given: dict[str, Any] = {"model": "dot", "weights": tmp_path / "dot.pth", "device": "cpu", **SMALL}
    clip = panning[:3, :64, :80]
    path = tapkit.track_dense(clip, 1, tmp_path / "clip.dense.zarr", step=8, **given)
    dense = tapkit.load_dense(path)
    assert (dense.frame, dense.xy.shape, dense.source.model) == (1, (3, 8, 10, 2), "dot")
    pairs = {(pair.first, pair.second): pair for pair in tapkit.flow(clip, pairs="previous", **given)}
    assert list(pairs) == [(1, 0), (2, 1)]
    # Cells of eight pixels have their centres where four pixels meet; between pixels motion is read bilinearly.
    field = pairs[1, 0].xy
    corners = [field[3 + y :: 8, 3 + x :: 8][:8, :10] for y in (0, 1) for x in (0, 1)]
    np.testing.assert_allclose(dense.xy[0] - dense.start, np.mean(corners, 0), atol=0.25)
    (one,) = tapkit.flow(clip, pairs="step:2", **given)
    assert (one.first, one.second) == (0, 2)
