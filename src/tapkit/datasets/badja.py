"""BADJA as released (Biggs et al., "Creatures Great and SMAL", ACCV 2018).

    ROOT/joint_annotations/ANIMAL.json   list of {image_path, segmentation_path, joints [[row, column], ...],
                                         visibility [0|1, ...]}
    images and masks below ROOT (DAVIS/JPEGImages/..., extra_videos/...), every frame of the video; only some
    frames are annotated.

Joints are pixel indices as (row, column); half a pixel is added to make them corner-origin. All joints are asked
for on the first annotated frame; only annotated frames count. The layout is written down from what is publicly
known of the set; it could not be checked against a released copy here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tapkit import coords
from tapkit.datasets.base import Clip, Dataset
from tapkit.datasets.frames import image_files, image_size, open_images
from tapkit.errors import StorageError, VideoError


class Badja(Dataset):
    """Animals of which annotation and images are there."""

    name = "BADJA"
    metrics = ("pck", "tapvid")
    query_mode = "first"
    resolution = "native"
    citation = "Biggs et al., Creatures Great and SMAL, ACCV 2018"

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        files = sorted((self.root / "joint_annotations").glob("*.json"))
        if not files:
            raise StorageError(f"{self.root} has no joint_annotations/*.json")
        self._files = {path.stem: path for path in files}
        self._missing: dict[str, str] = {}
        for name, path in self._files.items():
            try:
                gone = [e for e in _entries(path) if not (self.root / e["image_path"]).is_file()]
                if gone:
                    self._missing[name] = f"lacks {len(gone)} annotated images, first {gone[0]['image_path']}"
            except StorageError as error:
                self._missing[name] = str(error)

    def names(self) -> Sequence[str]:
        """See `Dataset.names`."""
        return [name for name in self._files if name not in self._missing]

    def missing(self) -> Mapping[str, str]:
        """See `Dataset.missing`."""
        return dict(self._missing)

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`: from the first annotated frame on."""
        if name not in self._files:
            raise self.unknown(name)
        if name in self._missing:
            raise StorageError(f"BADJA {name!r}: {self._missing[name]}")
        entries = _entries(self._files[name])
        first = self.root / entries[0]["image_path"]
        images = image_files(first.parent)
        images = images[images.index(first) :]
        place = {path.name: index for index, path in enumerate(images)}
        last = max(place.get(Path(e["image_path"]).name, 0) for e in entries)
        images = images[: last + 1]
        joints = len(entries[0]["joints"])
        xy = np.full((joints, len(images), 2), np.nan, np.float32)
        visible, counted = np.zeros((2, joints, len(images)), bool)
        area = np.zeros(len(images))
        for entry in entries:
            frame = place[Path(entry["image_path"]).name]
            row_column = np.asarray(entry["joints"], np.float32)
            seen = np.asarray(entry["visibility"]).astype(bool)
            if row_column.shape != (joints, 2) or seen.shape != (joints,):
                raise StorageError(f"{self._files[name]}: frame {entry['image_path']} has another number of joints")
            xy[:, frame] = coords.from_centers(row_column[:, ::-1])
            visible[:, frame], counted[:, frame] = seen, True
            area[frame] = _mask_area(self.root / entry["segmentation_path"])
        asked = np.flatnonzero(visible[:, 0])
        size = image_size(images[0])
        return Clip(
            name,
            xy,
            visible,
            size,
            lambda: open_images(images),
            counted=counted,
            mask_area=area,
            queries=(asked, np.zeros(len(asked), np.int64)),
            stamp=f"{len(images)} images",
        )


def _entries(path: Path) -> list[dict[str, Any]]:
    """Annotated frames of an animal, in order."""
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read as JSON ({error})") from error
    needed = ("image_path", "segmentation_path", "joints", "visibility")
    if (
        not isinstance(entries, list)
        or not entries
        or not all(isinstance(e, dict) and all(k in e for k in needed) for e in entries)
    ):
        raise StorageError(f"{path} is not a list of annotated frames with {', '.join(needed)}")
    return sorted(entries, key=lambda entry: entry["image_path"])


def _mask_area(path: Path) -> float:
    """Pixels of the object."""
    try:
        with Image.open(path) as image:
            mask = np.asarray(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise VideoError(f"the mask {path} cannot be read ({error})") from error
    return float(((mask if mask.ndim == 2 else mask.max(-1)) > 0).sum())
