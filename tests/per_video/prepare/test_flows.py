"""Flow of all pairs on disk: which entry is which pair, what is computed again, and drawing from it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tapkit.errors import StorageError, UsageError
from tapkit.flow.base import Flow
from tapkit.per_video.prepare.batches import choose, colours, cycled, generator, points_of
from tapkit.per_video.prepare.flows import BELIEVED, FlowRequest, PairFlows, pair_flows, targets
from tapkit.per_video.prepare.masks import correlation
from tapkit.per_video.prepare.store import Prepared
from tapkit.video import open_video

CPU = torch.device("cpu")


def quiet(what: str, done: int, total: int) -> None: ...


@pytest.fixture
def prepared(moving_clip, tmp_path: Path) -> tuple[Prepared, np.ndarray]:
    with open_video(moving_clip[0][:6]) as source:
        return Prepared.of(tmp_path, source, None), moving_clip[1]


def test_each_entry_is_the_flow_of_its_pair(prepared) -> None:
    store, shift = prepared
    flows = pair_flows(store, FlowRequest(reach=2), CPU, quiet)
    assert flows.targets(0) == [1, 2] and flows.targets(3) == [1, 2, 4, 5] == targets(3, 6, 2)
    for first in range(6):
        for second in flows.targets(first):
            found = np.median(np.asarray(flows.flow(first, second), np.float32)[16:-16, 16:-16], (0, 1))
            np.testing.assert_allclose(found, shift[second] - shift[first], atol=0.25)
    of_pairs, of_pixels = flows.counts()
    assert of_pairs[0, 1] > 0.5 * 64 * 96 and of_pairs[0, 3] == 0 and of_pixels.shape == (6, 64, 96)
    assert of_pixels.max() <= 4


def test_flow_of_larger_frames_is_kept_at_the_working_size(moving_clip, tmp_path: Path) -> None:
    frames, shift = moving_clip[0][:4], moving_clip[1]
    with open_video(frames) as source:
        larger = Prepared.of(tmp_path, source, 48, 96)
        plain = Prepared.of(tmp_path, source, 48, None)
        same = Prepared.of(tmp_path, source, 96, 48)  # flow is never computed at a smaller size
    assert larger.size == plain.size == (32, 48) and larger.flow_frames.shape == (4, 64, 96, 3)
    assert plain.flow_frames is plain.frames and same.flow_frames is same.frames
    errors = []
    for store in (larger, plain):
        flow = pair_flows(store, FlowRequest(reach=1), CPU, quiet).flow(0, 1)
        assert flow.shape == (32, 48, 2)
        errors.append(np.abs(np.asarray(flow, np.float32)[8:-8, 8:-8] - shift[1] / 2).mean())
    assert errors[0] < 0.1 and errors[0] < 0.7 * errors[1]
    assert len(list(larger.folder.glob("flow-*"))) == 2, "one does not stand for the other"


def test_chains_reach_what_single_flows_do(prepared) -> None:
    store, shift = prepared
    flows = pair_flows(store, FlowRequest(chained=True), CPU, quiet)
    inner = (slice(20, -20), slice(30, -30))
    sure = (flows.mask(0, 5)[inner] & BELIEVED) > 0
    assert sure.mean() > 0.5
    found = np.asarray(flows.flow(0, 5), np.float32)[inner][sure]
    np.testing.assert_allclose(np.median(found, 0), shift[5], atol=0.5)


def test_far_flow_that_contradicts_the_way_over_the_frames_between_is_not_believed(tmp_path: Path, monkeypatch) -> None:
    """All moves by 2 px a frame, but between frames 3 and more apart the flow model says, both ways, that all rests."""

    class ShortSighted:
        device = CPU

        def to(self, device: torch.device) -> ShortSighted:
            return self

        def frame_size(self, size: tuple[int, int]) -> None: ...

        def frame_bytes(self, size: tuple[int, int]) -> int:
            return 1

        def encode(self, frames: torch.Tensor) -> int:
            return int(frames[0, 0, 0, 0])  # the frame's number

        def flow(self, first: int, second: int, size: tuple[int, int]) -> Flow:
            far = abs(second - first) >= 3
            return Flow(
                torch.tensor([0.0 if far else 2.0 * (second - first), 0.0])[None, :, None, None].expand(1, 2, *size)
            )

    monkeypatch.setattr("tapkit.per_video.prepare.flows.build_flow", lambda id, weights: ShortSighted())
    frames = np.broadcast_to(np.arange(6, dtype=np.uint8)[:, None, None, None], (6, 20, 40, 3))
    store = Prepared(tmp_path, np.ascontiguousarray(frames))
    blind = pair_flows(store, FlowRequest(), CPU, quiet)
    seeing = pair_flows(store, FlowRequest(agree=3.0), CPU, quiet)
    assert (np.asarray(blind.mask(0, 4)) & BELIEVED).all() and (np.asarray(blind.mask(5, 1)) & BELIEVED).all()
    assert not (np.asarray(seeing.mask(0, 4))[:, :30] & BELIEVED).any()
    assert not (np.asarray(seeing.mask(5, 1))[:, 10:] & BELIEVED).any()
    assert (
        np.asarray(seeing.mask(0, 4))[:, 34:] & BELIEVED
    ).all()  # the way leads out of the picture: nothing to compare
    np.testing.assert_array_equal(seeing.mask(1, 3), blind.mask(1, 3))


def test_texture_agrees_where_it_is_the_same_or_plain() -> None:
    noise = torch.rand(20, 40, 3, generator=torch.Generator().manual_seed(0))
    found = correlation(noise, torch.cat([0.5 * noise[:, :20] + 0.3, noise[:, 20:].flip(0)], 1))
    assert (found[:, :16] > 0.95).all()  # darker and with less contrast, but the same
    assert found[:, 24:].abs().max() < 0.7 and found[:, 24:].abs().mean() < 0.2
    plain = torch.full((20, 40, 3), 0.4)
    assert (correlation(plain, plain + 0.1) > 0.999).all() and (correlation(plain, noise) < 0.5).all()


def test_flow_to_where_it_looks_different_is_not_believed(tmp_path: Path, monkeypatch) -> None:
    """Flow that says that nothing moves returns whatever the pictures show: only what they show tells it is wrong."""
    dice = np.random.default_rng(0)
    still, first, second = (dice.integers(90, 150, (24, 20, 3)) for _ in range(3))
    frames = [np.concatenate([still, first if index < 3 else second], 1) for index in range(5)]
    monkeypatch.setattr(
        "tapkit.per_video.prepare.flows._Maker.of", lambda maker, first: np.zeros((4, 24, 40, 2), np.float16)
    )
    store = Prepared(tmp_path, np.stack(frames).astype(np.uint8))
    blind = pair_flows(store, FlowRequest(), CPU, quiet)
    seeing = pair_flows(store, FlowRequest(texture=0.7), CPU, quiet)
    assert (np.asarray(blind.mask(0, 3)) & BELIEVED).mean() > 0.95
    assert (np.asarray(seeing.mask(0, 3))[:, :16] & BELIEVED).all()
    assert not (np.asarray(seeing.mask(0, 3))[:, 24:] & BELIEVED).any()
    np.testing.assert_array_equal(seeing.mask(1, 3), blind.mask(1, 3))  # nearer than 3 frames round trips count alone

    chained = [pair_flows(store, FlowRequest(texture=wanted, chained=True), CPU, quiet) for wanted in (None, 0.7)]
    share = [(np.asarray(flows.mask(0, 4))[:, 24:] & BELIEVED).mean() for flows in chained]
    assert share[0] > 0.9 and share[1] == 0.0  # nor is it where single steps led there


def test_only_what_is_missing_is_computed_again(prepared) -> None:
    store, _ = prepared
    pair_flows(store, FlowRequest(reach=1), CPU, quiet)
    files = sorted(store.folder.glob("flow-*/*.npy"))
    times = {path: path.stat().st_mtime_ns for path in files}
    files[2].unlink()
    seen: list[tuple[str, int]] = []
    pair_flows(store, FlowRequest(reach=1), CPU, lambda what, done, total: seen.append((what, done)))
    assert ("flow", 5) in seen and ("flow", 0) not in seen
    assert [path for path in files if path.stat().st_mtime_ns != times[path]] == [files[2]]
    files[1].write_bytes(b"not an array")
    with pytest.raises(StorageError, match="delete it and it is computed again"):
        PairFlows(store.table("flow", {"flow": "dis", "weights": None, "reach": 1}), None, 1).flow(1, 0)  # type: ignore[arg-type]


def test_a_disk_that_is_too_small_is_told_beforehand(prepared, monkeypatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(StorageError, match="reach takes less"):
        pair_flows(prepared[0], FlowRequest(reach=2), CPU, quiet)


def test_another_video_does_not_share_the_folder(prepared, moving_clip) -> None:
    store, _ = prepared
    with open_video(moving_clip[0][1:6]) as other, pytest.raises(UsageError, match="another video"):
        Prepared.of(store.folder.parent, other, None)


def test_pixels_are_drawn_by_weight_without_repeating() -> None:
    weight = np.zeros(5000)
    weight[100:900], weight[900:1700] = 0.2, 0.8
    dice = generator(0, 1)
    drawn = np.concatenate([choose(5000, lambda at: weight[at], 50, dice) for _ in range(200)])
    assert ((drawn >= 100) & (drawn < 1700)).all()
    assert 0.76 < (drawn >= 900).mean() < 0.84
    few = choose(5000, lambda at: (at < 60) * 1.0, 50, dice)  # so few that all pixels are looked at
    assert len(set(few.tolist())) == 50 and few.max() < 60
    assert len(choose(5000, lambda at: (at < 7) * 1.0, 50, dice)) == 50
    assert len(choose(5000, lambda at: np.zeros(len(at)), 50, dice)) == 50


def test_points_move_as_the_flow_says_and_have_their_colours(prepared) -> None:
    store, shift = prepared
    flows = pair_flows(store, FlowRequest(reach=2), CPU, quiet)
    found = points_of(flows, 2, 4, np.array([32 * 96 + 40]), 0.5)
    assert found.pixels.tolist() == [[40, 32]] and found.weights.tolist() == [0.5]
    np.testing.assert_allclose(found.targets[0], np.array([40, 32]) + shift[4] - shift[2], atol=0.3)
    frame = np.asarray(store.frames[2])
    np.testing.assert_allclose(
        colours(frame, np.array([[40.5, 32.0]]))[0], (frame[32, 40] / 510.0 + frame[32, 41] / 510.0)
    )


def test_frames_come_in_turn_and_in_ever_new_orders() -> None:
    order = [cycled(5, 3, position) for position in range(15)]
    assert all(sorted(order[k : k + 5]) == list(range(5)) for k in (0, 5, 10)) and order[:5] != order[5:10]
