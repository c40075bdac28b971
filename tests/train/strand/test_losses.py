"""Losses: zero and smooth where there is nothing to learn from, smallest where the answer is right."""

from __future__ import annotations

import pytest
import torch

from tapkit.models.strand.network import Step
from tapkit.train.strand.losses import PARTS, Truth, cell_entropy, frame_losses, huber, mean_where, weighted
from tapkit.train.strand.settings import StrandSettings

SETTINGS = StrandSettings()
SIZE = (64, 64)


def step(xy: torch.Tensor, sure: float = 0.0, cells: int = 256) -> Step:
    """A network's answer at xy [M,2], with gradients; both candidates began and ended there."""
    xy = xy.clone().requires_grad_()
    count = len(xy)
    logits = torch.full((count,), sure, requires_grad=True)
    both = torch.stack([xy, xy], 1)
    zeros = torch.zeros(count, cells, requires_grad=True), torch.zeros(count, 49, requires_grad=True)
    rest = xy.detach(), torch.ones(count), torch.ones(count), torch.zeros(count, 0)
    return Step(xy, logits, logits * 1, both.detach(), both, both.sum(-1) * 0, *zeros, *rest)


def truth(xy: torch.Tensor, visible: bool, active: bool = True) -> Truth:
    row = torch.ones(len(xy), dtype=torch.bool)
    return Truth(xy, row & visible, row, row & active)


def gradients(found: Step, parts: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    weighted(parts, SETTINGS).backward()
    return [x.grad for x in (found.xy, found.visible, found.cost, found.around) if x.grad is not None]


def test_a_frame_where_all_is_hidden_and_unknown_gives_finite_losses_and_gradients():
    found = step(torch.rand(5, 2) * 64)
    parts = frame_losses(found, truth(torch.full((5, 2), float("nan")), visible=False), SIZE, SETTINGS)
    assert set(parts) == set(PARTS)
    assert all(torch.isfinite(value) for value in parts.values())
    assert all(parts[name] == 0 for name in set(PARTS) - {"visibility"})
    assert parts["visibility"] > 0, "that they are hidden is still to be learned"
    assert all(torch.isfinite(g).all() for g in gradients(found, parts))


def test_points_that_are_not_queried_yet_have_no_loss():
    found = step(torch.rand(5, 2) * 64)
    parts = frame_losses(found, truth(torch.rand(5, 2) * 64, visible=True, active=False), SIZE, SETTINGS)
    assert all(value == 0 for value in parts.values())
    assert all((g == 0).all() for g in gradients(found, parts))


def test_a_right_answer_costs_less_than_a_wrong_one_and_pulls_towards_the_truth():
    target = torch.tensor([[20.0, 30.0]])
    right = frame_losses(step(target), truth(target, True), SIZE, SETTINGS)
    found = step(target + torch.tensor([[3.0, 0.0]]))
    wrong = frame_losses(found, truth(target, True), SIZE, SETTINGS)
    assert right["position"] < 0.01 < wrong["position"]
    gradients(found, wrong)
    assert found.xy.grad[0, 0] > 0 and abs(found.xy.grad[0, 1]) < 1e-3


def test_errors_are_measured_in_pixels_of_a_256_frame_whatever_the_clip():
    target, place = torch.tensor([[20.0, 30.0]]), torch.tensor([[21.0, 30.0]])
    small = frame_losses(step(place), truth(target, True), (64, 64), SETTINGS)
    large = frame_losses(step(4 * place, cells=64 * 64), truth(4 * target, True), (256, 256), SETTINGS)
    torch.testing.assert_close(small["position"], large["position"])


def test_an_occluded_point_counts_little_and_out_of_reach_not_at_all():
    target = torch.tensor([[20.0, 30.0]] * 2)
    near = step(target + torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
    one_hidden = Truth(target, torch.tensor([False, True]), torch.ones(2, dtype=bool), torch.ones(2, dtype=bool))
    mixed = frame_losses(near, one_hidden, SIZE, SETTINGS)["position"]
    seen = frame_losses(near, truth(target, True), SIZE, SETTINGS)["position"]
    assert 0 < mixed < 0.3 * seen
    far = step(target + 40.0)
    assert frame_losses(far, truth(target, True), SIZE, SETTINGS)["position"] == 0


@pytest.mark.parametrize(("error", "sure", "better"), [(1.0, 4.0, True), (10.0, 4.0, False)])
def test_confidence_learns_whether_the_answer_is_within_the_radius(error, sure, better):
    target = torch.tensor([[20.0, 30.0]])
    place = target + torch.tensor([[error, 0.0]])  # in pixels of a 64 frame: times 4
    doubtful = frame_losses(step(place, 0.0), truth(target, True), SIZE, SETTINGS)["confidence"]
    certain = frame_losses(step(place, sure), truth(target, True), SIZE, SETTINGS)["confidence"]
    assert (certain < doubtful) == better


@pytest.mark.parametrize("x_slow", [False, True])
def test_cross_entropy_is_smallest_at_the_cells_around_the_target(x_slow):
    target = torch.tensor([[2.25, 1.0]])
    shares = torch.full((4, 5), 1e-6)  # (y, x)
    shares[1, 2], shares[1, 3] = 0.75, 0.25
    logits = (shares.T if x_slow else shares).log().reshape(1, -1)
    exact, inside = cell_entropy(logits, target, (4, 5), x_slow)
    other, _ = cell_entropy(logits, target + torch.tensor([[0.0, 1.0]]), (4, 5), x_slow)
    assert inside.all()
    assert exact == pytest.approx(-(0.75 * torch.tensor(0.75).log() + 0.25 * torch.tensor(0.25).log()).item(), abs=1e-3)
    assert other > exact + 5
    assert not cell_entropy(logits, torch.tensor([[4.5, 1.0]]), (4, 5), x_slow)[1].any()


def test_huber_has_a_gradient_at_zero_and_is_linear_far_away():
    error = torch.tensor([[0.0, 0.0], [30.0, 40.0]], requires_grad=True)
    value = huber(error, 1.0)
    value.sum().backward()
    assert torch.isfinite(error.grad).all()
    assert value[1].item() == pytest.approx(49.5, abs=1e-3)
    assert error.grad[1].norm().item() == pytest.approx(1.0, abs=1e-4)


def test_a_mean_ignores_what_has_no_weight_even_if_it_is_not_a_number():
    values = torch.tensor([1.0, float("nan"), 3.0])
    assert mean_where(values, torch.tensor([1.0, 0.0, 1.0])) == 2.0
    assert mean_where(values, torch.zeros(3)) == 0.0
