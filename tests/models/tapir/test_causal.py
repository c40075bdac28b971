"""Online TAPIR: states, points that come and go, equality with the causal network over the whole clip."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tapkit.engine.causal import CausalDriver
from tapkit.engine.state import flatten, unflatten
from tapkit.errors import ShapeError, WeightsError
from tapkit.models.tapir.card import BOOTSTAPIR_CAUSAL, TAPIR_CAUSAL
from tapkit.models.tapir.causal import CausalTapir, TapirState, build_tapir_causal
from tapkit.models.tapir.network import Tapir, TapirConfig
from tapkit.models.tapir.tracker import TapirModel, TapirOptions

SIZE = (64, 64)
NONE = torch.zeros(0, 2)


@pytest.fixture(scope="module")
def model() -> CausalTapir:
    torch.manual_seed(0)
    config = TapirConfig(pyramid_level=1, causal=True, iterations=2, blocks=2, initial_resolution=SIZE)
    network = Tapir(config).requires_grad_(False)
    network.torch_pips_mixer.linear_1.weight.mul_(8)
    return CausalTapir(
        network, TAPIR_CAUSAL, TapirOptions.of("tapir", {"resolution": SIZE, "initial_resolution": SIZE})
    )


def clip(frames: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (frames, 3, *SIZE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


XY = torch.tensor([[20.5, 30.0], [40.0, 12.25], [5.0, 60.0]])


def stream(model: CausalTapir, video: Tensor, xy: Tensor) -> Tensor:
    state, columns = model.start(SIZE), []
    for t, frame in enumerate(video):
        state, prediction = model.step(state, frame, xy if t == 0 else NONE)
        columns.append(prediction.xy)
    return torch.stack(columns, 1)


def test_a_session_equals_the_causal_network_over_the_whole_clip(model: CausalTapir) -> None:
    video = clip(6)
    offline = TapirModel(model.network, model.card, model.chosen)
    features = offline.encode(video)
    of_query = offline.query_features(features, SIZE, torch.cat([torch.zeros(3, 1), XY], 1))
    whole = offline.track_features(features, SIZE, of_query)
    assert torch.allclose(stream(model, video, XY), whole.xy, atol=1e-4)


def test_the_future_changes_nothing(model: CausalTapir) -> None:
    short = stream(model, clip(4), XY)
    other = torch.cat([clip(4), clip(2, seed=9)])
    assert torch.equal(stream(model, other, XY)[:, :4], short)


def test_the_past_matters(model: CausalTapir) -> None:
    changed = clip(5)
    changed[3] = clip(1, seed=7)[0]
    assert (stream(model, changed, XY)[:, 4] - stream(model, clip(5), XY)[:, 4]).abs().max() > 1e-3


def test_a_step_changes_no_state_and_repeats_itself(model: CausalTapir) -> None:
    video = clip(2)
    state, _ = model.step(model.start(SIZE), video[0], XY)
    before = {name: tensor.clone() for name, tensor in flatten(state).items()}
    first, second = (model.step(state, video[1], XY[:1]) for _ in range(2))
    assert torch.equal(first[1].xy, second[1].xy)
    assert all(torch.equal(before[name], tensor) for name, tensor in flatten(state).items())


def test_a_point_added_later_tracks_as_if_alone_and_disturbs_nobody(model: CausalTapir) -> None:
    video = clip(5)
    alone = stream(model, video[2:], XY[2:])
    state, columns = model.start(SIZE), []
    for t, frame in enumerate(video):
        new = XY[:2] if t == 0 else XY[2:] if t == 2 else NONE
        state, prediction = model.step(state, frame, new)
        columns.append(prediction.xy)
    assert len(columns[1]) == 2
    assert torch.allclose(torch.stack(columns[2:], 1)[2], alone[0], atol=1e-4)
    assert torch.allclose(torch.stack([c[:2] for c in columns], 1), stream(model, video, XY[:2]), atol=1e-4)


def test_select_keeps_rows_in_the_order_asked_for(model: CausalTapir) -> None:
    video = clip(3)
    state, _ = model.step(model.start(SIZE), video[0], XY)
    kept, prediction = model.step(model.select(state, torch.tensor([2, 0])), video[1], NONE)
    _, whole = model.step(state, video[1], NONE)
    assert torch.allclose(prediction.xy, whole.xy[[2, 0]], atol=1e-4)
    assert len(kept.query.lowres[0]) == 2


def test_a_state_survives_being_saved(model: CausalTapir) -> None:
    video = clip(3)
    state, _ = model.step(model.start(SIZE), video[0], XY)
    restored: TapirState = unflatten(model.start(SIZE), flatten(state))
    assert torch.equal(model.step(restored, video[1], NONE)[1].xy, model.step(state, video[1], NONE)[1].xy)


def test_the_state_does_not_grow(model: CausalTapir) -> None:
    state, sizes = model.start(SIZE), []
    for t, frame in enumerate(clip(6)):
        state, _ = model.step(state, frame, XY if t == 0 else NONE)
        sizes.append(sum(tensor.untyped_storage().nbytes() for tensor in flatten(state).values()))
    assert len(set(sizes[2:])) == 1


def test_points_may_come_from_a_photograph(model: CausalTapir) -> None:
    video = clip(3)
    photograph = video[:1]
    features = model.features_at(photograph, torch.cat([torch.zeros(3, 1), XY], 1))
    state, columns = model.add(model.start(SIZE), features), []
    for frame in video:
        state, prediction = model.step(state, frame, NONE)
        columns.append(prediction.xy)
    assert torch.allclose(torch.stack(columns, 1), stream(model, video, XY), atol=1e-4)


def test_the_driver_gives_the_answers_of_the_model(model: CausalTapir) -> None:
    driver = CausalDriver(model, SIZE)
    driver.add(torch.arange(3), torch.cat([torch.tensor([[0.0], [0.0], [1.0]]), XY], 1))
    results = [driver.step(t, frame)[0] for t, frame in enumerate(clip(3))]
    assert [len(result.keys) for result in results] == [2, 3, 3]
    assert all(result.final for result in results)


def test_no_points_cost_nothing_and_one_pixel_frames_work(model: CausalTapir) -> None:
    _, prediction = model.step(model.start(SIZE), clip(1)[0], NONE)
    assert prediction.xy.shape == (0, 2)
    _, prediction = model.step(model.start((1, 1)), torch.zeros(3, 1, 1, dtype=torch.uint8), torch.tensor([[0.5, 0.5]]))
    assert prediction.xy.isfinite().all()


def test_a_frame_of_another_shape_is_refused(model: CausalTapir) -> None:
    with pytest.raises(ShapeError, match=r"\[3,h,w\]"):
        model.step(model.start(SIZE), clip(1), XY)


def test_online_weights_are_told_from_offline_ones() -> None:
    torch.manual_seed(0)
    with pytest.raises(WeightsError, match="not weights of tapir-causal"):
        build_tapir_causal(Tapir(TapirConfig()).state_dict())


def test_the_cards_say_causal_without_delay() -> None:
    for card in (TAPIR_CAUSAL, BOOTSTAPIR_CAUSAL):
        assert (card.streaming, card.latency, card.bidirectional, card.uses_past) == ("causal", 0, False, False)
