"""Tables as spreadsheets write them: encodings, separators, decimal commas, cells without a number."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_NOTHING = {"", "nan", "na", "n/a", "#n/a", "null", "none", "-"}
"""What stands in a cell that has no value."""


def encoding_of(start: bytes) -> str:
    """The encoding of a text that begins so: UTF-16 where its mark says so, else UTF-8 with or without a mark.

    >>> encoding_of("a".encode("utf-16")), encoding_of(b"a")
    ('utf-16', 'utf-8-sig')
    """
    return next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8-sig")


def encoding_of_file(path: Path) -> str:
    """`encoding_of` a file."""
    with open(path, "rb") as file:
        return encoding_of(file.read(4))


def delimiter_of(line: str) -> str:
    """What separates the cells of a line of column names: comma, semicolon, tab or bar.

    >>> delimiter_of("id;frame;x;y"), delimiter_of('"a;b",x,y'), delimiter_of("x")
    (';', ',', ',')
    """
    return max(",;\t|", key=lambda mark: len(next(csv.reader([line], delimiter=mark), [])))


def numbers(cells: Sequence[str], comma: bool = False) -> np.ndarray:
    """Cells as numbers, NaN where they are empty or say that there is none. `comma`: decimals stand after a comma.

    Raises ValueError for any other text.

    >>> numbers(["1,5", "", "NA", "2"], comma=True).tolist()
    [1.5, nan, nan, 2.0]
    """
    try:
        return np.array(cells, dtype=float)
    except ValueError:
        plain = ["nan" if cell.strip().lower() in _NOTHING else cell.strip() for cell in cells]
        if comma:
            plain = [cell.replace(",", ".") if re.fullmatch(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?", cell) else cell
                     for cell in plain]  # fmt: skip
        return np.array(plain, dtype=float)
