"""Features of a clip whose gradients are gathered before the encoder sees them: its activations never lie around.

A frame is encoded once without gradients. Everything that reads its maps adds to their gradients. When nothing will
read them any more, the frame is encoded a second time and the gradients are handed to the encoder: the same sum of
gradients as if the whole clip had been encoded at once, with the activations of one frame in memory. The encoders of
the trackers treat every frame by itself and have no randomness, so both times give the same maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

PIXELS = 1 << 17
"""About how many pixels are encoded at once with gradients; at least one frame."""
Maps = tuple[Tensor, ...]
Encode = Callable[[Tensor], Sequence[Tensor]]
"""Frames uint8 [B,3,H,W] -> maps with leading axis B."""


class ClipFeatures:
    """Maps of the frames of one clip, made when they are first asked for."""

    def __init__(self, encode: Encode, video: Tensor, trained: bool) -> None:
        """video: uint8 [T,3,H,W]; trained: whether gradients are wanted."""
        self.encode, self.video, self.trained = encode, video, trained
        self._kept: dict[int, Maps] = {}

    def frames(self, numbers: Sequence[int]) -> Maps:
        """The maps of frames, each stacked along a new first axis, with gradients towards what is kept."""
        for number in numbers:
            if number not in self._kept:
                self._kept[number] = self._encoded(number)
        return tuple(torch.stack(levels) for levels in zip(*(self._kept[n] for n in numbers), strict=True))

    def _encoded(self, number: int) -> Maps:
        with torch.no_grad():
            maps = self.encode(self.video[number : number + 1])
        return tuple(level[0].detach().requires_grad_(self.trained) for level in maps)

    def release(self, numbers: Sequence[int]) -> None:
        """Hand the gathered gradients of frames to the encoder, and forget their maps."""
        due = {}
        for number in numbers:
            gradients = [level.grad for level in self._kept.pop(number, ())]
            if self.trained and any(gradient is not None for gradient in gradients):
                due[number] = gradients
        for some in pieces(list(due), at_once(self.video)):
            maps = self.encode(self.video[some])
            flat = [level[row] for row in range(len(some)) for level in maps]
            backward(flat, [gradient for number in some for gradient in due[number]])

    def release_all(self) -> None:
        """`release` of all that is kept."""
        self.release(list(self._kept))


def at_once(video: Tensor) -> int:
    """How many frames of a video [T,3,H,W] are encoded at once with gradients."""
    return max(PIXELS // (video.shape[-2] * video.shape[-1]), 1)


def pieces(numbers: Sequence[int], size: int) -> Iterator[list[int]]:
    """The numbers in order, `size` at a time."""
    for start in range(0, len(numbers), size):
        yield list(numbers[start : start + size])


def backward(values: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Send gradients, where there are any, back through values."""
    pairs = [(v, g.to(v.dtype)) for v, g in zip(values, gradients, strict=True) if g is not None and v.requires_grad]
    if pairs:
        torch.autograd.backward([value for value, _ in pairs], [gradient for _, gradient in pairs])
