"""TAP-Vid and RoboTAP pickles as released, and a writer for them (specs/tapvid_benchmark.md section 2.1).

    DAVIS        tapvid_davis.pkl                 {name: clip}
    RGB-Stacking tapvid_rgb_stacking.pkl          [clip, ...]
    RoboTAP      robotap_split0.pkl, ...          {name: clip} each; the set is their union
    Kinetics     0000_of_0010.pkl, ... (made by the user)  [clip, ...] each, frames as JPEG

clip = {video: uint8 [T,H,W,3] or T encoded images, points: float [N,T,2] normalised, occluded: bool [N,T]}.
A list or a dict is taken for any of them. Pickles are not executed and not loaded (`datasets.pickles`): opening
a file reads its table of contents, a clip's frames are read from disk one by one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from tapkit import coords, storage
from tapkit.datasets.base import Clip, Dataset
from tapkit.datasets.frames import ArrayFrames, EncodedFrames, image_size
from tapkit.datasets.pickles import Blob, LazyArray, read_pickle
from tapkit.errors import StorageError
from tapkit.types import VideoInfo
from tapkit.types.tapvid_clip import BARE, is_bare, wrong_arrays
from tapkit.video.base import Source

EXPECTED_CLIPS = {"TAP-Vid DAVIS": 30, "TAP-Vid RGB-Stacking": 50, "RoboTAP": 265, "TAP-Vid Kinetics": 1189}
"""What the papers count; Kinetics is never complete (videos are deleted), so there it is only reported."""


class TapVidPickles(Dataset):
    """Clips of one or more pickles in the TAP-Vid layout."""

    citation = "Doersch et al., TAP-Vid, NeurIPS 2022"

    def __init__(self, files: Sequence[str | Path], name: str = "TAP-Vid") -> None:
        self.files = [Path(f) for f in files]
        self.name = name
        if not self.files:
            raise StorageError(f"{name}: no pickle files were given")
        self._contents: list[dict[str, Any]] | None = None
        self._where: dict[str, tuple[int, str]] = {}

    def names(self) -> Sequence[str]:
        """See `Dataset.names`."""
        self._read()
        return list(self._where)

    def missing(self) -> Mapping[str, str]:
        """See `Dataset.missing`: counted, not named, since the files do not list what they lack."""
        expected = EXPECTED_CLIPS.get(self.name)
        lacking = 0 if expected is None else expected - len(self.names())
        return {f"{lacking} clips": f"{len(self.names())} of {expected} are in the files"} if lacking > 0 else {}

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`."""
        contents = self._read()
        if name not in self._where:
            raise self.unknown(name)
        file, key = self._where[name]
        return clip_of(contents[file][key], name, self.files[file])

    def _read(self) -> list[dict[str, Any]]:
        if self._contents is None:
            self._contents = [_table(path) for path in self.files]
            several = len(self.files) > 1
            for number, table in enumerate(self._contents):
                for key in table:
                    # Lists have no names: the place in the file is the name, with the file's where there are many.
                    plain = key if not key.isdigit() or not several else f"{self.files[number].stem}-{key}"
                    self._where[plain if plain not in self._where else f"{plain} ({self.files[number].stem})"] = (
                        number,
                        key,
                    )
        return self._contents


def _table(path: Path) -> dict[str, Any]:
    """Clips of a file by name; members of a list are called 0000, 0001, ..."""
    content = read_pickle(path)
    if isinstance(content, list):
        return {f"{i:04d}": clip for i, clip in enumerate(content)}
    if isinstance(content, dict):
        if is_bare(content):
            raise StorageError(f"{path}: {BARE}")
        return {str(key): clip for key, clip in content.items()}
    raise StorageError(f"{path} holds neither a list nor a dict of clips; is it a TAP-Vid pickle?")


def clip_of(entry: Any, name: str, path: Path) -> Clip:
    """One clip of a pickle that was read by `read_pickle`."""
    lacking = [key for key in ("video", "points", "occluded") if not isinstance(entry, dict) or key not in entry]
    if lacking:
        raise StorageError(f"{path}: clip {name!r} has no {' and no '.join(lacking)}")
    points, occluded = (_numbers(entry[key], f"{path}: {key} of clip {name!r}") for key in ("points", "occluded"))
    video = _Video(entry["video"], name, path)
    if why := wrong_arrays(points, occluded, video.frames):
        raise StorageError(f"{path}: clip {name!r} {why}")
    xy = coords.from_normalized(points.astype(np.float64), video.size)
    return Clip(name, xy, ~occluded.astype(bool), video.size, video.open, stamp=video.stamp)


def _numbers(value: Any, what: str) -> np.ndarray:
    if not isinstance(value, LazyArray) or value.dtype.kind not in "biuf":
        raise StorageError(f"{what} is not an array of numbers")
    return np.array(value.open())


class _Video:
    """The video of a clip: frames in an array, or encoded images."""

    def __init__(self, value: Any, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.array: LazyArray | None = None
        self.images: list[Any] = []
        if isinstance(value, LazyArray) and value.dtype == np.uint8 and len(value.shape) == 4 and value.shape[3] == 3:
            self.array = value
            self.frames, self.size = value.shape[0], (value.shape[1], value.shape[2])
            self.stamp = f"array {list(value.shape)}"
            return
        encoded = isinstance(value, list) or (isinstance(value, LazyArray) and value.dtype.kind in "SO")
        self.images = (value if isinstance(value, list) else value.items()) if encoded else []
        if not self.images or not all(isinstance(image, (bytes, Blob)) for image in self.images):
            raise StorageError(
                f"{path}: the video of clip {name!r} is {_what(value)}neither uint8 [T,H,W,3] nor encoded images"
            )
        self.frames = len(self.images)
        self.size = image_size(_bytes(self.images[0]), f"{path}: frame 0 of clip {name!r}")
        total = sum(image.length if isinstance(image, Blob) else len(image) for image in self.images)
        self.stamp = f"{self.frames} images, {total} bytes"

    def open(self) -> Source:
        """Its frames, read from the file when they are asked for."""
        info = VideoInfo(self.size[1], self.size[0], frames=self.frames)
        if self.array is not None:
            return ArrayFrames(self.array.open(), info)
        return EncodedFrames(_LazyImages(self.images), info)


def _what(value: Any) -> str:
    """What a video is that cannot be taken, as the beginning of a sentence."""
    if isinstance(value, LazyArray) and value.dtype.kind == "f":
        return f"{value.dtype} frames {list(value.shape)}, "
    if isinstance(value, list) and value and all(isinstance(frame, LazyArray) for frame in value):
        return f"a list of {len(value)} arrays (numpy.stack makes one of them), "
    return ""


class _LazyImages(Sequence[bytes]):
    """Encoded images, each read when it is indexed."""

    def __init__(self, images: Sequence[Any]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        return _bytes(self.images[index])


def _bytes(image: bytes | Blob) -> bytes:
    return image.read() if isinstance(image, Blob) else image


# -- writing --------------------------------------------------------------------------------------


def write_tapvid(path: str | Path, clips: Iterable[Clip], named: bool = True) -> int:
    """Write a TAP-Vid pickle, a dict by name or (`named` False) a list; returns how many clips it got.

    One frame is in memory at a time: the pickle is written instruction by instruction. `pickle.load` reads it,
    and so does every program that reads TAP-Vid. Points are float32, normalised; positions that are not known
    become 0, as in the released files.
    """
    count = 0
    with storage.atomic(path) as part, open(part, "wb") as file:
        file.write(b"\x80\x04" + (b"}" if named else b"]"))
        for clip in clips:
            file.write(_text(clip.name) if named else b"")
            _write_clip(file, clip)
            file.write(b"s" if named else b"a")
            count += 1
        file.write(b".")
    return count


def _write_clip(file: IO[bytes], clip: Clip) -> None:
    """The dict of one clip, left on the stack of the pickle."""
    height, width = clip.size
    points = coords.to_normalized(np.nan_to_num(clip.xy.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0), clip.size)
    file.write(b"}" + _text("video"))
    _array_head(file, (clip.frames, height, width, 3), "u1", clip.frames * height * width * 3)
    written = 0
    with clip.open() as source:
        for frame in source.frames(0, clip.frames):
            if frame.image.shape != (height, width, 3):
                raise StorageError(f"clip {clip.name!r}: frame {frame.index} is not {width}x{height}")
            file.write(np.ascontiguousarray(frame.image).tobytes())
            written += 1
    if written != clip.frames:
        raise StorageError(f"clip {clip.name!r} has {written} frames but tracks of {clip.frames}")
    file.write(b"tbs")
    for key, array, kind in (("points", points.astype("<f4"), "f4"), ("occluded", ~clip.visible, "b1")):
        file.write(_text(key))
        _array_head(file, array.shape, kind, array.nbytes)
        file.write(array.tobytes() + b"tbs")


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _array_head(file: IO[bytes], shape: tuple[int, ...], kind: str, size: int) -> None:
    """All of a numpy array but its bytes: those follow, then the instructions TUPLE and BUILD ("tb")."""
    order = "<" if kind[1] != "1" else "|"
    file.write(
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"  # an empty array
        b"(K\x01"
        + _shape(shape)
        + b"cnumpy\ndtype\n"
        + _text(kind)
        + b"\x89\x88\x87R(K\x03"
        + _text(order)
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89\x8e"
        + struct.pack("<Q", size)
    )


def _shape(shape: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", n) for n in shape) + b"t"
