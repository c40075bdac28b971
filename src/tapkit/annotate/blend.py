"""What a tracker says from each of a point's keyframes, as one track through all of them.

From every keyframe a tracker goes both ways. Between two of them the track from the left and the one from the right are
weighted as `tapkit.types.keyframes.share_of_right` says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapkit.errors import ShapeError
from tapkit.types.keyframes import SURER, share_of_right


class Blended(NamedTuple):
    """One track on T frames."""

    xy: np.ndarray
    """[T,2]; through every keyframe."""
    visible: np.ndarray
    """[T] P(visible)."""
    confidence: np.ndarray
    """[T]; 1 at keyframes."""
    disagreement: np.ndarray
    """[T] pixels between both sides; NaN beyond the first and the last keyframe."""


def blend(
    frames: np.ndarray, xy: np.ndarray, visible: np.ndarray, confidence: np.ndarray, power: float = SURER
) -> Blended:
    """One track out of those from K keyframes.

    Args:
        frames: [K] of the keyframes, ascending.
        xy: [K,T,2], what was tracked from each; at its own keyframe a track is where that is. NaN: not asked.
        visible, confidence: [K,T] probabilities.
        power: see `SURER`; 1 with equal probabilities is a linear fade.

    Raises `ShapeError`.
    """
    count, length = xy.shape[:2]
    if frames.shape != (count,) or visible.shape != (count, length) or confidence.shape != (count, length):
        raise ShapeError(
            f"{count} tracks over {length} frames need as many keyframes and probabilities, got {list(frames.shape)}, "
            f"{list(visible.shape)} and {list(confidence.shape)}"
        )
    t = np.arange(length)
    left = (np.searchsorted(frames, t, side="right") - 1).clip(0, count - 1)
    right = np.searchsorted(frames, t, side="left").clip(0, count - 1)
    gap = np.maximum(frames[right] - frames[left], 1)
    near = ((t - frames[left]) / gap).clip(0, 1)
    sure = [visible[side, t] * confidence[side, t] for side in (left, right)]
    there = [np.isfinite(xy[side, t]).all(-1) for side in (left, right)]
    share = share_of_right(near, sure[0], sure[1], power)
    share = np.where((left == right) | ~there[1], 0.0, np.where(there[0], share, 1.0))

    def mixed(values: np.ndarray) -> np.ndarray:
        part = share.reshape(-1, *[1] * (values.ndim - 2))
        one, other = np.nan_to_num(values[left, t]), np.nan_to_num(values[right, t])
        result: np.ndarray = (1 - part) * one + part * other
        return result

    track = np.where((there[0] | there[1])[:, None], mixed(xy), np.nan)
    chance, surety = mixed(visible), mixed(confidence)
    surety[frames] = 1.0
    apart = np.where(left == right, np.nan, np.linalg.norm(xy[left, t] - xy[right, t], axis=-1))
    apart[frames] = 0.0
    return Blended(track, chance, surety, apart)
