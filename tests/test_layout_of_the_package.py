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


RENAMES = {
    "storage.py": "it is the one",
    "weights.py": "a download is resumed: what a failure leaves must stay",
    "generate/blender/film.py": "it runs in Blender, where there is no tapkit",
    "sinks/table.py": "a working file that grows while a run lasts, not a result",
}


def test_results_are_put_in_place_by_storage() -> None:
    renaming = set(lines_with(r"\bos\.(replace|rename)\(|\bshutil\.move\("))
    assert renaming <= set(RENAMES)


def test_tables_are_formatted_and_parsed_in_one_place() -> None:
    """Comma-separated tracks: the format DLTdv has its own layout, queries and benchmarks are other things."""
    assert set(lines_with(r"\bparquet\.(read_table|ParquetWriter|write_table)\(")) == {"types/table.py"}
