"""What the tests of the CoTrackers share: cheap models, and a clip with a bright spot whose place is known."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from tapkit.models.cotracker.network2 import CoTracker2Network
from tapkit.models.cotracker.network3 import CoTracker3Network

SMALL: dict[str, Any] = {"input_size": (64, 64), "iterations": 1}
"""Options that make a model answer in a fraction of a second."""


@cache
def weights(model: str) -> dict[str, Tensor]:
    """Random weights under the published names."""
    torch.manual_seed(0)
    network = CoTracker2Network(8) if model == "cotracker2" else CoTracker3Network(16)
    return {
        name: torch.randn_like(value) if name.endswith("virual_tracks") else value * (4 if "to_q" in name else 1)
        for name, value in network.state_dict().items()
    }


def noise(frames: int, height: int = 40, width: int = 56) -> Tensor:
    """uint8 [T,3,H,W], different in every frame."""
    generator = torch.Generator().manual_seed(frames)
    coarse = torch.rand(frames, 3, 8, 8, generator=generator)
    return (255 * torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")).to(torch.uint8)


def spots(places: list[tuple[float, float]], height: int = 60, width: int = 80, radius: float = 4.0) -> Tensor:
    """uint8 [T,3,H,W] with one Gaussian spot a frame, at (x, y) in corner-origin pixels."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    frames = [torch.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * radius**2)) for px, py in places]
    return (255 * torch.stack(frames)[:, None].expand(-1, 3, -1, -1)).round().to(torch.uint8)


def centroids(frames: Tensor) -> Tensor:
    """Where the spot is in each of float frames [T,3,h,w] -> [T,2] (x, y), pixel centres at integers."""
    mass = frames[:, 0] - 2
    mass = mass.clamp(min=0)
    y, x = torch.arange(frames.shape[-2]).float(), torch.arange(frames.shape[-1]).float()
    total = mass.sum((1, 2))
    return torch.stack([(mass.sum(1) @ x) / total, (mass.sum(2) @ y) / total], 1)
