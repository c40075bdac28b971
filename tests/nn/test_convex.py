"""Convex up-sampling against its definition, pixel by pixel."""

from __future__ import annotations

import torch

from tapkit.nn.convex import convex_upsample


def test_every_pixel_is_the_weighted_mean_of_nine_cells() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 2, 4, generator=generator)
    logits = torch.randn(2, 576, 2, 4, generator=generator)
    found = convex_upsample(maps, logits.contiguous(memory_format=torch.channels_last))
    assert torch.equal(found, convex_upsample(maps, logits))
    weights = logits.view(2, 9, 8, 8, 2, 4).double().softmax(1)
    for p, c, y, x in ((0, 0, 0, 0), (1, 2, 15, 31), (0, 1, 7, 19), (1, 0, 8, 3)):
        row, column, a, b = y // 8, x // 8, y % 8, x % 8
        total = 0.0
        for k in range(9):
            at_y, at_x = row + k // 3 - 1, column + k % 3 - 1
            if 0 <= at_y < 2 and 0 <= at_x < 4:
                total += float(weights[p, k, a, b, row, column] * maps[p, c, at_y, at_x])
        assert abs(float(found[p, c, y, x]) - total) < 1e-5
