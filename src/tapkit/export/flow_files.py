"""Optical flow as files: Middlebury .flo, KITTI 16-bit PNG, EXR motion vectors. One file for each pair of frames.

Fields are [H,W,2] float32, displacement (x right, y down) in pixels at every pixel's centre. A file is written beside
its place and renamed when complete, so that no half file ever has the final name.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from PIL import Image

from tapkit import storage
from tapkit.errors import ShapeError, StorageError, require

_FLO_TAG = b"PIEH"
_FLO_UNKNOWN = 1e9
"""Components beyond this mean "unknown" in .flo files."""
_PNG = b"\x89PNG\r\n\x1a\n"


def _check(xy: np.ndarray) -> np.ndarray:
    if xy.ndim != 3 or xy.shape[2] != 2 or not xy.size:
        raise ShapeError(f"a flow field is [H,W,2], got {list(xy.shape)}")
    return np.asarray(xy, np.float32)


def _write(path: Path, save: Callable[[Path], Any]) -> None:
    """Let `save` write a file of that name elsewhere, then put it in place."""
    with storage.staged(path) as target:
        save(target)


def write_flo(path: str | Path, xy: np.ndarray) -> None:
    """Middlebury's format: float32, exact. Not-a-number is written as "unknown". Raises `StorageError`."""
    xy = _check(xy)
    values = np.where(np.isfinite(xy), xy, 2 * _FLO_UNKNOWN).astype("<f4")
    head = _FLO_TAG + struct.pack("<ii", xy.shape[1], xy.shape[0])
    _write(Path(path), lambda part: part.write_bytes(head + values.tobytes()))


def read_flo(path: str | Path) -> np.ndarray:
    """[H,W,2] float32; not-a-number where the file says "unknown". Raises `StorageError` for what is no .flo file."""
    with storage.reading(path, "a .flo file"):
        content = storage.check_file(path).read_bytes()
    if content[:4] != _FLO_TAG or len(content) < 12:
        raise StorageError(f"{path} is no .flo file")
    width, height = struct.unpack("<ii", content[4:12])
    if width < 1 or height < 1 or len(content) != 12 + 8 * width * height:
        raise StorageError(f"{path} is damaged: {width}x{height} vectors do not make {len(content)} bytes")
    xy = np.frombuffer(content, "<f4", offset=12).reshape(height, width, 2).astype(np.float32)
    return np.where(np.abs(xy) > _FLO_UNKNOWN, np.float32(np.nan), xy)


def write_kitti(path: str | Path, xy: np.ndarray, valid: np.ndarray | None = None) -> None:
    """KITTI's 16-bit PNG: steps of 1/64 px within -512..512 px; what lies beyond, or is not `valid` [H,W], is marked
    invalid. Raises `StorageError`."""
    xy = _check(xy)
    steps = np.rint(np.nan_to_num(xy, nan=1e6).astype(np.float64) * 64 + 32768)
    known = ((steps >= 0) & (steps <= 65535)).all(-1)
    if valid is not None:
        known &= np.asarray(valid, bool)
    steps = np.where(known[..., None], steps, 0)
    picture = np.concatenate([steps, known[..., None]], -1).astype(">u2")
    _write(Path(path), lambda part: part.write_bytes(_png48(picture)))


def _png48(picture: np.ndarray) -> bytes:
    """A PNG file of [H,W,3] big-endian 16-bit RGB; each row is stored as its difference from the one above."""
    height, width = picture.shape[:2]
    rows = picture.reshape(height, -1).view(np.uint8)
    change = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8))
    data = np.concatenate([np.full((height, 1), 2, np.uint8), change], 1).tobytes()

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return _PNG + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data, 4)) + chunk(b"IEND", b"")


def read_kitti(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """[H,W,2] float32, and which vectors are valid [H,W] bool (the others are not-a-number). Raises `StorageError`."""
    with storage.reading(path, "a PNG file of flow"), av.open(str(storage.check_file(path))) as container:
        frame = next(container.decode(video=0))
        if not frame.format.name.startswith("rgb48"):
            raise StorageError(f"{path} is no 16-bit RGB image ({frame.format.name})")
        values = frame.to_ndarray().astype(np.float32)
    valid = values[..., 2] > 0
    return np.where(valid[..., None], (values[..., :2] - 32768) / 64, np.float32(np.nan)), valid


def write_motion_exr(path: str | Path, xy: np.ndarray, occlusion: np.ndarray | None = None) -> None:
    """Motion vectors for compositing, 32-bit EXR: forward.u right and forward.v *up*, as Nuke reads them, and
    occlusion.Y where it is known [H,W]. Raises `StorageError`, `MissingExtra` without OpenEXR."""
    exr = require("OpenEXR", "exr")
    xy = _check(xy)
    planes = {"forward.u": xy[..., 0], "forward.v": -xy[..., 1]}
    if occlusion is not None:
        planes["occlusion.Y"] = np.asarray(occlusion)
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    ready = {name: np.ascontiguousarray(plane, np.float32) for name, plane in planes.items()}
    _write(Path(path), lambda part: exr.File(header, ready).write(str(part)))


def read_motion_exr(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """What `write_motion_exr` wrote: [H,W,2] float32 (y down), and occlusion [H,W] where it is there. Raises
    `StorageError` for another file, `MissingExtra` without OpenEXR."""
    exr = require("OpenEXR", "exr")
    try:
        found = exr.File(str(path), separate_channels=True).channels()
        right, up = (np.asarray(found[f"forward.{axis}"].pixels, np.float32) for axis in "uv")
        occlusion = np.asarray(found["occlusion.Y"].pixels, np.float32) if "occlusion.Y" in found else None
    except KeyError as error:
        raise StorageError(f"{path} has no motion vectors (channels forward.u, forward.v)") from error
    except Exception as error:  # OpenEXR raises RuntimeError, ValueError and its own
        raise StorageError(f"{path} cannot be read as EXR") from error
    return np.stack([right, -up], -1), occlusion


def write_picture(path: str | Path, picture: np.ndarray) -> None:
    """A picture [H,W,3] uint8 as PNG. Raises `StorageError`."""
    _write(Path(path), lambda part: Image.fromarray(picture).save(part, "png"))
