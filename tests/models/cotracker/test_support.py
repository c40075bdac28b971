"""Support points: where they are, and what may be asked for."""

from __future__ import annotations

import pytest
import torch

from tapkit.errors import UsageError
from tapkit.models.cotracker.support import Support, grid_points


def test_the_margin_of_a_grid_comes_from_its_width_on_both_axes() -> None:
    grid = grid_points(6, (384, 512))
    assert grid.shape == (36, 2)
    assert grid.min(0).values.tolist() == [8, 8]
    assert grid.max(0).values.tolist() == [504, 376]
    assert grid[1, 1] == grid[0, 1]  # row by row


def test_a_grid_of_one_is_the_middle() -> None:
    assert grid_points(1, (384, 512)).tolist() == [[256, 192]]


def test_local_grids_lie_around_their_queries() -> None:
    grids = Support.parse("local:8").around(torch.tensor([[200.0, 100.0], [3.0, 4.0]]))
    assert grids.shape == (2, 64, 2)
    torch.testing.assert_close(grids.mean(1), torch.tensor([[200.0, 100.0], [3.0, 4.0]]))
    torch.testing.assert_close(grids[0, 0], torch.tensor([200 - 25 + 50 / 64, 100 - 25 + 50 / 64]))


def test_kinds_of_support_are_joined_by_plus() -> None:
    assert Support.parse("local:8+global:5") == Support(local=8, whole=5)
    assert Support.parse("none") == Support()


@pytest.mark.parametrize("text", ["", "global", "global:0", "grid:5", "local:8,global:5", "global:5+global:6"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="local:8\\+global:5"):
        Support.parse(text)


def test_uniform_points_lie_in_the_clip_and_are_the_same_every_time() -> None:
    points = Support.parse("uniform:200").anytime(7, (64, 96))
    assert points[:, 0].unique().tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert (points[:, 1] <= 95).all() and (points[:, 2] <= 63).all() and (points >= 0).all()
    torch.testing.assert_close(points, Support.parse("uniform:200").anytime(7, (64, 96)))
