"""Regions that are followed: corner pins, polygons, boxes, and shapes whose vertices are corrected on some frames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import storage
from tapkit._version import __version__
from tapkit.apps.edit.corrections import Pin, check_pins, spread
from tapkit.apps.edit.follow import Followed, Settings, Told, follow_region, settings_of
from tapkit.apps.edit.models import apply
from tapkit.apps.edit.region import Region, numbers
from tapkit.errors import QueryError, UsageError
from tapkit.types import Provenance, Queries, Tracks, VideoInfo
from tapkit.video.using import using

CORNERS = ("ul", "ur", "lr", "ll")
"""Names of the corners of a pin: upper left, upper right, lower right, lower left."""


@dataclass(frozen=True, eq=False)
class RegionTrack:
    """Where a region is on every frame."""

    polygons: np.ndarray
    """[T,k,2] float64, pixels, corner origin; vertices may lie outside the frame."""
    confidence: np.ndarray
    """[T], 0..1; 0 where the region is not seen and its last place is held."""
    matrices: np.ndarray
    """[T,3,3], from the reference frame."""
    state: tuple[str, ...]
    """[T], see `Motion`."""
    reference: int
    video: VideoInfo
    followed: Followed
    corrected: np.ndarray
    """[T,k] bool: vertices that were set by hand."""

    @property
    def boxes(self) -> np.ndarray:
        """[T,4]: left, top, right, bottom of the polygons, which may reach beyond the frame."""
        return np.concatenate([self.polygons.min(1), self.polygons.max(1)], 1)

    @property
    def boxes_in_frame(self) -> np.ndarray:
        """[T,4]: the part of `boxes` within the frame; without area where there is none."""
        size = [self.video.width, self.video.height] * 2
        return np.asarray(np.clip(self.boxes, 0, size))

    @property
    def bad_frames(self) -> np.ndarray:
        """Frames to look at, int64."""
        return np.flatnonzero(self.confidence < 0.5)

    def tracks(self, names: Sequence[str] | None = None) -> Tracks:
        """The vertices as `Tracks`, for `Tracks.write` in any format: `visible` is whether the region is seen,
        `confidence` that of the frame; vertices set by hand, and those of the reference frame, are human keyframes."""
        frames, count = self.polygons.shape[:2]
        names = [str(k) for k in range(count)] if names is None else names
        xy = self.polygons.transpose(1, 0, 2)
        known = np.isfinite(xy).all(-1) & (np.array(self.state) != "cut")
        sure = np.broadcast_to(self.confidence.astype(np.float32), (count, frames))
        human = self.corrected.T.copy()
        human[:, self.reference] = True
        made = Provenance("", "", __version__, {"edits": [{"region": "corners" if count == 4 else "polygon"}]})
        queries = Queries.at(self.reference, xy[:, self.reference], list(names))
        return Tracks(
            np.where(known[..., None], xy, 0), (sure > 0) & known, np.clip(sure, 0, 1), known, queries,
            self.video, made, human & known,
        )  # fmt: skip

    def write(self, path: str | Path) -> Path:
        """Write as JSON: polygon, box (clipped and not), transform, confidence and state of each frame."""
        content = {
            "format": "tapkit region",
            "origin": "corner",
            "size": [self.video.width, self.video.height],
            "fps": [self.video.fps.numerator, self.video.fps.denominator],
            "first_frame": self.video.start_frame,
            "reference": self.reference,
            "frames": [
                {
                    "frame": t,
                    "state": self.state[t],
                    "confidence": round(float(self.confidence[t]), 4),
                    "polygon": _plain(self.polygons[t], 3),
                    "box": _plain(self.boxes_in_frame[t], 3),
                    "box_unclipped": _plain(self.boxes[t], 3),
                    "transform": _plain(self.matrices[t], 9),
                }
                for t in range(len(self.polygons))
            ],
        }
        return storage.write_text(path, json.dumps(content, allow_nan=False))


def _plain(values: np.ndarray, digits: int) -> Any:
    return np.nan_to_num(values, posinf=1e9, neginf=-1e9).round(digits).tolist()


def track_region(
    video: Any,
    polygon: Any = None,
    *,
    box: Any = None,
    mask: Any = None,
    frame: int = 0,
    vertices: Sequence[Pin] = (),
    settings: Settings | None = None,
    progress: Told = None,
    **options: Any,
) -> RegionTrack:
    """Follow a polygon, a box or a mask's bounding box of one frame.

    Args:
        video: anything `tapkit.open_video` takes, except cameras and streams.
        polygon, box, mask: see `Region.of`; on `frame`.
        vertices: where vertices (numbered from 0) really are on some frames, as a rotoscoper sets them. The corrections
            are kept in the reference frame and go in straight lines from one corrected frame to the next.
        settings, options: see `Settings`.

    Raises as `follow_region`, and `QueryError` for a vertex that there is not.
    """
    settings = settings_of(settings, options)
    check_pins(list(vertices))
    region = Region.of(polygon, box=box, mask=mask)
    with using(video) as source:
        found = follow_region(source, region, frame, settings, progress)
        info = source.info
    return shaped(found, region.polygon, vertices, info)


def shaped(found: Followed, polygon: np.ndarray, vertices: Sequence[Pin], info: VideoInfo) -> RegionTrack:
    """The path of a polygon [k,2] of the reference frame, with corrected vertices."""
    motion, count = found.motion, len(polygon)
    corrected = np.zeros((motion.frames, count), bool)
    own: dict[int, dict[int, np.ndarray]] = {}
    for pin in vertices:
        number = int(pin.name) if str(pin.name).isdigit() else -1
        if not 0 <= number < count or not 0 <= pin.frame < motion.frames:
            raise QueryError(
                f"there is no vertex {pin.name} on frame {pin.frame}: vertices are 0..{count - 1}, frames "
                f"0..{motion.frames - 1}"
            )
        at_reference = apply(np.linalg.inv(motion.matrices[pin.frame]), np.array([pin.xy]))[0]
        own.setdefault(number, {})[pin.frame] = at_reference - polygon[number]
        corrected[pin.frame, number] = True
    rest = np.repeat(polygon[None], motion.frames, 0)
    for number, offset in own.items():
        offset.setdefault(motion.reference, np.zeros(2))
        rest[:, number] += spread(offset, motion.frames, linear=True)
    paths = [found.warp.forward(t, rest[t]) for t in range(motion.frames)]
    polygons = np.nan_to_num(np.stack(paths), posinf=1e6, neginf=-1e6)
    return RegionTrack(
        polygons, motion.confidence, motion.matrices, motion.state, motion.reference, info, found, corrected
    )


def corner_pin(
    video: Any,
    quad: Any,
    *,
    frame: int = 0,
    settings: Settings | None = None,
    progress: Told = None,
    **options: Any,
) -> Tracks:
    """Curves of the four corners of a surface, with a confidence for each frame.

        corner_pin("clip.mp4", [(330, 190), (470, 190), (470, 260), (330, 260)]).write("pin.nk", "nuke-cornerpin")

    The corners need not be visible, nor within the frame: they follow from the points of the surface.

    Args:
        video: anything `tapkit.open_video` takes, except cameras and streams.
        quad: upper left, upper right, lower right, lower left on `frame`, pixels, corner origin.
        settings, options: see `Settings`. `follow` is perspective unless it says otherwise.

    Returns `Tracks` of four points, ul, ur, lr, ll, to be written in any format (`Tracks.write`).
    """
    settings = settings_of(settings, {"follow": "perspective", **options} if settings is None else options)
    if settings.follow == "mesh":
        raise UsageError("a corner pin is a plane: it follows by position, similarity, affine or perspective")
    corners = np.array(numbers(quad, 8, "a quad is four corners x, y")).reshape(4, 2)
    found = track_region(video, corners, frame=frame, settings=settings, progress=progress)
    pinned = found.corrected.copy()
    for pin in settings.pins:
        if str(pin.name) in ("0", "1", "2", "3"):
            pinned[pin.frame, int(pin.name)] = True
    made = RegionTrack(
        found.polygons,
        found.confidence,
        found.matrices,
        found.state,
        found.reference,
        found.video,
        found.followed,
        pinned,
    )
    return made.tracks(CORNERS)
