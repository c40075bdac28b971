"""The registry: which trackers there are. Cards are data; a model is only imported when it is built.

The families' cards are the CARDS of `models/FAMILY/card.py`.
Other packages add trackers through the entry-point group "tapkit.cards": each entry point names a tuple of cards.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any

from tapkit import models
from tapkit.errors import UsageError
from tapkit.types import ModelCard

DEFAULT = "strand"
"""The tracker used where none is named."""


@cache
def cards() -> Mapping[str, ModelCard]:
    """All cards by id, sorted."""
    found: dict[str, ModelCard] = {}
    for module in pkgutil.iter_modules(models.__path__):
        if module.ispkg:
            for card in import_module(f"{models.__name__}.{module.name}.card").CARDS:
                found[card.id] = card
    for plugin in entry_points(group="tapkit.cards"):
        for card in plugin.load():
            found.setdefault(card.id, card)
    return MappingProxyType(dict(sorted(found.items())))


def card(model: str) -> ModelCard:
    """The card of one tracker. Raises `UsageError` that suggests what was meant."""
    known = cards()
    if model in known:
        return known[model]
    from difflib import get_close_matches

    close = get_close_matches(model, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UsageError(f"there is no tracker {model!r}{hint} (known: {', '.join(known)})")


def build(model: str, weights: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """The model of that id: a `tapkit.models.base.Model`. Raises `UsageError` for an option it does not have."""
    chosen = card(model)
    module, _, function = chosen.factory.partition(":")
    factory = getattr(import_module(module), function)
    try:
        return factory(weights, **{**chosen.defaults, **options})
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            name = str(error).rsplit("'", 2)[-2]
            raise UsageError(f"{model} has no option {name!r}") from error
        raise
