"""What a decoder of any version is handed, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from tapkit.models.taptr.parts import together
from tapkit.nn.deformable_attention import Corners, Pyramid, corners, weighted_corners


@dataclass(frozen=True)
class Window:
    """Some frames, and some points on them. F frames, N points, S tokens a frame."""

    tokens: Tensor
    """float32 [F,S,256], contiguous."""
    pyramid: Pyramid
    tracked: Tensor
    """bool [F,N]: the point's query lies on this frame or before."""
    update: Tensor
    """bool [F,N]: its position may change (it is tracked, and this is not its query's frame)."""

    @property
    def shape(self) -> tuple[int, int]:
        """(F, N)."""
        return int(self.tracked.shape[0]), int(self.tracked.shape[1])

    @cached_property
    def among_points(self) -> Tensor | None:
        """Which points of a frame see one another [F,1,N,N]; None: all."""
        return together(self.tracked)

    @cached_property
    def along_time(self) -> Tensor | None:
        """Which frames of a point see one another [N,1,F,F]; None: all."""
        return together(self.tracked.T)

    @cached_property
    def table(self) -> Tensor:
        """The tokens of all frames [F*S,256]."""
        return self.tokens.flatten(0, 1)

    def many(self, rows_per_point: int) -> bool:
        """Whether so many points read so much of a frame that projecting all of it costs less than all they read."""
        return self.shape[1] * rows_per_point > self.pyramid.tokens

    def base(self, xy: Tensor) -> Tensor:
        """Normalised positions [...,2] in pixels of the levels [...,L,2]: 1 is the outer border of a level."""
        return xy[..., None, :] * self.pyramid.extents(xy) - 0.5

    def samples(self, base: Tensor, offsets: Tensor, frame: Tensor) -> Corners:
        """The tokens around samples: base [P,L,2], offsets [P,H,L,K,2], frame int32 [P] -> [P,H,L*K,4] in `table`."""
        found = corners(base[:, None, :, None] + offsets, self.pyramid)
        index = found.token.add_((frame * self.pyramid.tokens).view(-1, 1, 1, 1, 1))
        return Corners(index.flatten(2, 3), found.weight.flatten(2, 3))

    def read(self, base: Tensor, offsets: Tensor, weights: Tensor, frame: Tensor) -> Corners:
        """All that is read of `table` with these weights [P,H,L,K]; the other arguments as above -> [P,H,4*L*K]."""
        found = weighted_corners(base[:, None, :, None] + offsets, self.pyramid, weights)
        return Corners(found.token.add_((frame * self.pyramid.tokens).view(-1, 1, 1)), found.weight)

    @cached_property
    def frame_of(self) -> Tensor:
        """The frame of each of the F*N queries, int32 [F*N]."""
        frames, count = self.shape
        return torch.arange(frames, dtype=torch.int32, device=self.tracked.device).repeat_interleave(count)


class LayerResult(NamedTuple):
    """What one layer says."""

    content: Tensor
    """What the heads are given [F,N,256]."""
    logits: Tensor
    """Of the box (x, y, w, h) [F,N,4]."""
    box: Tensor
    """The box itself, normalised."""
    moved: Tensor
    """The box after the attention-based position update (TAPTR, which has none: before the layer)."""


class Decoded(NamedTuple):
    """What a decoder says of a window."""

    boxes: Tensor
    """Logits of (x, y, w, h) [F,N,4]; as they were where there is no update."""
    classes: Tensor
    """Logits of (nothing, visible, occluded) [F,N,3]."""
    content: Tensor
    """The queries' content after the last layer [F,N,256]."""
