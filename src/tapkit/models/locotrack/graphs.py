"""LocoTrack as graphs for export: encode frames, start points, update points (once for each refinement step).

Positions are (x, y) in units of a 256x256 image, corner origin; logits are as `Estimate` says. Maps are channels last.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tapkit.models.graphs import Graph
from tapkit.models.locotrack.network import STEPS, Estimate, LocoTrackNetwork, Maps, PointFeatures
from tapkit.nn.global_matching import to_unit_range

MAPS = ("lowres", "hires", "highest")
POINTS = ("low", "high", "lowres_around", "hires_around", "highest_around")
STATE = ("xy", "occluded", "uncertain")


class _Encode(nn.Module):
    """Maps of uint8 frames [B,3,H,W]."""

    def __init__(self, network: LocoTrackNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.maps(to_unit_range(frames)))


class _Start(nn.Module):
    """Features of the points, and the estimate by global matching."""

    def __init__(self, network: LocoTrackNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, lowres: Tensor, hires: Tensor, highest: Tensor, queries: Tensor) -> tuple[Tensor, ...]:
        maps = Maps(lowres, hires, highest)
        points = self.network.point_features(maps, maps, queries)
        return (*points, *self.network.match(maps, points, queries))


class _Update(nn.Module):
    """One refinement step."""

    def __init__(self, network: LocoTrackNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        lowres: Tensor,
        hires: Tensor,
        highest: Tensor,
        low: Tensor,
        high: Tensor,
        lowres_around: Tensor,
        hires_around: Tensor,
        highest_around: Tensor,
        xy: Tensor,
        occluded: Tensor,
        uncertain: Tensor,
    ) -> tuple[Tensor, ...]:
        maps = Maps(lowres, hires, highest)
        points = PointFeatures(low, high, lowres_around, hires_around, highest_around)
        return tuple(self.network.step(maps, points, Estimate(xy, occluded, uncertain)))


def graphs(network: LocoTrackNetwork) -> list[Graph]:
    """The three graphs, float32, of a copy of the network; sizes, frames and points of any number."""
    plain = LocoTrackNetwork(network.config)
    plain.load_state_dict(network.state_dict())
    plain.float().eval().requires_grad_(False)
    frames = torch.zeros(3, 3, 64, 80, dtype=torch.uint8)
    queries = torch.tensor([[0.0, 20.0, 30.0], [1.0, 200.0, 90.0]])
    with torch.no_grad():
        maps = _Encode(plain)(frames)
        started = _Start(plain)(*maps, queries)
    seen = dict(zip(MAPS, maps, strict=True))
    carried = dict(zip((*POINTS, *STATE), started, strict=True))
    of_maps = {
        name: {
            0: "frames",
            1: f"{scale}*height" if scale > 1 else "height",
            2: f"{scale}*width" if scale > 1 else "width",
        }
        for name, scale in zip(MAPS, (1, 2, 4), strict=True)
    }
    of_state = {name: {0: "points", 1: "frames"} for name in STATE}
    return [
        Graph(
            name="encode",
            module=_Encode(plain),
            inputs={"frames": frames},
            outputs=MAPS,
            varying={"frames": {0: "frames", 2: "8*height", 3: "8*width"}},
            notes="frames: uint8 RGB at the working resolution (256x256 as published), each on its own.",
        ),
        Graph(
            name="start",
            module=_Start(plain),
            inputs={**seen, "queries": queries},
            outputs=(*POINTS, *STATE),
            varying={**of_maps, "queries": {0: "points"}},
            notes="queries: rows (t, x, y), x and y in pixels of the frame scaled to 256x256, corner origin.",
        ),
        Graph(
            name="update",
            module=_Update(plain),
            inputs={**seen, **carried},
            outputs=tuple(f"next_{name}" for name in STATE),
            varying={**of_maps, **{name: {0: "points"} for name in POINTS}, **of_state},
            notes=f"One refinement step: run it {STEPS} times on the state that start returned. "
            "P(visible) = sigmoid(-occluded), P(error < 6 px at 256x256) = sigmoid(-uncertain).",
        ),
    ]
