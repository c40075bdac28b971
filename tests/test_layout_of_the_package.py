"""Things of which there is to be one."""

from __future__ import annotations

import re
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "tapkit"


def lines_with(pattern: str) -> list[str]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found += [path.relative_to(SOURCE).as_posix() for _ in re.finditer(pattern, text, re.MULTILINE)]
    return found


def test_size_is_defined_once() -> None:
    assert lines_with(r"^Size\b.*= tuple\[int, int\]$") == ["coords.py"]


def test_entry_points_are_read_in_one_place() -> None:
    assert set(lines_with(r"\bmetadata\.entry_points\(")) == {"plugins.py"}
