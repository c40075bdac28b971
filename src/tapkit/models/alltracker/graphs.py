"""AllTracker as graphs for export: a frame's map, one update of a window, one frame at full resolution.

Sizes and the number of frames of a window are fixed. Maps are channels last, motion is (x, y).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.coords import Size
from tapkit.models.alltracker.correlation import Correlation
from tapkit.models.alltracker.network import HIDDEN, AllTracker, Estimate, Window, time_codes
from tapkit.models.graphs import Graph

Padding = tuple[int, int, int, int]


class _Encode(nn.Module):
    """The map of a frame uint8 [1,3,H,W]."""

    def __init__(self, network: AllTracker, padding: Padding) -> None:
        super().__init__()
        self.network, self.padding = network, padding

    def forward(self, frame: Tensor) -> Tensor:
        return self.network.encode(F.pad(frame.float(), self.padding, mode="replicate"))


class _Update(nn.Module):
    """One iteration of a window."""

    def __init__(self, network: AllTracker, window: int) -> None:
        super().__init__()
        self.network = network
        self.times = nn.Buffer(time_codes(window))

    def forward(
        self, anchor: Tensor, frames: Tensor, hidden: Tensor, flow: Tensor, score: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        _, context = self.network.state_and_context(anchor)
        fixed = self.network.update_block.compressor.fixed(context, self.times)
        estimate = Estimate(flow, score)
        hidden, estimate = self.network.iterate(Correlation(anchor, frames), hidden, estimate, fixed)
        return hidden, estimate.flow, estimate.score


class _Enlarge(nn.Module):
    """One frame at the resolution of the frames, without what they were padded by."""

    def __init__(self, network: AllTracker, size: Size, padding: Padding) -> None:
        super().__init__()
        self.network, self.size, self.padding = network, size, padding

    def forward(self, hidden: Tensor, flow: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
        field = self.network.field(Window(Estimate(flow, score), hidden), 0)
        left, top = self.padding[0], self.padding[2]
        rows, columns = slice(top, top + self.size[0]), slice(left, left + self.size[1])
        return field.flow[:, rows, columns], field.probability[:, rows, columns]


def graphs(network: AllTracker, size: Size, padding: Padding, window: int) -> list[Graph]:
    """The three graphs, float32, of a copy of the network, for frames of `size` and windows of so many frames."""
    plain = AllTracker(network.config)
    plain.load_state_dict(network.state_dict())
    plain.float().eval().requires_grad_(False)
    frame = torch.zeros(1, 3, *size, dtype=torch.uint8)
    with torch.no_grad():
        anchor = _Encode(plain, padding)(frame)[0]
    height, width = anchor.shape[:2]
    state = {
        "hidden": torch.zeros(window, height, width, HIDDEN),
        "flow": torch.zeros(window, height, width, 2),
        "score": torch.zeros(window, height, width, 2),
    }
    return [
        Graph(
            name="encode",
            module=_Encode(plain, padding),
            inputs={"frame": frame},
            outputs=("map",),
            varying={},
            notes=f"frame: uint8 RGB, {size[1]}x{size[0]}.",
        ),
        Graph(
            name="update",
            module=_Update(plain, window),
            inputs={"anchor": anchor, "frames": anchor.expand(window, -1, -1, -1).contiguous(), **state},
            outputs=tuple(f"next_{name}" for name in state),
            varying={},
            notes="One iteration; 4 make a window. anchor: map of the query's frame; frames: those of the window's. "
            f"hidden begins in every window as the first {HIDDEN} channels of the anchor, for each frame; flow (cells "
            "of 8 pixels) and score begin as zeros, or as the window before left them.",
        ),
        Graph(
            name="enlarge",
            module=_Enlarge(plain, size, padding),
            inputs={name: values[:1] for name, values in state.items()},
            outputs=("motion", "probability"),
            varying={},
            notes="Of one frame, after the last iteration: motion [2,H,W] of every pixel of the query's frame to this "
            "one, in pixels; probability [2,H,W] of visibility and of an error below 12 pixels.",
        ),
    ]
