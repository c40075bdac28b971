"""The nouns: VideoInfo, Queries, Keyframes, FrameResult, Tracks, Provenance, ModelCard.

Axis legend, used everywhere: B batch, T frames, N points, C channels, H height, W width. Points are (x, y),
x right, y down, corner origin, pixels of the original video (see `tapkit.coords`). Queries are (t, x, y).
"""

from tapkit.types.card import BackboneFile, ModelCard, PublishedNumber
from tapkit.types.dense import Dense, DenseField
from tapkit.types.frame_result import FrameResult
from tapkit.types.keyframes import Keyframes
from tapkit.types.queries import Queries
from tapkit.types.tracks import Provenance, Tracks
from tapkit.types.video_info import VideoInfo

__all__ = [
    "BackboneFile",
    "Dense",
    "DenseField",
    "FrameResult",
    "Keyframes",
    "ModelCard",
    "Provenance",
    "PublishedNumber",
    "Queries",
    "Tracks",
    "VideoInfo",
]
