"""The clip that the tests of formats write: three points with a gap, a late start and an occlusion."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from tapkit.types import Provenance, Queries, Tracks, VideoInfo

FRAMES, WIDTH, HEIGHT = 12, 320, 180


def three_tracks(**video: object) -> Tracks:
    """`gap` is not asked for on frames 4 to 6; `late start` begins at frame 3; `occluded` is hidden on frames 5 to 7.

    Parabolas with fractions of pixels. A human set `gap` on frame 0 and `occluded` on frame 9.
    """
    t = np.arange(FRAMES)
    x = np.stack([20.25 + 10 * t, 300.5 - 7.125 * t, 160 + 0.375 * t])
    y = np.stack([150 - 6 * t + 0.5 * t**2, 30 + 1.3 * t**1.5, 90.5 + 8 * np.sin(t / 2)])
    valid = np.ones((3, FRAMES), bool)
    valid[0, 4:7] = False
    valid[1, :3] = False
    visible = np.full((3, FRAMES), 0.9)
    visible[2, 5:8] = 0.125
    confidence = np.full((3, FRAMES), 0.75)
    keyframe = np.zeros((3, FRAMES), bool)
    keyframe[0, 0] = keyframe[2, 9] = True
    xy = np.stack([x, y], -1).astype(np.float32)
    asked = np.array([0, 3, 9])
    queries = Queries(asked, xy[np.arange(3), asked], np.array(["gap", "late start", "occluded"]))
    facts = {"width": WIDTH, "height": HEIGHT, "fps": Fraction(24000, 1001), "frames": FRAMES, **video}
    return Tracks(
        xy,
        visible,
        confidence,
        valid,
        queries,
        VideoInfo(**facts),
        Provenance(model="example"),
        keyframe,  # type: ignore[arg-type]
    )
