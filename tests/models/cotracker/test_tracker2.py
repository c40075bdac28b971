"""CoTracker2: windows, masks, adapter, checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from cotracker_tools import SMALL, centroids, noise, spots, weights
from torch import Tensor

from tapkit.engine.tracker import Tracker
from tapkit.errors import UsageError, WeightsError
from tapkit.models.cotracker.network2 import CoTracker2Network, Maps
from tapkit.models.cotracker.tracker2 import build
from tapkit.models.cotracker.transformer import SpaceTimeTransformer
from tapkit.video import open_video

QUERIES = torch.tensor([[0.0, 20.0, 12.0], [3.0, 31.5, 20.25], [9.0, 8.0, 33.0]])


def small(**options: Any) -> Any:
    return build(weights("cotracker2"), **{**SMALL, **options})


def array(frames: Tensor) -> np.ndarray:
    return frames.permute(0, 2, 3, 1).numpy()


def test_half_a_pixel_is_measured_as_half_a_pixel() -> None:
    places = [(30.0, 24.0), (30.5, 24.0), (30.5, 24.5), (52.25, 40.75)]
    model = build(weights("cotracker2"))

    def encode(frames: Tensor) -> Maps:
        place = centroids(frames)[:, None, None]
        return Maps(place, place, place, place)

    def track(maps: Maps, xy: Tensor, visible: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        return maps.level0[:, 0, 0].expand_as(xy) / 4, visible - 11

    model.network.encode = encode
    model.network.query_feature = lambda maps, index, xy: torch.zeros(len(xy), 128)
    model.network.forward = track
    tracks = Tracker(model).track(array(spots(places)), [(0, *places[0])], direction="forward")
    np.testing.assert_allclose(tracks.xy[0], places, atol=0.02)
    np.testing.assert_allclose(tracks.visible[0, 1:], torch.tensor(-1.0).sigmoid(), atol=1e-6)
    np.testing.assert_array_equal(tracks.confidence, tracks.visible)


def network_window(network: CoTracker2Network, active: list[bool], jitter: float = 0.0) -> Tensor:
    """Tracks of points in one window; inactive ones start elsewhere if `jitter` says so."""
    count = len(active)
    maps = network.encode(noise(8, 40, 56).float())
    generator = torch.Generator().manual_seed(count)
    on = torch.tensor(active)[None]
    feature = torch.randn(1, count, 128, generator=generator)
    xy = torch.rand(1, count, 1, 2, generator=generator).mul(9).repeat(1, 1, 8, 1)
    xy[~on] += jitter
    visible = torch.full((1, count, 8), 10.0)
    mask = on[..., None].expand(-1, -1, 8)
    with torch.inference_mode():
        return network(maps, xy, visible, mask, on, feature, 2)[0]


@pytest.fixture(scope="module")
def network() -> CoTracker2Network:
    return build(weights("cotracker2"), **SMALL).network


def test_inactive_points_do_not_touch_active_ones(network: CoTracker2Network) -> None:
    active = [True] * 5 + [False] * 2
    still, moved = network_window(network, active), network_window(network, active, jitter=2.5)
    torch.testing.assert_close(still[:, :5], moved[:, :5], atol=1e-5, rtol=1e-5)


def test_with_64_points_inactive_ones_do_as_in_the_published_code(network: CoTracker2Network) -> None:
    active = [True] * 60 + [False] * 4
    still, moved = network_window(network, active), network_window(network, active, jitter=2.5)
    assert (still[:, :60] - moved[:, :60]).abs().max() > 1e-5


def test_a_later_point_changes_nothing_before_it_begins() -> None:
    frames = array(noise(13))
    tracker = Tracker(small(support="none"))
    alone = tracker.track(frames, QUERIES[:2].numpy(), direction="forward")
    with_later = tracker.track(frames, QUERIES.numpy(), direction="forward")
    # Frames 0..3 are answered by the window of frames 0..7 alone, which the point of frame 9 is no part of.
    np.testing.assert_allclose(alone.xy[0, :4], with_later.xy[0, :4], atol=1e-4)
    assert np.abs(alone.xy[0, 9:] - with_later.xy[0, 9:]).max() > 1e-4


@pytest.mark.parametrize("frames", [1, 5, 9])
@pytest.mark.parametrize("window", [8, 16])
def test_clips_of_any_length_are_tracked(frames: int, window: int) -> None:
    tracks = Tracker(small(window=window)).track(array(noise(frames)), [(0, 20.0, 12.0)])
    assert tracks.xy.shape == (1, frames, 2) and np.isfinite(tracks.xy).all()


def test_backward_is_forward_on_the_reversed_clip() -> None:
    frames = array(noise(11))
    tracker = Tracker(small())
    back = tracker.track(frames, [(7, 20.0, 12.0)], direction="both")
    turned = tracker.track(frames[::-1].copy(), [(3, 20.0, 12.0)], direction="forward")
    np.testing.assert_allclose(back.xy[0, :7], turned.xy[0, :3:-1], atol=1e-4)


def test_latency_follows_the_window() -> None:
    assert small().card.latency == 7
    assert small(window=16).card.latency == 15


def test_the_window_is_read_from_the_checkpoint() -> None:
    table = {"time_emb": torch.zeros(1, 16, 456), "pos_emb": torch.zeros(1, 456, 96, 128)}
    assert build({**weights("cotracker2"), **table}, **SMALL).window == 16
    with pytest.raises(WeightsError, match="another variant"):
        build({**weights("cotracker2"), **table}, window=8)
    with pytest.raises(UsageError, match="window must be 8"):
        build(weights("cotracker2"), window=12)


def test_checkpoints_of_other_models_are_refused() -> None:
    with pytest.raises(WeightsError, match="these are not weights of cotracker2"):
        build(weights("cotracker3"))


def test_no_points_and_tiny_frames() -> None:
    assert Tracker(small()).track(array(noise(3)), []).xy.shape == (0, 3, 2)
    tracks = Tracker(small()).track(open_video(array(noise(3, 2, 1)), layout="THWC"), [(1, 0.5, 1.0)])
    assert np.isfinite(tracks.xy).all()


def test_blocks_in_parts_give_what_they_give_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    transformer = SpaceTimeTransformer(10, 2, {"flow_head": 3}).eval()
    x = torch.randn(2, 5, 7, 384)
    active = torch.tensor([[True] * 5, [True, False, True, False, True]])
    with torch.inference_mode():
        whole = transformer(x.clone(), active)
        monkeypatch.setattr("tapkit.models.cotracker.transformer.CPU_TOKENS", 20)
        parts = transformer(x.clone(), active)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)
