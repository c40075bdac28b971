"""The one loop that puts something into every frame of a video and writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tapkit.apps.edit.artwork import Artwork
from tapkit.apps.edit.colour import Curve, adapted
from tapkit.apps.edit.footage import depth_of, frames_of, open_writer, sound_of
from tapkit.apps.edit.mesh import Box, Warp
from tapkit.apps.edit.models import apply
from tapkit.apps.edit.motion import Motion
from tapkit.apps.edit.prepare import Prepared
from tapkit.apps.edit.sampling import RESAMPLINGS, Resampling, bicubic, bilinear
from tapkit.apps.edit.support import Support
from tapkit.errors import ShapeError, UsageError
from tapkit.video.base import DeepFrame, Depth, Source

SHUTTER_STEPS = 8
"""Moments of the time that the shutter is open."""
STEADY_COLOUR = 0.7
"""How much of the last frame's colours is kept."""

Report = Callable[[int, int | None], object]
"""report(frames done, frames in all)."""


@dataclass(frozen=True)
class Look:
    """How an artwork is put into a video."""

    linear_light: bool = True
    """Composite in linear light; False: in the values as they are stored."""
    shutter: float = 0.0
    """Degrees that the shutter is open: 180 is motion blur of half a frame; 0: none."""
    adapt: bool = False
    """Whether the artwork takes part in changes of the light (gain and offset of each channel around it)."""
    opacity: float = 1.0
    resampling: Resampling = "bicubic"
    """How the artwork is read where it is not shrunk: "lanczos" is sharper than "bicubic", rings more and is slower."""

    def __post_init__(self) -> None:
        if not 0 <= self.shutter <= 360:
            raise UsageError(f"a shutter is open for 0 to 360 degrees, got {self.shutter}")
        if not 0 <= self.opacity <= 1:
            raise UsageError(f"opacity is 0 to 1, got {self.opacity}")
        if self.resampling not in RESAMPLINGS:
            raise UsageError(f"resampling is {' or '.join(RESAMPLINGS)}, got {self.resampling!r}")


class Paint(Protocol):
    """Something that changes a frame in place."""

    def __call__(self, frame: DeepFrame) -> None: ...


class Painter:
    """Puts an artwork into frames.

    Args:
        artwork: what is put in.
        place: [3,3], from its pixels to those of the reference frame.
        warp: from there to each frame.
        support: where it is to be seen; None: everywhere.
        look: how.
        curve: of the frames' values.
        prepared: tracks, whose places tell how the light changes.
        reference_image: the reference frame's values, for the same.
        within: [H,W] bool of the reference frame: outside of it nothing of the artwork is seen; None: it is everywhere.
    """

    def __init__(
        self,
        artwork: Artwork,
        place: np.ndarray,
        warp: Warp,
        support: Support | None,
        look: Look,
        curve: Curve,
        prepared: Prepared | None = None,
        reference_image: np.ndarray | None = None,
        within: np.ndarray | None = None,
    ) -> None:
        self.artwork, self.warp, self.support, self.look, self.curve = artwork, warp, support, look, curve
        self.place, self.motion = place, warp.motion
        height, width = artwork.size
        self._outline = apply(place, np.array([(0, 0), (width, 0), (width, height), (0, height)], float))
        self._to_art = np.linalg.inv(place)
        self._within = None if within is None else within.astype(np.float32)[..., None]
        self._light: _Light | None = None
        if look.adapt and prepared is not None and reference_image is not None:
            self._light = _Light(prepared, warp.motion, reference_image, curve)

    def __call__(self, frame: DeepFrame) -> None:
        """Change a frame in place."""
        t = frame.index
        shown = float(self.motion.presence[t]) * self.look.opacity
        if shown <= 0:
            return
        matrices = self._moments(t)
        outline = np.concatenate([apply(matrix, self._outline) for matrix in matrices])
        box = Box.around(outline, frame.values.shape[:2], 2 + self.warp.reach)
        if box is None:
            return
        pyramid = self.artwork.at(t, frame.time)
        layer = self._warped(pyramid, t, box, matrices)
        if self._within is not None:
            layer = layer * np.clip(bicubic(self._within, self.warp.back(t, box)), 0, 1)
        if self._light is not None:
            layer = self._light.on(layer, frame)
        if self.support is not None:
            seen = self.support.alpha(t, box, lambda: shown_image(frame.values, self.curve), t)
            if seen is not None:
                layer = layer * seen[..., None]
        over(frame.values, box, layer if shown >= 1 else layer * np.float32(shown), self.curve)

    def _warped(self, pyramid: Any, t: int, box: Box, matrices: list[np.ndarray]) -> np.ndarray:
        total: np.ndarray | None = None
        for matrix in matrices:
            places = self.warp.back(t, box, self._to_art, matrix)
            layer = pyramid.read(places, shrink_of(places), self.look.resampling)
            total = layer if total is None else total + layer
        assert total is not None
        return total / np.float32(len(matrices)) if len(matrices) > 1 else total

    def _moments(self, t: int) -> list[np.ndarray]:
        """The plane motions while the shutter is open: one without motion blur."""
        if self.look.shutter <= 0:
            return [self.motion.matrices[t]]
        corners = self.motion.path(self.motion.corners)
        if not np.isfinite(corners).all():
            return [self.motion.matrices[t]]
        half = self.look.shutter / 720
        out = []
        for moment in (np.arange(SHUTTER_STEPS) + 0.5) / SHUTTER_STEPS * 2 * half - half:
            other = int(np.clip(t + (1 if moment > 0 else -1), 0, self.motion.frames - 1))
            between = (1 - abs(moment)) * corners[t] + abs(moment) * corners[other]
            path = np.broadcast_to(between, corners.shape)
            out.append(self.motion.with_corners(path, np.array([t])).matrices[t])
        return out


class _Light:
    """How the light of the points changes from the reference frame to each frame."""

    def __init__(self, prepared: Prepared, motion: Motion, reference_image: np.ndarray, curve: Curve) -> None:
        self._xy, self._motion, self._curve = prepared.xy[motion.rows], motion, curve
        self._weight = prepared.weight[motion.rows]
        self._before = self._read(reference_image, motion.reference)
        self._gain, self._offset = np.ones(3), np.zeros(3)
        self._begun = False

    def _read(self, values: np.ndarray, t: int) -> np.ndarray:
        """Mean light [n,3] of 5 x 5 pixels at each point."""
        spots = self._xy[:, t][:, None] + np.stack(np.meshgrid(np.arange(-2, 3), np.arange(-2, 3)), -1).reshape(
            1, -1, 2
        )
        size = (values.shape[1] - 1e-3, values.shape[0] - 1e-3)
        column, row = np.moveaxis(np.floor(np.clip(np.nan_to_num(spots), 0, size)).astype(int), -1, 0)
        return np.asarray(self._curve.light(values[row, column]).mean(1))

    def on(self, layer: np.ndarray, frame: DeepFrame) -> np.ndarray:
        """A premultiplied layer [h,w,4] in the light of a frame."""
        t = frame.index
        used = (
            (self._motion.inlier[:, t] > 0.3) & (self._weight[:, t] > 0) & (self._weight[:, self._motion.reference] > 0)
        )
        if used.sum() >= 8:
            gain, offset = adapted(self._before[used], self._read(frame.values, t)[used])
            keep = STEADY_COLOUR if self._begun else 0.0
            self._gain, self._offset = keep * self._gain + (1 - keep) * gain, keep * self._offset + (1 - keep) * offset
            self._begun = True
        rgb = layer[..., :3] * self._gain.astype(np.float32) + self._offset.astype(np.float32) * layer[..., 3:]
        return np.concatenate([np.maximum(rgb, 0), layer[..., 3:]], 2)


def over(values: np.ndarray, box: Box, layer: np.ndarray, curve: Curve) -> None:
    """Put a premultiplied layer [h,w,4] over a box of a frame, in place; pixels without any of it stay bit for bit."""
    alpha = np.clip(layer[..., 3], 0, 1)
    touched = alpha > 1 / 1024
    if not touched.any():
        return
    rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    place = values[box.top + part[0].start : box.top + part[0].stop, box.left + part[1].start : box.left + part[1].stop]
    light = curve.light(place)
    light *= (1 - alpha[part])[..., None]
    light += layer[part][..., :3]
    new = curve.values(light)
    inside = touched[part]
    if inside.all():
        place[...] = new
    else:
        np.copyto(place, new, where=inside[..., None])


def shrink_of(places: np.ndarray) -> float:
    """Pixels of the artwork for one of the frame, in the direction in which it is shrunk most (median over [h,w,2])."""
    step = max(min(places.shape[:2]) // 16, 1)
    part = places[::step, ::step].astype(np.float64)
    if min(part.shape[:2]) < 2:
        return 1.0
    across, down = np.diff(part, axis=1) / step, np.diff(part, axis=0) / step
    sizes = [np.hypot(side[..., 0], side[..., 1]) for side in (across, down)]
    return max(float(np.median(size[np.isfinite(size)])) if np.isfinite(size).any() else 1.0 for size in sizes)


def shown_image(values: np.ndarray, curve: Curve) -> np.ndarray:
    """A frame as 8-bit RGB, to find borders in."""
    if curve.depth is None:
        return values
    depth: Depth = curve.depth
    scaled = (values.astype(np.float32) - depth.black) / (depth.white - depth.black)
    return np.asarray(np.clip(255 * scaled, 0, 255), np.uint8)


def composite(source: Source, output: str | Path, paints: Sequence[Paint], report: Report | None = None) -> Path:
    """Write the video with everything that `paints` puts into its frames. Returns the path.

    Args:
        source: the video, at its own size; not live.
        output: a video (H.264, with the sound and the times of the source), or a sequence (`out/%05d.png`, `.tif`,
            `.exr`), which keeps 16-bit and float values.
        paints: change frames in place, in this order; they have been made with `curve_of`.
        report: called after each frame.

    Raises `UsageError`, `StorageError`. After Ctrl-C the frames written so far are a valid, shorter video.
    """
    depth = depth_of(source, output)
    with open_writer(output, source.info, depth, sound_of(source)) as writer:
        for done, frame in enumerate(frames_of(source, output), 1):
            for paint in paints:
                paint(frame)
            writer.write(frame.values, frame.time)
            if report is not None:
                report(done, source.info.frames)
    return Path(output)


def curve_of(source: Source, output: str | Path, linear: bool = True) -> Curve:
    """The curve in which frames of a video are composited that are written to `output`."""
    return Curve(depth_of(source, output), linear)


def check_source(source: Source) -> None:
    """Raise `UsageError` for a video that cannot be read twice, or whose length is not known."""
    if source.live or source.info.frames is None:
        raise UsageError("edits need a video file or a sequence: a camera or a stream cannot be read twice")


def check_frame(source: Source, frame: int) -> None:
    """Raise `UsageError` unless the video has that frame."""
    if not 0 <= frame < (source.info.frames or 0):
        raise UsageError(f"there is no frame {frame}: the frames are 0..{(source.info.frames or 0) - 1}")


def light_at(values: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Values of a picture [H,W,C] at positions [n,2] -> [n,C] float32."""
    if values.ndim != 3:
        raise ShapeError(f"a picture is [H,W,C], got {list(values.shape)}")
    return bilinear(values.astype(np.float32), xy)
