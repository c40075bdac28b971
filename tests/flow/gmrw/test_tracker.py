"""GMRW as a tracker: chains in both directions, the way back, direct matching, live points, checkpoints, bad input."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import tapkit
from tapkit.engine.tracker import Tracker
from tapkit.errors import QueryError, UsageError, WeightsError
from tapkit.flow.gmrw.tracker import Gmrw, build
from tapkit.types import VideoInfo
from tapkit.weights import read

QUERIES = torch.tensor([[0.0, 20.5, 30.0], [2.0, 70.0, 11.5], [3.0, 88.0, 60.0], [5.0, 5.0, 50.0], [1.0, 48.0, 32.0]])


@pytest.fixture
def clip(moving_clip) -> np.ndarray:
    return moving_clip[0][:6]


def model(**options) -> Gmrw:
    torch.manual_seed(0)
    return build(**{"resolution": None, "upsample": 1, "flow_method": "weighted_argmax", **options})


def frames_of(clip: np.ndarray) -> Tensor:
    return torch.from_numpy(clip).permute(0, 3, 1, 2).contiguous()


def read_flow(flow: Tensor, xy: Tensor) -> Tensor:
    """The flow [2,h,w] at xy [2], pixel centres at integers, the border repeated."""
    grid = xy * 2 / (torch.tensor([flow.shape[2], flow.shape[1]]) - 1) - 1
    return F.grid_sample(flow[None], grid.view(1, 1, 1, 2), padding_mode="border", align_corners=True).view(2)


def chained(tracker: Gmrw, clip: np.ndarray, query: Tensor) -> tuple[Tensor, list[bool]]:
    """One point's track and visibility, from dense flows and by the definition."""
    frames, t = frames_of(clip), int(query[0])
    last = len(frames) - 1
    flows = [tracker.flow(frames[n : n + 2]) for n in range(last)]
    xy = query[1:].repeat(len(frames), 1)
    for n in range(t, last):
        xy[n + 1] = xy[n] + read_flow(flows[n][0], xy[n])
    for n in range(t, 0, -1):
        xy[n - 1] = xy[n] + read_flow(flows[n - 1][1], xy[n])
    error = [float((read_flow(flows[n][0], xy[n]) + read_flow(flows[n][1], xy[n + 1])).norm()) for n in range(last)]
    size = torch.tensor([frames.shape[3], frames.shape[2]])
    visible = []
    for n in range(len(frames)):
        beside = [error[k] for k in (n - 1, n) if 0 <= k < last]
        visible.append(n == t or (bool(((xy[n] >= 0) & (xy[n] < size)).all()) and max(beside) < 3))
    return xy, visible


def test_tracks_are_the_chained_flows_in_both_directions(clip: np.ndarray) -> None:
    tracker = model()
    tracks = Tracker(tracker).track(clip, QUERIES.numpy())
    seen = []
    for row, query in enumerate(QUERIES):
        xy, visible = chained(tracker, clip, query)
        assert np.allclose(tracks.xy[row], xy.numpy(), atol=2e-3)
        assert tracks.visible_at()[row].tolist() == visible
        seen += visible
    assert 0 < sum(seen) < len(seen), "the test must have both visible and hidden points"
    assert tracks.valid.all()


def test_direct_tracks_are_the_flows_from_the_query(clip: np.ndarray) -> None:
    tracker = model(mode="direct")
    tracks = Tracker(tracker).track(clip, QUERIES.numpy())
    frames = frames_of(clip)
    for row, query in enumerate(QUERIES):
        for n in range(len(frames)):
            if n == int(query[0]):
                expected = query[1:]
            else:
                flow, _ = tracker.flow(torch.stack([frames[int(query[0])], frames[n]]))
                expected = query[1:] + read_flow(flow, query[1:])
            assert np.allclose(tracks.xy[row, n], expected.numpy(), atol=2e-3)


@pytest.mark.parametrize("mode", ["chain", "direct"])
def test_live_points_come_and_go_without_touching_the_others(clip: np.ndarray, mode: str) -> None:
    tracker = Tracker(model(mode=mode))
    whole = tracker.track(clip, QUERIES[[0, 1]].numpy(), direction="forward")
    session = tracker.start(VideoInfo(width=96, height=64), QUERIES[:1].numpy())
    found = {}
    for n, picture in enumerate(clip):
        if n == 1:
            session.add([(1, 30.0, 30.0)])
        if n == 2:
            session.add(QUERIES[1:2].numpy())
        if n == 3:
            session.remove(["1"])
        for result in session.step(picture):
            found[result.frame] = result
    for result in session.finish():
        found[result.frame] = result
    assert list(found[5].ids) == ["0", "2"]
    for n in range(3, 6):
        assert np.allclose(found[n].xy, whole.xy[:, n], atol=1e-4)
        assert np.array_equal(found[n].visible, whole.visible[:, n])


def test_a_step_changes_none_of_its_arguments(clip: np.ndarray) -> None:
    tracker = model(mode="direct")
    features = tracker.encode(frames_of(clip)[:2])
    state, _ = tracker.step(tracker.start((64, 96)), features, 0, QUERIES)
    kept = [part.clone() for part in state]
    tracker.step(state, features, 1, QUERIES)
    tracker.select(state, torch.tensor([0, 4]))
    assert all(torch.equal(part, before) for part, before in zip(state, kept, strict=True))


def test_select_forgets_frames_that_no_point_needs(clip: np.ndarray) -> None:
    tracker = model(mode="direct")
    features = tracker.encode(frames_of(clip)[:3])
    state, _ = tracker.step(tracker.start((64, 96)), features._replace(maps=features.maps[:2]), 0, QUERIES)
    state, _ = tracker.step(state, features._replace(maps=features.maps[1:]), 1, QUERIES)
    assert len(state.references) == 2 and state.source.tolist() == [0, -1, -1, -1, 1]
    fewer = tracker.select(state, torch.tensor([4, 2]))
    assert fewer.source.tolist() == [0, -1] and torch.equal(fewer.references[0], features.maps[1])


def test_frames_are_resized_and_enlarged_to_what_the_network_takes() -> None:
    assert build().enlarged_size((480, 854)) == (512, 512)
    assert build(resolution=None, upsample=1).enlarged_size((45, 3)) == (48, 8)
    assert build(resolution=(100, 60), upsample=4).map_size((480, 854)) == (100, 60)


@pytest.mark.parametrize(("pixel_range", "divisor"), [("0..255", 1.0), ("0..1", 255.0)])
def test_pixels_are_normalised_in_the_range_asked_for(clip: np.ndarray, pixel_range: str, divisor: float) -> None:
    tracker = model(pixel_range=pixel_range)
    frames = frames_of(clip)[:1]
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = tracker.network.encode((frames / divisor - mean) / deviation)
    assert torch.allclose(tracker.encode(frames).maps, expected, atol=1e-5)
    other = model(pixel_range="0..1" if divisor == 1 else "0..255").encode(frames).maps
    assert (other - expected).abs().max() > 0.1, "padding with zeros is another colour"


@pytest.mark.parametrize("size", [(8, 8), (2, 5), (33, 50)])
def test_small_and_odd_frames_and_a_clip_of_one_frame(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    tracker = Tracker(build(resolution=None))
    assert np.isfinite(tracker.track(picture, [(1, 0.5, 0.5)]).xy).all()
    one = tracker.track(picture[:1], [(0, 0.5, 0.5)])
    assert one.xy.tolist() == [[[0.5, 0.5]]] and one.visible_at().all()


def test_a_published_checkpoint_loads_with_its_arguments_and_prefixes(tmp_path: Path) -> None:
    torch.manual_seed(4)
    state = build().network.state_dict()
    assert len(state) == 116 and sum(value.numel() for value in state.values()) == 4_346_912
    saved = {
        "model": {f"module.{name}": value for name, value in state.items()},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}},
        "epoch": 1,
        "args": argparse.Namespace(lr=4e-5, name="kubric", crops=[0.3, 1.0]),
        "global_step": 73_000,
    }
    torch.save(saved, tmp_path / "kubric_73k.pth")
    loaded = build(read(tmp_path / "kubric_73k.pth")).network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_bad_input_is_refused_in_a_sentence(clip: np.ndarray) -> None:
    with pytest.raises(WeightsError, match="not weights of gmrw"):
        build({"backbone.conv1.weight": torch.zeros(1)})
    with pytest.raises(UsageError, match="no option 'up_sample'; did you mean 'upsample'"):
        build(up_sample=2)
    with pytest.raises(UsageError, match="from 1 to 16"):
        build(upsample=0)
    tracker = model()
    state, features = tracker.start((64, 96)), tracker.encode(frames_of(clip)[:2])
    with pytest.raises(QueryError, match="finite"):
        tracker.step(state, features, 0, QUERIES * torch.nan)
    loaded = tapkit.load("gmrw", weights=model().network.state_dict())
    with pytest.raises(QueryError):
        loaded.track(clip, [(0, float("nan"), 1.0)])
