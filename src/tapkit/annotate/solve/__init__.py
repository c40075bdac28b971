"""The track assist: paths through clicks along the motion of the picture.

Source: Doersch et al., "TAP-Vid: A Benchmark for Tracking Any Point in a Video", NeurIPS 2022, annotation interface:
between two clicks the path is the one that agrees best with optical flow while it passes through both. Here that path
is found exactly on the pixel grid (`path`), then between the pixels, from flow in both directions, each weighted by
how far the two agree (`polish`). Frames on which people say that the point is hidden are free of the flow's pull.
"""

from tapkit.annotate.solve.motion import FlowMotion, KnownMotion, Motion
from tapkit.annotate.solve.track import Click, Solved, solve_track

__all__ = ["Click", "FlowMotion", "KnownMotion", "Motion", "Solved", "solve_track"]
