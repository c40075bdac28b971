"""What is put into a video: a picture or a clip, with alpha, in linear light and premultiplied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from tapkit.apps.edit.colour import Curve
from tapkit.apps.edit.sampling import Pyramid
from tapkit.errors import ShapeError, UsageError, VideoError
from tapkit.video.base import Frame, Source

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".exr", ".ppm", ".pgm", ".dpx"})


class Artwork(Protocol):
    """Something that is shown on every frame."""

    size: tuple[int, int]
    """(height, width)."""

    def at(self, t: int, time: float) -> Pyramid:
        """What is shown on frame t, at `time` seconds from the first: [h,w,4], premultiplied light."""
        ...


class Still:
    """One picture throughout.

    Args:
        image: [h,w] grey, [h,w,3] RGB or [h,w,4] RGBA; uint8, uint16 or float (0..1 through the curve of sRGB).
        curve: of the video that it goes into.
        linear: whether float values are linear light, which may be brighter than 1.
    """

    def __init__(self, image: Any, curve: Curve, linear: bool = False) -> None:
        rgba = rgba_of(image)
        self.size = (rgba.shape[0], rgba.shape[1])
        rgb = rgba[..., :3] if linear and curve.linear else curve.artwork(rgba[..., :3])
        self._pyramid = Pyramid(np.concatenate([rgb * rgba[..., 3:], rgba[..., 3:]], 2))

    def at(self, t: int, time: float) -> Pyramid:
        """See `Artwork`."""
        return self._pyramid


class Moving:
    """A clip: the frame that it would show at that time; the last one stays."""

    def __init__(self, source: Source, curve: Curve) -> None:
        if source.live:
            raise UsageError("an artwork is a picture or a file, not a camera or a stream")
        self._source, self._curve = source, curve
        self.size = source.info.size
        self._frames: Iterator[Frame] = iter(())
        self._now: Frame | None = None
        self._next: Frame | None = None
        self._shown: tuple[int, Pyramid] | None = None
        self._begin: float = source.info.time_of(0)

    def at(self, t: int, time: float) -> Pyramid:
        """See `Artwork`; times do not decrease, unless it begins anew."""
        if self._now is None or self._now.time - self._begin > time + 1e-6:
            self._frames = self._source.frames()
            self._now, self._next = next(self._frames), next(self._frames, None)
        while self._next is not None and self._next.time - self._begin <= time + 1e-6:
            self._now, self._next = self._next, next(self._frames, None)
        if self._shown is None or self._shown[0] != self._now.index:
            self._shown = self._now.index, Still(self._now.image, self._curve).at(0, 0.0)
        return self._shown[1]


class Given:
    """Premultiplied light [h,w,4] that is there already."""

    def __init__(self, premultiplied: np.ndarray) -> None:
        self.size = (premultiplied.shape[0], premultiplied.shape[1])
        self._pyramid = Pyramid(premultiplied)

    def at(self, t: int, time: float) -> Pyramid:
        """See `Artwork`."""
        return self._pyramid


def artwork(given: Any, curve: Curve) -> Artwork:
    """A picture (array, PIL image, file) or a clip (file, `Source`) as something to put into a video.

    Raises `UsageError`, `ShapeError` for what is neither.
    """
    if isinstance(given, Source):
        return Moving(given, curve)
    if isinstance(given, (str, Path)):
        path = Path(given)
        if path.suffix.lower() in PICTURES:
            image, linear = read_image(path)
            return Still(image, curve, linear)
        from tapkit.video import open_video

        return Moving(open_video(path), curve)
    return Still(given, curve)


def read_image(path: Path) -> tuple[np.ndarray, bool]:
    """A picture of a file in its own depth, and whether it is linear light. Raises `UsageError` if it is none."""
    try:
        if path.suffix.lower() in (".exr", ".dpx"):
            from tapkit.video.deep import read_picture

            values, full = read_picture(path)
            return (values if full is None else values / np.float32(full)), path.suffix.lower() == ".exr"
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):
                return np.asarray(image, np.uint16), False
            return np.asarray(image.convert("RGBA")), False
    except (OSError, UnidentifiedImageError, VideoError, ValueError) as error:
        raise UsageError(f"the picture {path} cannot be read as an image") from error


def rgba_of(image: Any) -> np.ndarray:
    """A picture as [h,w,4] float32, 0..1 and more where floats are. Raises `ShapeError`, `UsageError`."""
    if hasattr(image, "convert"):  # a PIL image
        image = image.convert("RGBA")
    values = np.asarray(image.detach().cpu().numpy() if hasattr(image, "detach") else image)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.shape[2] not in (1, 2, 3, 4) or not values.size:
        raise ShapeError(f"a picture is [h,w], [h,w,3] or [h,w,4], got {list(values.shape)}")
    scale = {"uint8": 255.0, "uint16": 65535.0, "bool": 1.0}.get(values.dtype.name, 1.0)
    if values.dtype.kind not in "buf" or (values.dtype.kind == "u" and scale == 1.0):
        raise UsageError(f"a picture is uint8, uint16 or float, got {values.dtype}")
    plain = values.astype(np.float32) / np.float32(scale)
    if not np.isfinite(plain).all():
        raise UsageError("the picture holds values that are not numbers (NaN or infinite): replace them first")
    channels = plain.shape[2]
    alpha = plain[..., -1:] if channels in (2, 4) else np.ones((*plain.shape[:2], 1), np.float32)
    rgb = plain[..., :3] if channels >= 3 else np.repeat(plain[..., :1], 3, 2)
    return np.concatenate([rgb, np.clip(alpha, 0, 1)], 2)
