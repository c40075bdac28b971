"""Detections of one frame: boxes with scores and labels, perhaps masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from tapkit.errors import ShapeError, UsageError


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector says about one frame, M objects."""

    xyxy: np.ndarray
    """[M,4] float64: left, top, right, bottom in pixels, corner origin; may reach beyond the frame."""
    score: np.ndarray
    """[M] float64, 0..1."""
    label: np.ndarray
    """[M] str; "" where the class is unknown."""
    mask: np.ndarray | None = None
    """[M,H,W] bool, or None."""

    @classmethod
    def of(cls, xyxy: Any, score: Any = 1.0, label: Any = "", mask: Any = None) -> Self:
        """Checked and copied; one score or one label may stand for all.

        Raises `ShapeError` for other shapes, `UsageError` for boxes that are not numbers or are empty and for scores
        that are not in 0..1.
        """
        boxes = np.array(xyxy, np.float64)
        boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ShapeError(f"boxes must be [M,4] (left, top, right, bottom), got {list(boxes.shape)}")
        count = len(boxes)
        try:
            scores = np.broadcast_to(np.asarray(score, np.float64), count).copy()
            labels = np.broadcast_to(np.asarray(label).astype(np.str_), count).copy()
        except ValueError as error:
            raise ShapeError(f"there must be one score and one label for each of the {count} boxes") from error
        if not np.isfinite(boxes).all():
            raise UsageError(f"box {_first(~np.isfinite(boxes).all(1))} is not made of finite numbers")
        empty = (boxes[:, 2:] <= boxes[:, :2]).any(1)
        if empty.any():
            row = _first(empty)
            raise UsageError(
                f"box {row} has no area: {boxes[row].tolist()}; boxes are left, top, right, bottom with right > left "
                "and bottom > top"
            )
        wrong = ~((scores >= 0) & (scores <= 1))
        if wrong.any():
            raise UsageError(f"the score of box {_first(wrong)} is {scores[_first(wrong)]}, not in 0..1")
        masks = None
        if mask is not None:
            masks = np.asarray(mask).astype(bool)
            if masks.ndim != 3 or len(masks) != count:
                raise ShapeError(f"masks must be [M,H,W] with M = {count}, got {list(masks.shape)}")
        return cls(boxes, scores, labels, masks)

    @classmethod
    def none(cls) -> Self:
        """No detections."""
        return cls.of(np.zeros((0, 4)))

    @classmethod
    def of_masks(cls, mask: Any, score: Any = 1.0, label: Any = "") -> Self:
        """Masks [M,H,W] with the boxes around them. Raises `UsageError` for an empty mask."""
        masks = np.asarray(mask).astype(bool)
        if masks.ndim != 3:
            raise ShapeError(f"masks must be [M,H,W], got {list(masks.shape)}")
        boxes = []
        for number, one in enumerate(masks):
            rows, columns = np.flatnonzero(one.any(1)), np.flatnonzero(one.any(0))
            if not len(rows):
                raise UsageError(f"mask {number} is empty")
            boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        return cls.of(np.array(boxes, np.float64).reshape(-1, 4), score, label, masks)

    @classmethod
    def of_supervision(cls, found: Any) -> Self:
        """From `supervision.Detections`: xyxy, confidence, class_id or data["class_name"], mask."""
        names = (getattr(found, "data", None) or {}).get("class_name")
        label = names if names is not None else getattr(found, "class_id", None)
        score = getattr(found, "confidence", None)
        return cls.of(
            found.xyxy, 1.0 if score is None else score, "" if label is None else label, getattr(found, "mask", None)
        )

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, chosen: Any) -> Detections:
        """Some of them: indices or a mask [M] bool."""
        rows = np.arange(len(self))[chosen]
        return Detections(
            self.xyxy[rows], self.score[rows], self.label[rows], None if self.mask is None else self.mask[rows]
        )

    @property
    def area(self) -> np.ndarray:
        """[M] float64, pixels: of the masks if there are any, else of the boxes."""
        if self.mask is not None:
            return np.asarray(np.maximum(self.mask.sum((1, 2)), 1), np.float64)
        return areas(self.xyxy)

    def contains(self, xy: np.ndarray) -> np.ndarray:
        """Whether points xy [N,2] lie inside each mask, or strictly inside each box -> [N,M] float64 in 0..1.

        A mask's value at a point is interpolated between the centres of its pixels.
        """
        if self.mask is not None:
            return _mask_values(self.mask, xy)
        x, y = xy[:, :1], xy[:, 1:]
        left, top, right, bottom = self.xyxy.T
        return np.asarray((x > left) & (x < right) & (y > top) & (y < bottom), np.float64)

    def within(self, size: tuple[int, int]) -> np.ndarray:
        """Which of them have any part in a frame of `size` (height, width) -> [M] bool."""
        left, top, right, bottom = self.xyxy.T
        return np.asarray((right > 0) & (bottom > 0) & (left < size[1]) & (top < size[0]))


def areas(xyxy: np.ndarray) -> np.ndarray:
    """Areas [M] of boxes [M,4] in square pixels; continuous: right - left, not right - left + 1."""
    return np.asarray((xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1]))


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [N,4] and [M,4] -> [N,M].

    >>> iou(np.array([[0, 0, 2, 2.0]]), np.array([[1, 0, 3, 2.0]])).round(3).tolist()
    [[0.333]]
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    return np.asarray(both / np.maximum(areas(first)[:, None] + areas(second)[None] - both, 1e-12))


def _mask_values(mask: np.ndarray, xy: np.ndarray) -> np.ndarray:
    height, width = mask.shape[1:]
    at = xy - 0.5  # in units between pixel centres
    low = np.floor(at).astype(np.int64)
    share = at - low
    value = np.zeros((len(xy), len(mask)))
    for dx in (0, 1):
        for dy in (0, 1):
            column, row = low[:, 0] + dx, low[:, 1] + dy
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            weight = np.abs(1 - dx - share[:, 0]) * np.abs(1 - dy - share[:, 1]) * inside
            value += weight[:, None] * mask[:, row.clip(0, height - 1), column.clip(0, width - 1)].T
    return value


def _first(which: Any) -> int:
    return int(np.flatnonzero(which)[0])
