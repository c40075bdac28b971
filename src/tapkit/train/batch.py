"""Batch: what one training step learns from, and where it may come from; queries and predictions for its points."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tapkit.train.config import Stage

VALIDATION_SEEDS = 1 << 40
"""Seeds from here on are of validation batches, never of training."""


class Batch(NamedTuple):
    """B clips with ground truth. Positions are pixels of these frames, corner origin."""

    video: Tensor
    """[B,T,3,H,W] uint8."""
    xy: Tensor
    """[B,N,T,2] float32; not finite where it is not known."""
    visible: Tensor
    """[B,N,T] bool."""
    known: Tensor
    """[B,N,T] bool: whether `visible` is known."""


class BatchSource(Protocol):
    """A source of batches. The same stage and seed give the same batch."""

    description: str
    """What the batches are made of, for the card of the weights."""

    def batch(self, stage: Stage, seed: int) -> Batch:
        """`stage.batch` clips as the stage asks for them, drawn from the seed alone."""


class Queries(NamedTuple):
    """From where each point of a batch is tracked."""

    frame: Tensor
    """[B,N] int64 frame of the query; T for points that are not queried."""
    frames: tuple[int, ...]
    """The different values of `frame`, T left out, ascending."""


class Predictions(NamedTuple):
    """What a network says of a batch: xy [B,N,T,2], visible and confidence [B,N,T] as probabilities.

    Entries before a point's query are zero; the entry of the query is the query itself.
    """

    xy: Tensor
    visible: Tensor
    confidence: Tensor


def sample_queries(visible: Tensor, generator: torch.Generator) -> Queries:
    """Each point is queried at frame 0 or, with others, at a later frame of the first half: where first visible.

    visible [B,N,T] bool. There are two such frames at most, since each costs a pass over all points; points that are
    visible on neither are not queried.
    """
    length = visible.shape[-1]
    later = int(torch.randint(1, max(length // 2, 1) + 1, (), generator=generator))
    frame = torch.full(visible.shape[:2], length, dtype=torch.long, device=visible.device)
    for start in sorted({later, 0}, reverse=True):
        frame = torch.where(visible[..., start], start, frame)
    frames = tuple(start for start in (0, later) if start < length - 1)
    # A query on the last frame gives no loss.
    frame = torch.where(frame >= length - 1, length, frame)
    return Queries(frame, frames)


def first_visible(visible: Tensor) -> Queries:
    """Queries of mode "first": every point of [B,N,T] at its first visible frame; points never visible at none."""
    length = visible.shape[-1]
    frame = torch.where(visible.any(-1), visible.int().argmax(-1), length)
    frames = tuple(sorted({int(t) for t in frame.flatten().tolist() if t < length}))
    return Queries(frame, frames)
