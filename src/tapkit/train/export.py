"""Finished weights: half precision, in one file, with a card that says where they come from."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tapkit._version import __version__
from tapkit.errors import StorageError
from tapkit.weights import sha256


def export_weights(path: Path, average: Mapping[str, Tensor], facts: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write weights (float16, .safetensors) to `path` and their card beside it (.json). Returns both paths.

    `facts` are what the run knows: data, steps, configuration, hardware, figures, command.
    """
    if path.suffix != ".safetensors":
        raise StorageError(f"weights are written to a .safetensors file, not {path.name}")
    card_path = path.with_suffix(".json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: value.detach().to("cpu", torch.float16).contiguous() for name, value in average.items()}, path)
        path.chmod(0o644)  # safetensors writes for the owner alone
        card = {
            "model": "strand",
            "licence": "Apache-2.0",
            "file": path.name,
            "sha256": sha256(path),
            "bytes": path.stat().st_size,
            "parameters": sum(value.numel() for value in average.values()),
            "tapkit": __version__,
            **facts,
        }
        card_path.write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    return path, card_path


def hardware(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} threads"
