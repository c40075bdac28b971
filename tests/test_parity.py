"""Every parity case that has a runner, as a test (skipped where the shared folder is not beside the checkout)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import check_parity
from parity import Parity

FOLDER = check_parity.shared_parity()
CASES = check_parity.cases(FOLDER) if FOLDER.is_dir() else []
CASES = [path for path in CASES if check_parity.runner(path.parent.name) is not None]


@pytest.mark.skipif(not CASES, reason="no shared parity folder")
@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_published_numbers_come_out(path: Path) -> None:
    checks, trouble = check_parity.check_case(path, Parity(check_parity.parity_root(path.parent)))
    assert checks, trouble or "nothing compared"
    assert all(check.passed for check in checks), [c for c in checks if not c.passed] + [trouble]
