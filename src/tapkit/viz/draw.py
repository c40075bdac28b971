"""Tracks on footage: dots, fading trails, hollow where occluded.

`Drawer` draws frame by frame and remembers a trail's length and no more, so it works on a file, while a tracker
runs, or on a camera for days. `draw_frame` and `draw_video` are the same for finished tracks.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from tapkit.errors import ShapeError, UsageError
from tapkit.motion.watch import codes
from tapkit.types import FrameResult, Provenance, Queries, Tracks, VideoInfo
from tapkit.types import skeleton as edges_of
from tapkit.types.skeleton import Skeleton
from tapkit.video.base import Source
from tapkit.video.writer import Quality, VideoWriter
from tapkit.viz import palettes
from tapkit.viz.labels import Labels
from tapkit.viz.raster import Canvas, Discs, Strokes
from tapkit.viz.trails import Trails

Occluded = Literal["hollow", "dashed", "hide"]
_SHORT_SIDE_PER_RADIUS = 165.0
_RADIUS_PER_SPACING = 0.13
_LEAST_OPACITY = 0.2
_CROWD = 400
_RING = 2.2
"""Radius of the ring around a point in doubt, in radii of the dot."""
_MARKS = np.array([[0, 0, 0], [1.0, 0.72, 0.1], [1.0, 0.2, 0.2]], np.float32)
"""Its colour by the code of `tapkit.motion.watch`: amber unsure, red jumped."""
_TRAIL = 24
_FEW = 12
"""Points that are told apart by their hues."""
_MANY = 100
"""Points beyond which trails of occluded ones are left out, unless asked for."""
_TOO_MANY = 1000
"""Points beyond which all trails are."""


@dataclass(frozen=True)
class Style:
    """How tracks look. Sizes follow the resolution and the number of points unless given."""

    radius: float | None = None
    """Of the dots in pixels; None: 1/165 of the shorter side, less where points stand close."""
    trail: int | None = None
    """Frames after which a trail has faded; 0: no trails. With more than 400 points they are somewhat shorter.
    None: 24, without those of occluded points where there are more than 100 points, and none at all beyond 1000."""
    trail_width: float = 0.75
    """Width of a trail at its point, as a share of the dot's radius; it thins out towards its end."""
    trail_opacity: float = 0.85
    """At the point; it fades towards the end."""
    color: str = "auto"
    """"position" (of the query in the frame), "id", "point" (in the order in which they were asked for, each another
    hue), "confidence", or one colour: a name or a code like "#ffaa00". "auto": "point" for up to 12 points, else
    "position"."""
    occluded: Occluded = "hollow"
    """Occluded points as a hollow circle, a dashed circle, or not at all. Their trails are dashed, or hidden."""
    confidence_opacity: bool = True
    """Whether dots are filled the fainter the less confident the tracker is."""
    threshold: float | None = None
    """Score from which a point counts as visible; None: the one of the model's authors."""
    shade: float = 0.5
    """Opacity of the thin dark outline that keeps colours apart from bright footage."""
    dim: float = 0.0
    """How much to darken the footage, 0..1."""
    grid: int | None = None
    """Spacing in pixels of faint coordinate lines; None: none."""
    labels: bool = False
    """Whether ids are written beside their points."""
    marks: bool = True
    """Whether points in doubt have a ring around them: red for some frames after a jump, amber where the tracker is
    unsure of what it says it sees (see `tapkit.motion.doubt`). Over whole clips, where all that follows is known."""
    font: str | Path | None = None
    """Font file for them; None: one of this machine that has the letters."""

    def __post_init__(self) -> None:
        for name in ("trail_opacity", "shade", "dim"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is a share from 0 to 1, got {getattr(self, name)}")
        if (self.trail or 0) < 0 or self.trail_width < 0:
            raise UsageError(f"trails cannot be negative, got trail={self.trail}, trail_width={self.trail_width}")
        if self.radius is not None and not self.radius > 0:
            raise UsageError(f"radius must be positive, got {self.radius}")
        if self.grid is not None and self.grid < 2:
            raise UsageError(f"grid is the spacing of lines in pixels and at least 2, got {self.grid}")
        if self.occluded not in ("hollow", "dashed", "hide"):
            raise UsageError(f"occluded must be hollow, dashed or hide, got {self.occluded!r}")
        if self.color not in ("auto", "position", "id", "point", "confidence"):
            palettes.one_colour(self.color)


class _Rows:
    """Points of one frame as they will be drawn, M of them."""

    def __init__(self, result: FrameResult, shown: np.ndarray, visible: np.ndarray) -> None:
        self.rows = np.asarray(result.rows)[shown]
        self.names = result.names
        self.xy = np.asarray(result.xy, np.float32)[shown]
        self.confidence = np.asarray(result.confidence, np.float32)[shown]
        self.visible = visible[shown]

    def ids(self, chosen: np.ndarray) -> np.ndarray:
        """Names of some of them, [K] str."""
        rows: np.ndarray = self.rows[chosen]
        return rows.astype(np.str_) if self.names is None else np.asarray(self.names[rows])

    def __len__(self) -> int:
        return len(self.rows)


class Drawer:
    """Draws the results of one video frame by frame; remembers one trail length, whatever the video's.

    Args:
        info: size of the frames that will be drawn on.
        style: how it looks.
        queries: the points asked for, if known: colours then come from the query positions. Otherwise a point's
            colour comes from where it was first seen.
        source: where the results come from; its rule and threshold decide what is visible.
        skeleton: pairs of ids of `queries`, between which lines are drawn: dashed where one of the two is occluded.
    """

    def __init__(
        self,
        info: VideoInfo,
        style: Style | None = None,
        *,
        queries: Queries | None = None,
        source: Provenance | None = None,
        skeleton: Skeleton = (),
    ) -> None:
        self.info = info
        self.style = style or Style()
        self._source = source or Provenance()
        self._canvas = Canvas(info.height, info.width)
        ids = [] if queries is None else queries.ids.tolist()
        self._edges = np.array(edges_of.rows(edges_of.checked(skeleton, ids), ids), np.int64).reshape(-1, 2)
        """[E,2] rows."""
        self._crowd = 1
        self._labels: Labels | None = None
        self._radius = 0.0
        self._resize(len(queries) if queries is not None else 1)
        self.trail = _TRAIL if self.style.trail is None else self.style.trail
        """Frames that a trail is long."""
        self._trails = Trails(self.trail, max(2.0, 0.8 * self._radius), float(np.hypot(info.width, info.height)))
        self._colours: dict[int, np.ndarray] = {}
        """By row."""
        self._known = np.zeros((0, 3), np.float32)
        self._mode: str | None = None if self.style.color == "auto" else self.style.color
        if self._mode is None and queries is not None and len(queries):
            self._mode = _auto(len(queries))
        if queries is not None and self._mode == "position":
            self._known = palettes.by_position(queries.xy, info.size)

    def advance(self, result: FrameResult) -> None:
        """Take the results of a frame into the trails without drawing them."""
        rows = self._rows(result)
        self._trails.advance(int(result.frame), rows.rows, rows.xy, rows.visible, self._rgb(rows))

    def draw(self, image: np.ndarray, result: FrameResult, doubt: np.ndarray | None = None) -> np.ndarray:
        """A copy of the frame [H,W,3] uint8 RGB with the points and trails of `result` on it.

        `doubt` [M]: codes of the rows of `result`, as `tapkit.motion.watch` gives them.

        Frames are given in order; going back, or leaving out more than a trail's length, begins the trails anew.
        A second result for the same frame (a final one after a provisional one) replaces the first.

        Raises:
            ShapeError: the image is not of the size that `info` says.
        """
        if image.shape != (self.info.height, self.info.width, 3) or image.dtype != np.uint8:
            raise ShapeError(
                f"expected a frame [H,W,3]={[self.info.height, self.info.width, 3]} uint8, "
                f"got {list(image.shape)} {image.dtype}"
            )
        rows = self._rows(result)
        rgb = self._rgb(rows)
        self._trails.advance(int(result.frame), rows.rows, rows.xy, rows.visible, rgb)
        self._resize(len(rows))
        canvas = self._background(image)
        if self._trails_shown() or len(self._edges):
            # What is hollow stays so: no trail and no edge runs through it.
            hollow = self._canvas.inside(rows.xy[~rows.visible & self._in_view(rows.xy)], self._radius)
            behind = canvas.reshape(-1, 3)[hollow]
            if self._trails_shown():
                self._draw_trails(canvas, int(result.frame))
            self._draw_edges(canvas, rows, rgb)
            if self.style.occluded != "hide":
                canvas.reshape(-1, 3)[hollow] = behind
        self._draw_dots(canvas, rows, rgb)
        if doubt is not None and self.style.marks:
            self._draw_marks(canvas, np.asarray(result.xy, np.float32), doubt)
        if self.style.labels:
            self._labels = self._labels or Labels(max(10.0, min(self.info.size) / 42), self.style.font)
            shown = rows.visible if self.style.occluded == "hide" else np.ones(len(rows), bool)
            self._labels.draw(canvas, rows.ids(shown), rows.xy[shown], rgb[shown], 1.3 * self._radius)
        return canvas

    # -- what is drawn ----------------------------------------------------------------------------

    def _rows(self, result: FrameResult) -> _Rows:
        """The points that have a position, and whether they count as visible."""
        visible, confidence = (np.asarray(part, np.float32) for part in (result.visible, result.confidence))
        seen = self._source.visible_at(visible, confidence, self.style.threshold)
        return _Rows(result, np.isfinite(np.asarray(result.xy)).all(-1), seen)

    def _resize(self, count: int) -> None:
        """Choose the dots' radius; a crowd makes them smaller, and they do not grow again when it thins."""
        self._crowd = max(self._crowd, count)
        self._radius = self.style.radius or dot_radius(self.info.size, self._crowd)

    def _rgb(self, rows: _Rows) -> np.ndarray:
        """Colours [M,3] float32 in 0..1."""
        if self._mode is None and len(rows):
            self._mode = _auto(len(rows))
        mode = self._mode or "position"
        if mode == "confidence":
            return palettes.by_confidence(rows.confidence)
        if mode == "point":
            return palettes.by_number(rows.rows)
        if mode not in ("position", "id"):
            return np.broadcast_to(palettes.one_colour(mode), (len(rows), 3))
        numbers = rows.rows.tolist()
        new = np.array([place for place, row in enumerate(numbers) if row not in self._colours], np.int64)
        if len(new) and mode == "id":
            tones = palettes.by_number(np.array([_number(name) for name in rows.ids(new).tolist()]))
            self._colours.update(zip((numbers[place] for place in new), tones, strict=True))
        elif len(new):
            tones = palettes.by_position(rows.xy[new], self.info.size)
            for place, tone in zip(new.tolist(), tones, strict=True):
                row = numbers[place]
                self._colours[row] = self._known[row] if row < len(self._known) else tone
        if len(self._colours) > 4 * len(numbers) + 4096:  # days of points that came and went
            self._colours = {row: self._colours[row] for row in numbers}
        return np.array([self._colours[row] for row in numbers], np.float32).reshape(-1, 3)

    def _background(self, image: np.ndarray) -> np.ndarray:
        """The footage, copied, dimmed, with coordinate lines."""
        if self.style.dim:
            levels = [round(value * (1 - self.style.dim)) for value in range(256)]
            canvas = np.array(Image.fromarray(image).point(levels * 3))
        else:
            canvas = np.array(image, order="C")
        if self.style.grid:
            for lines in (canvas[self.style.grid :: self.style.grid], canvas[:, self.style.grid :: self.style.grid]):
                lines[:] = lines * np.float32(0.8) + np.float32(0.2 * 235)
        return canvas

    def _in_view(self, xy: np.ndarray) -> np.ndarray:
        """Whether any part of the dots at xy [M,2] may be seen -> bool [M]."""
        margin = 2 * self._radius + 2
        size = np.array([self.info.width, self.info.height], np.float32)
        return np.asarray(((xy > -margin) & (xy < size + margin)).all(1))

    def _trails_shown(self) -> bool:
        return self.trail > 0 and (self.style.trail is not None or self._crowd <= _TOO_MANY)

    def _draw_trails(self, canvas: np.ndarray, frame: int) -> None:
        paths = self._trails.paths()
        crowd = np.float32(max(self._crowd / _CROWD, 1.0))
        # A thousand long trails are a thicket: in a crowd they are shorter and fainter.
        length = self.trail * crowd**-0.4
        life = np.clip(1 - (frame - paths.frames) / length, 0, 1)  # [S,2]: 1 now, 0 gone
        keep = life.max(1) > 0.02
        if self.style.occluded == "hide" or (self.style.trail is None and self._crowd > _MANY):
            keep &= ~paths.hidden
        life = life[keep]
        opacity = self.style.trail_opacity * crowd**-0.25 * life**1.2
        opacity[paths.hidden[keep]] *= 0.6
        half = self.style.trail_width * self._radius / 2
        strokes = Strokes(
            paths.start[keep], paths.end[keep], (half * (0.3 + 0.7 * life)).astype(np.float32),
            opacity.astype(np.float32), paths.rgb[keep], paths.arc[keep], paths.hidden[keep],
        )  # fmt: skip
        self._canvas.strokes(canvas, strokes, 0.6 + 0.06 * self._radius, 0.6 * self.style.shade, max(3.0, self._radius))

    def _draw_edges(self, canvas: np.ndarray, rows: _Rows, rgb: np.ndarray) -> None:
        """Straight lines between the points of this frame that the skeleton joins."""
        if not len(self._edges) or not len(rows):
            return
        order = np.argsort(rows.rows)
        place = order[np.searchsorted(rows.rows, self._edges, sorter=order).clip(max=len(rows) - 1)]  # [E,2]
        place = place[(rows.rows[place] == self._edges).all(1)]
        hidden = ~rows.visible[place].all(1)
        if self.style.occluded == "hide":
            place, hidden = place[~hidden], hidden[~hidden]
        count = len(place)
        strokes = Strokes(
            rows.xy[place[:, 0]], rows.xy[place[:, 1]], np.full((count, 2), 0.3 * self._radius, np.float32),
            np.full((count, 2), 0.9, np.float32), rgb[place].mean(1), np.zeros(count, np.float32), hidden,
        )  # fmt: skip
        self._canvas.strokes(canvas, strokes, 0.6 + 0.06 * self._radius, self.style.shade, max(3.0, self._radius))

    def _draw_dots(self, canvas: np.ndarray, rows: _Rows, rgb: np.ndarray) -> None:
        shown = self._in_view(rows.xy)
        if self.style.occluded == "hide":
            shown &= rows.visible
        visible, confidence = rows.visible[shown], rows.confidence[shown]
        strength = _LEAST_OPACITY + (1 - _LEAST_OPACITY) * confidence if self.style.confidence_opacity else 1.0
        discs = Discs(
            rows.xy[shown], rgb[shown],
            np.where(visible, strength, 0).astype(np.float32),
            np.where(visible, 0.5 + 0.5 * np.asarray(strength), 0.9).astype(np.float32),
            ~visible & (self.style.occluded == "dashed"),
        )  # fmt: skip
        rim = max(1.0, 0.3 * self._radius)
        self._canvas.discs(canvas, discs, self._radius, rim, 0.6 + 0.12 * self._radius, self.style.shade)

    def _draw_marks(self, canvas: np.ndarray, xy: np.ndarray, doubt: np.ndarray) -> None:
        """A ring around each point in doubt."""
        marked = np.flatnonzero((doubt > 0) & np.isfinite(xy).all(-1))
        marked = marked[self._in_view(xy[marked])]
        rings = np.ones(len(marked), np.float32)
        discs = Discs(xy[marked], _MARKS[doubt[marked]], 0 * rings, rings, rings == 0)
        self._canvas.discs(
            canvas, discs, _RING * self._radius, max(1.2, 0.35 * self._radius), 0.6 + 0.12 * self._radius, 0.5
        )


def dot_radius(size: tuple[int, int], count: int) -> float:
    """Radius in pixels that suits `count` points in a frame of `size` (height, width)."""
    spacing = np.sqrt(size[0] * size[1] / max(count, 1))
    return max(1.4, float(min(min(size) / _SHORT_SIDE_PER_RADIUS, _RADIUS_PER_SPACING * spacing)))


def _auto(count: int) -> str:
    """The colours that suit so many points."""
    return "point" if count <= _FEW else "position"


def _number(name: str) -> int:
    """A number for an id that is the same in every run: its own if it is one."""
    return int(name) % 100_000 if name.isdecimal() else zlib.crc32(name.encode())


def result_at(tracks: Tracks, frame: int) -> FrameResult:
    """The rows of finished tracks that are valid on one frame."""
    if not 0 <= frame < tracks.frames:
        raise UsageError(f"there is no frame {frame} in tracks of {tracks.frames} frames")
    rows = np.flatnonzero(tracks.valid[:, frame])
    xy, visible, confidence = (part[rows, frame] for part in (tracks.xy, tracks.visible, tracks.confidence))
    return FrameResult(frame, rows, xy, visible, confidence, names=tracks.ids)


def _drawer(tracks: Tracks, style: Style | None) -> Drawer:
    return Drawer(tracks.video, style, queries=tracks.queries, source=tracks.source, skeleton=tracks.skeleton)


def draw_frame(image: np.ndarray, tracks: Tracks, frame: int, style: Style | None = None) -> np.ndarray:
    """A copy of one frame [H,W,3] uint8 RGB with its points and the trails that lead to them.

    Raises:
        UsageError: there is no such frame.
        ShapeError: the image is not of the size of the tracked video.
    """
    drawer = _drawer(tracks, style)
    result = result_at(tracks, frame)
    for earlier in range(max(0, frame - drawer.trail), frame):
        drawer.advance(result_at(tracks, earlier))
    return drawer.draw(image, result)


def check_size(source: Source, tracks: Tracks) -> None:
    """Raise `UsageError` unless the tracks are of a video of this size."""
    if source.info.size != tracks.video.size:
        (height, width), (tracked_height, tracked_width) = source.info.size, tracks.video.size
        raise UsageError(
            f"the video is {width}x{height} but the tracks are of one of {tracked_width}x{tracked_height}; "
            "were they made from another clip?"
        )


def draw_video(
    source: Source,
    tracks: Tracks,
    path: str | Path,
    style: Style | None = None,
    *,
    quality: Quality = "good",
    audio: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a video of `source` with its tracks on it, frame by frame in flat memory.

    Args:
        source: the video that was tracked, at its own size.
        path: where to; see `VideoWriter` for what its ending means.
        style, quality: how it looks.
        audio: whether the sound of the source's file goes along, if it has any.
        progress: called with (frames done, frames in all) after each frame.

    Returns:
        The path written.

    Raises:
        UsageError: source and tracks are not of the same size, or the ending of `path` is unknown.
        StorageError, VideoError: as `VideoWriter` and the source say.
    """
    check_size(source, tracks)
    drawer = _drawer(tracks, style)
    file = source.info.path
    sound = file if audio and file and Path(file).is_file() else None
    doubt = codes(tracks) if drawer.style.marks else None
    with VideoWriter(path, source.info, quality=quality, audio_from=sound) as writer:
        for frame in source.frames(0, tracks.frames):
            result = result_at(tracks, frame.index)
            marks = None if doubt is None else doubt[result.rows, frame.index]
            writer.write(frame._replace(image=drawer.draw(frame.image, result, marks)))
            if progress:
                progress(writer.frames, tracks.frames)
    return Path(path)
