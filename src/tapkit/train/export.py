"""Finished weights: half precision, in one file, with a card that says where they come from."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tapkit import storage
from tapkit._version import __version__
from tapkit.errors import StorageError, UsageError
from tapkit.weights import match, read, sha256


def export_weights(path: Path, average: Mapping[str, Tensor], facts: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write weights (float16, .safetensors) to `path` and their card beside it (.json). Returns both paths.

    `facts` are what the run knows: model, licence, data, steps, configuration, hardware, figures, commands.
    """
    if path.suffix != ".safetensors":
        raise StorageError(f"weights are written to a .safetensors file, not {path.name}")
    card_path = path.with_suffix(".json")
    half = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in average.items()}
    with storage.atomic(path, sync=True) as part:
        storage.write_tensors(part, half)
        part.chmod(0o644)  # safetensors writes for the owner alone
    card = {
        "file": path.name,
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "parameters": sum(value.numel() for value in average.values()),
        "tapkit": __version__,
        **facts,
    }
    storage.write_text(card_path, json.dumps(card, indent=1, sort_keys=True) + "\n")
    return path, card_path


def average_weights(first: Path, second: Path, share: float, out: Path) -> tuple[Path, Path]:
    """Write the mean of two weights files, `share` of the second, with a card that names both. Returns both paths.

    Fine-tuned weights, averaged with those that they started from, keep more of what these could do on other data
    (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, section 3).

    Raises `WeightsError` for files that are not of one network, `UsageError` for a share outside 0..1.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"a share is from 0 to 1, got {share}")
    before = read(first)
    after = match(read(second), before, str(first))
    mean = {name: torch.lerp(value.float(), after[name].float(), share) for name, value in before.items()}
    parts: list[dict[str, Any]] = [
        {"file": file.name, "sha256": sha256(file), "card": read_card(file)} for file in (first, second)
    ]
    card = parts[0]["card"]
    # Weights without a card are taken for strand's, the one model that is trained here.
    own = card if isinstance(card, dict) else {}
    of = {"model": own.get("model", "strand"), "licence": own.get("licence", "Apache-2.0")}
    return export_weights(out, mean, {**of, "averaged": parts, "share_of_the_second": share})


def read_card(file: Path) -> Any:
    """The card beside a weights file; None if it has none."""
    try:
        return json.loads(file.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return None


def hardware(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} threads"
