"""Reading pickles of arrays without running them, and without holding them.

A pickle is a program. `Machine` interprets the few instructions that build numbers, strings, lists, tuples, dicts and
numpy arrays: no name is ever imported, nothing is called. Large byte strings are not read but remembered by their
place in the file, so that a pickle of gigabytes of video opens in no time and each frame is read from disk when it is
used (`LazyArray.open` gives a memory map).

A file that holds anything else is refused, which is right for data, where all of it is wanted
(`tapkit.datasets.pickles`). Checkpoints are read with more patience (`tapkit.unpickle_tolerant`).

The instructions and the state that numpy stores are documented in Python's `pickletools` and in numpy's
`ndarray.__reduce__`.
"""

from __future__ import annotations

import codecs
import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from tapkit.errors import StorageError

LARGE = 1024
"""Byte strings from this length on stay in the file."""
LONGEST_INTEGER = 64
"""Bytes, or digits."""
MOST_AXES = 32
LONGEST_AXIS = 1 << 48


@dataclass(frozen=True)
class Blob:
    """Bytes that were left in the file."""

    path: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """The bytes themselves."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


class LazyArray:
    """A pickled numpy array: shape and type are known, the contents are read on demand."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype: np.dtype = np.dtype("u1")
        self.fortran = False
        self.data: Any = b""

    def __repr__(self) -> str:
        return f"LazyArray({self.dtype}, {list(self.shape)})"

    def set(self, shape: Any, dtype: Any, fortran: Any, data: Any) -> None:
        """What the pickle says of it; refuses what does not add up."""
        if not isinstance(dtype, _Type):
            raise Refused("an array without a plain type")
        dtype = dtype.value
        if not is_shape(shape):
            raise Refused("an array whose shape is not a tuple of sizes")
        count = 1
        for n in shape:
            count *= n
        if dtype.hasobject:
            if not isinstance(data, list) or len(data) != count:
                raise Refused("an array of objects whose list has another length")
        elif not isinstance(data, (bytes, Blob)) or _length(data) != count * dtype.itemsize:
            raise Refused(f"an array {list(shape)} of {dtype} with the wrong number of bytes")
        self.shape, self.dtype, self.fortran, self.data = shape, dtype, bool(fortran), data

    def open(self) -> np.ndarray:
        """The array, read-only: a memory map if its bytes lie in the file. Arrays of objects: see `items`."""
        if self.dtype.hasobject:
            raise StorageError("an array of Python objects is not an array of numbers")
        order: Literal["F", "C"] = "F" if self.fortran else "C"
        if isinstance(self.data, Blob):
            mapped: np.ndarray = np.memmap(self.data.path, self.dtype, "r", self.data.offset, self.shape, order)
            return mapped
        array: np.ndarray = np.frombuffer(self.data, self.dtype).reshape(self.shape, order=order)
        return array

    def items(self) -> list[Any]:
        """The members of a one-dimensional array of objects or of byte strings."""
        return list(self.data) if self.dtype.hasobject else [bytes(item) for item in self.open()]


def is_shape(shape: Any) -> bool:
    """Whether it is a tuple of sizes that can be multiplied without harm."""
    return (
        isinstance(shape, tuple)
        and len(shape) <= MOST_AXES
        and all(isinstance(n, int) and 0 <= n <= LONGEST_AXIS for n in shape)
    )


def _length(data: bytes | Blob) -> int:
    return data.length if isinstance(data, Blob) else len(data)


class Refused(Exception):
    """Why a pickle is not opened, as the middle of a sentence."""


class Name:
    """A name that the pickle mentions and that is allowed: it stands for itself, nothing is imported."""

    def __init__(self, name: str) -> None:
        self.name = name


class Stranger:
    """What stands where a pickle wants a class, a function, or what those would make. It does nothing."""

    __slots__ = ("content", "name")

    def __init__(self, name: str, content: Any = None) -> None:
        self.name = name[:200]
        """As the pickle calls it, for messages."""
        self.content = content
        """The dict that it was made of, if it was made of nothing else: a wrapping of other projects, perhaps."""

    def __repr__(self) -> str:
        return f"Stranger({self.name!r})"


class _Type:
    """A numpy type, which pickles first name and then complete."""

    __slots__ = ("value",)

    def __init__(self, value: np.dtype) -> None:
        self.value = value


class _Mark:
    """The marker object of the stack machine."""


_MARK = _Mark()
_ALLOWED = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): "reconstruct" for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): "scalar" for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): "frombuffer" for core in ("core", "_core")},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("collections", "OrderedDict"): "dict",
    ("collections", "defaultdict"): "defaultdict",
    # Protocols 0 to 2 write an empty byte string as a call of bytes without arguments.
    ("__builtin__", "bytes"): "bytes",
    ("builtins", "bytes"): "bytes",
}


DAMAGE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, MemoryError)
"""What bytes that are no pickle raise besides `Refused`, and `IndexError` or `struct.error` where they end early."""


class Machine:
    """One run over one pickle: a stack, a memo, a position in the file.

    Methods raise `Refused`, `IndexError` or `struct.error` at an early end, and `DAMAGE`.
    """

    allowed: ClassVar[Mapping[tuple[str, str], str]] = _ALLOWED
    """Names a pickle may mention, and what they are called in `calls`."""

    def __init__(self, path: Path, content: mmap.mmap, offset: int = 0) -> None:
        self.path, self.content, self.at = path, content, offset
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.calls: dict[str, Callable[[tuple[Any, ...]], Any]] = dict(_CALLS)

    def run(self) -> Any:
        """Interpret until the instruction that ends a pickle."""
        while True:
            code = self.take(1)[0]
            if code == 0x2E:  # '.'
                return self.stack.pop()
            action = ACTIONS.get(code)
            if action is not None:
                action(self)
            elif code in FORBIDDEN:
                self.other(code)
            else:
                raise ValueError(f"unknown instruction {code:#04x} at byte {self.at - 1}")

    def other(self, code: int) -> None:
        """An instruction that makes something else than plain data."""
        raise Refused(FORBIDDEN[code])

    # -- bytes ------------------------------------------------------------------------------------

    def take(self, count: int) -> bytes:
        """The next bytes; `IndexError` beyond the end."""
        if count < 0 or self.at + count > len(self.content):
            raise IndexError
        self.at += count
        return self.content[self.at - count : self.at]

    def number(self, form: str) -> int:
        """A little-endian number of that struct format."""
        return int(struct.unpack("<" + form, self.take(struct.calcsize(form)))[0])

    def line(self) -> bytes:
        """Up to the next newline, without it."""
        end = self.content.find(b"\n", self.at)
        if end < 0:
            raise IndexError
        text = self.take(end - self.at)
        self.at += 1
        return text

    def blob(self, count: int) -> bytes | Blob:
        """Bytes, left in the file if they are many."""
        if count < LARGE:
            return self.take(count)
        if self.at + count > len(self.content):
            raise IndexError
        self.at += count
        return Blob(self.path, self.at - count, count)

    # -- stack ------------------------------------------------------------------------------------

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        """Everything above the last marker, which goes too."""
        for depth in range(len(self.stack) - 1, -1, -1):
            if self.stack[depth] is _MARK:
                values = self.stack[depth + 1 :]
                del self.stack[depth:]
                return values
        raise ValueError("a marker is missing")

    def name(self, module: Any, name: Any) -> None:
        """Push an allowed name, or refuse."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("a name that is no text")
        known = self.allowed.get((module, name))
        self.push(self.unknown(module, name) if known is None else Name(known))

    def unknown(self, module: str, name: str) -> Any:
        """What stands for a name that is not allowed."""
        raise Refused(f"a call of {module}.{name}"[:200])

    def extend(self, values: list[Any]) -> None:
        """Add to the list on top of the stack."""
        if not isinstance(self.stack[-1], list):
            raise Refused("something that is filled like a list but is none")
        self.stack[-1].extend(values)

    def update(self, values: list[Any]) -> None:
        """Add keys and values to the dict on top of the stack."""
        if not isinstance(self.stack[-1], dict):
            raise Refused("something that is filled like a dict but is none")
        self.stack[-1].update(pairs(values))

    def reduce(self) -> None:
        """ "Call" an allowed name: each has its own meaning here, none of them Python's."""
        arguments, callee = self.stack.pop(), self.stack.pop()
        if not isinstance(callee, Name) or not isinstance(arguments, tuple):
            raise Refused("a call of something that is not a name")
        self.push(self.calls[callee.name](arguments))

    def build(self) -> None:
        """Set the state of an array or of its type."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, LazyArray):
            _, shape, dtype, fortran, data = state
            target.set(shape, dtype, fortran, data)
        elif isinstance(target, _Type):
            target.value = _typed(target.value, state)
        else:
            raise Refused("an object with a state of its own")


def _array(arguments: tuple[Any, ...]) -> LazyArray:
    if not (isinstance(arguments[0], Name) and arguments[0].name == "ndarray"):
        raise Refused("an array of an unknown class")
    return LazyArray()


def _dtype(arguments: tuple[Any, ...]) -> _Type:
    text = arguments[0]
    if isinstance(text, bytes):
        text = text.decode("ascii")
    if not isinstance(text, str):
        raise Refused("an array type that is no text")
    if text[:1] not in "biufSUO" or not text[1:].isdigit() or len(text) > 12:
        raise Refused(f"an array type {text[:40]!r}")
    return _Type(np.dtype("O") if text[0] == "O" else np.dtype(text).newbyteorder("<"))


def _typed(dtype: np.dtype, state: Any) -> np.dtype:
    order: Any = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
    if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
        raise Refused("a structured array type")
    return dtype if order in "|=" else dtype.newbyteorder(order)


def _scalar(arguments: tuple[Any, ...]) -> Any:
    dtype, data = arguments
    if not isinstance(dtype, _Type) or dtype.value.hasobject or not isinstance(data, bytes):
        raise Refused("a number of an unknown type")
    return np.frombuffer(data, dtype.value, 1)[0]


def _encode(arguments: tuple[Any, ...]) -> bytes:
    text, codec = arguments
    if codec not in ("latin1", "latin-1") or not isinstance(text, str):
        raise Refused("bytes in another encoding than latin-1")
    return text.encode("latin-1")


def _frombuffer(arguments: tuple[Any, ...]) -> LazyArray:
    data, dtype, shape, order = arguments
    array = LazyArray()
    array.set(shape, dtype, order == "F", data)
    return array


def _empty(arguments: tuple[Any, ...]) -> bytes:
    if arguments:
        raise Refused("a call of bytes")
    return b""


def _ordered(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """An OrderedDict: empty, or of a list of pairs (Python 2)."""
    listed = arguments[0] if arguments else []
    if not isinstance(listed, (list, tuple)) or not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in listed):
        raise Refused("a dict made of something else than pairs")
    return {_key(key): value for key, value in listed}


def _default(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """A defaultdict: what makes its defaults is not needed."""
    return {}


def pairs(values: list[Any]) -> dict[Any, Any]:
    return {_key(key): value for key, value in zip(values[::2], values[1::2], strict=True)}


def _key(key: Any) -> Any:
    """A key of a dict. Deeply nested tuples would be hashed by recursion in C, which has no floor."""
    plain = (str, bytes, int, float, bool, type(None), Stranger, np.generic)
    if isinstance(key, plain) or (isinstance(key, tuple) and all(isinstance(part, plain) for part in key)):
        return key
    raise Refused("a key that is neither a number nor a text")


_CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "reconstruct": _array,
    "dtype": _dtype,
    "scalar": _scalar,
    "encode": _encode,
    "frombuffer": _frombuffer,
    "dict": _ordered,
    "defaultdict": _default,
    "bytes": _empty,
}


def _integer(machine: Machine, length: int) -> None:
    if length > LONGEST_INTEGER:
        raise Refused(f"a whole number of {length} bytes")
    machine.push(int.from_bytes(machine.take(length), "little", signed=True))


def _text_integer(machine: Machine) -> None:
    text = machine.line()
    if len(text) > LONGEST_INTEGER:
        raise Refused("a whole number of very many digits")
    machine.push({b"00": False, b"01": True}[text] if text in (b"00", b"01") else int(text.rstrip(b"L")))


def _quoted(machine: Machine) -> None:
    text = machine.line().strip()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise ValueError("a text without quotes")
    # What Python's own unpickler decodes such a line with.
    machine.push(codecs.escape_decode(text[1:-1])[0])


def _memoize(machine: Machine, key: int) -> None:
    machine.memo[key] = machine.stack[-1]


def _tuple(machine: Machine, length: int) -> None:
    values = tuple(machine.stack[-length:])
    if len(values) < length:
        raise ValueError("the stack is too short")
    del machine.stack[-length:]
    machine.push(values)


def _set_item(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.update([key, value])


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.name(module, name)


ACTIONS: dict[int, Callable[[Machine], Any]] = {
    0x80: lambda m: m.take(1),  # PROTO
    0x95: lambda m: m.take(8),  # FRAME: only a hint for readers
    ord("("): lambda m: m.push(_MARK),
    ord("0"): lambda m: m.stack.pop(),
    ord("1"): lambda m: m.since_mark(),
    ord("2"): lambda m: m.push(m.stack[-1]),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("I"): _text_integer,
    ord("L"): _text_integer,
    ord("J"): lambda m: m.push(m.number("i")),
    ord("K"): lambda m: m.push(m.number("B")),
    ord("M"): lambda m: m.push(m.number("H")),
    0x8A: lambda m: _integer(m, m.number("B")),
    0x8B: lambda m: _integer(m, m.number("I")),
    ord("F"): lambda m: m.push(float(m.line())),
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    ord("S"): _quoted,
    ord("T"): lambda m: m.push(m.blob(m.number("i"))),
    ord("U"): lambda m: m.push(m.blob(m.number("B"))),
    ord("B"): lambda m: m.push(m.blob(m.number("I"))),
    ord("C"): lambda m: m.push(m.blob(m.number("B"))),
    0x8E: lambda m: m.push(m.blob(m.number("Q"))),
    0x96: lambda m: m.push(m.blob(m.number("Q"))),  # BYTEARRAY8
    ord("V"): lambda m: m.push(m.line().decode("raw_unicode_escape")),
    ord("X"): lambda m: m.push(m.take(m.number("I")).decode("utf-8", "surrogatepass")),
    0x8C: lambda m: m.push(m.take(m.number("B")).decode("utf-8", "surrogatepass")),
    0x8D: lambda m: m.push(m.take(m.number("Q")).decode("utf-8", "surrogatepass")),
    ord("]"): lambda m: m.push([]),
    ord("l"): lambda m: m.push(m.since_mark()),
    ord("a"): lambda m: m.extend([m.stack.pop()]),
    ord("e"): lambda m: m.extend(m.since_mark()),
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.since_mark())),
    0x85: lambda m: _tuple(m, 1),
    0x86: lambda m: _tuple(m, 2),
    0x87: lambda m: _tuple(m, 3),
    ord("}"): lambda m: m.push({}),
    ord("d"): lambda m: m.push(pairs(m.since_mark())),
    ord("s"): _set_item,
    ord("u"): lambda m: m.update(m.since_mark()),
    ord("p"): lambda m: _memoize(m, int(m.line())),
    ord("q"): lambda m: _memoize(m, m.number("B")),
    ord("r"): lambda m: _memoize(m, m.number("I")),
    0x94: lambda m: _memoize(m, len(m.memo)),
    ord("g"): lambda m: m.push(m.memo[int(m.line())]),
    ord("h"): lambda m: m.push(m.memo[m.number("B")]),
    ord("j"): lambda m: m.push(m.memo[m.number("I")]),
    ord("c"): lambda m: m.name(m.line().decode("ascii", "replace"), m.line().decode("ascii", "replace")),
    0x93: _stack_global,
    ord("R"): lambda m: m.reduce(),
    ord("b"): lambda m: m.build(),
}


FORBIDDEN = {
    ord("P"): "a persistent reference",
    ord("Q"): "a persistent reference",
    ord("i"): "the making of an object",
    ord("o"): "the making of an object",
    0x81: "the making of an object",
    0x92: "the making of an object",
    0x82: "a registered extension",
    0x83: "a registered extension",
    0x84: "a registered extension",
    0x8F: "a set",
    0x90: "a set",
    0x91: "a frozen set",
    0x97: "a buffer outside the file",
    0x98: "a buffer outside the file",
}
