"""A task that costs nothing: each item becomes a file with its name, and a line in a journal when it is done."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tapkit.errors import VideoError, WeightsError
from tapkit.fleet.task import Do, Facts, Item, Tell


@dataclass(frozen=True)
class Copying:
    """A `Task`. What is to go wrong is in the sources: "broken", "dies once", "dies", "full", "slow"."""

    given: tuple[Item, ...]
    folder: str
    """Where the journal and marks are kept."""
    seconds: float = 0.0
    refused: bool = False

    def identity(self) -> Mapping[str, Any]:
        return {"kind": "copying"}

    def items(self) -> Iterable[Item]:
        return self.given

    def result(self, name: str) -> str:
        return f"{name}.done"

    def ready(self, device: str) -> Do:
        if self.refused:
            raise WeightsError("there are no weights")
        full = self._first("full disk")

        def copy(item: Item, folder: Path, tell: Tell) -> Facts:
            tell(1)
            time.sleep(self.seconds)
            if item.source == "broken":
                raise VideoError(f"{item.name} is no video")
            if item.source == "dies" or (item.source == "dies once" and self._first(f"{item.name} died")):
                os.kill(os.getpid(), signal.SIGKILL)
            if item.source == "full" or (item.source == "full on one" and full):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            (folder / self.result(item.name)).parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{item.name}.text").write_text(item.name)
            (folder / self.result(item.name)).write_text(f"{item.name} of {os.getpid()}")
            with open(Path(self.folder) / "journal", "a") as journal:
                journal.write(f"{item.name}\n")
            return {"frames": 2, "points": 3}

        return copy

    def _first(self, mark: str) -> bool:
        """Whether this is the first call, of all processes, with that mark, which then holds the process's number."""
        try:
            with open(Path(self.folder) / mark, "x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return False
        return True


def items(count: int, **special: str) -> tuple[Item, ...]:
    """Items i0, i1, ..., of which some have sources by which something goes wrong."""
    return tuple(Item(f"i{n}", special.get(f"i{n}", "fine")) for n in range(count))


def journal(folder: Path) -> list[str]:
    """Names of what was done, sorted."""
    file = folder / "journal"
    return sorted(file.read_text().split()) if file.exists() else []


def main() -> None:
    """Run in a process of its own, which can be killed: FOLDER COUNT SECONDS."""
    import sys

    from tapkit.fleet import run

    folder, count, seconds = sys.argv[1:]
    job = Copying(items(int(count)), folder, float(seconds))
    run(job, Path(folder) / "out", jobs=2, device="cpu")


if __name__ == "__main__":
    # As in a terminal: what a shell starts in the background is deaf to Ctrl-C, and so are its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
