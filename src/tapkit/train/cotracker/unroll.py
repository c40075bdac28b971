"""A CoTracker unrolled over a clip that is longer than its window, with the memory of one window.

Overlapping windows follow one another, each begun from the result of the one before (Karaev et al., arXiv:2307.07635,
section 3.3, and arXiv:2410.11831). After each window its loss is sent backward; positions, and logits unless
`carry_gradients`, are handed on without gradients. What all windows read, the maps of the frames and the features of
the queries, gathers the gradients of all windows first (`tapkit.train.features`). So every parameter gets the sum of
the gradients of all windows, each taken alone.

Positions are cells (pixels of the frames, centres at integers, over the stride), as in the networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tapkit.train.features import ClipFeatures, Encode, Maps, at_once, backward, pieces


class Track(NamedTuple):
    """Positions [N,S,2] in cells, and logits [N,S]."""

    xy: Tensor
    visible: Tensor
    confidence: Tensor


class Points(NamedTuple):
    """The queries of one clip."""

    t: Tensor
    """[N] int64: frame."""
    xy: Tensor
    """[N,2]: cells."""


class Window(NamedTuple):
    """What a network made of one window."""

    frames: range
    """Of the clip; those after its end are not in it, although the network sees the last frame in their place."""
    tracks: tuple[Track, ...]
    """After each iteration, on the S frames of the window, which may be more than `frames`."""


class Unrollable(Protocol):
    """A CoTracker's network as windows need it."""

    first_visible: float
    """Visibility logit of a point that has not been tracked yet."""

    @property
    def window(self) -> int | None:
        """Frames of a window; None: the whole clip."""

    @property
    def encode(self) -> Encode:
        """Maps of frames."""

    def read(self, maps: Maps, index: Tensor, xy: Tensor) -> Maps:
        """What is kept of queries xy [P,2] on frames `index` [P] of the maps, each [P,...]."""

    def track(self, maps: Maps, start: Track, kept: Maps, points: Points, window: range) -> Iterator[Track]:
        """The tracks after each iteration over the frames of `window`, of which the maps are; `kept` is zero for
        points that begin later."""


class Unrolled:
    """The windows of one clip: `windows`, then `finish`."""

    def __init__(
        self, network: Unrollable, video: Tensor, points: Points, trained: bool, carry_gradients: bool = False
    ) -> None:
        """video: uint8 [T,3,H,W]; trained: whether the encoder learns."""
        self.network, self.points = network, points
        self.length = len(video)
        self.span = network.window or self.length
        self.step = self.span if network.window is None else self.span // 2
        self.trained, self.carry_gradients = trained, carry_gradients
        self.features = ClipFeatures(network.encode, video, trained)
        self._kept: list[tuple[Tensor, Maps]] = []
        """Rows of the points that begin in each window so far, and their features."""

    @property
    def firsts(self) -> range:
        """The first frame of each window."""
        return range(0, max(self.length - self.span + self.step - 1, 0) // self.step * self.step + 1, self.step)

    def windows(self) -> Iterator[Window]:
        """One window after the other. The loss of each must be sent backward before the next is asked for; with
        `carry_gradients` that of all together, before `finish`. Windows before all queries are left out."""
        before: Track | None = None
        for first in self.firsts:
            frames = range(first, first + self.span)
            maps = self.features.frames([min(t, self.length - 1) for t in frames])
            self._read(maps, first)
            if not self._kept:  # nothing has begun
                continue
            start = self._start(before, first)
            tracks = tuple(self.network.track(maps, start, self._of_points(), self.points, frames))
            yield Window(range(first, min(first + self.span, self.length)), tracks)
            del maps
            before = tracks[-1]
            if not self.carry_gradients:
                before = Track(*(part.detach() for part in before))
                self.features.release(range(first, first + self.step))

    def finish(self) -> None:
        """Hand what gradients there still are to the encoder; called when all losses have been sent backward."""
        self.features.release_all()
        if self.trained:
            self._hand_over()

    def _read(self, maps: Maps, first: int) -> None:
        """Read the features of the queries that lie in this window and in none before."""
        t = self.points.t
        due = ((t >= (first + self.span - self.step if first else 0)) & (t < first + self.span)).nonzero()[:, 0]
        if not len(due):
            return
        kept = self.network.read(maps, t[due] - first, self.points.xy[due])
        if len(self.firsts) > 1:  # later windows need them too: they gather gradients of their own
            kept = tuple(part.detach().requires_grad_(self.trained) for part in kept)
        self._kept.append((due, kept))

    def _of_points(self) -> Maps:
        """The features of all points, zero for those that have not begun."""
        count = len(self.points.t)
        parts = []
        for number in range(len(self._kept[0][1])):
            some = self._kept[0][1][number]
            whole = some.new_zeros(count, *some.shape[1:])
            for rows, kept in self._kept:
                whole = whole.index_copy(0, rows, kept[number])
            parts.append(whole)
        return tuple(parts)

    def _start(self, before: Track | None, first: int) -> Track:
        """Where a window begins: the end of the one before, its last frame held, for points that were in it."""
        count, span, step = len(self.points.t), self.span, self.step
        xy = self.points.xy[:, None].expand(-1, span, -1)
        visible = xy.new_full((count, span), self.network.first_visible)
        query = Track(xy, visible, torch.zeros_like(visible))
        if before is None:
            return query
        held = (torch.cat([part[:, step:], part[:, -1:].repeat_interleave(step, 1)], 1) for part in before)
        carried = (self.points.t < first + span - step)[:, None]
        return Track(
            *(
                torch.where(carried[..., None] if part.ndim == 3 else carried, part, new)
                for part, new in zip(held, query, strict=True)
            )
        )

    def _hand_over(self) -> None:
        """Hand the gradients of the queries' features to the encoder: their frames are encoded once more."""
        for rows, kept in self._kept:
            gradients = [part.grad if part.is_leaf else None for part in kept]
            if all(gradient is None for gradient in gradients):
                continue
            t = self.points.t[rows]
            frames = sorted(set(t.tolist()))
            for some in pieces(frames, at_once(self.features.video)):
                here = torch.isin(t, t.new_tensor(some))
                maps = tuple(self.network.encode(self.features.video[some]))
                index = torch.searchsorted(t.new_tensor(some), t[here])
                again = self.network.read(maps, index, self.points.xy[rows[here]])
                backward(again, [None if g is None else g[here] for g in gradients])
        self._kept = []
