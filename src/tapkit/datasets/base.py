"""What a benchmark is to the rest of tapkit: named clips, each read when it is asked for."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np

from tapkit import storage
from tapkit.coords import Size
from tapkit.errors import ShapeError, StorageError, UsageError
from tapkit.video.base import Source

Place = TypeVar("Place")


@dataclass(frozen=True, eq=False)
class Clip:
    """One annotated video: its ground truth in memory, its frames on demand.

    Arrays are read-only; N tracks, T frames; positions are (x, y) pixels of the video, corner origin.
    """

    name: str
    xy: np.ndarray
    """[N,T,2] float32; NaN or filler where the position is not known."""
    visible: np.ndarray
    """[N,T] bool."""
    size: Size
    """(height, width) of the video."""
    open: Callable[[], Source]
    """Opens the frames; may be called often, nothing is held between calls."""
    counted: np.ndarray | None = None
    """[N,T] bool: entries whose ground truth may be scored; None: all of them."""
    valid: np.ndarray | None = None
    """[N,T] bool: the position is known even if hidden (synthetic data); None: known exactly where visible."""
    mask_area: np.ndarray | None = None
    """[T] float64 area of the object in square pixels (BADJA); None: not part of the set."""
    in_view: np.ndarray | None = None
    """[N,T] bool: annotated as in the picture, seen or hidden (EgoPoints); None: not part of the set."""
    out_of_view: np.ndarray | None = None
    """[N,T] bool: annotated as outside the picture (EgoPoints); None: not part of the set."""
    queries: tuple[np.ndarray, np.ndarray] | None = None
    """(track [Q], frame [Q]) where the set itself says what is asked; None: the protocol decides."""
    stamp: str = ""
    """What identifies the pixels without reading them (file names and sizes)."""

    def __post_init__(self) -> None:
        xy, visible = np.array(self.xy, np.float32), np.array(self.visible, bool)
        if xy.ndim != 3 or xy.shape[2] != 2 or visible.shape != xy.shape[:2]:
            raise ShapeError(
                f"clip {self.name!r}: xy must be [N,T,2] and visible [N,T], got {list(xy.shape)}, {list(visible.shape)}"
            )
        unknown = visible & ~np.isfinite(xy).all(-1)
        if unknown.any():
            track, frame = (int(i[0]) for i in np.nonzero(unknown))
            raise UsageError(f"clip {self.name!r}: track {track} is visible on frame {frame} but has no position there")
        arrays = {"xy": xy, "visible": visible}
        for name in ("counted", "valid", "in_view", "out_of_view"):
            value = getattr(self, name)
            if value is not None:
                arrays[name] = np.array(value, bool)
                if arrays[name].shape != visible.shape:
                    raise ShapeError(f"clip {self.name!r}: {name} must be [N,T], got {list(np.shape(value))}")
        for name, array in arrays.items():
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        """N."""
        return int(self.xy.shape[0])

    @property
    def frames(self) -> int:
        """T."""
        return int(self.xy.shape[1])

    def fingerprint(self) -> str:
        """Hash of the annotation, the size and the stamp: 16 hexadecimal digits, the same on every machine."""
        digest = hashlib.sha256(
            f"{self.name}|{self.size}|{self.xy.shape}|{self.stamp}".encode("utf-8", "surrogatepass")
        )
        digest.update(np.ascontiguousarray(np.where(self.visible[..., None], self.xy, 0.0), "<f4").tobytes())
        digest.update(np.packbits(self.visible).tobytes())
        if self.counted is not None:
            digest.update(np.packbits(self.counted).tobytes())
        return digest.hexdigest()[:16]


class Finding(NamedTuple):
    """One thing that `tapkit data check` has to say."""

    level: str
    """"ok", "missing", "damaged", "bad" (known to be defective) or "note"."""
    where: str
    """File or clip."""
    what: str
    """One sentence."""


def _told(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same method of a dataset; what libraries raise becomes `StorageError`."""

    @wraps(method)
    def read(self: Dataset, *arguments: Any) -> Any:
        which = f"clip {arguments[0]!r} of " if arguments else ""
        with storage.reading(f"{which}{self.name}", "as that benchmark is released"):
            return method(self, *arguments)

    return read


class Dataset(ABC):
    """A benchmark on disk. Opening it is cheap; a clip is read when it is asked for, and not kept."""

    name: str
    """As printed in results, for instance "TAP-Vid DAVIS"."""
    metrics: tuple[str, ...] = ("tapvid",)
    """Which families of figures the field reports on it: tapvid, pointodyssey, pck, egopoints."""
    query_mode: str | None = None
    """Query mode of the papers where there is only one; None: any."""
    resolution: str = "256x256"
    """What trackers are handed by the benchmark's own protocol: "HxW" by the official resize, or "native"."""
    points: Literal["auto", "joint", "single"] = "auto"
    """Whether queries are asked together by the benchmark's own protocol (`evaluation.protocol.Protocol.points`)."""
    citation: str = ""

    def __init_subclass__(cls) -> None:
        """Whatever a reader, also one of another package, raises over a damaged file becomes one sentence."""
        super().__init_subclass__()
        for name in ("names", "missing", "clip"):
            if name in vars(cls):
                setattr(cls, name, _told(vars(cls)[name]))

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Clips that are there, in a fixed order."""

    @abstractmethod
    def clip(self, name: str) -> Clip:
        """Read one. Raises `UsageError` for an unknown name, `StorageError` or `VideoError` for damage."""

    def missing(self) -> Mapping[str, str]:
        """Clips that the annotation names but that cannot be read here: name -> why."""
        return {}

    def check(self) -> Iterator[Finding]:
        """Read everything once and say what is there, missing, damaged or known to be bad."""
        from tapkit.datasets.check import check_clips

        yield from check_clips(self)

    def __len__(self) -> int:
        return len(self.names())

    def __iter__(self) -> Iterator[Clip]:
        """One clip after the other; none is kept."""
        for name in self.names():
            yield self.clip(name)

    def unknown(self, name: str) -> UsageError:
        """The error for a clip that is not in the set."""
        return UsageError(
            f"{self.name} has no clip {name!r}; it has {len(self)}: {', '.join(list(self.names())[:4])}, ..."
        )


class Listed(Dataset, Generic[Place]):
    """A benchmark that knows from the start which clips it has, and which of them cannot be read here.

    Args:
        places: where each clip is, by its name; in the order in which they are named.
        missing: those that cannot be read: name -> why.
    """

    def __init__(self, places: Mapping[str, Place], missing: Mapping[str, str]) -> None:
        self._places, self._missing = dict(places), dict(missing)

    def names(self) -> Sequence[str]:
        """See `Dataset.names`."""
        return [name for name in self._places if name not in self._missing]

    def missing(self) -> Mapping[str, str]:
        """See `Dataset.missing`."""
        return dict(self._missing)

    def place(self, name: str) -> Place:
        """Where a clip is. Raises `UsageError` for an unknown name, `StorageError` for one that cannot be read."""
        if name in self._missing:
            raise StorageError(f"clip {name!r} of {self.name}: {self._missing[name]}")
        if name not in self._places:
            raise self.unknown(name)
        return self._places[name]
