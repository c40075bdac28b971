"""Lesson: what one training step learns from, and where it may come from."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tapkit.train.config import Stage

VALIDATION = 1 << 40
"""Seeds from here on are of lessons that are measured on, never of training."""


class Lesson(NamedTuple):
    """B clips with their truth. Positions are pixels of these frames, corner origin."""

    video: Tensor
    """[B,T,3,H,W] uint8."""
    xy: Tensor
    """[B,N,T,2] float32; not finite where it is not known."""
    visible: Tensor
    """[B,N,T] bool."""
    known: Tensor
    """[B,N,T] bool: whether `visible` is known."""


class Lessons(Protocol):
    """A source of lessons. The same stage and seed give the same lesson."""

    description: str
    """What they are made of, for the card of the weights."""

    def lesson(self, stage: Stage, seed: int) -> Lesson: ...


class Queries(NamedTuple):
    """From where each point of a lesson is tracked."""

    frame: Tensor
    """[B,N] int64 frame of the query; T for points that are never asked for."""
    frames: tuple[int, ...]
    """The different values of `frame`, T left out, ascending."""


def choose_queries(visible: Tensor, generator: torch.Generator) -> Queries:
    """Each point is asked for at frame 0 or, with others, at a later one of the first half: where it is first visible.

    visible [B,N,T] bool. There are two such frames at most, since each costs a pass over all points; points that are
    visible on neither are never asked for.
    """
    length = visible.shape[-1]
    later = int(torch.randint(1, max(length // 2, 1) + 1, (), generator=generator))
    frame = torch.full(visible.shape[:2], length, dtype=torch.long, device=visible.device)
    for start in sorted({later, 0}, reverse=True):
        frame = torch.where(visible[..., start], start, frame)
    frames = tuple(start for start in (0, later) if start < length - 1)
    # A query on the last frame teaches nothing.
    frame = torch.where(frame >= length - 1, length, frame)
    return Queries(frame, frames)
