"""Which two-frame flow models there are, and building one by its id."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module, util
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from tapkit import weights as stored
from tapkit.errors import UsageError, did_you_mean
from tapkit.flow.base import FlowModel
from tapkit.types import ModelCard

DEFAULT = "dis"
"""The one used where none is named: it needs no weights."""


@cache
def flow_cards() -> Mapping[str, ModelCard]:
    """The cards of all flow models by id, sorted."""
    package = import_module("tapkit.flow")
    found: dict[str, ModelCard] = {}
    for folder in pkgutil.iter_modules(package.__path__):
        if folder.ispkg and util.find_spec(f"tapkit.flow.{folder.name}.card") is not None:
            for card in import_module(f"tapkit.flow.{folder.name}.card").CARDS:
                if card.streaming == "pairwise":
                    found[card.id] = card
    return MappingProxyType(dict(sorted(found.items())))


def flow_card(model: str) -> ModelCard:
    """The card of one flow model. Raises `UsageError` that suggests what was meant."""
    known = flow_cards()
    if model not in known:
        hint = did_you_mean(model, known, 0.5)
        raise UsageError(f"there is no flow model {model!r}{hint} (known: {', '.join(known)})")
    return known[model]


def build_flow(
    model: str = DEFAULT,
    weights: str | Path | Mapping[str, Tensor] | None = None,
    report: stored.Report | None = None,
    **options: Any,
) -> FlowModel:
    """A flow model, on the CPU.

    Args:
        model: its id (`flow_cards()` has them all).
        weights: a path, a state dict, or None for the official file (looked for as `tapkit.weights` says).
        report: called while downloading.
        options: of the model.

    Raises `UsageError` for an unknown id or option, `WeightsError` for weights that are missing or of another model.
    """
    card = flow_card(model)
    state, _ = stored.given_or_official(card, weights, report)
    module, _, function = card.factory.partition(":")
    factory: Callable[..., FlowModel] = getattr(import_module(module), function)
    return factory(state, **{**card.defaults, **options})
