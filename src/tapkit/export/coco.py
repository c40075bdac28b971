"""COCO keypoints (JSON): the points are the keypoints of one category, a frame is an image, with one annotation.

Pixel centres are integers. v is 2 visible, 1 occluded, 0 not labelled; COCO defines x = y = 0 for v = 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from tapkit import coords
from tapkit.export.format import Format, Job, Option
from tapkit.export.found import Context, Found
from tapkit.export.text import NameRule, table, write_text
from tapkit.video.numbers import numbers_of


def _write(job: Job, target: Path, category: str = "points", image: str = "{:06d}.png") -> None:
    """One annotation for each frame that has keys; its box spans the positions, its area is that of the box."""
    video = job.video
    flags = np.where(job.keys.shown, 2, np.where(job.keys.key, 1, 0))
    xy = np.where(job.keys.key[..., None], coords.to_centers(job.keys.xy), 0.0)
    times = job.tracks.times()
    images = [
        {
            "id": t + 1, "file_name": image.format(number), "width": video.width, "height": video.height,
            "frame": number, "time": round(float(times[t]), 6),
        }
        for t, number in enumerate(job.numbers.tolist())
    ]  # fmt: skip
    head = {
        "info": {"description": "points tracked by tapkit", "version": "1.0", "fps": str(video.fps)},
        "licenses": [], "images": images,
        "categories": [
            {"id": 1, "name": category, "supercategory": category, "keypoints": job.names, "skeleton": []}
        ],
    }  # fmt: skip

    def parts() -> Iterator[str]:
        yield json.dumps(head, ensure_ascii=False)[:-1] + ', "annotations": [\n'
        for written, t in enumerate(np.flatnonzero(job.keys.key.any(0)).tolist()):
            here = job.keys.key[:, t]
            low, high = xy[here, t].min(0), xy[here, t].max(0)
            box = [*low.tolist(), *(high - low).tolist()]
            keypoints = table("%.4f, %.4f, %d, ", xy[:, t, 0], xy[:, t, 1], flags[:, t]).rstrip(", ")
            facts: dict[str, Any] = {
                "id": written + 1, "image_id": t + 1, "category_id": 1, "track_id": 0, "iscrowd": 0,
                "num_keypoints": int(here.sum()), "area": round(box[2] * box[3], 4), "bbox": [round(v, 4) for v in box],
            }  # fmt: skip
            yield (",\n" if written else "") + json.dumps(facts)[:-1] + f', "keypoints": [{keypoints}]}}'
        yield "\n]}\n"

    write_text(target, parts())


def _read(path: Path, context: Context) -> Found:
    """Files of this layout: one annotation for each image, all of one category."""
    document = json.loads(path.read_text("utf-8"))
    images = {image["id"]: image for image in document["images"]}
    names = document["categories"][0]["keypoints"]
    named = numbers_of([PurePath(image["file_name"]) for image in document["images"]])
    counted = named if named is not None else range(len(document["images"]))
    frames = [int(image.get("frame", number)) for number, image in zip(counted, document["images"], strict=True)]
    numbered = dict(zip(images, frames, strict=True))
    point, frame, xy, visible = [], [], [], []
    for annotation in document["annotations"]:
        values = np.array(annotation["keypoints"], float).reshape(-1, 3)
        rows = np.flatnonzero(values[:, 2] > 0)
        point.append(rows)
        frame.append(np.full(len(rows), numbered[annotation["image_id"]]))
        xy.append(coords.from_centers(values[rows, :2]))
        visible.append(values[rows, 2] - 1)
    first = next(iter(images.values()))
    return Found(
        list(names), np.concatenate(point), np.concatenate(frame), np.concatenate(xy), np.concatenate(visible),
        width=first["width"], height=first["height"], frames=len(images), first=min(frames),
    )  # fmt: skip


COCO = Format(
    "coco", ".json", "COCO keypoints", _write, _read, NameRule(r"[\x00-\x1f]", 200), occlusion=True, timing="index",
    bytes_per_key=24, keeps_empty=True, options={
        "category": Option(str, "name of the category"),
        "image": Option(str, "file names of the frames, with {:06d} for the number"),
    },
)  # fmt: skip
