"""Pictures of a plan being carried out: the points, their goals, and what the hand is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image, ImageDraw

from tapkit.apps.servo.camera import Camera
from tapkit.apps.servo.follower import Moment
from tapkit.apps.servo.plan import Path2D, Plan
from tapkit.types import VideoInfo
from tapkit.video.writer import VideoWriter

_USED, _UNUSED, _GOAL = (255, 220, 60), (120, 120, 120), (60, 220, 255)


def draw_moment(image: np.ndarray, number: int, moment: Moment | None, scale: int = 2) -> np.ndarray:
    """The picture, `scale` times as large, with points (yellow; grey: not used) and lines to their goals (blue)."""
    height, width = image.shape[:2]
    picture = Image.fromarray(image).resize((width * scale, height * scale), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(picture)
    text = f"stage {number}"
    if moment is not None:
        for (x, y), (u, v), weight in zip(moment.xy * scale, moment.goals * scale, moment.weights, strict=True):
            if weight > 0:
                pen.line((x, y, u, v), fill=_GOAL)
            radius = 3 if weight > 0 else 2
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_USED if weight > 0 else _UNUSED)
        error = "" if not np.isfinite(moment.error) else f"  error {100 * moment.error:.1f} %"
        text += f"  frame {moment.reached}{error}"
    pen.rectangle((0, 0, 8 + pen.textlength(text), 14), fill=(0, 0, 0))
    pen.text((4, 2), text, fill=(255, 255, 255))
    return np.asarray(picture)


def draw_plan(plan: Plan) -> np.ndarray:
    """A row for each stage: the first pictures of its demonstrations, with its points and their ways, [H,W,3] uint8."""
    columns = max(len(stage.paths) for stage in plan.stages)
    rows = []
    for stage in plan.stages:
        pictures = [_draw_path(path, stage.used) for path in stage.paths]
        rows.append(np.hstack([*pictures, *[np.zeros_like(pictures[0])] * (columns - len(pictures))]))
    return np.vstack(rows)


def _draw_path(path: Path2D, used: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(path.image)
    pen = ImageDraw.Draw(picture)
    for point in np.flatnonzero(used):
        seen = path.visible[:, point]
        way = [tuple(xy) for xy in path.xy[seen, point].tolist()]
        if len(way) > 1:
            pen.line(way, fill=_GOAL)
        if seen[0]:
            x, y = way[0]
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=_USED)
    return np.asarray(picture)


class Film:
    """Writes a run as a video: what the camera sees with its points, beside another view if there is one.

    Give it to `carry_out` as `watch`; use it as a context manager.
    """

    def __init__(self, path: str | Path, camera: Camera, beside: Callable[[], np.ndarray] | None = None) -> None:
        """`beside` gives a picture of the height of twice the camera's."""
        self.beside = beside
        self._camera, self._path = camera, path
        self._writer: VideoWriter | None = None

    def __call__(self, image: np.ndarray, number: int, moment: Moment | None) -> None:
        """One step."""
        picture = draw_moment(image, number, moment)
        if self.beside is not None:
            picture = np.hstack([picture, self.beside()])
        if self._writer is None:
            info = VideoInfo(picture.shape[1], picture.shape[0], self._camera.fps)  # type: ignore[arg-type]
            self._writer = VideoWriter(self._path, info).__enter__()
        self._writer.write(picture)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)
