"""The networks of all TAPTRs: features, decoder, heads, and what windows hand on. Tensors only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tapkit.models.taptr import decoder, decoder2, decoder3
from tapkit.models.taptr.backbone import Depth
from tapkit.models.taptr.encoder import Features
from tapkit.models.taptr.parts import WIDTH, Head, Mlp
from tapkit.models.taptr.window import Decoded, Window
from tapkit.nn.deformable_attention import Pyramid
from tapkit.nn.packed import Linear

CLASSES = 3
"""Nothing, visible, occluded."""


class WindowNetwork(Features):
    """A version that works on windows of eight frames. Module names are those of the checkpoints."""

    def __init__(self, points: nn.Module, layers: int, depth: Depth = 50) -> None:
        super().__init__(depth, points)
        self.bbox_embed = nn.ModuleList([Head(WIDTH, WIDTH, WIDTH, 4) for _ in range(layers)])
        self.class_embed = nn.ModuleList([Linear(WIDTH, CLASSES) for _ in range(layers)])
        self.query_between_window_updater = Mlp("02", 3 * WIDTH, WIDTH, WIDTH)

    def query_features(self, tokens: Tensor, pyramid: Pyramid, index: Tensor, xy: Tensor) -> Tensor:
        """Content of points at normalised xy [N,2] on frames `index` [N] of tokens [F,S,C] -> [N,256].

        x is multiplied by the height of a level and y by its width, as in the released code.
        """
        return self.read(tokens, pyramid, index, self.query_places(pyramid, xy))[:, 0]

    @staticmethod
    def query_places(pyramid: Pyramid, xy: Tensor) -> Tensor:
        """Where `query_features` looks [N,1,L,2]."""
        return xy[:, None, None] * (pyramid.extents(xy).flip(-1) - 1)

    def decode(self, window: Window, content: Tensor, boxes: Tensor) -> Decoded:
        """One window: content [F,N,256] and box logits [F,N,4] that it starts from."""
        out: Decoded = self.transformer.decoder(window, content, boxes, self.bbox_embed, self.class_embed)
        return out

    def hand_on(self, first_content: Tensor, content: Tensor, decoded: Tensor, update: Tensor) -> Tensor:
        """The content [F,N,256] that the next window starts from.

        first_content [N,256]: of the query; content: this window began with; decoded: it ended with; update [F,N].
        """
        given = torch.cat([first_content.expand_as(content), content, decoded], -1)
        out: Tensor = content + self.query_between_window_updater(given) * update[..., None]
        return out


def taptr_network() -> WindowNetwork:
    """TAPTR as published."""
    return WindowNetwork(decoder.Decoder1(), decoder.LAYERS)


def taptrv2_network() -> WindowNetwork:
    """TAPTRv2 as published."""
    return WindowNetwork(decoder2.Decoder2(), decoder2.LAYERS)


class FrameNetwork(Features):
    """TAPTRv3, which works on one frame after the other. Module names are those of the checkpoints."""

    def __init__(self, depth: Depth = 50) -> None:
        super().__init__(depth, decoder3.Decoder3())
        self.bbox_embed = nn.ModuleList([Head(WIDTH, WIDTH, WIDTH, 4) for _ in range(decoder3.LAYERS)])
        self.class_embed = nn.ModuleList([Linear(WIDTH, CLASSES) for _ in range(decoder3.LAYERS)])

    def context(self, tokens: Tensor, pyramid: Pyramid, xy: Tensor) -> Tensor:
        """Patches of 3x3 features around points at normalised xy [N,2] of one frame's tokens [1,S,C] -> [N,9,256]."""
        index = torch.zeros(len(xy), dtype=torch.long, device=xy.device)
        return self.read(tokens, pyramid, index, self.context_places(pyramid, xy))

    @staticmethod
    def context_places(pyramid: Pyramid, xy: Tensor) -> Tensor:
        """Where `context` looks [N,9,L,2]: one pixel apart on each level."""
        centre = xy[:, None] * (pyramid.extents(xy) - 1)
        return centre[:, None] + decoder3.neighbours(xy)[:, None]

    def decode(self, window: Window, memory: decoder3.Memory, boxes: Tensor) -> Decoded:
        """One frame: box logits [1,N,4] of the frame before, and what the points bring along."""
        out: Decoded = self.transformer.decoder(window, memory, boxes, self.bbox_embed, self.class_embed)
        return out
