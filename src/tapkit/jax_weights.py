"""JAX checkpoints (.npy with a pickled dictionary, .npz) as named tensors, without JAX and without running anything.

The authors of TAPIR store `{"params": {module: {name: array}}, "state": {...}}` with `numpy.save`, that is, as a
pickle. It is read by an unpickler that knows how to make arrays, numbers and plain containers, and nothing else.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from tapkit import storage
from tapkit.errors import WeightsError

SUFFIXES = (".npy", ".npz")
"""Endings of the files this module reads."""
LEAVES = {"w": "weight", "scale": "weight", "b": "bias", "offset": "bias"}
"""Haiku's names of a layer's arrays, and PyTorch's."""

_ARRAY: Any = np.zeros(1).__reduce__()[0]
_NUMBER: Any = np.float64(0).__reduce__()[0]
_HARMLESS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): dict,
    # numpy 1 and numpy 2 write different homes of the same two functions.
    ("numpy.core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy.core.multiarray", "scalar"): _NUMBER,
    ("numpy._core.multiarray", "scalar"): _NUMBER,
}


class _ArraysOnly(pickle.Unpickler):
    """Makes arrays, numbers and plain containers; any other name in the file is an error."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _HARMLESS:
            return _HARMLESS[module, name]
        raise WeightsError(f"it asks for {module}.{name}, which is neither an array nor a plain container")


def read(path: str | Path) -> dict[str, Tensor]:
    """All arrays of a .npy or .npz checkpoint as tensors named `module/name`, without the outermost `params`, `state`.

    Raises `WeightsError` for files that are missing, damaged or hold anything but arrays.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    try:
        content = _npz(path) if path.suffix == ".npz" else _npy(path)
        tensors = dict(_flatten(content))
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise WeightsError(f"{path} cannot be read as weights: {reason[:200]}") from error
    if not tensors:
        raise WeightsError(f"{path} holds no arrays")
    return tensors


def _npz(path: Path) -> Mapping[str, Any]:
    return storage.read_npz(path)


def _npy(path: Path) -> Mapping[str, Any]:
    """The pickled dictionary inside a .npy file: a 0-dimensional object array."""
    with open(path, "rb") as file:
        if not _is_object(file):
            raise WeightsError("it is a single array, not a dictionary of weights")
        content = _ArraysOnly(file).load()
    if isinstance(content, np.ndarray) and content.shape == () and content.dtype == object:
        content = content.item()
    if not isinstance(content, Mapping):
        raise WeightsError(f"it holds a {type(content).__name__}, not a dictionary of weights")
    return content


def _is_object(file: BinaryIO) -> bool:
    """Read the header of a .npy file; whether a pickle follows."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return header(file)[2].hasobject


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Any:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, prefix if not prefix and name in ("params", "state") else f"{prefix}{name}/")
        else:
            array = np.asarray(value)
            if array.dtype.kind not in "fiub":
                raise WeightsError(f"{prefix}{name} is no array of numbers")
            yield f"{prefix}{name}", torch.from_numpy(np.array(array, order="C"))


def is_jax(weights: Mapping[str, Tensor]) -> bool:
    """Whether these are Haiku's names (`tapir/~/...`)."""
    return any("/~/" in name for name in weights)


def transposed(array: Tensor) -> Tensor:
    """A Haiku weight [...,in,out] in PyTorch's order [out,in,...].

    3-D convolutions of one frame lose that axis; depth-wise ones (3,1,C) become (C,1,3).
    """
    if array.ndim == 5:
        array = array[0]
    order = {4: (3, 2, 0, 1), 3: (2, 1, 0), 2: (1, 0)}.get(array.ndim, tuple(range(array.ndim)))
    return array.permute(order).to(torch.float32).contiguous()
