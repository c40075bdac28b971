"""AllTracker in windows, on clips: against the authors' two ways of a whole clip, written out plainly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tapkit
from tapkit.engine.dense import dense_grid, track_dense
from tapkit.engine.tracker import Tracker
from tapkit.errors import MemoryBudgetError, QueryError, ShapeError, UsageError, WeightsError
from tapkit.models.alltracker.network import TINY, AllTracker, Estimate, Window, time_codes
from tapkit.models.alltracker.tracker import AllTrackerModel, build, build_tiny
from tapkit.types import Queries, VideoInfo

HEIGHT, WIDTH = 70, 90
SMALL: dict[str, Any] = {"input_size": None, "iterations": 1, "window": 4}
QUERIES = [(0, 20.25, 30.75), (0, 71.5, 44.25), (3, 40.5, 12.5)]


def clip(frames: int) -> np.ndarray:
    """A texture that moves, [T,H,W,3] uint8."""
    rng = np.random.default_rng(1)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 24, 30))).float()
    picture = torch.nn.functional.interpolate(coarse, (HEIGHT + 30, WIDTH + 30), mode="bilinear")[0]
    moved = [picture[:, t : t + HEIGHT, 2 * t : 2 * t + WIDTH] for t in range(frames)]
    return torch.stack(moved).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def tensor(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Numbers that move points by some pixels."""
    torch.manual_seed(3)
    state = AllTracker(TINY).state_dict()
    for name, value in state.items():
        if "layer_scale" in name:
            value.fill_(0.3)
        if name == "flow_head.2.weight":
            value.mul_(6)
    return state


def tiny(weights: dict[str, Tensor], **options: Any) -> AllTrackerModel:
    return build_tiny(weights, **{**SMALL, **options})


def whole_clip(model: AllTrackerModel, maps: Tensor, overwrite: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """(flow, score) [2,H,W] of each frame: windows over buffers of the whole clip, as the authors' two functions."""
    count, half = model.window, model.window // 2
    frames, starts = len(maps), [0]
    while starts[-1] + count < frames:
        starts.append(starts[-1] + half)
    padded = torch.cat([maps, maps[-1:].expand(starts[-1] + count - frames, -1, -1, -1)])
    flow = torch.zeros(len(padded), *maps.shape[1:3], 2)
    score = torch.zeros_like(flow)
    fields: dict[int, Any] = {}
    for start in starts:
        part = slice(start, start + count)
        begin = Estimate(flow[part], score[part])
        window = model.network.window(maps[0], padded[part], begin, time_codes(count), model.chosen.iterations)
        flow[part], score[part] = window.estimate
        flow[start + count :], score[start + count :] = flow[start + count - 1], score[start + count - 1]
        for offset in range(count):
            if overwrite or start + offset not in fields:
                fields[start + offset] = model.field(window, offset, (HEIGHT, WIDTH))
    return (fields[frame] for frame in range(frames))


@pytest.mark.parametrize("windows", ["overwrite", "first"])
@pytest.mark.parametrize("frames", [3, 4, 5, 6, 9])
def test_streamed_windows_are_those_over_a_whole_clip(weights: dict[str, Tensor], windows: str, frames: int) -> None:
    model, video = tiny(weights, windows=windows), clip(frames)
    tracks = Tracker(model).track(video, QUERIES[:2])
    with torch.inference_mode():
        expected = list(whole_clip(model, model.encode(tensor(video)).maps, windows == "overwrite"))
    for row, (_, x, y) in enumerate(QUERIES[:2]):
        at = (int(y), int(x))
        for t, (flow, probability) in enumerate(expected[1:], 1):
            xy = np.array([at[1] + 0.5, at[0] + 0.5]) + flow[:, *at].numpy()
            np.testing.assert_allclose(tracks.xy[row, t], xy, atol=1e-3)
            found = [tracks.visible[row, t], tracks.confidence[row, t]]
            np.testing.assert_allclose(found, probability[:, *at].numpy(), atol=1e-4)
    assert np.abs(np.diff(tracks.xy, axis=1)).max() > 0.2, "nothing moved, so nothing was shown"


def test_the_two_ways_differ_where_windows_overlap(weights: dict[str, Tensor]) -> None:
    first, last = (Tracker(tiny(weights, windows=way)).track(clip(6), QUERIES[:1]) for way in ("first", "overwrite"))
    differ = np.abs(first.xy - last.xy).max((0, 2)) > 1e-3
    assert differ.tolist() == [False, False, True, True, False, False]


def test_frames_before_the_query_are_the_reversed_clip_from_there(weights: dict[str, Tensor]) -> None:
    tracker, video = Tracker(tiny(weights)), clip(8)
    both = tracker.track(video, [(5, 40.5, 30.5)])
    back = tracker.track(video[:6][::-1].copy(), [(0, 40.5, 30.5)])
    ahead = tracker.track(video[5:], [(0, 40.5, 30.5)])
    np.testing.assert_allclose(both.xy[:, :6], back.xy[:, ::-1], atol=1e-4)
    np.testing.assert_allclose(both.xy[:, 5:], ahead.xy, atol=1e-4)


@pytest.mark.parametrize("query", [0, 1])
def test_two_frames_are_a_window_of_one_at_position_one(weights: dict[str, Tensor], query: int) -> None:
    model, video = tiny(weights, iterations=2), clip(2)
    tracks = Tracker(model).track(video, [(query, 33.5, 41.5)])
    with torch.inference_mode():
        maps = model.encode(tensor(video)).maps
        begin = torch.zeros(1, *maps.shape[1:3], 2)
        other = maps[1 - query : 2 - query]
        window = model.network.window(maps[query], other, Estimate(begin, begin), time_codes(16)[1:2], 2)
        flow, probability = model.field(window, 0, (HEIGHT, WIDTH))
    np.testing.assert_allclose(tracks.xy[0, 1 - query], np.array([33.5, 41.5]) + flow[:, 41, 33].numpy(), atol=1e-3)
    np.testing.assert_allclose(tracks.visible[0, 1 - query], probability[0, 41, 33].numpy(), atol=1e-4)


def test_a_clip_of_one_frame_is_answered_with_the_query(weights: dict[str, Tensor]) -> None:
    tracks = Tracker(tiny(weights)).track(clip(1), [(0, 12.25, 8.5)])
    assert tracks.xy.tolist() == [[[12.25, 8.5]]] and tracks.visible.tolist() == [[1.0]]


@pytest.fixture
def windows_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each window had that the network was asked for."""
    ran: list[int] = []
    own = AllTracker.window

    def counted(self: AllTracker, anchor: Tensor, frames: Tensor, *rest: Any) -> Window:
        ran.append(len(frames))
        return own(self, anchor, frames, *rest)

    monkeypatch.setattr(AllTracker, "window", counted)
    return ran


def test_points_of_one_frame_share_their_windows(weights: dict[str, Tensor], windows_run: list[int]) -> None:
    tracker, video = Tracker(tiny(weights)), clip(6)
    tracker.track(video, [(0, x, 30.5) for x in range(1, 80)], direction="forward")
    assert windows_run == [4, 4]
    windows_run.clear()
    tracker.track(video, [(t, 20.5, 30.5) for t in (0, 2)], direction="forward")
    assert windows_run == [4, 4, 4]


def test_dense_tracking_is_the_model_s_own_field_in_one_pass(
    weights: dict[str, Tensor], windows_run: list[int], tmp_path: Path
) -> None:
    pytest.importorskip("zarr")
    model, video = tiny(weights), clip(4)
    path = track_dense(Tracker(model), video, tmp_path / "dense.zarr", frame=0, step=1)
    assert windows_run == [4]
    with torch.inference_mode():
        fields = list(whole_clip(model, model.encode(tensor(video)).maps, True))
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    found = dense_grid(path)
    for t in (1, 3):
        np.testing.assert_allclose(found[t] - np.stack([x, y], -1), fields[t][0].permute(1, 2, 0).numpy(), atol=1e-3)
    np.testing.assert_allclose(dense_grid(path, "confidence")[2], fields[2][1][1].numpy(), atol=1e-4)


def test_a_budget_bounds_the_points_and_changes_nothing(weights: dict[str, Tensor], windows_run: list[int]) -> None:
    model = tiny(weights)
    points = [(0, x, y) for x in np.arange(3, 88, 4.0) for y in np.arange(3, 68, 4.0)]
    whole = Tracker(model).track(clip(5), points)
    fixed = model.window * model.frame_bytes((HEIGHT, WIDTH))
    windows_run.clear()
    parts = Tracker(model).track(clip(5), points, memory=fixed + model.point_bytes((HEIGHT, WIDTH)) * 100)
    assert len(windows_run) > 4
    np.testing.assert_allclose(parts.xy, whole.xy, atol=1e-4)
    with pytest.raises(MemoryBudgetError, match="raise memory="):
        Tracker(model).track(clip(5), points, memory="100KB")


def test_between_pixels_a_point_reads_their_motion_bilinearly(weights: dict[str, Tensor]) -> None:
    video = clip(4)
    between, pixels = ([(0, 30.75, 40.25)], [(0, x, y) for y in (39.5, 40.5) for x in (30.5, 31.5)])
    smooth = Tracker(tiny(weights, sampling="bilinear")).track(video, between)
    nearest = Tracker(tiny(weights)).track(video, pixels)
    motion = nearest.xy - nearest.xy[:, :1]
    mixed = (motion * np.array([0.75 * 0.25, 0.25 * 0.25, 0.75 * 0.75, 0.25 * 0.75])[:, None, None]).sum(0)
    np.testing.assert_allclose(smooth.xy[0] - np.array([30.75, 40.25]), mixed, atol=1e-3)
    rounded = Tracker(tiny(weights)).track(video, between)
    np.testing.assert_allclose(rounded.xy[0, 1:], nearest.xy[2, 1:], atol=1e-5)


def test_frames_are_resized_and_positions_scaled_back(weights: dict[str, Tensor]) -> None:
    """One pixel becomes a block of 2 x 2; the network sees the same picture."""
    video, points = clip(4), [(0, 20.5, 30.5), (0, 71.5, 44.5)]
    small = Tracker(tiny(weights)).track(video, points)
    large = Tracker(tiny(weights, input_size=(HEIGHT, WIDTH))).track(
        video.repeat(2, 1).repeat(2, 2), [(t, 2 * x, 2 * y) for t, x, y in points]
    )
    np.testing.assert_allclose(large.xy, 2 * small.xy, atol=2e-3)


def test_points_far_outside_the_picture_of_small_frames_are_answered(weights: dict[str, Tensor]) -> None:
    """Frames below 128 pixels are padded, and corners are pixels too."""
    tracks = Tracker(tiny(weights)).track(clip(3)[:, :20, :24], [(0, 0.0, 0.0), (0, 24.0, 20.0)])
    assert np.isfinite(tracks.xy).all()


def test_half_precision_is_near_and_leaves_positions_float32(weights: dict[str, Tensor]) -> None:
    video = clip(5)
    exact, half = (Tracker(tiny(weights, precision=p)).track(video, QUERIES[:2]) for p in ("float32", "bfloat16"))
    assert half.xy.dtype == np.float32
    assert 0 < np.abs(exact.xy - half.xy).max() < 0.5
    assert np.abs(exact.visible - half.visible).max() < 0.05


def test_live_points_come_and_go(weights: dict[str, Tensor]) -> None:
    tracker, video = Tracker(tiny(weights)), clip(12)
    session = tracker.start(VideoInfo(WIDTH, HEIGHT, frames=12), Queries.of(QUERIES[:1]))
    early = [result for frame in video[:6] for result in session.step(frame)]
    start = session.earliest
    (added,) = session.add([(start, 50.5, 20.5)]).tolist()
    session.remove(["0"])
    late = [result for frame in video[6:] for result in session.step(frame)] + session.finish()
    assert {name for result in late for name in result.ids.tolist()} == {added}
    assert [result.frame for result in late] == list(range(start, 12))
    assert [result.frame for result in early] == [0, 1, 2, 3]
    alone = tracker.track(video, [(start, 50.5, 20.5)], direction="forward")
    np.testing.assert_allclose([result.xy[0] for result in late], alone.xy[0, start:], atol=1e-3)


# -- weights and bad input ------------------------------------------------------------------------------


def test_released_files_load_with_their_table_of_time_codes(weights: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "alltracker_tiny.pth"
    torch.save({"model": {**weights, "time_emb": time_codes(16)[None]}, "step": 3}, file)
    loaded = tapkit.load("alltracker-tiny", weights=file, **SMALL)
    plain = Tracker(tiny(weights))
    np.testing.assert_array_equal(loaded.track(clip(3), QUERIES[:1]).xy, plain.track(clip(3), QUERIES[:1]).xy)


def test_weights_of_another_model_are_refused(weights: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"not weights of alltracker-tiny: it lacks fnet\.conv1\.weight"):
        build_tiny({name: value for name, value in weights.items() if name != "fnet.conv1.weight"})
    with pytest.raises(WeightsError, match=r"not weights of alltracker: it lacks cnn\.features"):
        build(weights)
    with pytest.raises(WeightsError, match="time codes of 16 frames"):
        build_tiny({**weights, "time_emb": torch.zeros(1, 16, 128)})
    with pytest.raises(WeightsError, match="time codes of 16 frames"):
        build_tiny({**weights, "time_emb": torch.zeros(1, 12, 128)})


def test_without_weights_it_is_said_which_file_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TAPKIT_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TAPKIT_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"alltracker\.pth"):
        tapkit.load("alltracker")


def test_bad_options_are_refused_in_one_sentence() -> None:
    for options, words in (
        ({"window": 5}, "even number"),
        ({"window": 2}, "window must be at least 4"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"windows": "last"}, "'overwrite' or 'first'"),
        ({"input_size": (0, 5)}, "input_size"),
    ):
        with pytest.raises(UsageError, match=words):
            build_tiny(**options)


def test_bad_frames_and_queries_are_refused(weights: dict[str, Tensor]) -> None:
    model = tiny(weights)
    with pytest.raises(ShapeError, match=r"\[B,3,h,w\]"):
        model.encode(torch.zeros(3, 10, 10, dtype=torch.uint8))
    features = model.encode(tensor(clip(4)))
    with pytest.raises(QueryError, match="finite"):
        model.step(model.start((HEIGHT, WIDTH)), features, 0, torch.tensor([[0.0, float("nan"), 3.0]]))
    with pytest.raises(ShapeError, match=r"\[N,3\]"):
        model.step(model.start((HEIGHT, WIDTH)), features, 0, torch.zeros(2, 2))


def test_no_frames_have_no_features(weights: dict[str, Tensor]) -> None:
    assert tiny(weights).encode(torch.zeros(0, 3, 64, 80, dtype=torch.uint8)).maps.shape == (0, 16, 16, 128)


@pytest.mark.parametrize("factory", [build, build_tiny])
def test_points_that_wait_for_their_frame_join_when_it_comes(factory: Any) -> None:
    """In windows that do not begin on the query's frame, as `WindowModel` allows."""
    torch.manual_seed(0)
    model = factory(**SMALL)
    frames = tensor(clip(8))
    queries = torch.tensor([[0.0, 20.0, 30.0], [5.0, 40.0, 20.0]])
    with torch.inference_mode():
        state, said = model.step(model.start((HEIGHT, WIDTH)), model.encode(frames[:4]), 0, queries)
        assert state.owner.tolist() == [0, -1] and said.xy[1].tolist() == [[40.0, 20.0]] * 4
        state, said = model.step(state, model.encode(frames[2:6]), 2, queries)
        assert state.owner.tolist() == [0, 1] and state.t.tolist() == [0, 5]
        assert len(model.select(state, torch.tensor([1])).anchors) == 1
