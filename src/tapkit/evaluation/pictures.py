"""The worst clips as pictures: what the tracker said against what is true, on a few frames."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from tapkit import coords
from tapkit.datasets.base import Clip
from tapkit.datasets.frames import shrink
from tapkit.evaluation.predict import Prediction
from tapkit.evaluation.protocol import METRIC_SIZE

WIDTH = 360
RIGHT, WRONG, MISSED, GHOST = (52, 199, 89), (255, 69, 58), (255, 204, 0), (191, 90, 242)
"""Colours: right; visible but far off; visible but said to be hidden; hidden but said to be visible."""
FAR = 8.0
"""Pixels of 256 x 256 from which on a position is drawn as wrong."""


class Picture(NamedTuple):
    """A strip of frames of one clip."""

    model: str
    clip: str
    caption: str
    jpeg: bytes


def strip(clip: Clip, prediction: Prediction, frames: int = 3) -> bytes:
    """JPEG of `frames` frames side by side, from shortly after the first query to the end of the clip."""
    first = int(prediction.frame.min(initial=clip.frames - 1)) if len(prediction.frame) else 0
    chosen = np.unique(np.linspace(min(first + 1, clip.frames - 1), clip.frames - 1, frames).round().astype(int))
    height = round(WIDTH * clip.size[0] / clip.size[1])
    images = []
    with clip.open() as source:
        for frame in chosen.tolist():
            image = shrink(source.read(frame).image, (height, WIDTH))
            images.append(_drawn(image, clip, prediction, frame))
    joined = Image.fromarray(np.concatenate(images, 1))
    buffer = io.BytesIO()
    joined.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def _drawn(image: np.ndarray, clip: Clip, prediction: Prediction, frame: int) -> np.ndarray:
    """The frame with a mark for each query that is scored there."""
    scale = 2  # drawn large and shrunk, for smooth lines
    size = image.shape[0] * scale, image.shape[1] * scale
    canvas = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(canvas)
    truth = coords.resize(clip.xy[prediction.track, frame].astype(np.float64), clip.size, size)
    said = coords.resize(prediction.xy[:, frame].astype(np.float64), clip.size, size)
    error = coords.resize(prediction.xy[:, frame] - clip.xy[prediction.track, frame], clip.size, METRIC_SIZE)
    far = ~(np.hypot(error[:, 0], error[:, 1]) < FAR)
    for row, (track, query) in enumerate(zip(prediction.track.tolist(), prediction.frame.tolist(), strict=True)):
        seen, claimed = bool(clip.visible[track, frame]), bool(prediction.said[row, frame])
        if frame <= query or not (seen or claimed):
            continue
        colour = GHOST if not seen else MISSED if not claimed else WRONG if far[row] else RIGHT
        if seen:
            _circle(draw, truth[row], 5 * scale // 2, colour, fill=colour == RIGHT)
        if np.isfinite(said[row]).all() and (claimed or not far[row]):
            if seen and far[row]:
                draw.line([*truth[row], *said[row]], fill=colour, width=scale)
            if not seen or far[row]:
                _cross(draw, said[row], 4 * scale // 2 + 1, colour, scale)
    return np.asarray(canvas.resize((image.shape[1], image.shape[0]), Image.Resampling.LANCZOS))


def _circle(draw: ImageDraw.ImageDraw, at: np.ndarray, radius: int, colour: tuple[int, int, int], fill: bool) -> None:
    x, y = at.tolist()
    box = (x - radius, y - radius, x + radius, y + radius)
    draw.ellipse(box, fill=colour if fill else None, outline=(0, 0, 0) if fill else colour, width=1 if fill else 3)


def _cross(draw: ImageDraw.ImageDraw, at: np.ndarray, radius: int, colour: tuple[int, int, int], scale: int) -> None:
    x, y = at.tolist()
    for dy in (-radius, radius):
        draw.line([x - radius, y - dy, x + radius, y + dy], fill=colour, width=scale + 1)
