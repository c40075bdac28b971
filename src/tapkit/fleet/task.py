"""Task: a kind of work that consists of many items, each done by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

Facts = Mapping[str, Any]
"""What is to be said of an item that was done, as JSON. The summary adds up "frames"; "points" are in the report."""
Tell = Callable[[int], None]
"""Called with the frames of an item that are done so far."""
Do = Callable[["Item", Path, Tell], Facts]
"""do(item, folder, tell): does an item and writes its results into `folder`, under the names that they are to have
in the output. The folder is kept if the process is interrupted or dies, and handed over again: what was computed
already may be found there. Raises whatever is wrong with this item; the others go on."""


class Item(NamedTuple):
    """One piece of work."""

    name: str
    """Its own among all items: its results are called by it, so it may have slashes ("monday/take3")."""
    source: str
    """What it is made from: a video's path or address, the name of a benchmark's clip, a seed."""


class Task(Protocol):
    """What is to be done. Tasks go to other processes and machines, so they are plain data that can be pickled."""

    def identity(self) -> Mapping[str, Any]:
        """What the results depend on, as JSON: a work list of one identity is not continued with another."""

    def items(self) -> Iterable[Item]:
        """All items, in the order in which they are to be done; read once, one by one."""

    def result(self, name: str) -> str:
        """The file of an item, relative to the output, that is put in place last: where it is, the item is done."""

    def ready(self, device: str) -> Do:
        """Load what is needed, once in each process. Raises what is wrong for all items, such as missing weights."""
