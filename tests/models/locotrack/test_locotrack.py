"""LocoTrack at a small resolution: parts beside slow twins, blocks and groups, checkpoints, coordinates."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.errors import QueryError, ShapeError, UsageError, WeightsError
from tapkit.models.locotrack import network as locotrack_network
from tapkit.models.locotrack.network import (
    BASE,
    SMALL,
    CellConv,
    LocoTrackNetwork,
    correlate,
    displacement_code,
    groups,
    time_bias,
)
from tapkit.models.locotrack.tracker import LocoTrack, build_locotrack_base, build_locotrack_small
from tapkit.models.locotrack.weights import released_names
from tapkit.nn.packed import unpack
from tapkit.registry import card

SIZE = (64, 96)
LOW = {"resolution": None, "refinement_resolutions": [SIZE]}


def released(config: locotrack_network.LocoTrackConfig = SMALL, seed: int = 0) -> dict[str, Tensor]:
    """A made checkpoint in the published format, under the published names."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in released_names(LocoTrackNetwork(config)).items():
        draw = torch.randn(shape, generator=generator)
        norm = len(shape) == 1 and name.endswith("weight")
        tensors[name] = 1 + 0.1 * draw if norm else draw / (math.prod(shape[1:]) ** 0.5 if shape[1:] else 20)
    return tensors


@pytest.fixture(scope="module")
def model() -> LocoTrack:
    return build_locotrack_small(released(), **LOW)


@pytest.fixture(scope="module")
def video() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 12, 16, generator=generator) * 255
    picture = F.interpolate(coarse, size=(80, 120), mode="bicubic").clamp(0, 255).to(torch.uint8)[0]
    return torch.stack([picture[:, t : t + 64, 2 * t : 2 * t + 96] for t in range(6)])  # it pans


QUERIES = torch.tensor([[0.0, 30.0, 20.0], [2.0, 60.5, 40.25], [5.0, 90.0, 60.0], [0.0, 0.0, 0.0], [1.0, 96.0, 64.0]])


def test_answers_have_the_promised_form(model: LocoTrack, video: Tensor) -> None:
    out = model.track(model.encode(video), SIZE, QUERIES)
    assert out.xy.shape == (5, 6, 2) and out.visible.shape == out.confidence.shape == (5, 6)
    assert all(part.dtype == torch.float32 for part in out)
    assert ((out.visible >= 0) & (out.visible <= 1) & (out.confidence >= 0) & (out.confidence <= 1)).all()


def test_points_do_not_influence_each_other_and_blocks_do_not_matter(
    model: LocoTrack, video: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = model.encode(video)
    together = model.track(features, SIZE, QUERIES).xy
    alone = torch.cat([model.track(features, SIZE, query[None]).xy for query in QUERIES])
    torch.testing.assert_close(alone, together, atol=1e-3, rtol=0)
    monkeypatch.setattr(locotrack_network, "BLOCK", 4)  # less than a track: blocks of frames too
    monkeypatch.setattr(locotrack_network, "GROUP", 5)
    torch.testing.assert_close(model.track(features, SIZE, QUERIES).xy, together, atol=1e-3, rtol=0)


def test_frames_are_encoded_each_on_its_own(model: LocoTrack, video: Tensor) -> None:
    whole = model.encode(video)
    for all_frames, *parts in zip(whole, *(model.encode(frame[None]) for frame in video), strict=True):
        torch.testing.assert_close(all_frames, torch.cat(parts), atol=1e-6, rtol=0)


def test_features_of_a_query_serve_another_clip(model: LocoTrack, video: Tensor) -> None:
    photo, rest = model.encode(video[:1]), model.encode(video)
    query = torch.tensor([[0.0, 30.0, 20.0]])
    taken = model.track_points(rest, SIZE, model.point_features(photo, SIZE, query), query)
    torch.testing.assert_close(taken.xy, model.track(rest, SIZE, query).xy, atol=1e-3, rtol=0)
    found = model.track_points(rest, SIZE, model.point_features(photo, SIZE, query))
    assert found.xy.shape == taken.xy.shape


def test_global_matching_is_overruled_on_the_query_frame_only(model: LocoTrack, video: Tensor) -> None:
    features = model.encode(video)
    known = model._in_units(QUERIES, SIZE)
    points = model.point_features(features, SIZE, QUERIES)
    free, held = (model.network.match(features.initial(), points, asked).xy for asked in (None, known))
    for n, (t, x, y) in enumerate(known.tolist()):
        assert held[n, int(t)].tolist() == pytest.approx([x, y])
        others = torch.arange(len(video)) != int(t)
        assert torch.equal(held[n, others], free[n, others])


def test_the_centre_of_a_cell_reads_that_cell_and_half_a_cell_is_seen(model: LocoTrack, video: Tensor) -> None:
    features = model.encode(video)
    queries = torch.tensor([[1.0, 20.0, 12.0], [1.0, 24.0, 12.0]])  # cells of 8 pixels: the centre of one, an edge
    points = model.point_features(features, SIZE, queries)
    torch.testing.assert_close(points.low[0], features.lowres[1, 1, 2])
    torch.testing.assert_close(points.low[1], features.lowres[1, 1, 2:4].mean(0))
    torch.testing.assert_close(points.lowres[0].view(7, 7, -1)[2:5, 2:5], features.lowres[1, 0:3, 1:4])


def test_positions_scale_with_the_frames_they_are_asked_in(video: Tensor) -> None:
    model = build_locotrack_small(released(), resolution=SIZE, refinement_resolutions=[SIZE])
    large = video.repeat_interleave(2, -1).repeat_interleave(2, -2)  # halving it bilinearly gives `video` back
    small_out = model.track(model.encode(video), SIZE, QUERIES)
    large_out = model.track(model.encode(large), (128, 192), QUERIES * torch.tensor([1.0, 2.0, 2.0]))
    torch.testing.assert_close(large_out.xy, small_out.xy * 2, atol=2e-3, rtol=0)
    torch.testing.assert_close(large_out.visible, small_out.visible, atol=1e-4, rtol=0)


def test_resolutions_are_those_of_the_authors() -> None:
    assert build_locotrack_small(resolution=None).resolutions((304, 360)) == ((256, 256), (304, 360))
    assert build_locotrack_small(resolution=None).resolutions((480, 854)) == ((256, 256), (480, 848))
    assert build_locotrack_small(resolution=None).resolutions((90, 120)) == ((256, 256), (256, 256))
    assert build_locotrack_small().resolutions((1080, 1920)) == ((256, 256), (256, 256))
    assert build_locotrack_small(resolution=512).resolutions((1080, 1920)) == ((256, 256), (512, 512))
    assert build_locotrack_small().frame_size((480, 854)) == (256, 256)
    assert build_locotrack_small(antialias=False).frame_size((480, 854)) is None


def test_two_resolutions_cost_what_is_declared(video: Tensor) -> None:
    model = build_locotrack_small(released(), resolution=None, refinement_resolutions=[(32, 48), SIZE])
    features = model.encode(video)
    assert sum(part.numel() * part.element_size() for part in features) == len(video) * model.frame_bytes(SIZE)
    assert model.track(features, SIZE, QUERIES).xy.isfinite().all()


@pytest.mark.parametrize("outside", [False, True])
def test_local_correlation_equals_sampling_the_map(outside: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    level, queries = torch.randn(3, 9, 13, 8, generator=generator), torch.randn(4, 49, 8, generator=generator)
    xy = torch.rand(4, 3, 2, generator=generator) * torch.tensor([13.0, 9.0])
    if outside:
        xy = xy * 3 - torch.tensor([13.0, 9.0])
        xy[0, 0] = torch.tensor([-1e6, 1e7])
    reach = torch.arange(-3.0, 4.0)
    taps = xy[:, :, None] + torch.cartesian_prod(reach, reach).flip(-1)
    grid = taps.transpose(0, 1) / torch.tensor([13.0, 9.0]) * 2 - 1
    patch = F.grid_sample(level.permute(0, 3, 1, 2), grid, align_corners=False).permute(2, 0, 3, 1)  # [4,3,49,8]
    expected = patch @ queries[:, None].transpose(2, 3)
    with torch.no_grad():
        torch.testing.assert_close(correlate(level, queries, xy).view(4, 3, 49, 49), expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(correlate(level, queries, xy).view(4, 3, 49, 49), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("kernel", "stride", "side"), [(5, 4, 7), (3, 2, 7), (3, 2, 4), (2, 2, 2)])
def test_convolutions_of_few_cells_equal_padded_ones(kernel: int, stride: int, side: int) -> None:
    conv = CellConv(8, 16, kernel, stride, side).eval().requires_grad_(False)
    x = torch.randn(5, side, side, 8, generator=torch.Generator().manual_seed(3))
    plain = conv(x)
    total = (plain.shape[1] - 1) * stride + kernel - side
    padded = F.pad(x.permute(0, 3, 1, 2), (total // 2, total - total // 2) * 2)
    expected = F.conv2d(padded, conv.weight, conv.bias, stride).permute(0, 2, 3, 1)
    torch.testing.assert_close(plain, expected)
    conv.prepare()
    torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=0)
    conv.weight.zero_()
    conv.train()
    assert torch.equal(conv(x), conv.bias.expand(plain.shape))


def test_half_of_the_heads_look_back_and_half_ahead() -> None:
    bias = time_bias(4, torch.arange(3), 3)
    slope = 24.0**-0.5
    expected = [[0, -1e9, -1e9], [-slope, 0, -1e9], [-2 * slope, -slope, 0]]
    torch.testing.assert_close(bias[0], torch.tensor(expected))
    torch.testing.assert_close(bias[2], torch.tensor(expected).T)
    torch.testing.assert_close(bias[1, 2, 0].item(), -2 / 24)


def test_motion_is_told_by_signed_differences_to_both_neighbours() -> None:
    xy = torch.tensor([[[0.0, 0.0], [8.0, 4.0], [8.0, 0.0]]])
    code = displacement_code(xy, torch.tensor([1 / 256, 1 / 256]))
    torch.testing.assert_close(code[0, :, :4] * 256, torch.tensor([[-8.0, -4, 0, 0], [0, 4, 8, 4], [0, 0, 0, -4]]))
    torch.testing.assert_close(code[0, 0, 4:8], code[0, 0, :4].sin())
    torch.testing.assert_close(code[0, 0, 44:48], code[0, 0, :4].cos(), atol=1e-6, rtol=0)
    assert code.shape == (1, 3, 84)


def test_groups_hold_whole_tracks() -> None:
    assert groups(5, locotrack_network.GROUP * 2) == [slice(n, n + 1) for n in range(5)]
    assert groups(0, 10) == []


@pytest.mark.parametrize("size", [(1, 1), (5, 300)])
def test_tiny_frames_single_frames_and_no_points_work(size: tuple[int, int]) -> None:
    model = build_locotrack_small(released(), resolution=64, refinement_resolutions=[(64, 64)])
    frame = torch.full((1, 3, *size), 90, dtype=torch.uint8)
    features = model.encode(frame)
    out = model.track(features, size, torch.tensor([[0.0, 0.5, 0.5]]))
    assert out.xy.shape == (1, 1, 2) and out.xy.isfinite().all()
    assert model.track(features, size, torch.zeros(0, 3)).xy.shape == (0, 1, 2)
    assert model.encode(frame[:0]).lowres.shape == (0, 8, 8, 256)
    assert model.track(model.encode(frame[:0]), size, torch.zeros(0, 3)).xy.shape == (0, 0, 2)


def test_bad_queries_and_frames_are_refused(model: LocoTrack, video: Tensor) -> None:
    features = model.encode(video[:2])
    with pytest.raises(QueryError, match="finite"):
        model.track(features, SIZE, torch.tensor([[0.0, float("nan"), 1.0]]))
    with pytest.raises(QueryError, match="frame 2, outside the 2 frames"):
        model.track(features, SIZE, torch.tensor([[2.0, 1.0, 1.0]]))
    with pytest.raises(ShapeError):
        model.track(features, SIZE, torch.zeros(2, 2))
    with pytest.raises(ShapeError):
        model.encode(video[0])


@pytest.mark.parametrize(
    "options",
    [{"refinement_resolutions": [(60, 64)]}, {"refinement_resolutions": []}, {"resolution": 0}, {"precision": "half"}],
)
def test_unusable_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        build_locotrack_small(**options)


def test_released_files_load_with_or_without_lightnings_prefix(model: LocoTrack, video: Tensor) -> None:
    other = build_locotrack_small({f"model.{name}": value for name, value in released().items()}, **LOW)
    ours, theirs = (m.track(m.encode(video), SIZE, QUERIES).xy for m in (model, other))
    assert torch.equal(ours, theirs)


def test_weights_of_the_other_size_or_damaged_ones_are_refused_in_one_sentence() -> None:
    tensors = released(BASE)
    assert len(tensors) == 147 and len(released()) == 135  # as published
    with pytest.raises(WeightsError, match="not weights of locotrack-small") as caught:
        build_locotrack_small(tensors)
    assert "\n" not in str(caught.value)
    tensors.pop("occ_linear.bias")
    with pytest.raises(WeightsError, match=r"lacks occ_linear\.bias"):
        build_locotrack_base(tensors)


def test_packed_and_plain_layers_agree(video: Tensor) -> None:
    model = build_locotrack_base(released(BASE), **LOW)
    packed = model.track(model.encode(video), SIZE, QUERIES)
    unpack(model.network)
    for encoder in model.network.cmdtop.modules():
        if isinstance(encoder, CellConv):
            encoder.train()
    plain = model.track(model.encode(video), SIZE, QUERIES)
    torch.testing.assert_close(packed.xy, plain.xy, atol=1e-3, rtol=0)


def test_half_precision_features_stay_close(model: LocoTrack, video: Tensor) -> None:
    half = build_locotrack_small(released(), precision="bfloat16", **LOW)
    features = half.encode(video)
    assert features.hires.dtype == torch.bfloat16
    out, exact = half.track(features, SIZE, QUERIES), model.track(model.encode(video), SIZE, QUERIES)
    assert out.xy.dtype == torch.float32
    assert (out.xy - exact.xy).norm(dim=-1).median() < 0.5


def test_gradients_reach_every_weight(video: Tensor) -> None:
    model = build_locotrack_small(released(), **LOW)
    network = model.network.train().requires_grad_(True)
    maps = network.maps(video[:3] / 255 * 2 - 1)
    queries = torch.tensor([[0.0, 100.0, 80.0], [1.0, 200.0, 30.0]])
    points = network.point_features(maps, maps, queries)
    first = network.match(maps, points)
    *_, last = network.refine(maps, points, first)
    (first.xy.sum() + last.xy.sum() + last.occluded.sum() + last.uncertain.sum()).backward()
    silent = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert silent == []


def test_cards_name_their_factories() -> None:
    for size in ("small", "base"):
        found = card(f"locotrack-{size}")
        assert found.streaming == "offline" and found.bidirectional and not found.joint
        assert found.visible_rule == "visible*confidence" and found.visible_threshold == 0.5
