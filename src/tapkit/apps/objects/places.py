"""Where in an object points are put."""

from __future__ import annotations

import numpy as np

from tapkit.apps.objects.detections import Detections

_CENTRAL = 0.8


def grid_places(box: np.ndarray, count: int, size: tuple[int, int]) -> np.ndarray:
    """The interior points of a regular grid over a box [4] -> [<=count,2]; those in the frame."""
    side = round(count**0.5)
    x, y = (np.linspace(box[i], box[i + 2], side + 2)[1:-1] for i in (0, 1))
    xy = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    return np.asarray(xy[_in_frame(xy, size)])


def random_places(
    found: Detections, row: int, count: int, size: tuple[int, int], random: np.random.Generator
) -> np.ndarray:
    """[<=count,2] places in the mask of a detection, or in the central 80 % of its box, within the frame.

    Places that lie in few other boxes come first: where two objects overlap, one cannot know whose point it would be.
    """
    if found.mask is not None:
        rows, columns = np.nonzero(found.mask[row])
        chosen: np.ndarray = random.permutation(len(rows))[: 4 * count]
        xy = np.stack([columns[chosen] + 0.5, rows[chosen] + 0.5], -1)
    else:
        low, high = found.xyxy[row, :2], found.xyxy[row, 2:]
        middle, half = (low + high) / 2, (high - low) / 2 * _CENTRAL
        low, high = np.maximum(middle - half, 0), np.minimum(middle + half, size[::-1])
        if (high <= low).any():  # only the rim of the box is in the frame
            low, high = np.maximum(found.xyxy[row, :2], 0), np.minimum(found.xyxy[row, 2:], size[::-1])
        # A jittered grid spreads better than independent draws.
        side = int(np.ceil((4 * count) ** 0.5))
        cell = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
        xy = low + (cell + random.random(cell.shape)) / side * (high - low)
        xy = xy[random.permutation(len(xy))]
    xy = xy[_in_frame(xy, size)].astype(np.float64)
    others = np.delete(np.arange(len(found)), row)
    crowd = found[others].contains(xy).round().sum(1) if len(others) else np.zeros(len(xy))
    return np.asarray(xy[np.argsort(crowd, kind="stable")[:count]])


def _in_frame(xy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray((xy > 0).all(1) & (xy < np.array(size[::-1])).all(1))
