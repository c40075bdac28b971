"""Released weights of TAP-Net and TAPIR in their JAX (Haiku) form, under our names.

The PyTorch checkpoints of TAPIR need no conversion: the network's tensors carry their names. `tapkit.jax_weights` reads
the .npy files into arrays named `module/name`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_HEADS = {
    "cost_volume_regression_1": "hid1",
    "cost_volume_regression_2": "hid2",
    "cost_volume_occlusion_1": "hid3",
    "cost_volume_occlusion_2": "hid4",
    "occlusion_out": "occ_out",
}
_BLOCK = {
    "layer_norm": "layer_norm",
    "layer_norm_1": "layer_norm_1",
    "mlp1_up": "mlp1_up",
    "mlp1_up_1": "mlp1_up_1",
    "mlp2_up": "conv_channels_mixer.mlp2_up",
    "mlp2_down": "conv_channels_mixer.mlp2_down",
}
_LEAVES = {"w": "weight", "scale": "weight", "b": "bias", "offset": "bias"}


def is_jax(weights: Mapping[str, Tensor]) -> bool:
    """Whether these are Haiku's names (`tapir/~/...`)."""
    return any("/~/" in name for name in weights)


def tapir_from_jax(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays of a released TAPIR .npy as tensors of the PyTorch release. What it does not know keeps its name."""
    tensors = {}
    for name, array in arrays.items():
        module, _, leaf = name.removeprefix("tapir/~/").rpartition("/")
        ours = _tapir_module(module)
        if ours is None or leaf not in _LEAVES:
            tensors[name] = array
        else:
            tensors[f"{ours}.{_LEAVES[leaf]}"] = transposed(array) if leaf == "w" else array.flatten()
    return tensors


def _tapir_module(name: str) -> str | None:
    """The PyTorch name of a Haiku module of TAPIR; None if there is none."""
    if name == "resnet/~/initial_conv":
        return "resnet_torch.initial_conv"
    if found := re.fullmatch(r"resnet/~/block_group_(\d)/~/block_(\d)/~/(\w+)", name):
        layer = {"shortcut_conv": "proj_conv"}.get(found[3], found[3].replace("instancenorm_", "bn_"))
        return f"resnet_torch.block_groups.{found[1]}.blocks.{found[2]}.{layer}"
    if name in _HEADS:
        return "torch_cost_volume_track_mods." + _HEADS[name]
    if found := re.fullmatch(r"pips_mlp_mixer/block(?:_(\d+))?/(\w+)", name):
        return f"torch_pips_mixer.blocks.{found[1] or 0}.{_BLOCK[found[2]]}" if found[2] in _BLOCK else None
    if found := re.fullmatch(r"pips_mlp_mixer/(linear|linear_1|layer_norm)", name):
        return f"torch_pips_mixer.{found[1]}"
    if found := re.fullmatch(r"extra_convs/layer_norm(?:_(\d+))?", name):
        return f"extra_convs.blocks.{found[1] or 0}.layer_norm"
    if found := re.fullmatch(r"extra_convs/conv2_d(?:_(\d+))?", name):
        block, second = divmod(int(found[1] or 0), 2)
        return f"extra_convs.blocks.{block}.{'conv_1' if second else 'conv'}"
    return None


def tapnet_from_jax(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays of the released TAP-Net checkpoint.npy under our names. What it does not know keeps its name.

    Of the moving statistics only `average`, the bias-corrected value, counts at inference.
    """
    tensors = {}
    for name, array in arrays.items():
        module, _, leaf = name.removeprefix("tap_net/~/").rpartition("/")
        if found := re.fullmatch(r"(.+)/~/(mean|var)_ema", module):
            ours = _tapnet_module(found[1])
            if ours is not None and leaf == "average":
                tensors[f"{ours}.running_{found[2]}"] = array.flatten()
            elif ours is None or leaf not in ("hidden", "counter"):
                tensors[name] = array
            continue
        ours = _tapnet_module(module)
        if ours is None or leaf not in _LEAVES:
            tensors[name] = array
        else:
            tensors[f"{ours}.{_LEAVES[leaf]}"] = transposed(array) if leaf == "w" else array.flatten()
    return tensors


def _tapnet_module(name: str) -> str | None:
    """Our name of a Haiku module of TAP-Net; None if there is none."""
    backbone = "tsm_resnet_video"
    if name in _HEADS:
        return name
    if name == f"{backbone}/tsm_resnet_stem":
        return f"{backbone}.stem"
    if found := re.fullmatch(rf"{backbone}/tsm_resnet_unit_(\d)/block_(\d)/(\w+)", name):
        layer = {"batch_norm": "bn_0", "batch_norm_1": "bn_1"}.get(found[3], found[3])
        return f"{backbone}.unit_{found[1]}.block_{found[2]}.{layer}"
    return None


def transposed(array: Tensor) -> Tensor:
    """A Haiku weight [...,in,out] in PyTorch's order [out,in,...].

    3-D convolutions of one frame lose that axis; depth-wise ones (3,1,C) become (C,1,3).
    """
    if array.ndim == 5:
        array = array[0]
    order = {4: (3, 2, 0, 1), 3: (2, 1, 0), 2: (1, 0)}.get(array.ndim, tuple(range(array.ndim)))
    return array.permute(order).to(torch.float32).contiguous()
