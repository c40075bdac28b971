"""TAP-Net: the temporal shift, blocks of frames, SAME padding at odd sizes, its Haiku checkpoint."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tapkit.errors import QueryError, UsageError, WeightsError
from tapkit.models.tapnet import tracker as module
from tapkit.models.tapnet.network import TapNetNetwork, shift
from tapkit.models.tapnet.tracker import TapNet, build_tapnet


def clip(frames: int, height: int = 40, width: int = 56) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (frames, 3, height, width), generator=generator, dtype=torch.uint8)


@pytest.fixture
def model() -> TapNet:
    torch.manual_seed(0)
    return build_tapnet(resolution=None)


QUERIES = torch.tensor([[0.0, 10.5, 20.0], [2.0, 33.0, 8.0], [4.0, 5.25, 35.0]])


def test_the_shift_swaps_the_end_groups_between_neighbours() -> None:
    a = torch.arange(4 * 16.0).view(4, 16, 1, 1)
    shifted = shift(a).flatten(1)
    assert shifted[0].tolist() == [46, 47, *range(18, 30), 0, 1]
    assert shifted[1].tolist() == [62, 63, *range(34, 46), 16, 17]


def test_frames_in_blocks_equal_frames_together(model: TapNet, monkeypatch: pytest.MonkeyPatch) -> None:
    features = model.encode(clip(5))
    pairs = model.maps(features)
    monkeypatch.setitem(module._FRAMES_AT_ONCE, "cpu", 64)
    assert torch.allclose(pairs, model.maps(features), atol=1e-6)


def test_features_reach_four_frames_in_time_and_no_further(model: TapNet) -> None:
    video = clip(11)
    before = model.maps(model.encode(video))
    video[5] = 255 - video[5]
    changed = (model.maps(model.encode(video)) - before).abs().amax((1, 2, 3))
    assert (changed[1:10] > 1e-6).all()
    assert changed[0] == changed[10] == 0


def test_the_answer_on_the_query_frame_is_the_query(model: TapNet) -> None:
    prediction = model.track(model.encode(clip(5)), (40, 56), QUERIES)
    assert torch.equal(prediction.xy[[0, 1, 2], [0, 2, 4]], QUERIES[:, 1:])
    assert torch.equal(prediction.confidence, prediction.visible)


def test_scaling_the_video_scales_the_tracks() -> None:
    """One pixel becomes a block of 2 x 2; the network sees the same picture."""
    torch.manual_seed(0)
    model = build_tapnet(resolution=(40, 56))
    video = clip(3)
    double = video.repeat_interleave(2, 2).repeat_interleave(2, 3)
    features = model.encode(video)
    small = model.track(features, (40, 56), QUERIES % torch.tensor([3.0, 100, 100]))
    large = model.track(features, (80, 112), QUERIES % torch.tensor([3.0, 100, 100]) * torch.tensor([1.0, 2, 2]))
    assert double.shape[-2:] == (80, 112)
    assert torch.allclose(large.xy, small.xy * 2, atol=1e-4)


@pytest.mark.parametrize(("height", "width", "cells"), [(40, 56, (5, 7)), (33, 47, (5, 6)), (1, 2, (1, 1))])
def test_any_size_works_with_sides_rounded_up(model: TapNet, height: int, width: int, cells: tuple[int, int]) -> None:
    features = model.encode(clip(2, height, width))
    assert model.maps(features).shape[1:3] == cells
    prediction = model.track(features, (height, width), torch.tensor([[1.0, 0.5, 0.5]]))
    assert prediction.xy.isfinite().all()


def test_one_frame_and_no_points_work(model: TapNet) -> None:
    assert model.track(model.encode(clip(1)), (40, 56), QUERIES[:1]).xy.shape == (1, 1, 2)
    assert model.track(model.encode(clip(3)), (40, 56), torch.zeros(0, 3)).xy.shape == (0, 3, 2)


def test_a_query_from_another_clip_can_be_tracked(model: TapNet) -> None:
    video = clip(5)
    of_query = model.features_at(video, QUERIES)
    foreign = model.track_features(model.encode(video), (40, 56), of_query)
    own = model.track(model.encode(video), (40, 56), QUERIES)
    other = torch.ones(3, 5, dtype=torch.bool)
    other[[0, 1, 2], [0, 2, 4]] = False
    assert torch.allclose(foreign.xy[other], own.xy[other], atol=1e-4)


def haiku(network: TapNetNetwork) -> dict[str, Tensor]:
    """The network's tensors named and laid out as in the released file (specs/tapnet.md, section 4)."""
    arrays = {}
    for name, value in network.state_dict().items():
        *path, leaf = name.split(".")
        if path[0] != "tsm_resnet_video":
            value = value.permute(2, 3, 1, 0)[None] if value.ndim == 4 else value.T if value.ndim == 2 else value
            arrays[f"tap_net/~/{path[0]}/{'w' if leaf == 'weight' else 'b'}"] = value
        elif path[1] == "stem":
            arrays["tap_net/~/tsm_resnet_video/tsm_resnet_stem/w"] = value.permute(2, 3, 1, 0)
        else:
            layer = {"bn_0": "batch_norm", "bn_1": "batch_norm_1"}.get(path[3], path[3])
            prefix = f"tap_net/~/tsm_resnet_video/tsm_resnet_{path[1]}/{path[2]}/{layer}"
            if leaf.startswith("running_"):
                average = f"{prefix}/~/{leaf.removeprefix('running_')}_ema"
                arrays |= {f"{average}/average": value.view(1, 1, 1, -1), f"{average}/hidden": value + 1}
                arrays[f"{average}/counter"] = torch.tensor(7)
            elif layer.startswith("batch"):
                arrays[f"{prefix}/{'scale' if leaf == 'weight' else 'offset'}"] = value.view(1, 1, 1, -1)
            else:
                arrays[f"{prefix}/w"] = value.permute(2, 3, 1, 0)
    return arrays


def test_the_haiku_checkpoint_gives_the_same_network() -> None:
    torch.manual_seed(3)
    network = TapNetNetwork()
    for buffer in network.buffers():
        buffer.add_(torch.rand_like(buffer))
    state = network.state_dict()
    loaded = build_tapnet(haiku(network)).network.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_bad_input_is_refused_in_a_sentence(model: TapNet) -> None:
    arrays = haiku(TapNetNetwork())
    arrays["tap_net/~/another_layer/w"] = torch.zeros(1, 1)
    with pytest.raises(WeightsError, match="not weights of tapnet: it has besides"):
        build_tapnet(arrays)
    with pytest.raises(QueryError, match="finite"):
        model.track(model.encode(clip(1)), (40, 56), torch.tensor([[0.0, float("inf"), 1.0]]))
    with pytest.raises(UsageError, match="no option 'iterations'"):
        build_tapnet(iterations=4)
