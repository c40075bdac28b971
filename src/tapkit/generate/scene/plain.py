"""Frozen dataclasses from and to JSON values, with one sentence for whatever does not fit."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


class SceneError(ValueError):
    """A scene description that cannot be built as it is; the message is one sentence that names the field."""


def to_plain(value: Any) -> Any:
    """Dataclasses as dicts, tuples as lists: what `json.dumps` takes."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [to_plain(part) for part in value] if isinstance(value, (tuple, list)) else value


def from_plain(record: type[Record], value: Any, where: str = "the scene") -> Record:
    """`value`, as JSON gave it, as `record`. Fields that are left out take their default.

    Raises:
        SceneError: a field that is unknown, missing, of another type or out of its range.
    """
    if not isinstance(value, dict):
        raise SceneError(f"{where} must be an object with named fields, got {_short(value)}")
    hints = _hints(record)  # type: ignore[arg-type]
    fields = {field.name: field for field in dataclasses.fields(record)}  # type: ignore[arg-type]
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise SceneError(f"{where} has no field {_short(unknown[0])}; it has {', '.join(fields)}")
    missing = [
        name
        for name, field in fields.items()
        if name not in value and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise SceneError(f"{where} lacks {missing[0]}")
    parsed = {name: _parse(hints[name], part, f"{where}: {name}") for name, part in value.items()}
    try:
        return record(**parsed)
    except SceneError as error:
        raise SceneError(f"{where}: {error}") from None


@functools.cache
def _hints(record: type) -> dict[str, Any]:
    return get_type_hints(record)


def _parse(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _parse(next(kind for kind in arguments if kind is not type(None)), value, where)
    if origin is tuple:
        return _parse_tuple(arguments, value, where)
    if dataclasses.is_dataclass(hint):
        return from_plain(hint, value, where)  # type: ignore[arg-type]
    if hint is bool:
        accepted = isinstance(value, bool)
    elif hint is int:
        accepted = isinstance(value, int) and not isinstance(value, bool)
    elif hint is float:
        accepted = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    else:
        accepted = isinstance(value, str)
    if not accepted:
        kind = {bool: "true or false", int: "a whole number", float: "a finite number"}.get(hint, "a text")
        raise SceneError(f"{where} must be {kind}, got {_short(value)}")
    return float(value) if hint is float else value


def _parse_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise SceneError(f"{where} must be a list, got {_short(value)}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_parse(arguments[0], part, f"{where}[{index}]") for index, part in enumerate(value))
    if len(value) != len(arguments):
        raise SceneError(f"{where} must have {len(arguments)} values, got {len(value)}")
    return tuple(
        _parse(kind, part, f"{where}[{index}]") for index, (kind, part) in enumerate(zip(arguments, value, strict=True))
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """`value` is one of `choices`."""
    if value not in choices:
        raise SceneError(f"{name} is one of {', '.join(choices)}, got {_short(value)}")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """`value` lies in low..high."""
    if not low <= value <= high:
        raise SceneError(f"{name} lies in {low:g} to {high:g}, got {value:g}")


def check_file(name: str, value: str | None) -> None:
    """A file of the assets folder is named from there, and stays in there."""
    if value is None:
        return
    parts = value.replace("\\", "/").split("/")
    if not value or value.startswith(("/", "\\", "~")) or ":" in value or ".." in parts or "\0" in value:
        raise SceneError(f"{name} is a file of the assets folder, written from there, got {_short(value)}")
