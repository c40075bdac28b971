"""CoTracker3: adapters, windows, support, checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from cotracker_tools import SMALL, centroids, noise, spots, weights
from torch import Tensor

from tapkit.engine.tracker import Tracker
from tapkit.errors import QueryError, UsageError, WeightsError
from tapkit.models.cotracker.network3 import CoTracker3Network, Estimate, Pyramid
from tapkit.models.cotracker.tracker3 import build_offline, build_online
from tapkit.types import VideoInfo
from tapkit.video import open_video

QUERIES = torch.tensor([[0.0, 20.0, 12.0], [3.0, 31.5, 20.25], [5.0, 8.0, 33.0]])


def offline(**options: Any) -> Any:
    return build_offline(weights("cotracker3"), **{**SMALL, **options})


def online(**options: Any) -> Any:
    return build_online(weights("cotracker3"), **{**SMALL, **options})


def follow_the_spot(model: Any) -> None:
    """Let the network answer with the spot's place in what it is shown."""
    network = model.network

    def encode(frames: Tensor) -> Pyramid:
        place = centroids(frames)[:, None, None]
        return Pyramid(place, place, place, place)

    def track(pyramid: Pyramid, start: Estimate, support: Pyramid, iterations: int) -> Estimate:
        xy = pyramid.level0[:, 0, 0].expand_as(start.xy) / 4
        return Estimate(xy.clone(), start.visible + 2, start.confidence - 1)

    network.encode = encode
    network.support = lambda pyramid, index, xy: Pyramid(*([torch.zeros(len(xy), 49, 128)] * 4))
    network.forward = track


@pytest.mark.parametrize("build", [build_offline, build_online])
def test_half_a_pixel_is_measured_as_half_a_pixel(build: Any) -> None:
    places = [(30.0, 24.0), (30.5, 24.0), (30.5, 24.5), (52.25, 40.75)]
    model = build(weights("cotracker3"))  # at the published 384x512
    follow_the_spot(model)
    tracker = Tracker(model)
    frames = spots(places).permute(0, 2, 3, 1).numpy()
    tracks = tracker.track(frames, [(0, *places[0])], direction="forward")
    np.testing.assert_allclose(tracks.xy[0], places, atol=0.02)
    np.testing.assert_allclose(tracks.visible[0, 1:], torch.tensor(2.0).sigmoid(), atol=1e-6)
    np.testing.assert_allclose(tracks.confidence[0, 1:], torch.tensor(-1.0).sigmoid(), atol=1e-6)


def test_frames_are_resized_with_aligned_corners() -> None:
    seen = offline(input_size=(32, 32)).prepare_frames(noise(1, 63, 94))
    corners = noise(1, 63, 94)[..., [0, 0, -1, -1], [0, -1, 0, -1]].float()
    torch.testing.assert_close(seen[..., [0, 0, -1, -1], [0, -1, 0, -1]], corners)


def test_support_points_change_the_tracks_and_are_stripped() -> None:
    frames = noise(6)
    features = offline().encode(frames)
    results = {}
    for support in ("none", "local:2", "uniform:9", "local:2+global:3"):
        model = offline(support=support)
        results[support] = model.track(features, (40, 56), QUERIES)
        assert results[support].xy.shape == (3, 6, 2)
        assert results[support].visible.shape == results[support].confidence.shape == (3, 6)
    values = [result.xy for result in results.values()]
    for first in range(len(values)):
        for second in range(first):
            assert (values[first] - values[second]).abs().max() > 1e-3


@pytest.mark.parametrize("build", [offline, online])
def test_single_queries_do_not_see_one_another(build: Any) -> None:
    model = build(single=True, support="local:2+global:2")
    frames = noise(6)
    both = Tracker(model).track(frames.permute(0, 2, 3, 1).numpy(), QUERIES.numpy(), direction="forward")
    alone = Tracker(model).track(frames.permute(0, 2, 3, 1).numpy(), QUERIES[1:2].numpy(), direction="forward")
    np.testing.assert_allclose(both.xy[1, 3:], alone.xy[0, 3:], atol=1e-3)
    joint = Tracker(build(support="local:2+global:2")).track(
        frames.permute(0, 2, 3, 1).numpy(), QUERIES.numpy(), direction="forward"
    )
    assert np.abs(joint.xy[1, 4:] - alone.xy[0, 4:]).max() > 1e-3


def test_support_may_start_with_its_query_as_the_paper_says() -> None:
    at_first = offline(single=True, support="local:2+global:2").with_support(QUERIES, (40, 56), 0)
    at_query = offline(single=True, support="local:2+global:2", support_frame="query").with_support(
        QUERIES, (40, 56), 0
    )
    assert at_first[..., 0].tolist() == [[t] + [0] * 8 for t in (0, 3, 5)]
    assert at_query[..., 0].tolist() == [[t] * 9 for t in (0, 3, 5)]
    torch.testing.assert_close(at_first[..., 1:], at_query[..., 1:])


def test_offline_answers_frames_before_the_query_and_may_take_them_from_a_reversed_pass() -> None:
    frames = noise(7)
    once, twice = offline(support="none"), offline(support="none", reverse_pass=True)
    one = once.track(once.encode(frames), (40, 56), QUERIES)
    two = twice.track(twice.encode(frames), (40, 56), QUERIES)
    turned = torch.cat([6 - QUERIES[:, :1], QUERIES[:, 1:]], 1)
    back = once.track(once.encode(frames.flip(0)), (40, 56), turned)
    for n, t in enumerate(QUERIES[:, 0].long().tolist()):
        torch.testing.assert_close(two.xy[n, t:], one.xy[n, t:])
        torch.testing.assert_close(two.xy[n, :t], back.xy.flip(1)[n, :t])


def test_splitting_the_points_of_a_joint_model_changes_little_and_keeps_their_order() -> None:
    frames = noise(5).permute(0, 2, 3, 1).numpy()
    model = offline()
    tracker = Tracker(model)
    fixed = 5 * model.frame_bytes((40, 56))
    budget = fixed + 2 * model.point_bytes(5, (40, 56))
    queries = [(0, 10.0 + 3 * n, 20.0) for n in range(5)]
    whole, split = tracker.track(frames, queries), tracker.track(frames, queries, memory=budget)
    assert split.source.options["memory"] == budget
    assert 0 < np.abs(whole.xy - split.xy).max() < 5


def test_a_live_session_takes_and_drops_points_while_it_runs() -> None:
    session = Tracker(online()).start(VideoInfo(56, 40), [(0, 20.0, 12.0), (9, 30.0, 30.0)])
    frames = noise(30).permute(0, 2, 3, 1).numpy()
    seen: dict[int, set[str]] = {}
    provisional: set[int] = set()
    for index, frame in enumerate(frames):
        if index == 17:
            assert session.earliest == 8
            with pytest.raises(QueryError, match="no longer held"):
                session.add([(7, 5.0, 5.0)])
            assert session.add([(12, 40.0, 10.0)]).tolist() == ["2"]
        if index == 20:
            session.remove(["0"])
        for result in session.step(frame, provisional=True):
            if result.final:
                seen.setdefault(result.frame, set()).update(result.ids.tolist())
            else:
                provisional.add(result.frame)
    for result in session.finish():
        seen.setdefault(result.frame, set()).update(result.ids.tolist())
    # Point 0 was gone before frame 8 was final; nobody else had begun there.
    assert seen == {
        **{t: {"0"} for t in range(8)},
        **{t: {"1"} for t in range(9, 12)},
        **{t: {"1", "2"} for t in range(12, 30)},
    }
    assert {8, 15, 16, 23} <= provisional


def test_a_result_is_final_within_the_latency_on_the_card() -> None:
    model = online()
    session = Tracker(model).start(VideoInfo(56, 40), [(0, 20.0, 12.0)])
    waits = []
    for index, frame in enumerate(noise(25).permute(0, 2, 3, 1).numpy()):
        waits += [index - result.frame for result in session.step(frame)]
    assert max(waits) == model.card.latency == 15


def test_a_point_known_to_begin_later_takes_part_as_in_the_published_code() -> None:
    frames = noise(16).permute(0, 2, 3, 1).numpy()
    tracker = Tracker(online(support="none"))
    alone = tracker.track(frames, [(0, 20.0, 12.0)], direction="forward")
    longer = noise(26).permute(0, 2, 3, 1).numpy()
    longer[:16] = frames
    with_later = tracker.track(longer, [(0, 20.0, 12.0), (20, 30.0, 12.0)], direction="forward")
    assert 0 < np.abs(alone.xy[0, 1:8] - with_later.xy[0, 1:8]).max() < 5


@pytest.mark.parametrize("frames", [1, 8, 17])
@pytest.mark.parametrize("build", [offline, online])
def test_clips_of_any_length_are_tracked(build: Any, frames: int) -> None:
    tracks = Tracker(build()).track(noise(frames).permute(0, 2, 3, 1).numpy(), [(0, 20.0, 12.0)])
    assert tracks.xy.shape == (1, frames, 2)
    assert np.isfinite(tracks.xy).all() and tracks.valid.all()
    assert tracks.xy[0, 0].tolist() == [20.0, 12.0]


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (17, 9)])
@pytest.mark.parametrize("build", [offline, online])
def test_frames_smaller_than_the_stride_are_enlarged(build: Any, size: tuple[int, int]) -> None:
    video = open_video(noise(3, *size).permute(0, 2, 3, 1).numpy(), layout="THWC")
    tracks = Tracker(build()).track(video, [(1, size[1] / 2, size[0] / 2)])
    assert np.isfinite(tracks.xy).all()


@pytest.mark.parametrize("build", [offline, online])
def test_no_points_give_no_tracks(build: Any) -> None:
    assert Tracker(build()).track(noise(3).permute(0, 2, 3, 1).numpy(), []).xy.shape == (0, 3, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": (16, 64)}, "at least 32x32"),
        ({"iterations": 0}, "iterations"),
        ({"support": "grid"}, "support is"),
        ({"support_frame": "last"}, "support_frame"),
        ({"precision": "half"}, "precision"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        offline(**options)


def test_frames_too_small_for_the_pyramid_are_refused_where_they_are_not_resized() -> None:
    with pytest.raises(UsageError, match="at least 32x32 pixels, got 40x20"):
        offline(input_size=None).encode(noise(1, 20, 40))


def test_uniform_support_is_for_clips_only() -> None:
    with pytest.raises(UsageError, match="uniform"):
        Tracker(online(support="uniform:5")).track(noise(3).permute(0, 2, 3, 1).numpy(), [(0, 3.0, 3.0)])


def test_checkpoints_load_wrapped_and_with_their_time_table() -> None:
    plain = weights("cotracker3")
    table = torch.zeros(1, 60, 1110)
    prefixed = {f"module.{name}": value for name, value in plain.items()}
    for content in (plain, {"model": plain}, prefixed, {**plain, "time_emb": table}):
        network = build_offline(content, **SMALL).network.state_dict()
        assert all(torch.equal(network[name], value) for name, value in plain.items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**weights("cotracker3"), "time_emb": torch.zeros(1, 16, 1110)}, "another variant"),
        (weights("cotracker2"), "these are not weights of cotracker3-offline"),
        ({}, "lacks"),
    ],
)
def test_checkpoints_of_other_models_are_refused(content: dict[str, Tensor], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        build_offline(content)


def test_a_network_that_is_trained_gives_gradients_to_every_weight_that_matters() -> None:
    network = CoTracker3Network(16)
    network.load_state_dict(weights("cotracker3"))
    network.train()
    pyramid = network.encode(noise(4, 32, 32).float())
    xy = torch.rand(1, 3, 1, 2).mul(8).expand(-1, -1, 4, -1)
    support = network.support(pyramid, torch.zeros(3, dtype=torch.long), xy[0, :, 0])
    support = Pyramid(*(level[None] for level in support))
    logits = torch.zeros(1, 3, 4)
    result = network(pyramid, Estimate(xy, logits, logits), support, 2)
    (result.xy.square().sum() + result.visible.sum() + result.confidence.sum()).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None]
    assert without == []


def test_gradients_do_not_change_the_result() -> None:
    network = CoTracker3Network(16).eval()
    network.load_state_dict(weights("cotracker3"))

    def run() -> Tensor:
        pyramid = network.encode(noise(4, 32, 32).float())
        xy = torch.full((1, 3, 4, 2), 3.3)
        support = network.support(pyramid, torch.zeros(3, dtype=torch.long), xy[0, :, 0])
        logits = torch.zeros(1, 3, 4)
        start = Estimate(xy, logits, logits)
        return network(pyramid, start, Pyramid(*(level[None] for level in support)), 2).xy

    with torch.no_grad():
        expected = run()
    torch.testing.assert_close(run(), expected, atol=1e-4, rtol=1e-4)


def test_bfloat16_moves_points_little() -> None:
    frames = noise(4).permute(0, 2, 3, 1).numpy()
    exact = Tracker(offline()).track(frames, QUERIES[:2].numpy())
    rough = Tracker(offline(precision="bfloat16")).track(frames, QUERIES[:2].numpy())
    assert rough.xy.dtype == np.float32
    assert 0 < np.abs(exact.xy - rough.xy).max() < 0.5


def test_the_default_support_of_the_online_model_is_said_to_differ_from_the_authors() -> None:
    from tapkit import registry

    listed = {field.name: field for field in registry.options("cotracker3-online")}
    assert listed["support"].default == "global:6"
    assert "predictor has none unless told to" in listed["support"].help
    assert "no support points unless told to" in registry.card("cotracker3-online").notes
