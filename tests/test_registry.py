"""The registry: every card is complete, and everything stays light until it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tapkit
from tapkit import registry
from tapkit.errors import UsageError


@pytest.mark.parametrize("name", [3, None, ["strand"], ""])
def test_what_is_no_id_is_a_usage_error(name: object) -> None:
    with pytest.raises(UsageError, match="tracker"):
        tapkit.load(name)  # type: ignore[arg-type]


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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cotracker3", "'cotracker3' is a family of trackers; choose cotracker3-offline or cotracker3-online"),
        ("CoTracker", "choose cotracker2, cotracker3-offline or cotracker3-online"),
        ("locotrack", "choose locotrack-base or locotrack-small"),
        ("lucas", "did you mean 'lucas-kanade'"),
        ("PIPs++", "did you mean 'pips2'"),
        ("CoTracker3_Offline", "did you mean 'cotracker3-offline'"),
        ("strnd", "did you mean 'strand'"),
    ],
)
def test_a_family_is_told_by_its_members(name: str, message: str) -> None:
    for ask in (registry.card, tapkit.load):
        with pytest.raises(UsageError) as told:
            ask(name)
        assert message in str(told.value)


def test_a_name_that_is_a_tracker_and_a_family_is_the_tracker() -> None:
    assert registry.card("tapir").id == "tapir" and registry.card("pips").id == "pips"


def test_the_default_tracker_shows_what_it_was_measured_to_be() -> None:
    import json

    from tapkit.cli.models import _published

    card = registry.card(registry.DEFAULT)
    beside = json.loads((Path(tapkit.__file__).parent / "models" / "strand" / "strand.json").read_text())
    ten = beside["figures"]["ten_clips_query_first_frames_as_they_are"]
    assert {n.metric: n.value for n in card.published} == {
        "AJ": ten["aj"],
        "delta_avg": ten["delta_avg"],
        "OA": ten["oa"],
    }
    assert _published(card) == f"ten DAVIS clips (ours) {ten['aj']} / {ten['delta_avg']} / {ten['oa']}"
    assert _published(registry.card("cotracker3-offline")) == "DAVIS 64.4 / 76.9 / 91.2"
    assert _published(registry.card("pips")) == "BADJA PCK-T 64.4"


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
