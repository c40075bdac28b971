"""A digest of the source that a prediction depends on, so that cached predictions do not outlive a change of it.

Covered: the module that builds the model and everything it imports from its own top-level package or from tapkit, and
what hands it frames and takes its answers (the engine, resizing, decoding, coordinates). Command line, reports, drawing
and file formats do not count. Nothing is imported to find this out, and only names and contents of modules enter
the digest, never paths.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

_ROOTS = ("tapkit.evaluation.predict", "tapkit.video.resize", "tapkit.datasets.frames", "tapkit.coords")
_WHOLE = "tapkit.engine"
"""Counted whatever imports it: drivers are chosen by name while it runs."""
_COUNTED = (
    *_ROOTS,
    _WHOLE,
    "tapkit.evaluation.protocol",
    "tapkit.flow",
    "tapkit.jax_weights",
    "tapkit.models",
    "tapkit.nn",
    "tapkit.per_video",
    "tapkit.sinks",
    "tapkit.torch_weights",
    "tapkit.types",
    "tapkit.unpickle",
    "tapkit.unpickle_tolerant",
    "tapkit.video",
    "tapkit.weights",
)
_NOT_COUNTED = ("tapkit.types.formats", "tapkit.types.storage", "tapkit.video.writer", "tapkit.video.samples")
"""How results are written says nothing about them."""

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<module>\.*[\w.]*)[ \t]+import[ \t]*(?P<names>\((?:[^)#]|#[^\n]*)*\)|(?:[^\n\\#]|\\\n)*)"
    r"|import[ \t]+(?P<modules>(?:[^\n\\#]|\\\n)*))",
    re.MULTILINE,
)
# By a pattern and not by `ast`, which takes 0.2 s for what is read here.
_COMMENT = re.compile(r"#[^\n]*")
_NAME = re.compile(r"[\w.]+")


class _Source(NamedTuple):
    sha256: str
    """Of the text with "\\n" line ends."""
    imports: tuple[str, ...]
    """Everything imported anywhere in it, by full name: modules, and names in modules, which may be modules."""


@cache
def source_digest(factory: str) -> str:
    """Twelve hexadecimal digits for a card's `factory` ("module:function"); "" where its source is not to be found.

    Read once in a process: what has been imported does not change either.
    """
    module = factory.partition(":")[0]
    if ":" not in factory or _file(module) is None:
        return ""
    whole = hashlib.sha256()
    for name in sources(module):
        file = _file(name)
        assert file is not None
        whole.update(f"{name} {_read(file, name).sha256}\n".encode())
    return whole.hexdigest()[:12]


def sources(module: str) -> list[str]:
    """Names of all modules that a prediction with the model built in `module` depends on, sorted."""
    own = module.partition(".")[0]
    found: set[str] = set()
    waiting = [module, *_ROOTS, *_package(_WHOLE)]
    while waiting:
        name = waiting.pop()
        if name in found or not (name == module or _counts(name, own)):
            continue
        file = _file(name)
        if file is None:
            continue
        found.add(name)
        waiting += _read(file, name).imports
        waiting += _parents(name)
    return sorted(found)


def _counts(name: str, own: str) -> bool:
    """Whether a module is one that predictions depend on; of a plugin's own package, all are."""
    if name.partition(".")[0] != "tapkit":
        return name.partition(".")[0] == own
    return _within(name, _COUNTED) and not _within(name, _NOT_COUNTED)


def _within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def _parents(name: str) -> Iterator[str]:
    """The packages that a module lies in."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _package(name: str) -> list[str]:
    """A package and all modules directly in it."""
    file = _file(name)
    return [] if file is None else [name, *(f"{name}.{path.stem}" for path in file.parent.glob("[!_]*.py"))]


@cache
def _file(name: str) -> Path | None:
    """The source of a module, found without importing anything; None for what is none (a function, a namespace)."""
    top, _, rest = name.partition(".")
    spec = importlib.util.find_spec(top) if top else None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *rest.split("."))
        for candidate in (path / "__init__.py", path.with_name(path.name + ".py")):
            if candidate.is_file():
                return candidate
    return None


@cache
def _read(file: Path, name: str) -> _Source:
    """Hash and imports of the module `name`."""
    content = file.read_bytes().replace(b"\r\n", b"\n")
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    return _Source(hashlib.sha256(content).hexdigest(), tuple(_imports(content.decode("utf-8", "replace"), package)))


def _imports(text: str, package: str) -> Iterator[str]:
    """Full names of what a module in `package` imports."""
    for statement in _IMPORT.finditer(text):
        if statement["modules"]:
            for part in statement["modules"].split(","):
                yield from _NAME.findall(part)[:1]
            continue
        module = _absolute(statement["module"], package)
        yield module
        for part in _COMMENT.sub("", statement["names"]).strip("() \n").split(","):
            yield from (f"{module}.{name}" for name in _NAME.findall(part)[:1])


def _absolute(module: str, package: str) -> str:
    """The full name of the module in `from module import ...`."""
    name = module.lstrip(".")
    up = len(module) - len(name)
    if not up:
        return name
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - up + 1], *([name] if name else [])])
