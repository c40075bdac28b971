"""Released weights of TAPIR in their JAX (Haiku) form, under our names.

The PyTorch checkpoints of TAPIR need no conversion: the network's tensors carry their names. `tapkit.jax_weights` reads
the .npy files into arrays named `module/name`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from tapkit.jax_weights import LEAVES, transposed, unused

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


def tapir_from_jax(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays of a released TAPIR .npy as tensors of the PyTorch release. What it does not know keeps its name.

    Layers that nothing calls are left out.
    """
    tensors = {}
    for name, array in arrays.items():
        module, _, leaf = name.removeprefix("tapir/~/").rpartition("/")
        if unused(module):
            continue
        ours = _tapir_module(module)
        if ours is None or leaf not in LEAVES:
            tensors[name] = array
        else:
            tensors[f"{ours}.{LEAVES[leaf]}"] = transposed(array) if leaf == "w" else array.flatten()
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
