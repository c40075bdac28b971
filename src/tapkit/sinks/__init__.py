"""What takes the results of a run: a table in memory or on disk, an overlay video, a recorder, a function.

A sink knows pictures, videos and results, never how they were computed; `tapkit.engine.run.run` feeds it.
"""

from tapkit.sinks.base import Sink
from tapkit.sinks.callback import Callback
from tapkit.sinks.overlay import Overlay
from tapkit.sinks.recorder import Recorder
from tapkit.sinks.table import DiskTable, MemoryTable, Table

__all__ = ["Callback", "DiskTable", "MemoryTable", "Overlay", "Recorder", "Sink", "Table"]
