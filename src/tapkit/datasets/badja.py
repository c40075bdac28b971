"""BADJA as released (Biggs et al., "Creatures Great and SMAL", ACCV 2018).

    ROOT/joint_annotations/ANIMAL.json   list of {image_path, segmentation_path, joints [[row, column], ...],
                                         visibility [0|1, ...]}
    images and masks below ROOT (DAVIS/JPEGImages/..., extra_videos/...), every frame of the video; only some
    frames are annotated.

Joints are pixel indices as (row, column); half a pixel is added to make them corner-origin. Of the 37 joints of an
entry 20 are annotated (`joint_catalog.py` of the set). What is measured is PCK-T as Harley et al. report it ("Particle
Video Revisited", ECCV 2022): on the seven animals whose videos are of DAVIS; every joint is asked for on the
first annotated frame, also where it is hidden there or has no position ((0, 0) stands in the file then: nobody can
find it), and counted on every later annotated frame on which it is visible. The object is what the mask's first
channel (red) shows, at the size of the picture. Their script resizes pictures, joints and masks to 320x512 before
it measures, whose proportions are not those of DAVIS: the figure is given so (PCK-T), and in the pictures' own pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tapkit import coords
from tapkit.coords import Size
from tapkit.datasets.base import Clip, Finding, Listed
from tapkit.datasets.frames import image_files, image_size, open_images
from tapkit.errors import StorageError, VideoError

JOINTS = 37
"""Of the body model; an entry that has as many is of the released set."""
ANNOTATED = (8, 9, 10, 12, 13, 14, 15, 18, 19, 20, 22, 23, 24, 25, 28, 31, 32, 33, 35, 36)
"""Legs (three joints each), neck, tail (three), jaw, nose, ears."""
BENCHMARK = "DAVIS"
"""Folder of the videos that figures are reported on; `extra_videos` are not among them."""


class Badja(Listed[Path]):
    """Animals of which annotation and images are there.

    `names` are those of the benchmark: videos of DAVIS. Others (`extra`) can be read, and count if there are no others.
    """

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
        super().__init__({path.stem: path for path in files}, {})
        davis: set[str] = set()
        for name, path in self._places.items():
            try:
                entries = _entries(path)
                if BENCHMARK in Path(entries[0]["image_path"]).parts:
                    davis.add(name)
                gone = [e for e in entries if not (self.root / e["image_path"]).is_file()]
                if gone:
                    self._missing[name] = f"lacks {len(gone)} annotated images, first {gone[0]['image_path']}"
            except StorageError as error:
                self._missing[name] = str(error)
        self.extra = [name for name in self._places if davis and name not in davis and name not in self._missing]
        """Animals that no figure is reported on."""

    def names(self) -> Sequence[str]:
        """See `Dataset.names`."""
        return [name for name in super().names() if name not in self.extra]

    def check(self) -> Iterator[Finding]:
        """See `Dataset.check`; also which animals are no part of the benchmark."""
        yield from super().check()
        for name in self.extra:
            yield Finding("note", name, "is no video of DAVIS: figures of BADJA leave it out, so it is not evaluated")

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`: from the first annotated frame on."""
        path = self.place(name)
        entries = _entries(path)
        first = self.root / entries[0]["image_path"]
        images = image_files(first.parent)
        images = images[images.index(first) :]
        place = {path.name: index for index, path in enumerate(images)}
        last = max(place.get(Path(e["image_path"]).name, 0) for e in entries)
        images = images[: last + 1]
        size = image_size(images[0])
        chosen = list(ANNOTATED) if len(entries[0]["joints"]) == JOINTS else list(range(len(entries[0]["joints"])))
        joints = len(chosen)
        xy = np.full((joints, len(images), 2), np.nan, np.float32)
        visible, counted = np.zeros((2, joints, len(images)), bool)
        area = np.zeros(len(images))
        for entry in entries:
            frame = place[Path(entry["image_path"]).name]
            row_column = np.asarray(entry["joints"], np.float32)
            seen = np.asarray(entry["visibility"]).astype(bool)
            if row_column.shape != (len(entries[0]["joints"]), 2) or seen.shape != row_column.shape[:1]:
                raise StorageError(f"{path}: frame {entry['image_path']} has another number of joints")
            xy[:, frame] = coords.from_centers(row_column[chosen][:, ::-1])
            visible[:, frame], counted[:, frame] = seen[chosen], True
            area[frame] = _mask_area(self.root / entry["segmentation_path"], size)
        asked = np.flatnonzero(visible[:, 1:].any(1))  # what is never visible later is never counted
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


def _mask_area(path: Path, size: Size) -> float:
    """Pixels of the object: those whose red is not 0, at the size of the picture."""
    try:
        with Image.open(path) as image:
            coloured = image.convert("RGB")  # palettes give the objects of DAVIS their colours
            if (coloured.height, coloured.width) != size:
                coloured = coloured.resize((size[1], size[0]), Image.Resampling.NEAREST)
            mask = np.asarray(coloured)[..., 0]
    except (OSError, ValueError, SyntaxError) as error:
        raise VideoError(f"the mask {path} cannot be read ({error})") from error
    return float((mask > 0).sum())
