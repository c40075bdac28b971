"""Runners of the parity cases: one module for each folder of `vectors/`, of the same name.

A runner is `run(case, name, parity) -> list[Check]`: `case` is the opened .npz as a dict of arrays, `name` the
file's stem, `parity` gives the seeded weights and inputs. It compares everything the case holds that our
implementation can produce, each with the tolerance that the folder's README states.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch


class Check(NamedTuple):
    """One compared output: the worst absolute difference, and how much is allowed."""

    output: str
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.difference <= self.tolerance


def compare(output: str, ours: Any, theirs: Any, tolerance: float, where: Any = None) -> Check:
    """Worst absolute difference; shapes must agree, NaN must stand in the same places.

    `where` is a mask of the entries that count (all, if None).
    """
    ours, theirs = (x.detach().cpu().numpy() if torch.is_tensor(x) else np.asarray(x) for x in (ours, theirs))
    if ours.shape != theirs.shape:
        raise AssertionError(f"{output}: ours has shape {list(ours.shape)}, theirs {list(theirs.shape)}")
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    if where is not None:
        ours, theirs = ours[where], theirs[where]
    if not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return Check(output, float("inf"), tolerance)
    finite = ~np.isnan(theirs)
    difference = np.abs(ours[finite] - theirs[finite])
    return Check(output, float(difference.max(initial=0.0)), tolerance)


@dataclass(frozen=True)
class Parity:
    """A parity folder: seeded.py, manifests/ (NAME.json or NAME.json.gz), vectors/."""

    root: Path

    @cached_property
    def seeded(self) -> ModuleType:
        """The module that makes fixed weights and inputs."""
        spec = importlib.util.spec_from_file_location("tapkit_parity_seeded", self.root / "seeded.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def manifest(self, model: str) -> dict[str, Any]:
        """Names and shapes of a published checkpoint."""
        plain = self.root / "manifests" / f"{model}.json"
        packed = plain.with_name(f"{model}.json.gz")
        return json.loads(plain.read_bytes() if plain.is_file() else gzip.decompress(packed.read_bytes()))

    def weights(self, model: str) -> dict[str, torch.Tensor]:
        """Seeded weights under the published checkpoint's key names; the caller's own, to be changed at will."""
        made = _filled(self.root, json.dumps(self.manifest(model)))
        return {name: tensor.clone() for name, tensor in made.items()}


@lru_cache(maxsize=2)
def _filled(root: Path, manifest: str) -> dict[str, torch.Tensor]:
    """The weights of a manifest (JSON). Drawing them takes longer than many a case; a model's cases come in a row."""
    return Parity(root).seeded.state_dict(json.loads(manifest))
