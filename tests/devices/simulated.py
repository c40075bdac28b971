"""A simulated accelerator: what a program does wrong on a GPU, found on a machine without one.

Tensors of the simulated device hold a tensor of the CPU and say that they are on "cuda:0" or "mps:0". Within
`simulated(...)` every call of torch is looked at twice: as Python calls it (where it is asked for, and on which
device), and as torch carries it out. So these are found, as on the real device, or more strictly:

- a tensor of the host in an operation of the device (but for numbers, which torch allows): a factory call without a
  device, a buffer that was left behind, an index on the CPU (which torch would upload each time);
- `numpy()` of a tensor of the device; operators that the device does not have, by torch's own table of kernels;
  float64 on MPS;
- waits: whatever makes the host wait until the device has done its work (`cpu()`, `item()`, `bool()`, `nonzero`, masks
  as indices, tensors made on the device of Python's numbers, which torch copies and waits for). They are counted, with
  the line that asked.

Memory can be counted too (bytes of all tensors of the device that are alive), and be limited: then torch's own error
for a device that ran out of memory is raised.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torchgen
import yaml
from runtime import Runtime, torch_cuda
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

from tapkit.engine.recording import tensors_in

SIMULATED = ("cuda", "mps")
_PACKAGE = Path(torch.__file__).parent


class DeviceMistake(AssertionError):
    """Something that fails on the real device, or costs more than it seems to."""


class Remote(torch.Tensor):
    """A tensor of the simulated device."""

    held: torch.Tensor
    place: torch.device

    @staticmethod
    def __new__(cls, held: torch.Tensor, place: torch.device) -> Remote:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="cpu",
            requires_grad=False,
        )
        made.held, made.place = held, place
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise DeviceMistake(f"{func} of a tensor of the simulated device outside of `simulated`")

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self) -> str:
        return f"Remote({list(self.shape)}, {self.dtype}, {self.place})"


class Machine:
    """The simulated devices of one kind, and what was seen of their use."""

    def __init__(self, kind: str = "cuda", memory: int | None = None, counted: bool = False) -> None:
        self.kind, self.memory, self.counted = kind, memory, counted or memory is not None
        self.place = torch.device(kind, 0)
        self.waits: Counter[str] = Counter()
        """Waits by what asked for them: "kind at file:line"."""
        self.alive = self.peak = 0
        """Bytes of the device now, and at most."""
        self.inside = 0
        """How many calls with tensors of the device are being carried out: what torch makes within is the device's."""
        self.current = self.place
        self.generators: list[torch.Generator] = []
        """Those made on the device."""
        self.runtime = Runtime()
        self._storages: dict[int, int] = {}

    def wait(self, kind: str) -> None:
        """The host waits for the device."""
        self.runtime.refuse_while_recording(kind)
        self.waits[f"{kind} at {_caller()}"] += 1

    @property
    def repeated(self) -> dict[str, int]:
        """Waits, but for those for what is then kept on the device."""
        return {name: count for name, count in self.waits.items() if "once, " not in name}

    def wrap(self, tensor: torch.Tensor, place: torch.device | None = None) -> Remote:
        """The tensor as one of the device."""
        if tensor.dtype == torch.float64 and self.kind == "mps":
            raise DeviceMistake(f"MPS has no float64 ({_caller()})")
        if self.counted:
            self._register(tensor)
        return Remote(tensor, place or self.current)

    def _register(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages:
            return
        if self.memory is not None and self.alive + size > self.memory:
            raise torch.OutOfMemoryError(
                f"{self.kind.upper()} out of memory. Tried to allocate {size} bytes. The device has {self.memory}."
            )
        self._storages[key] = size
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.alive -= self._storages.pop(key, 0)

    def reset_peak(self) -> None:
        """Count the peak anew."""
        self.peak = self.alive


ONCE = ("_made", "_bands", "_codes", "_times", "_token_tables")
"""Functions that keep what they have sent to a device."""


def _caller() -> str:
    """The line of ours (not of torch, nor of this file) that led here."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path != __file__ and str(_PACKAGE) not in path and "contextlib" not in path:
            once = "once, " if frame.f_code.co_name in ONCE else ""
            return f"{once}{Path(path).parent.name}/{Path(path).name}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


# -- which operators a device has -------------------------------------------------------------------------

_ANYWHERE = ("CompositeImplicitAutograd", "CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional")


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, Any]]:
    path = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native" / "native_functions.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return {entry["func"].split("(")[0]: entry for entry in yaml.load(path.read_text(), loader)}


@lru_cache(maxsize=4096)
def has_operator(name: str, kind: str) -> bool:
    """Whether torch has a kernel of the operator ("add.Tensor") for that kind of device, by its own table."""
    entry = _table().get(name) or _table().get(name.removesuffix(".default"))
    if (
        "flash_attention_for_cpu" in name
    ):  # torch's choice for the tensor that is held; devices have kernels of their own
        return True
    if entry is None:
        return not name.startswith("_reorder") and "pointwise" not in name
    if "structured_delegate" in entry and has_operator(entry["structured_delegate"], kind):
        return True
    if "ufunc_inner_loop" in entry and kind == "cuda":
        return True
    if "dispatch" not in entry:
        return "structured_delegate" not in entry
    keys = {key.strip() for keys in entry["dispatch"] for key in keys.split(",")}
    return kind.upper() in keys or bool(keys.intersection(_ANYWHERE))


# -- as torch carries it out ------------------------------------------------------------------------------

_WAITING = {
    "aten::_local_scalar_dense": "item",
    "aten::nonzero": "nonzero",
    "aten::masked_select": "mask as index",
    "aten::_unique2": "unique",
    "aten::unique_dim": "unique",
    "aten::unique_consecutive": "unique",
    "aten::equal": "equal",
    "aten::bincount": "bincount",
    "aten::_linalg_check_errors": "linalg",
    "aten::repeat_interleave": "repeat_interleave",
}
_INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class _Carried(TorchDispatchMode):
    """Looks at every operator."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        machine, kwargs = self.machine, kwargs or {}
        if func is torch.ops.aten._has_compatible_shallow_copy_type.default:
            return False  # what `nn.Module.to` asks before it swaps the contents of parameters
        leaves = tensors_in((args, kwargs))
        remote = [leaf for leaf in leaves if isinstance(leaf, Remote)]
        if not remote and (leaves or not machine.inside):
            return func(*args, **kwargs)
        place = remote[0].place if remote else machine.current
        if remote:
            self._check(func, leaves, args, place)
        plain_args, plain_kwargs = _mapped(_held, (args, kwargs))
        out = func(*plain_args, **plain_kwargs)
        reads = [leaf.held for leaf in remote]
        wrong = machine.runtime.did(func, plain_args, plain_kwargs, reads, tensors_in(out))
        if wrong:
            raise DeviceMistake(f"{func} {wrong} ({_caller()})")
        # A part of a tensor made outside of inference mode counts with it: it is no tensor of inference mode either.
        inference = torch.is_inference_mode_enabled() and not (func.is_view and remote and not remote[0].is_inference())
        with torch.inference_mode(inference):
            return self._wrapped(out, args, kwargs, place)

    def _check(self, func: Any, leaves: list[torch.Tensor], args: Any, place: torch.device) -> None:
        name, machine = func._schema.name, self.machine
        for leaf in leaves:
            if isinstance(leaf, Remote) and leaf.place != place:
                raise DeviceMistake(f"{func} of tensors on {place} and {leaf.place} ({_caller()})")
            if not isinstance(leaf, Remote) and leaf.ndim:
                raise DeviceMistake(f"{func} of a tensor on {place} and one of the host ({_caller()})")
        full = name.removeprefix("aten::") + (f".{func._overloadname}" if func._overloadname != "default" else "")
        if name.startswith("aten::") and not has_operator(full, place.type):
            raise DeviceMistake(f"{place.type} has no operator {full} ({_caller()})")
        if not name.startswith("aten::"):
            raise DeviceMistake(f"{name} is an operator of the CPU ({_caller()})")
        if name == "aten::repeat_interleave" and len(args) > 1 and args[1] is not None:
            return
        if name in _WAITING:
            machine.wait(_WAITING[name])
        elif name in _INDEXING and _by_mask(name, args):
            machine.wait("mask as index")

    def _wrapped(self, out: Any, args: Any, kwargs: Any, place: torch.device) -> Any:
        known = {id(leaf.held): leaf for leaf in tensors_in((args, kwargs)) if isinstance(leaf, Remote)}

        def wrap(value: Any) -> Any:
            if not isinstance(value, torch.Tensor) or isinstance(value, Remote):
                return value
            same = known.get(id(value))
            return self.machine.wrap(value, place) if same is None else same  # what works in place gives its argument

        return _mapped(wrap, out)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """The same with every leaf changed."""
    if isinstance(value, tuple):
        parts = [_mapped(function, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [_mapped(function, part) for part in value]
    if isinstance(value, dict):
        return {name: _mapped(function, part) for name, part in value.items()}
    return function(value)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Remote) else value


def _by_mask(name: str, args: Any) -> bool:
    """Whether an index is a mask whose true entries must be counted (a number may be put by a mask without)."""
    if not any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]):
        return False
    return name == "aten::index" or args[2].numel() != 1


# -- as Python calls it -----------------------------------------------------------------------------------

_NUMBERS = {"__bool__": bool, "__int__": int, "__float__": float, "__index__": int}


class _Called(TorchFunctionMode):
    """Looks at every call of torch: devices that are asked for, moves, and what Python makes of tensors."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        itself = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if name == "__get__":
            return self._property(func, args, kwargs)
        if itself is not None and name in _MOVES:
            return _MOVES[name](self.machine, func, args, kwargs)
        if isinstance(itself, Remote) and name in _LEAVES:
            return _LEAVES[name](self.machine, itself)
        if name == "new_tensor" and isinstance(itself, Remote):
            self.machine.wait("upload")
            made = torch.tensor(args[1], dtype=kwargs.get("dtype", itself.dtype))
            return self.machine.wrap(made, itself.place)
        asked = _device(kwargs.pop("device", None)) if "device" in kwargs else None
        if asked is not None and asked.type not in SIMULATED:
            if itself is not None and isinstance(itself, Remote):
                raise DeviceMistake(f"{name} of a tensor of the device asks for one on {asked} ({_caller()})")
            return func(*args, **kwargs, device=asked)
        if asked is not None and name in ("tensor", "as_tensor", "asarray"):
            self.machine.wait("upload")
            made = func(*args, **kwargs)
            return self.machine.wrap(made, asked)
        return self._run(func, args, kwargs, asked)

    def _run(self, func: Any, args: Any, kwargs: Any, asked: torch.device | None) -> Any:
        machine = self.machine
        args = self._uploaded(func, args)
        remote = [leaf for leaf in tensors_in((args, kwargs)) if isinstance(leaf, Remote)]
        if not remote and asked is None:
            return func(*args, **kwargs)
        generator = kwargs.get("generator")
        if generator is not None and not any(generator is own for own in machine.generators):
            raise DeviceMistake(f"random numbers of a generator of the host on the device ({_caller()})")
        before, machine.current = machine.current, asked or remote[0].place
        machine.inside += 1
        try:
            return func(*args, **kwargs)
        finally:
            machine.inside -= 1
            machine.current = before

    def _uploaded(self, func: Any, args: Any) -> Any:
        """Lists and arrays as indices are uploaded by torch."""
        name = getattr(func, "__name__", "")
        if name not in ("__getitem__", "__setitem__") or not isinstance(args[0], Remote):
            return args
        parts = args[1] if isinstance(args[1], tuple) else (args[1],)
        if not any(isinstance(part, list) or type(part).__name__ == "ndarray" for part in parts):
            return args
        self.machine.wait("upload")
        changed = tuple(
            self.machine.wrap(torch.as_tensor(part), args[0].place)
            if isinstance(part, list) or type(part).__name__ == "ndarray"
            else part
            for part in parts
        )
        return (args[0], changed, *args[2:])

    def _property(self, func: Any, args: Any, kwargs: Any) -> Any:
        itself = args[0]
        if isinstance(itself, Remote):
            which = resolve_name(func) or ""
            if which.endswith("device.__get__"):
                return itself.place
            if which.endswith("is_cuda.__get__"):
                return itself.place.type == "cuda"
            if which.endswith("is_cpu.__get__"):
                return False
        return self._run(func, args, kwargs, None)


def _device(given: Any) -> torch.device | None:
    """A device with its number, as tensors have it."""
    if given is None:
        return None
    device = torch.device(given) if not isinstance(given, torch.device) else given
    return torch.device(device.type, device.index or 0) if device.type in SIMULATED else device


def _to(machine: Machine, func: Any, args: Any, kwargs: Any) -> Any:
    """`Tensor.to` in all its forms."""
    itself, *rest = args
    target: Any = kwargs.pop("device", None)
    others: list[Any] = []
    for value in rest:
        if isinstance(value, torch.Tensor):
            target = value.place if isinstance(value, Remote) else value.device
            others.append(value.dtype)
        elif isinstance(value, str | torch.device):
            target = value
        elif value is not None:
            others.append(value)
    other = kwargs.pop("other", None)
    if other is not None:
        target = other.place if isinstance(other, Remote) else other.device
        others.append(other.dtype)
    waits = not kwargs.get("non_blocking", False) and not any(value is True for value in others)
    others = [value for value in others if not isinstance(value, bool)]
    return _moved(machine, itself, _device(target), others, kwargs, waits)


def _moved(
    machine: Machine, itself: torch.Tensor, target: torch.device | None, rest: Any, kwargs: Any, waits: bool
) -> Any:
    dtype = kwargs.get("dtype") or next((value for value in rest if isinstance(value, torch.dtype)), itself.dtype)
    here = itself.place if isinstance(itself, Remote) else torch.device("cpu")
    target = here if target is None else target
    if here == target:
        machine.inside += isinstance(itself, Remote)
        try:
            return itself.to(*rest, **kwargs) if rest or kwargs else itself
        finally:
            machine.inside -= isinstance(itself, Remote)
    if isinstance(itself, Remote):
        if target.type in SIMULATED:
            return machine.wrap(itself.held.detach().to(dtype, copy=True), target)
        if itself.numel() and waits:
            machine.wait("download")
        return itself.held.detach().to(dtype, copy=True)
    machine.runtime.refuse_while_recording("upload")
    if itself.numel() and waits:  # torch copies nothing where there is nothing, and waits for pageable memory
        machine.wait("upload")
    moved = machine.wrap(itself.detach().to(dtype, copy=True), target)
    machine.runtime.moved(moved.held)
    return moved.requires_grad_(itself.requires_grad)


def _cpu(machine: Machine, func: Any, args: Any, kwargs: Any) -> Any:
    return _moved(machine, args[0], torch.device("cpu"), [], {}, True)


def _cuda(machine: Machine, func: Any, args: Any, kwargs: Any) -> Any:
    return _moved(machine, args[0], _device("cuda"), [], {}, True)


def _copy(machine: Machine, func: Any, args: Any, kwargs: Any) -> Any:
    """`copy_` between host and device is a move."""
    itself, source = args[0], args[1]
    if isinstance(itself, Remote) == isinstance(source, Remote):
        return func(*args, **kwargs)
    if source.numel() and not kwargs.get("non_blocking", False):
        machine.wait("upload" if isinstance(itself, Remote) else "download")
    _held(itself).copy_(_held(source))
    return itself


def _number(kind: Callable[[Any], Any]) -> Callable[[Machine, Remote], Any]:
    def value(machine: Machine, itself: Remote) -> Any:
        machine.wait("item")
        return kind(itself.held.detach())

    return value


def _refused(machine: Machine, itself: Remote) -> Any:
    raise DeviceMistake(f"numpy() of a tensor on {itself.place} ({_caller()})")


def _pinned(machine: Machine, func: Any, args: Any, kwargs: Any) -> Any:
    """Locked memory, which the simulated device has no need of."""
    return args[0].clone()


_MOVES: dict[str, Callable[..., Any]] = {
    "to": _to,
    "cpu": _cpu,
    "cuda": _cuda,
    "copy_": _copy,
    "pin_memory": _pinned,
}
_LEAVES: dict[str, Callable[[Machine, Remote], Any]] = {
    **{name: _number(kind) for name, kind in _NUMBERS.items()},
    "item": _number(lambda held: held.item()),
    "tolist": _number(lambda held: held.tolist()),
    "numpy": _refused,
    "__array__": _refused,
}


@contextmanager
def simulated(kind: str = "cuda", memory: int | None = None, counted: bool = False) -> Iterator[Machine]:
    """Within, "cuda" (or "mps") is a device that can be used, and whose use is checked.

    `memory`: how many bytes it has; `counted`: whether those in use are counted, which takes time.
    """
    machine = Machine(kind, memory, counted)
    generator = torch.Generator

    class OnDevice(generator):  # a class, since libraries that are imported meanwhile have it in their annotations
        def __new__(cls, device: Any = "cpu") -> Any:
            if torch.device(device).type not in SIMULATED:
                return generator(device)
            machine.generators.append(generator())
            return machine.generators[-1]

    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch.Generator = OnDevice  # type: ignore[misc]
    try:
        with torch_cuda(machine.runtime), _Carried(machine), _Called(machine):
            yield machine
    finally:
        torch.Generator = generator  # type: ignore[misc]
        torch.__future__.set_overwrite_module_params_on_conversion(before)
