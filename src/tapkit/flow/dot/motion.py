"""A clip whose sparse tracks are known: dense motion between any two of its frames, each frame encoded once."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from tapkit import coords
from tapkit.constants import constant, constant_like
from tapkit.coords import Size
from tapkit.flow.base import Flow
from tapkit.flow.dot.coarse import SparseTracks, coarse_motion, nearest
from tapkit.flow.dot.network import REFINER, Refinement, Refiner
from tapkit.flow.fields import pixel_centers
from tapkit.nn.sampling import sample

HELD = 16
"""First frames whose features are held at a time (33 MB each at 512x512)."""


class Dense(NamedTuple):
    """Motion of all pixels of one frame to another, at the network's size."""

    flow: Tensor
    """[1,2,H,W] float32: displacement (x, y) in pixels of that size."""
    visible: Tensor
    """[1,H,W] float32: P(visible in the second frame)."""


class ClipMotion:
    """Dense motion within a clip.

    Args:
        network: the refiner.
        frames: uint8 [T,3,h,w].
        tracks: sparse tracks of these frames.
        size: at which the network works, multiples of 4.
        iterations: refinements of a pair.
    """

    def __init__(self, network: Refiner, frames: Tensor, tracks: SparseTracks, size: Size, iterations: int) -> None:
        self.network, self.frames, self.tracks = network, frames, tracks
        self.size, self.iterations = size, iterations
        self.held = HELD
        """How many first frames are asked for in turn; features of two frames more are held."""
        self.cells: Size = (size[0] // REFINER.stride, size[1] // REFINER.stride)
        self._matching: OrderedDict[int, Tensor] = OrderedDict()
        self._context: OrderedDict[int, Tensor] = OrderedDict()
        self._nearest: OrderedDict[int, Tensor] = OrderedDict()

    def matching(self, frame: int) -> Tensor:
        """The map [1,C,h,w] that is compared."""
        return self._held(self._matching, frame, lambda: self.network.matching(self._prepared(frame)))

    def context(self, frame: int) -> Tensor:
        """The context map [1,C',h,w] of a first frame."""
        return self._held(self._context, frame, lambda: self.network.context(self._prepared(frame)))

    def coarse(self, first: int, second: int) -> tuple[Tensor, Tensor]:
        """Flow [1,2,h,w] (cells) and visibility [1,1,h,w] (0 or 1) before refinement."""
        index = self._held(
            self._nearest, first, lambda: nearest(self.tracks.xy[first], self.tracks.visible[first], self.cells)
        )
        return coarse_motion(self.tracks, first, second, index)

    def dense(self, first: int, second: int) -> Dense:
        """The refined motion; from a frame to itself there is none."""
        if first == second:
            return Dense(self.tracks.xy.new_zeros(1, 2, *self.size), self.tracks.xy.new_ones(1, *self.size))
        steps = self.network.refine(
            self.matching(first), self.matching(second), self.context(first), *self.coarse(first, second),
            self.iterations,
        )  # fmt: skip
        step: Refinement = deque(steps, maxlen=1)[0]
        return Dense(*self.network.enlarge_both(step))

    def _prepared(self, frame: int) -> Tensor:
        return self.network.prepared(self.frames[frame : frame + 1], self.size)

    def _held(self, store: OrderedDict[int, Tensor], frame: int, make: Callable[[], Tensor]) -> Tensor:
        """What the store has of a frame, made if need be; what was not asked for the longest is forgotten."""
        if frame not in store:
            store[frame] = make()
        store.move_to_end(frame)
        while len(store) > self.held + 2:
            store.popitem(last=False)
        return store[frame]


def read_points(dense: Dense, xy: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """Where points [N,2] of the first frame are in the second, and P(visible) [N]; pixels of frames of `size`, corner
    origin.

    The authors convert positions so that the centres of the outermost pixels stay put, and call a point visible where
    any pixel around it is. Beyond these centres, where they read nothing, the border's motion holds.
    """
    inner: Size = (dense.flow.shape[-2], dense.flow.shape[-1])
    last = constant_like([size[1] - 1, size[0] - 1], xy)
    at = coords.resize_centers(coords.to_centers(xy).clamp(min=0).minimum(last), size, inner)
    moved = sample(dense.flow, at[None], "border")[0]
    ends = constant([inner[1] - 1, inner[0] - 1], torch.long, xy.device)
    low, high = (part.long().minimum(ends) for part in (at.floor(), at.ceil()))  # rounding may lead beyond them
    rows = dense.visible[0]
    corners = [rows[y[:, 1], x[:, 0]] for y in (low, high) for x in (low, high)]
    return xy + coords.resize_centers(moved, inner, size), torch.stack(corners).amax(0)


def whole_field(dense: Dense, size: Size) -> Flow:
    """The motion of all pixels of frames of `size`."""
    xy = pixel_centers(size, dense.flow.device).view(-1, 2)
    moved, visible = read_points(dense, xy, size)
    return Flow((moved - xy).T.reshape(1, 2, *size).contiguous(), 1 - visible.view(1, *size))
