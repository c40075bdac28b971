"""The memory that a measurement reports is what was taken, not zero and not what was there before."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from tapkit.evaluation.speed import Memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_growth_is_seen_also_when_an_earlier_peak_was_higher() -> None:
    higher = np.ones(30 << 20)
    del higher
    for size in (96, 48):
        memory = Memory(torch.device("cpu"))
        taken = np.ones(size << 17)
        grown = memory.growth_mib()
        assert grown is not None and 0.9 * size < grown < 1.2 * size + 8, grown
        del taken
