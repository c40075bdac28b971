"""Every parity case that has a runner, as a test (skipped where the shared folder is not beside the checkout).

Those that come with the code are left to test_parity_set, which runs them on any clone.
"""

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


def comes_with_the_code(path: Path) -> bool:
    """Whether the small set has this case, byte for byte (test_parity_set also compares seeds and manifests)."""
    copy = check_parity.SMALL_SET / "vectors" / path.parent.name / path.name
    return copy.is_file() and copy.read_bytes() == path.read_bytes()


CASES = [path for path in CASES if not comes_with_the_code(path)]


@pytest.mark.skipif(not CASES, reason="no shared parity folder")
@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_published_numbers_come_out(path: Path) -> None:
    checks, trouble = check_parity.check_case(path, Parity(check_parity.parity_root(path.parent)))
    assert checks, trouble or "nothing compared"
    assert all(check.passed for check in checks), [c for c in checks if not c.passed] + [trouble]


def test_a_case_with_a_grid_has_no_queries_of_its_own() -> None:
    """The grid is the one that the case asks for, at the places where the original puts it."""
    import numpy as np
    import torch
    from parity import Parity
    from parity.cotracker_recorder import grid_queries, inputs

    from tapkit import coords

    parity = Parity(check_parity.SMALL_SET)
    facts = {"frames": 3, "height": 50, "width": 66, "video_seed": 1, "count": 5, "query_seed": 2}
    assert len(inputs(facts, parity)[1]) == 5
    case = {**facts, "grid_size": 6, "grid_query_frame": 2}
    frames, queries = inputs(case, parity)
    assert len(queries) == 0
    asked = grid_queries(case, frames)
    assert (asked[:, 0] == 2).all()
    original = np.load(check_parity.SMALL_SET / "vectors/cotracker3_offline/units.npz")["grid6_384x512"]
    ours = coords.resize_centers(asked[:, 1:], (50, 66), (384, 512))
    torch.testing.assert_close(ours, torch.from_numpy(original), atol=1e-3, rtol=0)
