"""Dense results on footage: flow-wheel colours, a warped grid, or coloured dots, drawn on the frames they lead to.

Cells are drawn where they are on that frame, so what is drawn moves with the scene.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from tapkit.errors import ShapeError, UsageError
from tapkit.types import FrameResult, Queries
from tapkit.types.dense import Dense, DenseField
from tapkit.video.base import Source
from tapkit.video.writer import Quality, VideoWriter
from tapkit.viz import palettes
from tapkit.viz.draw import Drawer, Style
from tapkit.viz.flow_wheel import flow_colors
from tapkit.viz.raster import Canvas, Strokes

Kind = Literal["dots", "flow", "grid"]
_LINES = 24
"""Cells of the warped grid along the longer side of the frame, unless given."""
_SEGMENT = 4
"""Pixels between two points of a line of the grid, about."""
_TORN = 3.0
"""A line is not drawn where it is stretched by more than this: there it leads over a motion boundary."""
_SHARE_OF_FULL = 0.25
"""Share of the length shown in full colour from which on colours hide the footage."""


@dataclass(frozen=True)
class DenseStyle:
    """How a dense result looks."""

    kind: Kind = "dots"
    """dots: a coloured dot for each cell, as single points are drawn; flow: each cell in the colour of its displacement
    on Middlebury's wheel; grid: a grid that lies straight on the first frame and is carried along."""
    scale: float | None = None
    """flow: the displacement in pixels that is shown in full colour; None: what 95 % of the cells stay below."""
    spacing: int | None = None
    """grid: pixels between two lines; None: a 24th of the frame's longer side."""
    opacity: float = 0.8
    """flow, grid: of the colours."""
    dots: Style = field(default_factory=Style)
    """dots: their look. All: `dim` and `threshold`."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UsageError(f"style must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if self.scale is not None and not self.scale > 0:
            raise UsageError(f"the displacement in full colour must be longer than 0 pixels, got {self.scale!r}")
        if self.spacing is not None and self.spacing < 2:
            raise UsageError(f"lines of a grid are at least 2 pixels apart, got {self.spacing}")
        if not 0 <= self.opacity <= 1:
            raise UsageError(f"opacity is a share from 0 to 1, got {self.opacity}")


class DenseDrawer:
    """Draws the fields of one dense result, each on the frame it leads to."""

    def __init__(self, dense: Dense, style: DenseStyle | None = None) -> None:
        self.dense, self.style = dense, style or DenseStyle()
        self.start = dense.start
        self._canvas = Canvas(*dense.size)
        queries = Queries.at(dense.frame, self.start.reshape(-1, 2)) if dense.one_frame else None
        self._dots = Drawer(dense.video, self.style.dots, queries=queries, source=dense.source)
        self._scale = self.style.scale or 0.0
        self._rgb: np.ndarray | None = None

    @property
    def scale(self) -> float:
        """The displacement in pixels that is shown in full colour."""
        if not self._scale:
            self._scale = usual_displacement(self.dense)
        return self._scale

    def draw(self, image: np.ndarray, found: DenseField | None) -> np.ndarray:
        """A copy of the frame [H,W,3] uint8 RGB with the field on it; None: nothing leads to this frame.

        Raises `ShapeError` for a frame of another size than the dense result's video.
        """
        height, width = self.dense.size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ShapeError(f"expected a frame [{height},{width},3] uint8, got {list(image.shape)} {image.dtype}")
        if self.style.kind == "dots" and found is not None:
            return self._dots.draw(image, _result(found))
        dim = self.style.dots.dim
        canvas = np.asarray(image * np.float32(1 - dim) + 0.5, np.uint8) if dim else image.copy()
        if found is None:
            return canvas
        shown = self.dense.visible_at(found.visible, found.confidence, self.style.dots.threshold) & found.valid
        shown &= np.isfinite(found.xy).all(-1)
        if self.style.kind == "flow":
            return self._wheel(canvas, found, shown)
        self._grid(canvas, found, shown)
        return canvas

    def _wheel(self, canvas: np.ndarray, found: DenseField, shown: np.ndarray) -> np.ndarray:
        moved = found.xy - self.start
        colours = flow_colors(moved, self.scale).astype(np.float32)
        length = np.hypot(*np.moveaxis(np.where(shown[..., None], moved, 0), -1, 0))
        share = self.style.opacity * np.clip(length / (_SHARE_OF_FULL * self.scale), 0, 1)
        rgb, alpha = splat(found.xy[shown], colours[shown], share[shown], self.dense.size, self.dense.step)
        return np.asarray(canvas * (1 - alpha[..., None]) + rgb * alpha[..., None] + 0.5, np.uint8)

    def _grid(self, canvas: np.ndarray, found: DenseField, shown: np.ndarray) -> None:
        spacing = self.style.spacing or max(round(max(self.dense.size) / _LINES), 2)
        apart = max(round(spacing / self.dense.step), 1)
        along = max(min(round(_SEGMENT / self.dense.step), apart), 1)
        if self._rgb is None:
            self._rgb = palettes.by_position(self.start, self.dense.size)
        start, end, rgb = [], [], []
        for across in (False, True):
            xy, rest, colour, seen = (
                part.swapaxes(0, 1) if across else part for part in (found.xy, self.start, self._rgb, shown)
            )
            lines = slice(apart // 2, None, apart)
            xy, rest, colour, seen = (part[lines, ::along] for part in (xy, rest, colour, seen))
            length = np.hypot(*np.moveaxis(xy[:, 1:] - xy[:, :-1], -1, 0))
            plain = np.hypot(*np.moveaxis(rest[:, 1:] - rest[:, :-1], -1, 0))
            keep = seen[:, 1:] & seen[:, :-1] & (length < _TORN * plain + 1)
            start.append(xy[:, :-1][keep])
            end.append(xy[:, 1:][keep])
            rgb.append(colour[:, :-1][keep])
        a, b, tones = (np.concatenate(parts).astype(np.float32) for parts in (start, end, rgb))
        ones = np.ones((len(a), 2), np.float32)
        half = max(0.6, min(self.dense.size) / 500)
        strokes = Strokes(
            a, b, half * ones, self.style.opacity * ones, tones, np.zeros(len(a), np.float32), np.zeros(len(a), bool)
        )
        self._canvas.strokes(canvas, strokes, 0.8, 0.35, 4.0)


def _result(found: DenseField) -> FrameResult:
    """The valid cells as single points."""
    rows = np.flatnonzero(found.valid.ravel())
    xy, visible, confidence = (
        part.reshape(found.valid.size, -1)[rows] for part in (found.xy, found.visible, found.confidence)
    )
    return FrameResult(found.second, rows, xy, visible[:, 0], confidence[:, 0])


def usual_displacement(dense: Dense) -> float:
    """Pixels that 95 % of the visible cells stay below, over up to five entries; at least 1."""
    chosen = sorted({round(share * (len(dense) - 1)) for share in (0, 0.25, 0.5, 0.75, 1)})
    lengths = [np.zeros(1)]
    for place in chosen:
        moved = dense.xy[place] - dense.start
        seen = dense.visible_at(dense.visible[place], dense.confidence[place]) & dense.valid[place]
        lengths.append(np.hypot(*moved[seen].T))
    usual = [np.percentile(part, 95) for part in lengths if len(part)]
    return max(float(max(usual)), 1.0)


def splat(
    xy: np.ndarray, rgb: np.ndarray, alpha: np.ndarray, size: tuple[int, int], side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Squares of `side` pixels around xy [M,2] with colours [M,3] and opacities [M], averaged where they overlap.

    -> colours [H,W,3] and opacity [H,W] float32; where they leave gaps of more than a pixel, opacity falls off.
    """
    height, width = size
    sums = np.zeros((5, height * width))
    planes = np.concatenate([np.ones((1, len(xy))), (rgb * alpha[:, None]).T, alpha[None]])
    for dy in range(side):
        for dx in range(side):
            place = xy + np.array([dx, dy], np.float32) - side / 2  # of a pixel's centre, counted from that of pixel 0
            base = np.floor(place).astype(np.int64)
            part = place - base
            for down in (0, 1):
                for right in (0, 1):
                    x, y = base[:, 0] + right, base[:, 1] + down
                    weight = np.abs(1 - right - part[:, 0]) * np.abs(1 - down - part[:, 1])
                    keep = (x >= 0) & (x < width) & (y >= 0) & (y < height)
                    index, weight = (y * width + x)[keep], weight[keep]
                    for total, plane in zip(sums, planes, strict=True):
                        total += np.bincount(index, weight * plane[keep], height * width)
    cover, red, green, blue, opaque = _filled(sums.reshape(5, height, width))
    colours = np.stack([red, green, blue], -1) / np.maximum(opaque, 1e-6)[..., None]
    return colours.astype(np.float32), (opaque / np.maximum(cover, 0.5)).astype(np.float32)


def _filled(sums: np.ndarray) -> np.ndarray:
    """Sums [5,H,W] (cover first) in which single pixels without cover, amid others that have it, are filled by these:
    where a scene is stretched by a tenth, every tenth pixel is left out."""
    padded = np.pad(sums, ((0, 0), (1, 1), (1, 1)))
    height, width = sums.shape[1:]
    around = np.zeros_like(sums)
    for dy in range(3):
        for dx in range(3):
            around += padded[:, dy : dy + height, dx : dx + width]
    hole = (sums[0] < 0.5) & (around[0] >= 4.5)
    return np.where(hole, around / np.maximum(around[0], 1e-6), sums)


def draw_dense(
    source: Source,
    dense: Dense,
    path: str | Path,
    style: DenseStyle | None = None,
    *,
    quality: Quality = "good",
    audio: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a video of `source` with a dense result on it, each field on the frame it leads to, in flat memory.

    Args:
        source: the video that was tracked, at its own size.
        path, quality, audio, progress: as for `tapkit.viz.draw.draw_video`.

    Raises `UsageError` if source and result are not of the same size, or several fields lead to one frame;
    `StorageError`, `VideoError`.
    """
    if source.info.size != dense.size:
        (height, width), (tracked_height, tracked_width) = source.info.size, dense.size
        raise UsageError(
            f"the video is {width}x{height} but the dense result is of one of {tracked_width}x{tracked_height}; "
            "were they made from another clip?"
        )
    if len(set(dense.second.tolist())) != len(dense):
        raise UsageError("several fields lead to the same frame: draw flow of one kind of pairs (next, first, step:K)")
    drawer = DenseDrawer(dense, style)
    last = int(dense.second.max(initial=0)) + 1
    frames = dense.video.frames or last
    file = source.info.path
    sound = file if audio and file and Path(file).is_file() else None
    with VideoWriter(path, source.info, quality=quality, audio_from=sound) as writer:
        coming = in_order(dense)
        found = next(coming, None)
        for frame in source.frames(0, frames):
            here = found if found is not None and found.second == frame.index else None
            writer.write(frame._replace(image=drawer.draw(frame.image, here)))
            if here is not None:
                found = next(coming, None)
            if progress:
                progress(writer.frames, frames)
    return Path(path)


def in_order(dense: Dense) -> Iterator[DenseField]:
    """The fields in the order of the frames they lead to."""
    if (np.diff(dense.second) > 0).all():
        yield from dense.fields()
        return
    for place in np.argsort(dense.second, kind="stable").tolist():
        parts = (getattr(dense, name)[place] for name in ("xy", "visible", "confidence", "valid"))
        yield DenseField(int(dense.first[place]), int(dense.second[place]), *parts)
