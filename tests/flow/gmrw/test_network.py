"""GMRW's network: windows, position codes, the rows of the transition matrix that are made."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tapkit.errors import ShapeError
from tapkit.flow.gmrw import matching
from tapkit.flow.gmrw.matching import Matching, dense_flow, displacements, flow_at
from tapkit.flow.gmrw.network import GmrwNetwork, position_code, window_attention


def masked_windows(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Shifted windows as Swin transformers have them: the map is rolled, and regions are kept apart by -100."""
    height, width = q.shape[1:3]
    rows, columns = height // 2, width // 2
    shift = (rows // 2, columns // 2)

    def regions(length: int, window: int, by: int) -> Tensor:
        at = torch.arange(length)
        return (at >= length - window).long() + (at >= length - by).long()

    label = 3 * regions(height, rows, shift[0])[:, None] + regions(width, columns, shift[1])
    q, k, v = (x.roll((-shift[0], -shift[1]), (1, 2)) for x in (q, k, v))
    out = torch.empty_like(q)
    for top in (0, rows):
        for left in (0, columns):
            part = (slice(None), slice(top, top + rows), slice(left, left + columns))
            a, b, c = (x[part].flatten(1, 2) for x in (q, k, v))
            of = label[part[1:]].flatten()
            scores = a @ b.transpose(1, 2) / q.shape[-1] ** 0.5 - 100.0 * (of[:, None] != of)
            out[part] = (scores.softmax(-1) @ c).view(len(q), rows, columns, -1)
    return out.roll(shift, (1, 2))


@pytest.mark.parametrize("size", [(8, 12), (6, 10), (14, 22), (2, 4)])
def test_shifted_windows_are_those_of_a_rolled_and_masked_map(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, *size, 16, generator=generator)
    assert torch.allclose(window_attention(q, k, v, True), masked_windows(q, k, v), atol=1e-5)


def test_plain_windows_do_not_see_one_another() -> None:
    q, k, v = torch.randn(3, 1, 8, 8, 16, generator=torch.Generator().manual_seed(1))
    before = window_attention(q, k, v, False)
    k[:, :4, :4] += 1
    v[:, :4, :4] += 1
    changed = (window_attention(q, k, v, False) - before).abs().amax(-1)[0] > 1e-6
    assert changed[:4, :4].all() and changed.sum() == 16


def test_the_position_code_counts_from_one_in_each_window() -> None:
    code = position_code(6, 8)
    assert code.shape == (6, 8, 128)
    assert torch.equal(code[:3, :4], code[3:, 4:]) and torch.equal(code[:3, :4], code[:3, 4:])
    angle = torch.tensor(2 / 3.000001 * 2 * torch.pi)
    assert torch.allclose(code[1, 0, :2], torch.stack([angle.sin(), angle.cos()]), atol=1e-6)
    assert torch.allclose(code[1, 0, 2], (angle / 10000 ** (2 / 64)).sin(), atol=1e-6)


def test_images_that_cannot_be_split_into_windows_are_refused() -> None:
    with pytest.raises(ShapeError, match="multiples of 8, got 20x16"):
        GmrwNetwork().encode(torch.zeros(1, 3, 20, 16))


def pair(height: int = 6, width: int = 8) -> tuple[Tensor, Tensor]:
    first, second = 3 * torch.randn(2, height, width, 128, generator=torch.Generator().manual_seed(2))
    return first, second


@pytest.mark.parametrize("method", ["weighted_sum", "argmax", "weighted_argmax"])
def test_flow_at_points_is_the_dense_flow_read_there(method: str) -> None:
    first, second = pair()
    size, rule = (31, 47), Matching(method, 2.5)  # type: ignore[arg-type]
    xy = torch.rand(40, 2, generator=torch.Generator().manual_seed(3)) * torch.tensor([57.0, 41.0]) - 5
    xy[:2] = torch.tensor([[0.0, 0.0], [46.0, 30.0]])
    dense = dense_flow(first, second, size, rule)
    scale = 2 / (torch.tensor([47.0, 31.0]) - 1)
    read = F.grid_sample(dense[None], (xy * scale - 1)[None, None], padding_mode="border", align_corners=True)[
        0, :, 0
    ].T
    assert torch.allclose(flow_at(first, second, size, xy, rule), read, atol=1e-4)


def test_displacements_are_what_the_whole_matrix_says(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pair()
    whole = (first.flatten(0, 1) @ second.flatten(0, 1).T / 128**0.5).softmax(1)
    x, y = torch.arange(8.0).repeat(6), torch.arange(6.0).repeat_interleave(8)
    expected = torch.stack([whole @ x - x, whole @ y - y], 1)
    every = torch.arange(48)
    assert torch.allclose(displacements(first, second, every, Matching()), expected, atol=1e-5)
    best = whole.argmax(1)
    assert torch.equal(displacements(first, second, every, Matching("argmax"))[:, 0], x[best] - x)
    near = ((x - x[best][:, None]) ** 2 + (y - y[best][:, None]) ** 2) < 4  # strictly nearer than 2
    local = whole * near / (whole * near).sum(1, keepdim=True)
    found = displacements(first, second, every, Matching("weighted_argmax", 2.0))
    assert torch.allclose(found[:, 0], local @ x - x, atol=1e-5)
    monkeypatch.setattr(matching, "_ENTRIES", 100)
    assert torch.allclose(displacements(first, second, every, Matching()), expected, atol=1e-5)
