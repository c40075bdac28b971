"""Which floating-point type features and matrix products are computed in; coordinates are float32 always."""

from __future__ import annotations

import torch

from tapkit.errors import UsageError


def feature_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of "float32", "bfloat16" or "auto" on a device.

    "auto" is bfloat16 where the processor multiplies in it (CUDA from compute capability 8, x86 with AVX512_BF16 or
    AMX), else float32. Asked for by name, bfloat16 is used even where it has to be emulated.
    """
    if precision == "auto":
        return torch.bfloat16 if has_bfloat16(device) else torch.float32
    if precision not in ("float32", "bfloat16"):
        raise UsageError(f'precision must be "auto", "float32" or "bfloat16", got {precision!r}')
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies in bfloat16 itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    # Present since torch 2.6; without them nothing is known about the processor.
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(bool(check()) for check in checks if check is not None)


def widest(device: torch.device) -> torch.dtype:
    """float64, for what is rounded once only; float32 on Apple's MPS, which has no wider type."""
    return torch.float32 if device.type == "mps" else torch.float64
