"""The released weights of TAP-Net in their JAX (Haiku) form, under our names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from tapkit.jax_weights import LEAVES, transposed, unused

_HEADS = (
    "cost_volume_regression_1",
    "cost_volume_regression_2",
    "cost_volume_occlusion_1",
    "cost_volume_occlusion_2",
    "occlusion_out",
)


def tapnet_from_jax(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays of the released TAP-Net checkpoint.npy under our names. What it does not know keeps its name.

    Of the moving statistics only `average`, the bias-corrected value, counts at inference. Layers that nothing calls
    are left out.
    """
    tensors = {}
    for name, array in arrays.items():
        module, _, leaf = name.removeprefix("tap_net/~/").rpartition("/")
        if unused(module):
            continue
        if found := re.fullmatch(r"(.+)/~/(mean|var)_ema", module):
            ours = _tapnet_module(found[1])
            if ours is not None and leaf == "average":
                tensors[f"{ours}.running_{found[2]}"] = array.flatten()
            elif ours is None or leaf not in ("hidden", "counter"):
                tensors[name] = array
            continue
        ours = _tapnet_module(module)
        if ours is None or leaf not in LEAVES:
            tensors[name] = array
        else:
            tensors[f"{ours}.{LEAVES[leaf]}"] = transposed(array) if leaf == "w" else array.flatten()
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
