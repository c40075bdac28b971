"""PyTorch checkpoints (.pth, .pt, .ckpt), without running anything in them and whatever else they hold.

`torch.load(weights_only=True)` refuses a whole file for one function in the state of a schedule, and what it allows
differs between versions of PyTorch. Here tensors are found by the layout of the file, everything that is no tensor and
no plain container becomes a `Stranger` (`tapkit.unpickle_tolerant`), and only tensors that are asked for are read.

Layouts, of `torch/serialization.py`:

    archive   a zip of stored records: NAME/data.pkl, NAME/data/KEY for each storage, NAME/byteorder    since 1.6
    stream    pickles one after the other (magic number, protocol, machine, content, keys), then for each key
              the number of elements (8 bytes) and the elements                                         0.1.10 to 1.5
    tar       members `storages`, `tensors`, `pickle`                                                   before
"""

from __future__ import annotations

import mmap
import struct
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tapkit.errors import WeightsError
from tapkit.unpickle import DAMAGE, Machine, Name, Refused, Stranger, is_shape
from tapkit.unpickle_tolerant import Tolerant

MAGIC = 0x1950A86A20F9469CFC6C
"""First number of a stream."""
MOST_REPEATED = 1 << 20
"""Elements that a tensor may have beyond those of its storage (one value repeated, as `Tensor.expand` makes them)."""

_STORAGES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}
_TYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_ALLOWED = {
    **{(home, f"{name}Storage"): f"storage {name}" for name in _STORAGES for home in ("torch", "torch.cuda")},
    ("torch.storage", "UntypedStorage"): "storage Byte",
    **{("torch", name): f"type {name}" for name in _TYPES},
    ("torch._utils", "_rebuild_tensor"): "tensor",
    ("torch._utils", "_rebuild_tensor_v2"): "tensor",
    ("torch._utils", "_rebuild_tensor_v3"): "typed tensor",
    ("torch._utils", "_rebuild_parameter"): "first",
    ("torch._utils", "_rebuild_parameter_with_state"): "first",
    ("torch._tensor", "_rebuild_from_type_v2"): "of type",
    ("torch", "Size"): "size",
}


class Storage:
    """Elements of one type that lie somewhere in the file; read when the first tensor of them is."""

    def __init__(self, dtype: torch.dtype, count: int) -> None:
        if not isinstance(count, int) or count < 0:
            raise Refused("a storage without a size")
        self.dtype, self.count = dtype, count
        self.place: tuple[Path, int] | None = None
        """File and byte."""
        self._elements: Tensor | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count * self.dtype.itemsize

    def put(self, path: Path, offset: int, room: int) -> None:
        """It lies there, where there are `room` bytes."""
        if self.size > room:
            raise Refused(f"a storage of {self.size} bytes in {room}")
        self.place = path, offset

    def elements(self) -> Tensor:
        """All of them [count]."""
        if self._elements is None:
            if self.place is None:
                raise Refused("a storage that is not in the file")
            data = np.fromfile(self.place[0], np.uint8, self.size, offset=self.place[1])
            if len(data) != self.size:
                raise IndexError
            self._elements = torch.from_numpy(data).view(self.dtype) if self.size else torch.empty(0, dtype=self.dtype)
        return self._elements


class StorageView(NamedTuple):
    """Some consecutive elements of a storage."""

    storage: Storage
    start: int
    length: int


class LazyTensor(NamedTuple):
    """A tensor that is described, and read on demand."""

    view: StorageView
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, view: Any, offset: Any, shape: Any, stride: Any, dtype: torch.dtype | None = None) -> LazyTensor:
        """What a pickle says of it, if it adds up; raises `Refused`."""
        if (
            not isinstance(view, StorageView)
            or not is_shape(shape)
            or not is_shape(stride)
            or len(shape) != len(stride)
        ):
            raise Refused("a tensor without a storage or a shape")
        dtype = dtype or view.storage.dtype
        count = view.length * view.storage.dtype.itemsize // dtype.itemsize
        number, last = 1, 0
        for size, step in zip(shape, stride, strict=True):
            number *= size
            last += (size - 1) * step
        if not isinstance(offset, int) or offset < 0 or (number and offset + last >= count):
            raise Refused("a tensor that reaches beyond its storage")
        if number > count + MOST_REPEATED:
            raise Refused("a tensor far larger than its storage")
        return cls(view, offset, tuple(shape), tuple(stride), dtype)

    def open(self) -> Tensor:
        """The tensor; tensors of one storage share it, as they did when they were saved."""
        storage = self.view.storage
        own = storage.elements()[self.view.start : self.view.start + self.view.length]
        if self.dtype != own.dtype and len(own):
            own = own.view(self.dtype)
        return own.as_strided(self.shape, self.stride, own.storage_offset() + self.offset)


class _TorchMachine(Tolerant):
    """Knows how PyTorch describes tensors."""

    allowed: ClassVar[Mapping[tuple[str, str], str]] = {**Tolerant.allowed, **_ALLOWED}

    def __init__(self, path: Path, content: mmap.mmap, offset: int = 0) -> None:
        super().__init__(path, content, offset)
        self.storages: dict[str, Storage] = {}
        self.calls |= {
            "tensor": lambda a: LazyTensor.of(*a[:4]),
            "typed tensor": lambda a: LazyTensor.of(a[0], a[1], a[2], a[3], _type(a[6])),
            "first": lambda a: a[0],
            "of type": lambda a: self.calls[a[0].name](a[2]),
            "size": lambda a: tuple(a[0]),
        }

    def persistent(self, reference: Any) -> Any:
        """("storage", type, key, device, count[, (key of the view, start, count)])."""
        if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
            return Stranger("a persistent reference")
        _, kind, key, _, count = reference[:5]
        if not isinstance(kind, Name) or not kind.name.startswith("storage ") or not isinstance(key, str):
            return Stranger("a storage of another kind")
        storage = self.storages.setdefault(key, Storage(_STORAGES[kind.name.removeprefix("storage ")], count))
        view = reference[5] if len(reference) == 6 else None
        start, length = (0, storage.count) if view is None else view[1:]
        if not all(isinstance(n, int) and 0 <= n <= storage.count for n in (start, length, start + length)):
            raise Refused("a view beyond its storage")
        return StorageView(storage, start, length)


def _type(name: Any) -> torch.dtype:
    return _TYPES[name.name.removeprefix("type ")]


def read(path: Path) -> Any:
    """What a checkpoint holds: plain containers, `LazyTensor`s, numbers, texts, and `Stranger`s for all the rest.

    Raises `WeightsError`.
    """
    with _told(path), open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] == b"PK\x03\x04":
            return _archive(path, content)
        if content[:1] == b"\x80":
            return _stream(path, content)
        return _tar(path, content)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Every failure as one sentence about the file."""
    try:
        yield
    except WeightsError:
        raise
    except Refused as refusal:
        raise WeightsError(f"{path} cannot be read as weights: it contains {refusal}") from None
    except (IndexError, struct.error, EOFError) as error:
        raise WeightsError(f"{path} cannot be read as weights: it ends early; is the download complete?") from error
    except (OSError, zipfile.BadZipFile, tarfile.TarError, NotImplementedError, RuntimeError, *DAMAGE) as error:
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0] or type(error).__name__
        raise WeightsError(f"{path} cannot be read as weights: {reason[:200]}") from error


def opened(path: Path, tensors: Mapping[str, LazyTensor]) -> dict[str, Tensor]:
    """The tensors themselves. Raises `WeightsError`."""
    with _told(path):
        return {name: tensor.open() for name, tensor in tensors.items()}


def stranger(content: Any) -> str:
    """What stands at the top of a file that is no plain data, for a message; empty if nothing."""
    values = content.values() if isinstance(content, Mapping) else [content]
    return next((value.name for value in values if isinstance(value, Stranger)), "")


# -- archive --------------------------------------------------------------------------------------


def _archive(path: Path, content: mmap.mmap) -> Any:
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
    found = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(found) != 1:
        raise ValueError("it is no checkpoint, but an archive of other things; unpack it first")
    folder = found[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in members:
        raise ValueError("it is a TorchScript program, not a table of tensors")
    if f"{folder}byteorder" in members and _record(content, members[f"{folder}byteorder"])[:6] != b"little":
        raise ValueError("its numbers are stored in big-endian order")
    machine = _TorchMachine(path, content, _place(content, members[found[0]]))
    result = machine.run()
    for key, storage in machine.storages.items():
        member = members.get(f"{folder}data/{key}") or members.get(f"{folder}tensors/{key}")
        if member is not None:
            storage.put(path, _place(content, member), member.file_size)
    return result


def _place(content: mmap.mmap, member: zipfile.ZipInfo) -> int:
    """Where a record's bytes begin: after its header, which repeats the name and has room to align them."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError("its records are compressed, which PyTorch does not do")
    head = content[member.header_offset : member.header_offset + 30]
    if len(head) < 30 or head[:4] != b"PK\x03\x04":
        raise IndexError
    name, extra = struct.unpack("<HH", head[26:30])
    place = member.header_offset + 30 + int(name) + int(extra)
    if place + member.file_size > len(content):
        raise IndexError
    return place


def _record(content: mmap.mmap, member: zipfile.ZipInfo) -> bytes:
    place = _place(content, member)
    return content[place : place + member.file_size]


# -- stream ---------------------------------------------------------------------------------------


def _stream(path: Path, content: mmap.mmap) -> Any:
    machine = Machine(path, content)
    if machine.run() != MAGIC:
        raise ValueError("it is a pickle of something else than a checkpoint")
    machine.run()  # the protocol
    about = machine.run()
    if isinstance(about, dict) and about.get("little_endian") is False:
        raise ValueError("its numbers are stored in big-endian order")
    reader = _TorchMachine(path, content, machine.at)
    result = reader.run()
    keys = _TorchMachine(path, content, reader.at)
    listed = keys.run()
    at = keys.at
    for key in listed if isinstance(listed, list) else []:
        storage = reader.storages.get(key) if isinstance(key, str) else None
        if storage is None:
            raise ValueError("it lists a storage that no tensor mentions")
        at = _counted(path, content, storage, at)
    return result


def _counted(path: Path, content: mmap.mmap, storage: Storage, at: int) -> int:
    """A storage behind the number of its elements; where the next thing begins."""
    (count,) = struct.unpack("<q", content[at : at + 8])
    if count != storage.count:
        raise Refused(f"a storage of {count} elements that should have {storage.count}")
    storage.put(path, at + 8, len(content) - at - 8)
    return at + 8 + storage.size


# -- tar ------------------------------------------------------------------------------------------


def _tar(path: Path, content: mmap.mmap) -> Any:
    try:
        with tarfile.open(path, "r:") as archive:
            members = {member.name: member.offset_data for member in archive.getmembers() if member.isfile()}
    except tarfile.TarError:
        hint = "; unpack it first, the checkpoint is in it" if content[:2] == b"\x1f\x8b" else ""
        raise ValueError(f"it is no checkpoint{hint}") from None
    if not {"storages", "tensors", "pickle"} <= members.keys():
        inside = next((name for name in members if name.endswith((".pth", ".pt", ".ckpt"))), None)
        raise ValueError(f"it is an archive; unpack it first and give {inside or 'the checkpoint in it'}")
    storages = _tar_storages(path, content, members["storages"])
    machine = _TarMachine(path, content, members["pickle"])
    machine.tensors = _tar_tensors(path, content, members["tensors"], storages)
    return machine.run()


class _TarMachine(_TorchMachine):
    """Tensors are referred to by the number that they had when they were saved."""

    tensors: dict[int, LazyTensor]

    def persistent(self, reference: Any) -> Any:
        """A number, as text; or a class with its source, of which the class is the first."""
        if isinstance(reference, tuple):
            return reference[0] if reference else Stranger("a persistent reference")
        return self.tensors[int(reference)]


def _tar_storages(path: Path, content: mmap.mmap, at: int) -> dict[Any, StorageView]:
    """A number; then for each storage (key, device, type) and its elements; then views (key, root, start, count)."""
    machine = _TorchMachine(path, content, at)
    number = machine.run()
    found: dict[Any, StorageView] = {}
    for _ in range(number):
        key, _, kind = machine.run()
        (count,) = struct.unpack("<q", content[machine.at : machine.at + 8])
        storage = Storage(_STORAGES[kind.name.removeprefix("storage ")], count)
        machine.at = _counted(path, content, storage, machine.at)
        found[key] = StorageView(storage, 0, count)
    for key, root, start, count in machine.run():
        if not 0 <= start <= start + count <= found[root].length:
            raise Refused("a view beyond its storage")
        found[key] = StorageView(found[root].storage, start, count)
    return found


def _tar_tensors(path: Path, content: mmap.mmap, at: int, storages: Mapping[Any, StorageView]) -> dict[int, LazyTensor]:
    """A number; then for each tensor (key, storage, type), its axes, and as many sizes and strides, and the offset."""
    machine = _TorchMachine(path, content, at)
    number = machine.run()
    found = {}
    for _ in range(number):
        key, storage, _ = machine.run()
        axes = machine.number("i")
        machine.take(4)
        if not 0 <= axes <= 32:
            raise Refused(f"a tensor of {axes} axes")
        shape = tuple(machine.number("q") for _ in range(axes))
        stride = tuple(machine.number("q") for _ in range(axes))
        found[int(key)] = LazyTensor.of(storages[storage], machine.number("q"), shape, stride)
    return found
