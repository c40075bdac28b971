"""Boxes and names over footage."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

from tapkit.apps.objects.table import ObjectTracks
from tapkit.errors import ShapeError
from tapkit.video.base import Source
from tapkit.video.writer import VideoWriter
from tapkit.viz import palettes
from tapkit.viz.labels import Labels
from tapkit.viz.raster import Canvas, Strokes

_PATH = 24
"""Frames for which the path of a box's centre is shown."""


class ObjectDrawer:
    """Draws objects frame by frame: a box and a name in the object's own colour, and where its centre has been.

    Boxes that were carried there by points, without a detection, are dashed.

    Args:
        objects: what `track_objects` returned.
        names: whether names are written.
    """

    def __init__(self, objects: ObjectTracks, names: bool = True) -> None:
        self._objects, self._names = objects, names
        height, width = objects.video.size
        self._canvas = Canvas(height, width)
        self._line = max(1.5, min(height, width) / 160)
        self._letters = max(10.0, min(height, width) / 26)
        self._labels = Labels(self._letters)

    def draw(self, image: np.ndarray, frame: int) -> np.ndarray:
        """A copy of a frame [H,W,3] uint8 RGB with its objects. Raises `ShapeError` for another size."""
        if image.shape != (*self._objects.video.size, 3):
            height, width = self._objects.video.size
            raise ShapeError(f"these objects are of a video of {width}x{height}, got a frame {list(image.shape)}")
        canvas = np.array(image, order="C")
        here = self._objects.at(frame)
        if not len(here):
            return canvas
        rgb = palettes.by_number(here.id)
        strokes = [self._paths(frame, here.id), self._boxes(here, rgb)]
        joined = Strokes(*(np.concatenate(parts) for parts in zip(*strokes, strict=True)))
        self._canvas.strokes(canvas, joined, 0.8, 0.5, 4 * self._line)
        if self._names:
            names = np.array(here.names)
            # Names stand above the upper edge, at its middle, inside the picture.
            top = np.maximum(here.xyxy[:, 1] - 0.8 * self._letters, 0.8 * self._letters)
            middle = here.xyxy[:, [0, 2]].clip(0, image.shape[1]).mean(1)
            half = np.array([0.3 * self._letters * len(name) for name in here.names])
            self._labels.draw(canvas, names, np.stack([middle - half, top], -1), rgb, 0.0)
        return canvas

    def _boxes(self, here: ObjectTracks, rgb: np.ndarray) -> Strokes:
        left, top, right, bottom = here.xyxy.T
        corners = np.stack([left, top, right, top, right, bottom, left, bottom], -1).reshape(-1, 4, 2)
        start, end = corners.reshape(-1, 2), np.roll(corners, -1, 1).reshape(-1, 2)
        return self._strokes(start, end, np.repeat(rgb, 4, 0), np.repeat(here.interpolated, 4), self._line, 0.95)

    def _paths(self, frame: int, ids: np.ndarray) -> Strokes:
        """Straight strokes between the centres of boxes of the last frames."""
        start, end, owner = [], [], []
        earlier = [self._objects.at(t) for t in range(max(0, frame - _PATH), frame + 1)]
        places = [
            {int(n): (box[:2] + box[2:]) / 2 for n, box in zip(each.id, each.xyxy, strict=True)} for each in earlier
        ]
        for number in ids.tolist():
            for before, after in pairwise(places):
                if number in before and number in after:  # no line where nothing is known
                    start.append(before[number])
                    end.append(after[number])
                    owner.append(number)
        count = len(owner)
        rgb = palettes.by_number(np.array(owner, np.int64)) if count else np.zeros((0, 3), np.float32)
        begin, stop = (np.array(part).reshape(-1, 2) for part in (start, end))
        return self._strokes(begin, stop, rgb, np.zeros(count, bool), 0.6 * self._line, 0.7)

    def _strokes(
        self, start: np.ndarray, end: np.ndarray, rgb: np.ndarray, dashed: np.ndarray, width: float, opacity: float
    ) -> Strokes:
        height, across = self._objects.video.size
        high = np.array([across + 8, height + 8], np.float32)  # far outside nothing is to be seen
        start, end = (np.clip(part.astype(np.float32), -8, high) for part in (start, end))
        both = np.ones((len(start), 2), np.float32)
        return Strokes(
            start, end, both * np.float32(width / 2), both * np.float32(opacity),
            rgb.astype(np.float32), np.zeros(len(start), np.float32), dashed,
        )  # fmt: skip


def draw_objects(
    source: Source,
    objects: ObjectTracks,
    path: str | Path,
    names: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the video with its objects over it, frame by frame, with its sound. Returns the path.

    Args:
        source: the video that was tracked, at its own size; not live.
        objects: what `track_objects` returned.
        path: where to; see `VideoWriter` for what its ending means.
        names: whether names are written.
        progress: called with (frames done, frames in all).

    Raises `ShapeError` for another video, `UsageError`, `StorageError`.
    """
    drawer = ObjectDrawer(objects, names)
    info = source.info
    sound = Path(info.path) if info.path and Path(info.path).is_file() else None
    with VideoWriter(path, info, audio_from=sound) as writer:
        for frame in source.frames(stop=objects.video.frames):
            writer.write(drawer.draw(frame.image, frame.index), frame.time)
            if progress is not None:
                progress(frame.index + 1, objects.video.frames or 0)
    return Path(path)
