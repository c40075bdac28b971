"""Every optional library that tapkit imports is brought by the extra that its error names."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tapkit"
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
BROUGHT_BY = {
    "argon2": "argon2-cffi",
    "cv2": "opencv-python-headless",
    "sleap_io": "sleap-io",
    "rerun": "rerun-sdk",
    "OpenEXR": "openexr",
}
"""Module -> distribution, where the names differ (checked below against what is installed)."""


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions(extra: str) -> set[str]:
    """Of an extra, those of the extras that it names included."""
    found: set[str] = set()
    for requirement in EXTRAS[extra]:
        inner = re.fullmatch(r"tapkit\[(.*)\]", requirement)
        if inner:
            found |= {name for each in inner[1].split(",") for name in distributions(each.strip())}
        else:
            found.add(plain(re.match(r"[\w.-]+", requirement)[0]))
    return found


def is_require(called: ast.expr) -> bool:
    """Whether what is called is `require` or `errors.require`."""
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "errors":
        return called.attr == "require"
    return isinstance(called, ast.Name) and called.id == "require"


@cache
def requirements() -> list[tuple[str, str | None, str | None]]:
    """(place, module, extra) of every call of `require` in the package; None: a variable."""
    calls = []
    for path in sorted(SOURCE.rglob("*.py")):
        source = path.read_text()
        if "require" not in source:
            continue
        tree = ast.parse(source)
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and is_require(node.func):
                values = [constants.get(a.id) if isinstance(a, ast.Name) else ast.literal_eval(a) for a in node.args]
                calls.append((f"{path.relative_to(SOURCE)}:{node.lineno}", *values))
    return calls


def test_the_calls_are_found() -> None:
    modules = {module for _, module, _ in requirements()}
    assert {"cv2", "zarr", "pyarrow", "onnx", "sleap_io"} <= modules


@pytest.mark.parametrize(("place", "module", "extra"), requirements())
def test_the_extra_exists_and_brings_the_library(place: str, module: str, extra: str) -> None:
    assert isinstance(module, str), f"{place}: name the module itself, so that this test can see it"
    assert isinstance(extra, str), f"{place}: name the extra itself, so that this test can see it"
    assert extra in EXTRAS, f"{place}: there is no extra {extra!r} in pyproject.toml"
    top = module.split(".")[0]
    assert plain(BROUGHT_BY.get(top, top)) in distributions(extra), f"{place}: {extra} does not bring {module}"


@cache
def distributions_of_modules() -> Mapping[str, list[str]]:
    """What is installed, by module: looked up once, since it reads the list of files of every distribution."""
    return metadata.packages_distributions()


@pytest.mark.parametrize("module", sorted({module.split(".")[0] for _, module, _ in requirements() if module}))
def test_the_library_is_in_the_distribution_of_that_name(module: str) -> None:
    installed = {plain(name) for name in distributions_of_modules().get(module, [])}
    if not installed:
        pytest.skip(f"{module} is not installed")
    assert plain(BROUGHT_BY.get(module, module)) in installed


def test_all_names_every_extra_for_users() -> None:
    tools = {"all", "test", "lint", "oracles", "train", "docs"}  # for developers, and for training alone
    missing = {name for name in set(EXTRAS) - tools if not distributions(name) <= distributions("all")}
    assert not missing
