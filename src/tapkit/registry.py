"""The registry: which trackers there are. Cards are data; a model is only imported when it is built.

Other packages add trackers through the entry-point group "tapkit.cards": each entry point names a tuple of cards.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tapkit import plugins
from tapkit.errors import UsageError, did_you_mean
from tapkit.types import ModelCard

if TYPE_CHECKING:
    from tapkit.models.options import Field

DEFAULT = "strand"
"""The tracker used where none is named."""


FAMILIES = ("tapkit.models", "tapkit.flow", "tapkit.per_video")
"""Rooms whose folders are families of trackers; the cards of each are in its `card.py`, which imports no network."""


@cache
def cards() -> Mapping[str, ModelCard]:
    """The cards of all trackers by id, sorted. (Those of flow models: `tapkit.flow.known.flow_cards`.)"""
    return MappingProxyType({name: card for name, card in _every_card().items() if card.streaming != "pairwise"})


@cache
def _every_card() -> Mapping[str, ModelCard]:
    found: dict[str, ModelCard] = {}
    for room in FAMILIES:
        for family in pkgutil.iter_modules(import_module(room).__path__):
            if family.ispkg and find_spec(f"{room}.{family.name}.card") is not None:
                for card in import_module(f"{room}.{family.name}.card").CARDS:
                    found[card.id] = card
    for _, more in plugins.load("tapkit.cards"):
        for card in more:
            found.setdefault(card.id, card)
    return MappingProxyType(dict(sorted(found.items())))


def card(model: str) -> ModelCard:
    """The card of a tracker or flow model.

    Raises `UsageError` that lists the members of a family, or suggests what was meant.
    """
    known = _every_card()
    if not isinstance(model, str):
        raise UsageError(f"a tracker is named by its id, such as {DEFAULT!r}, got {model!r}")
    if model in known:
        return known[model]
    members = family(model)
    if len(members) > 1:
        raise UsageError(f"{model!r} is a family of trackers; choose {', '.join(members[:-1])} or {members[-1]}")
    hint = f"; did you mean {members[0]!r}?" if members else did_you_mean(model, known, 0.5)
    raise UsageError(f"there is no tracker {model!r}{hint} (known: {', '.join(cards())})")


def family(name: str) -> list[str]:
    """Ids of the trackers that a name stands for: of its variants, of its versions, or the one published as that.

    >>> family("cotracker3"), family("PIPs++"), family("tapir")
    (['cotracker3-offline', 'cotracker3-online'], ['pips2'], ['tapir'])
    """
    plain = re.sub(r"[\s_-]+", "-", name.strip().lower())
    known = _every_card()
    if plain in known:
        return [plain]
    published = [id for id, card in known.items() if card.name.lower() == name.strip().lower()]
    return published or [id for id in known if len(plain) > 2 and re.match(rf"{re.escape(plain)}(-|\d)", id)]


def options(model: str) -> list[Field]:
    """What may be chosen of a tracker: names, types, defaults as this id has them, what they do."""
    chosen = card(model)
    if not chosen.options:
        return []
    listed: list[Field] = _named(chosen.options).listed()
    return [field._replace(default=chosen.defaults.get(field.name, field.default)) for field in listed]


def build(model: str, weights: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """The model of that id: a `tapkit.models.base.Model`. Raises `UsageError` for an option it does not have."""
    chosen = card(model)
    factory = _named(chosen.factory)
    given = {**chosen.defaults, **options}
    try:
        inspect.signature(factory).bind(weights, **given)
    except TypeError as error:  # a factory of another package that names its options one by one
        raise UsageError(f"{model} cannot be built with these options: {error}") from error
    return factory(weights, **given)


def _named(what: str) -> Any:
    """The object called "module:name"."""
    module, _, name = what.partition(":")
    return getattr(import_module(module), name)
