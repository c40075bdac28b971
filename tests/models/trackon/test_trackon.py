"""Track-On2 on a tiny network: memory, support points, exact shortcuts, checkpoints, bad input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_track_on import CONFIG, NONE, POINTS, SIZE, made
from torch import Tensor

from tapkit.engine.state import flatten
from tapkit.engine.tracker import Tracker
from tapkit.errors import QueryError, ShapeError, UsageError
from tapkit.models.base import Prediction
from tapkit.models.trackon import decoder
from tapkit.models.trackon.backbone import Extractor, Injector, VitAdapter, map_sizes
from tapkit.models.trackon.deformable import DeformableAttention, as_maps, as_tokens, centres
from tapkit.models.trackon.network import Points, TrackOnNetwork
from tapkit.models.trackon.tracker import TrackOn
from tapkit.types import VideoInfo


@pytest.fixture(scope="module")
def model() -> TrackOn:
    return made()


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return torch.randint(0, 256, (6, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def run(model: TrackOn, frames: Tensor, joins: Mapping[int, Tensor]) -> list[Prediction]:
    state, said = model.start((frames.shape[-2], frames.shape[-1])), []
    for t, frame in enumerate(frames):
        state, prediction = model.step(state, frame, joins.get(t, NONE))
        said.append(prediction)
    return said


# -- shortcuts against the plain form ------------------------------------------------------------------


def plain_step(network: TrackOnNetwork, image: Tensor, points: Points, slots: int) -> tuple[Tensor, Tensor, Tensor]:
    """One frame as the paper says it, with nothing left out or worked out beforehand.

    -> positions, visibility logits, what is written into memory.
    """
    size = (image.shape[-2], image.shape[-1])
    sizes = map_sizes(size)
    tokens = network.backbone(image, network.backbone.positions(size))
    maps = as_maps(tokens, sizes)
    fused = as_tokens(network.fpn(maps))[None]

    def attend(block: decoder.AttentionBlock, q: Tensor, k: Tensor, v: Tensor, empty: Tensor | None = None) -> Tensor:
        mha = block.mha
        attention = torch.nn.MultiheadAttention(network.config.width, mha.heads, batch_first=True).eval()
        attention.load_state_dict({**mha.state_dict()})
        y = block.norm1(q + attention(q, k, v, key_padding_mask=empty, need_weights=False)[0])
        return block.norm2(y + block.linear2(F.relu(block.linear1(y))))

    def similar(q: Tensor) -> Tensor:
        levels = []
        for level in maps:
            cosine = F.normalize(q, dim=-1) @ F.normalize(level[0].flatten(1), dim=0)
            cosine = cosine.view(-1, 1, *level.shape[-2:])
            levels.append(F.interpolate(cosine, sizes[0], mode="bilinear", align_corners=False))
        return network.ms_corr_proj(torch.cat(levels, 1)).flatten(1)

    def place(cell: Tensor) -> Tensor:
        return torch.stack([4 * (cell % sizes[0][1]) + 2, 4 * (cell // sizes[0][1]) + 2], -1).float()

    extent = torch.tensor([size[1], size[0]])
    query, memory = points.query, points.memory
    empty = torch.arange(slots) < slots - points.age[:, None]
    empty = torch.cat([empty, torch.zeros(len(empty), 1, dtype=torch.bool)], 1)
    codes = network.memory_codes(slots)
    for layer in range(network.config.layers):
        query = attend(network.feature_attention[layer], query[None], fused, fused)[0]
        query = attend(network.query_attention[layer], *([query[None]] * 3))[0]
        s = torch.cat([memory, query[:, None]], 1)
        s = attend(network.memory_attention[layer], s + codes, s + codes, s, empty)
        memory, query = s[:, :-1], s[:, -1]
    query = network.projection1(query)
    head = network.reranking_head
    best = place(similar(query).topk(16).indices) / extent
    news = []
    for one, around in zip(query, best, strict=True):  # point by point, candidate by candidate
        seen = []
        for reference in around:
            q = one[None]
            for block in head.local_decoder:
                q = block(q, reference[None], block.mha.values(tokens, sizes))
            seen.append(head.fusion_layer(torch.cat([q, one[None]], -1)))
        keys = torch.cat(seen)[None]
        taken = attend(head.fusion, one[None, None], keys, keys)[0]
        news.append(head.final_projection_layer(torch.cat([taken, one[None]], -1)))
    query = network.projection2(torch.cat(news))
    patch = place(similar(query).argmax(-1))
    z = query
    for block in network.prediction_head.offset_transformer:
        z = block(z, patch / extent, block.mha.values(tokens, sizes))
    offset = 4 * network.prediction_head.offset_layer(z).tanh()
    return patch + offset, network.prediction_head.vis_layer(query)[:, 0], query


@pytest.mark.parametrize("ages", [(0, 0, 0), (0, 2, 5), (1, 1, 1), (5, 5, 5)])
@torch.no_grad()
def test_nothing_that_is_left_out_matters(ages: tuple[int, ...]) -> None:
    """Empty slots are not looked at, of the last layer only the present is, similarities are one product, ..."""
    torch.manual_seed(2)
    model, slots = made(memory_frames=5), 5
    network = model.network
    image, width = torch.randn(1, 3, *SIZE), CONFIG.width
    points = Points(torch.randn(3, width), torch.randn(3, slots, width), torch.tensor(ages))
    maps = network.encode(image, network.backbone.positions(SIZE))
    after, found = network.step(maps, points, SIZE, network.memory_codes(slots))
    xy, visible, written = plain_step(network, image, points, slots)
    torch.testing.assert_close(found.xy, xy, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.visible, visible, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(after.memory[:, -1], written, atol=1e-3, rtol=1e-3)
    assert torch.equal(after.memory[:, :-1], points.memory[:, 1:]) and torch.equal(after.query, points.query)
    assert after.age.tolist() == [min(age + 1, slots) for age in ages]


def test_many_points_at_a_time_are_as_few_at_a_time(frames: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(made(), frames[:3], {0: POINTS})
    for module in ("decoder", "network"):
        monkeypatch.setattr(f"tapkit.models.trackon.{module}.CHUNK", 3)
    for ours, theirs in zip(run(made(), frames[:3], {0: POINTS}), whole, strict=True):
        torch.testing.assert_close(ours.xy, theirs.xy, atol=1e-3, rtol=0)


def test_memory_codes_are_stretched_and_the_present_keeps_its_own() -> None:
    network = made().network
    stored = network.t_embedding[0]
    assert torch.equal(network.memory_codes(24), stored)
    for frames in (3, 72):
        codes = network.memory_codes(frames)
        assert torch.equal(codes[-1], stored[-1]) and len(codes) == frames + 1
        for slot in range(frames):
            at = slot * 23 / (frames - 1)
            low, share = min(int(at), 22), at - min(int(at), 22)
            expected = stored[low] * (1 - share) + stored[low + 1] * share
            torch.testing.assert_close(codes[slot], expected, atol=1e-4, rtol=1e-4)


def test_position_codes_are_those_stored_at_the_trained_size_and_stretched_at_others() -> None:
    backbone = made().network.backbone
    positions = backbone.positions(SIZE)
    assert torch.equal(positions[: 16 * 24], as_tokens(backbone.pos_embedding))
    two = backbone.pos_embedding[0]
    coarse = (two[:, ::2, ::2] + two[:, 1::2, ::2] + two[:, ::2, 1::2] + two[:, 1::2, 1::2]) / 4
    torch.testing.assert_close(positions[384 : 384 + 96], coarse.flatten(1).T)
    assert len(backbone.positions((128, 96))) == sum(h * w for h, w in map_sizes((128, 96)))


# -- the backbone ---------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_query_itself_is_part_of_what_deformable_attention_returns() -> None:
    torch.manual_seed(3)
    layer = DeformableAttention(64, 2)
    sizes, query = [(4, 6), (2, 3)], torch.randn(5, 64)
    torch.nn.init.zeros_(layer.output_proj.weight)
    values = layer.values(torch.randn(30, 64), sizes)
    reference = torch.rand(5, 2)
    torch.testing.assert_close(layer(query, reference, values), query + layer.output_proj.bias)


@torch.no_grad()
def test_offsets_count_cells_of_their_level_and_all_levels_share_one_softmax() -> None:
    torch.manual_seed(4)
    layer = DeformableAttention(64, 2)
    torch.nn.init.zeros_(layer.sampling_offsets.weight)
    torch.nn.init.zeros_(layer.attention_weights.weight)
    torch.nn.init.zeros_(layer.attention_weights.bias)
    torch.nn.init.eye_(layer.output_proj.weight)
    torch.nn.init.zeros_(layer.output_proj.bias)
    layer.sampling_offsets.bias.copy_(torch.tensor([1.0, 0.0]).repeat(8))  # one cell to the right, everywhere
    sizes = [(4, 6), (2, 3)]
    tokens = torch.randn(30, 64)
    values = layer.values(tokens, sizes)
    read = layer(torch.zeros(1, 64), torch.tensor([[1.5 / 3, 0.5 / 2]]), values)[0]
    # Its place is a corner of four cells of the fine map (rows 0, 1; columns 2, 3, seen one further right), and the
    # centre of a cell of the coarse one.
    fine, coarse = values[0][0, 0], values[1][0, 0]
    expected = (fine[:, 0:2, 3:5].mean((1, 2)) + coarse[:, 0, 2]) / 2
    torch.testing.assert_close(read, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_injector_and_extractor_add_what_was_read_once_more_with_the_normalised_query() -> None:
    torch.manual_seed(5)
    grid, sizes = (4, 6), [(8, 12), (4, 6), (2, 3)]
    patches, spatial = torch.randn(24, 64), torch.randn(126, 64)
    injector, extractor = Injector(64), Extractor(64)
    injector.gamma.uniform_(-1, 1)
    ours = injector(patches, grid, spatial, sizes)
    query = F.layer_norm(patches, (64,), eps=1e-6)
    values = injector.attn.values(F.layer_norm(spatial, (64,), eps=1e-6), sizes)
    theirs = patches + injector.gamma * injector.attn(query, centres([grid], patches.device), values)
    torch.testing.assert_close(ours, theirs)
    ours = extractor(spatial, sizes, patches, grid)
    values = extractor.attn.values(F.layer_norm(patches, (64,), eps=1e-6), [grid])
    query = F.layer_norm(spatial, (64,), eps=1e-6)
    c = spatial + extractor.attn(query, centres(sizes, patches.device), values)
    hidden = extractor.ffn.fc1(F.layer_norm(c, (64,), eps=1e-6))
    parts, conv = [], extractor.ffn.dwconv.dwconv
    for part, (height, width) in zip(hidden.split([96, 24, 6]), sizes, strict=True):
        parts.append(conv(part.T.view(1, -1, height, width))[0].flatten(1).T)
    torch.testing.assert_close(ours, c + extractor.ffn.fc2(F.gelu(torch.cat(parts))), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_enlarging_is_the_transposed_convolution() -> None:
    adapter = VitAdapter(CONFIG.vit, CONFIG.interactions)
    tokens = torch.randn(15, 128)
    theirs = adapter.up(as_maps(tokens, [(3, 5)])[0])
    torch.testing.assert_close(adapter._enlarged(tokens, (3, 5)), as_tokens(theirs), atol=1e-5, rtol=1e-5)


# -- the tracker ----------------------------------------------------------------------------------------


def test_points_begin_where_they_are_asked_and_the_feature_never_changes(model: TrackOn, frames: Tensor) -> None:
    state, _ = model.step(model.start(SIZE), frames[0], POINTS[:2])
    later, _ = model.step(state, frames[1], POINTS[2:])
    assert torch.equal(later.points.query[:2], state.points.query)
    assert later.points.age.tolist() == [2, 2, 1, 1]
    fused = as_maps(model.encode(frames[1]).fused, map_sizes(SIZE)[:1])[0]
    grid = (POINTS[2:] / torch.tensor([96.0, 64.0]) * 2 - 1)[None, None]
    expected = F.grid_sample(fused, grid, padding_mode="border", align_corners=False)[0, :, 0].T
    torch.testing.assert_close(later.points.query[2:], expected, atol=1e-4, rtol=1e-4)


def test_the_memory_is_first_in_first_out_and_does_not_grow(model: TrackOn, frames: Tensor) -> None:
    state, _ = model.step(model.start(SIZE), frames[0], POINTS)
    written = [state.points.memory[:, -1]]
    for frame in frames[1:]:
        state, _ = model.step(state, frame, NONE)
        written.append(state.points.memory[:, -1])
    assert torch.equal(state.points.memory, torch.stack(written[-3:], 1))
    assert state.points.age.tolist() == [3] * 4 and state.points.memory.shape == (4, 3, 128)


def test_a_longer_memory_changes_nothing_until_it_differs(frames: Tensor) -> None:
    short, long = (run(made(memory_frames=count), frames, {0: POINTS}) for count in (24, 24 * 3))
    assert torch.equal(short[0].visible, long[0].visible)  # nothing is remembered yet
    assert not torch.equal(short[-1].visible, long[-1].visible)


def test_support_points_begin_on_the_first_frame_and_are_not_answered(frames: Tensor) -> None:
    model = made(support=3)
    state = model.start(SIZE)
    state, nobody = model.step(state, frames[0], NONE)
    assert len(nobody.xy) == 0 and len(state.points.age) == 9
    state, answer = model.step(state, frames[1], POINTS)
    assert answer.xy.shape == (4, 2) and state.points.age.tolist() == [2] * 9 + [1] * 4
    kept = model.select(state, torch.tensor([2, 0]))
    assert torch.equal(kept.points.query, state.points.query[[*range(9), 11, 9]])
    without = run(made(), frames[:2], {1: POINTS})[1]
    assert not torch.equal(without.visible, answer.visible)


def test_the_support_grid_spans_the_frame_but_for_a_margin_of_its_width(model: TrackOn) -> None:
    corners = made(support=2)._support((128, 640))  # pixels of a frame of 640x128, here in those of the input
    expected = torch.tensor([[10.0, 10.0], [630.0, 10.0], [10.0, 118.0], [630.0, 118.0]])
    torch.testing.assert_close(corners, expected * torch.tensor([96 / 640, 64 / 128]))
    torch.testing.assert_close(made(support=1)._support((128, 640)), torch.tensor([[48.0, 32.0]]))


def test_positions_scale_with_the_frame_they_are_asked_in(model: TrackOn, frames: Tensor) -> None:
    large = frames[:3].repeat_interleave(2, -1).repeat_interleave(2, -2)  # halved bilinearly it is `frames` again
    small_said, large_said = run(model, frames[:3], {0: POINTS}), run(model, large, {0: POINTS * 2})
    for small, big in zip(small_said, large_said, strict=True):
        torch.testing.assert_close(big.xy, small.xy * 2, atol=2e-3, rtol=0)


def test_removed_points_are_as_if_they_had_never_been(model: TrackOn, frames: Tensor) -> None:
    """From the frame on that they leave: memories of the others know of them, the present does not."""
    state, _ = model.step(model.start(SIZE), frames[0], POINTS)
    two = model.select(state, torch.tensor([3, 1]))
    _, ours = model.step(two, frames[1], NONE)
    own = Points(*(part[[3, 1]] for part in state.points))
    _, found = model.network.step(model.encode(frames[1]), own, SIZE, model._codes)
    torch.testing.assert_close(ours.xy, found.xy)


def test_a_clicked_point_is_tracked_as_in_the_recorded_clip(frames: Tensor) -> None:
    tracker = Tracker(made(support=2))
    clip = frames.permute(0, 2, 3, 1).numpy()
    recorded = tracker.track(clip, [(0, 10.0, 20.0), (2, 33.25, 8.0)], direction="forward")
    session = tracker.start(VideoInfo(96, 64), [(0, 10.0, 20.0)])
    for t, frame in enumerate(clip):
        results = session.step(frame)
        if t == 2:
            session.add([(2, 33.25, 8.0)])
            continue
        for result in results:
            rows = [int(name) for name in result.ids]
            np.testing.assert_allclose(result.xy, recorded.xy[rows, result.frame], atol=1e-3)
    assert rows == [0, 1]


def test_half_precision_stays_close_and_leaves_state_and_answers_in_float32(frames: Tensor) -> None:
    full, half = made(), made(precision="bfloat16")
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(6))
    exact = full.network.encode(image, full._positions)
    rounded = half.network.encode(image, half._positions)
    for ours, theirs in zip(rounded, exact, strict=True):
        assert ours.dtype == torch.float32
        error = (ours - theirs).norm() / theirs.norm()
        assert 0 < error < 0.05
    state, said = half.step(half.start(SIZE), frames[0], POINTS)
    parts = {**flatten(state), **said._asdict()}
    assert {part.dtype for part in parts.values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (200, 90)])
def test_frames_of_any_size_are_tracked(model: TrackOn, size: tuple[int, int]) -> None:
    frame = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    state, said = model.step(model.start(size), frame, torch.tensor([[0.5, 0.5]]))
    margin = 4 * max(size[0] / SIZE[0], size[1] / SIZE[1])
    assert (said.xy >= -margin).all() and (said.xy <= torch.tensor([size[1], size[0]]) + margin).all()
    _, empty = model.step(model.select(state, torch.zeros(0, dtype=torch.long)), frame, NONE)
    assert empty.xy.shape == (0, 2)


def bad_steps() -> Iterator[tuple[type[Exception], str, Tensor, Tensor]]:
    frame = torch.zeros(3, *SIZE, dtype=torch.uint8)
    yield QueryError, "finite", frame, torch.tensor([[float("nan"), 3.0]])
    yield ShapeError, r"\[3,h,w\], got \[1, 3, 64, 96\]", frame[None], NONE
    yield ShapeError, r"got \[2, 64, 96\]", frame[:2], NONE


@pytest.mark.parametrize(("kind", "sentence", "frame", "xy"), bad_steps())
def test_bad_input_is_refused(model: TrackOn, kind: type[Exception], sentence: str, frame: Tensor, xy: Tensor) -> None:
    with pytest.raises(kind, match=sentence):
        model.step(model.start(SIZE), frame, xy)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"resolution": 100}, "multiples of 32"),
        ({"resolution": 32}, "at least 64x64"),
        ({"memory_frames": 0}, "memory_frames must be at least 1"),
        ({"support": -1}, "support must be at least 0"),
        ({"precision": "half"}, "precision"),
    ],
)
def test_unusable_options_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        made(**options)
