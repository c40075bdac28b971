# ruff: noqa: E501, ISC003
"""Checkpoints as authors publish them, with what their training kept, and files that would do harm if they were run."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import tarfile
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

LAYOUTS = ("archive", "stream", "tar")


@contextmanager
def elsewhere(module: str, **members: Any) -> Iterator[types.ModuleType]:
    """A module that is there while a file is written and gone when it is read."""
    made = types.ModuleType(module)
    for name, member in members.items():
        if hasattr(member, "__module__"):
            member.__module__, member.__qualname__ = module, name
        setattr(made, name, member)
    sys.modules[module] = made
    try:
        yield made
    finally:
        del sys.modules[module]


def save(path: Path, content: Any, layout: str) -> Path:
    """As PyTorch of some age writes it."""
    if layout == "tar":
        return _save_tar(path, content)
    torch.save(content, path, _use_new_zipfile_serialization=layout == "archive")
    return path


def _save_tar(path: Path, content: Any) -> Path:
    """The layout of PyTorch 0.1 (`torch.serialization._legacy_load` still knows it); nothing writes it any more."""
    tensors: list[Tensor] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            if not isinstance(value, Tensor):
                return None
            tensors.append(value)
            return str(1000 + len(tensors))

    main = io.BytesIO()
    Pickler(main, 2).dump(content)
    storages, table = io.BytesIO(), io.BytesIO()
    pickle.dump(len(tensors), storages, 2)
    pickle.dump(len(tensors), table, 2)
    for number, tensor in enumerate(tensors):
        pickle.dump((number, "cpu", torch.FloatStorage), storages, 2)
        values = tensor.contiguous().numpy()
        storages.write(struct.pack("<q", values.size) + values.tobytes())
        pickle.dump((1001 + number, number, torch.FloatTensor), table, 2)
        table.write(struct.pack("<ii", tensor.ndim, 0))
        for sizes in (tensor.shape, tensor.contiguous().stride(), (0,)):
            table.write(struct.pack(f"<{len(sizes)}q", *sizes))
    pickle.dump([], storages, 2)
    with tarfile.open(path, "w") as archive:
        for name, data in (("storages", storages), ("tensors", table), ("pickle", main)):
            member = tarfile.TarInfo(name)
            member.size = len(data.getvalue())
            archive.addfile(member, io.BytesIO(data.getvalue()))
    return path


class Schedule:
    """A schedule as training scripts keep it: with a function in it."""

    def __init__(self) -> None:
        self.anneal = torch.optim.lr_scheduler.OneCycleLR._annealing_cos
        self.steps = {3, 4}


def trained(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """A state dict with optimiser, schedule, arguments and counters beside it, as the files of PIPs++ have them."""
    moments = {i: {"step": torch.tensor(7.0), "exp_avg": value.clone()} for i, value in enumerate(state.values())}
    return {
        "optimizer_state_dict": {"state": moments, "param_groups": [{"lr": 5e-4, "params": list(range(len(state)))}]},
        "model_state_dict": OrderedDict(state),
        "scheduler_state_dict": {
            "anneal_func": torch.optim.lr_scheduler.OneCycleLR._annealing_linear,
            "object": Schedule(),
        },
        "ema_model_state_dict": None,
        "args": types.SimpleNamespace(lr=5e-4, out=Path("out")),
        "generator": np.random.RandomState(0),
    }


class ScaleByAdamState(NamedTuple):
    """What optax keeps of an optimiser."""

    count: Any
    mu: Any


class Unheard:
    """An object of a class that is nowhere."""

    def __init__(self) -> None:
        self.when = complex(1, 2)


def save_jax(path: Path, params: Mapping[str, Any], state: Mapping[str, Any] | None = None) -> Path:
    """Parameters as Haiku's `{module: {name: array}}`, a training's whole state beside them, by `np.save`."""
    with elsewhere("optax_of_the_authors", ScaleByAdamState=ScaleByAdamState, Unheard=Unheard) as optax:
        content = {
            "opt_state": (optax.ScaleByAdamState(np.int32(3), {"a": {"w": np.ones(3)}}), optax.Unheard()),
            "experiment": optax.Unheard(),
            "params": params,
            "state": state or {},
            "global_step": np.int64(5),
            "rng": np.random.RandomState(1),
            "loss": len,
        }
        array = np.empty((), dtype=object)
        array[()] = content
        np.save(path, array, allow_pickle=True)
    return path


def haiku(arrays: Mapping[str, Tensor]) -> dict[str, dict[str, np.ndarray]]:
    """`module/name` -> array as `{module: {name: array}}`."""
    nested: dict[str, dict[str, np.ndarray]] = {}
    for name, value in arrays.items():
        module, _, leaf = name.rpartition("/")
        nested.setdefault(module, {})[leaf] = value.numpy()
    return nested


# -- harm -----------------------------------------------------------------------------------------


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _call(module: str, name: str, *arguments: str) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(map(_text, arguments)) + b"tR"


_SYSTEM = _call("os", "system", "touch proof")
_GETATTR = (
    b"cbuiltins\ngetattr\n("
    + b"cbuiltins\n__import__\n("
    + _text("os")
    + b"tR"
    + _text("system")
    + b"tR("
    + _text("touch proof")
    + b"tR"
)
_LAUGHS = b"(lq\x00" + b"".join(b"(" + bytes([ord("h"), i]) * 10 + b"lq" + bytes([i + 1]) for i in range(60))
_NESTED_KEY = b"}" + b")" + b"\x85" * 200_000 + b"K\x01s"
_SELF = b"}q\x00" + _text("a") + b"h\x00s"

HARM: dict[str, bytes] = {
    "os.system": _SYSTEM,
    "os.system by a path": b"\x8c\x05posix\x8c\x06system\x93\x8c\x0btouch proof\x85R",
    "eval": _call("builtins", "eval", "open('proof', 'w')"),
    "exec": _call("builtins", "exec", "open('proof', 'w')"),
    "a chain of getattr": _GETATTR,
    "subprocess": b"csubprocess\nPopen\n((" + _text("touch") + _text("proof") + b"ltR",
    "an instance": b"(" + _text("touch proof") + b"ios\nsystem\n",
    "an object": b"(cos\nsystem\n" + _text("touch proof") + b"o",
    "a new object": b"cos\nsystem\n(" + _text("touch proof") + b"t\x81",
    "a new object with keywords": b"cos\nsystem\n(" + _text("touch proof") + b"t}\x92",
    "state that sets attributes": b"cbuiltins\nprint\n(N}" + _text("__call__") + _SYSTEM + b"stb",
    "state of a class": b"cnumpy\nndarray\n(N}" + _text("__setstate__") + b"cos\nsystem\nstb",
    "state of an array by another's function": b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R" + _SYSTEM + b"b",
    "a call of what a call made": _call("os", "getcwd") + b"(" + _text("touch proof") + b"tR",
    "a registered extension": b"\x82\x01(" + _text("touch proof") + b"tR",
    "a persistent reference": _text("touch proof") + b"Q",
    "a numpy loader": _call("numpy", "load", "proof"),
    "a torch loader": b"ctorch.storage\n_load_from_bytes\n(C\x04abcdtR",
    "a rebuild that calls another": b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nN(" + _text("touch proof") + b"tNtR",
    "lists that multiply": _LAUGHS,
    "a dictionary in itself": _SELF,
    "a key nested 200,000 deep": _NESTED_KEY,
    "lists nested 200,000 deep": b"]" * 200_000 + b"a" * 199_999,
    "a long number": b"\x8b\xff\xff\xff\x7f",
    "bytes of which there are none": b"\x8e" + struct.pack("<Q", 1 << 60),
    "a text of which there is none": b"\x8d" + struct.pack("<Q", 1 << 62),
    "a frame of which there is none": b"\x95" + struct.pack("<Q", 1 << 63) + b"N",
    "a number of very many digits": b"L" + b"9" * 100_000 + b"L\n",
    "an array of which there is none": b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01"
    + b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftcnumpy\ndtype\n" + _text("f8") + b"\x89\x88\x87R\x89C\x00tb",
    "a type of a billion letters": b"cnumpy\ndtype\n(" + _text("U1000000000") + b"tR",
    "a mark that is not there": b"t",
    "an empty stack": b"R",
    "an unknown instruction": b"\xff",
}  # fmt: skip


def harmful_pickle(name: str, beside: bytes = b"N") -> bytes:
    """A dictionary of which one value is the harm and another `beside` (the instructions of a value)."""
    return b"\x80\x02}(" + _text("optimizer") + HARM[name] + _text("params") + beside + b"u."


def harmful_files(folder: Path, name: str, good: Path) -> Iterator[Path]:
    """The harm in every format: `good`'s tensors beside it in an archive; alone in a stream; in a .npy."""
    with zipfile.ZipFile(good) as archive:
        records = {member.filename: archive.read(member) for member in archive.infolist()}
    main = next(record for record in records if record.endswith("data.pkl"))
    inner = records[main][2:-1]  # without the protocol and the end
    with zipfile.ZipFile(folder / "a.pth", "w") as archive:
        for record, data in records.items():
            archive.writestr(record, harmful_pickle(name, inner) if record == main else data)
    yield folder / "a.pth"
    stream = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    (folder / "b.pth").write_bytes(stream + harmful_pickle(name) + pickle.dumps([], 2))
    yield folder / "b.pth"
    with open(folder / "c.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(harmful_pickle(name))
    yield folder / "c.npy"
    with open(folder / "d.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(b"\x80\x02}" + _text("params") + HARM[name] + b"s.")
    yield folder / "d.npy"
