"""Frames of benchmark clips as `video.Source`s: image files, encoded images in a pickle, arrays on disk.

Nothing is decoded before it is asked for, and nothing decoded is kept.
"""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from tapkit.coords import Size
from tapkit.errors import UsageError, VideoError
from tapkit.types import VideoInfo
from tapkit.video.base import Frame, Source

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def lanczos(image: np.ndarray, size: Size) -> np.ndarray:
    """The official TAP-Vid resize of one frame [H,W,3] uint8 to `size` (height, width): Pillow's Lanczos on uint8.

    The aspect ratio is not kept (specs/tapvid_benchmark.md section 3).
    """
    return np.array(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.LANCZOS))


def shrink(image: np.ndarray, size: Size) -> np.ndarray:
    """A frame at `size` by area averaging (bilinear where it grows), corner-aligned: the `Source` contract."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    down = size[0] <= height and size[1] <= width
    method = Image.Resampling.BOX if down else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(image).resize((size[1], size[0]), method))


class IndexedFrames(Source):
    """Frames that can be read in any order, each on its own."""

    def __init__(self, info: VideoInfo) -> None:
        if info.frames is None:
            raise UsageError("frames that are read by index need a known number of frames")
        self.info = info

    @abstractmethod
    def load(self, index: int) -> np.ndarray:
        """One frame [H,W,3] uint8 RGB at its own size."""

    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1, size: Size | None = None
    ) -> Iterator[Frame]:
        """See `Source.frames`."""
        count = self.info.frames or 0
        if step == 0:
            raise UsageError("the step between frames cannot be zero")
        end = (count if step > 0 else -1) if stop is None else min(stop, count) if step > 0 else max(stop, -1)
        for index in range(start, end, step):
            image = self.load(index)
            yield Frame(index, self.info.time_of(index), image if size is None else shrink(image, size))


class EncodedFrames(IndexedFrames):
    """Images in files (paths) or in memory (bytes: JPEG, PNG, ... as Pillow reads them)."""

    def __init__(self, images: Sequence[Path] | Sequence[bytes], info: VideoInfo) -> None:
        super().__init__(info)
        self.images = images

    def load(self, index: int) -> np.ndarray:
        """See `IndexedFrames.load`; `VideoError` names the damaged image."""
        image = decode_image(self.images[index], f"frame {index}")
        if image.shape[:2] != self.info.size:
            raise VideoError(
                f"frame {index} is {image.shape[1]}x{image.shape[0]}, the clip {self.info.width}x{self.info.height}"
            )
        return image


class ArrayFrames(IndexedFrames):
    """An array [T,H,W,3] uint8, usually a memory map: only the frames that are asked for are read from disk."""

    def __init__(self, video: np.ndarray, info: VideoInfo) -> None:
        super().__init__(info)
        self.video = video

    def load(self, index: int) -> np.ndarray:
        """See `IndexedFrames.load`."""
        return np.array(self.video[index])


class Resized(IndexedFrames):
    """Another source as if it had been `size` all along, by the official Lanczos resize."""

    def __init__(self, source: Source, size: Size) -> None:
        super().__init__(replace(source.info, width=size[1], height=size[0], pixel_aspect=Fraction(1)))
        self.source = source

    def load(self, index: int) -> np.ndarray:
        """See `IndexedFrames.load`."""
        return lanczos(self.source.read(index).image, self.info.size)

    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1, size: Size | None = None
    ) -> Iterator[Frame]:
        """See `Source.frames`: reads the inner source in its own order, so that video files are decoded once."""
        for frame in self.source.frames(start, stop, step):
            image = lanczos(frame.image, self.info.size)
            yield frame._replace(image=image if size is None else shrink(image, size))

    def close(self) -> None:
        """Close the inner source."""
        self.source.close()


def decode_image(image: Path | bytes, what: str = "the image") -> np.ndarray:
    """An image file or its bytes -> [H,W,3] uint8 RGB; `VideoError` says what cannot be decoded."""
    name = str(image) if isinstance(image, Path) else what
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            return np.array(opened.convert("RGB"))
    except FileNotFoundError as error:
        raise VideoError(f"{name} does not exist") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise VideoError(f"{name} cannot be decoded as an image ({error})") from error


def image_size(image: Path | bytes, what: str = "the image") -> Size:
    """(height, width) from the header alone."""
    name = str(image) if isinstance(image, Path) else what
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            return opened.height, opened.width
    except FileNotFoundError as error:
        raise VideoError(f"{name} does not exist") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise VideoError(f"{name} cannot be decoded as an image ({error})") from error


def image_files(folder: Path) -> list[Path]:
    """The images of a folder by name, numbers by value (frame_2 before frame_10)."""
    import re

    def order(path: Path) -> list[tuple[bool, int, str]]:
        parts = re.split(r"(\d+)", path.stem)
        return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]

    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.suffix.lower() in IMAGE_ENDINGS and p.is_file()), key=order)


def open_images(files: Sequence[Path], fps: Fraction = Fraction(25)) -> EncodedFrames:
    """A clip of image files of one size; only the first one's header is read."""
    if not files:
        raise VideoError("a clip needs at least one image, got none")
    height, width = image_size(files[0])
    return EncodedFrames(list(files), VideoInfo(width, height, fps, len(files), path=str(files[0].parent)))
