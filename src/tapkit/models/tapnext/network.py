"""TAPNext, BootsTAPNext and TAPNext++: point tracking as masked token decoding, one frame at a time.

Papers: Zholus et al., "TAPNext: Tracking Any Point (TAP) as Next Token Prediction" (ICCV 2025, arXiv:2504.05579);
"TAPNext++" (CVPR 2026 Findings, arXiv:2604.10582). Backbone: TRecViT (arXiv:2412.14294), whose temporal mixing is the
RG-LRU of Griffin (arXiv:2402.19427). All released models share this network; only the weights differ.

A frame becomes 8x8-pixel patch tokens plus one token for each point. Every block lets each token remember along time (a
gated linear recurrence, for each token slot on its own) and then lets all tokens of the frame attend to each other. A
point's token says where it is on its query frame, and is a learned "mask" token afterwards; two heads read position
(256 bins for each axis) and visibility from it. Points therefore influence each other.

Points that join later. The released network fixes its slots at the start: a point whose query frame lies ahead sits in
the clip as an "unknown" token until then. All such tokens of a frame are equal, so one *spare* slot stands for all of
them: it remembers as they would, and a point that joins takes a copy of its memory. The other tokens see the spare
slot as often as there are points known to come (`expect`); so the result is that of the released network given all
queries at the start; where none are (a live session), they do not see it at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.models.base import Size
from tapkit.nn.attention import attend_heads
from tapkit.nn.packed import Linear
from tapkit.nn.precision import widest
from tapkit.nn.token_norm import rms_norm

PATCH = 8
"""Side of a patch, pixels."""
BINS = 256
"""Bins of a coordinate, whatever the input size; bin i is centred at i + 0.5."""
TEMPERATURE = 2.0
"""Of the softmax that a position is read from."""
WINDOW = 20
"""Bins on either side of the best one that take part in a position."""
CERTAIN_RADIUS = 8
"""`confidence` is P(error < this), in bins."""

CPU_SLOTS = 64
"""Slots whose memory a CPU updates at a time: all between the linear layers then stays in the cache."""
CPU_ROWS = 384
"""Slots that a CPU puts through the gated MLP at a time, at most, for the same reason."""

Numerics = Literal["torch", "jax"]
Copies = int | Tensor | None


@dataclass(frozen=True)
class TapNextConfig:
    """Sizes of a network; the defaults are the published "B" size."""

    width: int = 768
    heads: int = 12
    """Of the attention and of the block-diagonal gates."""
    depth: int = 12
    image_size: int = 256
    """Queries are given in pixels of an image of this side, and the position embedding is stored for it."""
    hidden: int = 3072
    """Width of both channel MLPs."""
    numerics: Numerics = "torch"
    """The released PyTorch and JAX codes differ in the GELU of heads and MLPs (erf, tanh), the epsilon of layer norms,
    and position codes at the border (faded, clamped). Parity vectors and TAPNext++'s training are those of "torch"."""


class BlockMemory(NamedTuple):
    """What one block remembers of all slots."""

    hidden: Tensor
    """RG-LRU state, float32 [S,C] (also when features are half precision)."""
    inputs: tuple[Tensor, Tensor, Tensor]
    """The convolution's last three inputs, oldest first, each [S,C]."""

    def map(self, change: Callable[[Tensor], Tensor]) -> BlockMemory:
        """The same change to all slots' tensors."""
        oldest, older, old = self.inputs
        return BlockMemory(change(self.hidden), (change(oldest), change(older), change(old)))


class TapNextState(NamedTuple):
    """State of a stream. Slots are in the order patches, points, spare."""

    memory: tuple[BlockMemory, ...]
    """One for each block."""
    step: Tensor
    """Frames consumed, int64 [] on the CPU."""
    waiting: Tensor
    """Points known to join later, int64 [] on the CPU."""


class RMSNorm(nn.Module):
    """x / rms(x) * (1 + scale); x [...,C]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, 1.0 + self.scale, 1e-6)


class RecurrentBlock(nn.Module):
    """Gated temporal mixing of each slot with its own past (Griffin section 2)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.linear_y, self.linear_x, self.linear_out = (Linear(width, width) for _ in range(3))
        self.conv_weight = nn.Parameter(torch.randn(4, width) * 0.5)
        """Taps of the causal depth-wise convolution; the last one acts on the present frame."""
        self.conv_bias = nn.Parameter(torch.zeros(width))
        self.gate_weight = nn.Parameter(torch.randn(heads, width // heads, 2 * width // heads) * (heads / width) ** 0.5)
        """Block-diagonal: for each head the input gate's columns, then those of the recurrence gate."""
        self.gate_bias = nn.Parameter(torch.zeros(heads, 2 * width // heads))
        self.decay = nn.Parameter(torch.rand(width))
        """softplus of it, times -8, is the log of the smallest factor by which the state fades in a frame."""

    def forward(self, u: Tensor, memory: BlockMemory, first: bool, x: Tensor) -> tuple[Tensor, BlockMemory]:
        """u [S,C], which is x normalised -> x and its update [S,C], new memory. `first`: no frame came before."""
        u = u.to(self.linear_x.weight.dtype)
        oldest, older, old = memory.inputs
        inputs = (oldest, older, old, self.linear_x(u))
        step = CPU_SLOTS if _on_cpu(u) else max(len(u), 1)
        fade = -8.0 * F.softplus(self.decay)
        parts = []
        for start in range(0, len(u), step):
            rows = slice(start, start + step)
            parts.append(self._remember(tuple(tap[rows] for tap in inputs), memory.hidden[rows], fade, first))
        hidden = parts[0] if len(parts) == 1 else torch.cat(parts)
        y = self.linear_y(u, "gelu_tanh").mul_(hidden)
        return _add(self.linear_out, y, x), BlockMemory(hidden, inputs[1:])

    def _remember(self, taps: tuple[Tensor, ...], hidden: Tensor, fade: Tensor, first: bool) -> Tensor:
        """The new state [S,C], from the convolution's four inputs and the state before."""
        mixed = torch.addcmul(self.conv_bias, taps[0].float(), self.conv_weight[0])
        for tap, weight in zip(taps[1:], self.conv_weight[1:], strict=True):
            mixed = mixed.addcmul_(tap.float(), weight)
        heads, size = self.gate_weight.shape[:2]
        by_head = mixed.view(-1, heads, size).transpose(0, 1)
        gates = torch.baddbmm(self.gate_bias[:, None], by_head, self.gate_weight).sigmoid_()  # [heads,S,2*size]
        into, forget = (g.transpose(0, 1).reshape(mixed.shape) for g in gates.chunk(2, -1))
        entering = into.mul_(mixed)
        if first:
            return entering
        # By which part of itself the state changes, a - 1: then 1 - a^2 is exact also where it hardly fades.
        change = torch.expm1(forget.mul_(fade))
        entering = entering.mul_((change + 2.0).mul_(change).neg_().sqrt_())
        return entering.addcmul_(change.add_(1.0), hidden)


class Block(nn.Module):
    """Recurrence along time, gated MLP, attention within the frame, MLP."""

    def __init__(self, config: TapNextConfig) -> None:
        super().__init__()
        width, eps = config.width, 1e-6
        self.heads = config.heads
        self.gelu: Literal["gelu", "gelu_tanh"] = "gelu_tanh" if config.numerics == "jax" else "gelu"
        self.temporal_pre_norm, self.channel_pre_norm = RMSNorm(width), RMSNorm(width)
        self.recurrent = RecurrentBlock(width, config.heads)
        self.gate, self.up = Linear(width, config.hidden), Linear(width, config.hidden)
        self.down = Linear(config.hidden, width)
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.qkv, self.attention_out = Linear(width, 3 * width), Linear(width, width)
        self.mlp_in, self.mlp_out = Linear(width, config.hidden), Linear(config.hidden, width)

    def forward(
        self, x: Tensor, memory: BlockMemory, first: bool, copies: Copies, wanted: slice | None = None
    ) -> tuple[Tensor, BlockMemory]:
        """x float32 [S,C] -> the same, and the new memory; `copies` as in `TapNextNetwork.forward`.

        `wanted`: only these slots of x are asked for (the memory is that of all).
        """
        x, memory = self._along_time(x, memory, first)
        mixed = self._attend(self._half(self.ln_1(x)), copies, wanted)
        if wanted is not None:
            x = x[wanted].contiguous()
            if not len(x):
                return x, memory
        x = _add(self.attention_out, mixed, x)
        return _add(self.mlp_out, self.mlp_in(self._half(self.ln_2(x)), self.gelu), x), memory

    def _half(self, x: Tensor) -> Tensor:
        return x.to(self.qkv.weight.dtype)

    def _along_time(self, x: Tensor, memory: BlockMemory, first: bool) -> tuple[Tensor, BlockMemory]:
        """The part in which no slot sees another: recurrence and gated MLP."""
        x, memory = self.recurrent(self.temporal_pre_norm(x), memory, first, x)
        v = self._half(self.channel_pre_norm(x))
        pieces = max(-(-len(x) // CPU_ROWS), 1) if _on_cpu(x) else 1
        parts = [
            _add(self.down, self.gate(some, "gelu_tanh").mul_(self.up(some)), residual)
            for some, residual in zip(v.tensor_split(pieces), x.tensor_split(pieces), strict=True)
        ]
        return parts[0] if pieces == 1 else torch.cat(parts), memory

    def _attend(self, x: Tensor, copies: Copies, wanted: slice | None) -> Tensor:
        """Attention of all slots, or of those that are wanted; x [S,C] -> [S,C]."""
        q, k, v = self.qkv(x).view(len(x), 3, self.heads, -1).permute(1, 2, 0, 3)  # each [heads,S,size]
        if wanted is not None:
            q = q[:, wanted]
        bias = None
        if isinstance(copies, Tensor):
            bias = copies.to(q.dtype)
        elif copies == 0:
            k, v = k[:, :-1], v[:, :-1]
        elif copies is not None and copies > 1:
            # k equal keys weigh as one key whose score is larger by log k
            bias = F.pad(q.new_zeros(len(x) - 1), (0, 1), value=math.log(copies))
        return attend_heads(q, k, v, bias)


def position_code(yx: Tensor, size: int, width: int, clamp: bool = False) -> Tensor:
    """Code of query positions: yx [M,2] float32, (y, x), pixels of a `size` x `size` image, corner origin -> [M,width].

    The released table holds [sin x, cos x, sin y, cos y] of the pixel indices at width/4 frequencies, and is read by
    bilinear interpolation with zeros outside (`clamp`: with the border repeated). So the code is a blend of the two
    nearest columns and the two nearest rows, and fades within half a pixel of the border.
    """
    quarter, wide = width // 4, widest(yx.device)
    omega = 10000.0 ** (-torch.arange(quarter, dtype=wide, device=yx.device) / (quarter - 1))
    codes, covered = [], []
    for axis in (1, 0):
        index = yx[:, axis] - 0.5
        near = index.floor()
        weight = torch.stack([near + 1 - index, index - near], -1)  # of the two neighbours [M,2]
        neighbours = torch.stack([near, near + 1], -1)
        if not clamp:
            weight = weight * ((neighbours >= 0) & (neighbours < size))
        angle = neighbours.clamp(0, size - 1).to(wide)[..., None] * omega
        code = torch.cat([angle.sin(), angle.cos()], -1).to(yx.dtype)  # [M,2,width/2]
        codes.append((weight[..., None] * code).sum(1))
        covered.append(weight.sum(1, keepdim=True))
    return torch.cat([codes[0] * covered[1], codes[1] * covered[0]], -1)


def decode(logits: Tensor) -> Tensor:
    """Positions [N,2] (in the order of the two halves: y, x), bins, from coordinate logits [N,2*BINS]."""
    logits = logits.view(-1, 2, BINS)
    bins = torch.arange(BINS, device=logits.device)
    near = (bins - logits.argmax(-1, keepdim=True)).abs() <= WINDOW
    p = (logits / TEMPERATURE).softmax(-1) * near
    return (p * bins).sum(-1) / p.sum(-1) + 0.5


def certainty(logits: Tensor, yx: Tensor, radius: float = CERTAIN_RADIUS, as_released: bool = False) -> Tensor:
    """P(error < radius) [N] of positions yx [N,2], both in bins, as the coordinate logits [N,2*BINS] see it.

    Sums the two axes' probabilities over the bins within a disc around the position. `as_released` swaps the axes of
    the disc as the released code does (of little effect; the parity vectors have it).
    """
    side = 2 * int(radius) + 1
    p = logits.view(-1, 2, BINS).softmax(-1)
    start = (yx - radius - 0.5).floor().clamp(0, BINS - side).long()
    index = start[..., None] + torch.arange(side, device=yx.device)  # [N,2,side]
    p_y, p_x = p.gather(-1, index).unbind(1)
    squared = (index + 0.5 - yx[..., None]).square()
    by_row, by_column = squared.unbind(1) if not as_released else squared.flip(1).unbind(1)
    inside = by_row[:, :, None] + by_column[:, None, :] <= radius**2 + 1e-8
    return torch.einsum("ni,nj,nij->n", p_y, p_x, inside.to(p.dtype))


class TapNextNetwork(nn.Module):
    """The network on token slots; `TapNext` puts frames and points into them."""

    def __init__(self, config: TapNextConfig) -> None:
        super().__init__()
        self.config = config
        width, side = config.width, config.image_size // PATCH
        self.lin_proj = nn.Conv2d(3, width, PATCH, PATCH)
        self.image_pos_emb = nn.Parameter(torch.randn(1, side * side, width) * 0.02)
        self.mask_token, self.unknown_token, self.point_query_token = (
            nn.Parameter(torch.randn(width) * 0.02) for _ in range(3)
        )
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])
        self.encoder_norm = nn.LayerNorm(width, 1e-6 if config.numerics == "jax" else 1e-5)
        self.visible_head, self.coordinate_head = _head(width, 1, config), _head(width, 2 * BINS, config)

    def positions(self, grid: Size) -> Tensor:
        """Position embedding [h*w,C] of a grid of h x w patches (bicubic where their number is not the stored one)."""
        if grid[0] * grid[1] == self.image_pos_emb.shape[1]:
            return self.image_pos_emb[0]
        side = self.config.image_size // PATCH
        stored = self.image_pos_emb.view(1, side, side, -1).permute(0, 3, 1, 2)
        resized = F.interpolate(stored, size=grid, mode="bicubic", align_corners=False)
        return resized.flatten(2).transpose(1, 2)[0]

    def patch_tokens(self, frame: Tensor, positions: Tensor) -> Tensor:
        """frame [3,H,W] in [-1,1] -> [h*w,C] tokens, row by row."""
        patches: Tensor = self.lin_proj(frame[None])
        return patches[0].flatten(1).T + positions

    def query_tokens(self, yx: Tensor) -> Tensor:
        """Tokens [M,C] of points on their query frame; yx [M,2] in pixels of the `image_size` square, corner origin."""
        clamp = self.config.numerics == "jax"
        return self.point_query_token + position_code(yx, self.config.image_size, self.config.width, clamp)

    def empty_memory(self, slots: int) -> tuple[BlockMemory, ...]:
        """Before the first frame."""
        device, dtype = self.image_pos_emb.device, next(m.weight.dtype for m in self.modules() if isinstance(m, Linear))
        hidden = torch.zeros(slots, self.config.width, device=device)
        past = torch.zeros(slots, self.config.width, device=device, dtype=dtype)
        return tuple(BlockMemory(hidden, (past, past, past)) for _ in self.blocks)

    def forward(
        self,
        tokens: Tensor,
        memory: tuple[BlockMemory, ...],
        first: bool,
        copies: Copies = None,
        wanted: slice | None = None,
    ) -> tuple[Tensor, tuple[BlockMemory, ...], list[Tensor]]:
        """One frame: tokens [S,C] and what the slots remember -> outputs [S,C], new memory, each block's output.

        `first`: this is the first frame of the stream. `copies`: as how many tokens the last slot counts for the
        others (0: they do not see it); None: it is a slot like any other; a tensor [S]: what is added to the score of
        each slot (-inf: nobody sees it; log k: it counts k times). `wanted`: the slots whose
        outputs are asked for; the last block then answers for these alone.
        """
        x, after, outputs = tokens, [], []
        for number, (block, past) in enumerate(zip(self.blocks, memory, strict=True), 1):
            x, now = block(x, past, first, copies, wanted if number == len(self.blocks) else None)
            after.append(now)
            outputs.append(x)
        return x, tuple(after), outputs

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinate logits [N,2*BINS] and visibility logits [N] from the points' outputs [N,C]."""
        x = self.encoder_norm(x)
        return self.coordinate_head(x), self.visible_head(x)[:, 0]


def _on_cpu(x: Tensor) -> bool:
    """Whether x is cut into parts: not in a graph that is traced for many numbers of slots."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _add(linear: Linear, x: Tensor, residual: Tensor) -> Tensor:
    """residual + linear(x), in the residual's (full) precision."""
    fused = x.dtype == residual.dtype
    out: Tensor = linear(x, residual=residual) if fused else residual + linear(x)
    return out


def _head(width: int, outputs: int, config: TapNextConfig) -> nn.Sequential:
    approximate = "tanh" if config.numerics == "jax" else "none"
    eps = 1e-6 if config.numerics == "jax" else 1e-5
    layers: list[nn.Module] = []
    for inputs in (width, BINS):
        layers += [nn.Linear(inputs, BINS), nn.LayerNorm(BINS, eps), nn.GELU(approximate)]
    return nn.Sequential(*layers, nn.Linear(BINS, outputs))
