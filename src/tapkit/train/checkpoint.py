"""The state of a run on disk: a folder of small files, written whole or not at all.

    STATE/model-0.safetensors ...    weights, float32, in files of at most `LARGEST` bytes
    STATE/average-0.safetensors      averaged weights
    STATE/first-0.safetensors        AdamW's first moments, of parameters that were ever updated
    STATE/second-0.safetensors       and second ones
    STATE/run.json                   step, configuration, random state of the process, what has been measured

Batches are drawn from the number of the step, so no state of the data is needed: a resumed run ends as one that was
not interrupted. With `compact` all but the weights are kept in 16 bits: 43 MB instead of 69, and nearly the same run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tapkit import storage
from tapkit.errors import StorageError, TapkitError
from tapkit.weights import match

Tensors = dict[str, Tensor]
PARTS = ("model", "average", "first", "second")
MOMENTS = ("first", "second")
LARGEST = 15_000_000
"""Bytes of tensors in a file: machines that are rented for minutes often take and return small files only."""


def named_moments(network: nn.Module, optimizer: torch.optim.AdamW) -> tuple[Tensors, Tensors]:
    """AdamW's moments by the names of the parameters; zero where there was no step yet."""
    first, second = {}, {}
    for name, parameter in network.named_parameters():
        state = optimizer.state.get(parameter, {})
        first[name] = state.get("exp_avg", torch.zeros_like(parameter)).detach()
        second[name] = state.get("exp_avg_sq", torch.zeros_like(parameter)).detach()
    return first, second


def updates(network: nn.Module, optimizer: torch.optim.AdamW) -> dict[str, int]:
    """How often each parameter was updated: fewer times than there were steps, where stages leave parts alone."""
    steps = {name: optimizer.state.get(p, {}).get("step", 0) for name, p in network.named_parameters()}
    return {name: int(step) for name, step in steps.items()}


def set_moments(
    network: nn.Module, optimizer: torch.optim.AdamW, first: Tensors, second: Tensors, steps: dict[str, int]
) -> None:
    """Put moments back, as they were after `steps` updates of each parameter."""
    for name, parameter in network.named_parameters():
        if steps[name]:
            optimizer.state[parameter] = {
                "step": torch.tensor(float(steps[name])),
                "exp_avg": first[name].to(parameter),
                "exp_avg_sq": second[name].to(parameter),
            }


def save(folder: Path, tensors: dict[str, Tensors], run: dict[str, Any], compact: bool) -> Path:
    """Write a state (tensors by the names of `PARTS`) to `folder`, replacing what is there once all is written.

    `run` has what `updates` says, under that name.
    """
    # The weights' differences count in the average, sizes over many orders of magnitude in the moments.
    half = {"average": torch.float16, "first": torch.bfloat16, "second": torch.bfloat16}
    with storage.atomic(folder, sync=True) as fresh:
        fresh.mkdir()
        for part in PARTS:
            kind = half.get(part, torch.float32) if compact else torch.float32
            kept = {n: value for n, value in tensors[part].items() if part not in MOMENTS or run["updates"][n]}
            plain = {name: value.detach().to("cpu", kind).contiguous() for name, value in kept.items()}
            for number, shard in enumerate(_shards(plain)):
                storage.write_tensors(fresh / f"{part}-{number}.safetensors", shard)
        (fresh / "run.json").write_text(json.dumps(run, indent=1))
    return folder


def _shards(tensors: Tensors) -> list[Tensors]:
    """The tensors in order, in groups of at most `LARGEST` bytes."""
    groups: list[Tensors] = [{}]
    room = LARGEST
    for name, value in tensors.items():
        if value.nbytes > room and groups[-1]:
            groups.append({})
            room = LARGEST
        groups[-1][name] = value
        room -= value.nbytes
    return groups


def exists(folder: Path) -> bool:
    """Whether a state is there (or its predecessor, if writing was cut off between two renames)."""
    return _found(folder) is not None


def _found(folder: Path) -> Path | None:
    for place in (folder, folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")):
        if (place / "run.json").is_file():
            return place
    return None


def read_run(folder: Path) -> dict[str, Any]:
    """The facts of a state (run.json). Raises `StorageError`."""
    place = _found(folder)
    if place is None:
        raise StorageError(f"there is no state of a run in {folder}")
    try:
        run: dict[str, Any] = json.loads((place / "run.json").read_text())
        return run
    except (OSError, ValueError) as error:
        raise StorageError(f"{place / 'run.json'} cannot be read: {error}") from error


def load(folder: Path, network: nn.Module) -> tuple[dict[str, Tensors], dict[str, Any]]:
    """What `save` wrote: float32 tensors by part, and the facts. Raises `StorageError`."""
    run, place = read_run(folder), _found(folder)
    assert place is not None
    try:
        tensors = {}
        for part in PARTS:
            moments = part in MOMENTS
            expected = dict(network.named_parameters()) if moments else network.state_dict()
            read: Tensors = {}
            if moments:
                read = {n: torch.zeros_like(p, device="cpu") for n, p in expected.items() if not run["updates"][n]}
            for file in sorted(place.glob(f"{part}-*.safetensors")):
                read.update(load_file(file))
            found = match(read, expected, "this network")
            tensors[part] = {name: value.float() for name, value in found.items()}
    except TapkitError:
        raise
    except Exception as error:
        raise StorageError(f"the state of the run in {place} cannot be read: {error}") from error
    return tensors, run
