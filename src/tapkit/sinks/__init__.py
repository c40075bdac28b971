"""What takes the results of a run: a table in memory or on disk, an overlay video, a recorder, a function, a filter.

A sink knows pictures, videos and results, never how they were computed; `tapkit.engine.run.run` feeds it. Names are
imported on first use: tables need no video library, and training runs where there is none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapkit.sinks.base import Sink
    from tapkit.sinks.callback import Callback
    from tapkit.sinks.one_euro import OneEuro
    from tapkit.sinks.overlay import Overlay
    from tapkit.sinks.recorder import Recorder
    from tapkit.sinks.table import DiskTable, MemoryTable, Table

_HOME = {
    "Callback": "tapkit.sinks.callback",
    "DiskTable": "tapkit.sinks.table",
    "MemoryTable": "tapkit.sinks.table",
    "OneEuro": "tapkit.sinks.one_euro",
    "Overlay": "tapkit.sinks.overlay",
    "Recorder": "tapkit.sinks.recorder",
    "Sink": "tapkit.sinks.base",
    "Table": "tapkit.sinks.table",
}

__all__ = ["Callback", "DiskTable", "MemoryTable", "OneEuro", "Overlay", "Recorder", "Sink", "Table"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'tapkit.sinks' has no attribute {name!r}")
