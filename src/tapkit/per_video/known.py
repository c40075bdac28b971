"""Which methods there are, found by the id of their card; a method is imported when it is used."""

from __future__ import annotations

from importlib import import_module

from tapkit.per_video.method import Method

METHODS = {
    "omnimotion": "tapkit.per_video.omnimotion.method:METHOD",
    "cadex++": "tapkit.per_video.cadexpp.method:METHOD",
    "dino-tracker": "tapkit.per_video.dino_tracker.method:METHOD",
}
"""Id -> "module:object"."""


def method(id: str) -> Method:
    """The method of that id, which is in `METHODS`."""
    module, _, name = METHODS[id].partition(":")
    found: Method = getattr(import_module(module), name)
    return found
