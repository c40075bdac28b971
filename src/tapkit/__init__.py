"""tapkit: Tracking Any Point. Where is each point in every frame, is it visible, and how sure are we?

    import tapkit
    tracks = tapkit.track("clip.mp4", grid=20)
    tracks.save("clip.tracks.npz")
    tapkit.draw("clip.mp4", tracks, "clip.overlay.mp4")

Names are imported on first use, so that `import tapkit` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tapkit._version import __version__

if TYPE_CHECKING:
    from tapkit.api import (
        draw,
        fit,
        flow,
        load,
        load_dense,
        network,
        open_video,
        retrack,
        track,
        track_batch,
        track_dense,
    )  # fmt: skip
    from tapkit.engine.control import Control
    from tapkit.engine.run import run
    from tapkit.engine.session import Session
    from tapkit.engine.tracker import Tracker
    from tapkit.errors import TapkitError
    from tapkit.registry import cards, register, unregister
    from tapkit.types import Dense, FrameResult, Keyframes, ModelCard, Provenance, Queries, Tracks, VideoInfo

_HOME = {
    "draw": "tapkit.api",
    "fit": "tapkit.api",
    "flow": "tapkit.api",
    "load": "tapkit.api",
    "load_dense": "tapkit.api",
    "network": "tapkit.api",
    "open_video": "tapkit.api",
    "retrack": "tapkit.api",
    "track": "tapkit.api",
    "track_batch": "tapkit.api",
    "track_dense": "tapkit.api",
    "Control": "tapkit.engine.control",
    "run": "tapkit.engine.run",
    "Session": "tapkit.engine.session",
    "Tracker": "tapkit.engine.tracker",
    "TapkitError": "tapkit.errors",
    "cards": "tapkit.registry",
    "register": "tapkit.registry",
    "unregister": "tapkit.registry",
    "Dense": "tapkit.types",
    "FrameResult": "tapkit.types",
    "Keyframes": "tapkit.types",
    "ModelCard": "tapkit.types",
    "Provenance": "tapkit.types",
    "Queries": "tapkit.types",
    "Tracks": "tapkit.types",
    "VideoInfo": "tapkit.types",
}

__all__ = [
    "Control",
    "Dense",
    "FrameResult",
    "Keyframes",
    "ModelCard",
    "Provenance",
    "Queries",
    "Session",
    "TapkitError",
    "Tracker",
    "Tracks",
    "VideoInfo",
    "__version__",
    "cards",
    "draw",
    "fit",
    "flow",
    "load",
    "load_dense",
    "network",
    "open_video",
    "register",
    "retrack",
    "run",
    "track",
    "track_batch",
    "track_dense",
    "unregister",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'tapkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
