"""The registry: every card is complete, and everything stays light until it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tapkit
from tapkit import registry
from tapkit.errors import UsageError


@pytest.mark.parametrize("name", list(registry.cards()))
def test_every_card_says_what_users_ask(name: str) -> None:
    card = registry.card(name)
    assert card.id == name and card.name and card.paper
    assert card.paper_url.startswith("https://") or (Path(__file__).parents[1] / card.paper_url).is_file()
    assert card.code_licence and card.weights_licence and 0 < card.visible_threshold < 1
    assert card.latency >= -1 and (card.latency == -1) == (card.streaming == "offline")
    assert card.latency == 0 or card.streaming != "causal"
    if card.needs_weights and not card.weights_built_in:
        assert card.weights_url is None or card.weights_url.startswith("https://")


@pytest.mark.parametrize("name", list(registry.cards()))
def test_every_model_can_be_built_without_its_checkpoint(name: str) -> None:
    model = registry.build(name, None)
    assert model.card.id == name


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'lucas-kanade'"):
        registry.card("lucas_kanade")


def test_importing_tapkit_loads_neither_torch_nor_av() -> None:
    code = (
        "import sys, tapkit; assert not {'torch', 'av', 'numpy', 'cv2', 'PIL'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_listing_models_imports_no_model() -> None:
    code = "import sys; from tapkit import registry; registry.cards(); "
    code += "names = [m for m in sys.modules if m.startswith('tapkit.models.') and m.count('.') == 3]; "
    code += "assert names and all(m.endswith('.card') for m in names), names; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_all_public_names_exist() -> None:
    for name in tapkit.__all__:
        assert getattr(tapkit, name) is not None
