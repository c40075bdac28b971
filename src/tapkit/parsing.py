"""Sizes and NAME=VALUE pairs as people write them on a command line. All raise `UsageError` in one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tapkit.errors import UsageError

if TYPE_CHECKING:
    from tapkit.coords import Size  # which brings torch, too slow for `tapkit --help`

_PRODUCT = re.compile(r"\s*([0-9]+)\s*[xX×]\s*([0-9]+)\s*")


def parse_size(text: str, option: str = "--size") -> Size:
    """(height, width) of WIDTHxHEIGHT, the way sizes of pictures are written.

    >>> parse_size("1920x1080"), parse_size("1920 × 1080")
    ((1080, 1920), (1080, 1920))
    """
    width, height = _product(text, f"{option} takes WIDTHxHEIGHT such as 1920x1080, got {text!r}")
    return height, width


def parse_resolution(text: str) -> Size:
    """(height, width) of HEIGHTxWIDTH, the way benchmarks write the resolution that a tracker is handed.

    >>> parse_resolution("384x512")
    (384, 512)
    """
    height, width = _product(text, f"resolution must be native, model or HEIGHTxWIDTH such as 256x256, got {text!r}")
    return height, width


def _product(text: str, otherwise: str) -> tuple[int, int]:
    found = _PRODUCT.fullmatch(text)
    if found is None or min(int(found[1]), int(found[2])) < 1:
        raise UsageError(otherwise)
    return int(found[1]), int(found[2])


def parse_pairs(pairs: Iterable[str] | None, option: str = "--set") -> dict[str, str]:
    """NAME=VALUE pairs; "-" in a name is "_", of two pairs with one name the later counts.

    >>> parse_pairs(["support=none", "max-side = 9", "text=a=b"])
    {'support': 'none', 'max_side': ' 9', 'text': 'a=b'}
    """
    values = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise UsageError(f"{option} takes NAME=VALUE, got {pair!r}")
        values[name] = value
    return values


def read_options(pairs: Iterable[str] | None, option: str = "--set") -> dict[str, Any]:
    """NAME=VALUE pairs, values read as JSON where they are JSON.

    >>> read_options(["iterations=4", "support=none"])
    {'iterations': 4, 'support': 'none'}
    """
    return {name: _json(value) for name, value in parse_pairs(pairs, option).items()}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_counts(text: str, what: str, letters: Mapping[str, str], example: str) -> dict[str, int]:
    """Counts by name out of "none" or parts such as "local:8+grid:6"; each name once.

    Args:
        text: as it was written.
        what: what it is, for the error.
        letters: the names that there are -> the letter that stands for their count in the error.
        example: one that is right, for the error.

    >>> read_counts("local:8+grid:6", "support", {"local": "G", "grid": "G"}, "grid:6")
    {'local': 8, 'grid': 6}
    """
    counts: dict[str, int] = {}
    if text == "none":
        return counts
    for part in text.split("+"):
        name, _, count = part.strip().partition(":")
        if name not in letters or name in counts or not re.fullmatch(r"[1-9]\d{0,3}", count, re.ASCII):
            forms = ", ".join(f'"{known}:{letter}"' for known, letter in letters.items())
            raise UsageError(
                f'{what} is "none", {forms}, or some of these joined by "+" (for instance "{example}"), got {text!r}'
            )
        counts[name] = int(count)
    return counts
