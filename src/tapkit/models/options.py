"""Options: what a user may choose of a tracker, as frozen data that is checked in one place.

A tracker declares a frozen dataclass derived from `Options` (from `NetworkOptions`, if it has a network). Each field
has a type, a default and a string below it that says what it does: that is its documentation, also in the tables of the
docs. `Options.of` makes one from keyword arguments, as they come from Python, JSON or the command line.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import textwrap
import types
from collections import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, Self, Union, get_args, get_origin, get_type_hints

from tapkit.errors import UsageError, did_you_mean

Precision = Literal["float32", "bfloat16", "auto"]

EXACT: Precision = "float32"
"""The default precision of published trackers: their parity with the originals is stated in it."""
MEASURED: Precision = "auto"
"""The default precision of trackers of our own, whose figures are measured so: bfloat16 where the processor multiplies
in it, else float32."""


class Field(NamedTuple):
    """One option, for people."""

    name: str
    type: str
    default: Any
    help: str


@dataclass(frozen=True)
class Options:
    """Base of all options."""

    @classmethod
    def of(cls, model: str, given: Mapping[str, Any]) -> Self:
        """Options with these values, brought to the types declared. Raises `UsageError` in one sentence.

        Sizes may be given as one number (a square) or as a list (height, width).
        """
        hints = get_type_hints(cls)
        known = [field.name for field in fields(cls)]
        values = {}
        for name, value in given.items():
            if name not in known:
                hint = did_you_mean(name, known)
                raise UsageError(f"{model} has no option {name!r}{hint} (known: {', '.join(known) or 'none'})")
            try:
                values[name] = _as(hints[name], value)
            except (TypeError, ValueError) as error:
                wanted = _spelled(hints[name])
                raise UsageError(f"option {name} of {model} must be {wanted}, got {value!r}") from error
        options = cls(**values)
        options.check()
        return options

    def check(self) -> None:
        """Raise `UsageError` for values that cannot be."""

    def to_json(self) -> dict[str, Any]:
        """All values as JSON has them (tuples as lists), for the provenance."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def listed(cls) -> list[Field]:
        """All options with types, defaults and what they do."""
        hints, helps = get_type_hints(cls), _helps(cls)
        return [Field(f.name, _spelled(hints[f.name]), _default(f), helps.get(f.name, "")) for f in fields(cls)]


@dataclass(frozen=True)
class NetworkOptions(Options):
    """Base of the options of trackers with a network."""

    precision: Precision = EXACT
    """Of features and matrix products: "float32", "bfloat16", or "auto" (bfloat16 where the processor multiplies in
    it). Coordinates are float32 always."""


def require_size(name: str, size: tuple[int, int] | None, least: int = 1, multiple: int = 1) -> None:
    """Raise `UsageError` unless a size (height, width), if there is one, is at least and a multiple of so much."""
    if size is None:
        return
    if min(size) < least:
        raise UsageError(f"{name} must be at least {least}x{least} pixels, got {size[1]}x{size[0]}")
    if any(side % multiple for side in size):
        raise UsageError(f"{name} must be multiples of {multiple}, got {size[1]}x{size[0]}")


def require_least(options: Options, **least: float) -> None:
    """Raise `UsageError` unless each option named is at least so much."""
    for name, limit in least.items():
        value = getattr(options, name)
        if value < limit:
            raise UsageError(f"{name} must be at least {limit:g}, got {value:g}")


def _as(hint: Any, value: Any) -> Any:
    """`value` as what `hint` declares. Raises TypeError or ValueError."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        for one in inner:
            try:
                return _as(one, value)
            except (TypeError, ValueError):
                continue
        raise ValueError
    if origin is abc.Mapping:
        if not isinstance(value, Mapping):
            raise TypeError
        return dict(value)
    if origin is Literal:
        if value not in inner:
            raise ValueError
        return value
    if origin is tuple:
        if inner == (int, int) and isinstance(value, int) and not isinstance(value, bool):
            return (value, value)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise TypeError
        if inner[-1] is Ellipsis:
            return tuple(_as(inner[0], item) for item in value)
        if len(value) != len(inner):
            raise ValueError
        return tuple(_as(one, item) for one, item in zip(inner, value, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise TypeError
    if hint is float and not math.isfinite(value):
        raise ValueError
    return value


def _spelled(hint: Any) -> str:
    """A type for people.

    >>> _spelled(tuple[int, int] | None), _spelled(Literal["a", "b"])
    ('(height, width) or None', "'a' or 'b'")
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_spelled(one) for one in inner)
    if origin is Literal:
        return " or ".join(repr(one) for one in inner)
    if origin is tuple:
        if inner == (int, int):
            return "(height, width)"
        return f"a list of {_spelled(inner[0])}"
    if origin is abc.Mapping:
        return 'a table such as {"name": value}'
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "None"}
    return words.get(hint, str(hint))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _helps(cls: type) -> dict[str, str]:
    """The strings below the fields of a dataclass and its bases."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not (isinstance(base, type) and issubclass(base, Options)):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[field.target.id] = " ".join(str(below.value.value).split())
    return found
