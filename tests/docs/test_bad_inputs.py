"""The page about bad input says what the command line says: all of it is there, and what is quick is run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "bad_inputs.md").read_text()
QUICK = (
    "track none.mp4", "track notes.txt", "track empty.mp4", "track hollow", "trak shot", "draw shot none.npz a.mp4",
    "track shot -o a.txt", "track shot --model lucaskanade",
)  # fmt: skip


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bad_inputs", ROOT / "tools" / "bad_inputs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_case_has_its_row(tool: ModuleType) -> None:
    assert [line for _, line in tool.CASES if f"`tapkit {line}`" not in PAGE] == []


@pytest.mark.parametrize("line", QUICK)
def test_the_page_says_what_the_command_says(tool: ModuleType, line: str, tmp_path: Path) -> None:
    (what,) = (what for what, command in tool.CASES if command == line)
    tool.pictures(tmp_path)
    code, said = tool.run(tmp_path, line)
    assert tool.row(tmp_path, what, f"`tapkit {line}`", code, said) in PAGE, "python tools/bad_inputs.py"
