"""A COLMAP database with the tables of COLMAP 3, which later versions convert when they open it.

Opened with pycolmap 0.6.1 (COLMAP 3.9), 3.11.1, 3.12.5, 3.13.0, 4.0.0 and 4.2.1. What pycolmap 4 writes is not read by
those before 4.0.0.
After COLMAP's documentation of its database format: arrays are row-major blobs, keypoints float32, matches uint32,
camera parameters float64; the number of a pair of images a < b is 2147483647 a + b.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tapkit.errors import StorageError

_PAIR = 2147483647
_SIMPLE_PINHOLE, _UNCALIBRATED = 0, 3
"""COLMAP's numbers of the camera model and of the kind of two-view geometry."""
_ARRAY = "rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB"
_OF_IMAGE = "FOREIGN KEY(image_id) REFERENCES images(image_id) ON DELETE CASCADE"
_PRIOR = ", ".join(f"prior_{axis} REAL" for axis in ("qw", "qx", "qy", "qz", "tx", "ty", "tz"))
_TABLES = {
    "cameras": "camera_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, model INTEGER NOT NULL, width INTEGER NOT NULL, "
    "height INTEGER NOT NULL, params BLOB, prior_focal_length INTEGER NOT NULL",
    "images": "image_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL UNIQUE, "
    f"camera_id INTEGER NOT NULL, {_PRIOR}, CONSTRAINT image_id_check CHECK(image_id >= 0 and image_id < {_PAIR}), "
    "FOREIGN KEY(camera_id) REFERENCES cameras(camera_id)",
    "keypoints": f"image_id INTEGER PRIMARY KEY NOT NULL, {_ARRAY}, {_OF_IMAGE}",
    "descriptors": f"image_id INTEGER PRIMARY KEY NOT NULL, {_ARRAY}, {_OF_IMAGE}",
    "matches": f"pair_id INTEGER PRIMARY KEY NOT NULL, {_ARRAY}",
    "two_view_geometries": f"pair_id INTEGER PRIMARY KEY NOT NULL, {_ARRAY}, config INTEGER NOT NULL, "
    "F BLOB, E BLOB, H BLOB, qvec BLOB, tvec BLOB",
}


@dataclass(frozen=True)
class Content:
    """What the database holds besides its one camera."""

    names: Sequence[str]
    """Of the images, which are numbered from 1 in this order."""
    keypoints: Sequence[np.ndarray]
    """Positions [K,2] in each image, corner origin."""
    matches: Iterable[tuple[int, int, np.ndarray]]
    """Two images (counted from 0, the first is the lower) and the indices [M,2] of keypoints that are one point."""


def write(target: Path, content: Content, size: tuple[int, int], focal: float, known: bool) -> None:
    """Write a new database of images of `size` (width, height), focal length in pixels; `known`: not a guess.

    Raises StorageError where SQLite cannot.
    """
    try:
        with closing(sqlite3.connect(target)) as database, database:
            for table, columns in _TABLES.items():
                database.execute(f"CREATE TABLE {table} ({columns})")
            database.execute("CREATE UNIQUE INDEX index_name ON images(name)")
            database.execute("PRAGMA user_version = 3600")
            width, height = size
            parameters = np.array([focal, width / 2, height / 2], "<f8").tobytes()
            camera = (1, _SIMPLE_PINHOLE, width, height, parameters, int(known))
            database.execute("INSERT INTO cameras VALUES (?, ?, ?, ?, ?, ?)", camera)
            for number, (name, xy) in enumerate(zip(content.names, content.keypoints, strict=True), 1):
                database.execute("INSERT INTO images (image_id, name, camera_id) VALUES (?, ?, 1)", (number, name))
                database.execute("INSERT INTO keypoints VALUES (?, ?, ?, ?)", (number, *_blob(xy, "<f4")))
            for a, b, pairs in content.matches:
                pair = (_PAIR * (a + 1) + b + 1, *_blob(pairs, "<u4"))
                database.execute("INSERT INTO matches VALUES (?, ?, ?, ?)", pair)
                database.execute(
                    "INSERT INTO two_view_geometries (pair_id, rows, cols, data, config) VALUES (?, ?, ?, ?, ?)",
                    (*pair, _UNCALIBRATED),
                )
    except sqlite3.Error as error:
        raise StorageError(f"cannot write the database: {error}") from error


def _blob(array: np.ndarray, kind: str) -> tuple[int, int, bytes]:
    """Rows, columns and bytes of a matrix."""
    return array.shape[0], array.shape[1], np.ascontiguousarray(array, kind).tobytes()
