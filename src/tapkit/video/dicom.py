"""Multi-frame DICOM (ultrasound, angiography, endoscopy): by pydicom, an extra."""

from __future__ import annotations

from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tapkit.errors import MissingExtra, VideoError
from tapkit.video.layout import ValueRange
from tapkit.video.stills import Pictures


def is_dicom(path: Path) -> bool:
    """Whether the file says that it is DICOM (PS3.10: 128 bytes of any kind, then DICM)."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


class DicomFrames(Pictures):
    """The frames of a DICOM file, decoded one by one; the window that it states says what is black and white."""

    def __init__(self, path: Path) -> None:
        self._path = path
        pydicom = _pydicom(path)
        try:
            head = pydicom.dcmread(str(path), stop_before_pixels=True)
            self._count = int(head.get("NumberOfFrames", 1) or 1)
            self._inverse = head.get("PhotometricInterpretation") == "MONOCHROME1"
            self._bits = int(head.get("BitsStored", 8))
            self.stated = _window(head)
            self.fps, self.times = _timing(head, self._count)
            self.pixel_aspect = _aspect(head)
        except (pydicom.errors.InvalidDicomError, AttributeError, TypeError, ValueError, KeyError) as error:
            raise VideoError(f"{path} is a DICOM file that cannot be read: {error}") from error
        if "Rows" not in head:
            raise VideoError(f"{path} is a DICOM file without pictures ({head.get('Modality', 'a report')})")

    def __len__(self) -> int:
        return self._count

    def values(self, index: int) -> np.ndarray:
        values, self.full = read_frame(self._path, index)
        if self._inverse:
            values = (
                (self.full or 0) - values if self.stated is None else self.stated.black + self.stated.white - values
            )
        return values

    def name(self, index: int) -> str:
        return f"frame {index} of {self._path}"


def read_frame(path: Path, index: int) -> tuple[np.ndarray, float | None]:
    """The values of one frame of a DICOM file, [H,W] or RGB [H,W,3], and the greatest that its type can hold.

    Raises VideoError, which names the decoder that is missing, if it cannot be decoded.
    """
    _pydicom(path)
    pixels: Any = import_module("pydicom.pixels")

    try:
        values = np.asarray(pixels.pixel_array(str(path), index=index))
    except Exception as error:  # pydicom raises whatever its decoders do
        raise VideoError(
            f"frame {index} of {path} cannot be decoded: {error}; with another program, store it uncompressed"
        ) from error
    return values, 255.0 if values.dtype == np.uint8 else None


def _pydicom(path: Path) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise MissingExtra(
            f'{path} is a DICOM file: to read it, pip install "tapkit[dicom]", or convert it to a video or to PNGs '
            "(dcmj2pnm of DCMTK, or the export of a viewer)"
        ) from error
    return pydicom


def _window(head: Any) -> ValueRange | None:
    """Black and white, in stored values, from the window that the file states (PS3.3, C.11.2)."""
    center, width = head.get("WindowCenter"), head.get("WindowWidth")
    if center is None or width is None:
        return None
    center = float(center[0] if hasattr(center, "__len__") and not isinstance(center, str) else center)
    width = float(width[0] if hasattr(width, "__len__") and not isinstance(width, str) else width)
    slope, intercept = float(head.get("RescaleSlope", 1) or 1), float(head.get("RescaleIntercept", 0) or 0)
    if width <= 1 or slope <= 0:
        return None
    low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    return ValueRange((low - intercept) / slope, (high - intercept) / slope)


def _timing(head: Any, count: int) -> tuple[Fraction | None, np.ndarray | None]:
    """Frames per second and the time of each frame (None: evenly), as far as the file states them."""
    steps = head.get("FrameTimeVector")
    if steps is not None and hasattr(steps, "__len__") and len(steps) == count and count > 1:
        times = np.cumsum(np.concatenate([[0.0], np.array([float(s) for s in steps[1:]])])) / 1000
        if (np.diff(times) > 0).all():
            return Fraction((count - 1) / float(times[-1])).limit_denominator(1001), times
    if head.get("FrameTime") and float(head.FrameTime) > 0:
        return Fraction(1000 / float(head.FrameTime)).limit_denominator(1001), None
    rate = head.get("CineRate") or head.get("RecommendedDisplayFrameRate")
    return (Fraction(int(rate)) if rate and int(rate) > 0 else None), None


def _aspect(head: Any) -> Fraction | None:
    """Width of a pixel divided by its height."""
    ratio = head.get("PixelAspectRatio") or head.get("PixelSpacing")  # vertical, horizontal
    if not ratio or len(ratio) != 2 or float(ratio[0]) <= 0 or float(ratio[1]) <= 0:
        return None
    return Fraction(float(ratio[1]) / float(ratio[0])).limit_denominator(1001)
