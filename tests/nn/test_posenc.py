"""Position codes against their formulas."""

from __future__ import annotations

import math

import torch

from tapkit.nn.posenc import linear_sincos, octave_sines, sincos_table


def test_the_table_has_all_sines_before_all_cosines() -> None:
    table = sincos_table(torch.tensor([0, 3]), 6)
    frequencies = [10000 ** (-k / 3) for k in range(3)]
    expected = [math.sin(3 * w) for w in frequencies] + [math.cos(3 * w) for w in frequencies]
    torch.testing.assert_close(table[1], torch.tensor(expected))
    assert table[0].tolist() == [0, 0, 0, 1, 1, 1]


def test_linear_codes_alternate_sine_and_cosine_of_rising_frequency() -> None:
    codes = linear_sincos(torch.tensor([0.01]))[0]
    expected = [f(31.25 * k * 0.01) for k in range(32) for f in (math.sin, math.cos)]
    torch.testing.assert_close(codes, torch.tensor(expected), atol=1e-5, rtol=0)


def test_octave_codes_run_over_octaves_slowly_and_components_fast() -> None:
    codes = octave_sines(torch.tensor([[0.2, -0.7]]), 3)[0]
    angles = [2**k * v for k in range(3) for v in (0.2, -0.7)]
    expected = [0.2, -0.7] + [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    torch.testing.assert_close(codes, torch.tensor(expected), atol=1e-5, rtol=0)
