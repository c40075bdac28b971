"""Names beside points, placed so that they do not cover one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tapkit.viz.fonts import Fonts

_SIDES = ((1, 0), (-1, 0), (0, -1), (0, 1))
_MOST = 150


class Labels:
    """Writes ids beside points on images [H,W,3] uint8. A label keeps its side while there is room, and is left
    out where there is none, or beyond 150 of them: a crowd of names tells nothing.

    Args:
        size: height of the letters in pixels.
        font: a font file; None: one that has the letters, see `tapkit.viz.fonts`.
    """

    def __init__(self, size: float, font: str | Path | None = None) -> None:
        self._fonts = Fonts(size, font)
        self._size = size
        self._masks: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._side: dict[str, int] = {}

    def draw(self, image: np.ndarray, ids: np.ndarray, xy: np.ndarray, rgb: np.ndarray, gap: float) -> None:
        """Draw in place: ids [M] str at xy [M,2] (pixels, corner origin), rgb [M,3] in 0..1, `gap` pixels away."""
        names = ids[:_MOST].tolist()
        self._masks = {name: self._masks.get(name) or self._render(name) for name in names}
        placed = np.zeros((0, 4))
        sides: dict[str, int] = {}
        for name, point, colour in zip(names, xy, rgb, strict=False):
            letters, halo = self._masks[name]
            first = self._side.get(name, 0)
            for side in (first, *(s for s in range(len(_SIDES)) if s != first)):
                box = _box(point, letters.shape, _SIDES[side], gap)
                apart = (
                    (placed[:, 0] >= box[2]) | (placed[:, 2] <= box[0])
                    | (placed[:, 1] >= box[3]) | (placed[:, 3] <= box[1])
                )  # fmt: skip
                if apart.all() and min(box[:2]) >= 0 and box[2] <= image.shape[1] and box[3] <= image.shape[0]:
                    _blend(image, box, letters, halo, colour)
                    placed = np.concatenate([placed, [box]])
                    sides[name] = side
                    break
        self._side = sides

    def _render(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Coverage of the letters and of the shadow around them, both [h,w] float32 in 0..1."""
        pad = max(2, round(self._size / 6))
        runs = self._fonts.runs(name)
        starts = np.cumsum([0.0, *(font.getlength(text) for text, font in runs)])
        # All on one line, whatever the fonts' heights: anchored at the left end of the baseline.
        boxes = [font.getbbox(text, anchor="ls") for text, font in runs]
        left = min(start + box[0] for start, box in zip(starts, boxes, strict=False))
        right = max(start + box[2] for start, box in zip(starts, boxes, strict=False))
        top, bottom = min(box[1] for box in boxes), max(box[3] for box in boxes)
        picture = Image.new("L", (int(right - left) + 2 * pad + 1, int(bottom - top) + 2 * pad + 1))
        for start, (text, font) in zip(starts, runs, strict=False):
            ImageDraw.Draw(picture).text((pad - left + start, pad - top), text, fill=255, font=font, anchor="ls")
        shadow = picture.filter(ImageFilter.GaussianBlur(pad / 2))
        letters = np.asarray(picture, np.float32) / 255
        return letters, np.clip(np.asarray(shadow, np.float32) / 255 * 2.2, 0, 0.75)


def _box(point: np.ndarray, shape: tuple[int, ...], side: tuple[int, int], gap: float) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a label beside a point."""
    height, width = shape
    x = point[0] + side[0] * (gap + width / 2) - width / 2
    y = point[1] + side[1] * (gap + height / 2) - height / 2
    left, top = round(float(x)), round(float(y))
    return left, top, left + width, top + height


def _blend(
    image: np.ndarray, box: tuple[int, int, int, int], letters: np.ndarray, halo: np.ndarray, rgb: np.ndarray
) -> None:
    left, top, right, bottom = box
    area = image[top:bottom, left:right]
    light = 0.35 + 0.65 * rgb  # letters are thin: a lighter tone of the point's colour reads better
    under = area * (1 - halo[..., None])
    area[:] = under + (255 * light - under) * letters[..., None] + 0.5
