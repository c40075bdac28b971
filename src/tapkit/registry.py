"""The registry: which trackers there are. Cards are data; a model is only imported when it is built.

Other packages add trackers through the entry-point group "tapkit.cards": each entry point names a tuple of cards.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
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


_ADDED: dict[str, tuple[ModelCard, Callable[..., Any]]] = {}
"""Trackers of this process, by id: what `register` has added."""


def register(
    model: str | ModelCard, build: Callable[..., Any], *, size: tuple[int, int] | None = None, **facts: Any
) -> ModelCard:
    """Make a tracker of your own known by a name, in this process.

        tapkit.register("mine", follow)       # follow(video [T,3,H,W], queries [N,3]) -> xy [N,T,2] (, visible [N,T])
        tracks = tapkit.track("clip.mp4", grid=8, model="mine")

    Args:
        model: its id; `build` is then a function over whole clips, see `tapkit.models.function.FunctionModel`. Or its
            `ModelCard`; `build(weights, **options)` then returns a `tapkit.models.base.Model`.
        size: (height, width) of the frames that the function wants; None: those of the video, all of them in memory.
        facts: more fields of the card, such as paper="...", joint=True.

    Returns the card. Registering the same id again replaces it. Raises `UsageError` for the id of a tracker that tapkit
    or a plugin has, and for what cannot be called. For a package, entry points do the same: see CONTRIBUTING.md.
    """
    if not callable(build):
        raise UsageError(f"a tracker is registered with a function that tracks, got {type(build).__name__}")
    id = model.id if isinstance(model, ModelCard) else model
    if not isinstance(id, str) or not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", id):
        raise UsageError(f"an id is made of letters, digits and - _ . +, got {id!r}")
    if id in _every_card() and id not in _ADDED:
        raise UsageError(f"there is a tracker {id!r} already: choose another id")
    if isinstance(model, ModelCard):
        card, factory = replace(model, **facts), build
    else:
        card = _card_of_function(model, facts)
        factory = partial(_of_function, build, card, size)
    _ADDED[id] = (card, factory)
    _forget_cards()
    return card


def unregister(model: str) -> None:
    """Forget a tracker that was registered. Raises `UsageError` if none of that id was."""
    if model not in _ADDED:
        raise UsageError(f"no tracker {model!r} was registered")
    del _ADDED[model]
    _forget_cards()


def _card_of_function(id: str, facts: Mapping[str, Any]) -> ModelCard:
    own: dict[str, Any] = {
        "name": id, "paper": "", "paper_url": "", "code_licence": "", "weights_licence": "none needed",
        "commercial": True, "streaming": "offline", "latency": -1, "joint": True, "bidirectional": True, **facts,
    }  # fmt: skip
    try:
        return ModelCard(id=id, factory="tapkit.models.function:FunctionModel", **own)
    except TypeError as error:
        raise UsageError(f"the card of {id!r} cannot be made: {error}") from error


def _of_function(
    function: Callable[..., Any], card: ModelCard, size: tuple[int, int] | None, weights: Mapping[str, Any] | None
) -> Any:
    from tapkit.models.function import FunctionModel

    if weights is not None:
        raise UsageError(f"{card.id} is a function: it takes no weights")
    return FunctionModel(function, card, size)


def _forget_cards() -> None:
    cards.cache_clear()
    _every_card.cache_clear()


@cache
def cards() -> Mapping[str, ModelCard]:
    """The cards of all trackers by id, sorted. (Those of flow models: `tapkit.flow.known.flow_cards`; of what is fitted
    to each video: `per_video_cards`.)"""
    apart = ("pairwise", "per-video")
    return MappingProxyType({name: card for name, card in _every_card().items() if card.streaming not in apart})


def per_video_cards() -> Mapping[str, ModelCard]:
    """The cards of the methods that are fitted to each video (`tapkit fit`), by id, sorted."""
    return MappingProxyType({name: card for name, card in _every_card().items() if card.streaming == "per-video"})


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
    found.update({id: card for id, (card, _) in _ADDED.items()})
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
    """What may be chosen of a tracker: names, types, defaults as `tapkit.load` has them, what they do."""
    chosen = card(model)
    if not chosen.options:
        return []
    listed: list[Field] = _named(chosen.options).listed()
    given = {**chosen.defaults, **when_loaded(chosen)}
    return [field._replace(default=given.get(field.name, field.default)) for field in listed]


def check_options(model: str, given: Mapping[str, Any]) -> None:
    """Raise `UsageError` for options that a tracker does not have, before it is built; values are brought to their
    types then, too."""
    chosen = card(model)
    if given and chosen.options:
        _named(chosen.options).of(model, {**chosen.defaults, **given})


def when_loaded(card: ModelCard) -> dict[str, Any]:
    """What `tapkit.load` chooses where nothing is said, and `build`, which is exact, does not."""
    return {"precision": "auto"} if card.half_precision_is_safe else {}


def build(model: str, weights: Mapping[str, Any] | None = None, **options: Any) -> Any:
    """The model of that id: a `tapkit.models.base.Model`. Raises `UsageError` for an option it does not have."""
    chosen = card(model)
    factory = _ADDED[model][1] if model in _ADDED else _named(chosen.factory)
    given = {**chosen.defaults, **options}
    try:
        inspect.signature(factory).bind(weights, **given)
    except TypeError as error:  # a factory of another package that names its options one by one
        raise UsageError(f"{model} cannot be built with these options: {error}") from error
    return factory(weights, **given)


def trainable(model: str, weights: Mapping[str, Any] | None = None) -> Any:
    """The network of that id through which gradients flow: a `torch.nn.Module`. Raises `UsageError` if it has none."""
    chosen = card(model)
    if not chosen.trainable:
        able = [name for name, each in cards().items() if each.trainable]
        raise UsageError(
            f"{model} has no network that can be trained through here (known: {', '.join(able)}); "
            "the bare one, frozen, is tapkit.load(...).model.network"
        )
    return _named(chosen.trainable)(weights)


def _named(what: str) -> Any:
    """The object called "module:name"."""
    module, _, name = what.partition(":")
    return getattr(import_module(module), name)
