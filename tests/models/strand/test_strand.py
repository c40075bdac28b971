"""strand: its budget, its geometry on maps that are known, and what a causal model promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tapkit
from tapkit import registry
from tapkit.engine.recording import tensors_in
from tapkit.errors import ShapeError, UsageError, WeightsError
from tapkit.models.strand.correlation import correlate
from tapkit.models.strand.encoder import Maps, StrandConfig
from tapkit.models.strand.network import Network
from tapkit.models.strand.patches import cut
from tapkit.models.strand.tracker import build


@pytest.fixture(scope="module")
def model():
    return build(precision="float32", resolution=64)


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    """6 frames [T,3,64,64] of smooth noise that moves right by two pixels a frame."""
    generator = torch.Generator().manual_seed(1)
    wide = F.interpolate(torch.rand(1, 3, 24, 30, generator=generator), (96, 120), mode="bicubic")[0]
    image = (wide * 255).clamp(0, 255).byte()
    return torch.stack([image[:, 10:74, 30 - 2 * t : 94 - 2 * t] for t in range(6)])


def points(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 56 + 4


def track(model, frames, queries):
    """All predictions of a clip in which every point begins on the first frame: xy [N,T,2], visible, confidence."""
    state, first = model.step(model.start((64, 64)), frames[0], queries)
    answers = [first]
    for frame in frames[1:]:
        state, answer = model.step(state, frame, torch.zeros(0, 2))
        answers.append(answer)
    return [torch.stack(field, 1) for field in zip(*answers, strict=True)]


def test_the_network_stays_within_its_budget_of_parameters_and_bytes():
    network = Network()
    count = sum(p.numel() for p in network.parameters())
    assert count <= 6_000_000
    assert 2 * count <= 12 * 2**20
    assert all(value.is_floating_point() for value in network.state_dict().values())


def test_folding_the_norms_into_the_convolutions_changes_nothing(frames):
    torch.manual_seed(3)
    network = Network()
    with torch.no_grad():
        network.train()
        for _ in range(3):  # statistics that are not those of the start
            network.encode(frames)
        network.eval()
        before = network.encode(frames)
        network.fold()
        after = network.encode(frames)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=0)
    assert not any("norm" in name for name in network.state_dict())


def test_the_answer_on_the_query_frame_is_the_query_and_visible(model, frames):
    queries = points(5)
    _, answer = model.step(model.start((64, 64)), frames[0], queries)
    assert torch.equal(answer.xy, queries)
    assert (answer.visible == 1).all() and (answer.confidence == 1).all()


def test_a_step_changes_neither_its_state_nor_its_queries(model, frames):
    queries = points(4)
    state, _ = model.step(model.start((64, 64)), frames[0], queries)
    kept = [x.clone() for x in tensors_in(state)]
    first = model.step(state, frames[1], queries)[1]
    second = model.step(state, frames[1], queries)[1]
    now = tensors_in(state)
    assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_points_are_independent_of_each_other_and_of_when_others_join(model, frames):
    queries = points(6)
    together = track(model, frames, queries)
    alone = track(model, frames, queries[2:4])
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[2:4], b, atol=2e-3, rtol=0)
    state, _ = model.step(model.start((64, 64)), frames[0], queries[:2])
    state, joined = model.step(state, frames[1], points(3, seed=5))
    assert len(joined.xy) == 5
    torch.testing.assert_close(joined.xy[:2], together[0][:2, 1], atol=2e-3, rtol=0)


def test_selected_rows_go_on_as_if_nothing_had_happened(model, frames):
    state, _ = model.step(model.start((64, 64)), frames[0], points(5))
    whole = model.step(state, frames[1], torch.zeros(0, 2))[1]
    part = model.step(model.select(state, torch.tensor([3, 0])), frames[1], torch.zeros(0, 2))[1]
    torch.testing.assert_close(part.xy, whole.xy[[3, 0]], atol=2e-3, rtol=0)


def test_the_state_does_not_grow_with_time(model, frames):
    state, _ = model.step(model.start((64, 64)), frames[0], points(3))
    shapes = [x.shape for x in tensors_in(state)]
    for frame in frames[1:]:
        state, _ = model.step(state, frame, torch.zeros(0, 2))
    assert shapes == [x.shape for x in tensors_in(state)]


def test_without_points_a_frame_costs_nothing_and_says_nothing(model, frames):
    state, answer = model.step(model.start((64, 64)), frames[0], torch.zeros(0, 2))
    assert len(answer.xy) == 0 and len(state.xy) == 0


def test_answers_stay_finite_and_near_the_frame_on_noise(model):
    noise = torch.randint(0, 255, (8, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    xy, visible, confidence = track(model, noise, points(8))
    assert torch.isfinite(xy).all() and (xy > -200).all() and (xy < 264).all()
    assert ((visible >= 0) & (visible <= 1) & (confidence >= 0) & (confidence <= 1)).all()


def random_maps(shift: tuple[int, int] = (0, 0), size: int = 128) -> Maps:
    """Random unit vectors, the same for every call but moved by `shift` (x, y) pixels, a multiple of 16, wrapped."""
    generator = torch.Generator().manual_seed(7)
    levels = []
    for stride, channels in zip((4, 8, 16), (64, 128, 128), strict=True):
        level = F.normalize(torch.randn(1, size // stride, size // stride, channels, generator=generator), dim=-1)
        levels.append(level.roll((shift[1] // stride, shift[0] // stride), (1, 2)))
    return Maps(*levels, levels[2][..., :0])


def test_global_matching_finds_a_point_wherever_it_went():
    network = Network().eval()
    queries = torch.tensor([[22.0, 30.0], [46.0, 94.0]])  # centres of cells of stride 4
    before, after = random_maps(), random_maps((32, -16))
    with torch.no_grad():
        state = network.begin(before, torch.zeros(2, dtype=torch.long), queries)
        network.temperature.fill_(4.0)
        found = network.match(after, state, queries)
    torch.testing.assert_close(found.xy, queries + torch.tensor([32.0, -16.0]), atol=0.2, rtol=0)
    assert found.cost.shape == (2, 32 * 32)


def test_of_two_places_that_look_alike_the_one_nearer_to_where_it_is_expected_is_found():
    network = Network().eval()
    queries = torch.tensor([[22.0, 30.0]])
    before = random_maps()
    twice = Maps(*(level.clone() for level in before))
    for level, stride in zip(twice.learned, (4, 8, 16), strict=True):  # the left half once more at the right
        level[:, :, 64 // stride :] = level[:, :, : 64 // stride]
    with torch.no_grad():
        state = network.begin(before, torch.zeros(1, dtype=torch.long), queries)
        for expected in (queries + 2.0, queries + torch.tensor([60.0, 0.0])):
            found = network.match(twice, state, expected).xy
            nearest = queries if expected[0, 0] < 64 else queries + torch.tensor([64.0, 0.0])
            torch.testing.assert_close(found, nearest, atol=1.5, rtol=0)


def test_correlation_is_the_product_with_bilinear_samples():
    maps = random_maps()
    xy = torch.tensor([[50.3, 61.9], [70.1, 64.6]])
    owner = torch.zeros(2, dtype=torch.long)
    templates = cut(maps, owner, torch.tensor([[33.3, 80.2], [90.7, 12.1]]), (2, 1, 1))
    steps = torch.arange(-3, 4.0)
    offsets = torch.cartesian_prod(steps, steps)
    found = correlate(maps, templates, owner, xy[:, None], 3).blended()
    for level, template, ours, stride in zip(maps.learned, templates, found, (4, 8, 16), strict=True):
        grid = (xy[:, None] + stride * offsets) / 128 * 2 - 1
        sampled = F.grid_sample(level.permute(0, 3, 1, 2), grid[None], align_corners=False, padding_mode="border")[0]
        expected = torch.einsum("mkc,cms->msk", template, sampled)
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("far", [torch.nan, torch.inf, -torch.inf, 1e30, -1e30])
def test_a_place_that_is_nowhere_sees_the_border(far):
    maps, owner = random_maps(), torch.zeros(1, dtype=torch.long)
    templates = cut(maps, owner, torch.tensor([[33.3, 80.2]]), (2, 1, 1))
    edge = torch.tensor([[[500.0 if far > 0 else -500.0, 50.0]]])
    for there, border in zip(
        correlate(maps, templates, owner, torch.where(edge.abs() == 500, far, edge), 3).blended(),
        correlate(maps, templates, owner, edge, 3).blended(),
        strict=True,
    ):
        torch.testing.assert_close(there, border, atol=1e-6, rtol=0)


def test_it_runs_through_the_package_with_weights_from_memory(moving_clip):
    frames, _ = moving_clip
    weights = {name: value.half() for name, value in Network().state_dict().items()}
    tracks = tapkit.track(frames, [(3, 40.5, 30.25)], model="strand", weights=weights, device="cpu", resolution=64)
    assert tracks.xy.shape == (1, 12, 2)
    np.testing.assert_allclose(tracks.xy[0, 3], [40.5, 30.25])
    assert tracks.valid.all(), "forwards and backwards"


def test_weights_of_something_else_are_refused_with_what_is_wrong():
    weights = Network().state_dict()
    weights.pop("temperature")
    with pytest.raises(WeightsError, match=r"temperature"):
        build(weights)


def test_bad_options_and_frames_say_what_is_wanted(model):
    with pytest.raises(UsageError, match="at least 64"):
        build(resolution=50)
    with pytest.raises(UsageError, match="precision"):
        build(precision="float16")
    with pytest.raises(ShapeError, match="16"):
        model.step(model.start((64, 64)), torch.zeros(3, 60, 64, dtype=torch.uint8), points(1))


@pytest.mark.parametrize(
    ("video", "frames"),
    [
        ((256, 256), (512, 512)),
        ((480, 854), (384, 688)),
        ((1920, 1080), (688, 384)),
        ((240, 320), (448, 592)),
        ((360, 640), (352, 640)),
        ((100, 130), (192, 256)),
        ((20, 2000), (64, 4000)),
        ((8, 8), (64, 64)),
    ],
)
def test_frames_keep_their_shape_and_have_as_many_pixels_as_are_of_use(video, frames):
    assert build(precision="float32").frame_size(video) == frames


def test_small_frames_are_taken_as_they_are_on_demand():
    assert build(precision="float32", enlarge=1).frame_size((256, 256)) == (256, 256)
    assert build(precision="float32", enlarge=1.5).frame_size((256, 256)) == (384, 384)
    with pytest.raises(UsageError, match="enlarge"):
        build(enlarge=0.5)


def test_its_card_says_permissive_causal_and_without_delay():
    card = registry.card("strand")
    assert card.commercial and card.streaming == "causal" and card.latency == 0 and not card.joint
    assert card.weights_licence == "Apache-2.0"


def test_weights_say_which_encoder_they_are_of(frames):
    torch.manual_seed(1)
    network = Network(StrandConfig(encoder="lite0")).eval()
    weights = network.state_dict()
    assert 2 * sum(value.numel() for value in weights.values()) <= 12 * 2**20
    built = build(weights, precision="float32", resolution=64)
    with torch.no_grad():
        for a, b in zip(network.encode(frames[:1]), built.network.encode(frames[:1]), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
