"""CroHD (Sundararaman et al., "Tracking Pedestrian Heads in Dense Crowd", CVPR 2021), which is MOTChallenge's HT21.

    ROOT/SEQUENCE/img1/000001.jpg ...   and   SEQUENCE/gt/gt.txt, one head on one frame a line (MOTChallenge):
        frame, id, left, top, width, height, counts, class, visibility[, ...]        frames and pixels from 1

A point is the centre of a head's box. Heads that count (not 0) and are of class 1, pedestrians, are taken. As Zheng et
al. evaluate PIPs++ (PointOdyssey, ICCV 2023): pieces of at most 1000 frames, of at least 128; heads visible on a
piece's first frame, asked for there. Licence: CC BY-NC-SA 3.0, as all of MOTChallenge.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapkit.datasets.base import Clip, Listed
from tapkit.datasets.frames import image_files, image_size, open_images
from tapkit.errors import StorageError

TRUTH = "gt/gt.txt"
IMAGES = "img1"
PIECE = 1000
SHORTEST = 128
PEDESTRIAN = 1
SEEN = 0.5
"""A head is visible if more than this share of it is."""


class _Piece(NamedTuple):
    sequence: Path
    first: int
    frames: int


class CroHD(Listed[_Piece]):
    """Pieces of the sequences below `root`; a piece is called SEQUENCE, or SEQUENCE@FRAME where there are several."""

    name = "CroHD"
    metrics = ("pointodyssey", "tapvid")
    query_mode = "first"
    resolution = "native"
    points = "joint"
    citation = "Sundararaman et al., Tracking Pedestrian Heads in Dense Crowd, CVPR 2021"

    def __init__(self, root: str | Path, piece: int = PIECE, shortest: int = SHORTEST) -> None:
        self.root = Path(root)
        sequences = sorted(path.parent.parent for path in self.root.glob(f"*/{TRUTH}"))
        if not sequences:
            raise StorageError(f"{self.root} has no sequences with {TRUTH}")
        pieces: dict[str, _Piece] = {}
        missing: dict[str, str] = {}
        for sequence in sequences:
            count = len(image_files(sequence / IMAGES))
            if not count:
                missing[sequence.name] = f"has no images in {IMAGES}/"
            for first in range(0, count, piece):
                frames = min(piece, count - first)
                if first == 0 or frames >= shortest:
                    name = sequence.name if count <= piece else f"{sequence.name}@{first + 1}"
                    pieces[name] = _Piece(sequence, first, frames)
        super().__init__(pieces, missing)

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`."""
        piece = self.place(name)
        path = piece.sequence / TRUTH
        files = image_files(piece.sequence / IMAGES)
        xy, visible = heads(path, len(files))
        span = slice(piece.first, piece.first + piece.frames)
        asked = np.flatnonzero(visible[:, piece.first])
        xy, visible = xy[asked, span], visible[asked, span]
        chosen = files[span]
        return Clip(
            name,
            xy,
            visible,
            image_size(chosen[0]),
            lambda: open_images(chosen),
            valid=np.isfinite(xy).all(-1),
            queries=(np.arange(len(asked)), np.zeros(len(asked), np.int64)),
            stamp=f"{len(chosen)} images from {piece.first + 1}, {path.stat().st_size} bytes of annotation",
        )


def heads(path: Path, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres [N,T,2] float32 in pixels, corner origin, NaN where there is no box, and visibility [N,T], by id."""
    try:
        rows = np.loadtxt(path, delimiter=",", ndmin=2, dtype=np.float64)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise StorageError(f"{path} is no MOTChallenge annotation ({str(error).splitlines()[0]})") from error
    if rows.size == 0 or rows.shape[1] < 9:
        raise StorageError(f"{path} is no MOTChallenge annotation: it needs nine numbers a line")
    rows = rows[(rows[:, 6] != 0) & (rows[:, 7] == PEDESTRIAN)]
    frame = rows[:, 0].astype(np.int64) - 1
    if len(frame) and not (0 <= frame.min() <= frame.max() < frames):
        raise StorageError(f"{path} names frame {frame.max() + 1}, but there are {frames} images")
    ids, track = np.unique(rows[:, 1], return_inverse=True)
    place = track * frames + frame
    if len(np.unique(place)) != len(place):
        twice = np.flatnonzero(np.bincount(place) > 1)[0]
        raise StorageError(f"{path} has two boxes of head {ids[twice // frames]:g} on frame {twice % frames + 1}")
    xy = np.full((len(ids), frames, 2), np.nan, np.float32)
    visible = np.zeros((len(ids), frames), bool)
    xy[track, frame] = rows[:, 2:4] - 1 + rows[:, 4:6] / 2  # the first pixel is 1, and its outer corner 0
    visible[track, frame] = rows[:, 8] > SEEN
    return xy, visible
