"""A tiny Track-On2 with random weights, for the tests beside this."""

from __future__ import annotations

import torch
from torch import Tensor

from tapkit.models.trackon.network import TrackOnConfig, TrackOnNetwork
from tapkit.models.trackon.tracker import TrackOn, build_track_on2
from tapkit.nn.vit import VitConfig

SIZE = (64, 96)
CONFIG = TrackOnConfig(
    width=128,
    hidden=64,
    layers=2,
    size=SIZE,
    vit=VitConfig(width=128, depth=4, heads=2, hidden=64),
    interactions=2,
)
NONE = torch.zeros(0, 2)
POINTS = torch.tensor([[10.0, 20.0], [33.3, 8.1], [90.5, 60.0], [50.0, 31.0]])


def weights(seed: int = 0) -> dict[str, Tensor]:
    """Random weights large enough to matter everywhere."""
    generator = torch.Generator().manual_seed(seed)
    state = TrackOnNetwork(CONFIG).state_dict()
    for name, value in state.items():
        if name.endswith("running_var"):
            state[name] = 1 + 0.2 * torch.rand(value.shape, generator=generator)
        elif value.is_floating_point():
            scale = 1.0 if value.ndim < 2 or "embed" in name else value[0].numel() ** -0.5
            state[name] = scale * torch.randn(value.shape, generator=generator)
            if value.ndim == 1 and "norm" not in name:
                state[name] *= 0.1
    return state


WEIGHTS = weights()


def made(**options: object) -> TrackOn:
    return build_track_on2(WEIGHTS, config=CONFIG, **{"resolution": SIZE, "support": 0, "memory_frames": 3} | options)
