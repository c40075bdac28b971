"""EgoPoints as released (Darkhalil et al., "EgoPoints: Advancing Point Tracking for Egocentric Videos", WACV 2025).

    ROOT/SEQUENCE/rgbs/frame_0000000001.jpg ...   and   annot.npz with arrays [T,N] (T frames, N points)
        trajs_2d [T,N,2]  pixels              valids      the position is annotated
        visibs            1 = visible         vis_valids  whether it is visible is annotated
        out_of_view       annotated as outside the picture        occluded  annotated as hidden within it

Only some frames of a track are annotated. Points are asked for on frame 0; positions are counted where they are valid,
as in PointOdyssey's figures, and beside them what the set is about: whether a point is followed out of view and back.
Positions are taken as the published loader takes them (no shift of half a pixel). The frames are cut from
EPIC-KITCHENS (CC BY-NC 4.0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tapkit.datasets.base import Clip, Listed
from tapkit.datasets.folder import read_arrays
from tapkit.datasets.frames import image_files, image_size, open_images
from tapkit.errors import StorageError

ANNOTATION = "annot.npz"
MASKS = ("valids", "visibs", "vis_valids", "out_of_view", "occluded")


class EgoPoints(Listed[Path]):
    """Sequences below `root`."""

    name = "EgoPoints"
    metrics = ("pointodyssey", "egopoints", "tapvid")
    query_mode = "first"
    resolution = "native"
    points = "joint"
    citation = "Darkhalil et al., EgoPoints, WACV 2025"

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        folders = {path.parent.name: path.parent for path in sorted(self.root.glob(f"*/{ANNOTATION}"))}
        if not folders:
            raise StorageError(f"{self.root} has no EgoPoints sequences (folders with rgbs/ and {ANNOTATION})")
        bare = [name for name, folder in folders.items() if not image_files(folder / "rgbs")]
        super().__init__(folders, dict.fromkeys(bare, "has no images in rgbs/"))

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`: all points with a position on frame 0, asked for there."""
        folder = self.place(name)
        path, files = folder / ANNOTATION, image_files(folder / "rgbs")
        xy, masks = _annotation(path)
        frames = xy.shape[1]
        if frames > len(files):
            raise StorageError(f"{path} has tracks of {frames} frames, but rgbs/ has {len(files)} images")
        valid = masks["valids"] & np.isfinite(xy).all(-1)
        known = masks["vis_valids"]
        asked = np.flatnonzero(valid[:, 0])
        return Clip(
            name,
            xy,
            valid & known & masks["visibs"],
            image_size(files[0]),
            lambda: open_images(files[:frames]),
            counted=known,
            valid=valid,
            queries=(asked, np.zeros(len(asked), np.int64)),
            in_view=valid | masks["occluded"],
            out_of_view=masks["out_of_view"],
            stamp=f"{len(files)} images, {path.stat().st_size} bytes of annotation",
        )


def _annotation(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Positions [N,T,2] float32 and masks [N,T] bool."""
    arrays = read_arrays(path, ("trajs_2d", *MASKS))
    lacking = [key for key in ("trajs_2d", *MASKS) if key not in arrays]
    if lacking:
        raise StorageError(f"{path} has no array {' and no '.join(map(repr, lacking))}")
    xy = arrays["trajs_2d"]
    if xy.ndim != 3 or xy.shape[2] != 2:
        raise StorageError(f"{path}: trajs_2d must be [T,N,2], got {list(xy.shape)}")
    wrong = next((key for key in MASKS if arrays[key].shape != xy.shape[:2]), None)
    if wrong:
        raise StorageError(f"{path}: {wrong} must be [T,N], as trajs_2d is, got {list(arrays[wrong].shape)}")
    return xy.astype(np.float32).swapaxes(0, 1), {key: (arrays[key] == 1).T for key in MASKS}
