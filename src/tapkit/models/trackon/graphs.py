"""Track-On2 as two graphs of plain tensors, for ONNX: a frame's maps, and the points on that frame.

The frame has the size of the network's input already. The state of a point is its query's feature, a memory (zeros
at first) and the number of frames it has written; nothing else goes from frame to frame.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from tapkit.coords import Size
from tapkit.models.graphs import Graph
from tapkit.models.trackon.network import FrameMaps, Points, TrackOnNetwork

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class EncodeFrame(nn.Module):
    """A frame's maps, and the features of points that begin on it."""

    positions: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, network: TrackOnNetwork, size: Size) -> None:
        super().__init__()
        self.network, self.size = network, size
        self.register_buffer("positions", network.backbone.positions(size))
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None] * 255)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None] * 255)

    def forward(self, frame: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """frame float [1,3,H,W] 0..255; points [n,2] -> fused, tokens, match (see `FrameMaps`); features [n,C]."""
        maps = self.network.encode((frame - self.mean) / self.deviation, self.positions)
        return *maps, self.network.begin(maps, points, self.size)


class UpdatePoints(nn.Module):
    """Positions of N points on a frame, and their memory after it."""

    codes: Tensor

    def __init__(self, network: TrackOnNetwork, size: Size, memory: int) -> None:
        super().__init__()
        self.network, self.size = network, size
        self.register_buffer("codes", network.memory_codes(memory))

    def forward(
        self, fused: Tensor, tokens: Tensor, match: Tensor, query: Tensor, memory: Tensor, age: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Maps of the frame; points' features [N,C], memory [N,M,C], age int64 [N] -> answers, state after."""
        maps, points = FrameMaps(fused, tokens, match), Points(query, memory, age)
        points, found = self.network.step(maps, points, self.size, self.codes)
        return found.xy, found.visible.sigmoid(), (-found.uncertain).sigmoid(), points.memory, points.age


def track_on_graphs(network: TrackOnNetwork, size: Size, memory: int) -> list[Graph]:
    """The two graphs for frames of `size` and a memory of `memory` frames, in float32 on the CPU."""
    plain = TrackOnNetwork(network.config)
    plain.load_state_dict(copy.deepcopy(network.state_dict()))
    plain = plain.float().eval().requires_grad_(False)
    notes = f"Frames RGB, 0..255, {size[1]}x{size[0]}; positions in pixels of the frame, (0,0) its outer corner. "
    count, width = 3, network.config.width
    frame, asked = torch.rand(1, 3, *size) * 255, torch.rand(count, 2) * min(size)
    patches = size[0] * size[1] // 16
    cells = patches + patches // 4 + patches // 16 + patches // 64
    encode = Graph(
        "encode",
        EncodeFrame(plain, size),
        {"frame": frame, "points": asked},
        ("fused", "tokens", "match", "features"),
        {"points": {0: "points"}},
        notes + "points are those that begin on this frame; hand their features to update as query, on every frame.",
    )
    update = Graph(
        "update",
        UpdatePoints(plain, size, memory),
        {
            "fused": torch.rand(patches, width),
            "tokens": torch.rand(cells, width),
            "match": torch.rand(patches, width),
            "query": torch.rand(count, width),
            "memory": torch.zeros(count, memory, width),
            "age": torch.zeros(count, dtype=torch.long),
        },
        ("xy", "visible", "confidence", "memory_after", "age_after"),
        {name: {0: "points"} for name in ("query", "memory", "age")},
        notes + "Points are visible where visible >= 0.8. A point begins with memory and age zero.",
    )
    return [encode, update]
