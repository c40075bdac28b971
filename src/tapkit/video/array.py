"""Videos that are in memory: arrays, tensors, lists of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tapkit.coords import Size
from tapkit.errors import ShapeError
from tapkit.types import VideoInfo
from tapkit.video.base import DeepFrame, Depth, Frame, Source, frame_range, three_channels
from tapkit.video.layout import SCANNED, ValueRange, as_numpy, find_layout, numpy_dtype, to_rgb
from tapkit.video.resize import resize_array


class ArraySource(Source):
    """A video held by someone else (numpy, torch on any device, zarr, h5py, memmap): converted frame by frame."""

    def __init__(
        self,
        array: Any,
        *,
        fps: Fraction | None = None,
        pixel_aspect: Fraction | None = None,
        start_frame: int = 0,
        layout: str | None = None,
        value_range: float | tuple[float, float] | None = None,
    ) -> None:
        """Wrap `array`; see `open_video` for `layout` and `value_range`.

        Raises ShapeError where the axes and UsageError where the meaning of the values is not clear.
        """
        self._array = array
        shape = tuple(int(n) for n in array.shape)
        self._layout = find_layout(shape, layout)
        sizes = dict(zip(self._layout, shape, strict=True))
        self._count = sizes.get("T", 1)
        if self._count == 0 or sizes["H"] == 0 or sizes["W"] == 0:
            raise ShapeError(f"the array {list(shape)} ({self._layout}) holds no picture")
        if value_range is not None:
            self._range = ValueRange.stated(value_range)
        else:
            self._range = ValueRange.found(numpy_dtype(array), *self._extremes(int(np.prod(shape, dtype=np.int64))))
        self.info = VideoInfo(
            width=sizes["W"],
            height=sizes["H"],
            fps=fps or Fraction(25),
            frames=self._count,
            pixel_aspect=pixel_aspect or Fraction(1),
            start_frame=start_frame,
        )

    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1, size: Size | None = None
    ) -> Iterator[Frame]:
        """See `Source.frames`."""
        wanted = frame_range(self._count, start, stop, step)
        return (self._frame(index, size or self.info.size) for index in wanted)

    @property
    def depth(self) -> Depth | None:
        """See `Source.depth`."""
        dtype = np.dtype(numpy_dtype(self._array))
        if dtype in (np.dtype(np.uint8), np.dtype(np.bool_)):
            return None
        return Depth(dtype, self._range.black, self._range.white, False)

    def deep_frames(self, start: int = 0, stop: int | None = None) -> Iterator[DeepFrame]:
        """See `Source.deep_frames`."""
        if self.depth is None:
            yield from super().deep_frames(start, stop)
            return
        for index in frame_range(self._count, start, stop):
            yield DeepFrame(index, self.info.time_of(index), three_channels(self._picture(index)))

    def _frame(self, index: int, size: Size) -> Frame:
        image = to_rgb(self._range.to_uint8(self._picture(index), f"frame {index}"))
        return Frame(index, self.info.time_of(index), resize_array(image, size))

    def _picture(self, index: int) -> np.ndarray:
        """Frame `index` as it is, [H,W,C] or [H,W]."""
        chosen = tuple({"T": index, "B": 0}.get(axis, slice(None)) for axis in self._layout)
        order = [axis for axis in self._layout if axis not in "TB"]
        picture = as_numpy(self._array[chosen])
        return picture.transpose([order.index(axis) for axis in "HWC" if axis in order])

    def _extremes(self, values: int) -> tuple[float, float]:
        """The least and the greatest value, of all frames or of 32 of them; NaN where there is one."""
        if numpy_dtype(self._array) in (np.dtype(np.uint8), np.dtype(np.bool_)):
            return 0.0, 0.0
        looked_at = range(self._count)
        if values > SCANNED and self._count > 32:
            looked_at = np.linspace(0, self._count - 1, 32).astype(int)  # type: ignore[assignment]
        pictures = (self._picture(int(index)) for index in looked_at)
        extremes = np.array([(picture.min(), picture.max()) for picture in pictures], np.float64)
        return float(extremes[:, 0].min()), float(extremes[:, 1].max())


class ListSource(Source):
    """A sequence of pictures: arrays, tensors or PIL images of one size, each converted when it is asked for."""

    def __init__(
        self,
        pictures: Sequence[Any],
        *,
        fps: Fraction | None = None,
        pixel_aspect: Fraction | None = None,
        start_frame: int = 0,
        layout: str | None = None,
        value_range: float | tuple[float, float] | None = None,
    ) -> None:
        """Wrap `pictures`; `layout` is that of one picture ("HWC", "CHW", "HW")."""
        if not len(pictures):
            raise ShapeError("an empty list is not a video: it holds no picture")
        self._pictures = pictures
        self._to_rgb = picture_reader(pictures[0], layout, value_range, pictures)
        first = self._to_rgb(pictures[0], 0)
        self.info = VideoInfo(
            width=first.shape[1],
            height=first.shape[0],
            fps=fps or Fraction(25),
            frames=len(pictures),
            pixel_aspect=pixel_aspect or Fraction(1),
            start_frame=start_frame,
        )

    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1, size: Size | None = None
    ) -> Iterator[Frame]:
        """See `Source.frames`. Raises ShapeError for a picture of another size than the first."""
        wanted = frame_range(len(self._pictures), start, stop, step)
        return (self._frame(index, size or self.info.size) for index in wanted)

    def _frame(self, index: int, size: Size) -> Frame:
        image = self._to_rgb(self._pictures[index], index)
        check_size(image, self.info, index)
        return Frame(index, self.info.time_of(index), resize_array(image, size))


def check_size(image: np.ndarray, info: VideoInfo, index: int) -> None:
    """Raise ShapeError unless `image` [H,W,3] has the video's size."""
    if image.shape[:2] != info.size:
        raise ShapeError(
            f"frame {index} is {image.shape[1]}x{image.shape[0]}, but the video began with {info.width}x{info.height}: "
            "all frames must have one size"
        )


def picture_reader(
    first: Any,
    layout: str | None = None,
    value_range: float | tuple[float, float] | None = None,
    known: Sequence[Any] = (),
) -> Callable[[Any, int], np.ndarray]:
    """A function (picture, index) -> RGB [H,W,3] uint8, a new array, for pictures like `first`.

    Layout and range are settled once, the range from all `known` pictures (32 of many) or else from the first.
    """
    sample = _plain(first)
    axes = find_layout(sample.shape, layout, picture=True)
    drop = tuple(0 if axis in "TB" else slice(None) for axis in axes)
    order = [axis for axis in axes if axis not in "TB"]
    turn = [order.index(axis) for axis in "HWC" if axis in order]
    if value_range is not None:
        values = ValueRange.stated(value_range)
    elif sample.dtype in (np.uint8, np.bool_):
        values = ValueRange.found(sample.dtype, 0, 0)
    else:
        step = max(len(known) // 32, 1)
        looked_at = [_plain(picture) for picture in known[::step]] or [sample]
        extremes = np.array([(p.min(), p.max()) for p in looked_at], np.float64)
        values = ValueRange.found(sample.dtype, float(extremes[:, 0].min()), float(extremes[:, 1].max()))

    def read(picture: Any, index: int) -> np.ndarray:
        plain = _plain(picture)
        if plain.ndim != len(drop):
            raise ShapeError(f"frame {index} has shape {list(plain.shape)}, but the first had {list(sample.shape)}")
        return to_rgb(values.to_uint8(plain[drop].transpose(turn), f"frame {index}"))

    return read


def _plain(picture: Any) -> np.ndarray:
    """A picture as an array with its own axes and values."""
    if hasattr(picture, "convert"):  # a PIL image
        from tapkit.video.stills import image_values

        return image_values(picture)
    plain = as_numpy(picture)
    if plain.dtype.kind not in "buif":
        raise ShapeError(f"a frame must be an array, a tensor or a PIL image, got {type(picture).__name__}")
    return plain
