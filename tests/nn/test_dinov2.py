"""DINOv2's transformer: sizes and names of the published files. Its numbers are in the parity set (dino_tracker)."""

from __future__ import annotations

import pytest
import torch

from tapkit.nn.dinov2 import BASE, DINO_SMALL, GIANT, LARGE, SMALL, DinoV2, DinoV2Config, token_grid

TINY = DinoV2Config(24, 3, 2)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(SMALL, 22_056_576), (BASE, 86_580_480), (LARGE, 304_368_640), (GIANT, 1_136_480_768)],
    ids=["S", "B", "L", "g"],
)
def test_the_sizes_are_those_of_the_published_files(config: DinoV2Config, parameters: int) -> None:
    """Numbers of parameters as the authors' model cards and others' ports have them."""
    with torch.device("meta"):
        network = DinoV2(config)
    state = network.state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == parameters
    assert state["pos_embed"].shape == (1, 1370, config.width)
    feed_forward = {"mlp.fc1", "mlp.fc2"} if config.feed_forward == "mlp" else {"mlp.w12", "mlp.w3"}
    last = f"blocks.{config.depth - 1}."
    assert {name.removeprefix(last).rpartition(".")[0] for name in state if name.startswith(last)} == {
        "norm1", "attn.qkv", "attn.proj", "ls1", "norm2", "ls2", *feed_forward
    }  # fmt: skip
    assert set(state) - {name for name in state if name.startswith("blocks.")} == {
        "cls_token", "pos_embed", "mask_token", "patch_embed.proj.weight", "patch_embed.proj.bias",
        "norm.weight", "norm.bias",
    }  # fmt: skip


def test_the_table_of_positions_is_taken_as_it_is_for_its_own_grid_only() -> None:
    network = DinoV2(TINY)
    assert torch.equal(network.positions((37, 37)), network.pos_embed[0])
    assert network.positions((5, 9)).shape == (46, 24)
    assert torch.equal(network.positions((5, 9))[0], network.pos_embed[0, 0])


@torch.no_grad()
def test_several_layers_come_out_of_one_pass() -> None:
    torch.manual_seed(0)
    network, images = DinoV2(TINY).eval(), torch.randn(2, 3, 42, 57)
    first, last, normed = network.layers(images, 7, (0, 2, None))
    assert first.shape == (2, 24, *token_grid((42, 57), 7)) == (2, 24, 5, 7)
    assert torch.equal(first, network(images, 7, 0)) and torch.equal(last, network(images, 7, 2))
    assert not torch.allclose(first, last)
    assert torch.allclose(normed, network.norm(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    # the token of a patch at stride 7 two steps on is that of stride 14 one step on, where nothing mixes tokens
    embedded = network.patch_embed(images, 7), network.patch_embed(images, 14)
    assert torch.allclose(embedded[0][..., ::2, ::2], embedded[1], atol=1e-6)


@torch.no_grad()
def test_the_first_dino_has_other_patches_and_no_layer_scale() -> None:
    with torch.device("meta"):
        state = DinoV2(DINO_SMALL).state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == 21_665_664
    assert state["pos_embed"].shape == (1, 197, 384) and not any("ls1" in name or "mask" in name for name in state)
    torch.manual_seed(0)
    network = DinoV2(DinoV2Config(24, 2, 2, patch=16, table=14, layer_scale=False)).eval()
    assert torch.equal(network.positions((14, 14)), network.pos_embed[0])
    images = torch.randn(1, 3, 32, 50)
    assert network(images, 16).shape == (1, 24, 2, 3)
    block = network.blocks[0]
    x = torch.randn(1, 5, 24)
    after = x + block.attn(block.norm1(x))
    assert torch.allclose(block(x), after + block.mlp(block.norm2(after)), atol=1e-6)
