"""COCO keypoints (JSON): the points are the keypoints of one category, a frame is an image, with one annotation.

Pixel centres are integers. v is 2 visible, 1 occluded, 0 not labelled; COCO defines x = y = 0 for v = 0.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tapkit import coords
from tapkit.errors import UsageError
from tapkit.export.context import Context, listed
from tapkit.export.format import Format, Job, Option
from tapkit.export.found import Found, unique
from tapkit.export.text import NameRule, read_text, table, write_text
from tapkit.types.skeleton import Skeleton
from tapkit.video.numbers import numbers_of, sequences_of


def _write(job: Job, target: Path, category: str = "points", image: str = "") -> None:
    """One annotation for each frame that has keys; its box spans the positions, its area is that of the box."""
    video = job.video
    flags = np.where(job.keys.shown, 2, np.where(job.keys.key, 1, 0))
    xy = np.where(job.keys.key[..., None], coords.to_centers(job.keys.xy), 0.0)
    times, files = job.tracks.times(), job.image_names(image)
    images = [
        {
            "id": t + 1, "file_name": files[t], "width": video.width, "height": video.height,
            "frame": number, "time": round(float(times[t]), 6),
        }
        for t, number in enumerate(job.numbers.tolist())
    ]  # fmt: skip
    edges = [[a + 1, b + 1] for a, b in job.edges]  # counted from 1
    head = {
        "info": {"description": "points tracked by tapkit", "version": "1.0", "fps": str(video.fps)},
        "licenses": [], "images": images,
        "categories": [
            {"id": 1, "name": category, "supercategory": category, "keypoints": job.names, "skeleton": edges}
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


# -- reading ------------------------------------------------------------------------------------------

_IDENTITIES = ("track_id", "tracking_id", "individual", "individual_id", "animal", "animal_id", "person_id", "identity")
"""What programs call the animal of an annotation, or of its "attributes"."""
_FRAMES = ("frame", "frame_id", "frame_index", "frame_idx", "frame_number")
_SETS = ("", ".", "images", "train", "val", "valid", "validation", "test", "train2017", "val2017")
"""Folders that are parts of a data set, and no videos."""
_Animal = tuple[Any, str | None]
"""Category and identity of an annotation; None: it says none."""


def _read(path: Path, context: Context) -> Found:
    """Keypoints of one video: those of several animals or categories become points ANIMAL.KEYPOINT.

    An image is a frame of the number that the file gives to it, else of that in its name, else of its place.
    """
    document = json.loads(read_text(path))
    if isinstance(document, list):
        raise context.damaged(
            "it is a list of COCO results, which names neither the images nor the points: read the annotation file"
        )
    categories = {c["id"]: c for c in document["categories"] if c.get("keypoints")}
    if not categories:
        raise context.damaged("none of its categories has keypoints")
    wanted = [a for a in document["annotations"] if a.get("keypoints") and a.get("category_id") in categories]
    context.left_out("annotations without keypoints", len(document["annotations"]) - len(wanted))
    images, wanted = _one_video(document, wanted, context)
    frames = _frames(images, context)
    numbered = dict(zip((image["id"] for image in images), frames, strict=True))
    offsets, names = _points(categories, wanted, context)
    point, frame, xy, visible = [], [], [], []
    for annotation in wanted:
        offset = offsets.get(_animal(annotation))
        if offset is None:  # an animal that was not asked for
            continue
        values = np.array(annotation["keypoints"], float).reshape(-1, 3)
        rows = np.flatnonzero((values[:, 2] > 0) & np.isfinite(values).all(1))
        point.append(offset + rows)
        frame.append(np.full(len(rows), numbered[annotation["image_id"]]))
        xy.append(coords.from_centers(values[rows, :2]))
        visible.append(np.clip(values[rows, 2] - 1, 0, 1))
    none = np.zeros(0)
    first, count = _range(images, frames)
    return Found(
        names, np.concatenate([none, *point]).astype(int), np.concatenate([none, *frame]).astype(int),
        np.concatenate([np.zeros((0, 2)), *xy]), np.concatenate([none, *visible]),
        width=images[0].get("width"), height=images[0].get("height"), frames=count, first=first,
        skeleton=_edges(categories, offsets, names),
    )  # fmt: skip


def _one_video(document: dict[str, Any], wanted: list[Any], context: Context) -> tuple[list[Any], list[Any]]:
    """The images and annotations of the video that is meant. Raises UsageError for pictures of several sizes."""
    titles = {v["id"]: str(v.get("name") or v.get("file_name") or v["id"]) for v in document.get("videos", [])}
    video = _videos(document["images"], titles)
    if any(annotation["image_id"] not in video for annotation in wanted):
        raise context.damaged("it has an annotation of an image that it does not list")
    labelled = {annotation["image_id"] for annotation in wanted}
    names = [name for identity, name in video.items() if identity in labelled]
    if not names:
        raise context.damaged("none of its annotations has keypoints")
    chosen = context.one("video", names)
    images = [image for image in document["images"] if video[image["id"]] == chosen]
    wanted = [annotation for annotation in wanted if video[annotation["image_id"]] == chosen]
    sizes = dict.fromkeys((image.get("width"), image.get("height")) for image in images)
    if len(sizes) > 1:
        shown = listed([f"{width}x{height}" for width, height in sizes])
        raise UsageError(f"{context.path.name} has images of several sizes ({shown}): they are not of one video")
    return images, wanted


def _videos(images: list[dict[str, Any]], titles: dict[Any, str]) -> dict[Any, str]:
    """The video that each image (by its id) is said to be of, else its folder and the sequence that its name shows."""
    if all(image.get("video_id") is not None for image in images):
        return {image["id"]: titles.get(image["video_id"], str(image["video_id"])) for image in images}
    names = [_name(image) for image in images]
    folders = ["/".join(part for part in name.parts[:-1] if part.lower() not in _SETS) for name in names]
    parts = sequences_of([name.name for name in names])
    joined = ["/".join(filter(None, pair)) for pair in zip(folders, parts, strict=True)]
    return dict(zip((image["id"] for image in images), joined, strict=True))


def _name(image: dict[str, Any]) -> PurePosixPath:
    """The file's name; the one that it had before a tool such as Roboflow renamed it, if that is said."""
    extra = image.get("extra")
    name = extra.get("name") if isinstance(extra, dict) else None
    return PurePosixPath(str(name or image.get("file_name", "")).replace("\\", "/"))


def _frames(images: list[dict[str, Any]], context: Context) -> list[int]:
    """The frame number of each image."""
    for key in _FRAMES:
        if all(isinstance(image.get(key), int) for image in images):
            return [image[key] for image in images]
    numbers = numbers_of([_name(image).name for image in images])
    if numbers.note and (numbers.values or numbers.order) is not None:
        context.say(numbers.note)
    if numbers.values is not None and len(set(numbers.values)) == len(images):
        return numbers.values
    if numbers.order is not None:
        return numbers.order
    if numbers.note or numbers.values is not None:
        raise UsageError(f"{context.path.name}: the names of the images do not say which frames they are "
                         f"({numbers.note or 'several have the same number'})")  # fmt: skip
    context.say("its images have no frame numbers: they are numbered in their order, from 0")
    return list(range(len(images)))


def _range(images: list[dict[str, Any]], frames: list[int]) -> tuple[int | None, int | None]:
    """Number of the first frame and count, where the images are all frames of a clip; None where they are some."""
    whole = sorted(frames) == list(range(min(frames), max(frames) + 1))
    stated = len(images) > 1 or "frame" in images[0]
    return (min(frames), len(frames)) if whole and stated else (None, None)


def _animal(annotation: dict[str, Any]) -> _Animal:
    """Category and identity."""
    inner = annotation.get("attributes")
    for place in (annotation, inner if isinstance(inner, dict) else {}):
        for key in _IDENTITIES:
            if place.get(key) not in (None, ""):
                return annotation["category_id"], str(place[key])
    return annotation["category_id"], None


def _points(categories: dict[Any, Any], wanted: list[Any], context: Context) -> tuple[dict[_Animal, int], list[str]]:
    """Where the points of each animal begin among the names, and these names. Raises UsageError for animals that
    nothing tells apart."""
    seen = Counter((annotation["image_id"], _animal(annotation)) for annotation in wanted if _labelled(annotation))
    for (image, (_, identity)), count in seen.items():
        if identity is None and count > 1:
            raise UsageError(
                f"{context.path.name} has {count} animals on image {image}, and no track_id says which is which: "
                "it must be tracked first"
            )
    animals = list(dict.fromkeys(_animal(annotation) for annotation in wanted))
    used = list(dict.fromkeys(category for category, _ in animals))
    titles = unique([str(categories[category].get("name") or category) for category in used])
    title = dict(zip(used, titles, strict=True))
    several = len(used) > 1

    def called(animal: _Animal) -> str:
        category, identity = animal
        return title[category] if identity is None else f"{title[category]} {identity}" if several else identity

    named = dict(zip(unique([called(animal) for animal in animals]), animals, strict=True))
    chosen = context.some("animal", list(named))
    offsets: dict[_Animal, int] = {}
    names: list[str] = []
    for name in chosen:
        prefix = f"{name}." if len(chosen) > 1 else ""
        offsets[named[name]] = len(names)
        names += [f"{prefix}{keypoint}" for keypoint in categories[named[name][0]]["keypoints"]]
    return offsets, names


def _edges(categories: dict[Any, Any], offsets: dict[_Animal, int], names: list[str]) -> Skeleton:
    """The skeleton of each animal's category: pairs of keypoints, counted from 1. What is no such pair is left out."""
    edges = []
    for (category, _), offset in offsets.items():
        count = len(categories[category]["keypoints"])
        for pair in categories[category].get("skeleton") or ():
            if isinstance(pair, list) and len(pair) == 2 and all(isinstance(k, int) and 1 <= k <= count for k in pair):
                edges.append((names[offset + pair[0] - 1], names[offset + pair[1] - 1]))
    return tuple(edge for edge in edges if edge[0] != edge[1])


def _labelled(annotation: dict[str, Any]) -> bool:
    return any(value > 0 for value in annotation["keypoints"][2::3])


COCO = Format(
    "coco", ".json", "COCO keypoints", _write, _read, NameRule(r"[\x00-\x1f]", 200), occlusion=True, timing="index",
    bytes_per_key=24, keeps_empty=True, skeletons=True, options={
        "category": Option(str, "name of the category"),
        "image": Option(str, "file names of the frames, with {:06d} for the number (else those of the sequence)"),
    },
)  # fmt: skip
