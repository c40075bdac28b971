"""Released TAPNext checkpoints, PyTorch and JAX, as the tensors of our network.

Both kinds hold the same numbers under different names. JAX arrays are renamed to the PyTorch names first; everything is
then checked against the names and shapes of a released PyTorch file, strictly both ways, and laid out as
`TapNextNetwork` wants it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tapkit.errors import WeightsError
from tapkit.weights import match

HEAD_LAYERS = (0, 1, 3, 4, 6)
"""The heads' layers that have weights: linears 0, 3, 6 and norms 1, 4."""

_SSM = "ssm_block.recurrent_block."
# Names of a block: ours -> released, where a tensor is taken over as it is.
_BLOCK = {
    "temporal_pre_norm.scale": "ssm_block.temporal_pre_norm.scale",
    "channel_pre_norm.scale": "ssm_block.channel_pre_norm.scale",
    **{
        f"recurrent.{name}": _SSM + name
        for k in ["y", "x", "out"]
        for name in (f"linear_{k}.weight", f"linear_{k}.bias")
    },
    "recurrent.conv_weight": _SSM + "conv_1d.w",
    "recurrent.conv_bias": _SSM + "conv_1d.b",
    "recurrent.decay": _SSM + "rg_lru.a_param",
    "down.weight": "ssm_block.mlp_block.ffw_down.weight",
    "down.bias": "ssm_block.mlp_block.ffw_down.bias",
    "qkv.weight": "vit_block.self_attention.in_proj_weight",
    "qkv.bias": "vit_block.self_attention.in_proj_bias",
    **{
        f"{ours}.{leaf}": f"vit_block.{theirs}.{leaf}"
        for ours, theirs in (
            ("ln_1", "ln_1"),
            ("ln_2", "ln_2"),
            ("attention_out", "self_attention.out_proj"),
            ("mlp_in", "mlp.0"),
            ("mlp_out", "mlp.3"),
        )
        for leaf in ("weight", "bias")
    },
}


def released_shapes(width: int, heads: int, depth: int, image_size: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released PyTorch checkpoint of these sizes (see `TapNextConfig`)."""
    gates = (heads, width // heads, width // heads)
    block: dict[str, tuple[int, ...]] = {
        "ssm_block.temporal_pre_norm.scale": (width,),
        "ssm_block.channel_pre_norm.scale": (width,),
        _SSM + "conv_1d.w": (4, width),
        _SSM + "conv_1d.b": (width,),
        _SSM + "rg_lru.a_param": (width,),
        "ssm_block.mlp_block.ffw_up.w": (2, width, hidden),
        "ssm_block.mlp_block.ffw_up.b": (2, 1, 1, hidden),
        "ssm_block.mlp_block.ffw_down.weight": (width, hidden),
        "ssm_block.mlp_block.ffw_down.bias": (width,),
        "vit_block.self_attention.in_proj_weight": (3 * width, width),
        "vit_block.self_attention.in_proj_bias": (3 * width,),
        "vit_block.self_attention.out_proj.weight": (width, width),
        "vit_block.self_attention.out_proj.bias": (width,),
        "vit_block.mlp.0.weight": (hidden, width),
        "vit_block.mlp.0.bias": (hidden,),
        "vit_block.mlp.3.weight": (width, hidden),
        "vit_block.mlp.3.bias": (width,),
    }
    for gate in ("input_gate", "a_gate"):
        block |= {f"{_SSM}rg_lru.{gate}.w": gates, f"{_SSM}rg_lru.{gate}.b": gates[:2]}
    for name in ("linear_y", "linear_x", "linear_out"):
        block |= {f"{_SSM}{name}.weight": (width, width), f"{_SSM}{name}.bias": (width,)}
    for norm in ("ln_1", "ln_2"):
        block |= {f"vit_block.{norm}.weight": (width,), f"vit_block.{norm}.bias": (width,)}
    shapes: dict[str, tuple[int, ...]] = {
        "mask_token": (1, 1, 1, width),
        "unknown_token": (1, 1, width),
        "point_query_token": (1, 1, 1, width),
        "image_pos_emb": (1, (image_size // 8) ** 2, width),
        "lin_proj.weight": (width, 3, 8, 8),
        "lin_proj.bias": (width,),
        "encoder_norm.weight": (width,),
        "encoder_norm.bias": (width,),
    }
    for head, outputs in (("visible_head", 1), ("coordinate_head", 512)):
        for layer, shape in ((0, (256, width)), (1, (256,)), (3, (256, 256)), (4, (256,)), (6, (outputs, 256))):
            shapes |= {f"{head}.{layer}.weight": shape, f"{head}.{layer}.bias": shape[:1]}
    return shapes | {f"blocks.{i}.{name}": shape for i in range(depth) for name, shape in block.items()}


def from_released(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `TapNextNetwork` from those of a released file. Raises `WeightsError`.

    Accepted: the PyTorch file (keys may carry the prefix `tapnext.`; the constant table `query_pos_embed` is skipped,
    it is computed) and the JAX .npz (flat, names with slashes).
    """
    tensors = {name.removeprefix("tapnext."): value for name, value in weights.items()}
    if "backbone/embedding/kernel" in tensors:
        tensors = from_jax(tensors)
    tensors.pop("query_pos_embed", None)
    tensors = match(tensors, released_shapes(**_sizes(tensors)), "TAPNext")
    ours: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not name.startswith("blocks."):
            ours[name] = value.flatten() if name.endswith("_token") else value
    for i in range(_sizes(tensors)["depth"]):
        theirs, mine = f"blocks.{i}.", f"blocks.{i}."
        for our_name, name in _BLOCK.items():
            ours[mine + our_name] = tensors[theirs + name]
        up, bias = (tensors[f"{theirs}ssm_block.mlp_block.ffw_up.{leaf}"] for leaf in ("w", "b"))
        for k, branch in enumerate(("gate", "up")):
            ours[f"{mine}{branch}.weight"], ours[f"{mine}{branch}.bias"] = up[k].T, bias[k].flatten()
        for leaf in ("w", "b"):
            pair = [tensors[f"{theirs}{_SSM}rg_lru.{gate}.{leaf}"] for gate in ("input_gate", "a_gate")]
            ours[f"{mine}recurrent.gate_{'weight' if leaf == 'w' else 'bias'}"] = torch.cat(pair, -1)
    return ours


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The sizes of a checkpoint, read off its tensors under their PyTorch names."""
    try:
        width = tensors["lin_proj.weight"].shape[0]
        heads = tensors[f"blocks.0.{_SSM}rg_lru.input_gate.w"].shape[0]
        hidden = tensors["blocks.0.vit_block.mlp.0.weight"].shape[0]
        side = round(tensors["image_pos_emb"].shape[1] ** 0.5)
    except (KeyError, IndexError) as error:
        raise WeightsError(f"these are not weights of TAPNext: they lack a usable {error}") from error
    depth = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
    return {"width": width, "heads": heads, "depth": depth, "image_size": 8 * side, "hidden": hidden}


def shape_of(ours: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `TapNextConfig` for tensors that `from_released` returned."""
    return {
        "width": ours["mask_token"].shape[0],
        "heads": ours["blocks.0.recurrent.gate_weight"].shape[0],
        "depth": len({name.split(".")[1] for name in ours if name.startswith("blocks.")}),
        "image_size": 8 * round(ours["image_pos_emb"].shape[1] ** 0.5),
        "hidden": ours["blocks.0.mlp_in.weight"].shape[0],
    }


def _jax_block(name: str) -> str:
    """The PyTorch name of a JAX block tensor that only needs renaming (and transposing, if a kernel)."""
    rules = (
        ("vit_block/LayerNorm_0/scale", "vit_block.ln_1.weight"),
        ("vit_block/LayerNorm_0/bias", "vit_block.ln_1.bias"),
        ("vit_block/LayerNorm_1/scale", "vit_block.ln_2.weight"),
        ("vit_block/LayerNorm_1/bias", "vit_block.ln_2.bias"),
        ("vit_block/MlpBlock_0/Dense_0/", "vit_block.mlp.0."),
        ("vit_block/MlpBlock_0/Dense_1/", "vit_block.mlp.3."),
    )
    for theirs, ours in rules:
        if name.startswith(theirs):
            return (ours + name[len(theirs) :]).replace("kernel", "weight")
    return name.replace("/", ".").replace("kernel", "weight")


def from_jax(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """JAX arrays under the names and in the layout of the PyTorch release. What it does not know keeps its name."""
    tensors: dict[str, Tensor] = {}
    attention: dict[str, dict[str, Tensor]] = {}
    direct = {
        "backbone/embedding/bias": "lin_proj.bias",
        "backbone/pos_embedding": "image_pos_emb",
        "backbone/mask_token": "mask_token",
        "backbone/unknown_token": "unknown_token",
        "backbone/point_query_token": "point_query_token",
        "backbone/Transformer/encoder_norm/scale": "encoder_norm.weight",
        "backbone/Transformer/encoder_norm/bias": "encoder_norm.bias",
    }
    for name, array in arrays.items():
        if name in direct:
            tensors[direct[name]] = array
        elif name == "backbone/embedding/kernel":
            tensors["lin_proj.weight"] = array[0].permute(3, 2, 0, 1)
        elif block := re.fullmatch(r"backbone/Transformer/encoderblock_(\d+)/(.+)", name):
            prefix, rest = f"blocks.{block[1]}.", block[2]
            if part := re.fullmatch(r"vit_block/MultiHeadDotProductAttention_0/(\w+)/(kernel|bias)", rest):
                attention.setdefault(prefix, {})[f"{part[1]}.{part[2]}"] = array
            else:
                tensors[prefix + _jax_block(rest)] = array.T if rest.endswith("/kernel") else array
        elif head := re.fullmatch(r"(visible_head|coordinate_head)/layers_(\d+)/(kernel|scale|bias)", name):
            leaf = "bias" if head[3] == "bias" else "weight"
            tensors[f"{head[1]}.{head[2]}.{leaf}"] = array.T if head[3] == "kernel" else array
        else:
            tensors[name] = array
    for prefix, parts in attention.items():
        tensors |= {f"{prefix}vit_block.self_attention.{name}": value for name, value in _attention(parts).items()}
    return tensors


def _attention(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Flax's separate projections [C,heads,size] as one, and the output's [heads,size,C] as a matrix."""
    try:
        inputs = [parts[f"{name}.kernel"].flatten(1).T for name in ("query", "key", "value")]
        biases = [parts[f"{name}.bias"].flatten() for name in ("query", "key", "value")]
        out = parts["out.kernel"].flatten(0, 1).T
        return {
            "in_proj_weight": torch.cat(inputs),
            "in_proj_bias": torch.cat(biases),
            "out_proj.weight": out,
            "out_proj.bias": parts["out.bias"],
        }
    except KeyError as error:
        raise WeightsError(f"these are not weights of TAPNext: its attention lacks {error}") from error
