"""Pieces that all TAPTRs are made of: position codes, boxes, perceptrons, attention, feed-forward blocks.

Everything normalised (points, boxes) is a pixel index over (side - 1). Streams of features are float32; a layer in
half precision is handed its input in that, and what it returns is added in float32.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from tapkit.nn.attention import attend
from tapkit.nn.packed import Activation, Linear

WIDTH, HEADS, HIDDEN, LEVELS, POINTS = 256, 8, 2048, 4, 4
CODES = WIDTH // 2
"""Entries of the code of one number."""
TEMPERATURE = 10.0
EPSILON = 1e-3
"""Boxes are kept this far from the border of the frame."""


def inverse_sigmoid(x: Tensor) -> Tensor:
    """Logits of x, which is clamped to [1e-3, 1 - 1e-3].

    >>> inverse_sigmoid(torch.tensor([0.5, 0.0])).tolist()
    [0.0, -6.907755374908447]
    """
    x = x.clamp(0, 1)
    return x.clamp(min=EPSILON).log() - (1 - x).clamp(min=EPSILON).log()


def sine(values: Tensor) -> Tensor:
    """Codes of numbers [...,C] -> [...,128 C], each with sines and cosines of 2 pi times it in turn.

    Frequencies 10^(-2 floor(k / 2) / 128); the temperature of 10 is unusual.
    """
    k = torch.arange(0, CODES, 2, dtype=torch.float32, device=values.device)
    angle = (values * (2 * math.pi))[..., None] / TEMPERATURE ** (k / CODES)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-3)


def box_code(box: Tensor) -> Tensor:
    """Codes of boxes (x, y, w, h) [...,4] -> [...,512], in the order y, x, w, h."""
    return sine(torch.cat([box[..., :2].flip(-1), box[..., 2:]], -1))


def run(layer: Linear, x: Tensor, activation: Activation = "none") -> Tensor:
    """The layer's output, its input in the precision that the layer has."""
    out: Tensor = layer(x.to(layer.weight.dtype), activation)
    return out


def as_linear(module: nn.Module) -> Linear:
    """The module, known to be a linear layer."""
    assert isinstance(module, Linear)
    return module


class Mlp(nn.ModuleDict):
    """Linear layers with ReLU between them, under the names they have in the checkpoints ("0", "2" or "0", "1")."""

    def __init__(self, names: str, *widths: int) -> None:
        sides = pairwise(widths)
        super().__init__({name: Linear(a, b) for name, (a, b) in zip(names, sides, strict=True)})

    def forward(self, x: Tensor, last: Activation = "none") -> Tensor:
        """x [...,in] -> float32 [...,out]; `last` comes after the last layer."""
        layers = [as_linear(layer) for layer in self.values()]
        for layer in layers[:-1]:
            x = run(layer, x, "relu")
        return run(layers[-1], x, last).float()


class Head(nn.Module):
    """A perceptron whose layers the checkpoints call "layers.0", "layers.1", ..."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = Mlp("012"[: len(widths) - 1], *widths)

    def forward(self, x: Tensor) -> Tensor:
        """x [...,in] -> float32 [...,out]."""
        out: Tensor = self.layers(x)
        return out


class SelfAttention(nn.Module):
    """Attention within groups of queries; positions go into queries and keys, not into values.

    In checkpoints the three projections are one, `in_proj_*`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.query_key = Linear(WIDTH, 2 * WIDTH)
        self.value = Linear(WIDTH, WIDTH)
        self.out_proj = Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, position: Tensor, allowed: Tensor | None) -> Tensor:
        """x, position [B,L,C]; `allowed` bool [B,1,L,L]: who may look at whom -> [B,L,C]."""
        query, key = run(self.query_key, x + position).chunk(2, -1)
        read = attend(query, key, run(self.value, x), HEADS, allowed)
        return run(self.out_proj, read)


def together(tracked: Tensor) -> Tensor | None:
    """Who may look at whom [B,1,L,L], given who is tracked, bool [B,L]: tracked and untracked keep apart.

    None where it is known that there is nothing to keep apart.
    """
    if tracked.device.type == "cpu" and bool((tracked == tracked[:, :1]).all()):  # elsewhere the host would wait
        return None
    return (tracked[:, None, :, None] == tracked[:, None, None, :]).contiguous()


class Layer(nn.Module):
    """What the decoder layers of all versions have: attention among points, feed-forward, norms."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = SelfAttention()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(WIDTH) for _ in range(3))
        self.linear1, self.linear2 = Linear(WIDTH, HIDDEN), Linear(HIDDEN, WIDTH)

    def among_points(self, x: Tensor, position: Tensor, allowed: Tensor | None) -> Tensor:
        """Attention of the points of each frame; x, position [F,N,C]."""
        out: Tensor = self.norm2(x + self.self_attn(x, position, allowed))
        return out

    def feed_forward(self, x: Tensor) -> Tensor:
        """x [...,C], a part of the rows at a time: the hidden layer is eight times as wide."""
        rows = x.flatten(0, -2)
        done = [
            self.norm3(some + run(self.linear2, run(self.linear1, some, "relu"))) for some in torch.split(rows, 1024)
        ]
        return torch.cat(done).view_as(x) if done else x
