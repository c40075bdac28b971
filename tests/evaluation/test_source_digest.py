"""Cached predictions go with the source they were made by."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import tapkit
from tapkit import registry
from tapkit.evaluation import source_digest as module
from tapkit.evaluation.protocol import Protocol
from tapkit.evaluation.run import Contestant, prediction_folder
from tapkit.evaluation.source_digest import source_digest, sources
from tapkit.types import ModelCard

PACKAGE = Path(tapkit.__file__).parent


def forget() -> None:
    """As in a new process."""
    for function in (module.source_digest, module._file, module._read):
        function.cache_clear()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of somebody else with a tracker; the network is in a file that only the adapter imports."""
    folder = tmp_path / "my_trackers"
    (folder / "mine").mkdir(parents=True)
    (folder / "__init__.py").write_text('"""Mine."""\n')
    (folder / "mine" / "__init__.py").write_text("")
    (folder / "mine" / "tracker.py").write_text("import torch\nfrom . import network  # (the tensors)\n\nbuild = 1\n")
    (folder / "mine" / "network.py").write_text("from my_trackers.blocks import (\n    block,  # a :-) comment\n)\n")
    (folder / "blocks.py").write_text("from tapkit.nn.sampling import bilinear\n\ndef block(): ...\n")
    (folder / "command.py").write_text("import my_trackers.mine.tracker\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    forget()
    yield folder
    forget()


def folder_of(tmp_path: Path) -> str:
    card = ModelCard("mine", "Mine", "", "", "", "", True, "my_trackers.mine.tracker:build")
    forget()
    return prediction_folder(tmp_path, Contestant(card), Protocol()).path.name


@pytest.mark.parametrize("file", ["mine/tracker.py", "mine/network.py", "blocks.py", "mine/__init__.py"])
def test_predictions_do_not_outlive_a_change_of_any_file_of_the_model(plugin: Path, tmp_path: Path, file: str) -> None:
    before = folder_of(tmp_path)
    assert folder_of(tmp_path) == before
    (plugin / file).write_text((plugin / file).read_text() + "\nscale = 2\n")
    assert folder_of(tmp_path) != before


def test_what_the_model_does_not_import_does_not_count(plugin: Path, tmp_path: Path) -> None:
    before = folder_of(tmp_path)
    (plugin / "command.py").write_text("print('hello')\n")
    assert folder_of(tmp_path) == before


def test_the_place_of_the_checkout_does_not_count(plugin: Path, tmp_path: Path, monkeypatch) -> None:
    before = folder_of(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    plugin.rename(tmp_path / "elsewhere" / "my_trackers")
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    text = (tmp_path / "elsewhere" / "my_trackers" / "blocks.py").read_text()
    (tmp_path / "elsewhere" / "my_trackers" / "blocks.py").write_bytes(text.replace("\n", "\r\n").encode())
    assert folder_of(tmp_path) == before


def test_a_change_of_the_built_in_weights_is_another_model(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"one")
    card = ModelCard("mine", "", "", "", "", "", True, "m:f", weights_file="mine.safetensors", weights_built_in=True)
    monkeypatch.setattr("tapkit.weights.find", lambda card: tmp_path / card.weights_file)
    before = Contestant(card).identity()
    (tmp_path / "mine.safetensors").write_bytes(b"two")
    assert Contestant(card).identity()["weights"] != before["weights"]


LOADED = """
import importlib, json, sys
loaded = {}
for name in sys.argv[1:]:
    for known in [known for known in sys.modules if known.partition(".")[0] == "tapkit"]:
        del sys.modules[known]
    importlib.import_module(name)
    loaded[name] = [known for known in sys.modules if known.startswith("tapkit.")]
print(json.dumps(loaded))
"""
"""Which modules of the package each import loads that is the first one; only what is not ours is kept in between."""


@pytest.fixture(scope="module")
def loaded_by() -> dict[str, list[str]]:
    """Modules of the package by the module of a factory. One process for all: PyTorch is imported once."""
    names = sorted({card.factory.partition(":")[0] for card in registry.cards().values()})
    run = subprocess.run([sys.executable, "-c", LOADED, *names], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@pytest.mark.parametrize("model", list(registry.cards()))
def test_every_tracker_is_covered_with_its_network_and_the_engine(model: str, loaded_by: dict[str, list[str]]) -> None:
    """All modules of the package that Python really loads for the model, where they are of the rooms that count."""
    factory = registry.card(model).factory
    found = sources(factory.partition(":")[0])
    loaded = set(loaded_by[factory.partition(":")[0]])
    counted = {name for name in loaded if name.startswith(("tapkit.models.", "tapkit.nn."))}
    assert counted
    # A package may import its siblings; what counts is that nothing a model loads is left out.
    assert counted <= set(found)
    assert {"tapkit.engine.causal", "tapkit.engine.windows", "tapkit.engine.session", "tapkit.coords"} <= set(found)
    assert {"tapkit.video.resize", "tapkit.datasets.frames"} <= set(found)
    others = ("tapkit.cli", "tapkit.viz", "tapkit.export", "tapkit.train", "tapkit.evaluation.report", "tapkit.web")
    assert not [name for name in found if name.startswith(others)]


def test_a_tracker_does_not_count_the_networks_of_other_families() -> None:
    found = sources(registry.card("lucas-kanade").factory.partition(":")[0])
    assert not [name for name in found if "tapir" in name or "cotracker" in name]


def imports_of(text: str, package: str) -> set[str]:
    """What Python's own parser finds in a module of `package`."""
    expected = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            expected |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: len(parts) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            expected |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
    return expected


@pytest.mark.parametrize("room", sorted({path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")}))
def test_imports_are_read_as_python_reads_them(room: str) -> None:
    files = sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / room]
    for path in files:
        package = ".".join(["tapkit", *path.relative_to(PACKAGE).parts[:-1]])
        missed = imports_of(path.read_text(), package) - set(module._imports(path.read_text(), package))
        assert not missed, path


def test_a_factory_that_is_not_there_has_no_digest() -> None:
    assert source_digest("no_such_package.at_all:build") == ""
    assert source_digest("") == ""


def test_predictions_go_with_the_models_that_a_tracker_builds_on() -> None:
    def digest(model: str) -> str:
        return source_digest(registry.card(model).factory)

    def parts(model: str, **options: str) -> dict[str, str]:
        return Contestant(registry.card(model), options=options).identity().get("parts", {})

    assert parts("flow-chain") == {"flow": digest("dis")}
    assert parts("flow-chain", flow="raft-small") == {"flow": digest("raft-small")}
    assert parts("dot", tracker="lucas-kanade") == {"tracker": digest("lucas-kanade"), "flow": digest("dot-estimator")}
    assert parts("dot", tracker="nothing") == {"flow": digest("dot-estimator")}
    assert parts("lucas-kanade") == {} and digest("lucas-kanade")
