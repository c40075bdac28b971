"""The leaderboard page: every published number of the cards is on it, with its source, and every stored result."""

import importlib.util
from pathlib import Path

import pytest

from tapkit import registry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def board():
    spec = importlib.util.spec_from_file_location("leaderboard", ROOT / "tools" / "leaderboard.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_published_numbers_of_cards_are_shown_with_their_source(board):
    rows = list(board.published())
    for id, card in registry.cards().items():
        for figure in card.published:
            found = [
                r
                for r in rows
                if f"(`{id}`)" in r.method and r.protocol == figure.protocol and r.source == figure.source
            ]
            assert any(float(r.values[figure.metric]) == figure.value for r in found if figure.metric in r.values)


def test_stored_results_are_shown_in_bold_with_interval_data_and_command(board):
    rows = list(board.measured())
    assert {row.dataset for row in rows} >= {"tapkit tiny"}
    for row in rows:
        assert row.values["AJ"].startswith("**")
        assert "data " in row.source
        assert "`tapkit eval" in row.source
    page = board.page()
    assert sum(line.startswith("| **") for line in page.splitlines()) == len(rows)


def test_tables_are_sorted_by_aj_and_have_equal_columns(board):
    for table in board.page().split("## ")[1:]:
        lines = [line for line in table.splitlines() if line.startswith("|")]
        widths = {line.replace("\\|", "").count("|") for line in lines}
        assert len(widths) == 1
        if lines[0].startswith("| method | AJ |"):
            values = [line.split("|")[2].strip().strip("*").split("**")[0] for line in lines[2:]]
            numbers = [float(v) for v in values if v]
            assert numbers == sorted(numbers, reverse=True)


def test_a_card_replaces_what_is_published_about_the_same_method(board):
    ids = set(registry.cards())
    import json

    shared = [e for e in json.loads(board.PUBLISHED.read_text()) if e["id"] in ids]
    rows = list(board.published())
    for entry in shared:
        if any(f.dataset == entry["dataset"] for f in registry.card(entry["id"]).published):
            assert not any(r.method == entry["method"] and r.dataset == entry["dataset"] for r in rows)
