"""Image sequences: a folder, a pattern or a list of image files, the pages of one, the frames of a DICOM file."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tapkit import storage
from tapkit.coords import Size
from tapkit.errors import MissingExtra, VideoError, VideoWarning
from tapkit.types import VideoInfo
from tapkit.video.base import DeepFrame, Depth, Frame, Source, frame_range, three_channels
from tapkit.video.cache import FrameStack
from tapkit.video.layout import ValueRange, to_rgb
from tapkit.video.numbers import natural_key
from tapkit.video.resize import resize_array
from tapkit.video.stills import DECODED, UNREADABLE, Pictures
from tapkit.video.value_range import Levels, find_levels, stated_levels

RUN = 32
"""Pictures that reading backwards decodes at a time where each needs those before it."""


class FolderSource(Source):
    """Pictures in their order, one frame each, opened when they are asked for.

    `info.start_frame` is the number of the first frame as `tapkit.video.numbers` finds it in the names. A picture that
    cannot be read shows the one before it (one VideoWarning). Pictures of more than 8 bits have one black and one white
    for the whole clip, see `tapkit.video.value_range`; those of OpenEXR, which are linear light, are shown through the
    curve of sRGB with white at 1.0; DPX code values are taken as they are, whether linear or log.
    """

    def __init__(
        self,
        pictures: Pictures,
        *,
        fps: Fraction | None = None,
        pixel_aspect: Fraction | None = None,
        start_frame: int | None = None,
        value_range: float | tuple[float, float] | None = None,
        path: str,
    ) -> None:
        """Wrap `pictures`, already in order. Raises VideoError if none of them can be read."""
        if not len(pictures):
            raise VideoError("there are no image files to read")
        self._pictures, self._path = pictures, path
        self._warned = False
        first = next((v for v in map(self._values, range(len(pictures))) if v is not None), None)
        if first is None:
            raise VideoError(f"none of the {len(pictures)} files in {path} is an image that can be read")
        self._levels = self._find_levels(first, value_range)
        for note in (pictures.note, pictures.numbers.note if start_frame is None else None, self._levels.note):
            if note:
                warnings.warn(note, VideoWarning, stacklevel=5)
        self.info = VideoInfo(
            width=first.shape[1],
            height=first.shape[0],
            fps=fps or pictures.fps or Fraction(25),
            frames=len(pictures),
            times=None if fps else pictures.times,
            pixel_aspect=pixel_aspect or pictures.pixel_aspect or Fraction(1),
            start_frame=start_frame if start_frame is not None else pictures.numbers.first,
            frame_step=pictures.numbers.step if start_frame is None else 1,
            path=path,
        )
        self.rate_known = bool(fps or pictures.fps)
        self._first = first

    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1, size: Size | None = None
    ) -> Iterator[Frame]:
        """See `Source.frames`. Raises VideoError for an image of another size than the first."""
        wanted = frame_range(len(self._pictures), start, stop, step)
        size = size or self.info.size
        return self._backwards(wanted, size) if step < 0 and self._pictures.forwards else self._read(wanted, size)

    @property
    def depth(self) -> Depth | None:
        """See `Source.depth`."""
        if self._first.dtype == np.uint8:
            return None
        linear = self._pictures.linear and self._first.dtype.kind == "f"
        return Depth(self._first.dtype, self._levels.range.black, self._levels.range.white, linear)

    def deep_frames(self, start: int = 0, stop: int | None = None) -> Iterator[DeepFrame]:
        """See `Source.deep_frames`."""
        for index in frame_range(len(self._pictures), start, stop):
            yield DeepFrame(index, self.info.time_of(index), three_channels(self._checked(index)))

    def identity(self) -> dict[str, Any]:
        """See `Source.identity`: the range of values, and names, sizes and times of change of the files."""
        digest = hashlib.sha256()
        names = (self._pictures.name(index) for index in range(len(self._pictures)))
        for name in sorted({re.sub(r"^(page|picture|frame) \d+ of ", "", name) for name in names}):
            if os.path.isfile(name):
                file = os.stat(name)
                digest.update(f"{name}\0{file.st_size}\0{file.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
        return {"levels": [self._levels.range.black, self._levels.range.white], "files": digest.hexdigest()}

    def close(self) -> None:
        """Release the files; a second call does nothing."""
        self._pictures.close()

    def _backwards(self, wanted: range, size: Size) -> Iterator[Frame]:
        while wanted:
            with FrameStack(256 << 20) as stack:
                for frame in self._read(wanted[:RUN][::-1], size):
                    stack.push(frame)
                yield from stack.pop_all()
            wanted = wanted[RUN:]

    def _read(self, wanted: range, size: Size) -> Iterator[Frame]:
        for index in wanted:
            yield Frame(index, self.info.time_of(index), resize_array(self._shown(self._checked(index)), size))

    def _checked(self, index: int) -> np.ndarray:
        """The values of a picture, or of the one before it that can be read."""
        values = self._values(index)
        before = index
        while values is None and before > 0:
            before -= 1
            values = self._values(before)
        values = self._first if values is None else values
        if values.shape[:2] != self.info.size:
            raise VideoError(
                f"{self._pictures.name(before)} is {values.shape[1]}x{values.shape[0]}, but the sequence began "
                f"with {self.info.width}x{self.info.height}: all images must have one size"
            )
        if (values.dtype == np.uint8) != (self._first.dtype == np.uint8):
            raise VideoError(
                f"{self._pictures.name(before)} has {values.dtype} values, but the sequence began with "
                f"{self._first.dtype}: all images must have one depth"
            )
        return values

    def _shown(self, values: np.ndarray) -> np.ndarray:
        """RGB [H,W,3] uint8 of a picture's own values."""
        if values.ndim == 3 and values.shape[2] == 2:  # grey with alpha
            values = values[..., :1]
        if self._pictures.linear and values.dtype.kind == "f":
            values = _srgb((values - self._levels.range.black) / (self._levels.range.white - self._levels.range.black))
            return to_rgb(Levels(ValueRange(0, 1)).to_uint8(values))
        return to_rgb(self._levels.to_uint8(values))

    def _find_levels(self, first: np.ndarray, value_range: float | tuple[float, float] | None) -> Levels:
        """Black and white, as the caller, the file or the values state them."""
        pictures = self._pictures
        if value_range is not None:
            return stated_levels(value_range, first, self._path)
        if pictures.stated is not None and first.ndim == 2:
            return Levels(pictures.stated)
        if pictures.linear and first.dtype.kind == "f" and _is_exposed(first):
            return Levels(ValueRange(0, 1))
        return find_levels(self._values, len(pictures), first, pictures.full, self._path)

    def _values(self, index: int) -> np.ndarray | None:
        """The picture's own values, None (and a warning, once) if it cannot be read."""
        try:
            return self._pictures.values(index)
        except MissingExtra:
            raise
        except UNREADABLE as error:  # what Pillow and FFmpeg raise for damaged files
            self._warn(
                f"{self._pictures.name(index)} (frame {index}) is not an image that can be read ({error}); "
                "the frame before it is shown instead, as for every further one"
            )
            return None

    def _warn(self, message: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(message, VideoWarning, stacklevel=2)


def _srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light 0..1 through the curve of sRGB (IEC 61966-2-1); beyond is clipped, NaN is black."""
    linear = np.clip(np.nan_to_num(linear, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _is_exposed(first: np.ndarray) -> bool:
    """Whether a linear picture is one to be looked at: not nearly black with white at 1.0, and mostly not beyond."""
    values = first[..., :3][np.isfinite(first[..., :3])]
    return bool(
        values.size and np.quantile(values, 0.99) >= 0.02 and np.quantile(values, 0.9) <= 1.5 and values.min() > -1
    )


def find_images(where: str | Path) -> list[Path]:
    """The image files of a folder, a glob pattern (`*`, `?`, `[...]`) or a printf pattern (`%04d`), in natural order.

    What exists is that folder, whatever characters its name has: a pattern's folders are only searched for by
    pattern if there is none of that very name. Hidden files and files of other kinds are left out. Raises VideoError
    if none is left.
    """
    path = Path(where)
    if path.is_dir():
        candidates = list(path.iterdir())
    elif numbered := re.search(r"%0?(\d*)d", path.name):
        parts = re.escape(path.name[: numbered.start()]), re.escape(path.name[numbered.end() :])
        name = re.compile(rf"{parts[0]}\d{{{min(int(numbered[1] or 1), 99)},}}{parts[1]}")
        candidates = [file for file in path.parent.glob("*") if name.fullmatch(file.name)]
    else:
        pattern = str(path)
        if path.parent.is_dir():
            pattern = str(Path(glob.escape(str(path.parent))) / path.name)
        candidates = [Path(name) for name in glob.glob(pattern, recursive=True)]
    endings = {*Image.registered_extensions(), *DECODED, ".dcm"}
    files = [f for f in candidates if f.suffix.lower() in endings and not f.name.startswith(".") and f.is_file()]
    if not files:
        others = sorted({file.suffix.lower() for file in candidates if file.is_file() and file.suffix})
        found = f", only {', '.join(others[:5])} files" if others else ""
        what = (
            f"there are no images in the folder {path}" if path.is_dir() else f"no image matches {storage.shown(path)}"
        )
        raise VideoError(what + found)
    return sorted(files, key=natural_key)
