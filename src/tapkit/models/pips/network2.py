"""PIPs++: windows of any length, every point for itself, no visibility.

Zheng, Harley, Shen, Wetzstein, Guibas: PointOdyssey: A Large-Scale Synthetic Dataset for Long-Term Point Tracking,
ICCV 2023 (arXiv:2307.15055). As PIPs, but a ResNet over time takes the mixer's place, and each position is compared
with three appearances: that of the query, and those at the positions two and four frames earlier. Encoder, pyramid and
coordinates are those of `tapkit.models.pips.network`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.errors import UsageError
from tapkit.models.base import Size
from tapkit.models.options import NetworkOptions, require_size
from tapkit.models.pips.network import LEVELS, RADIUS, Features, check_size, encode_pyramid
from tapkit.nn.encoder import FEATURES, PointEncoder
from tapkit.nn.neighbourhood import correlate, sample_clamped
from tapkit.nn.packed import Conv2d, Linear, Packable, can_pack

_BLOCK_TOKENS = 2048
"""About how many points times frames are tracked at a time: bounds the memory, and is enough for full speed."""

STRIDE = 8
"""Pixels to a cell of the feature map."""
TOKEN = 3 * LEVELS * (2 * RADIUS + 1) ** 2 + 4 * 32 + 2
"""Input of the temporal network for one point in one frame: 588 correlations and 130 values that encode motion."""
WIDTHS = (128, 128, 128, 256, 256, 512, 512, 1024, 1024)
"""Channels before the first and after each of the eight residual blocks."""


@dataclass(frozen=True)
class Pips2Options(NetworkOptions):
    """Settings of PIPs++."""

    iterations: int = 16
    """Updates of a window; 6 in training."""
    window: int = 128
    """Frames of a window; consecutive ones share a frame. The result of every frame depends on it."""
    beautify: bool = False
    """Halve the updates after three quarters of the iterations (the released demo does)."""
    input_size: Size | None = (512, 896)
    """(height, width) to which frames are resized, as the released tests do; None: frames are taken as they are."""

    def check(self) -> None:
        """See `Options.check`."""
        if self.iterations < 1 or self.window < 2:
            raise UsageError(
                f"PIPs++ needs at least 1 iteration and windows of 2 frames, got {self.iterations} and {self.window}"
            )
        require_size("input_size", self.input_size)


class Templates(NamedTuple):
    """Appearances [N,S,128] that the positions in S frames are compared with."""

    query: Tensor
    """That of the query, in all frames."""
    before2: Tensor
    """Those at the positions two frames earlier."""
    before4: Tensor
    """Those at the positions four frames earlier."""


class Step(NamedTuple):
    """One iteration for N points in S frames."""

    xy: Tensor
    """[N,S,2] cells, frame 0 as given."""
    free: Tensor
    """[N,S,2] cells, frame 0 as the network moved it: what the training loss sees."""


def padded(x: Tensor) -> Tensor:
    """x [N,S,C] with a frame of zeros before, and one or two after (so that the number of frames is even)."""
    return F.pad(x, (0, 0, 1, 1 + x.shape[1] % 2))


def normed(x: Tensor) -> Tensor:
    """`padded`(relu(instance norm(x))) of x [N,S,C], the norm over time (biased variance, eps 1e-5)."""
    count, length, channels = x.shape
    if torch.is_grad_enabled():
        return padded(F.relu(F.instance_norm(x.transpose(1, 2))).transpose(1, 2))
    # A product with ones sums over the middle axis several times as fast as torch's reductions do on a CPU.
    ones = x.new_full((1, length), 1 / length)
    out = x.new_empty(count, length + 2 + length % 2, channels)
    out[:, 0] = 0
    out[:, length + 1 :] = 0
    y = torch.sub(x, torch.matmul(ones, x), out=out[:, 1 : length + 1])
    y.mul_(torch.matmul(ones, y.square()).add_(1e-5).rsqrt_()).relu_()
    return out


class TemporalConv(Packable, nn.Conv1d):
    """A convolution over three frames, zeros outside the window.

    Packed, it becomes products of matrices: in float32 by Winograd's F(2,3), which computes two frames from four
    products instead of six (the same up to rounding: it takes sums, differences and a half); in bfloat16, where sums
    of inputs would lose what little precision there is, it stays a convolution.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3)
        # Tuples, so that they are no submodules.
        self._products: tuple[Linear, ...] = ()
        self._direct: tuple[Conv2d, ...] = ()

    def pack(self) -> None:
        """See `Packable`; the plain weight is kept, since sums of it do not give it back exactly."""
        if not can_pack(self.weight) or self.bias is None:
            return
        weight = self.weight.detach()
        if self.weight.dtype != torch.float32:
            conv = Conv2d(self.in_channels, self.out_channels, (3, 1), device="meta")
            conv.weight = nn.Parameter(weight.unsqueeze(-1), requires_grad=False)
            conv.bias = nn.Parameter(self.bias.detach(), requires_grad=False)
            conv.pack()
            self._direct = (conv,)
            return
        before, here, after = weight.unbind(-1)
        total = before + after
        products = []
        for matrix in (before, (total + here) / 2, (total - here) / 2, after):
            product = Linear(self.in_channels, self.out_channels, bias=False, device="meta")
            product.weight = nn.Parameter(matrix.contiguous(), requires_grad=False)
            products.append(product)
        # The one product that enters both frames once, with a plus.
        products[1].bias = nn.Parameter(self.bias.detach(), requires_grad=False)
        for product in products:
            product.pack()
        self._products = tuple(products)

    def unpack(self) -> None:
        """See `Packable`."""
        self._products = self._direct = ()

    def over(self, x: Tensor, length: int) -> Tensor:
        """x `padded` [N,S+2..,C], length S -> float32 [N,S,C']."""
        if self._products:
            return self._winograd(x, length)
        x = x[:, : length + 2].transpose(1, 2).to(self.weight.dtype)
        y: Tensor = self._direct[0](x.unsqueeze(-1)).squeeze(-1) if self._direct else self(x)
        return y.transpose(1, 2).float()

    def _winograd(self, x: Tensor, length: int) -> Tensor:
        """Lavin and Gray, arXiv:1509.09308, section 4, along time: frames 2k and 2k+1 from padded frames 2k .. 2k+3."""
        even, odd = x[:, 0::2], x[:, 1::2]
        x0, x1, x2, x3 = even[:, :-1], odd[:, :-1], even[:, 1:], odd[:, 1:]
        first, plus, minus, last = self._products
        a: Tensor = plus(x1 + x2)
        b: Tensor = minus(x2 - x1)
        out = a.new_empty(len(x), length, self.out_channels)
        torch.add(a + b, first(x0 - x2), out=out[:, 0::2])
        half = length // 2
        torch.sub(a.sub_(b)[:, :half], last(x1 - x3)[:, :half], out=out[:, 1::2])
        return out


class TemporalBlock(nn.Module):
    """Two convolutions over time beside a shortcut; channels that the shortcut lacks are zero, half on either side."""

    def __init__(self, inputs: int, outputs: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.conv1 = nn.ModuleDict({"conv": TemporalConv(inputs, outputs)})
        self.conv2 = nn.ModuleDict({"conv": TemporalConv(outputs, outputs)})

    def forward(self, x: Tensor) -> Tensor:
        """x [N,S,C] -> [N,S,C']. The network's first block does not normalise its input."""
        length = x.shape[1]
        y = _over(self.conv1, padded(x) if self.first else normed(x), length)
        y = _over(self.conv2, normed(y), length)
        before = (y.shape[-1] - x.shape[-1]) // 2
        if torch.is_grad_enabled():
            return y + F.pad(x, (before, y.shape[-1] - x.shape[-1] - before))
        y[..., before : before + x.shape[-1]] += x
        return y


class TemporalNet(nn.Module):
    """Tokens [N,S,718] -> change of position [N,S,2], cells."""

    def __init__(self) -> None:
        super().__init__()
        self.first_block_conv = nn.ModuleDict({"conv": TemporalConv(TOKEN, WIDTHS[0])})
        pairs = enumerate(pairwise(WIDTHS))
        self.basicblock_list = nn.ModuleList(TemporalBlock(*pair, first=number == 0) for number, pair in pairs)
        self.dense = nn.Linear(WIDTHS[-1], 2)

    def forward(self, tokens: Tensor) -> Tensor:
        x = F.relu(_over(self.first_block_conv, padded(tokens), tokens.shape[1]))
        for block in self.basicblock_list:
            x = block(x)
        change: Tensor = self.dense(F.relu(x))
        return change


def encode_motion(xy: Tensor) -> Tensor:
    """Steps to the next frame of xy [N,S,2] (the last repeated), encoded: [N,S,130] float32.

    Blocks of 32: sin and cos of the step in x, sin and cos of that in y, at 10000^(-k/31); then the step itself.
    """
    step = torch.diff(xy, dim=1)
    step = torch.cat([step, step[:, -1:]], 1)
    frequencies = 10000.0 ** (-torch.arange(32, device=xy.device, dtype=torch.float32) / 31)
    angles = step.unsqueeze(-1) * frequencies
    return torch.cat([torch.stack([angles.sin(), angles.cos()], -2).flatten(-3), step], -1)


class Pips2(nn.Module):
    """The network. Submodules carry the names of the published checkpoint."""

    def __init__(self, config: Pips2Options = Pips2Options()) -> None:
        super().__init__()
        self.config = config
        self.fnet = PointEncoder(STRIDE)
        self.delta_block = TemporalNet()
        self.norm = nn.GroupNorm(1, FEATURES)  # in the checkpoint, used nowhere
        self.dtype = torch.float32

    def encode(self, frames: Tensor, size: Size | None = None) -> Features:
        """As `tapkit.models.pips.tracker.Pips.encode`."""
        size = size or (frames.shape[-2], frames.shape[-1])
        check_size(self.fnet, size)
        return encode_pyramid(self.fnet, frames, size, self.dtype)

    def tokens(self, levels: Features, frames: Tensor, xy: Tensor, templates: Templates) -> Tensor:
        """Input of the temporal network [N,S,718] for positions xy [N,S,2] at frames int64 [N,S]."""
        looked_for = torch.stack(list(templates), 2).flatten(0, 1)
        products = correlate(levels, looked_for, frames.reshape(-1), xy.reshape(-1, 2), RADIUS)
        return torch.cat([products.view(*xy.shape[:2], -1), encode_motion(xy)], -1)

    def iterate(
        self, levels: Features, frames: Tensor, xy: Tensor, templates: Templates | None = None
    ) -> tuple[list[Step], Templates]:
        """All iterations of one window (see `window`), and the templates of the last."""
        count, length = xy.shape[:2]
        xy = xy.float()
        query = xy[:, :1]
        if templates is None:
            seen = sample_clamped(levels.level0, frames[:, 0], xy[:, 0])
            templates = Templates(*[seen[:, None].expand(-1, length, -1)] * 3)
        steps: list[Step] = []
        for number in range(self.config.iterations):
            xy = xy.detach()  # each iteration is trained for its own step
            if number:
                seen = sample_clamped(levels.level0, frames.reshape(-1), xy.reshape(-1, 2)).view(count, length, -1)
                earlier = [torch.arange(length, device=xy.device).sub(k).clamp(min=0) for k in (2, 4)]
                templates = Templates(templates.query, seen[:, earlier[0]], seen[:, earlier[1]])
            change = self.delta_block(self.tokens(levels, frames, xy, templates))
            if self.config.beautify and number > 3 * self.config.iterations // 4:
                change = change / 2
            free = xy + change
            xy = torch.cat([query, free[:, 1:]], 1)
            steps.append(Step(xy, free))
        return steps, templates

    def window(
        self, levels: Features, frames: Tensor, xy: Tensor, templates: Templates | None = None
    ) -> tuple[Tensor, Templates]:
        """Track points through their windows -> positions [N,S,2] in cells, templates for the next window.

        levels: features of a clip; frames int64 [N,S], S >= 2: the clip's frames that make each point's window; xy
        [N,S,2]: first guess in cells, on the first frame the query itself; templates: what to look for (None: what is
        at the query).
        """
        steps, templates = self.iterate(levels, frames, xy, templates)
        return steps[-1].xy, templates


def windows(length: int, window: int) -> list[tuple[int, int]]:
    """First and past-the-last frame of each window over `length` frames: consecutive ones share a frame, and the last
    is moved back to be full (released `test_on_tap`).

    >>> windows(21, 8), windows(5, 8), windows(8, 8), windows(1, 8)
    ([(0, 8), (7, 15), (13, 21)], [(0, 5)], [(0, 8)], [])
    """
    if length < 2:
        return []
    spans = [(0, min(window, length))]
    while spans[-1][1] < length:
        begin = spans[-1][1] - 1
        end = min(begin + window, length)
        spans.append((max(end - window, 0), end))
    return spans


def chain(network: Pips2, levels: Features, t: Tensor, start: Tensor) -> Tensor:
    """Track points from frames t int64 [N], positions start [N,2] (cells), to the end of the clip: [N,T,2] cells.

    Frames before t repeat the query. Points with as many frames to go share their windows.
    """
    length = len(levels.level0)
    xy = start.float()[:, None].repeat(1, length, 1)
    for first in sorted(set(t.tolist())):
        spans = windows(length - first, network.config.window)
        block = max(_BLOCK_TOKENS // (spans[0][1] if spans else 1), 1)
        for rows in (t == first).nonzero()[:, 0].split(block):
            templates = None
            for begin, end in spans:
                frames = torch.arange(first + begin, first + end, device=t.device).expand(len(rows), -1)
                guess = xy[rows, first + begin : first + end]
                found, templates = network.window(levels, frames, guess, templates)
                xy[rows, first + begin : first + end] = found
                xy[rows, first + end :] = found[:, -1:]  # the next window begins with no motion
    return xy


def _over(named: nn.Module, x: Tensor, length: int) -> Tensor:
    """`TemporalConv.over` of the one convolution in a container (the checkpoint names it so)."""
    conv = named.get_submodule("conv")
    assert isinstance(conv, TemporalConv)
    return conv.over(x, length)
