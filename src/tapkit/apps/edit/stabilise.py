"""Stabilisation: the picture locked to a frame, or moved along a smooth path; and how it is cropped.

The path is that of the frame's corners. The smooth one minimises sum |S - C|^2 + l1 |S''|^2 + l2 |S'''|^2, one banded
system for each coordinate (E. Whittaker, 1923; for cameras see M. Grundmann et al., CVPR 2011, in the absolute norm).
Rolling shutter is not corrected.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tapkit.apps.edit.background import background_motion
from tapkit.apps.edit.colour import Curve
from tapkit.apps.edit.composite import Report, check_frame, check_source, composite, curve_of
from tapkit.apps.edit.follow import EditWarning, Settings, Told, ready, settings_of, track_points
from tapkit.apps.edit.mesh import Box, plane_pixels
from tapkit.apps.edit.models import apply, through
from tapkit.apps.edit.motion import Motion, fit_motion, smoothed
from tapkit.apps.edit.region import Region, points_for, points_in, rectangle
from tapkit.apps.edit.sampling import RESAMPLINGS, Resampling, bicubic, resampled
from tapkit.coords import Size
from tapkit.errors import UsageError
from tapkit.types import Queries
from tapkit.video.base import DeepFrame, Source
from tapkit.video.using import using

Mode = Literal["lock", "smooth"]
Crop = Literal["none", "fixed", "adaptive", "inpaint-edges"]
MODES: tuple[Mode, ...] = ("lock", "smooth")
CROPS: tuple[Crop, ...] = ("none", "fixed", "adaptive", "inpaint-edges")
AUTO_GRID = 20
"""Points a side that are tracked where no region is named."""
LARGEST_ZOOM = 1.3
WEAKER = 0.7
"""By how much the strength falls where the crop would be too narrow."""
TRIES = 12


@dataclass(frozen=True, eq=False)
class Stabilised:
    """What was done to a video."""

    motion: Motion
    """Of the camera, from the reference frame."""
    path: np.ndarray
    """[T,4,2]: where the frame's corners, those of the reference frame, are on each frame."""
    smooth: np.ndarray
    """[T,4,2]: where they were moved to."""
    strength: float
    """Which was used: less than asked for, where the crop would have been too narrow."""
    zoom: np.ndarray
    """[T]: by how much each frame was enlarged."""
    crop: np.ndarray
    """[T,4]: left, top, right, bottom of what is shown, in the stabilised picture."""


def stabilise(
    video: Any,
    output: str | Path,
    *,
    box: Any = None,
    mask: Any = None,
    frame: int = 0,
    model: str = "similarity",
    mode: Mode = "smooth",
    strength: float = 1.0,
    crop: Crop = "fixed",
    resampling: Resampling = "bicubic",
    settings: Settings | None = None,
    progress: Told = None,
    report: Report | None = None,
    **options: Any,
) -> Stabilised:
    """Take the shake out of a video, or lock it to a region.

        stabilise("clip.mp4", "steady.mp4")                                    # a smooth camera
        stabilise("clip.mp4", "locked.mp4", mode="lock", box=(200, 80, 420, 300))

    Args:
        video: anything `tapkit.open_video` takes, except cameras and streams.
        output: see `composite`.
        box, mask: what is held still, on `frame`; None: the static scene, as points all over it vote.
        frame: reference frame: with "lock" all frames lie as this one does.
        model: translation, similarity or perspective.
        mode: "lock", or "smooth": the camera moves on, without shake.
        strength: of the smoothing: sigma is so many half seconds.
        crop: "none": black where nothing is known; "fixed": the largest part that is always covered, enlarged by 1.3
            at most (smoothing is weakened before that is exceeded); "adaptive": a part that changes slowly;
            "inpaint-edges": nothing is cut off, what is missing is taken from other frames.
        resampling: how frames are read between their pixels: "bicubic", or "lanczos", sharper and slower.
        settings, progress, report, options: as for `attach_sticker`.
    """
    kind = {"position": "translation", "perspective": "homography"}.get(model, model)
    if kind not in ("translation", "similarity", "affine", "homography"):
        raise UsageError(f"model is translation, similarity, affine or perspective, not {model!r}")
    if mode not in MODES or crop not in CROPS:
        raise UsageError(f"mode is {' or '.join(MODES)}, crop one of {', '.join(CROPS)}; got {mode!r}, {crop!r}")
    if not strength > 0:
        raise UsageError(f"strength is more than 0, got {strength}")
    if resampling not in RESAMPLINGS:
        raise UsageError(f"resampling is {' or '.join(RESAMPLINGS)}, got {resampling!r}")
    settings = settings_of(settings, options)
    with using(video) as source:
        check_source(source)
        check_frame(source, frame)
        motion = _motion(source, box, mask, frame, kind, settings, progress)
        result = plan(motion, source.info.size, float(source.info.fps), mode, strength, crop)
        for note in motion.notes:
            warnings.warn(note, EditWarning, stacklevel=2)
        if result.strength < strength:
            warnings.warn(
                f"the strength was lowered to {result.strength:.2g}, so that the picture is enlarged by no more than "
                f"{LARGEST_ZOOM:g}",
                EditWarning,
                stacklevel=2,
            )
        curve = curve_of(source, output, linear=False)
        filler = _Filler(source, result, curve) if crop == "inpaint-edges" else None
        shift = _Shift(result, curve, filler, resampling)
        composite(source, output, [shift], report)
        return result


def _motion(source: Source, box: Any, mask: Any, frame: int, kind: str, settings: Settings, progress: Told) -> Motion:
    """The motion of the region, or of the static scene, as that of the whole frame."""
    size = source.info.size
    whole = rectangle(0, 0, size[1], size[0])
    if box is None and mask is None:
        tracks = settings.tracks
        if tracks is None:
            tracks = track_points(source, _auto_points(source, frame), settings, progress)
        return background_motion(ready(source, tracks, settings), frame, kind, seed=settings.seed)
    region = Region.of(box=box, mask=mask)
    tracks = settings.tracks
    if tracks is None:
        image = source.read(frame).image
        queries = points_for(region, size, frame, count=settings.points, image=image, seed=settings.seed)
        tracks = track_points(source, queries, settings, progress)
    prepared = ready(source, tracks, settings)
    rows = points_in(region, prepared.xy[:, frame], prepared.weight[:, frame])
    if not len(rows):
        raise UsageError(f"no tracked point is visible in the region on frame {frame}: choose another frame or region")
    return fit_motion(prepared, rows, whole, frame, kind, picture=lambda t: source.read(t).image, seed=settings.seed)


def _auto_points(source: Source, frame: int) -> Queries:
    """A grid on the reference frame, and coarser ones on others, for scenes that leave it."""
    size, frames = source.info.size, source.info.frames or 1
    parts = [Queries.grid(size, AUTO_GRID, frame)]
    for other in {0, frames // 2, frames - 1} - {frame} if frames > 60 else ():
        parts.append(Queries.grid(size, AUTO_GRID // 2, other))
    joined = [part.with_ids(f"{number}-{k}" for k in range(len(part))) for number, part in enumerate(parts)]
    return Queries.join(joined)


def plan(motion: Motion, size: Size, fps: float, mode: Mode, strength: float, crop: Crop) -> Stabilised:
    """Paths and crop for a motion; smoothing is weakened where the crop would be too narrow."""
    corners = rectangle(0, 0, size[1], size[0])
    path = motion.path(corners)
    if not np.isfinite(path).all():
        raise UsageError("the picture turns too far to be stabilised by this model: take a simpler one")
    used = strength
    for attempt in range(TRIES):
        smooth = (
            np.broadcast_to(path[motion.reference], path.shape) if mode == "lock" else smooth_path(path, used * fps / 2)
        )
        quads = covered(path, smooth, corners)
        part = _crops(quads, size, crop)
        zoom = size[1] / np.maximum(part[:, 2] - part[:, 0], 1e-6)
        narrow = crop in ("fixed", "adaptive") and zoom.max() > LARGEST_ZOOM
        if not narrow or mode == "lock" or attempt == TRIES - 1:
            break
        used *= WEAKER
    if narrow:
        warnings.warn(
            f"the picture would have to be enlarged by {zoom.max():.2f}: it is by {LARGEST_ZOOM:g}, and its edges are "
            "black on some frames",
            EditWarning,
            stacklevel=3,
        )
        part = np.stack([_limited(each, size) for each in part])
        zoom = size[1] / (part[:, 2] - part[:, 0])
    return Stabilised(motion, path, np.array(smooth), used, zoom, part)


def _limited(part: np.ndarray, size: Size) -> np.ndarray:
    """A crop, widened around its middle until it is enlarged by no more than may be."""
    least = size[1] / LARGEST_ZOOM
    if part[2] - part[0] >= least:
        return part
    x, y = (part[0] + part[2]) / 2, (part[1] + part[3]) / 2
    half = np.array([least, least * size[0] / size[1]]) / 2
    return np.array([x - half[0], y - half[1], x + half[0], y + half[1]])


def smooth_path(path: np.ndarray, sigma: float, third: float = 0.0) -> np.ndarray:
    """The smooth path of [T,...]: that of a Gaussian of so many frames, roughly, and straight towards both ends.

    `third`: l2, the weight of the third differences.
    """
    frames = len(path)
    if frames < 4 or sigma <= 0:
        return path
    bands = np.zeros((4, frames))
    bands[0] = 1
    # The response 1 / (1 + l1 w^4) of second differences falls to one half where w = 1 / sigma.
    for weight, stencil in ((sigma**4, np.array([1.0, -2, 1])), (third, np.array([1.0, -3, 3, -1]))):
        for begin in range(frames - len(stencil) + 1) if weight else ():
            for k in range(len(stencil)):
                for other in range(k, len(stencil)):
                    bands[other - k, begin + k] += weight * stencil[k] * stencil[other]
    flat = path.reshape(frames, -1)
    return np.asarray(_banded(bands, flat).reshape(path.shape))


def _banded(bands: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve a symmetric positive system by Cholesky; `bands` [w,T]: the diagonal and those below it."""
    width, count = bands.shape
    low = bands.copy()
    for j in range(count):
        low[0, j] = np.sqrt(low[0, j])
        low[1:, j] /= low[0, j]
        for k in range(1, min(width, count - j)):
            low[: width - k, j + k] -= low[k, j] * low[k:, j]
    out = right.copy()
    for j in range(count):
        out[j] /= low[0, j]
        for k in range(1, min(width, count - j)):
            out[j + k] -= low[k, j] * out[j]
    for j in range(count - 1, -1, -1):
        for k in range(1, min(width, count - j)):
            out[j] -= low[k, j] * out[j + k]
        out[j] /= low[0, j]
    return out


def covered(path: np.ndarray, smooth: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Where the corners of each frame come to lie in the stabilised picture, [T,4,2]."""
    out = []
    for own, wanted in zip(path, smooth, strict=True):
        matrix = through(own, wanted)
        out.append(corners if matrix is None else apply(matrix, corners))
    return np.asarray(np.nan_to_num(np.stack(out), posinf=1e6, neginf=-1e6))


def _crops(quads: np.ndarray, size: Size, crop: Crop) -> np.ndarray:
    """What is shown of each frame [T,4]."""
    whole = np.array([0.0, 0, size[1], size[0]])
    if crop in ("none", "inpaint-edges"):
        return np.tile(whole, (len(quads), 1))
    if crop == "fixed":
        return np.tile(largest_rectangle(quads, size), (len(quads), 1))
    each = np.stack([largest_rectangle(quad[None], size) for quad in quads])
    reach = 15
    padded = np.pad(each, ((reach, reach), (0, 0)), "edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    inner = np.concatenate([around[:, :2].max(-1), around[:, 2:].min(-1)], 1)  # within all of the neighbours'
    slow = smoothed(inner, reach / 3)
    # Sides have moved by themselves: the shape of the frame again, inside of them.
    middle, scale = (slow[:, :2] + slow[:, 2:]) / 2, ((slow[:, 2:] - slow[:, :2]) / (size[1], size[0])).min(1)
    half = scale[:, None] * (size[1] / 2, size[0] / 2)
    return np.concatenate([middle - half, middle + half], 1)


def largest_rectangle(quads: np.ndarray, size: Size) -> np.ndarray:
    """The largest rectangle of the frame's shape within all of some convex quadrilaterals [n,4,2]: left, top, right,
    bottom. No larger than the frame."""
    side = np.roll(quads, -1, 1) - quads
    length = np.maximum(np.hypot(*np.moveaxis(side, -1, 0)), 1e-9)
    normal = np.stack([-side[..., 1], side[..., 0]], -1) / length[..., None]  # inwards, corners being clockwise
    turned = np.cross(side[:, 0], side[:, 1]) < 0
    normal[turned] *= -1
    normals = normal.reshape(-1, 2)
    offset = (normals * quads.reshape(-1, 2)).sum(1)
    reach = np.abs(normals) @ (np.array([size[1], size[0]]) / 2)
    low, high, best = 0.0, 1.0, None
    for step in range(24):
        scale = 1.0 if step == 0 else (low + high) / 2
        centre = _inside(normals, offset + scale * reach, size)
        if centre is None:
            high = scale
        else:
            low, best = scale, centre
            if step == 0:
                break
    centre = np.array([size[1] / 2, size[0] / 2]) if best is None else best
    half = max(low, 0.05) * np.array([size[1], size[0]]) / 2
    return np.concatenate([centre - half, centre + half])


def _inside(normals: np.ndarray, offset: np.ndarray, size: Size) -> np.ndarray | None:
    """A place with normal . place >= offset for all, in the middle of all such places; None if there is none."""
    polygon = rectangle(-0.5 * size[1], -0.5 * size[0], 1.5 * size[1], 1.5 * size[0])
    for normal, least in zip(normals, offset, strict=True):
        value = polygon @ normal - least
        if (value >= -1e-9).all():
            continue
        if (value < 0).all():
            return None
        after, value_after = np.roll(polygon, -1, 0), np.roll(value, -1)
        crosses = (value >= 0) != (value_after >= 0)
        share = np.where(crosses, value / np.where(crosses, value - value_after, 1), 0)
        cut = polygon + share[:, None] * (after - polygon)
        kept = []
        for k in range(len(polygon)):
            if value[k] >= 0:
                kept.append(polygon[k])
            if crosses[k]:
                kept.append(cut[k])
        polygon = np.array(kept)
        if len(polygon) < 3:
            return None
    middle: np.ndarray = polygon.mean(0)
    return middle


class _Shift:
    """Moves every frame to its place in the stabilised picture."""

    def __init__(self, result: Stabilised, curve: Curve, filler: _Filler | None, resampling: Resampling) -> None:
        self.result, self.curve, self.filler, self.resampling = result, curve, filler, resampling

    def __call__(self, frame: DeepFrame) -> None:
        """Change a frame in place."""
        size = frame.values.shape[:2]
        matrix = way_in(self.result, frame.index, (size[0], size[1]))
        if np.abs(matrix - np.eye(3)).max() < 1e-9:
            return
        light = self.curve.light(frame.values)
        places = plane_pixels(matrix, Box(0, 0, size[1], size[0]))
        moved = resampled(light, places, self.resampling, edge=True)
        inside = seen_at(places, (size[0], size[1]))
        moved *= inside[..., None]
        if self.filler is not None:
            moved = self.filler.fill(moved, inside)
        frame.values[...] = self.curve.values(moved)


def way_in(result: Stabilised, t: int, size: Size) -> np.ndarray:
    """From the pixels of the written frame to those of frame t, [3,3]."""
    left, top, right, _bottom = result.crop[t]
    scale = (right - left) / size[1]
    shown = np.array([[scale, 0, left], [0, scale, top], [0, 0, 1.0]])
    back = through(result.smooth[t], result.path[t])
    return shown if back is None else np.asarray(back @ shown)


def seen_at(places: np.ndarray, size: Size) -> np.ndarray:
    """How much of each pixel lies within the frame [h,w] float32: 0 outside, with an edge of one pixel."""
    x, y = places[..., 0], places[..., 1]
    gap = np.minimum(np.minimum(x, size[1] - x), np.minimum(y, size[0] - y))
    return np.asarray(np.clip(gap + 0.5, 0, 1), np.float32)


class _Filler:
    """What lies around the frame, from frames that have shown it: the newest goes before the others."""

    def __init__(self, source: Source, result: Stabilised, curve: Curve) -> None:
        frames, size = source.info.frames or 1, source.info.size
        self._known: np.ndarray = np.zeros((*size, 3), np.float32)
        self._there: np.ndarray = np.zeros(size, np.float32)
        for t in np.linspace(frames - 1, 0, min(frames, 12)).astype(int).tolist():
            light = Curve(None, False).light(source.read(t).image)
            places = plane_pixels(way_in(result, t, size), Box(0, 0, size[1], size[0]))
            inside = seen_at(places, size)
            self._add(bicubic(light, places, edge=True), inside)

    def _add(self, moved: np.ndarray, inside: np.ndarray) -> None:
        share = inside[..., None]
        self._known = self._known * (1 - share) + moved * share
        self._there = np.maximum(self._there, inside)

    def fill(self, moved: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """A moved frame (0 outside) with what is missing put in."""
        whole = moved + self._known * ((1 - inside) * (self._there > 0))[..., None]
        share = (inside >= 1).astype(np.float32)[..., None]
        self._known = self._known * (1 - share) + moved * share
        self._there = np.maximum(self._there, inside)
        return np.asarray(whole)


def crop_of(result: Stabilised) -> float:
    """Share of the frame's width that is shown, on the frame where it is least."""
    return float(1 / result.zoom.max())
