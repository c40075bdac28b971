"""Videos in other people's layouts: PointOdyssey v1.2 (specs/pointodyssey.md section 2) and CoTracker3's Kubric clips.

Numbers are float32. `datasets.pointodyssey` and `datasets.kubric_folders` read them back.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tapkit import storage
from tapkit.datasets.folder import write_arrays
from tapkit.generate.store import Video

DEPTH_UNIT = 1000.0 / 65535
"""Scene units of a step of the 16-bit depths; 65535 is 1000 units, and everything farther."""
JPEG_QUALITY = 95
TO_OBJ = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
"""Blender's world (z up) to the world of PointOdyssey's 3D tracks (y up): (x, z, -y)."""


def write_pointodyssey(folder: Path, video: Video) -> None:
    """One sequence as `folder`, all of it or nothing; what stands there is replaced."""
    truth = video.truth
    extrinsics = truth.extrinsics.copy()
    extrinsics[:, :3, :3] = extrinsics[:, :3, :3] @ TO_OBJ.T
    arrays = {
        "trajs_2d": truth.xy,
        "trajs_3d": (truth.world @ TO_OBJ.T).astype(np.float32),
        "valids": truth.valid,
        "visibs": video.visible,
        "intrinsics": truth.intrinsics,
        "extrinsics": extrinsics.astype(np.float32),
    }
    with storage.atomic(folder) as part:
        for name in ("rgbs", "depths", "masks", "normals"):
            (part / name).mkdir(parents=True)
        for frame in range(video.take.frames):
            _frame(part, video, frame)
        write_arrays(part / "anno.npz", arrays)
        write_arrays(part / "info.npz", {name: np.array(array.shape) for name, array in arrays.items()})
        storage.write_text(part / "scene_info.json", json.dumps(_scene_info(video), indent=1))


def _frame(part: Path, video: Video, frame: int) -> None:
    passes = video.take.passes(frame)
    with Image.open(video.take.picture_file(frame)) as picture:
        picture.convert("RGB").save(part / f"rgbs/rgb_{frame:05d}.jpg", quality=JPEG_QUALITY, subsampling=0)
    depth = np.rint(np.minimum(passes.depth / DEPTH_UNIT, 65535)).astype(np.uint16)
    Image.fromarray(depth).save(part / f"depths/depth_{frame:05d}.png")
    mask = Image.fromarray(np.where(passes.mask > 0, passes.mask + 1, 0).astype(np.uint8)).convert("P")
    mask.putpalette(_palette())
    mask.save(part / f"masks/mask_{frame:05d}.png")
    normal = np.rint((np.clip(passes.normal, -1, 1) + 1) * 127.5).astype(np.uint8)
    Image.fromarray(normal).save(part / f"normals/normal_{frame:05d}.jpg", quality=JPEG_QUALITY, subsampling=0)


def _palette() -> list[int]:
    """256 colours that are easily told apart; black first, of which loaders read the index alone."""
    number = np.arange(256)
    colours = np.zeros((256, 3), int)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((number >> (3 * bit + channel)) & 1) << (7 - bit)
    return [int(value) for value in colours.ravel()]


def _scene_info(video: Video) -> dict[str, object]:
    """Index k of the masks is asset k - 1 of the list, whose first, "background", is never met."""
    names = {part.mask: part.name for part in video.parts if part.mask}
    width, focal = video.size[1], float(video.truth.intrinsics[0, 0, 0])
    return {
        "assets": ["background", *(names.get(index, "") for index in range(1, max(names, default=0) + 1))],
        "kinds": {part.name: part.kind for part in video.parts if part.mask},
        "fps": float(video.fps),
        "sensor_width": 36.0,
        "focal_length": 36.0 * focal / width,
        "generator": "tapkit generate",
    }


def write_kubric(folder: Path, video: Video) -> None:
    """One sequence: frames/*.png and NAME.npy, a dict of `coords` (N,T,2) and `visibility` (N,T), which is occlusion.

    Points that are ever behind the camera have no place there, and are left out.
    """
    kept = video.truth.valid.all(0)
    tracks = {
        "coords": video.truth.xy.swapaxes(0, 1)[kept],
        "visibility": ~video.visible.T[kept],
    }
    with storage.atomic(folder) as part:
        (part / "frames").mkdir(parents=True)
        for frame in range(video.take.frames):
            with Image.open(video.take.picture_file(frame)) as picture:
                picture.convert("RGB").save(part / f"frames/{frame:03d}.png")
        np.save(part / f"{folder.name}.npy", np.array(tracks, dtype=object), allow_pickle=True)
