"""Trackers of one's own, batches, and the network with gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import tapkit
from tapkit import registry
from tapkit.errors import QueryError, ShapeError, UsageError
from tapkit.video.samples import sample


@pytest.fixture(autouse=True)
def forgotten() -> Any:
    yield
    for name in list(registry._ADDED):
        tapkit.unregister(name)


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """[8,3,144,256] uint8."""
    with tapkit.open_video(sample("blocks")) as source:
        return np.stack([frame.image for frame in source.frames(0, 8, size=(144, 256))]).transpose(0, 3, 1, 2)


QUERIES = np.array([[0, 100.0, 60.0], [2, 150.0, 70.0], [0, 60.0, 90.0]], np.float32)


def right(video: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """One pixel a frame to the right."""
    assert video.dtype == torch.uint8 and video.shape[1] == 3
    t = torch.arange(len(video)) - queries[:, :1]
    return torch.stack([queries[:, 1:2] + t, queries[:, 2:3].expand_as(t)], -1)


def test_a_function_is_a_tracker_forwards_backwards_and_at_its_own_size(clip: np.ndarray) -> None:
    tapkit.register("right", right)
    tracks = tapkit.track(clip, QUERIES, model="right")
    t = np.arange(8) - QUERIES[:, :1]
    np.testing.assert_allclose(tracks.xy[..., 0], QUERIES[:, 1:2] + t)
    assert tracks.valid.all() and tracks.source.model == "right"
    tapkit.register("right", right, size=(72, 128))  # again: half the size, so two pixels
    np.testing.assert_allclose(
        tapkit.track(clip, QUERIES, model="right").xy[..., 0], QUERIES[:, 1:2] + 2 * t, atol=1e-4
    )


def test_what_is_registered_is_listed_and_can_be_forgotten() -> None:
    before = dict(tapkit.cards())
    card = tapkit.register("mine", right, paper="ours")
    assert tapkit.cards()["mine"] is card and card.paper == "ours"
    tapkit.unregister("mine")
    assert dict(tapkit.cards()) == before
    with pytest.raises(UsageError, match="no tracker 'mine'"):
        tapkit.unregister("mine")
    with pytest.raises(UsageError, match="there is no tracker 'mine'"):
        tapkit.load("mine")


def test_a_model_with_its_card_is_registered_too(clip: np.ndarray) -> None:
    from dataclasses import replace

    from tapkit.models.lucas_kanade.tracker import build

    card = replace(registry.card("lucas-kanade"), id="mine-lk")
    tapkit.register(card, build)
    mine, theirs = (tapkit.track(clip, QUERIES, model=name).xy for name in ("mine-lk", "lucas-kanade"))
    np.testing.assert_array_equal(mine, theirs)
    assert [field.name for field in registry.options("mine-lk")]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("strand", right), "there is a tracker 'strand' already"),
        (("two words", right), "an id is made of"),
        (("mine", "no function"), "with a function that tracks, got str"),
    ],
)
def test_what_cannot_be_registered_is_refused(arguments: tuple[Any, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        tapkit.register(*arguments)
    with pytest.raises(UsageError, match="card of 'mine' cannot be made"):
        tapkit.register("mine", right, no_such_field=1)


def test_answers_of_another_shape_and_weights_are_refused(clip: np.ndarray) -> None:
    tapkit.register("mine", lambda video, queries: queries)
    with pytest.raises(ShapeError, match=r"mine returned xy \[3, 3\], expected \[3, 8, 2\]"):
        tapkit.track(clip, QUERIES, model="mine")
    tapkit.register("mine", lambda video, queries: (right(video, queries), queries))
    with pytest.raises(ShapeError, match=r"visible \[3, 3\], expected \[3, 8\]"):
        tapkit.track(clip, QUERIES, model="mine")
    with pytest.raises(UsageError, match="takes no weights"):
        tapkit.load("mine", weights={"a": torch.zeros(1)})


# -- batches ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [False, True])
def test_a_batch_gives_what_each_video_alone_gives(clip: np.ndarray, last: bool) -> None:
    batch = torch.from_numpy(np.stack([clip, clip[::-1]]))
    batch = batch.permute(0, 1, 3, 4, 2) if last else batch
    queries = torch.from_numpy(np.stack([QUERIES, QUERIES + 1]))
    results = tapkit.track_batch(batch, queries, model=tapkit.load("lucas-kanade"))
    for video, points, tracks in zip((clip, clip[::-1]), (QUERIES, QUERIES + 1), results, strict=True):
        np.testing.assert_array_equal(tracks.xy, tapkit.track(video, points, model="lucas-kanade").xy)
    assert [len(tracks) for tracks in tapkit.track_batch(batch, grid=3, model="lucas-kanade")] == [9, 9]


def test_batches_of_other_shapes_are_refused(clip: np.ndarray) -> None:
    batch = np.stack([clip, clip])
    for wrong in (clip, [clip, clip], batch[:, :, :2]):
        with pytest.raises(ShapeError, match=r"a batch of videos is an array \[B,T,3,H,W\]"):
            tapkit.track_batch(wrong, [QUERIES], model="lucas-kanade")
    with pytest.raises(ShapeError, match="2 videos need as many entries of queries, got 3"):
        tapkit.track_batch(batch, QUERIES, model="lucas-kanade")
    with pytest.raises(UsageError, match="say which points"):
        tapkit.track_batch(batch, model="lucas-kanade")
    with pytest.raises(ShapeError, match="track_batch"):
        tapkit.track(batch, QUERIES, model="lucas-kanade")


# -- the network with gradients -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> Any:
    return tapkit.network("strand", device="cpu")


def test_the_network_gives_what_the_tracker_gives(network: Any, clip: np.ndarray) -> None:
    batch = torch.from_numpy(np.stack([clip, clip[::-1]]).copy())
    queries = torch.from_numpy(np.stack([QUERIES, QUERIES + 1]))
    with torch.no_grad():
        said = network(batch, queries)
    options = {"direction": "forward", "precision": "float32", "device": "cpu", "enlarge": 1}
    for b, video in enumerate((clip, clip[::-1])):
        tracks = tapkit.track(video, queries[b].numpy(), **options)
        valid = said.valid[b].numpy()
        np.testing.assert_allclose(said.xy[b].numpy()[valid], tracks.xy[valid], atol=1e-2)
        np.testing.assert_allclose(said.visible[b].sigmoid().numpy()[valid], tracks.visible[valid], atol=1e-3)
        np.testing.assert_allclose(said.confidence[b].sigmoid().numpy()[valid], tracks.confidence[valid], atol=1e-3)
        assert (valid == (np.arange(8) > queries[b, :, :1].numpy())).all()


def test_gradients_reach_weights_queries_and_video_and_are_right(network: Any, clip: np.ndarray) -> None:
    video = torch.from_numpy(clip[None, :4].copy()).float().requires_grad_()
    queries = torch.tensor([[[0.0, 100.0, 60.0], [1.0, 150.0, 70.0]]]).requires_grad_()
    network.zero_grad()
    said = network(video, queries)
    (said.xy[said.valid].sum() + said.visible[said.valid].sum()).backward()
    assert video.grad is not None and float(video.grad.abs().max()) > 0
    assert queries.grad is not None and float(queries.grad[..., 1:].abs().min()) > 0
    reached = [name for name, p in network.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)]
    assert any(name.startswith("encoder.") for name in reached)
    assert len(reached) > 0.8 * len(list(network.parameters()))
    # Against a finite difference, for one weight on which the visibility surely depends.
    named = reversed(list(network.named_parameters()))
    name, weight = next((n, p) for n, p in named if n in reached and n.startswith("verify.") and p.ndim == 1)
    slope, step = float(weight.grad.flatten()[0]), 1e-2
    values = []
    with torch.no_grad():
        for sign in (1, -1):
            weight.flatten()[0] += sign * step
            moved = network(video, queries)
            values.append(float((moved.xy[moved.valid].sum() + moved.visible[moved.valid].sum()).double()))
            weight.flatten()[0] -= sign * step
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=0.1, abs=0.05), name


def test_sides_that_sixteen_does_not_divide_are_resized(network: Any, clip: np.ndarray) -> None:
    with torch.no_grad():
        whole = network(torch.from_numpy(clip[None].copy()), torch.from_numpy(QUERIES[None]))
        cut = network(torch.from_numpy(clip[None, ..., :137, :250].copy()), torch.from_numpy(QUERIES[None]))
    assert float((whole.xy - cut.xy).norm(dim=-1)[cut.valid].median()) < 1.0


def test_its_state_is_a_checkpoint(network: Any, clip: np.ndarray) -> None:
    again = tapkit.load("strand", weights=network.state_dict(), device="cpu")
    theirs = tapkit.load("strand", device="cpu")
    np.testing.assert_array_equal(again.track(clip, QUERIES).xy, theirs.track(clip, QUERIES).xy)


def test_what_has_no_such_network_and_wrong_shapes_are_refused(network: Any, clip: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"pips2 has no network that can be trained through here \(known: strand\)"):
        tapkit.network("pips2")
    video, queries = torch.from_numpy(clip[None].copy()), torch.from_numpy(QUERIES[None])
    for wrong in ((video[0], queries), (video, queries[0]), (video, queries[..., :2]), (video[:, :, :2], queries)):
        with pytest.raises(ShapeError):
            network(*wrong)
    with pytest.raises(QueryError, match="8 frames"):
        network(video, queries + torch.tensor([8.0, 0, 0]))
