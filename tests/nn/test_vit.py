"""The vision transformer: rotary positions and layers against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tapkit.nn.vit import Vit, VitConfig, rotary_table, rotate

CONFIG = VitConfig(width=32, depth=2, heads=2, hidden=24, patch=4, registers=3)


@pytest.fixture(scope="module")
def vit() -> Vit:
    torch.manual_seed(0)
    network = Vit(CONFIG).eval().requires_grad_(False)
    for block in network.layer:
        block.layer_scale1.lambda1.uniform_(0.5, 1.5)
        block.layer_scale2.lambda1.uniform_(0.5, 1.5)
    return network


def test_every_patch_turns_by_the_angles_of_its_row_and_column() -> None:
    (height, width), channels, base = (3, 5), 16, 100.0
    cos, sin = rotary_table((height, width), channels, base)
    assert cos.shape == sin.shape == (15, 16)
    for i in range(height):
        for j in range(width):
            y, x = 2 * (i + 0.5) / height - 1, 2 * (j + 0.5) / width - 1
            for k in range(channels):
                axis, number = (y, x)[k % 8 // 4], k % 4
                angle = 2 * math.pi * axis * base ** (-4 * number / channels)
                assert cos[i * width + j, k] == pytest.approx(math.cos(angle), abs=1e-6)
                assert sin[i * width + j, k] == pytest.approx(math.sin(angle), abs=1e-6)


def test_rotating_keeps_lengths_and_leaves_the_first_tokens_alone() -> None:
    x = torch.randn(2, 4 + 6, 16)
    turned = rotate(x, rotary_table((2, 3), 16, 100.0))
    assert torch.equal(turned[:, :4], x[:, :4])
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    cos, sin = rotary_table((2, 3), 16, 100.0)
    pair = x[1, 7, [5, 13]]  # channels k and k + 8 are one plane
    expected = torch.stack([pair[0] * cos[3, 5] - pair[1] * sin[3, 5], pair[1] * cos[3, 13] + pair[0] * sin[3, 13]])
    torch.testing.assert_close(turned[1, 7, [5, 13]], expected)


def test_layers_are_those_of_the_formula(vit: Vit) -> None:
    images = torch.randn(2, 3, 8, 12)
    patches = F.conv2d(
        images, vit.embeddings.patch_embeddings.weight, vit.embeddings.patch_embeddings.bias, stride=4
    ).flatten(2)
    first = torch.cat([vit.embeddings.cls_token, vit.embeddings.register_tokens], 1).expand(2, -1, -1)
    x = torch.cat([first, patches.transpose(1, 2)], 1)
    rotary = rotary_table((2, 3), 16, 100.0)
    for block in vit.layer:
        h = F.layer_norm(x, (32,), block.norm1.weight, block.norm1.bias)
        one = block.attention
        heads = []
        for head in range(2):
            part = slice(16 * head, 16 * head + 16)
            q = rotate((h @ one.q_proj.weight.T + one.q_proj.bias)[..., part], rotary)
            k = rotate((h @ one.k_proj.weight.T)[..., part], rotary)
            v = (h @ one.v_proj.weight.T + one.v_proj.bias)[..., part]
            heads.append((q @ k.transpose(1, 2) / 4).softmax(-1) @ v)
        attended = torch.cat(heads, -1) @ one.o_proj.weight.T + one.o_proj.bias
        x = x + block.layer_scale1.lambda1 * attended
        h = F.layer_norm(x, (32,), block.norm2.weight, block.norm2.bias)
        mlp = block.mlp
        gated = F.silu(h @ mlp.gate_proj.weight.T + mlp.gate_proj.bias) * (h @ mlp.up_proj.weight.T + mlp.up_proj.bias)
        x = x + block.layer_scale2.lambda1 * (gated @ mlp.down_proj.weight.T + mlp.down_proj.bias)
    expected = F.layer_norm(x, (32,), vit.norm.weight, vit.norm.bias)
    torch.testing.assert_close(vit(images), expected, atol=1e-4, rtol=1e-4)


def test_the_published_size_has_the_published_names_and_numbers() -> None:
    with torch.device("meta"):
        published = Vit(VitConfig())
    names = published.state_dict()
    assert names["embeddings.register_tokens"].shape == (1, 4, 384)
    assert names["layer.11.mlp.down_proj.weight"].shape == (384, 1536)
    assert "layer.0.attention.k_proj.weight" in names and "layer.0.attention.k_proj.bias" not in names
    assert sum(part.numel() for part in names.values()) == 28_692_864
