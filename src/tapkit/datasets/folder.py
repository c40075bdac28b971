"""tapkit's own benchmark format: one folder for each clip, a video or frames beside its tracks.

    ROOT/NAME/frames/00000.jpg ...   or   ROOT/NAME/video.mp4 (any ending that PyAV reads)
    ROOT/NAME/tracks.npz

tracks.npz holds (docs/benchmarks/folder_format.md):
    xy         float [N,T,2]  pixels of the frames, corner origin; NaN where not known
    visible    bool  [N,T]
    annotated  bool  [N,T]    optional: a human or the renderer gave this position
    counted    bool  [N,T]    optional: entries that may be scored (default: all)
    size       int   [2]      optional: (height, width); must agree with the frames
    fps        int   [2]      optional: numerator, denominator
Nothing in it is pickled. ROOT may also be a single clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import storage
from tapkit.datasets.base import Clip, Listed
from tapkit.datasets.frames import image_files, image_size, open_images
from tapkit.errors import StorageError, VideoError
from tapkit.video.base import Source

TRACKS = "tracks.npz"
KEYS = ("xy", "visible", "annotated", "counted", "size", "fps")


class FolderDataset(Listed[Path]):
    """Clips in tapkit's folder format under `root`."""

    resolution = "native"
    citation = "Clips in tapkit's folder format"

    def __init__(self, root: str | Path, name: str | None = None) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise StorageError(f"{self.root} is not a folder")
        self.name = name or self.root.resolve().name
        single = (self.root / TRACKS).is_file()
        found = [self.root] if single else sorted(p.parent for p in self.root.glob(f"*/{TRACKS}"))
        folders = {folder.resolve().name: folder for folder in found}
        blind = [
            n for n, folder in folders.items() if not image_files(folder / "frames") and video_file(folder) is None
        ]
        super().__init__(folders, dict.fromkeys(blind, "has tracks.npz but neither frames/ nor a video file"))

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`."""
        return read_clip(self.place(name), name)


def video_file(folder: Path) -> Path | None:
    """The file called video.*, if there is one."""
    found = sorted(p for p in folder.glob("video.*") if p.is_file())
    return found[0] if found else None


def read_clip(folder: Path, name: str) -> Clip:
    """One clip of the folder format."""
    arrays = read_arrays(folder / TRACKS, KEYS)
    for key in ("xy", "visible"):
        if key not in arrays:
            raise StorageError(f"{folder / TRACKS} has no array {key!r}; it needs xy [N,T,2] and visible [N,T]")
    xy, visible = arrays["xy"], arrays["visible"].astype(bool)
    fps = Fraction(*(int(v) for v in arrays["fps"])) if "fps" in arrays else Fraction(25)
    files = image_files(folder / "frames")
    if files:
        size, stamp = image_size(files[0]), f"{len(files)} images, {sum(f.stat().st_size for f in files)} bytes"
        count = len(files)

        def open_source() -> Source:
            return open_images(files, fps)
    else:
        path = video_file(folder)
        if path is None:
            raise VideoError(f"clip {name!r} has neither frames/ nor a video file")
        size, counted_frames, stamp = video_facts(path)
        count = xy.shape[1] if counted_frames is None else counted_frames
        video = path

        def open_source() -> Source:
            return open_video_file(video)

    if xy.ndim == 3 and xy.shape[1] != count:
        raise StorageError(f"clip {name!r} has {count} frames but tracks of {xy.shape[1]}; a frame may be missing")
    if "size" in arrays and tuple(arrays["size"].tolist()) != size:
        raise StorageError(
            f"clip {name!r}: tracks.npz says size {tuple(arrays['size'].tolist())}, the frames are {size}"
        )
    return Clip(name, xy, visible, size, open_source, counted=arrays.get("counted"), valid=_known(xy), stamp=stamp)


def _known(xy: np.ndarray) -> np.ndarray | None:
    """Where positions are known, if that is more than where points are visible."""
    return np.isfinite(xy).all(-1) if xy.ndim == 3 else None


def open_video_file(path: Path) -> Source:
    """A video file by tapkit's own reader."""
    from tapkit.video import open_video

    return open_video(path)


def video_facts(path: Path) -> tuple[tuple[int, int], int | None, str]:
    """(height, width), number of frames if known, stamp."""
    with open_video_file(path) as source:
        return source.info.size, source.info.frames, f"{path.name}, {path.stat().st_size} bytes"


def read_arrays(path: Path, keys: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays of a .npz; nothing is unpickled. `StorageError` in one sentence for anything that is not one."""
    with storage.reading(path, "an .npz of plain arrays"):
        return storage.read_npz(path, keys)


def write_clip(folder: str | Path, clip: Clip, **extra: Any) -> Path:
    """Write `clip` in the folder format: frames as PNG (exact), tracks.npz. Returns the folder.

    `extra` arrays are stored beside the documented ones. Frames are written one at a time; tracks.npz comes last, so a
    folder that has it is complete. Raises `StorageError`.
    """
    from PIL import Image

    target = Path(folder)
    with storage.atomic(target / "frames") as part, clip.open() as source:
        part.mkdir()
        fps = source.info.fps
        for frame in source.frames(0, clip.frames):
            Image.fromarray(frame.image).save(part / f"{frame.index:05d}.png", compress_level=4)
    arrays: dict[str, Any] = {
        "xy": clip.xy,
        "visible": clip.visible,
        "size": np.array(clip.size),
        "fps": np.array(fps.as_integer_ratio()),
    }
    if clip.counted is not None:
        arrays["counted"] = clip.counted
    write_arrays(target / TRACKS, {**arrays, **extra})
    return target


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a compressed .npz, all of it or nothing. Raises `StorageError`."""
    with storage.atomic(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, **arrays)
