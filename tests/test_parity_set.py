"""The published networks' numbers, on any clone: the cases that come with the code (tests/parity_set)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import check_parity
from parity import Parity

import parity_set

SET = check_parity.SMALL_SET
CASES = check_parity.cases(SET)
PARITY = Parity(SET)


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_published_numbers_come_out(path: Path) -> None:
    checks, trouble = check_parity.check_case(path, PARITY)
    assert checks, trouble or "nothing compared"
    assert all(check.passed for check in checks), [c for c in checks if not c.passed] + [trouble]


def test_every_runner_has_a_case() -> None:
    """A new published tracker brings its cases along."""
    helpers = {"__init__", "cotracker_recorder"}
    runners = {path.stem for path in (check_parity.TOOLS / "parity").glob("*.py")} - helpers
    assert runners == {path.parent.name for path in CASES} == set(parity_set.CASES)


def test_the_set_is_small_and_complete() -> None:
    assert parity_set.size_of(SET) < parity_set.LARGEST
    assert sorted(f"{path.parent.name}/{path.stem}" for path in CASES) == sorted(
        f"{model}/{name}" for model, names in parity_set.CASES.items() for name in names
    )


@pytest.mark.skipif(not check_parity.shared_parity().is_dir(), reason="the full parity set is not here")
def test_the_set_is_a_part_of_the_full_one() -> None:
    assert parity_set.differences(check_parity.shared_parity(), SET) == []


def test_a_wrong_number_is_told(tmp_path: Path) -> None:
    """The check of a case whose expected track is 0.01 px off fails, and names what differs."""
    import numpy as np

    path = SET / "vectors" / "tapnet" / "odd_100x132.npz"
    with np.load(path) as file:
        case = dict(file)
    case["tracks"] = case["tracks"] + np.float32(0.01)
    changed = tmp_path / "tapnet" / path.name
    changed.parent.mkdir()
    np.savez(changed, **case)
    checks, _ = check_parity.check_case(changed, PARITY)
    assert [check.output for check in checks if not check.passed] == ["tracks"]
