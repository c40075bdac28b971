"""Costs on the pages of models are those that were stored, and name their processor."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "models").glob("*.md"))
BLOCK = re.compile(r"<!-- (cost|paired): ([^>]*?) -->\n(.*?)\n<!-- /\1 -->", re.DOTALL)


@pytest.fixture(scope="module")
def protocol() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_protocol", ROOT / "benchmarks" / "reference_protocol.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_stored_results(protocol: ModuleType) -> None:
    made = {"cost": protocol.table, "paired": protocol.paired}
    found = [(kind, names, text) for page in PAGES for kind, names, text in BLOCK.findall(page.read_text())]
    assert {kind for kind, _, _ in found} == {"cost", "paired"}
    for kind, names, text in found:
        assert text == made[kind](names.split()), "python benchmarks/reference_protocol.py --docs"


def test_every_figure_names_its_processor_and_only_pairs_are_of_the_original(protocol: ModuleType) -> None:
    for page in PAGES:
        for kind, _, text in BLOCK.findall(page.read_text()):
            if kind == "cost":
                rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
                assert rows and all(re.search(r"(AMD|Intel)", row) for row in rows), page.name
                assert "original" not in text, page.name
            else:
                assert "both in turn in one run" in text and "AMD EPYC" in text, page.name


def test_every_network_that_was_paired_is_on_its_page(protocol: ModuleType) -> None:
    import json

    shown = {
        name
        for page in PAGES
        for kind, names, _ in BLOCK.findall(page.read_text())
        if kind == "paired"
        for name in names.split()
    }
    assert shown == json.loads(protocol.PAIRED.read_text())["networks"].keys()
