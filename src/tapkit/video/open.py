"""One door for everything that is a video."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from tapkit import storage
from tapkit.errors import UsageError, VideoError
from tapkit.video.base import Source
from tapkit.video.span import part_of

Rate = Fraction | float | int | str


def open_video(
    video: Any,
    *,
    fps: Rate | None = None,
    pixel_aspect: Rate | None = None,
    start_frame: int | None = None,
    layout: str | None = None,
    value_range: float | tuple[float, float] | None = None,
    stream: int | None = None,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
    cache_bytes: int = 256 << 20,
    spill_bytes: int = 4 << 30,
) -> Source:
    """Open anything that is a video.

    Args:
        video: one of
            - a video file;
            - a folder of images, a pattern ("shot/*.png", "shot/%04d.png") or a list of image files
              (also OpenEXR and DPX);
            - a TIFF stack, an animated WebP, a DICOM file (extra `dicom`);
            - an array or tensor [T,H,W,3], [T,3,H,W], [1,T,3,H,W], grey [T,H,W], or with 1 or 4 channels;
            - a list of pictures (arrays, tensors, PIL images);
            - an iterator or generator of pictures (live: read once, forwards);
            - a camera, "camera:0" or its number, or a stream's address, "rtsp://..." (live);
            - a `Source`, which is returned as it is (or a part of it).
        fps: frames per second; overrides what the video says (25 where it says nothing). "30000/1001" is exact.
        pixel_aspect: width of a pixel divided by its height; overrides what the video says.
        start_frame: the number of the first frame in the user's own counting; overrides that of file names.
        layout: axes of an array as letters of BTHWC, where the shape leaves them open.
        value_range: (black, white) in the video's own values, or white alone; overrides what is taken from the values
            (files and images: see `tapkit.video.value_range`) or asked for (arrays).
        stream: which of a file's video streams, counted from 0; None: the one that it marks as default.
        start: the first frame to be used, counted from 0; it becomes frame 0.
        end: the frame before which the part ends; None: the last frame is in it.
        step: 2 uses every other frame, and so on; see `tapkit.video.span` for how frames are then numbered.
        cache_bytes: memory for decoded frames.
        spill_bytes: disk (temporary folder) for frames when reading backwards.

    Raises VideoError if it cannot be opened or holds no picture, ShapeError or UsageError for arrays that may mean
    several things or nothing. A video of which only a part can be used gives one VideoWarning.
    """
    if isinstance(video, Source):
        return part_of(video, start, end, step)
    exact: dict[str, Any] = {"fps": _positive("fps", fps), "pixel_aspect": _positive("pixel_aspect", pixel_aspect)}
    values: dict[str, Any] = {"layout": layout, "value_range": value_range}
    files: dict[str, Any] = {"stream": stream, "cache_bytes": cache_bytes, "spill_bytes": spill_bytes}
    source = _open(video, exact, values, start_frame, files)
    try:
        return part_of(source, start, end, step)
    except UsageError:
        source.close()
        raise


def _open(
    video: Any, exact: dict[str, Any], values: dict[str, Any], start_frame: int | None, files: dict[str, Any]
) -> Source:
    """The whole source, by what kind of thing `video` is."""
    if isinstance(video, os.PathLike):
        video = os.fspath(video)
    if isinstance(video, (bool, bytes)):
        raise UsageError(f"{video!r} is not a video: give a path, an address, an array or frames")
    if isinstance(video, int):
        video = f"camera:{video}"
    stored = {**exact, "value_range": values["value_range"]}
    if isinstance(video, str):
        if _is_live(video):
            from tapkit.video.live import open_live

            return open_live(video, **exact)
        with _named([video]):
            return _open_path(video, stored, start_frame, files)
    if hasattr(video, "shape") and hasattr(video, "dtype"):
        from tapkit.video.array import ArraySource

        return ArraySource(video, **exact, **values, start_frame=start_frame or 0)
    if isinstance(video, Sequence) and len(video) and all(isinstance(item, (str, os.PathLike)) for item in video):
        with _named(video):
            return _open_images([Path(item) for item in video], stored, start_frame, None)
    if isinstance(video, Sequence):
        from tapkit.video.array import ListSource

        return ListSource(video, **exact, **values, start_frame=start_frame or 0)
    if isinstance(video, Iterable):
        from tapkit.video.live import IteratorSource

        return IteratorSource(iter(video), **exact, **values, start_frame=start_frame or 0)
    raise UsageError(f"a {type(video).__name__} is not a video: give a path, an address, an array or frames")


@contextmanager
def _named(names: Sequence[str | os.PathLike[str]]) -> Iterator[None]:
    """Names that no file can have, and folders that may not be looked into, as one sentence. Raises `VideoError`."""
    for name in names:
        if not storage.nameable(os.fspath(name)):
            raise VideoError(f"{storage.shown(os.fspath(name))} is no name that a file can have")
    try:
        yield
    except OSError as error:
        where = storage.shown(error.filename or os.fspath(names[0]))
        raise VideoError(f"{where} cannot be opened: {storage.reason(error)}") from error


def _is_live(name: str) -> bool:
    """Whether `name` is a camera or an address (of two letters at least: C: is a drive)."""
    return re.match(r"camera:|(?!file:)[a-zA-Z][a-zA-Z0-9+.-]+://", name) is not None


def _open_path(name: str, exact: dict[str, Any], start_frame: int | None, files: dict[str, Any]) -> Source:
    path = Path(name.removeprefix("file://")).expanduser()
    # What exists is that file or folder, whatever characters its name has.
    if path.is_dir() or (not path.exists() and _is_pattern(path)):
        from tapkit.video.folder import find_images

        found = find_images(path)
        if len(found) == 1 and found[0].suffix.lower() in STACKS:  # a folder with one stack in it
            return _open_path(str(found[0]), exact, start_frame, files)
        return _open_images(found, exact, start_frame, str(path))
    if path.suffix.lower() in STILLS or _is_series(path):
        return _open_images([path], exact, start_frame, str(path))
    from tapkit.video.file import FileSource

    return FileSource(path, **exact, start_frame=start_frame or 0, **files)


def _is_pattern(path: Path) -> bool:
    """Whether a path that does not exist is a pattern of images: its last part, or a folder's name if there is none of
    that name."""
    pattern = r"[*?\[]|%0?\d*d"
    return bool(re.search(pattern, path.name) or (re.search(r"[*?\[]", str(path)) and not path.parent.is_dir()))


def _is_series(path: Path) -> bool:
    """Whether a file of another ending holds pictures that FFmpeg does not read: an animated WebP, DICOM."""
    from tapkit.video.dicom import is_dicom
    from tapkit.video.stills import is_animated_webp

    return path.is_file() and (is_animated_webp(path) or is_dicom(path))


def _is_dicom(path: Path) -> bool:
    from tapkit.video.dicom import is_dicom

    return is_dicom(path)


def _dicom(path: Path) -> Any:
    from tapkit.video.dicom import DicomFrames

    return DicomFrames(path)


def _open_images(files: list[Path], exact: dict[str, Any], start_frame: int | None, path: str | None) -> Source:
    from tapkit.video.container import check_file
    from tapkit.video.folder import FolderSource
    from tapkit.video.stills import (
        UNREADABLE,
        Animation,
        Files,
        Pictures,
        Stacks,
        TiffPages,
        is_animated_webp,
        is_stack,
    )

    for file in files:
        if not file.exists():
            raise VideoError(f"there is no file {storage.shown(file)}")
    pictures: Pictures
    first = files[0]
    try:
        if len(files) > 1:
            pictures = Stacks(files) if is_stack(first) else Files(files)
        elif is_animated_webp(first):
            pictures = Animation(first)
        elif _is_dicom(first):
            pictures = _dicom(first)
        elif is_stack(first):
            pictures = TiffPages(first)
        else:
            check_file(first)
            pictures = Files(files)
    except UNREADABLE as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"{first} cannot be read: {error}") from error
    return FolderSource(pictures, **exact, start_frame=start_frame, path=path or str(first.parent))


STACKS = (".tif", ".tiff", ".webp", ".dcm", ".gif")
"""Endings of images that can hold more than one picture."""
STILLS = (".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".dpx", ".exr")
"""Endings of single pictures and TIFF stacks; .gif, .webp and .png may move and are left to FFmpeg."""


def _positive(name: str, value: Rate | None) -> Fraction | None:
    """An exact positive fraction: a float is taken for the fraction that it most likely stands for."""
    if value is None:
        return None
    try:
        fraction = Fraction(value)
        if isinstance(value, float):
            fraction = fraction.limit_denominator(1001)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError) as error:
        raise UsageError(f"{name} must be a number or a fraction such as 30000/1001, got {value!r}") from error
    if fraction <= 0:
        raise UsageError(f"{name} must be positive, got {value}")
    return fraction
