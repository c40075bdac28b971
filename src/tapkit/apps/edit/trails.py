"""Trails: where points have been, drawn over the video; with the camera's motion taken out if asked for.

Every frame draws only the window of its own trail: one of a long video takes no longer than one of a short one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tapkit.apps.edit.background import background_motion
from tapkit.apps.edit.composite import Report, check_source
from tapkit.apps.edit.footage import sound_of
from tapkit.apps.edit.models import apply
from tapkit.apps.edit.prepare import MAX_GAP, Prepared, prepare
from tapkit.errors import UsageError
from tapkit.types import Tracks
from tapkit.video.using import using
from tapkit.video.writer import VideoWriter
from tapkit.viz import palettes
from tapkit.viz.draw import dot_radius
from tapkit.viz.flow_wheel import flow_colors
from tapkit.viz.raster import Canvas, Discs, Strokes

Fade = Literal["linear", "quadratic"]
Color = Literal["start-y", "id", "time", "speed", "flow"]
Hidden = Literal["ring", "hide", "dash"]
FADES: tuple[Fade, ...] = ("linear", "quadratic")
COLORS: tuple[Color, ...] = ("start-y", "id", "time", "speed", "flow")
HIDDEN: tuple[Hidden, ...] = ("ring", "hide", "dash")


@dataclass(frozen=True)
class TrailStyle:
    """How trails look."""

    length: int = 16
    """Frames that a trail is long."""
    fade: Fade = "quadratic"
    """How its opacity falls towards its end."""
    color: Color = "start-y"
    """By the height at which a point began (a rainbow), by point, by time, by speed, or by direction and speed (the
    flow wheel)."""
    occluded: Hidden = "ring"
    """Where a point is not visible: a ring and no trail, nothing at all, or a dashed trail."""
    width: float | None = None
    """Of a trail at its point, pixels; None: by resolution and number of points."""
    dots: bool = True
    max_gap: int = MAX_GAP
    """Frames of a gap through which a dashed trail goes on."""
    dim: float = 0.0
    """How much to darken the footage, 0..1."""

    def __post_init__(self) -> None:
        for name, known in (("fade", FADES), ("color", COLORS), ("occluded", HIDDEN)):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}")
        if self.length < 1:
            raise UsageError(f"a trail is one frame long at least, got {self.length}")
        if self.width is not None and not self.width > 0:
            raise UsageError(f"width is more than 0 pixels, got {self.width}")
        if not 0 <= self.dim <= 1:
            raise UsageError(f"dim is 0 to 1, got {self.dim}")


def trails(
    video: Any,
    tracks: Tracks,
    output: str | Path,
    style: TrailStyle | None = None,
    *,
    compensate: str | np.ndarray | None = None,
    reference: int = 0,
    report: Report | None = None,
) -> Path:
    """Draw trails over a video. Returns the path.

    Args:
        video: anything `tapkit.open_video` takes, except cameras and streams; at the size of the tracks.
        tracks: all their points are drawn.
        output: a video or a sequence, see `VideoWriter`.
        compensate: "background": trails show how points move against the static scene (which all points vote on): where
            a point was is carried along with that scene. A mask [H,W] of frame `reference`: what is not background.
            None: they show how points move in the picture.

    Raises `ShapeError` for a video of another size, `UsageError`.
    """
    style = style or TrailStyle()
    with using(video) as source:
        check_source(source)
        prepared = prepare(tracks, size=source.info.size, max_gap=style.max_gap)
        if prepared.frames != source.info.frames:
            raise UsageError(f"these tracks have {prepared.frames} frames, the video {source.info.frames}")
        steady = None
        if compensate is not None:
            if isinstance(compensate, str) and compensate != "background":
                raise UsageError(f'compensate is "background", a mask or None, not {compensate!r}')
            mask = None if isinstance(compensate, str) else np.asarray(compensate)
            steady = background_motion(prepared, reference, mask=mask).matrices
        drawer = TrailDrawer(prepared, style, steady)
        with VideoWriter(output, source.info, quality="high", audio_from=sound_of(source)) as writer:
            for frame in source.frames():
                writer.write(drawer.draw(frame.image, frame.index), frame.time)
                if report is not None:
                    report(frame.index + 1, source.info.frames)
    return Path(output)


class TrailDrawer:
    """Draws the trails of one frame at a time.

    Args:
        prepared: tracks.
        style: how they look.
        steady: [T,3,3] of the static scene, from any one frame; None: the picture itself is the reference.
    """

    def __init__(self, prepared: Prepared, style: TrailStyle, steady: np.ndarray | None = None) -> None:
        self.prepared, self.style = prepared, style
        height, width = prepared.size
        self._canvas = Canvas(height, width)
        self._radius = dot_radius(prepared.size, len(prepared.tracks))
        self._width = style.width or max(1.2, 0.9 * self._radius)
        self._seen = prepared.weight > 0
        self._known = prepared.known if style.occluded == "dash" else self._seen
        self._steady = steady
        self._still = None if steady is None else np.linalg.inv(steady)
        self._step = self._typical_step()
        self._colour = self._colours()

    def draw(self, image: np.ndarray, t: int) -> np.ndarray:
        """A copy of frame t [H,W,3] uint8 with its trails."""
        canvas = np.array(image, order="C")
        if self.style.dim:
            canvas = (canvas * np.float32(1 - self.style.dim)).astype(np.uint8)
        strokes = self._strokes(t)
        if len(strokes.start):
            self._canvas.strokes(canvas, strokes, 0.6, 0.25, max(3.0, self._width))
        if self.style.dots:
            self._dots(canvas, t)
        return canvas

    def _places(self, t: int, first: int) -> np.ndarray:
        """Where the points were on frames first..t, as seen from frame t: [N,t-first+1,2]."""
        xy = self.prepared.xy[:, first : t + 1]
        if self._steady is None or self._still is None:
            return xy
        moved = [apply(self._steady[t] @ self._still[first + k], xy[:, k]) for k in range(xy.shape[1])]
        return np.stack(moved, 1)

    def _strokes(self, t: int) -> Strokes:
        first = max(t - self.style.length, 0)
        xy = np.nan_to_num(self._places(t, first), posinf=-1e4, neginf=-1e4)
        known = self._known[:, first : t + 1]
        row, k = np.nonzero(known[:, 1:] & known[:, :-1])  # trails break at gaps
        height, width = self.prepared.size
        start, end = xy[row, k], xy[row, k + 1]
        margin = 50.0
        near = ((np.maximum(start, end) > -margin) & (np.minimum(start, end) < (width + margin, height + margin))).all(
            1
        )
        row, k, start, end = row[near], k[near], start[near], end[near]
        age = np.stack([t - (first + k), t - (first + k + 1)], 1) / self.style.length
        life = np.clip(1 - age, 0, 1)
        opacity = life if self.style.fade == "linear" else life**2
        seen = self._seen[:, first : t + 1]
        hidden = ~(seen[row, k] & seen[row, k + 1])
        half = self._width / 2 * (0.4 + 0.6 * life)
        length = np.hypot(*(end - start).T)
        limit = np.array([width + margin, height + margin])
        start, end = np.clip(start, -margin, limit), np.clip(end, -margin, limit)
        return Strokes(
            start.astype(np.float32), end.astype(np.float32), half.astype(np.float32),
            (0.9 * opacity).astype(np.float32), self._colour(row, first + k, end - start),
            np.cumsum(length).astype(np.float32), hidden,
        )  # fmt: skip

    def _dots(self, canvas: np.ndarray, t: int) -> None:
        there = self.prepared.known[:, t] if self.style.occluded != "hide" else self._seen[:, t]
        rows = np.flatnonzero(there)
        xy = self.prepared.xy[rows, t]
        height, width = self.prepared.size
        near = ((xy > -20) & (xy < (width + 20, height + 20))).all(1)
        rows, xy = rows[near], xy[near]
        if not len(rows):
            return
        seen = self._seen[rows, t].astype(np.float32)
        before = max(t - 1, 0)
        step = self._places(t, before)[rows]
        rgb = self._colour(rows, np.full(len(rows), before), step[:, -1] - step[:, 0])
        one = np.ones(len(rows), np.float32)
        discs = Discs(xy.astype(np.float32), rgb, 0.9 * seen, one, np.zeros(len(rows), bool))
        self._canvas.discs(canvas, discs, self._radius, max(1.0, 0.35 * self._radius), 0.6, 0.35)

    def _colours(self) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
        """A function (rows, frames, steps [S,2]) -> colours [S,3] float32."""
        kind, queries = self.style.color, self.prepared.tracks.queries
        if kind == "id":
            own = palettes.by_number(np.arange(len(queries)))
            return lambda rows, frames, steps: own[rows]
        if kind == "start-y":
            rank = queries.xy[:, 1].argsort().argsort() / max(len(queries) - 1, 1)
            rainbow = palettes.oklch(0.76, 0.17, 30 + 270 * rank)
            return lambda rows, frames, steps: rainbow[rows]
        if kind == "time":
            by_time = palettes.oklch(
                0.76, 0.17, 250 - 220 * np.arange(self.prepared.frames) / max(self.prepared.frames - 1, 1)
            )
            return lambda rows, frames, steps: by_time[frames]
        if kind == "speed":
            return lambda rows, frames, steps: palettes.oklch(
                0.62 + 0.2 * self._share(steps), 0.17, 260 - 230 * self._share(steps)
            )
        return lambda rows, frames, steps: (
            flow_colors(steps[:, None].astype(np.float32), self._step)[:, 0].astype(np.float32) / 255
            if len(steps)
            else np.zeros((0, 3), np.float32)
        )

    def _share(self, steps: np.ndarray) -> np.ndarray:
        return np.asarray(np.clip(np.hypot(*steps.T) / self._step, 0, 1))

    def _typical_step(self) -> float:
        """Pixels a frame that are shown in full colour: what 95 % of all steps stay below."""
        both = self._seen[:, 1:] & self._seen[:, :-1]
        if not both.any():
            return 1.0
        steps = np.hypot(*np.moveaxis(np.diff(self.prepared.xy, axis=1)[both], -1, 0))
        return max(float(np.quantile(steps, 0.95)), 0.5)
