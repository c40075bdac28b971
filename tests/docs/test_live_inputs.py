"""The table of frames that a session takes: its page is what sessions do, and what they do is right."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import live_inputs  # noqa: E402

TAKEN = [row for row in live_inputs.rows() if live_inputs.give(row).frame is not None]
REFUSED = [row for row in live_inputs.rows() if live_inputs.give(row).frame is None]


def test_the_page_is_what_sessions_do() -> None:
    page = (ROOT / "docs/reference/live_inputs.md").read_text(encoding="utf-8")
    assert page == live_inputs.table() + "\n", "run: python tools/live_inputs.py > docs/reference/live_inputs.md"


def test_every_row_but_the_last_nine_is_taken() -> None:
    assert [row.what for row in TAKEN] == [row.what for row in live_inputs.rows()[:-9]]


@pytest.mark.parametrize("row", TAKEN, ids=lambda row: row.what)
def test_the_tracker_gets_the_same_picture_whatever_it_came_as(row: live_inputs.Row) -> None:
    given = live_inputs.give(row).frame
    assert given is not None and given.is_contiguous()
    image = live_inputs.rgb().transpose(2, 0, 1).astype(int)
    if row.what == "mask":
        image = np.broadcast_to(255 * (image[1] > 0), image.shape)
    elif "gray" in row.what:
        image = np.broadcast_to(image[1], image.shape)
    assert np.abs(given.numpy().astype(int) - image).max() <= 1


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.what)
def test_a_refusal_is_one_sentence_that_says_what_came(row: live_inputs.Row) -> None:
    said = live_inputs.give(row).said
    assert "\n" not in said and 30 < len(said) < 260
    dtype, _ = live_inputs.kind(row.frame)
    names = (dtype, "not numbers", "the session's frames are", "NoneType")
    assert any(name in said for name in names), said
