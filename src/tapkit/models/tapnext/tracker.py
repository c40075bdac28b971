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

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit import coords
from tapkit.errors import QueryError, UsageError
from tapkit.models.base import Prediction, Size
from tapkit.models.tapnext.card import TAPNEXT, TAPNEXT_PP
from tapkit.models.tapnext.weights import from_released, shape_of
from tapkit.nn.packed import Linear, pack
from tapkit.nn.precision import feature_dtype
from tapkit.types import ModelCard

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

Numerics = Literal["torch", "jax"]


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
        return F.rms_norm(x, x.shape[-1:], 1.0 + self.scale, eps=1e-6)


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

    def forward(self, u: Tensor, memory: BlockMemory, first: bool) -> tuple[Tensor, BlockMemory]:
        """u [S,C] (normalised) -> update [S,C], new memory. `first`: no frame came before."""
        dtype = self.linear_x.weight.dtype
        u = u.to(dtype)
        z = self.linear_x(u)
        taps = (*memory.inputs, z)
        mixed = self.conv_bias.expand(z.shape)
        for tap, weight in zip(taps, self.conv_weight, strict=True):
            mixed = torch.addcmul(mixed, tap.float(), weight)
        heads, size = self.gate_weight.shape[:2]
        by_head = mixed.view(-1, heads, size).transpose(0, 1)
        gates = torch.baddbmm(self.gate_bias[:, None], by_head, self.gate_weight).sigmoid_()  # [heads,S,2*size]
        into, forget = (g.transpose(0, 1).reshape(mixed.shape) for g in gates.chunk(2, -1))
        log_a = forget * (-8.0 * F.softplus(self.decay))
        entering = into * mixed
        if first:
            hidden = entering
        else:
            entering = entering * torch.expm1(2.0 * log_a).neg_().sqrt_()
            hidden = torch.addcmul(entering, log_a.exp(), memory.hidden)
        y = self.linear_y(u, "gelu_tanh")
        return self.linear_out(hidden.to(dtype) * y), BlockMemory(hidden, (taps[1], taps[2], z))


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

    def forward(self, x: Tensor, memory: BlockMemory, first: bool, copies: int | None) -> tuple[Tensor, BlockMemory]:
        """x float32 [S,C] -> the same, and the new memory; `copies` as in `TapNextNetwork.forward`."""
        update, memory = self.recurrent(self.temporal_pre_norm(x), memory, first)
        x = x + update
        v = self._half(self.channel_pre_norm(x))
        hidden = self.gate(v, "gelu_tanh")
        hidden = hidden * self.up(v)
        x = _add(self.down, hidden, x)
        x = _add(self.attention_out, self._attend(self._half(self.ln_1(x)), copies), x)
        return _add(self.mlp_out, self.mlp_in(self._half(self.ln_2(x)), self.gelu), x), memory

    def _half(self, x: Tensor) -> Tensor:
        return x.to(self.qkv.weight.dtype)

    def _attend(self, x: Tensor, copies: int | None) -> Tensor:
        """Attention of all slots; x [S,C] -> [S,C]."""
        q, k, v = self.qkv(x).view(len(x), 3, self.heads, -1).permute(1, 2, 0, 3)[:, None]  # each [1,heads,S,size]
        mask = None
        if copies == 0:
            k, v = k[:, :, :-1], v[:, :, :-1]
        elif copies is not None and copies > 1:
            # k equal keys weigh as one key whose score is larger by log k
            mask = F.pad(q.new_zeros(len(x) - 1), (0, 1), value=torch.tensor(float(copies)).log().item())
            mask = mask.expand(1, 1, len(x), -1)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)[0].transpose(0, 1).flatten(1)


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


def position_code(yx: Tensor, size: int, width: int, clamp: bool = False) -> Tensor:
    """Code of query positions: yx [M,2] float32, (y, x), pixels of a `size` x `size` image, corner origin -> [M,width].

    The released table holds [sin x, cos x, sin y, cos y] of the pixel indices at width/4 frequencies, and is read by
    bilinear interpolation with zeros outside (`clamp`: with the border repeated). So the code is a blend of the two
    nearest columns and the two nearest rows, and fades within half a pixel of the border.
    """
    quarter = width // 4
    omega = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64, device=yx.device) / (quarter - 1))
    codes, covered = [], []
    for axis in (1, 0):
        index = yx[:, axis] - 0.5
        near = index.floor()
        weight = torch.stack([near + 1 - index, index - near], -1)  # of the two neighbours [M,2]
        neighbours = torch.stack([near, near + 1], -1)
        if not clamp:
            weight = weight * ((neighbours >= 0) & (neighbours < size))
        angle = neighbours.clamp(0, size - 1).double()[..., None] * omega
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
        self, tokens: Tensor, memory: tuple[BlockMemory, ...], first: bool, copies: int | None = None
    ) -> tuple[Tensor, tuple[BlockMemory, ...], list[Tensor]]:
        """One frame: tokens [S,C] and what the slots remember -> outputs [S,C], new memory, each block's output.

        `first`: this is the first frame of the stream. `copies`: as how many tokens the last slot counts for the
        others (0: they do not see it); None: it is a slot like any other.
        """
        x, after, outputs = tokens, [], []
        for block, past in zip(self.blocks, memory, strict=True):
            x, now = block(x, past, first, copies)
            after.append(now)
            outputs.append(x)
        return x, tuple(after), outputs

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinate logits [N,2*BINS] and visibility logits [N] from the points' outputs [N,C]."""
        x = self.encoder_norm(x)
        return self.coordinate_head(x), self.visible_head(x)[:, 0]


class TapNext:
    """TAPNext as a `CausalModel`: constant memory, points may join at any frame and leave at any time."""

    def __init__(self, network: TapNextNetwork, card: ModelCard, options: TapNextOptions) -> None:
        self.network, self.card = network, card
        self.options: Mapping[str, Any] = asdict(options)
        self.resolution, self.antialias, self.support = options.resolution, options.antialias, options.support
        self.slots = 1 + options.support**2
        """Slots of one point: its own, then those of its support points."""
        self._positions: Tensor
        self._settle()

    def _settle(self) -> None:
        """What depends on where the weights are."""
        dtype = feature_dtype(self.options["precision"], self.device)
        if dtype != torch.float32:  # never back: what was rounded stays rounded
            for module in self.network.blocks.modules():
                if isinstance(module, Linear):
                    module.to(dtype)
        grid = (self.resolution[0] // PATCH, self.resolution[1] // PATCH)
        with torch.no_grad():
            self._positions = self.network.positions(grid)
        pack(self.network)

    @property
    def device(self) -> torch.device:
        return self.network.image_pos_emb.device

    def to(self, device: torch.device | str) -> Self:
        self.network.to(device)
        self._settle()
        return self

    def frame_size(self, size: Size) -> Size | None:
        """The network's own resolution; with `antialias=False` frames as they are, point-sampled as the authors do."""
        return self.resolution if self.antialias else None

    def point_bytes(self, size: Size) -> int:
        """Two states (before and after a frame) and the widest activations."""
        config = self.network.config
        return self.slots * 4 * (2 * 4 * config.depth * config.width + 3 * config.hidden + 8 * config.width)

    def start(self, size: Size) -> TapNextState:
        """No points yet: patches and the spare slot."""
        if min(size) < 1:
            raise UsageError(f"frames must have at least one pixel, got {size[1]}x{size[0]}")
        counter = torch.zeros((), dtype=torch.long)
        return TapNextState(self.network.empty_memory(len(self._positions) + 1), counter, counter)

    def expect(self, state: TapNextState, count: int) -> TapNextState:
        """The state, knowing that `count` points will join on its next frame or later (see the top of this file)."""
        return state._replace(waiting=torch.tensor(count))

    @torch.no_grad()
    def step(self, state: TapNextState, frame: Tensor, new_xy: Tensor) -> tuple[TapNextState, Prediction]:
        """See `CausalModel.step`. Outputs lie half a bin or more inside the frame, by construction."""
        size, network = (frame.shape[-2], frame.shape[-1]), self.network
        if not torch.isfinite(new_xy).all():
            raise QueryError(f"query positions must be finite numbers, got {new_xy.tolist()}"[:300])
        side, patches = network.config.image_size, len(self._positions)
        old = len(state.memory[0].hidden) - patches - 1
        yx = self._with_support(coords.resize(new_xy.float(), size, (side, side))).flip(-1)
        tokens = torch.cat(
            [
                network.patch_tokens(self._prepare(frame), self._positions),
                network.mask_token.expand(old, -1),
                network.query_tokens(yx),
                network.unknown_token[None],
            ]
        )
        waiting = (state.waiting - len(new_xy)).clamp(min=0)
        memory = _grow(state.memory, len(yx))
        x, memory, _ = network(tokens, memory, int(state.step) == 0, int(waiting) * self.slots)
        logits, visible = network.read(x[patches:-1][:: self.slots])
        decoded = decode(logits)
        xy = coords.resize(decoded.flip(-1), (BINS, BINS), size)
        prediction = Prediction(xy, visible.sigmoid(), certainty(logits, decoded).clamp(0, 1))
        return TapNextState(memory, state.step + 1, waiting), prediction

    def _with_support(self, xy: Tensor) -> Tensor:
        """Each point of xy [M,2] (pixels of the `image_size` square), followed by its support points [M*slots,2].

        They are the cell centres of a grid over the square that spans an eighth of the frame around the point, kept
        inside the frame (the setup of TAPNext++ at VOTSp 2026, there 8 x 8).
        """
        if self.support == 0:
            return xy
        side, half = float(self.network.config.image_size), self.network.config.image_size / 16
        ticks = (torch.arange(self.support, device=xy.device) + 0.5) * (2 * half / self.support) - half
        offsets = torch.cartesian_prod(ticks, ticks).view(-1, 2).flip(-1)  # row by row, (x, y)
        around = (xy[:, None] + offsets).clamp(0.0, side)
        return torch.cat([xy[:, None], around], 1).flatten(0, 1)

    def _prepare(self, frame: Tensor) -> Tensor:
        """uint8 [3,h,w] -> [-1,1] at the network's resolution (bilinear, half-pixel centres, no antialiasing)."""
        image = frame.to(self._positions.dtype) / 255 * 2 - 1
        if image.shape[-2:] == self.resolution:
            return image
        return F.interpolate(image[None], size=self.resolution, mode="bilinear", align_corners=False)[0]

    def select(self, state: TapNextState, rows: Tensor) -> TapNextState:
        """See `CausalModel.select`."""
        patches, last = len(self._positions), len(state.memory[0].hidden) - 1
        own = rows[:, None] * self.slots + torch.arange(self.slots, device=rows.device)
        around = torch.arange(patches, device=rows.device), torch.tensor([last], device=rows.device)
        kept = torch.cat([around[0], own.flatten() + patches, around[1]])
        return state._replace(memory=tuple(past.map(lambda slots: slots[kept]) for past in state.memory))


def _grow(memory: tuple[BlockMemory, ...], new: int) -> tuple[BlockMemory, ...]:
    """`new` more point slots before the spare one, which remember what that does."""
    if new == 0:
        return memory
    return tuple(past.map(lambda slots: torch.cat([slots, slots[-1:].expand(new, -1)])) for past in memory)


@dataclass(frozen=True)
class TapNextOptions:
    """What the factories accept."""

    precision: str = "float32"
    """"float32", "bfloat16" (of linear layers and attention; the residual stream, norms, memory and heads stay
    float32), or "auto" (bfloat16 where the processor multiplies in it)."""
    resolution: Size = (256, 256)
    """(height, width) of the network's input, multiples of 8: 256 squared; 512 squared for tapnextpp_512.ckpt."""
    antialias: bool = True
    """Let the decoder resize frames by area averaging (as benchmarks do, by Lanczos), rather than point-sample large
    ones as the authors' demo does. No difference for frames of the network's resolution."""
    numerics: Numerics = "torch"
    """See `TapNextConfig`."""
    support: int = 0
    """Side of a grid of support points around each point (8 in TAPNext++'s VOTSp 2026 setup); 0: none."""


def build_tapnext(
    weights: Mapping[str, Tensor] | None = None,
    *,
    card: ModelCard = TAPNEXT,
    resolution: int | tuple[int, int] = 256,
    **options: Any,
) -> TapNext:
    """TAPNext, BootsTAPNext or TAPNext++ from a released checkpoint.

    `weights`: the tensors of the released PyTorch file or JAX .npz, under their own names; sizes are read off them.
    None: the published size, untrained. `resolution`: one side, or (height, width). Other options: `TapNextOptions`.
    Raises `WeightsError`, `UsageError`.
    """
    height, width = (resolution, resolution) if isinstance(resolution, int) else resolution
    chosen = TapNextOptions(resolution=(height, width), **options)
    if min(height, width) < PATCH or height % PATCH or width % PATCH:
        raise UsageError(f"resolution must be a multiple of {PATCH}, got {width}x{height}")
    if chosen.numerics not in ("torch", "jax"):
        raise UsageError(f'numerics must be "torch" or "jax", got {chosen.numerics!r}')
    if chosen.support < 0:
        raise UsageError(f"support is the side of a grid and cannot be negative, got {chosen.support}")
    if weights is None:
        network = TapNextNetwork(TapNextConfig(numerics=chosen.numerics))
    else:
        tensors = from_released(weights)
        network = TapNextNetwork(TapNextConfig(**shape_of(tensors), numerics=chosen.numerics))
        network.load_state_dict(tensors)
    network.eval().requires_grad_(False)
    return TapNext(network, card, chosen)


def build_tapnext_pp(weights: Mapping[str, Tensor] | None = None, **options: Any) -> TapNext:
    """TAPNext++: as `build_tapnext`, under its own card."""
    return build_tapnext(weights, card=TAPNEXT_PP, **options)
