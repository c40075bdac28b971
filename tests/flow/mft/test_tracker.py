"""MFT: the choice among chains against plain loops over whole fields, live points, memory, checkpoints, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import tapkit
from tapkit.engine.state import flatten
from tapkit.errors import QueryError, UsageError, WeightsError
from tapkit.flow.mft.tracker import Mft, build
from tapkit.flow.mft.weights import expected_heads
from tapkit.flow.raft.model import RaftFeatures
from tapkit.flow.raft.network import LARGE
from tapkit.flow.raft.weights import expected

HEIGHT, WIDTH = 20, 28


def field(first: int, second: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    """[1,4,h,w] flow, P(hidden), deviation of a pair of frames: smooth, and other for each pair."""
    draw = torch.Generator().manual_seed(1000 * first + second)
    coarse = torch.rand(1, 4, 4, 5, generator=draw)
    maps = F.interpolate(coarse, (height, width), mode="bilinear")
    scale = torch.tensor([6.0, 6.0, 1.0, 2.0])[:, None, None]
    return maps * scale - torch.tensor([2.6, 3.1, 0.0, -0.1])[:, None, None]


class Scripted:
    """Stands for the network: frames are told apart by their grey level. Notes which pairs were asked for."""

    def __init__(self) -> None:
        self.encoded: list[int] = []
        self.asked: list[tuple[int, int]] = []

    def encode(self, frames: Tensor) -> RaftFeatures:
        self.encoded.append(int(frames[0, 0, 0, 0]))
        level = frames[:, :1, :1, :1].float()
        return RaftFeatures(level, level.clone())

    def maps(self, firsts: list[RaftFeatures], second: RaftFeatures, size: tuple[int, int]) -> list[Tensor]:
        pairs = [(int(first.matching), int(second.matching)) for first in firsts]
        self.asked += pairs
        return [field(*pair, *size) for pair in pairs]


def scripted(**options: Any) -> tuple[Mft, Scripted]:
    model = build(**{"resolution": None, "occlusion_threshold": 0.6, **options})
    model.pairs = pairs = Scripted()  # type: ignore[assignment]
    return model, pairs


def clip(frames: int) -> Tensor:
    return torch.arange(frames, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, HEIGHT, WIDTH).contiguous()


def whole_fields(begin: int, frames: int, deltas: list[float], threshold: float) -> list[Tensor]:
    """Results [4,h,w] of every pixel of frame `begin` on each frame from it on, written out field by field."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    cells = torch.stack([x, y]).float()
    results = {begin: torch.zeros(4, HEIGHT, WIDTH)}
    for t in range(begin + 1, frames):
        lefts: list[int] = []
        for delta in deltas:
            left = begin if delta == float("inf") else t - int(delta)
            if left >= begin and left not in lefts:
                lefts.append(left)
        candidates = []
        for left in lefts:
            before = results[left]
            place = (cells + before[:2]).permute(1, 2, 0) / torch.tensor([WIDTH - 1, HEIGHT - 1]) * 2 - 1
            new = F.grid_sample(field(left, t), place[None], padding_mode="zeros", align_corners=True)[0]
            flow, hidden = before[:2] + new[:2], torch.maximum(before[2:3], new[2:3])
            candidates.append(torch.cat([flow, hidden, (before[3:] ** 2 + new[3:] ** 2).sqrt()]))
        chosen = candidates[0].clone()
        for i in range(HEIGHT):
            for j in range(WIDTH):
                scores = [-c[3, i, j] if c[2, i, j] <= threshold else -torch.inf for c in candidates]
                chosen[:, i, j] = candidates[int(np.argmax(scores))][:, i, j]
                u, v = chosen[:2, i, j] + cells[:, i, j]
                if u < 0 or v < 0 or u >= WIDTH or v >= HEIGHT:
                    chosen[2, i, j] = 1.0
        results[t] = chosen
    return list(results.values())


def blended(maps: Tensor, xy: Tensor) -> Tensor:
    """Maps [4,h,w] at (x, y), pixel centres at integers."""
    place = xy / torch.tensor([WIDTH - 1, HEIGHT - 1]) * 2 - 1
    return F.grid_sample(maps[None], place.view(1, 1, 1, 2), align_corners=True).view(4)


QUERIES = torch.tensor([[0, 6.5, 8.5], [0, 20.2, 9.7], [2, 14.9, 12.25], [5, 3.0, 3.5], [2, 27.5, 19.5]])


@pytest.mark.parametrize(
    ("deltas", "from_start"), [((1, 2, 4), True), ((4, 1, 2), False), ((), True), ((2, 5), True), ((1,), False)]
)
def test_points_follow_the_whole_fields_of_their_first_frame(deltas: tuple[int, ...], from_start: bool) -> None:
    frames = 11
    model, pairs = scripted(deltas=deltas, from_start=from_start)
    state, order, answers = model.start((HEIGHT, WIDTH)), [], {}
    for t, frame in enumerate(clip(frames)):
        new = [n for n in range(len(QUERIES)) if QUERIES[n, 0] == t]
        state, found = model.step(state, frame, QUERIES[new, 1:])
        order += new
        answers.update({(n, t): (found.xy[row], found.visible[row]) for row, n in enumerate(order)})
    listed = [float("inf")] * from_start + sorted(deltas)
    hidden = []
    for n, query in enumerate(QUERIES):
        centre = query[1:] - 0.5
        for t, result in enumerate(whole_fields(int(query[0]), frames, listed, 0.6), int(query[0])):
            values = blended(result, centre)
            xy, visible = answers[n, t]
            assert (xy - query[1:] - values[:2]).abs().max() < 1e-4, (n, t)
            assert abs(float(1 - visible - values[2])) < 1e-5, (n, t)
            hidden.append(float(values[2]))
    assert min(hidden[1:]) < 0.6 < max(hidden), "both kinds must occur"
    assert pairs.encoded == list(range(frames)), "each frame is encoded once"
    assert len(set(pairs.asked)) == len(pairs.asked), "no pair is computed twice"


def test_memory_does_not_grow_with_the_video() -> None:
    model, _ = scripted(deltas=(1, 2, 4, 8))
    state = model.start((HEIGHT, WIDTH))
    sizes = []
    for t, frame in enumerate(clip(60)):
        new = QUERIES[:2, 1:] if t in (0, 3) else QUERIES[:0, 1:]
        state, _ = model.step(state, frame, new)
        sizes.append(sum(part.numel() for part in flatten(state).values()))
    assert len(set(sizes[12:])) == 1, "the same number of values from when the longest delta is reached"
    fewer = model.select(state, torch.tensor([3]))
    assert len(fewer.age) == 1 and fewer.age[0] == 56 and len(fewer.pixel) == 4
    none = model.select(state, torch.tensor([], dtype=torch.long))
    after, answer = model.step(none, clip(1)[0], QUERIES[:0, 1:])
    assert answer.xy.shape == (0, 2) and not any(part.numel() for part in flatten(after).values())


def test_every_pixel_of_a_frame_costs_one_result_each() -> None:
    model, _ = scripted()
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    everywhere = torch.stack([x, y], -1).reshape(-1, 2) + 0.5
    state, _ = model.step(model.start((HEIGHT, WIDTH)), clip(1)[0], everywhere)
    assert len(state.pixel) == HEIGHT * WIDTH and bool((state.share[:, 0] == 1).all())
    state, _ = model.step(model.start((HEIGHT, WIDTH)), clip(1)[0], everywhere * 0.37)
    assert len(state.pixel) < HEIGHT * WIDTH / 5, "points between the same pixels share them"


def test_queries_may_be_cut_to_whole_pixels_as_the_authors_do() -> None:
    model, _ = scripted(whole_pixels=True)
    state, first = model.step(model.start((HEIGHT, WIDTH)), clip(1)[0], torch.tensor([[6.9, 8.2], [28.0, 20.0]]))
    assert first.xy.tolist() == [[6.0, 8.0], [28.0, 20.0]]
    assert state.pixel.tolist() == [[6.0, 8.0], [27.0, 19.0]]


def test_confidence_is_what_the_deviation_says() -> None:
    model, _ = scripted(deltas=(), occlusion_threshold=1.0)
    point = torch.tensor([[10.5, 8.5]])
    state, first = model.step(model.start((HEIGHT, WIDTH)), clip(1)[0], point)
    assert first.confidence.tolist() == [1.0] and first.visible.tolist() == [1.0]
    _, second = model.step(state, clip(2)[1], point[:0])
    deviation = float(field(0, 1)[0, 3, 8, 10])
    assert float(second.confidence) == pytest.approx(1 - np.exp(-32 / deviation**2), abs=1e-5)


def checkpoint() -> dict[str, Tensor]:
    """Random tensors under the published names."""
    draw = torch.Generator().manual_seed(3)
    state = {}
    for name, shape in {**expected(LARGE), **expected_heads()}.items():
        value = torch.randn(shape, generator=draw) / max(float(np.prod(shape[1:])), 1.0) ** 0.5
        state[f"module.{name}"] = value.abs() + 0.5 if name.endswith("running_var") else value
    return state


def pictures(size: tuple[int, int] = (64, 80), count: int = 4) -> np.ndarray:
    coarse = torch.rand(count, 3, 9, 11, generator=torch.Generator().manual_seed(1)) * 255
    return F.interpolate(coarse, size, mode="bilinear").byte().permute(0, 2, 3, 1).numpy()


def test_the_published_checkpoint_loads_under_its_own_names() -> None:
    state = checkpoint()
    network = build(state, iterations=1).network
    heads = [state[f"module.occlusion_block.{head}.conv1.weight"] for head in ("occl_head", "uncertainty_head")]
    assert torch.equal(network.state_dict()["seen.weight"], torch.cat(heads))
    with pytest.raises(WeightsError, match="not weights of mft: it lacks occlusion_block"):
        build({name: value for name, value in state.items() if "occlusion_block" not in name})
    with pytest.raises(WeightsError, match="has besides extra"):
        build(state | {"extra": torch.zeros(1)})
    with pytest.raises(WeightsError, match="not weights of mft"):
        build({"backbone.weight": torch.zeros(1)})


def test_half_precision_moves_points_by_little() -> None:
    state = checkpoint()
    queries = [(0, 20.5, 30.0), (1, 60.0, 40.0)]
    full, half = (
        tapkit.track(pictures(), queries, model="mft", weights=state, device="cpu", resolution=None, iterations=2,
                     deltas=[1, 2], precision=precision)
        for precision in ("float32", "bfloat16")
    )  # fmt: skip
    change = np.abs(full.xy - half.xy).max()
    assert 0 < change < 1 and half.xy.dtype == np.float32


@pytest.mark.parametrize("size", [(8, 8), (33, 50)])
def test_small_and_odd_frames_and_a_clip_of_one_frame(size: tuple[int, int]) -> None:
    options: Any = {"model": "mft", "weights": checkpoint(), "device": "cpu", "iterations": 1}
    tracks = tapkit.track(pictures(size, 2), [(1, 0.0, 0.25)], resolution=None, **options)
    assert np.isfinite(tracks.xy).all()
    one = tapkit.track(pictures(size, 1), [(0, 2.5, 3.0)], resolution=None, **options)
    assert one.xy.tolist() == [[[2.5, 3.0]]] and one.visible_at().all()


def test_bad_input_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="deltas must be different numbers of at least 1"):
        build(deltas=(0, 1))
    with pytest.raises(UsageError, match="deltas must have 1 where from_start is false"):
        build(deltas=(2, 4), from_start=False)
    with pytest.raises(UsageError, match="occlusion_threshold"):
        build(occlusion_threshold=2.0)
    with pytest.raises(UsageError, match="resolution must be at least 8x8"):
        build(resolution=(4, 4))
    with pytest.raises(UsageError, match="no option 'delta'; did you mean 'deltas'"):
        build(delta=(1,))
    with pytest.raises(QueryError):
        tapkit.track(pictures(), [(0, float("nan"), 1.0)], model="mft", weights=checkpoint(), device="cpu")
