"""JAX checkpoints (.npy with a pickled dictionary, .npz) as named tensors, without JAX and without running anything.

The authors of TAPIR store `{"params": {module: {name: array}}, "state": {...}}` with `numpy.save`, that is, as a
pickle, and beside these two keys whatever their training kept: the optimiser's state, counters, objects of classes
that are not installed here. Parameters and state are read; of the rest nothing is made (`tapkit.unpickle_tolerant`).
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from tapkit import storage
from tapkit.errors import WeightsError
from tapkit.unpickle import LazyArray, Refused, Stranger
from tapkit.unpickle_tolerant import Tolerant

SUFFIXES = (".npy", ".npz")
"""Endings of the files this module reads."""
LEAVES = {"w": "weight", "scale": "weight", "b": "bias", "offset": "bias"}
"""Haiku's names of a layer's arrays, and PyTorch's."""

DEEPEST = 16
"""Dictionaries within dictionaries; Haiku has three."""
MOST_ARRAYS = 100_000

_UNUSED = re.compile(r"(?:.*/)?(?:conv_stats_\w+|regression_hid|regression_out)")


def unused(module: str) -> bool:
    """Whether that is a layer of TAP-Net or TAPIR which released files hold and no released code calls."""
    return _UNUSED.fullmatch(module) is not None


class _JaxMachine(Tolerant):
    """Knows how JAX describes arrays of its own: by the NumPy array that they would be."""

    allowed: ClassVar[Mapping[tuple[str, str], str]] = {
        **Tolerant.allowed,
        ("jax._src.array", "_reconstruct_array"): "jax array",
        ("jax._src.device_array", "reconstruct_device_array"): "jax array",
    }

    def __init__(self, path: Path, content: mmap.mmap, offset: int = 0) -> None:
        super().__init__(path, content, offset)
        self.calls["jax array"] = self._array

    def _array(self, arguments: tuple[Any, ...]) -> LazyArray:
        _, start, (_, shape, dtype, fortran, data), *_ = arguments
        array: LazyArray = self.calls["reconstruct"](start)
        array.set(shape, dtype, fortran, data)
        return array


def read(path: str | Path) -> dict[str, Tensor]:
    """All arrays of a .npy or .npz checkpoint as tensors named `module/name`, without the outermost `params`, `state`.

    Where a file has a key `params`, keys besides it and `state` are passed over, whatever they hold. Raises
    `WeightsError` for files that are missing or damaged, and for parameters that are no arrays of numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    try:
        tensors = _npz(path) if path.suffix == ".npz" else _npy(path)
    except WeightsError as error:
        raise WeightsError(f"{path} cannot be read as weights: {error}") from None
    except Refused as refusal:
        raise WeightsError(f"{path} cannot be read as weights: it contains {refusal}") from None
    except Exception as error:
        early = isinstance(error, (IndexError, struct.error, EOFError))
        reason = "it ends early; is the download complete?" if early else (str(error).splitlines() or [""])[0]
        raise WeightsError(f"{path} cannot be read as weights: {reason[:200] or type(error).__name__}") from error
    if not tensors:
        raise WeightsError(f"{path} holds no arrays")
    return tensors


def _npz(path: Path) -> dict[str, Tensor]:
    return dict(_flatten(storage.read_npz(path)))


def _npy(path: Path) -> dict[str, Tensor]:
    """The pickled dictionary inside a .npy file: a 0-dimensional object array."""
    with open(path, "rb") as file:
        if not _is_object(file):
            raise WeightsError("it is a single array, not a dictionary of weights")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            held = _JaxMachine(path, content, file.tell()).run()
    if isinstance(held, LazyArray) and held.shape == () and held.dtype == object:
        held = held.items()[0]
    table = _mapping(held)
    if table is None:
        raise WeightsError(f"it holds {_what(held)}, not a dictionary of weights")
    if "params" in table:
        table = {name: table[name] for name in ("params", "state") if name in table}
    return dict(_flatten(table))


def _is_object(file: BinaryIO) -> bool:
    """Read the header of a .npy file; whether a pickle follows."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return header(file)[2].hasobject


def _flatten(content: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """(`module/name`, tensor) of every array; a file may refer to one dictionary many times, and to itself."""
    left: list[tuple[str, Any, int]] = [("", content, 0)]
    for _ in range(MOST_ARRAYS):
        if not left:
            return
        prefix, value, depth = left.pop()
        inner = _mapping(value)
        if inner is None:
            yield prefix, _tensor(prefix, value)
            continue
        if depth > DEEPEST:
            raise WeightsError(f"its dictionaries are nested more than {DEEPEST} deep")
        for name, item in reversed(list(inner.items())):
            outer = not prefix and name in ("params", "state")
            left.append(("" if outer else f"{prefix}/{name}" if prefix else str(name), item, depth + 1))
    raise WeightsError(f"it has more than {MOST_ARRAYS} entries")


def _mapping(value: Any) -> Mapping[Any, Any] | None:
    """The dictionary, also one in the wrapping of a class of another project; None if it is none."""
    if isinstance(value, Stranger):
        value = value.content
    return value if isinstance(value, Mapping) else None


def _what(value: Any) -> str:
    if isinstance(value, Stranger):
        return value.name
    return "an array" if isinstance(value, LazyArray) else f"a {type(value).__name__}"


def _tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, LazyArray) and value.dtype.kind in "fiub":
        array = value.open()
    elif isinstance(value, (np.ndarray, np.generic, float, int)):
        array = np.asarray(value)
    elif isinstance(value, Stranger):
        raise WeightsError(f"{name} asks for {value.name}, which is neither an array nor a plain container")
    else:
        raise WeightsError(f"{name} is no array of numbers, but {_what(value)}")
    if array.dtype.kind not in "fiub":
        raise WeightsError(f"{name} is no array of numbers")
    return torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))


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
