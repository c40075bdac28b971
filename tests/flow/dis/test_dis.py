"""OpenCV's DIS as a flow model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapkit.errors import UsageError
from tapkit.flow.dis.model import DisFeatures, build


def frames(clip: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(clip)).permute(0, 3, 1, 2)


def test_a_pan_is_found_in_both_directions_and_in_batches(panning: np.ndarray) -> None:
    model = build()
    features = model.encode(frames(panning[:3]))
    first, second = (DisFeatures(features.grey[[a, b]]) for a, b in ((0, 2), (1, 1)))
    flow = model.flow(first, second, (120, 160)).xy
    assert flow.shape == (2, 2, 120, 160) and flow.dtype == torch.float32
    inner = flow[:, :, 8:-8, 8:-8]
    assert (inner - torch.tensor([[-2.0, -1.0], [2.0, 1.0]])[:, :, None, None]).abs().amax() < 0.3
    alone = model.flow(DisFeatures(features.grey[:1]), DisFeatures(features.grey[1:2]), (120, 160)).xy
    assert torch.equal(alone[0], flow[0])


@pytest.mark.parametrize("size", [(8, 8), (1, 5), (33, 9)])
def test_tiny_frames_have_flow(size: tuple[int, int]) -> None:
    model = build()
    noise = torch.randint(0, 255, (2, 3, *size), generator=torch.Generator().manual_seed(0)).byte()
    features = model.encode(noise)
    flow = model.flow(DisFeatures(features.grey[:1]), DisFeatures(features.grey[1:]), size).xy
    assert flow.shape == (1, 2, *size) and flow.isfinite().all()


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(UsageError, match="preset"):
        build(preset="slow")
