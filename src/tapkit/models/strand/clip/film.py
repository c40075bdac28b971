"""The features of a whole clip, and the clip played forwards or backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from tapkit.models.strand.encoder import Maps
from tapkit.models.strand.tracker import StrandFeatures
from tapkit.nn.alignment import grey_pyramid


class ClipFeatures(NamedTuple):
    """What is kept of B frames: about 18 bytes a pixel with maps in bfloat16."""

    fine: Tensor
    """Maps of `encoder.Maps`, [B,h,w,C] each."""
    coarse: Tensor
    wide: Tensor
    known: Tensor
    frames: Tensor
    """uint8 [B,3,H,W], from which the `grey_pyramid` is made again."""


def kept(maps: Maps, frames: Tensor) -> ClipFeatures:
    """Of frames uint8 [B,3,H,W] and their maps."""
    return ClipFeatures(*maps, frames)


@dataclass(frozen=True)
class Film:
    """A clip, frame by frame; frame 0 is the last one of the clip where it is played backwards."""

    features: ClipFeatures
    backwards: bool = False

    def __len__(self) -> int:
        """How many frames."""
        return len(self.features.frames)

    def maps(self, frame: int) -> Maps:
        """Of one frame, B = 1."""
        here = self._slice(frame)
        return Maps(*(level[here] for level in self.features[:-1]))

    def grey(self, frame: int) -> tuple[Tensor, ...]:
        """The `grey_pyramid` of one frame."""
        return grey_pyramid(self.features.frames[self._slice(frame)])

    def at(self, frame: int) -> StrandFeatures:
        """What strand saw on that frame."""
        return StrandFeatures(self.maps(frame), self.grey(frame), self.features.frames[self._slice(frame)])

    def _slice(self, frame: int) -> slice:
        own = len(self) - 1 - frame if self.backwards else frame
        return slice(own, own + 1)
