"""The losses of TAPTR and TAPTRv2, entry by entry."""

from __future__ import annotations

import math

import torch

from tapkit.train.taptr.losses import class_loss, position_loss, total_loss


def test_positions_count_where_they_are_tracked_and_in_the_frame() -> None:
    xy = torch.tensor([[[0.5, 0.5], [0.2, 0.2]], [[0.1, 0.9], [0.3, 0.3]]])
    truth = torch.tensor([[[0.4, 0.7], [0.2, 1.2]], [[0.1, 0.8], [0.0, 0.0]]])
    counted = torch.tensor([[True, True], [True, False]])
    assert math.isclose(position_loss(xy, truth, counted).item(), (0.1 + 0.2 + 0.1) / 2, rel_tol=1e-5)
    assert math.isclose(position_loss(xy, truth, counted, spare=1).item(), 0.4 / 3, rel_tol=1e-5)
    assert position_loss(xy, truth, counted & False, spare=1) == 0


def test_classes_have_a_focal_loss() -> None:
    logits, labels = torch.tensor([[[0.3, -1.0, 2.0]]]), torch.tensor([[1]])
    expected = 0.0
    for k, logit in enumerate(logits.flatten().tolist()):
        p = 1 / (1 + math.exp(-logit))
        expected += -0.25 * (1 - p) ** 2 * math.log(p) if k == 1 else -0.75 * p**2 * math.log(1 - p)
    counted = torch.ones(1, 1, dtype=torch.bool)
    assert math.isclose(class_loss(logits, labels, counted).item(), expected, rel_tol=1e-5)


def test_the_total_weighs_positions_of_all_layers_and_has_gradients() -> None:
    torch.manual_seed(0)
    xy = torch.rand(2, 3, 4, 2).requires_grad_()
    moved = torch.rand(2, 3, 4, 2).requires_grad_()
    logits = torch.randn(3, 4, 3).requires_grad_()
    counted = torch.ones(3, 4, dtype=torch.bool)
    total, terms = total_loss(xy, logits, torch.rand(3, 4, 2), torch.ones(3, 4, dtype=torch.long), counted, moved)
    assert sorted(terms) == ["class", "moved_0", "moved_1", "xy_0", "xy_1"]
    expected = 5 * sum(term for name, term in terms.items() if name != "class") + terms["class"]
    torch.testing.assert_close(total, expected)
    total.backward()
    assert all(bool((part.grad != 0).any()) for part in (xy, moved, logits))
