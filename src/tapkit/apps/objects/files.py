"""Files of detections and of objects: MOTChallenge text, COCO (COCO-VID, TAO) JSON, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import storage
from tapkit.apps.objects.detections import Detections
from tapkit.apps.objects.table import ObjectTracks
from tapkit.errors import StorageError, TapkitError, UsageError

FORMATS = ("mot", "coco", "csv")
_FIRST = 1
"""Number of the first frame and of the first pixel in MOTChallenge files: an object at the left border has left = 1."""


def read_detections(path: str | Path, size: tuple[int, int] | None = None) -> dict[int, Detections]:
    """Detections by frame, counted from 0, of a MOTChallenge file (.txt, .csv) or a COCO file (.json).

    Args:
        path: the file.
        size: (height, width) of the video, where known; files that name another are refused.

    Raises `StorageError` for a file that is damaged or something else, with the line; `UsageError` for values that
    cannot be used.
    """
    path = storage.check_file(path)
    with storage.reading(path, "a file of detections"):
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return _of_coco(json.loads(text), path, size)
        return _of_mot(text, path)


def _of_mot(text: str, path: Path) -> dict[int, Detections]:
    rows: dict[int, list[tuple[list[float], float]]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = [float(part) for part in line.replace(",", " ").split()]
            frame, left, top, width, height = values[0], *values[2:6]
            if len(values) < 6 or frame != int(frame):
                raise ValueError
        except (ValueError, OverflowError, IndexError) as error:
            raise StorageError(
                f"line {number} of {path} is not frame,id,left,top,width,height,score as MOTChallenge has it: "
                f"{line.strip()[:60]!r}"
            ) from error
        if frame < _FIRST:
            raise StorageError(f"line {number} of {path} is of frame {int(frame)}; MOTChallenge counts frames from 1")
        left, top = left - _FIRST, top - _FIRST
        box, score = [left, top, left + width, top + height], values[6] if len(values) > 6 else 1.0
        rows.setdefault(int(frame) - _FIRST, []).append((box, score))
    return {frame: _checked(path, frame, *zip(*own, strict=True)) for frame, own in rows.items()}


def _of_coco(content: Any, path: Path, size: tuple[int, int] | None) -> dict[int, Detections]:
    """A dataset (images, annotations, categories), or a list of results whose image_id is the frame, from 0."""
    whole = content if isinstance(content, dict) else {"annotations": content}
    names = {each["id"]: str(each["name"]) for each in whole.get("categories", [])}
    frames: dict[Any, int] | None = None
    if "images" in whole:
        if len({image.get("video_id") for image in whole["images"]}) > 1:
            raise UsageError(f"{path} has images of several videos: write one file for each")
        frames = {}
        for place, image in enumerate(whole["images"]):
            named = (image.get(key) for key in ("frame_index", "frame_id"))
            frames[image["id"]] = int(next((value for value in named if value is not None), place))
            if size is not None and "width" in image and (image["height"], image["width"]) != size:
                raise UsageError(
                    f"{path} is of a video of {image['width']}x{image['height']}, this one is {size[1]}x{size[0]}"
                )
    rows: dict[int, list[tuple[list[float], float, str]]] = {}
    for each in whole["annotations"]:
        frame = frames[each["image_id"]] if frames is not None else int(each["image_id"])
        left, top, width, height = (float(value) for value in each["bbox"])
        label = names.get(each.get("category_id"), str(each.get("category_id", "")))
        rows.setdefault(frame, []).append(
            ([left, top, left + width, top + height], float(each.get("score", 1.0)), label)
        )
    return {frame: _checked(path, frame, *zip(*own, strict=True)) for frame, own in rows.items()}


def _checked(path: Path, frame: int, *columns: Any) -> Detections:
    try:
        return Detections.of(*columns)
    except TapkitError as error:
        raise UsageError(f"{path}, frame {frame} counted from 0: {error}") from error


def write_objects(path: str | Path, objects: ObjectTracks, kind: str = "mot", interpolated: bool = False) -> Path:
    """Write objects as "mot", "coco" or "csv"; the file is whole or not there. Returns the path.

    Args:
        path: where to.
        objects: what `track_objects` returned.
        kind: "mot" (frames and pixels counted from 1), "coco" (COCO-VID), or "csv" (frames from 0, corner origin).
        interpolated: whether boxes without a detection, carried there by points, are written too.

    Raises `StorageError`, `UsageError`.
    """
    if kind not in FORMATS:
        raise UsageError(f"objects are written as {', '.join(FORMATS)}, not as {kind!r}")
    chosen = objects if interpolated else objects.detected()
    writers: dict[str, Callable[[ObjectTracks], str]] = {"mot": _as_mot, "coco": _as_coco, "csv": _as_csv}
    return storage.write_text(path, writers[kind](chosen))


def kind_of(path: str | Path) -> str:
    """The format that an ending stands for. Raises `UsageError`.

    >>> kind_of("a.txt"), kind_of("a.json"), kind_of("a.csv")
    ('mot', 'coco', 'csv')
    """
    kinds = {".txt": "mot", ".json": "coco", ".csv": "csv"}
    suffix = Path(path).suffix.lower()
    if suffix not in kinds:
        raise UsageError(f"objects are written to .txt (MOTChallenge), .json (COCO) or .csv, not to {suffix or path!r}")
    return kinds[suffix]


def _as_mot(objects: ObjectTracks) -> str:
    lines = []
    for frame, number, box, score in zip(objects.frame, objects.id, objects.xyxy, objects.score, strict=True):
        left, top, width, height = box[0] + _FIRST, box[1] + _FIRST, box[2] - box[0], box[3] - box[1]
        lines.append(f"{frame + _FIRST},{number},{left:.2f},{top:.2f},{width:.2f},{height:.2f},{score:.4f},-1,-1,-1\n")
    return "".join(lines)


def _as_coco(objects: ObjectTracks) -> str:
    video = objects.video
    count = video.frames if video.frames is not None else int(objects.frame.max(initial=-1)) + 1
    labels = [str(label) for label in np.unique(objects.label)] or [""]
    of_label = {label: number for number, label in enumerate(labels, 1)}
    name = Path(video.path).name if video.path else "video"
    annotations = []
    for row, (left, top, right, bottom) in enumerate(objects.xyxy.tolist()):
        annotations.append(
            {
                "id": row + 1,
                "image_id": int(objects.frame[row]) + 1,
                "video_id": 1,
                "track_id": int(objects.id[row]),
                "category_id": of_label[str(objects.label[row])],
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top),
                "iscrowd": 0,
                "score": float(objects.score[row]),
                "interpolated": bool(objects.interpolated[row]),
            }
        )
    images = [
        {
            "id": t + 1, "video_id": 1, "frame_id": t, "frame_index": t, "file_name": f"{name}/{t:06d}",
            "width": video.width, "height": video.height,
        }
        for t in range(count)
    ]  # fmt: skip
    content = {
        "videos": [{"id": 1, "name": name, "width": video.width, "height": video.height, "length": count}],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": label or "object"} for label, number in of_label.items()],
        "tracks": [
            {
                "id": number,
                "video_id": 1,
                "category_id": of_label[str(objects.label[int(np.argmax(objects.id == number))])],
            }
            for number in objects.ids
        ],
    }
    return json.dumps(content)


def _as_csv(objects: ObjectTracks) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["frame", "id", "left", "top", "right", "bottom", "score", "label", "interpolated"])
    for row in range(len(objects)):
        box = [f"{value:.3f}" for value in objects.xyxy[row].tolist()]
        score, carried = f"{objects.score[row]:.4f}", int(objects.interpolated[row])
        table.writerow([objects.frame[row], objects.id[row], *box, score, objects.label[row], carried])
    return out.getvalue()
