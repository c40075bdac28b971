"""DINO-Tracker's networks: what the parity cases do not show. Exactness is shown by tools/check_parity.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.errors import WeightsError
from tapkit.per_video.dino_tracker import losses
from tapkit.per_video.dino_tracker.grid import LEAST, TokenGrid, model_size
from tapkit.per_video.dino_tracker.head import RADIUS, NormalizedConv2d, read_out
from tapkit.per_video.dino_tracker.network import DinoTracker, by_frame, head_bytes
from tapkit.per_video.dino_tracker.tracking import Found, median_miss, track
from tapkit.per_video.dino_tracker.weights import network_from, read_published

GRID = TokenGrid((70, 98))


def clip(frames: int = 4, width: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Frames in [0,1] and frozen features."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(frames, 3, *GRID.size, generator=generator)
    return images, torch.randn(frames, width, *GRID.shape, generator=generator)


def network(width: int = 12, seed: int = 0) -> DinoTracker:
    torch.manual_seed(seed)
    return DinoTracker(width)


@torch.no_grad()
def test_at_first_the_features_are_the_frozen_ones() -> None:
    images, raw = clip()
    features = network().refine(images, raw, GRID)
    assert torch.allclose(features.maps, raw, atol=1e-6)
    lengths, directions = losses.prior_losses(features, raw)
    assert float(lengths) < 1e-5 and float(directions) < 1e-5


def test_tokens_lie_where_their_patches_have_their_centres() -> None:
    centres = GRID.centres()
    assert centres[0].tolist() == [7, 7] and centres[-1].tolist() == [7 + 7 * 12, 7 + 7 * 8]
    maps = torch.arange(GRID.count).float().view(1, 1, *GRID.shape)
    assert torch.allclose(GRID.read(maps, centres[None])[0, :, 0], torch.arange(GRID.count).float(), atol=1e-4)
    assert GRID.read(maps, torch.tensor([[[0.0, 0.0], [98.0, 70.0]]]))[0, :, 0].tolist() == [0.0, GRID.count - 1.0]


def test_every_size_of_video_has_a_model_size() -> None:
    assert model_size((480, 854)) == (476, 854)
    for size in ((30, 40), (1080, 1920), (100, 2000)):
        found = model_size(size)
        assert all(side % 14 == 0 and side >= 14 * LEAST for side in found)
    smallest = TokenGrid(model_size((8, 8)))
    images, raw = torch.rand(2, 3, *smallest.size), torch.randn(2, 12, *smallest.shape)
    assert network().refine(images, raw, smallest).maps.shape == raw.shape


def test_the_place_is_the_mean_of_the_disc_around_the_largest_raw_cost() -> None:
    costs = torch.zeros(1, *GRID.shape)
    costs[0, 4, 6] = 1.0
    heights = torch.full((1, *GRID.shape), -100.0)
    heights[0, 4, 7], heights[0, 0, 0] = 0.0, 1.0  # the second lies outside the disc
    peak = torch.tensor([7.0 + 42, 7.0 + 28])
    assert float((GRID.centres()[0] - peak).norm()) > RADIUS
    assert read_out(costs, heights, GRID)[0].tolist() == pytest.approx([7.0 + 49, 7.0 + 28])
    heights[0, 0, 0] = 100.0  # takes all the weight: what is left is the mean of the disc
    assert read_out(costs, heights, GRID)[0].tolist() == pytest.approx(peak.tolist(), abs=1e-3)


def test_kernels_are_divided_by_their_sums_also_if_these_are_nothing() -> None:
    layer = NormalizedConv2d(1, 3, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([torch.full((1, 3, 3), 2.0), torch.full((1, 3, 3), -2.0), torch.zeros(1, 3, 3)]))
    out = layer(torch.ones(1, 1, 5, 5))
    assert out[0, :, 2, 2].tolist() == pytest.approx([1.0, 1.0, 0.0])
    assert torch.isfinite(out).all()


def test_frames_and_their_rows() -> None:
    found = {frame: rows.tolist() for frame, rows in by_frame(torch.tensor([2, 0, 2, 1, 0]))}
    assert found == {0: [1, 4], 1: [3], 2: [0, 2]}


@torch.no_grad()
def test_a_small_budget_gives_the_same_answers() -> None:
    images, raw = clip(5)
    model = network().eval()
    features = model.refine(images, raw, GRID)
    frame, xy = torch.tensor([0, 2, 4, 2]), torch.tensor([[20.0, 30.0], [50.0, 20.0], [70.0, 60.0], [5.0, 66.0]])
    whole = track(model, features, frame, xy, anchor_cosine=0.2)
    small = track(model, features, frame, xy, anchor_cosine=0.2, budget=2 * head_bytes(GRID))
    assert 4 < whole.anchors.sum() < 20 and whole.anchors[torch.arange(4), frame].all()
    assert torch.equal(whole.anchors, small.anchors)
    for name in ("xy", "cosine", "miss"):
        assert torch.allclose(getattr(whole, name), getattr(small, name), atol=1e-3), name
    one = track(model, features, frame[2:3], xy[2:3], anchor_cosine=0.2)
    assert torch.allclose(one.miss[0], whole.miss[2], atol=1e-2)
    assert torch.equal(one.hidden()[0], whole.hidden()[2])


def test_the_median_is_the_lower_one_and_the_limit_that_of_anchors() -> None:
    places = torch.zeros(1, 5, 2)
    anchors = torch.tensor([[True, False, True, True, True]])
    again = torch.zeros(1, 4, 5, 2)
    again[0, :, 1, 0] = torch.tensor([9.0, 2.0, 4.0, 3.0])  # of a frame that is no anchor
    again[0, :, 3, 0] = torch.tensor([1.0, 1.0, 1.0, 0.0])
    miss = median_miss(again, places, anchors)
    assert miss.tolist() == [[0.0, 3.0, 0.0, 1.0, 0.0]]
    found = Found(places, torch.tensor([[1.0, 0.9, 0.8, 0.7, 0.5]]), anchors, miss)
    assert found.limit.tolist() == [1.0]
    assert found.hidden().tolist() == [[False, True, False, False, True]]


def test_no_gradient_goes_into_positions_and_all_parts_that_matter_get_one() -> None:
    images, raw = clip(3)
    model = network().train()
    torch.nn.init.normal_(model.delta_dino.layers[12].weight, std=0.02)
    features = model.refine(images, raw, GRID)
    begin = torch.tensor([[20.0, 30.0], [60.0, 40.0]], requires_grad=True)
    found = model.locate(features, features.at(torch.tensor([0, 1]), begin), torch.tensor([2, 2]))
    losses.flow_loss(found, torch.full((2, 2), 33.0), GRID.size).backward()
    assert begin.grad is None
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    assert without <= {f"delta_dino.layers.{n}.bias" for n in (0, 4, 8, 12)} | {"tracker_head.cnn_refiner.2.bias"}


def test_a_residual_learns_a_fixed_batch(moving_clip: tuple[np.ndarray, np.ndarray]) -> None:
    """Five times less loss within thirty steps, as the original's networks do."""
    pictures, shift = moving_clip
    frames = torch.from_numpy(pictures[[0, 3], :56, :70]).permute(0, 3, 1, 2) / 255
    generator = torch.Generator().manual_seed(1)
    raw = F.conv2d(frames - 0.5, torch.randn(32, 3, 14, 14, generator=generator) / 24, stride=7)
    grid, model = TokenGrid((56, 70)), network(32).train()
    begin = torch.rand(64, 2, generator=generator) * torch.tensor([46.0, 34.0]) + 10
    end = begin + torch.from_numpy(shift[3] - shift[0])
    source = torch.zeros(64, dtype=torch.long)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    curve = []
    for _ in range(31):
        features = model.refine(frames, raw, grid)
        loss = losses.flow_loss(model.locate(features, features.at(source, begin), source + 1), end, grid.size)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        curve.append(float(loss.detach()))
    assert min(curve[-5:]) < curve[0] / 5, curve


def test_the_authors_files_are_read_by_their_names(tmp_path: Path) -> None:
    state = network(20, seed=4).state_dict()
    for step in (2500, 10000):
        for part in ("delta_dino", "tracker_head"):
            own = {name.removeprefix(f"{part}."): tensor + step for name, tensor in state.items() if part in name}
            torch.save(own, tmp_path / f"{part}_{step}.pt")
    name = "delta_dino.layers.4.weight"
    assert torch.equal(network_from(read_published(tmp_path)).state_dict()[name], state[name] + 10000)
    assert torch.equal(read_published(tmp_path, 2500)[name], state[name] + 2500)
    with pytest.raises(WeightsError, match=r"no delta_dino_5000\.pt"):
        read_published(tmp_path, 5000)
    without_constants = {name: tensor for name, tensor in state.items() if not name.endswith("filt")}
    network_from(without_constants)
    with pytest.raises(WeightsError, match="lacks tracker_head"):
        network_from({name: tensor for name, tensor in state.items() if "tracker_head" not in name})
    with pytest.raises(WeightsError, match="not weights of dino-tracker"):
        network_from({"something": torch.zeros(1)})
