"""A source of batches that needs no generator: smooth pictures that move evenly."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tapkit.train.batch import Batch
from tapkit.train.config import Stage


class Drift:
    """Noise moving by up to 3 pixels a frame, the same for the same seed; `before` is called with every seed."""

    description = "drifting noise"

    def __init__(self, before=None) -> None:
        self.before = before

    def batch(self, stage: Stage, seed: int) -> Batch:
        if self.before is not None:
            self.before(seed)
        generator = torch.Generator().manual_seed(seed)
        size, margin = stage.size, 4 * stage.frames
        cells = (size + 2 * margin) // 5
        noise = torch.rand(stage.batch, 3, cells, cells, generator=generator)
        wide = F.interpolate(noise, (size + 2 * margin,) * 2, mode="bicubic").mul(255).clamp(0, 255).byte()
        speed = torch.randint(-3, 4, (stage.batch, 2), generator=generator)
        clips = [
            torch.stack(
                [
                    picture[:, margin - y * t : margin - y * t + size, margin - x * t : margin - x * t + size]
                    for t in range(stage.frames)
                ]
            )
            for picture, (x, y) in zip(wide, speed.tolist(), strict=True)
        ]
        start = torch.rand(stage.batch, stage.points, 1, 2, generator=generator) * size
        xy = start + speed[:, None, None] * torch.arange(stage.frames)[:, None]
        visible = ((xy >= 0) & (xy < size)).all(-1)
        return Batch(torch.stack(clips), xy.float(), visible, torch.ones_like(visible))


@pytest.fixture
def drift() -> type[Drift]:
    return Drift


@pytest.fixture
def float64(monkeypatch):
    """In double precision, also what the networks keep in single: rounding is then no excuse."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
