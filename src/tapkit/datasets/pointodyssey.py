"""PointOdyssey as released (specs/pointodyssey.md sections 2 to 4).

    ROOT/{train,val,test,sample}/SEQUENCE/rgbs/rgb_00000.jpg ... and anno.npz (annotations.npz from the generator)

Versions 1.0 and 1.1 store `visibilities` (0 hidden, 1 visible, 2 invalid) instead of `visibs` and `valids`.
Annotations are read in blocks of frames: about 450 MB a sequence never lie in memory at once.
Positions are taken as the published loaders take them (no shift of half a pixel, section 3), so that numbers agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapkit.coords import Size
from tapkit.datasets.archives import array_headers, row_blocks
from tapkit.datasets.base import Clip, Finding, Listed
from tapkit.datasets.frames import image_files, image_size, open_images
from tapkit.errors import StorageError

ANNOTATIONS = ("anno.npz", "annotations.npz")
MAX_POINTS = 256
LEAST_FRAMES = 8
"""A point must be valid and visible on that many frames."""
LARGEST_STEP = 512.0
"""Pixels from one frame to the next; more is taken for a defect."""
MARGIN = 32.0
"""Positions are clamped to the frame plus this many pixels on each side."""
KNOWN_BAD = {"cab_h_bench_*": "is commonly excluded as defective"}
"""Patterns of sequence names."""
EXPECTED = {"train": 131, "val": 15, "test": 13}
"""Sequences of each split of v1.2; people have unpacked truncated downloads without noticing."""


class EvaluationTracks(NamedTuple):
    """The points that the official evaluation keeps, K of them."""

    xy: np.ndarray
    """[K,T,2] float32 pixels."""
    visible: np.ndarray
    """[K,T] bool."""
    valid: np.ndarray
    """[K,T] bool."""
    rows: np.ndarray
    """[K] int64, which of the annotated points they are."""


Block = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Some consecutive frames: xy [t,N,2], visible [t,N], valid [t,N]."""


def evaluation_tracks(
    xy: np.ndarray, visible: np.ndarray, valid: np.ndarray, size: Size = (540, 960), max_points: int = MAX_POINTS
) -> EvaluationTracks:
    """Section 4.2 of the spec on arrays: `xy` [N,T,2] (may hold inf, NaN), masks [N,T] bool, `size` (height, width)."""
    block = xy.swapaxes(0, 1), np.asarray(visible, bool).T, np.asarray(valid, bool).T
    return choose_tracks(lambda: iter([block]), size, max_points)


def choose_tracks(blocks: Callable[[], Iterator[Block]], size: Size, max_points: int) -> EvaluationTracks:
    """The same over blocks of frames, which are gone through twice: to choose the points, then to keep them."""
    rows = _chosen_rows(blocks(), size, max_points)
    parts = [_clean(xy[:, rows], visible[:, rows], valid[:, rows], size) for xy, visible, valid in blocks()]
    xy, visible, valid = (np.concatenate([part[i] for part in parts]).swapaxes(0, 1) for i in range(3))
    height, width = size
    low, high = np.float32(-MARGIN), np.array([width + MARGIN, height + MARGIN], np.float32)
    return EvaluationTracks(np.clip(xy, low, high), visible, valid, rows)


def _clean(xy: np.ndarray, visible: np.ndarray, valid: np.ndarray, size: Size) -> Block:
    """Positions that are not finite become 0; there, and within a pixel of the border, nothing is valid."""
    height, width = size
    xy = xy.astype(np.float32)
    bad = ~np.isfinite(xy)
    xy[bad] = 0.0
    x, y = xy[..., 0], xy[..., 1]
    keep = ~(bad.any(-1) | (x < 1) | (x > width - 2) | (y < 1) | (y > height - 2))
    return xy, visible & keep, valid & keep


def _chosen_rows(blocks: Iterator[Block], size: Size, max_points: int) -> np.ndarray:
    first: np.ndarray | None = None
    frames = np.zeros(0, np.int64)
    step = np.zeros(0, np.float32)
    last: np.ndarray | None = None
    for raw in blocks:
        xy, visible, valid = _clean(*raw, size)
        good = visible & valid
        if first is None:
            first, frames, step = good[0], np.zeros(len(good[0]), np.int64), np.zeros(len(good[0]), np.float32)
        frames += good.sum(0)
        path = xy if last is None else np.concatenate([last[None], xy])
        if len(path) > 1:
            step = np.maximum(step, np.linalg.norm(np.diff(path, axis=0), axis=-1).max(0))
        last = xy[-1]
    if first is None:
        raise StorageError("the annotation has no frames")
    kept = np.flatnonzero(first & (frames >= LEAST_FRAMES) & (step < LARGEST_STEP))
    count = min(len(kept), max_points)
    return kept[np.linspace(0, len(kept) - 1, count).astype(np.int64)] if count else kept


class PointOdyssey(Listed[Path]):
    """Sequences under `root` (a split's folder, or the folder of all splits with `split`)."""

    name = "PointOdyssey"
    metrics = ("pointodyssey", "tapvid")
    query_mode = "first"
    resolution = "native"
    points = "joint"
    citation = "Zheng et al., PointOdyssey, ICCV 2023"

    def __init__(self, root: str | Path, split: str | None = None, max_points: int = MAX_POINTS) -> None:
        self.root = Path(root) / split if split else Path(root)
        self.max_points = max_points
        self.split = split or self.root.name
        every = sorted(p for p in self.root.iterdir() if p.is_dir()) if self.root.is_dir() else []
        folders = {p.name: p for p in every if (p / "rgbs").is_dir() or _annotation(p) is not None}
        if not folders:
            raise StorageError(f"{self.root} has no PointOdyssey sequences (folders with rgbs/ and anno.npz)")
        super().__init__(folders, {name: why for name, folder in folders.items() if (why := _lacking(folder))})

    def missing(self) -> Mapping[str, str]:
        """See `Dataset.missing`."""
        lacking = EXPECTED.get(self.split, 0) - len(self._places)
        named = (
            {f"{lacking} sequences": f"{len(self._places)} of {EXPECTED[self.split]} are there"} if lacking > 0 else {}
        )
        return {**super().missing(), **named}

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`: the points of the official full-sequence evaluation, all asked for on frame 0."""
        folder = self.place(name)
        path, files = _annotation(folder), image_files(folder / "rgbs")
        if path is None or not files:
            raise StorageError(f"clip {name!r} of {self.name} is incomplete")
        size = image_size(files[0])
        chosen = choose_tracks(lambda: annotation_blocks(path, len(files)), size, self.max_points)
        frames = chosen.xy.shape[1]
        points = len(chosen.xy)
        return Clip(
            name,
            chosen.xy,
            chosen.visible,
            size,
            lambda: open_images(files[:frames]),
            valid=chosen.valid,
            queries=(np.arange(points), np.zeros(points, np.int64)),
            stamp=f"{path.stat().st_size} bytes of annotation",
        )

    def check(self) -> Iterator[Finding]:
        """See `Dataset.check`; also the sequences known to be defective."""
        yield from super().check()
        for name in self._places:
            for pattern, what in KNOWN_BAD.items():
                if fnmatch(name, pattern):
                    yield Finding("bad", name, what)


def annotation_blocks(path: Path, frames: int) -> Iterator[Block]:
    """Blocks of an annotation of any version, cut to `frames` frames (old versions are one longer than the images)."""
    keys = array_headers(path)
    if "trajs_2d" not in keys:
        raise StorageError(f"{path} has no array 'trajs_2d'; is it a PointOdyssey annotation?")
    count = keys["trajs_2d"].shape[1]
    step = max(1, (4 << 20) // max(count * 2, 1))
    columns = [_blocks(path, "trajs_2d", step)]
    if "visibilities" in keys:
        columns.append(_blocks(path, "visibilities", step))
    else:
        columns += [_blocks(path, "visibs", step), _blocks(path, "valids", step)]
    for xy, *masks in zip(*columns, strict=True):
        if frames <= 0:
            return
        if len(masks) == 1:
            masks = [masks[0] == 1, masks[0] < 2]
        yield xy[:frames], masks[0][:frames] > 0, masks[1][:frames] > 0
        frames -= len(xy)


def _blocks(path: Path, key: str, rows: int) -> Iterator[np.ndarray]:
    """Blocks of exactly `rows` rows (the last may be shorter)."""
    header = array_headers(path).get(key)
    if header is None:
        raise StorageError(f"{path} has no array {key!r}")
    row = int(np.prod(header.shape[1:], dtype=np.int64)) * header.dtype.itemsize
    return row_blocks(path, key, rows * row)


def _annotation(folder: Path) -> Path | None:
    return next((folder / name for name in ANNOTATIONS if (folder / name).is_file()), None)


def _lacking(folder: Path) -> str:
    """What is missing in a sequence's folder, as a half sentence; empty if nothing."""
    if _annotation(folder) is None:
        return "has no anno.npz (truncated download?)"
    return "" if image_files(folder / "rgbs") else "has no images in rgbs/"
