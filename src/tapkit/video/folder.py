"""Image sequences: a folder, a pattern or a list of image files."""

from __future__ import annotations

import glob
import re
import warnings
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tapkit.coords import Size
from tapkit.errors import VideoError, VideoWarning
from tapkit.types import VideoInfo
from tapkit.video.base import Frame, Source, frame_range
from tapkit.video.layout import ValueRange, to_rgb
from tapkit.video.resize import resize_array


class FolderSource(Source):
    """Image files in natural order (img2 before img10), one frame each, opened when they are asked for.

    The number in the first file's name is `info.start_frame`. A file that cannot be read shows the frame before it
    (one VideoWarning).
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        fps: Fraction | None = None,
        pixel_aspect: Fraction | None = None,
        start_frame: int | None = None,
        path: str | None = None,
    ) -> None:
        """Wrap `files`, already in order. Raises VideoError if none of them is an image that can be read."""
        if not files:
            raise VideoError("there are no image files to read")
        self._files = list(files)
        self._warned = False
        first = next((image for image in map(self._load, range(len(files))) if image is not None), None)
        if first is None:
            where = path or files[0].parent
            raise VideoError(f"none of the {len(files)} files in {where} is an image that can be read")
        numbers = [frame_number(file) for file in files]
        self._note_gap(numbers)
        self.info = VideoInfo(
            width=first.shape[1],
            height=first.shape[0],
            fps=fps or Fraction(25),
            frames=len(files),
            pixel_aspect=pixel_aspect or Fraction(1),
            start_frame=start_frame if start_frame is not None else numbers[0] or 0,
            path=path or str(files[0].parent),
        )
        self._first = first

    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1, size: Size | None = None
    ) -> Iterator[Frame]:
        """See `Source.frames`. Raises VideoError for an image of another size than the first."""
        return self._read(frame_range(len(self._files), start, stop, step), size or self.info.size)

    def _read(self, wanted: range, size: Size) -> Iterator[Frame]:
        for index in wanted:
            image = self._load(index)
            before = index
            while image is None and before > 0:
                before -= 1
                image = self._load(before)
            image = self._first if image is None else image
            if image.shape[:2] != self.info.size:
                raise VideoError(
                    f"{self._files[before]} is {image.shape[1]}x{image.shape[0]}, but the sequence began with "
                    f"{self.info.width}x{self.info.height}: all images must have one size"
                )
            yield Frame(index, self.info.time_of(index), resize_array(image, size))

    def _load(self, index: int) -> np.ndarray | None:
        """The image [H,W,3] uint8, None (and a warning, once) if it cannot be read."""
        try:
            with Image.open(self._files[index]) as image:
                return image_rgb(image)
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
            self._warn(
                f"{self._files[index]} (frame {index}) is not an image that can be read ({error}); "
                "the frame before it is shown instead, as for every further one"
            )
            return None

    def _note_gap(self, numbers: list[int | None]) -> None:
        known = [number for number in numbers if number is not None]
        steps = np.diff(known) if len(known) == len(numbers) > 1 else np.ones(1)
        uneven = np.flatnonzero(steps != steps[0])
        if uneven.size:
            at = int(uneven[0])
            self._warn(
                f"the numbers in the names are not evenly spaced: {self._files[at + 1].name} follows "
                f"{self._files[at].name}; the images are taken as consecutive frames"
            )

    def _warn(self, message: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(message, VideoWarning, stacklevel=2)


def find_images(where: str | Path) -> list[Path]:
    """The image files of a folder, a glob pattern (`*`, `?`, `[...]`) or a printf pattern (`%04d`), in natural order.

    Hidden files and files of other kinds are left out. Raises VideoError if none is left.
    """
    path = Path(where)
    if path.is_dir():
        candidates = list(path.iterdir())
    elif numbered := re.search(r"%0?(\d*)d", path.name):
        parts = re.escape(path.name[: numbered.start()]), re.escape(path.name[numbered.end() :])
        name = re.compile(rf"{parts[0]}\d{{{numbered[1] or 1},}}{parts[1]}")
        candidates = [file for file in path.parent.glob("*") if name.fullmatch(file.name)]
    else:
        candidates = [Path(name) for name in glob.glob(str(path), recursive=True)]
    endings = Image.registered_extensions()
    files = [f for f in candidates if f.suffix.lower() in endings and not f.name.startswith(".") and f.is_file()]
    if not files:
        others = sorted({file.suffix.lower() for file in candidates if file.is_file() and file.suffix})
        found = f", only {', '.join(others[:5])} files" if others else ""
        what = f"there are no images in the folder {path}" if path.is_dir() else f"no image matches {path}"
        raise VideoError(what + found)
    return sorted(files, key=natural_key)


def natural_key(path: Path) -> tuple[object, ...]:
    """Sorts names as people count: frame_2 before frame_10.

    >>> [p.name for p in sorted(map(Path, ["b10.png", "b9.png", "a.png"]), key=natural_key)]
    ['a.png', 'b9.png', 'b10.png']
    """
    parts = re.split(r"(\d+)", str(path))
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in parts), str(path)


def frame_number(path: Path) -> int | None:
    """The last number in a file's name, None if there is none.

    >>> frame_number(Path("shot2_cam1.0101.png"))
    101
    """
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else None


def image_rgb(image: Image.Image) -> np.ndarray:
    """A PIL image as RGB [H,W,3] uint8, turned as its EXIF orientation says; alpha is left out."""
    values = image_values(image)
    if values.dtype == np.uint8:
        return to_rgb(values)
    if values.dtype.kind == "i":  # 16-bit grey PNGs come as 32-bit integers from some versions of Pillow
        values = values.astype(np.uint16)
    white = 65535 if values.dtype == np.uint16 else 1 if float(values.max()) <= 1.01 else 255
    return to_rgb(ValueRange(0, white).to_uint8(values, "the image"))


def image_values(image: Image.Image) -> np.ndarray:
    """A PIL image as an array in its own depth: [H,W,3] or [H,W,4] uint8, or grey [H,W] of any dtype."""
    image = ImageOps.exif_transpose(image)
    if image.mode not in ("RGB", "RGBA", "L", "I", "F") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    values = np.asarray(image)
    return values.astype(values.dtype.newbyteorder("="), copy=False)
