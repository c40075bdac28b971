"""Flow fields read at corner-origin points, followed and chained."""

from __future__ import annotations

import pytest
import torch

from tapkit.flow.fields import at_points, chained, follow, pixel_centers, round_trip, round_trip_field


def test_a_field_is_met_at_pixel_centres_and_its_border_goes_on_outside() -> None:
    field = torch.arange(12.0).view(1, 1, 3, 4).repeat(1, 2, 1, 1)
    xy = torch.tensor([[[0.5, 0.5], [3.5, 2.5], [1.0, 0.5], [-7.0, 0.5], [2.5, 99.0]]])
    assert at_points(field, xy)[0, :, 0].tolist() == pytest.approx([0.0, 11.0, 0.5, 0.0, 10.0], abs=1e-6)


def test_following_there_and_back_of_a_rotation_returns() -> None:
    size = (60, 80)
    centers = pixel_centers(size)
    middle = torch.tensor([40.0, 30.0])

    def rotation(angle: float) -> torch.Tensor:
        turn = torch.tensor([[torch.cos(torch.tensor(angle)), -torch.sin(torch.tensor(angle))],
                             [torch.sin(torch.tensor(angle)), torch.cos(torch.tensor(angle))]])  # fmt: skip
        return ((centers - middle) @ turn.T + middle - centers).permute(2, 0, 1)[None]

    there, back = rotation(0.2), rotation(-0.2)
    xy = torch.tensor([[[40.0, 30.0], [50.2, 33.7], [31.0, 22.4]]])
    assert follow(there, xy)[0, 0].tolist() == [40.0, 30.0]
    assert round_trip(there, back, xy).max() < 1e-4
    assert round_trip(there, there, xy)[0, 1] > 3  # further round, not back
    twice = chained(there, there)
    inner = (slice(None), slice(None), slice(20, 40), slice(25, 55))
    assert (twice - rotation(0.4))[inner].abs().max() < 1e-4
    assert round_trip_field(there, back)[0, 20:40, 25:55].max() < 1e-4
