"""Video in and out: `open_video` makes a `Source` of nearly anything; writers make files.

Names are imported on first use, so that importing this package loads neither PyAV nor Pillow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapkit.video.base import Frame, Source
    from tapkit.video.open import open_video

_HOME = {"Frame": "tapkit.video.base", "Source": "tapkit.video.base", "open_video": "tapkit.video.open"}

__all__ = ["Frame", "Source", "open_video"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'tapkit.video' has no attribute {name!r}")
