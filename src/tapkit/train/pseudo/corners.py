"""Where points are asked for: corners of some frames, with texture around them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from tapkit.coords import from_centers
from tapkit.errors import require
from tapkit.train.pseudo.options import LabelOptions
from tapkit.types import Queries


class Asked(NamedTuple):
    """Queries of a piece."""

    rows: np.ndarray
    """[N,3] float32 (t, x, y), pixels of the piece, corner origin; no two alike."""
    plain: int
    """How many more there were without texture around them."""


def queries(video: np.ndarray, options: LabelOptions, random: np.random.Generator) -> Asked:
    """Corners of a piece uint8 [T,H,W,3], on frames drawn with repetition from its first part.

    Whole pixels, as in the paper, which has the centre of a pixel at an integer: here x + 0.5.
    """
    frames = max(options.points // options.points_per_frame, 1)
    count = min(options.points_per_frame, options.points)
    last = max(int(options.query_share * len(video)), 1)
    rows: list[np.ndarray] = []
    plain = 0
    for time in sorted({int(t) for t in random.integers(0, last, frames)}):
        corners = detected(video[time], count, options)
        rich = contrast(video[time])[corners[:, 1].astype(int), corners[:, 0].astype(int)] >= options.contrast
        plain += int((~rich).sum())
        rows.append(np.column_stack([np.full(int(rich.sum()), time), corners[rich]]))
    return Asked(np.concatenate(rows).astype(np.float32), plain)


def detected(image: np.ndarray, count: int, options: LabelOptions) -> np.ndarray:
    """Corners of an image uint8 [H,W,3], the strongest first: float32 [n,2]."""
    if options.detector == "corners":
        return Queries.corners(image, count).xy
    cv: Any = require("cv2", "cv")
    # A place with several orientations is found several times: more than `count` are asked for.
    found = cv.SIFT_create(nfeatures=3 * count).detect(cv.cvtColor(image, cv.COLOR_RGB2GRAY), None)
    found = sorted(found, key=lambda point: (-point.response, point.pt))
    places = list(dict.fromkeys((int(point.pt[0]), int(point.pt[1])) for point in found))[:count]
    whole: np.ndarray = from_centers(np.array(places, np.float32).reshape(-1, 2))
    return whole


def contrast(image: np.ndarray) -> np.ndarray:
    """Standard deviation of the grey levels of the 9x9 pixels around each: float32 [H,W]."""
    grey = torch.from_numpy(image).float().mean(-1)[None, None]
    edge = F.pad(grey, (4, 4, 4, 4), mode="replicate")
    mean = F.avg_pool2d(edge, 9, 1)
    spread: np.ndarray = (F.avg_pool2d(edge.square(), 9, 1) - mean.square()).clamp(min=0).sqrt()[0, 0].numpy()
    return spread
