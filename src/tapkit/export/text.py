"""Writing and reading text that programs take: names, numbers, frame rates."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tapkit import storage
from tapkit.errors import StorageError, UsageError
from tapkit.types.sheet import encoding_of
from tapkit.types.table import fill as table

__all__ = ["NameRule", "parse_rate", "plain", "rate_text", "read_text", "table", "write_text"]


NEVER = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]"
"""Characters that no program takes in a name: controls, line ends of any kind, marks that turn the reading direction
of the text around them, and what UTF-8 or XML cannot hold."""


def plain(text: str) -> str:
    """Text of any origin (a path, a label) as one line that every file can hold; see `NEVER`.

    >>> plain("a\\nb"), plain("né")
    ('a_b', 'né')
    """
    return re.sub(NEVER, "_", text)


@dataclass(frozen=True)
class NameRule:
    """What a program takes as the name of a point."""

    forbidden: str = r"[\x00-\x1f]"
    """Regular expression of characters it does not take, besides `NEVER`; they become "_"."""
    longest: int = 200
    """Bytes of UTF-8."""
    letter_first: bool = False
    """Whether a name must not begin with a digit; "point" is put before those that do."""

    def apply(self, ids: Iterable[str]) -> list[str]:
        """Names for `ids`: allowed, not empty, unique (a number is added), in the same order.

        >>> NameRule(r"\\W", letter_first=True).apply(["left eye", "left-eye", "7", ""])
        ['left_eye', 'left_eye_2', 'point7', 'point']
        """
        taken: set[str] = set()
        next_number: dict[str, int] = {}
        names = []
        for identity in ids:
            stem = re.sub(self.forbidden, "_", re.sub(NEVER, "_", identity))
            if not stem.strip() or (self.letter_first and not (stem[0].isalpha() or stem[0] == "_")):
                stem = f"point{stem.strip()}"
            name, number = _cut(stem, self.longest), next_number.get(stem, 2)
            while name in taken:
                ending = f"_{number}"
                name, number = _cut(stem, self.longest - len(ending)) + ending, number + 1
            next_number[stem] = number
            taken.add(name)
            names.append(name)
        return names


def _cut(name: str, longest: int) -> str:
    return name.encode()[:longest].decode(errors="ignore")


def rate_text(fps: Fraction) -> str:
    """Frames per second as programs print it: 24, 23.976, 29.97; others with up to six decimals.

    >>> rate_text(Fraction(24000, 1001)), rate_text(Fraction(25)), rate_text(Fraction(30000, 1001))
    ('23.976', '25', '29.97')
    """
    if fps.denominator == 1:
        return str(fps.numerator)
    digits = 3 if fps.denominator == 1001 and fps.numerator % 1000 == 0 else 6
    return f"{float(fps):.{digits}f}".rstrip("0").rstrip(".")


def parse_rate(text: str) -> Fraction:
    """The exact frame rate that a printed one stands for; fractions are taken as they are.

    >>> parse_rate("23.976"), parse_rate("29.97"), parse_rate("25.0"), parse_rate("12.5"), parse_rate("30000/1001")
    (Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25, 1), Fraction(25, 2), Fraction(30000, 1001))
    """
    try:
        value = Fraction(text.strip().replace(":", "/"))
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"{text!r} is not a frame rate: write 25, 23.976 or 24000/1001") from error
    if value <= 0:
        raise UsageError(f"a frame rate must be positive, got {text}")
    if "/" in text or ":" in text or value.denominator == 1:
        return value
    ntsc = Fraction(round(value * 1001 / 1000) * 1000, 1001)
    return ntsc if abs(value - ntsc) < Fraction(1, 1000) else value.limit_denominator(1001)


def read_text(path: Path) -> str:
    """A text file, with any line ends and byte order mark (UTF-16, too); one sentence if it is no such thing."""
    try:
        content = storage.check_file(path).read_bytes()
        text = content.decode(encoding_of(content[:4]))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise StorageError(f"{path} is not a text file (byte {error.start} is not {error.encoding.upper()})") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def write_text(path: Path, parts: Iterable[str], newline: str = "\n") -> None:
    """Write pieces of text one after the other, as UTF-8, with the line end that the program expects."""
    with open(path, "w", encoding="utf-8", errors="replace", newline=newline) as file:
        file.writelines(parts)
