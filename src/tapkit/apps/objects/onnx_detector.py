"""A detector that the user has as an ONNX file, run by onnxruntime: YOLO and DETR families as their tools export them.

tapkit ships no detector and no weights. What an export looks like is said by its makers' documentation: Ultralytics
(YOLO: letterboxed picture with grey 114, RGB in 0..1; names in the metadata), YOLOv5 and YOLOX (objectness beside class
scores), exports with suppression inside (rows of left, top, right, bottom, score, class), RT-DETR and D-FINE (labels,
boxes, scores; the original size is a second input).
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from tapkit.apps.objects.detections import Detections, iou
from tapkit.errors import UsageError, WeightsError, require

Layout = Literal["auto", "yolov8", "yolov5", "end-to-end", "detr"]
"""What the file answers. "yolov8": [1,4+C,N], middle and size, class scores. "yolov5": [1,N,5+C], middle and size,
objectness, class scores. "end-to-end": [1,N,6], corners, score, class. "detr": labels, boxes (corners, in pixels of the
picture) and scores."""
_GREY = 114
_USUAL = 640
"""Side of the picture where the file leaves it open."""
_MOST = 1000
"""Rows from which on six columns are not those of an export with suppression inside."""


class _Placed(NamedTuple):
    """How a picture lies in the network's input."""

    scale: tuple[float, float]
    offset: tuple[int, int]


class OnnxDetector:
    """Boxes of the objects in a picture.

        detect = OnnxDetector("yolo11n.onnx")
        found = track_objects("clip.mp4", detect)

    Args:
        path: the file.
        score: detections below it are left out.
        overlap: of two boxes of one class that overlap by more than this (IoU) the surer one stays. 1: all stay.
        layout: see `Layout`; "auto" decides by names and shapes.
        names: of the classes, by number; None: as the file's metadata says, else the numbers.
        only: names of the classes that are wanted; None: all.

    Raises `MissingExtra` without onnxruntime, `WeightsError` for a file that is not such a detector, `UsageError` for
    an option that cannot be.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        score: float = 0.25,
        overlap: float = 0.7,
        layout: Layout = "auto",
        names: Sequence[str] | None = None,
        only: Sequence[str] | None = None,
    ) -> None:
        for name, value in (("score", score), ("overlap", overlap)):
            if not 0 <= value <= 1:
                raise UsageError(f"{name} must lie in 0..1, got {value}")
        if layout not in get_args(Layout):
            raise UsageError(f"the layout must be one of {', '.join(get_args(Layout))}, got {layout!r}")
        self.path, self.score, self.overlap, self.layout = Path(path), score, overlap, layout
        self._session = _opened(self.path)
        inputs = self._session.get_inputs()
        self._input = inputs[0]
        self._sizes = [each.name for each in inputs[1:]]
        shape = self._input.shape
        if len(shape) != 4 or len(self._sizes) > 1:
            raise WeightsError(f"{path} is not a detector that is known here: its input is {shape}, not [1,3,H,W]")
        self._size = tuple(side if isinstance(side, int) else _USUAL for side in shape[2:])
        self._outputs = [each.name.lower() for each in self._session.get_outputs()]
        self.names = list(names) if names is not None else _names_in(self._session)
        self.only = None if only is None else set(only)
        missing = sorted((self.only or set()) - set(self.names)) if self.names else []
        if missing:
            raise UsageError(f"{path} knows no class {missing[0]!r} (known: {', '.join(self.names)})")

    def __call__(self, image: np.ndarray) -> Detections:
        """Detections in a picture [H,W,3] uint8 RGB, boxes in its pixels, corner origin."""
        height, width = image.shape[:2]
        picture, placed = self._placed(image)
        fed: dict[str, Any] = {self._input.name: picture}
        if self._sizes:
            fed[self._sizes[0]] = np.array([[width, height]], np.int64)
        try:
            answers = self._session.run(None, fed)
        except Exception as error:  # onnxruntime's own kinds, which have no common base
            first = str(error).splitlines()[0]
            raise WeightsError(f"the detector {self.path} cannot be run on a picture: {first}") from error
        boxes, scores, classes, in_picture = self._read([np.asarray(answer, np.float64) for answer in answers])
        if not in_picture:
            boxes = (boxes - np.array(placed.offset * 2)) / np.array(placed.scale * 2)
        boxes = boxes.clip(0, [width, height, width, height])
        good = (scores >= self.score) & np.isfinite(boxes).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        boxes, scores, classes = boxes[good], scores[good].clip(0, 1), classes[good]
        kept = _suppressed(boxes, scores, classes, self.overlap)
        labels = np.array([self._name(number) for number in classes[kept]], dtype=np.str_)
        found = Detections.of(boxes[kept], scores[kept], labels if len(kept) else "")
        return found if self.only is None else found[np.isin(found.label, sorted(self.only))]

    def _placed(self, image: np.ndarray) -> tuple[np.ndarray, _Placed]:
        """The network's input [1,3,h,w]: the picture as large as fits, the rest grey; the whole input for a DETR."""
        from PIL import Image

        high, wide = self._size
        height, width = image.shape[:2]
        scale = min(high / height, wide / width)
        h, w = (high, wide) if self._sizes else (max(round(height * scale), 1), max(round(width * scale), 1))
        small = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR))
        top, left = (high - h) // 2, (wide - w) // 2
        canvas = np.full((high, wide, 3), _GREY, np.uint8)
        canvas[top : top + h, left : left + w] = small
        kind = self._input.type
        values: np.ndarray = canvas.transpose(2, 0, 1)[None]
        if "uint8" not in kind:
            values = (values / 255).astype(np.float16 if "float16" in kind else np.float32)
        return np.ascontiguousarray(values), _Placed((w / width, h / height), (left, top))

    def _read(self, answers: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        """Boxes [N,4] (corners), scores [N], classes [N] int, and whether boxes are in pixels of the picture."""
        layout = self._layout_of(answers)
        if layout == "detr":
            parts = {kind: a for name, a in zip(self._outputs, answers, strict=True) for kind in _KINDS if kind in name}
            boxes, scores, labels = (parts[kind].reshape(-1, *tail) for kind, tail in _KINDS.items())
            return boxes, scores, labels.astype(int), bool(self._sizes)
        table = answers[0][0]
        if layout == "end-to-end":
            return table[:, :4], table[:, 4], table[:, 5].astype(int), False
        if layout == "yolov8":
            table = table.T
            middle, sure = table[:, :4], table[:, 4:]
        else:
            middle, sure = table[:, :4], table[:, 4:5] * table[:, 5:]
        boxes = np.concatenate([middle[:, :2] - middle[:, 2:] / 2, middle[:, :2] + middle[:, 2:] / 2], 1)
        return boxes, sure.max(1), sure.argmax(1), False

    def _layout_of(self, answers: list[np.ndarray]) -> Layout:
        """The layout asked for or seen; `WeightsError` if the answers are not of that kind."""
        shapes = [list(answer.shape) for answer in answers]
        named = all(any(kind in name for name in self._outputs) for kind in _KINDS)
        first = answers[0].shape
        layout = self.layout
        if layout == "auto":
            if named:
                layout = "detr"
            elif len(first) == 3 and first[2] == 6 and first[1] <= _MOST:
                layout = "end-to-end"
            elif len(first) == 3:
                layout = "yolov8" if first[1] < first[2] else "yolov5"
        fits = {
            "detr": named,
            "end-to-end": len(first) == 3 and first[2] == 6,
            "yolov8": len(first) == 3 and first[1] >= 5,
            "yolov5": len(first) == 3 and first[2] >= 6,
        }
        if not fits.get(layout, False):
            raise WeightsError(
                f"what {self.path} answers is not known here: {', '.join(self._outputs)} with shapes {shapes}; "
                "give a function that returns tapkit.apps.objects.Detections instead"
            )
        return layout

    def _name(self, number: int) -> str:
        return self.names[number] if 0 <= number < len(self.names) else str(number)


_KINDS: dict[str, tuple[int, ...]] = {"boxes": (4,), "scores": (), "labels": ()}
"""Names of the three outputs of a DETR, and their shapes without batch and count."""


def _opened(path: Path) -> Any:
    """An onnxruntime session on the CPU, or on CUDA where onnxruntime has it."""
    if not path.is_file():
        raise WeightsError(f"there is no detector {path}")
    runtime = require("onnxruntime", "onnx")
    wanted = [
        one for one in ("CUDAExecutionProvider", "CPUExecutionProvider") if one in runtime.get_available_providers()
    ]
    try:
        return runtime.InferenceSession(str(path), providers=wanted)
    except Exception as error:  # onnxruntime's own kinds, which have no common base
        first = str(error).splitlines()[0]
        raise WeightsError(f"{path} is no ONNX file that onnxruntime can run: {first}") from error


def _names_in(session: Any) -> list[str]:
    """Names of classes in a file's metadata, a dictionary {0: "person", ...} written as text; [] if there are none."""
    text = session.get_modelmeta().custom_metadata_map.get("names", "")
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    if isinstance(names, dict):
        names = [names.get(number, str(number)) for number in range(len(names))]
    return [str(name) for name in names] if isinstance(names, list | tuple) else []


def _suppressed(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, overlap: float) -> np.ndarray:
    """Rows that stay, surest first: of two of a class that overlap by more, the surer one."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    for row in order:
        same = [other for other in kept if classes[other] == classes[row]]
        if not same or iou(boxes[[row]], boxes[same]).max() <= overlap:
            kept.append(int(row))
    return np.array(kept, np.int64)
