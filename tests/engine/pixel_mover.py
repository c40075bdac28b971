"""A model whose answer is exact by construction: every frame says, in its first pixel, by how much all points move."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from tapkit.models.base import Prediction
from tapkit.types import ModelCard

CARD = ModelCard(
    id="pixel-mover", name="", paper="", paper_url="", code_licence="", weights_licence="", commercial=True, factory=""
)


class State(NamedTuple):
    xy: Tensor
    steps: Tensor


class PixelMover:
    """Moves points by (red, green) - 100 of the first pixel; visible falls with the steps taken."""

    device = torch.device("cpu")
    options: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, size: tuple[int, int] | None = None, card: ModelCard = CARD) -> None:
        self.size, self.card = size, card
        self.seen = 0
        self.fail_at: int | None = None

    def to(self, device: torch.device | str) -> Self:
        return self

    def frame_size(self, size: tuple[int, int]) -> tuple[int, int] | None:
        return self.size

    def point_bytes(self, size: tuple[int, int]) -> int:
        return 1000

    def start(self, size: tuple[int, int]) -> State:
        return State(torch.zeros(0, 2), torch.zeros(0))

    def step(self, state: State, frame: Tensor, new_xy: Tensor) -> tuple[State, Prediction]:
        if self.fail_at is not None and self.seen == self.fail_at:
            raise RuntimeError("the model failed")
        self.seen += 1
        move = frame[:2, 0, 0].float() - 100
        xy = torch.cat([state.xy + move, new_xy])
        steps = torch.cat([state.steps + 1, torch.zeros(len(new_xy))])
        return State(xy, steps), Prediction(xy, 1 / (1 + steps), 1 / (1 + steps))

    def select(self, state: State, rows: Tensor) -> State:
        return State(state.xy[rows], state.steps[rows])


def clip(moves: list[tuple[int, int]], height: int = 32, width: int = 48) -> np.ndarray:
    """Frames [T,H,W,3]; frame t says moves[t] (from the frame before it)."""
    frames = np.full((len(moves), height, width, 3), 90, np.uint8)
    frames[:, :, :, :2] = np.array(moves, int)[:, None, None] + 100  # the whole frame, so that resizing keeps it
    return frames
