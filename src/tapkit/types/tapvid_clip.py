"""What the arrays of a TAP-Vid clip must be, and what they are instead where people made their own.

A file is a table of clips {name: {video, points, occluded}} or a list of them; `points` [N,T,2] are normalised to
0..1, `occluded` is [N,T], `video` uint8 [T,H,W,3] or T encoded images.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

PARTS = ("video", "points", "occluded")
BARE = "it holds one clip, not a table of clips: store {name: clip} or [clip]"
"""What is wrong with a file that is a clip itself."""


def is_bare(content: object) -> bool:
    """Whether what a file holds is a clip, where a table of clips is expected."""
    return isinstance(content, Collection) and not isinstance(content, str) and set(PARTS[:2]) <= set(map(str, content))


def wrong_arrays(points: np.ndarray, occluded: np.ndarray, frames: int) -> str | None:
    """Why these are no tracks of a clip of `frames` frames, as what the clip "has"; None where they are.

    >>> wrong_arrays(np.zeros((6, 3, 2)), np.zeros((6, 3)), 6)
    'has points [6, 3, 2] for 6 frames, which look like [T,N,2]; wanted [N,T,2]'
    """
    if points.ndim != 3 or points.shape[2] != 2 or occluded.shape != points.shape[:2]:
        return f"has points {list(points.shape)} and occluded {list(occluded.shape)}; expected [N,T,2] and [N,T]"
    if points.shape[1] != frames:
        if points.shape[0] == frames:
            return f"has points {list(points.shape)} for {frames} frames, which look like [T,N,2]; wanted [N,T,2]"
        return f"has {frames} frames but tracks of {points.shape[1]}"
    shown = np.abs(points[~occluded.astype(bool)]).max(-1, initial=0)
    if len(shown) and np.median(shown) > 1.5:  # positions a little outside of the picture are normal
        return f"has points in pixels (up to {shown.max():.0f}); wanted 0..1, divided by width and height"
    return None
