"""The walk there and back, the crops it goes between, and the smoothness of motion."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tapkit.errors import StorageError, UsageError
from tapkit.train.config import Stage, TrainConfig
from tapkit.train.gmrw import losses
from tapkit.train.gmrw.crops import Box, cut, random_box, warped_cells
from tapkit.train.gmrw.losses import return_probability, smoothness_loss, walk_loss
from tapkit.train.gmrw.settings import GmrwSettings, read_settings
from tapkit.train.schedule import batch_seed, step_of


def features(seed: int = 0) -> list[Tensor]:
    """Four maps [4,5,16] of which gradients are wanted."""
    generator = torch.Generator().manual_seed(seed)
    return [(3 * torch.randn(4, 5, 16, generator=generator)).requires_grad_() for _ in range(4)]


def transition(first: Tensor, second: Tensor, window: float | None) -> Tensor:
    """The whole matrix [hw,hw], by the definition."""
    matrix = (first.flatten(0, 1) @ second.flatten(0, 1).T / 4).softmax(1)
    if window is None:
        return matrix
    y, x = torch.arange(20) // 5, torch.arange(20) % 5
    best = matrix.argmax(1)
    near = (y - y[best][:, None]) ** 2 + (x - x[best][:, None]) ** 2 < window**2
    return matrix * near / (matrix * near).sum(1, keepdim=True)


@pytest.mark.parametrize("window", [None, 2.5])
@pytest.mark.parametrize("entries", [1 << 24, 60])
def test_one_entry_of_each_row_of_the_product_of_both_matrices(monkeypatch, window, entries) -> None:
    monkeypatch.setattr(losses, "_ENTRIES", entries)
    maps = features()
    ends = torch.randint(0, 20, (20,), generator=torch.Generator().manual_seed(1))
    walk = transition(maps[0], maps[1], window) @ transition(maps[2], maps[3], window)
    expected = -(walk[torch.arange(20), ends] + 1e-7).log().mean()
    wanted = torch.autograd.grad(expected, maps)
    found = walk_loss(
        return_probability((maps[0], maps[1]), (maps[2], maps[3]), ends, window), torch.ones(20, dtype=torch.bool)
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    for ours, theirs in zip(torch.autograd.grad(found, maps), wanted, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_cells_that_do_not_count_do_not_count() -> None:
    log_probability = torch.tensor([0.5, 0.1, 0.9]).log().requires_grad_()
    some = walk_loss(log_probability, torch.tensor([True, False, True]))
    assert some.item() == pytest.approx(-(math.log(0.5) + math.log(0.9)) / 2, abs=1e-5)
    nothing = walk_loss(log_probability, torch.zeros(3, dtype=torch.bool))
    assert nothing.item() == 0 and nothing.requires_grad


def test_labels_are_the_cells_that_show_the_same_place() -> None:
    settings = GmrwSettings(crop=64)
    generator = torch.Generator().manual_seed(5)
    ramp = (torch.arange(200.0) + 0.5) / 200
    picture = torch.stack([ramp.expand(200, -1), ramp[:, None].expand(-1, 200), torch.zeros(200, 200)])[None]
    checked = 0
    for _ in range(20):
        start, end = random_box(settings, generator), random_box(settings, generator)
        shown = [cut(picture, box, 64)[0, :2].unfold(1, 4, 4).unfold(2, 4, 4).mean((3, 4)) for box in (start, end)]
        ends, counted = warped_cells(start, end, 16)
        at_start, at_end = shown[0].flatten(1)[:, counted], shown[1].flatten(1)[:, ends[counted]]
        half_a_cell = torch.tensor([[end.width], [end.height]]) / 32
        assert ((at_start - at_end).abs() <= half_a_cell + 0.006).all()
        checked += int(counted.sum())
    assert checked > 1000


def test_places_outside_the_other_crop_do_not_count() -> None:
    ends, counted = warped_cells(Box(0.0, 0.0, 1.0, 1.0), Box(0.5, 0.25, 0.5, 0.5), 4)
    assert counted.view(4, 4).int().tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
    assert ends.view(4, 4)[1, 2:].tolist() == [4 + 1, 4 + 3]
    same, all_ = warped_cells(Box(0.1, 0.2, 0.5, 0.6), Box(0.1, 0.2, 0.5, 0.6), 5)
    assert same.tolist() == list(range(25)) and all_.all()


def test_boxes_keep_their_area_and_aspect_and_lie_in_the_frame() -> None:
    settings, generator = GmrwSettings(area=(0.3, 0.5), aspect=(0.7, 1.3)), torch.Generator().manual_seed(0)
    boxes = [random_box(settings, generator) for _ in range(200)]
    assert all(0.3 - 1e-6 <= box.width * box.height <= 0.5 + 1e-6 for box in boxes)
    assert all(0.7 - 1e-6 <= box.width / box.height <= 1.3 + 1e-6 for box in boxes)
    assert all(min(box.left, box.top) >= 0 and box.left + box.width <= 1 and box.top + box.height <= 1 for box in boxes)
    assert len({round(box.left, 6) for box in boxes}) == 200


def test_even_motion_is_smooth_and_edges_excuse_what_is_not() -> None:
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    plain = torch.full((3, 12, 12), 0.5)
    affine = torch.stack([2 * x - y + 1, 0.5 * y])
    assert smoothness_loss(affine, plain) == pytest.approx(0.001, rel=0.01)  # the robust norm of zero
    broken = torch.stack([torch.where(x < 6, 0.0, 5.0), torch.zeros_like(x)])
    edge = plain + torch.where(x < 6, 0.0, 0.2)
    assert smoothness_loss(broken, plain) > 100 * smoothness_loss(broken, edge)


def test_the_smoothness_grows_between_two_steps() -> None:
    settings = GmrwSettings()
    assert [settings.smoothness_at(step) for step in (0, 5000, 10_000, 15_000, 99_000)] == [0, 0, 100, 200, 200]
    assert GmrwSettings(smoothness_from=0, smoothness_full=0).smoothness_at(0) == 200


@pytest.mark.parametrize("workers", [1, 4])
def test_the_step_is_known_from_the_seed_of_a_batch(workers: int) -> None:
    config = TrainConfig((Stage(5, 64, 2, 1, 1),), seed=7)
    for step, rank in ((0, 0), (3, workers - 1), (72_999, 0)):
        assert step_of(config, batch_seed(config, step, rank, workers), workers) == step


def test_settings_come_back_from_json_and_nonsense_is_refused() -> None:
    assert read_settings({"area": [0.4, 0.9], "crop": 64}) == GmrwSettings(crop=64, area=(0.4, 0.9))
    with pytest.raises(StorageError, match="colour"):
        read_settings({"colour": 1})
    for wrong in (
        {"crop": 60},
        {"area": (0.0, 1.0)},
        {"area": (0.5, 2.0)},
        {"smoothness": -1},
        {"window_threshold": 0},
    ):
        with pytest.raises(UsageError):
            GmrwSettings(**wrong)
