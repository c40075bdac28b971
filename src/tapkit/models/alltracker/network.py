"""AllTracker: where every pixel of one frame, the anchor, is in other frames.

Harley et al., AllTracker: Efficient Dense Point Tracking at High Resolution, ICCV 2025 (arXiv:2506.07310), section 3.
Maps at stride 8 are compared (`correlation`), and a recurrent update, the same in every iteration, alternates attention
over the frames of a window, cell by cell, with convolutions within each frame. At the end the motion is brought to full
resolution by learned convex combinations, as in RAFT (arXiv:2003.12039, section 3.3).

Tensors only; maps are [..,h,w,C] and float32, products in the weights' precision. Motion is in cells at stride 8 and
in pixels at full resolution, (x, y). Module names are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tapkit.constants import constant_like
from tapkit.models.alltracker.blocks import STRIDE, ConvNextBlock, TimeBlock, Trunk, convolve
from tapkit.models.alltracker.correlation import CHANNELS, Correlation
from tapkit.nn.convex import convex_upsample
from tapkit.nn.encoder import FEATURES, PointEncoder
from tapkit.nn.exporting import exporting
from tapkit.nn.packed import Conv2d, Linear, Packable, can_pack
from tapkit.nn.posenc import sincos_table
from tapkit.nn.tiled_conv import TiledConv2d

WINDOW = 16
"""Frames of a window in training, for which there are time codes."""
HIDDEN = 128
"""Channels of the state, of the context, of the motion, and of everything between them."""
HEADS = 8
MULTIPLE = 64
"""Sides of the padded frames are multiples of so many pixels."""
LEAST = 128
"""And at least so many: the coarsest level then has a cell."""
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
TOKENS = 4096
"""Cells times frames that are worked on at a time on a CPU: enough for full speed, and little memory between layers."""


@dataclass(frozen=True)
class AllTrackerConfig:
    """What distinguishes the two published networks."""

    tiny: bool
    """The encoder of PIPs instead of ConvNeXt's trunk; state and context are then the same map."""

    @property
    def channels(self) -> int:
        """Of the maps that are compared."""
        return FEATURES if self.tiny else 2 * HIDDEN


FULL = AllTrackerConfig(tiny=False)
TINY = AllTrackerConfig(tiny=True)


class Estimate(NamedTuple):
    """What is known of S frames at stride 8."""

    flow: Tensor
    """float32 [S,h,w,2]: from the anchor to each frame, (x, y) in cells."""
    score: Tensor
    """float32 [S,h,w,2]: an eighth of the logits of visibility and confidence."""


class Window(NamedTuple):
    """S frames after the last iteration."""

    estimate: Estimate
    hidden: Tensor
    """float32 [S,h,w,128]."""


class Field(NamedTuple):
    """One frame at full resolution."""

    flow: Tensor
    """float32 [2,H,W]: (x, y) in pixels."""
    probability: Tensor
    """float32 [2,H,W]: of visibility and of confidence."""


def time_codes(count: int) -> Tensor:
    """Codes of the `count` frames of a window [count,128]; those of other lengths are interpolated from those of 16."""
    codes = sincos_table(torch.arange(WINDOW), HIDDEN)
    if count == WINDOW:
        return codes
    return F.interpolate(codes.T[None], count, mode="linear", align_corners=False)[0].T.contiguous()


def conv(inputs: int, outputs: int, kernel: int) -> Conv2d:
    """A convolution that keeps the size; wide ones are laid out to be computed in tiles."""
    if kernel == 3 and min(inputs, outputs) >= 64:
        return TiledConv2d(inputs, outputs, (kernel, kernel))
    return Conv2d(inputs, outputs, kernel, padding=kernel // 2)


class MotionEncoder(nn.Module):
    """What was looked up [n,h,w,405] and the present flow [n,h,w,2] -> [n,h,w,126]; the flow itself is not appended."""

    def __init__(self) -> None:
        super().__init__()
        self.convc1 = Conv2d(CHANNELS, 512, 1)
        self.convc2 = conv(512, 192, 3)
        self.convf1 = Conv2d(2, 256, 5, padding=2)
        self.convf2 = conv(256, 64, 3)
        self.conv = conv(256, HIDDEN - 2, 3)

    def forward(self, correlation: Tensor, flow: Tensor) -> Tensor:
        c = convolve(self.convc2, convolve(self.convc1, correlation, "relu"), "relu")
        f = convolve(self.convf2, convolve(self.convf1, flow, "relu"), "relu")
        return convolve(self.conv, torch.cat([c, f], -1), "relu")


class Compressor(Packable, nn.Conv2d):
    """The 1x1 convolution over state, context with time code, motion and scores.

    Its second block of inputs is one map for all frames and iterations, plus one vector for each frame: `fixed` is
    their share, which is computed once for a window. Packed, it has the layouts of both parts.
    """

    def __init__(self) -> None:
        super().__init__(3 * HIDDEN + 2, HIDDEN, 1)
        self._parts: tuple[Linear, ...] = ()  # a tuple, so that they are no submodules

    def _split(self) -> tuple[Tensor, Tensor]:
        """The weights of what moves [128,258] and of the context [128,128]."""
        weight = self.weight[..., 0, 0]
        moving = torch.cat([weight[:, :HIDDEN], weight[:, 2 * HIDDEN :]], 1)
        return moving, weight[:, HIDDEN : 2 * HIDDEN]

    def pack(self) -> None:
        """See `Packable`; the plain weight is kept."""
        if self._parts or not can_pack(self.weight):
            return
        moving, _ = self._split()
        product = Linear(moving.shape[1], HIDDEN, bias=False, device="meta")
        product.weight = nn.Parameter(moving.detach().contiguous(), requires_grad=False)
        product.pack()
        self._parts = (product,)

    def unpack(self) -> None:
        """See `Packable`."""
        self._parts = ()

    def fixed(self, context: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """The share of the context [h,w,128], with the bias, and that of the time codes [S,128]; float32."""
        _, weight = self._split()
        weight, bias = weight.float(), None if self.bias is None else self.bias.float()
        return F.linear(context.float(), weight, bias), F.linear(times, weight)

    def move(self, x: Tensor, fixed: Tensor) -> Tensor:
        """State, motion and scores [n,h,w,258] -> [n,h,w,128], float32; `fixed` is added."""
        x = x.to(self.weight.dtype)
        y: Tensor = self._parts[0](x) if self._parts else F.linear(x, self._split()[0])
        return y.float().add_(fixed)


class Update(nn.Module):
    """One iteration: the new state of all frames from what each frame looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.motion_encoder = MotionEncoder()
        self.compressor = Compressor()
        self.refine = nn.ModuleList(ConvNextBlock(HIDDEN) if odd else TimeBlock(HIDDEN, HEADS) for odd in (0, 1) * 3)
        self.final_conv = Conv2d(HIDDEN, HIDDEN, 1)

    def refined(self, x: Tensor) -> Tensor:
        """Blocks over time and within frames, x [S,h,w,128] float32 -> the same; may overwrite x."""
        for block in self.refine:
            x = self.over_time(block, x) if isinstance(block, TimeBlock) else within_frames(block, x)
        return within_frames(lambda frame: convolve(self.final_conv, frame).float(), x)

    def over_time(self, block: nn.Module, x: Tensor) -> Tensor:
        """A `TimeBlock` on every cell of x [S,h,w,C]; on a CPU on some cells at a time, and over x itself."""
        if x.device.type != "cpu" or exporting():
            out: Tensor = block(x.flatten(1, 2)).view(x.shape)
            return out
        for cells in torch.split(x.view(len(x), -1, x.shape[-1]), max(TOKENS // len(x), 1), 1):
            cells.copy_(block(cells.contiguous()))
        return x


class AllTracker(nn.Module):
    """The network of one configuration."""

    def __init__(self, config: AllTrackerConfig = FULL) -> None:
        super().__init__()
        self.config = config
        if config.tiny:
            self.fnet = PointEncoder(STRIDE)
        else:
            self.cnn = Trunk()
            self.dot_conv = Conv2d(384, 2 * HIDDEN, 1)
        self.update_block = Update()
        self.flow_head = head(2, 3)
        self.visconf_head = head(2, 3)
        self.upsample_weight = head(9 * STRIDE**2, 1)

    # -- features ---------------------------------------------------------------------------------

    def encode(self, frames: Tensor) -> Tensor:
        """Maps [B,h,w,C] of padded frames [B,3,H,W], 0..255; on a CPU frame by frame. In the encoder's precision."""
        mean, deviation = (constant_like(part, frames)[:, None, None] for part in (MEAN, DEVIATION))
        if self.config.tiny:
            x = ((frames / 255 - mean) / deviation).to(self.fnet.conv1.weight.dtype)
            return self.fnet(x).permute(0, 2, 3, 1)  # type: ignore[no-any-return]
        at_once = 1 if frames.device.type == "cpu" else len(frames)
        parts = [((part / 255 - mean) / deviation).permute(0, 2, 3, 1) for part in torch.split(frames, max(at_once, 1))]
        return torch.cat([convolve(self.dot_conv, self.cnn(part)) for part in parts])

    def state_and_context(self, anchor: Tensor) -> tuple[Tensor, Tensor]:
        """What the recurrence starts from, and what it sees of the anchor, out of its map [h,w,C]: [h,w,128] each."""
        return (anchor, anchor) if self.config.tiny else (anchor[..., :HIDDEN], anchor[..., HIDDEN:])

    # -- windows ----------------------------------------------------------------------------------

    def window(self, anchor: Tensor, frames: Tensor, start: Estimate, times: Tensor, iterations: int) -> Window:
        """Refine the motion from the anchor to S frames.

        Args:
            anchor: map [h,w,C] of the frame whose pixels are tracked.
            frames: maps [S,h,w,C].
            start: what is known already.
            times: codes of the frames [S,128].
            iterations: how many.
        """
        correlation = Correlation(anchor, frames)
        state, context = self.state_and_context(anchor)
        fixed = self.update_block.compressor.fixed(context, times)
        hidden = state.float().expand(len(frames), -1, -1, -1)
        estimate = start
        for _ in range(iterations):
            hidden, estimate = self.iterate(correlation, hidden, estimate, fixed)
        return Window(estimate, hidden)

    def iterate(
        self, correlation: Correlation, hidden: Tensor, estimate: Estimate, fixed: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Estimate]:
        """The next state [S,h,w,128] and estimate; memory for the maps between is that of one frame, on a CPU."""
        cells = cell_grid(hidden.shape[1], hidden.shape[2], hidden.device)
        if exporting():
            looked_up = correlation.everywhere(cells + estimate.flow)
            hidden = self.update_block.refined(self.compressed(looked_up, hidden, estimate, slice(None), fixed))
            return hidden, self.moved(hidden, estimate)
        x = torch.empty(hidden.shape, device=hidden.device)
        at_once = frames_at_once(hidden)
        for begin in range(0, len(hidden), at_once):
            some = slice(begin, begin + at_once)
            targets = enumerate(cells + estimate.flow[some], begin)
            looked_up = torch.stack([correlation.at(index, target) for index, target in targets])
            x[some] = self.compressed(looked_up, hidden[some], estimate, some, fixed)
        hidden = self.update_block.refined(x)
        return hidden, self.moved(hidden, estimate)

    def compressed(
        self, looked_up: Tensor, hidden: Tensor, estimate: Estimate, some: slice, fixed: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Input of the blocks for `some` of the frames [n,h,w,128]."""
        update, flow = self.update_block, estimate.flow[some]
        motion = update.motion_encoder(looked_up, flow)
        seen = torch.cat([hidden, motion.float(), flow, estimate.score[some]], -1)
        return update.compressor.move(seen, fixed[0] + fixed[1][some, None, None])

    def moved(self, hidden: Tensor, estimate: Estimate) -> Estimate:
        """The estimate with what the heads read off the state."""
        flow = within_frames(lambda frame: apply_head(self.flow_head, frame), hidden)
        score = within_frames(lambda frame: apply_head(self.visconf_head, frame), hidden)
        return Estimate(estimate.flow + flow, estimate.score + score)

    # -- full resolution --------------------------------------------------------------------------

    def field(self, window: Window, index: int) -> Field:
        """Frame number `index` of a window at the resolution of the padded frames."""
        hidden = window.hidden[index : index + 1]
        values = torch.cat([window.estimate.flow[index], window.estimate.score[index]], -1)
        logits = 0.25 * self.mask(hidden).permute(0, 3, 1, 2)
        full = convex_upsample(STRIDE * values.permute(2, 0, 1)[None], logits)[0]
        return Field(full[:2], full[2:].sigmoid())

    def mask(self, hidden: Tensor) -> Tensor:
        """Logits of the up-sampling weights [n,h,w,576] before they are scaled, float32."""
        return apply_head(self.upsample_weight, hidden)


def head(outputs: int, kernel: int) -> nn.ModuleDict:
    """3x3, relu, then a convolution of `kernel`; counted as the authors' Sequential is."""
    return nn.ModuleDict({"0": conv(HIDDEN, 256, 3), "2": Conv2d(256, outputs, kernel, padding=kernel // 2)})


def apply_head(layers: nn.ModuleDict, x: Tensor) -> Tensor:
    """A `head` on [n,h,w,128] -> float32 [n,h,w,outputs]."""
    first, second = layers.values()
    assert isinstance(first, Conv2d) and isinstance(second, Conv2d)
    return convolve(second, convolve(first, x, "relu")).float()


def within_frames(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A layer on each frame of x [S,h,w,C], on some frames at a time."""
    if exporting():
        return layer(x)
    return torch.cat([layer(some) for some in torch.split(x, frames_at_once(x))])


def frames_at_once(x: Tensor) -> int:
    """How many frames of x [S,h,w,C] are worked on at a time: on a CPU few, elsewhere all."""
    cells = x.shape[1] * x.shape[2]
    return max(TOKENS // cells, 1) if x.device.type == "cpu" else max(len(x), 1)


def cell_grid(height: int, width: int, device: torch.device) -> Tensor:
    """(x, y) of every cell, float32 [h,w,2]."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return torch.stack([x, y], -1).float()
