"""Pictures that are files, or pages of a file: each read when it is asked for, in its own values."""

from __future__ import annotations

import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tapkit.errors import MissingExtra, VideoError
from tapkit.video.layout import ValueRange
from tapkit.video.numbers import FrameNumbers, frame_numbers

UNREADABLE = (
    OSError, SyntaxError, ValueError, EOFError, VideoError, Image.DecompressionBombError, LookupError, TypeError,
    AttributeError, ArithmeticError, RuntimeError, MemoryError, struct.error,
)  # fmt: skip
"""What the libraries raise that read pictures, where these are damaged."""
DECODED = (".dpx", ".exr")
"""Kinds of pictures that FFmpeg decodes and Pillow does not know."""


class Pictures(ABC):
    """The pictures of a sequence. What a container says beside them stands in the attributes."""

    fps: Fraction | None = None
    times: np.ndarray | None = None
    pixel_aspect: Fraction | None = None
    stated: ValueRange | None = None
    """Black and white, where the file says which they are."""
    linear: bool = False
    """Whether values are linear light, to be shown through the curve of sRGB."""
    full: float | None = None
    """The greatest value that the type of the pictures can hold; known once one was read."""
    forwards: bool = False
    """Whether a picture is decoded from those before it, so that reading backwards is slow one by one."""
    note: str | None = None
    """What is to be said of the choice that was made."""
    numbers: FrameNumbers = FrameNumbers(None)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def values(self, index: int) -> np.ndarray:
        """The picture as an array in its own values: [H,W] or [H,W,3 or 4]. Raises one of `UNREADABLE`."""

    @abstractmethod
    def name(self, index: int) -> str:
        """What to call the picture in a message."""

    def close(self) -> None:  # noqa: B027  (nothing is open, usually)
        """Close what is open; a second call does nothing."""


class Files(Pictures):
    """One picture in each file."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self.numbers = frame_numbers(self._paths)
        self.linear = bool(self._paths) and self._paths[0].suffix.lower() == ".exr"

    def __len__(self) -> int:
        return len(self._paths)

    def values(self, index: int) -> np.ndarray:
        path = self._paths[index]
        if path.suffix.lower() in (".dcm", ".dicom"):
            from tapkit.video.dicom import read_frame

            values, self.full = read_frame(path, 0)
            return values
        if path.suffix.lower() in DECODED or _is_wide_png(path):
            return self._decoded(path)
        try:
            with Image.open(path) as image:
                if _is_wide_tiff(image):
                    return self._decoded(path)
                values = image_values(image)
        except UnidentifiedImageError:
            if not _is_tiff(path):
                raise
            values = np.asarray(_tifffile(path, "is a TIFF of a kind that Pillow does not read")(0))
            self.full = 65535.0 if values.dtype == np.uint16 else None
            return values
        self.full = _full(image, values)
        return values

    def name(self, index: int) -> str:
        return str(self._paths[index])

    def _decoded(self, path: Path) -> np.ndarray:
        from tapkit.video.deep import read_picture

        values, self.full = read_picture(path)
        return values


class TiffPages(Pictures):
    """The pages of a TIFF file, in the order of its time axis (ImageJ and OME say which it is)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._image = Image.open(path)
        count = int(getattr(self._image, "n_frames", 1))
        description = str(getattr(self._image, "tag_v2", {}).get(270, ""))
        self._tiff: Any = None
        axes = stack_axes(description)
        if axes is not None and axes.pages > count > 0:
            self._tiff = _tifffile(path, f"holds {axes.pages} pictures of which only {count} have an entry")
        elif _is_wide_tiff(self._image):
            self._tiff = _tifffile(path, "has more than one channel of 16 bits")
        self._pages = (
            _own_size(self._image, count) if self._tiff is None else list(range(max(count, axes.pages if axes else 0)))
        )
        if axes is not None and axes.pages == len(self._pages):
            self._pages, self.note = axes.time_order(self._pages, str(path))
        rate = re.search(r"^fps=([\d.]+)|^finterval=([\d.]+)", description, re.MULTILINE)
        if rate and float(rate[1] or rate[2]) > 0:
            value = Fraction(rate[1] or rate[2])
            self.fps = (value if rate[1] else 1 / value).limit_denominator(1001) or None

    def __len__(self) -> int:
        return len(self._pages)

    def values(self, index: int) -> np.ndarray:
        page = self._pages[index]
        if self._tiff is not None:
            values = np.asarray(self._tiff(page))
            if values.dtype.kind not in "buif":
                raise ValueError(f"a page of {values.dtype} values")
            self.full = 65535.0 if values.dtype == np.uint16 else None
            return values
        self._image.seek(page)
        values = image_values(self._image)
        self.full = _full(self._image, values)
        return values

    def name(self, index: int) -> str:
        return f"page {self._pages[index]} of {self._path}"

    def close(self) -> None:
        self._image.close()


class Stacks(Pictures):
    """Several TIFF stacks one after the other, as microscopes split long recordings; one is open at a time."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        counts = []
        for number, path in enumerate(self._paths):
            self._open = number, TiffPages(path)
            counts.append(len(self._open[1]))
            self.note, self.fps = self.note or self._open[1].note, self.fps or self._open[1].fps
            self._open[1].close()
        self._ends = np.cumsum(counts)
        self._open = 0, TiffPages(self._paths[0])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def values(self, index: int) -> np.ndarray:
        number, page = self._place(index)
        if self._open[0] != number:
            self._open[1].close()
            self._open = number, TiffPages(self._paths[number])
        values = self._open[1].values(page)
        self.full = self._open[1].full
        return values

    def name(self, index: int) -> str:
        number, page = self._place(index)
        return f"page {page} of {self._paths[number]}"

    def close(self) -> None:
        self._open[1].close()

    def _place(self, index: int) -> tuple[int, int]:
        """Which file holds the frame, and where."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, index - (int(self._ends[number - 1]) if number else 0)


class Animation(Pictures):
    """The pictures of an animated WebP, at their own times."""

    forwards = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._image = Image.open(path)
        self._count = int(getattr(self._image, "n_frames", 1))
        ends = []
        for index in range(self._count):
            self._image.seek(index)
            self._image.load()
            stamp = self._image.info.get("timestamp", 0)
            ends.append((stamp, max(int(self._image.info.get("duration", 0)), 1)))
        durations = np.array([duration for _, duration in ends], np.int64)
        begins = np.concatenate([[0], np.cumsum(durations)[:-1]])
        self.times = begins / 1000
        self.fps = Fraction(1000 * self._count, int(durations.sum()))

    def __len__(self) -> int:
        return self._count

    def values(self, index: int) -> np.ndarray:
        self._image.seek(index)
        return np.asarray(self._image.convert("RGB"))

    def name(self, index: int) -> str:
        return f"picture {index} of {self._path}"

    def close(self) -> None:
        self._image.close()


class Axes:
    """How many channels, slices and times a TIFF stack has, and in which order its pages count them."""

    def __init__(self, order: str, sizes: dict[str, int]) -> None:
        self.order, self.sizes = order, sizes  # order: the axis that varies fastest comes first

    @property
    def pages(self) -> int:
        """Pages that these axes need."""
        return self.sizes["C"] * self.sizes["Z"] * self.sizes["T"]

    def time_order(self, pages: list[int], name: str) -> tuple[list[int], str | None]:
        """The pages along the time axis (the slices, if there is only one time), and what was left out."""
        along = "T" if self.sizes["T"] > 1 else "Z" if self.sizes["Z"] > 1 else "C"
        chosen, dropped = [], [axis for axis in "CZ" if axis != along and self.sizes[axis] > 1]
        for number, page in enumerate(pages):
            rest, place = number, {}
            for axis in self.order:
                rest, place[axis] = divmod(rest, self.sizes[axis])
            if all(place[axis] == 0 for axis in dropped):
                chosen.append(page)
        if not dropped:
            return chosen, None
        words = {"C": "channel", "Z": "slice"}
        left = " and ".join(f"{words[axis]} 0 of {self.sizes[axis]}" for axis in dropped)
        return (
            chosen,
            f"{name} is read along its {'time' if along == 'T' else 'slice'} axis ({len(chosen)} frames): {left} only",
        )


def stack_axes(description: str) -> Axes | None:
    """The axes that ImageJ or OME state in a TIFF's description; None if neither does.

    >>> stack_axes("ImageJ=1.53\\nimages=20\\nframes=20").sizes
    {'C': 1, 'Z': 1, 'T': 20}
    """
    if description.startswith("ImageJ="):
        stated = dict(re.findall(r"^(images|channels|slices|frames)=(\d{1,9})$", description, re.MULTILINE))
        sizes = {
            axis: int(stated.get(word, 1)) for axis, word in zip("CZT", ("channels", "slices", "frames"), strict=True)
        }
        if int(stated.get("images", 1)) > 1 == sizes["C"] * sizes["Z"] * sizes["T"]:
            sizes["T"] = int(stated["images"])
        return Axes("CZT", sizes) if min(sizes.values()) > 0 else None
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", description)
    if pixels:
        stated = dict(re.findall(r'\b(SizeC|SizeZ|SizeT|DimensionOrder)="(\w+)"', pixels[0]))
        order = stated.get("DimensionOrder", "XYCZT")
        samples = re.search(r'SamplesPerPixel="(\d+)"', description)
        if sorted(order) == sorted("XYCZT") and all(stated.get(f"Size{a}", "").isdigit() for a in "CZT"):
            sizes = {axis: int(stated[f"Size{axis}"]) for axis in "CZT"}
            if samples and int(samples[1]) > 0 and sizes["C"] % int(samples[1]) == 0:
                sizes["C"] //= int(samples[1])  # colours of one page are no channels of their own
            return Axes(order[2:], sizes) if min(sizes.values()) > 0 else None
    return None


def is_animated_webp(path: Path) -> bool:
    """Whether the file is a WebP with more than one picture (VP8X header, animation flag)."""
    try:
        with path.open("rb") as file:
            head = file.read(21)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & 0x02)


def is_stack(path: Path) -> bool:
    """Whether the file is a TIFF that holds more than one picture."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    try:
        with Image.open(path) as image:
            axes = stack_axes(str(getattr(image, "tag_v2", {}).get(270, "")))
            return getattr(image, "n_frames", 1) > 1 or (axes is not None and axes.pages > 1)
    except UNREADABLE:
        return False


def image_values(image: Image.Image) -> np.ndarray:
    """A PIL image as an array in its own depth: [H,W,3] or [H,W,4] uint8, or grey [H,W] of any dtype."""
    image = ImageOps.exif_transpose(image)
    if image.mode not in ("RGB", "RGBA", "L", "I", "F") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    values = np.asarray(image)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _full(image: Image.Image, values: np.ndarray) -> float | None:
    """The greatest value that the pixels of such an image can have; None if that says nothing."""
    if values.dtype == np.uint16 or (image.format == "PNG" and values.dtype.kind == "i"):
        return 65535.0  # 16-bit grey PNGs come as 32-bit integers from some versions of Pillow
    return 255.0 if values.dtype == np.uint8 else None


def _is_wide_png(path: Path) -> bool:
    """Whether the file is a PNG with colours of 16 bits, of which Pillow keeps 8."""
    if path.suffix.lower() != ".png":
        return False
    with path.open("rb") as file:
        head = file.read(26)
    return head[:4] == b"\x89PNG" and len(head) == 26 and head[24] == 16 and head[25] in (2, 4, 6)


def _is_wide_tiff(image: Image.Image) -> bool:
    """Whether the image is a TIFF with several channels of 16 bits, of which Pillow keeps 8."""
    bits = getattr(image, "tag_v2", {}).get(258, ()) if image.format == "TIFF" else ()
    return isinstance(bits, tuple) and len(bits) > 1 and max(bits) > 8


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _own_size(image: Image.Image, count: int) -> list[int]:
    """The pages that are pictures of the size of the first: thumbnails and reduced copies (subfile type 1) are not."""
    pages, size = [], None
    for page in range(count):
        image.seek(page)
        size = size or image.size
        if image.size == size and not int(getattr(image, "tag_v2", {}).get(254, 0)) & 1:
            pages.append(page)
    return pages or [0]


def _tifffile(path: Path, why: str) -> Any:
    """A function that gives a page of a TIFF by its number, by tifffile."""
    try:
        import tifffile
    except ImportError as error:
        raise MissingExtra(f'{path} {why}: to read it, pip install "tapkit[tiff]"') from error
    try:
        with tifffile.TiffFile(path) as file:
            pages = [page for page in file.pages if page is not None]
            stack = file.series[0]
            if len(pages) >= stack.size // max(pages[0].size, 1):
                return lambda page: tifffile.imread(path, key=page)
            stored = np.dtype(pages[0].dtype).newbyteorder(file.byteorder)
            shape = (stack.size // pages[0].size, *pages[0].shape)
            whole = np.memmap(path, stored, "r", pages[0].dataoffsets[0], shape)
            return lambda page: whole[page].astype(stored.newbyteorder("="))
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise VideoError(f"{path} is not a TIFF that can be read: {error}") from error
