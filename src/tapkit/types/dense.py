"""Dense: where every pixel (or every k-th) of one frame is in others. What `tapkit.load_dense` returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np

from tapkit.errors import ShapeError, UsageError
from tapkit.types.tracks import Provenance
from tapkit.types.video_info import VideoInfo

ARRAYS = ("xy", "visible", "confidence", "valid")
_BLOCK_BYTES = 64 << 20
_CELL_BYTES = 17
"""Of all arrays together."""


class DenseField(NamedTuple):
    """One entry: the cells of frame `first`, and what became of them on frame `second`."""

    first: int
    second: int
    xy: np.ndarray
    """[h,w,2] float32: where each cell's centre is on `second`; pixels, corner origin; NaN if not valid."""
    visible: np.ndarray
    """[h,w] float32, P(visible)."""
    confidence: np.ndarray
    """[h,w] float32."""
    valid: np.ndarray
    """[h,w] bool: whether the model was asked."""


class Lazy:
    """An array [T,...] that is read from disk where it is indexed along its first axis; `numpy.asarray` reads all."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, read: Callable[[int, int], np.ndarray]) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._read = read

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        first, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        if isinstance(first, slice):
            chosen = range(*first.indices(len(self)))
            if not len(chosen):
                return np.zeros((0, *self.shape[1:]), self.dtype)[(slice(None), *rest)]
            low, high = min(chosen), max(chosen) + 1
            block = self._read(low, high)[np.array(chosen) - low]
            return np.asarray(block[(slice(None), *rest)])
        if not isinstance(first, int | np.integer) or not -len(self) <= first < len(self):
            raise IndexError(f"frames are numbers or slices within 0..{len(self) - 1}, got {first!r}")
        place = int(first) % len(self)
        return np.asarray(self._read(place, place + 1)[0][rest])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[place] for place in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self._read(0, len(self))
        return whole if dtype is None else whole.astype(dtype)

    def __repr__(self) -> str:
        return f"Lazy({list(self.shape)}, {self.dtype})"


@dataclass(frozen=True, eq=False)
class Dense:
    """T entries, each the cells of a frame `first[t]` on a frame `second[t]`. Arrays are read when they are looked at.

    For the tracks of one frame's pixels, `first` is that frame throughout and `second` counts all frames of the clip.
    For optical flow they are the pairs that were computed.
    """

    kind: Literal["tracks", "flow"]
    first: np.ndarray
    """[T] int64: frames whose cells are followed."""
    second: np.ndarray
    """[T] int64: frames they are found on."""
    step: int
    """Pixels a side of a cell."""
    rows: int
    columns: int
    video: VideoInfo
    read: Callable[[str, int, int], np.ndarray]
    """read(name, start, stop): one of `ARRAYS` for some entries, [t,rows,columns(,2)]."""
    source: Provenance = field(default_factory=Provenance)
    path: str = ""

    def __post_init__(self) -> None:
        first, second = (np.array(part, np.int64) for part in (self.first, self.second))
        if first.ndim != 1 or first.shape != second.shape:
            raise ShapeError(f"first and second must be [T] both, got {list(first.shape)} and {list(second.shape)}")
        for name, part in (("first", first), ("second", second)):
            part.setflags(write=False)
            object.__setattr__(self, name, part)

    def __len__(self) -> int:
        """T."""
        return len(self.first)

    def __repr__(self) -> str:
        return (
            f"Dense({self.kind}, {len(self)} x {self.rows}x{self.columns} cells of {self.step} px, "
            f"{self.video.width}x{self.video.height}, model {self.source.model or 'unknown'})"
        )

    # -- what is small ------------------------------------------------------------------------------

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the video."""
        return self.video.size

    @property
    def fps(self) -> Fraction:
        """Of the video."""
        return self.video.fps

    @property
    def one_frame(self) -> bool:
        """Whether all entries are of the same frame's cells."""
        return len(self) > 0 and bool((self.first == self.first[0]).all())

    @property
    def frame(self) -> int:
        """The frame whose cells are followed. Raises `UsageError` where there are several."""
        if not self.one_frame:
            raise UsageError("these fields begin on different frames: look at first and second")
        return int(self.first[0])

    @property
    def start(self) -> np.ndarray:
        """Where the cells' centres are on their own frame, [h,w,2] float32."""
        x, y = ((np.arange(count) + 0.5) * self.step for count in (self.columns, self.rows))
        return np.stack(np.meshgrid(x, y), -1).astype(np.float32)

    # -- what is read -------------------------------------------------------------------------------

    @property
    def xy(self) -> Lazy:
        """[T,h,w,2] float32: pixels of the video, corner origin; NaN where not valid."""
        return self._lazy("xy")

    @property
    def visible(self) -> Lazy:
        """[T,h,w] float32, P(visible)."""
        return self._lazy("visible")

    @property
    def confidence(self) -> Lazy:
        """[T,h,w] float32."""
        return self._lazy("confidence")

    @property
    def valid(self) -> Lazy:
        """[T,h,w] bool."""
        return self._lazy("valid")

    def _lazy(self, name: str) -> Lazy:
        shape = (len(self), self.rows, self.columns)
        dtype = bool if name == "valid" else np.float32
        return Lazy((*shape, 2) if name == "xy" else shape, dtype, lambda start, stop: self.read(name, start, stop))

    def fields(self) -> Iterator[DenseField]:
        """All entries, one after the other; some megabytes are read at a time."""
        at_once = max(_BLOCK_BYTES // max(_CELL_BYTES * self.rows * self.columns, 1), 1)
        for begin in range(0, len(self), at_once):
            stop = min(begin + at_once, len(self))
            parts = [self.read(name, begin, stop) for name in ARRAYS]
            for place in range(begin, stop):
                arrays = (part[place - begin] for part in parts)
                yield DenseField(int(self.first[place]), int(self.second[place]), *arrays)

    def visible_at(self, visible: np.ndarray, confidence: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """Visible or not, bool, by the threshold of the model's authors or another."""
        return self.source.visible_at(visible, confidence, threshold)
