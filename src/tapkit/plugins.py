"""What other packages add to tapkit: entry points, loaded when they are first needed.

Groups: `tapkit.cards` (trackers), `tapkit.formats` (file formats) and `tapkit.datasets` (readers of benchmarks).
tapkit's own are never found in this way, but imported plainly: they are there however the package was put on the path.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib import metadata
from typing import Any


def load(group: str) -> Iterator[tuple[str, Any]]:
    """(name, object) of every entry point of a group, by name; one that cannot be loaded is left out with a warning."""
    for point in sorted(metadata.entry_points(group=group), key=lambda point: point.name):
        try:
            yield point.name, point.load()
        except Exception as error:  # whatever another package does wrong must not stop what does not need it
            warnings.warn(f"the plugin {point.name!r} ({group}) cannot be loaded: {error}", stacklevel=2)
