"""The space-time transformer of CoTracker2 and CoTracker3.

Every track attends over its own frames (time blocks); within a frame, points talk to each other only through 64
learned virtual tracks (space blocks), which keeps the cost linear in the number of points (Karaev et al.,
"CoTracker: It is Better to Track Together", ECCV 2024, section 3.2). Module names are those of the published
checkpoints; "space_virtual2point" blocks have the virtual tracks as queries, despite the name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from tapkit.nn.attention import attend
from tapkit.nn.packed import Linear
from tapkit.nn.token_norm import normalize

STRIDE = 4
"""Pixels of the network's input in a cell of its feature maps."""
WIDTH = 384
"""Numbers in an embedded token of the published networks."""
HEADS = 8
VIRTUAL = 64
"""Number of virtual tracks."""

CPU_TOKENS = 2048
"""Tokens that go through a block at once on a CPU: what lies between its layers then stays in the cache."""
GPU_TOKENS = 1 << 18

_MASKED = torch.finfo(torch.float32).min
"""Added to masked logits. Finite on purpose: where all keys of a row are masked, the softmax is uniform."""


def tokens_at_once(device: torch.device) -> int:
    """How many tokens to put through a block at once."""
    return CPU_TOKENS if device.type == "cpu" else GPU_TOKENS


def in_parts(compute: Callable[[slice], Tensor], count: int, step: int) -> Tensor:
    """compute(rows) for all of `count` (at least one) rows, `step` at a time, as one tensor."""
    first = compute(slice(0, step))
    if first.requires_grad:
        rest = [compute(slice(start, start + step)) for start in range(step, count, step)]
        return torch.cat([first, *rest])
    whole = first.new_empty(count, *first.shape[1:])
    whole[:step] = first
    for start in range(step, count, step):
        whole[start : start + step] = compute(slice(start, start + step))
    return whole


def _normalize(x: Tensor) -> Tensor:
    return normalize(x, 1e-6)


def _add(layer: Linear, x: Tensor, residual: Tensor) -> Tensor:
    """residual + layer(x); the residual stays float32 when the layer computes in half precision."""
    if x.dtype == residual.dtype:
        y: Tensor = layer(x, residual=residual)
        return y
    change: Tensor = layer(x)
    return residual + change.to(residual.dtype)


class Attention(nn.Module):
    """Multi-head attention with separate projections of queries and of keys and values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_q = Linear(width, width)
        self.to_kv = Linear(width, 2 * width)
        self.to_out = Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, residual: Tensor, bias: Tensor | None = None) -> Tensor:
        """residual + attention of x [B,L,D] to context [B,M,D]; bias as in `attend`."""
        dtype = self.to_q.weight.dtype
        key, value = self.to_kv(context.to(dtype)).chunk(2, -1)
        bias = None if bias is None else bias.to(dtype)
        return _add(self.to_out, attend(self.to_q(x.to(dtype)), key, value, HEADS, bias), residual)


class Mlp(nn.Module):
    """Two linear layers with a tanh-approximated GELU between them, on normalised input, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, 4 * width)
        self.fc2 = Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc1(_normalize(x).to(self.fc1.weight.dtype), activation="gelu_tanh")
        return _add(self.fc2, hidden, x)


class SelfBlock(nn.Module):
    """Self-attention and MLP, both pre-normalised and residual; x [B,L,D]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = Attention(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        y = _normalize(x)
        z: Tensor = self.mlp(self.attn(y, y, x))
        return z


class CrossBlock(nn.Module):
    """Attention of x [B,L,D] to a context [B,M,D] with a norm of its own, and MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_context = nn.LayerNorm(width)
        self.cross_attn = Attention(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        y: Tensor = self.mlp(self.cross_attn(_normalize(x), self.norm_context(context), x, bias))
        return y


class SpaceTimeTransformer(nn.Module):
    """Tokens of N points over S frames -> what each of them changes by.

    `heads` names the output layers and their channels; their outputs are concatenated. `input_transform` is applied
    by the caller, in the chunks in which it builds the tokens.
    """

    def __init__(self, channels: int, depth: int, heads: dict[str, int], width: int = WIDTH) -> None:
        super().__init__()
        self.depth = depth
        self.heads = tuple(heads)
        self.input_transform = Linear(channels, width)
        self.time_blocks = nn.ModuleList(SelfBlock(width) for _ in range(depth))
        self.space_virtual_blocks = nn.ModuleList(SelfBlock(width) for _ in range(depth))
        self.space_point2virtual_blocks = nn.ModuleList(CrossBlock(width) for _ in range(depth))
        self.space_virtual2point_blocks = nn.ModuleList(CrossBlock(width) for _ in range(depth))
        self.virual_tracks = nn.Parameter(torch.zeros(1, VIRTUAL, 1, width))  # the checkpoints' own spelling
        for name, outputs in heads.items():
            self.add_module(name, Linear(width, outputs))

    def forward(self, x: Tensor, active: Tensor | None = None) -> Tensor:
        """One pass.

        Args:
            x: [B,N,S,width], embedded tokens. Overwritten where no gradients are asked for.
            active: bool [B,N]; points that are not take no part in what the virtual tracks see. None: no masks.

        Returns:
            [B,N,S,c], c being the channels of all heads together.
        """
        masks = None if active is None else _masks(active)
        x = self._over_time(0, x)
        x, virtual = self._over_space(0, x, self._first_virtual(x), masks)
        for level in range(1, self.depth):
            x, virtual = self._over_time(level, x), self._over_time(level, virtual)
            x, virtual = self._over_space(level, x, virtual, masks)
        return torch.cat([self.get_submodule(name)(x) for name in self.heads], -1)

    def _first_virtual(self, x: Tensor) -> Tensor:
        """The virtual tracks [B,64,S,D] after the first time block.

        They begin the same on all frames, and attention over equal tokens is what it is over one: so one will do.
        """
        first: Tensor = self.time_blocks[0](self.virual_tracks[0])
        return first.repeat(x.shape[0], 1, x.shape[2], 1)

    def _over_time(self, level: int, x: Tensor) -> Tensor:
        """The time block on every track [B,N,S,D], a few of them at a time."""
        block = self.time_blocks[level]
        tracks = x.flatten(0, 1)
        if torch.is_grad_enabled():
            whole: Tensor = block(tracks)
            return whole.view_as(x)
        for part in torch.split(tracks, max(tokens_at_once(x.device) // max(x.shape[2], 1), 1)):
            part.copy_(block(part))
        return x

    def _over_space(
        self, level: int, x: Tensor, virtual: Tensor, masks: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """The three space blocks on every frame, a few frames at a time."""
        if torch.is_grad_enabled():
            return self._frames(level, x, virtual, masks)
        for rows, span in _parts(x, tokens_at_once(x.device)):
            some = None if masks is None else (masks[0][rows], masks[1][rows])
            points, tracks = self._frames(level, x[rows, :, span], virtual[rows, :, span], some)
            x[rows, :, span] = points
            virtual[rows, :, span] = tracks
        return x, virtual

    def _frames(
        self, level: int, x: Tensor, virtual: Tensor, masks: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """x [B,N,s,D] and virtual [B,64,s,D] after the space blocks, every frame for itself."""
        batch, _, frames, _ = x.shape
        points, tracks = (part.transpose(1, 2).flatten(0, 1) for part in (x, virtual))
        keys, rows = (None, None) if masks is None else (mask.repeat_interleave(frames, 0) for mask in masks)
        tracks = self.space_virtual2point_blocks[level](tracks, points, keys)
        tracks = self.space_virtual_blocks[level](tracks)
        points = self.space_point2virtual_blocks[level](points, tracks, rows)
        points, tracks = (part.view(batch, frames, *part.shape[1:]).transpose(1, 2) for part in (points, tracks))
        return points, tracks


def _masks(active: Tensor) -> tuple[Tensor, Tensor]:
    """What is added to the logits of "virtual <- points" and of "points <- virtual": [B,1,L,M], broadcastable.

    With exactly as many points as virtual tracks the published code mistakes the keys' mask for one of the rows; so do
    we, since that is what the weights are run with.
    """
    inactive = (~active).float() * _MASKED
    rows = inactive[:, None, :, None]
    return (rows if active.shape[1] == VIRTUAL else inactive[:, None, None, :]), rows


def _parts(x: Tensor, tokens: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the batch and of the frames of x [B,N,S,D] that hold about `tokens` tokens each."""
    batch, points, frames, _ = x.shape
    per_frame = points + VIRTUAL
    rows = max(min(tokens // per_frame, batch), 1)
    span = max(tokens // (per_frame * rows), 1)
    for row in range(0, batch, rows):
        for first in range(0, frames, span):
            yield slice(row, row + rows), slice(first, first + span)
