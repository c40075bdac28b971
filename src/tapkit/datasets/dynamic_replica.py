"""Dynamic Replica as released (Karaev et al., DynamicStereo, CVPR 2023).

    ROOT/SPLIT/frame_annotations_SPLIT.jgz   gzipped JSON, one entry for each frame and camera:
        sequence_name, frame_number, camera_name, image {path, size}, trajectories {path}
    trajectories: .pth with `traj_2d` (N,2 or 3) pixels and `verts_inds_vis` (N)

Only the left camera is read. Each frame has a trajectory file of its own, so a clip is put together frame by
frame and only the points that are asked are kept: 256 drawn at random from those visible on frame 0, all asked
there, as Karaev et al. evaluate ("CoTracker", ECCV 2024). The draw is fixed by the sequence's name and
`seed`; theirs is not known. The layout is written down from what is publicly known of the set; it could not be checked
against a released copy here. Licence: CC BY-NC 4.0.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapkit import weights
from tapkit.datasets.base import Clip, Listed
from tapkit.datasets.frames import image_size, open_images
from tapkit.errors import StorageError, WeightsError

MAX_POINTS = 256
FRAMES = 300


class _FrameFiles(NamedTuple):
    number: int
    image: Path
    tracks: Path


class DynamicReplica(Listed[list[_FrameFiles]]):
    """Sequences of one split: `root` is the split's folder, or the set's with `split`."""

    name = "Dynamic Replica"
    metrics = ("tapvid", "pointodyssey")
    query_mode = "first"
    resolution = "native"
    points = "joint"
    citation = "Karaev et al., DynamicStereo, CVPR 2023"

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        max_points: int = MAX_POINTS,
        frames: int = FRAMES,
        seed: int = 0,
    ) -> None:
        self.root = Path(root) / split if split else Path(root)
        self.max_points, self.seed = max_points, seed
        found = sorted(self.root.glob("frame_annotations_*.jgz"))
        if not found:
            raise StorageError(f"{self.root} has no frame_annotations_*.jgz")
        sequences = {name: files[:frames] for name, files in _read_index(found[0], self.root).items()}
        super().__init__(sequences, {name: why for name, files in sequences.items() if (why := _lacking(files))})

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`: random points of those visible on frame 0, asked there, at most `frames` frames."""
        files = self.place(name)
        size = image_size(files[0].image)
        xy, seen = _frame_tracks(files[0].tracks)
        visible = np.flatnonzero(seen & _inside(xy, size))
        random = np.random.RandomState(zlib.crc32(f"{name}/{self.seed}".encode()))
        rows = random.permutation(visible)[: self.max_points]
        positions, states = [], []
        for file in files:
            xy, seen = _frame_tracks(file.tracks)
            if len(xy) <= rows.max(initial=-1):
                raise StorageError(f"{file.tracks} has {len(xy)} points, fewer than the first frame")
            positions.append(xy[rows])
            states.append((seen & _inside(xy, size))[rows])
        track_xy, track_seen = np.stack(positions, 1), np.stack(states, 1)
        images = [file.image for file in files]
        return Clip(
            name,
            track_xy,
            track_seen,
            size,
            lambda: open_images(images),
            valid=np.isfinite(track_xy).all(-1),
            queries=(np.arange(len(rows)), np.zeros(len(rows), np.int64)),
            stamp=f"{len(files)} frames",
        )


def _read_index(path: Path, root: Path) -> dict[str, list[_FrameFiles]]:
    """Frames of the left camera by sequence, in order."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            entries = json.load(file)
    except (OSError, EOFError, ValueError) as error:
        raise StorageError(f"{path} cannot be read ({error}); it is damaged or cut short") from error
    sequences: dict[str, list[_FrameFiles]] = {}
    for entry in entries if isinstance(entries, list) else []:
        try:
            if entry["camera_name"] == "left":
                files = _FrameFiles(
                    int(entry["frame_number"]), root / entry["image"]["path"], root / entry["trajectories"]["path"]
                )
                sequences.setdefault(str(entry["sequence_name"]), []).append(files)
        except (KeyError, TypeError) as error:
            raise StorageError(f"{path}: an entry lacks {error}; is it a Dynamic Replica index?") from error
    return {name: sorted(files) for name, files in sequences.items()}


def _frame_tracks(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions [N,2] and visibility [N] of one frame; only tensors are read."""
    if not path.is_file():
        raise StorageError(f"{path} does not exist")
    try:
        content = weights.read(path)
        xy, seen = content["traj_2d"], content["verts_inds_vis"]
        return np.asarray(xy, np.float32)[:, :2], np.asarray(seen).astype(bool)
    except (WeightsError, KeyError, TypeError, IndexError, ValueError) as error:
        raise StorageError(f"{path} is not a Dynamic Replica trajectory file, or it is damaged") from error


def _inside(xy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (xy[:, 0] >= 0) & (xy[:, 0] < size[1]) & (xy[:, 1] >= 0) & (xy[:, 1] < size[0])


def _lacking(files: Sequence[_FrameFiles]) -> str:
    for what, kind in (("image", "images"), ("tracks", "trajectory files")):
        gone = sum(not getattr(file, what).is_file() for file in files)
        if gone:
            return f"lacks {gone} of {len(files)} {kind}"
    return ""
