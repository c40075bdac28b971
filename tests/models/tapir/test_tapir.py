"""TAPIR and BootsTAPIR as trackers of clips: coordinates, blocks, resolutions, foreign queries, weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tapkit.engine.clip import ClipDriver
from tapkit.errors import QueryError, ShapeError, UsageError, WeightsError
from tapkit.models.tapir import tracker as tapir_model
from tapkit.models.tapir.card import BOOTSTAPIR, TAPIR
from tapkit.models.tapir.network import Tapir, TapirConfig, local_costs
from tapkit.models.tapir.tracker import TapirModel, TapirOptions, build_bootstapir, build_tapir
from tapkit.models.tapir.weights import tapir_from_jax
from tapkit.nn.packed import unpack

SMALL = {"resolution": (64, 64), "initial_resolution": (64, 64)}


def network(seed: int = 0, **config: object) -> Tapir:
    """A TAPIR with two mixer blocks and weights that move points by pixels."""
    torch.manual_seed(seed)
    made = Tapir(TapirConfig(blocks=2, iterations=2, initial_resolution=(64, 64), **config))  # type: ignore[arg-type]
    with torch.no_grad():
        made.torch_pips_mixer.linear_1.weight.mul_(8)
    return made.requires_grad_(False)


def model(seed: int = 0, pyramid_level: int = 0, **options: object) -> TapirModel:
    return TapirModel(network(seed, pyramid_level=pyramid_level), TAPIR, TapirOptions.of("tapir", {**SMALL, **options}))


def clip(frames: int = 3, height: int = 64, width: int = 64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, 3, height, width), generator=generator, dtype=torch.uint8)


QUERIES = torch.tensor([[0.0, 20.5, 30.0], [1.0, 40.0, 12.25], [2.0, 5.0, 60.0], [1.0, 33.0, 33.0]])


def test_points_in_blocks_equal_points_together(monkeypatch: pytest.MonkeyPatch) -> None:
    tapir = model()
    features = tapir.encode(clip())
    together = tapir.track(features, (64, 64), QUERIES)
    monkeypatch.setitem(tapir_model._TOKENS, "cpu", 1)
    for one, other in zip(tapir.track(features, (64, 64), QUERIES), together, strict=True):
        assert torch.allclose(one, other, atol=2e-5)
    assert together.xy.shape == (4, 3, 2)


def test_frames_one_by_one_equal_frames_together() -> None:
    tapir = model()
    driver = ClipDriver(tapir, (64, 64))
    driver.add(torch.arange(4), QUERIES)
    for index, frame in enumerate(clip()):
        driver.step(index, frame)
    together = tapir.track(tapir.encode(clip()), (64, 64), QUERIES)
    for t, result in enumerate(driver.finish()):
        assert torch.allclose(result.prediction.xy, together.xy[:, t], atol=2e-5)


def test_packed_weights_give_the_results_of_plain_ones() -> None:
    tapir = model(pyramid_level=1)
    packed = tapir.track(tapir.encode(clip()), (64, 64), QUERIES)
    unpack(tapir.network)
    plain = tapir.track(tapir.encode(clip()), (64, 64), QUERIES)
    assert torch.allclose(packed.xy, plain.xy, atol=1e-3)
    assert torch.allclose(packed.visible, plain.visible, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (96, 48), (31, 77)])
def test_without_updates_the_query_frame_holds_the_query_at_any_video_size(size: tuple[int, int]) -> None:
    tapir = model()
    unpack(tapir.network)
    with torch.no_grad():
        tapir.network.torch_pips_mixer.linear_1.weight.zero_()
        tapir.network.torch_pips_mixer.linear_1.bias.zero_()
    xy = torch.tensor([[10.0, 10.0], [10.5, 10.5], [0.0, 31.0]])
    queries = torch.cat([torch.tensor([[0.0], [1.0], [2.0]]), xy], 1)
    prediction = tapir.track(tapir.encode(clip(3, *size)), size, queries)
    assert torch.allclose(prediction.xy[torch.arange(3), torch.arange(3)], xy, atol=1e-4)


def test_local_costs_of_a_linear_map_are_linear_to_the_half_cell() -> None:
    y, x = torch.meshgrid(torch.arange(12) + 0.5, torch.arange(16) + 0.5, indexing="ij")
    maps = torch.stack([x, y], -1)[None]
    centres = torch.tensor([[[5.0, 6.0], [5.5, 6.25], [7.125, 4.875]]])
    steps = torch.arange(-3.0, 4.0)
    for axis in (0, 1):
        features = torch.zeros(1, 3, 2)
        features[..., axis] = 1
        costs = local_costs(maps, features, centres).view(1, 3, 7, 7)
        wanted = centres[..., axis, None, None] + (steps[None, :] if axis == 0 else steps[:, None])
        assert torch.allclose(costs, wanted.expand_as(costs), atol=1e-5)


@pytest.mark.parametrize("height", [6, 60])
def test_local_costs_equal_grid_sample_with_zeros_outside(height: int) -> None:
    """60 x 40 cells are fetched, 6 x 40 multiplied as a whole."""
    torch.manual_seed(0)
    maps, features = torch.randn(2, height, 40, 8), torch.randn(2, 5, 8)
    centres = torch.rand(2, 5, 2) * torch.tensor([50.0, height + 10.0]) - 5
    offsets = torch.stack(torch.meshgrid(torch.arange(-3, 4), torch.arange(-3, 4), indexing="ij")[::-1], -1)
    grid = (centres[:, :, None] + offsets.view(1, 1, 49, 2)) / torch.tensor([40.0, height]) * 2 - 1
    sampled = torch.nn.functional.grid_sample(maps.permute(0, 3, 1, 2), grid, align_corners=False)
    wanted = torch.einsum("tcnk,tnc->tnk", sampled, features)
    assert torch.allclose(local_costs(maps, features, centres), wanted, atol=1e-4)


def test_positions_far_outside_or_not_numbers_do_no_harm_to_others() -> None:
    maps, features = torch.randn(1, 60, 40, 8), torch.randn(1, 3, 8)
    centres = torch.tensor([[[1e12, -1e12], [float("nan"), 4.0], [20.0, 20.0]]])
    costs = local_costs(maps, features, centres)
    assert (costs[0, 0] == 0).all()
    assert costs[0, 1].isnan().all()
    assert torch.allclose(costs[0, 2:], local_costs(maps, features[:, 2:], centres[:, 2:])[0], atol=1e-5)


def test_a_query_from_another_picture_tracks_like_one_in_the_clip() -> None:
    """The same picture as photograph and as frame 0: only the override of the first guess differs."""
    tapir = model()
    features, size = tapir.encode(clip()), (64, 64)
    unpack(tapir.network)
    query = QUERIES[:1]
    foreign = tapir.features_at(clip()[:1], query)
    known = tapir.query_features(features, size, query)
    assert torch.allclose(foreign.lowres[0], known.lowres[0], atol=1e-6)
    prediction = tapir.track_features(features, size, foreign)
    assert prediction.xy.shape == (1, 3, 2)
    estimate = tapir.estimate(features, size, known, None)
    assert torch.allclose(prediction.visible, (-estimate.occlusion.T).sigmoid(), atol=1e-5)


def test_query_features_of_other_resolutions_are_refused() -> None:
    tapir = model()
    foreign = tapir.features_at(clip(), QUERIES)
    finer = model(refinement_resolutions=[(64, 64), (96, 96)])
    with pytest.raises(UsageError, match="1 resolutions, but 2 are in use"):
        finer.track_features(finer.encode(clip()), (64, 64), foreign)


def test_more_resolutions_give_the_mean_of_their_last_estimates() -> None:
    tapir = model(refinement_resolutions=[(64, 64), (96, 64)])
    size = (64, 64)
    features = tapir.encode(clip())
    of_query = tapir.query_features(features, size, QUERIES)
    levels, maps = tapir.levels(size), features.levels()
    assert levels.maps == ((64, 64), (96, 64))
    start = tapir._pin(tapir.network.match(maps[0].lowres, of_query.lowres[0]), size, QUERIES)
    steps = list(tapir.network.refine(start, [tapir.network.pyramid(m) for m in maps], levels.maps, of_query))
    wanted = (steps[1].occlusion + steps[3].occlusion) / 2
    assert torch.allclose(tapir.estimate(features, size, of_query, QUERIES).occlusion, wanted, atol=1e-5)


def test_default_resolutions_of_a_large_video_follow_its_size() -> None:
    large = model(resolution=None, initial_resolution=(256, 256))
    large.network.config = TapirConfig()
    assert large.levels((480, 854)).maps == ((256, 256), (344, 464), (480, 848))
    assert large.levels((480, 854)).refined == (0, 1, 2)
    assert large.levels((100, 100)).maps == ((256, 256),)


def test_one_frame_tiny_frames_and_no_points_work() -> None:
    tapir = model()
    one = tapir.track(tapir.encode(clip(1, 3, 5)), (3, 5), torch.tensor([[0.0, 2.0, 1.0]]))
    assert one.xy.shape == (1, 1, 2)
    assert one.xy.isfinite().all()
    none = tapir.track(tapir.encode(clip()), (64, 64), torch.zeros(0, 3))
    assert none.xy.shape == (0, 3, 2)
    assert none.visible.shape == (0, 3)


def test_bad_input_is_refused_in_a_sentence() -> None:
    tapir = model()
    features = tapir.encode(clip())
    with pytest.raises(QueryError, match="finite"):
        tapir.track(features, (64, 64), torch.tensor([[0.0, float("nan"), 1.0]]))
    with pytest.raises(ShapeError, match=r"\[N,3\]"):
        tapir.track(features, (64, 64), torch.zeros(3, 2))
    with pytest.raises(ShapeError, match=r"\[B,3,h,w\]"):
        tapir.encode(clip()[0])
    with pytest.raises(UsageError, match="multiples of 8"):
        TapirOptions.of("tapir", {"refinement_resolutions": [(250, 256)]})
    with pytest.raises(UsageError, match="no option 'resolutions'"):
        TapirOptions.of("tapir", {"resolutions": (256, 256)})
    with pytest.raises(UsageError, match="precision"):
        TapirOptions.of("tapir", {"precision": "half"})


def test_bfloat16_keeps_coordinates_in_float32_and_close() -> None:
    full, half = model(), model(precision="bfloat16")
    assert half.network.dtype == torch.bfloat16
    exact = full.track(full.encode(clip()), (64, 64), QUERIES)
    rough = half.track(half.encode(clip()), (64, 64), QUERIES)
    assert rough.xy.dtype == torch.float32
    assert not torch.equal(exact.xy, rough.xy)
    assert (exact.xy - rough.xy).abs().median() < 0.5


def released(kind: str) -> dict[str, Tensor]:
    """Weights under the names of the released PyTorch files."""
    config = TapirConfig() if kind == "tapir" else TapirConfig(pyramid_level=1, extra_convs=True)
    torch.manual_seed(1)
    return Tapir(config).state_dict()


def haiku(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same as the JAX release names and lays it out (specs/tapir.md, section 10), written from that table."""
    heads = {"hid1": "cost_volume_regression_1", "hid2": "cost_volume_regression_2", "hid3": "cost_volume_occlusion_1"}
    heads |= {"hid4": "cost_volume_occlusion_2", "occ_out": "occlusion_out"}
    arrays = {}
    for name, value in state.items():
        parts = name.split(".")
        leaf = parts.pop()
        norm = "norm" in parts[-1] or parts[-1].startswith("bn_")
        if parts[0] == "resnet_torch" and len(parts) == 2:
            module = "resnet/~/initial_conv"
        elif parts[0] == "resnet_torch":
            layer = parts[5].replace("bn_", "instancenorm_").replace("proj_conv", "shortcut_conv")
            module = f"resnet/~/block_group_{parts[2]}/~/block_{parts[4]}/~/{layer}"
        elif parts[0] == "torch_cost_volume_track_mods":
            module = heads[parts[1]]
        elif parts[0] == "extra_convs":
            block = int(parts[2])
            number = block if norm else 2 * block + (parts[3] == "conv_1")
            module = "extra_convs/" + ("layer_norm" if norm else "conv2_d") + (f"_{number}" if number else "")
        elif parts[1] == "blocks":
            module = "pips_mlp_mixer/block" + (f"_{parts[2]}" if parts[2] != "0" else "") + f"/{parts[-1]}"
        else:
            module = f"pips_mlp_mixer/{parts[1]}"
        ours = {"weight": "scale" if norm else "w", "bias": "offset" if norm else "b"}[leaf]
        if ours == "w":
            value = value.permute({4: (2, 3, 1, 0), 3: (2, 1, 0), 2: (1, 0)}[value.ndim])
        arrays[f"tapir/~/{module}/{ours}"] = value
    return arrays


def test_jax_weights_become_the_pytorch_ones_by_name_and_layout() -> None:
    state = released("bootstapir")
    converted = tapir_from_jax(haiku(state))
    assert converted.keys() == state.keys()
    assert all(torch.equal(converted[name], state[name]) for name in state)


def test_the_temperature_follows_the_format_unless_said_otherwise() -> None:
    state = released("bootstapir")
    assert build_bootstapir(state).options["softmax_temperature"] == 20
    assert build_bootstapir(haiku(state)).options["softmax_temperature"] == 10
    assert build_bootstapir(haiku(state), softmax_temperature=15).options["softmax_temperature"] == 15


def test_weights_of_another_model_are_refused_in_a_sentence() -> None:
    with pytest.raises(WeightsError, match="not weights of tapir: it has besides extra_convs"):
        build_tapir(released("bootstapir"))
    with pytest.raises(WeightsError, match="not weights of bootstapir: it lacks extra_convs"):
        build_bootstapir(released("tapir"))
    incomplete = released("tapir")
    del incomplete["torch_pips_mixer.linear.bias"]
    with pytest.raises(WeightsError, match=r"it lacks torch_pips_mixer\.linear\.bias"):
        build_tapir(incomplete)


def test_the_card_rule_is_the_authors_decision() -> None:
    """Visible iff (1 - sigmoid(occlusion)) (1 - sigmoid(expected_dist)) > 0.5."""
    assert {card.visible_rule for card in (TAPIR, BOOTSTAPIR)} == {"visible*confidence"}
    tapir = model()
    features = tapir.encode(clip())
    estimate = tapir.estimate(features, (64, 64), tapir.query_features(features, (64, 64), QUERIES), QUERIES)
    prediction = tapir.track(features, (64, 64), QUERIES)
    theirs = (1 - estimate.occlusion.sigmoid()) * (1 - estimate.expected_dist.sigmoid()) > 0.5
    assert torch.equal(prediction.visible * prediction.confidence > TAPIR.visible_threshold, theirs.T)


def test_the_network_trains_after_it_was_packed() -> None:
    made = model().network.train().requires_grad_(True)
    maps = made.encode(torch.rand(2, 3, 64, 64) * 2 - 1, (64, 64))
    of_query = made.query_features([maps], torch.tensor([[0.0, 0.5, 0.5]]))
    start = made.match(maps.lowres, of_query.lowres[0])
    *_, last = made.refine(start, [made.pyramid(maps)], [(64, 64)], of_query)
    (last.xy.sum() + last.occlusion.sum()).backward()
    gradients = [p.grad for p in made.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert sum(float(g.abs().sum()) > 0 for g in gradients if g is not None) > 0.9 * len(gradients)
