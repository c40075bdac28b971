"""What can go wrong, as exceptions whose message is one sentence a user can act on.

Every error that tapkit raises on purpose derives from `TapkitError`; the command line prints its
message without a traceback and exits with its `exit_code`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType


class TapkitError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line exits with."""

    exit_code = 1


class UsageError(TapkitError, ValueError):
    """An argument that cannot be used as given."""

    exit_code = 2


class ShapeError(UsageError):
    """An array of another shape than expected: the message says expected, got and the likely cause."""


class QueryError(UsageError):
    """A query outside the clip or the frame, not a number, or at a frame that is no longer held."""


class VideoError(TapkitError):
    """A video that cannot be opened, or of which nothing can be decoded."""

    exit_code = 3


class VideoWarning(UserWarning):
    """A video of which only a part can be used, or that does not say all it should; given once per video."""


class WeightsError(TapkitError):
    """Weights that are missing, damaged, or of another model."""

    exit_code = 4


class MissingExtra(TapkitError, ImportError):
    """An optional library is not installed; the message names the extra to install."""

    exit_code = 5


class StorageError(TapkitError, OSError):
    """A result that cannot be written or read (full disk, no permission, damaged file)."""

    exit_code = 6


class MemoryBudgetError(TapkitError):
    """The memory budget is too small for even one point."""

    exit_code = 7


class DeviceMemoryError(MemoryBudgetError):
    """The device has run out of memory."""


class DeviceMemoryWarning(UserWarning):
    """The device has run out of memory, and less is done at once from there on."""


def one_line(text: str) -> str:
    """Text for a terminal: one line, in which names from files cannot move the cursor or change colours.

    >>> one_line("a\\x1b[2Jb\\nc")
    'a?[2Jb c'
    """
    import re

    return re.sub("[\\x00-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]", "?", " ".join(text.split()))


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a sentence about an unknown name: the nearest of those known, or nothing.

    >>> did_you_mean("strnd", ["strand", "tapir"]), did_you_mean("zzz", ["strand"])
    ("; did you mean 'strand'?", '')
    """
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {close[0]!r}?" if close else ""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional library, or say in one sentence which extra brings it.

    >>> require("math", "nothing").sqrt(4.0)
    2.0
    >>> require("no_such_library", "cv")
    Traceback (most recent call last):
        ...
    tapkit.errors.MissingExtra: no_such_library is not installed; get it with: pip install "tapkit[cv]"
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.split(".")[0]
        raise MissingExtra(f'{name} is not installed; get it with: pip install "tapkit[{extra}]"') from error
