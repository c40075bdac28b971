"""PCK: the share of visible keypoints within a distance that grows with the object (BADJA).

Source: Biggs et al., "Creatures Great and SMAL", ACCV 2018 (BADJA); the variant of Harley et al., "Particle Video
Revisited", ECCV 2022 (PCK-T): frames after the first, threshold 0.2 sqrt(area of the object's mask).
"""

from __future__ import annotations

import numpy as np

from tapkit.coords import Size
from tapkit.errors import ShapeError

PCK_T_SIZE: Size = (320, 512)
"""(height, width) that the script of PIPs resizes pictures, joints and masks to before it measures PCK-T."""


def pck(
    truth_xy: np.ndarray,
    truth_visible: np.ndarray,
    xy: np.ndarray,
    mask_area: np.ndarray,
    evaluated: np.ndarray | None = None,
    alpha: float = 0.2,
) -> float:
    """Share of visible, evaluated entries with an error of at most alpha sqrt(mask area); NaN without any.

    Positions [N,T,2] and `mask_area` [T] in pixels and square pixels of the same frame; masks [N,T] bool.
    `evaluated` None: all frames after the first, as in PCK-T.

    >>> xy = np.zeros((1, 2, 2)); seen = np.ones((1, 2), bool)
    >>> pck(xy, seen, xy + 3.0, np.array([100.0, 900.0]))
    1.0
    """
    truth_xy, xy = np.asarray(truth_xy, np.float64), np.asarray(xy, np.float64)
    seen = np.asarray(truth_visible, bool)
    area = np.asarray(mask_area, np.float64)
    if truth_xy.shape != xy.shape or seen.shape != xy.shape[:2] or area.shape != xy.shape[1:2]:
        raise ShapeError(
            f"expected positions [N,T,2], visible [N,T] and mask_area [T], got {list(truth_xy.shape)}, "
            f"{list(xy.shape)}, {list(seen.shape)}, {list(area.shape)}"
        )
    if evaluated is None:
        evaluated = np.broadcast_to(np.arange(seen.shape[1]) > 0, seen.shape)
    counted = seen & evaluated & (area > 0)
    total = int(counted.sum())
    if not total:
        return float("nan")
    distance = np.linalg.norm(xy - truth_xy, axis=-1)
    return float((counted & (distance <= alpha * np.sqrt(area))).sum() / total)
