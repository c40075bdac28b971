"""Causal TAPIR as two graphs of plain tensors, for ONNX.

Both work on frames that have been resized already: R_0 and the only level of refinement are the frame's own size
(256x256 is what the weights were trained at; then the graphs compute what `CausalTapir` does). Positions are pixels
of that frame, corner origin. The state is a pair of tensors, all zeros for a point that has no past yet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tapkit.models.graphs import Graph
from tapkit.models.tapir.network import EXPAND, HIDDEN, HIRES, LOWRES, Maps, MixerPast, QueryFeatures, Tapir
from tapkit.nn.global_matching import sample_trilinear

_NOTES = "Frames RGB, 0..255, sides multiples of 8; positions in pixels of the frame, (0,0) its outer corner. "


class EncodeFrame(nn.Module):
    """A frame's maps, and the features of new points on it."""

    def __init__(self, network: Tapir) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """frame float [1,3,H,W] 0..255; points [M,2] -> hires, lowres maps [1,h,w,C]; features [M,128], [M,256]."""
        images = frame / 255 * 2 - 1
        maps = self.network.encode(images, (frame.shape[2], frame.shape[3]))
        features = []
        for level, stride in zip(maps, (4, 8), strict=True):
            positions = torch.cat([torch.zeros_like(points[:, :1]), points / stride], 1)
            features.append(sample_trilinear(level, positions))
        return maps.hires, maps.lowres, features[0], features[1]


class UpdatePoints(nn.Module):
    """Positions of N points on a frame, and their next state."""

    def __init__(self, network: Tapir) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, hires: Tensor, lowres: Tensor, query_hires: Tensor, query_lowres: Tensor, narrow: Tensor, wide: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Maps of the frame, features [N,C] of the points, state -> xy [N,2], visible [N], confidence [N], state.

        The state: narrow [N,steps,blocks,2,512] and wide [N,steps,blocks,2,4,512] hold, for each refinement step and
        mixer block, the inputs of the two temporal convolutions on the last two frames, older first.
        """
        size = (lowres.shape[1] * 8, lowres.shape[2] * 8)
        narrows: list[Tensor] = []
        wides: list[Tensor] = []

        def mix(step: int, tokens: Tensor) -> Tensor:
            past = [
                MixerPast(narrow[:, step, k, 0], narrow[:, step, k, 1], wide[:, step, k, 0], wide[:, step, k, 1])
                for k in range(self.network.config.blocks)
            ]
            update, after = self.network.torch_pips_mixer.step(tokens[0], past)
            narrows.append(torch.stack([torch.stack([p.narrow_older, p.narrow], 1) for p in after], 1))
            wides.append(torch.stack([torch.stack([p.wide_older, p.wide], 1) for p in after], 1))
            return update[None]

        network = self.network
        start = network.match(lowres, query_lowres, size)
        queries = QueryFeatures((query_hires,), (query_lowres,))
        *_, last = network.refine(start, [network.pyramid(Maps(hires, lowres))], [size], queries, mix, size)
        visible, confidence = (-last.occlusion[0]).sigmoid(), (-last.expected_dist[0]).sigmoid()
        return last.xy[0], visible, confidence, torch.stack(narrows, 1), torch.stack(wides, 1)


def tapir_graphs(network: Tapir) -> list[Graph]:
    """The two graphs of a causal TAPIR network, in float32 on the CPU."""
    plain = Tapir(network.config)
    plain.load_state_dict(network.state_dict())
    network = plain.eval().requires_grad_(False)
    points, height, width = 3, 64, 72
    steps, blocks = network.config.iterations, network.config.blocks
    narrow = torch.zeros(points, steps, blocks, 2, HIDDEN)
    wide = torch.zeros(points, steps, blocks, 2, EXPAND, HIDDEN)
    by_point = {0: "points"}
    maps = {
        "hires": torch.rand(1, height // 4, width // 4, HIRES),
        "lowres": torch.rand(1, height // 8, width // 8, LOWRES),
    }
    encode = Graph(
        "encode",
        EncodeFrame(network),
        {"frame": torch.rand(1, 3, height, width) * 255, "points": torch.rand(points, 2) * 60},
        ("hires", "lowres", "point_hires", "point_lowres"),
        {"frame": {2: "8*height", 3: "8*width"}, "points": by_point},
        _NOTES + "points are those queried on this frame; hand their features to update.",
    )
    update = Graph(
        "update",
        UpdatePoints(network),
        {
            **maps,
            "query_hires": torch.rand(points, HIRES),
            "query_lowres": torch.rand(points, LOWRES),
            "narrow": narrow,
            "wide": wide,
        },
        ("xy", "visible", "confidence", "narrow_after", "wide_after"),
        {
            "hires": {1: "2*height", 2: "2*width"},
            "lowres": {1: "height", 2: "width"},
            **dict.fromkeys(("query_hires", "query_lowres", "narrow", "wide"), by_point),
        },
        _NOTES + "Points are visible where visible * confidence > 0.5. Zeros for narrow and wide: no past yet.",
    )
    return [encode, update]
