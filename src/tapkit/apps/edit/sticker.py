"""Stickers and inserts: a picture or a clip that stays on a surface, behind what passes in front of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tapkit.apps.edit.artwork import Artwork, artwork
from tapkit.apps.edit.composite import Look, Painter, Report, composite, curve_of
from tapkit.apps.edit.follow import Followed, Settings, Told, follow_region, settings_of
from tapkit.apps.edit.footage import frames_of
from tapkit.apps.edit.models import similarity, through
from tapkit.apps.edit.region import Region, numbers, rectangle
from tapkit.apps.edit.support import Occluder, Occlusion, Support
from tapkit.coords import Size
from tapkit.errors import UsageError
from tapkit.video.base import Source
from tapkit.video.using import using

LEAST_SIDE = 24.0
"""Pixels of the area around an anchor in which points are looked for, at least."""


def attach_sticker(
    video: Any,
    image: Any,
    output: str | Path,
    *,
    point: Any = None,
    line: Any = None,
    quad: Any = None,
    mask: Any = None,
    frame: int = 0,
    width: float | None = None,
    look: Look | None = None,
    occlusion: Occlusion = "sharp",
    occluder: Occluder | None = None,
    settings: Settings | None = None,
    progress: Told = None,
    report: Report | None = None,
    **options: Any,
) -> Followed:
    """Put a picture or a clip into a video, where it stays on what it was put on.

        attach_sticker("clip.mp4", "poster.png", "out.mp4", quad=[(330, 190), (470, 190), (470, 260), (330, 260)])

    Args:
        video: anything `tapkit.open_video` takes, except cameras and streams.
        image: array [h,w,3 or 4], PIL image, a file of a picture or a video, a `Source`.
        output: see `composite`.
        point, line, quad, mask: the anchor on `frame`, exactly one: (x, y) for the middle of the image; two points for
            the middles of its left and right edge; its four corners, from the upper left clockwise; a mask [H,W] whose
            bounding box it fills and outside of which nothing of it is seen. Pixels, corner origin.
        width: of the image at a point, pixels of the video; None: its own.
        look: linear light, motion blur, adapted colours, opacity.
        occlusion, occluder: see `Support`.
        settings, options: see `Settings`; options are its fields.
        progress, report: called while points are tracked, and while frames are written.

    Returns what was followed. Raises `UsageError` and others as `follow_region` and `composite`.
    """
    settings, look = settings_of(settings, options), look or Look()
    with using(video) as source:
        curve = curve_of(source, output, look.linear_light)
        art = artwork(image, curve)
        place, region = anchored(art, source.info.size, point, line, quad, mask, width)
        found = follow_region(source, region, frame, settings, progress)
        support = Support(found.prepared, found.warp, occlusion, occluder, source.read(frame).image)
        before = reference_values(source, output, frame) if look.adapt else None
        painter = Painter(art, place, found.warp, support, look, curve, found.prepared, before, within=region.inside)
        composite(source, output, [painter], report)
        return found


def insert_video(
    video: Any, clip: Any, output: str | Path, quad: Any, *, shutter: float = 180.0, **options: Any
) -> Followed:
    """Put a clip onto a surface: `attach_sticker` by four corners, with motion blur of a shutter open for `shutter`
    degrees (180 is usual). Further options as there."""
    look = options.pop("look", None) or Look(shutter=shutter)
    return attach_sticker(video, clip, output, quad=quad, look=look, **options)


def anchored(
    art: Artwork, size: Size, point: Any, line: Any, quad: Any, mask: Any, width: float | None
) -> tuple[np.ndarray, Region]:
    """Where the pixels of an artwork are on the reference frame [3,3], and the region that it is to follow.

    Raises `UsageError` unless there is exactly one anchor, within reach of the frame.
    """
    if sum(part is not None for part in (point, line, quad, mask)) != 1:
        raise UsageError(
            "say where the picture goes: one of a point, a line (two points), a quad (four corners), a mask"
        )
    if width is not None and not (width > 0 and point is not None):
        raise UsageError("width is that of a picture at a point, more than 0 pixels")
    high, wide = art.size
    own = rectangle(0, 0, wide, high)
    if mask is not None:
        region = Region.of(mask=mask)
        region.raster(size)  # of the video's size
        return _through(own, region.corners), region
    if quad is not None:
        corners = np.array(numbers(quad, 8, "a quad is four corners x, y")).reshape(4, 2)
        return _through(own, corners), Region.of(corners)
    if point is not None:
        x, y = numbers(point, 2, "a point is x, y")
        scale = 1.0 if width is None else width / wide
        place = np.array([[scale, 0, x - scale * wide / 2], [0, scale, y - scale * high / 2], [0, 0, 1.0]])
    else:
        ends = np.array(numbers(line, 4, "a line is two points x, y")).reshape(2, 2)
        fitted = similarity(np.array([(0, high / 2), (wide, high / 2)]), ends, np.ones(2))
        if np.hypot(*(ends[1] - ends[0])) < 1 or fitted is None:
            raise UsageError("the two points of a line must be a pixel apart at least")
        place = fitted
    outline = own @ place[:2, :2].T + place[:2, 2]
    low, high_corner = outline.min(0), outline.max(0)
    grow = np.maximum(LEAST_SIDE - (high_corner - low), 0) / 2
    return place, Region.of(box=(*(low - grow), *(high_corner + grow)))


def _through(own: np.ndarray, corners: np.ndarray) -> np.ndarray:
    place = through(own, corners)
    if place is None:
        raise UsageError("the four corners enclose no area, or three of them lie on a line")
    side = np.roll(corners, -1, 0) - corners
    turn = side[:, 0] * np.roll(side[:, 1], -1) - side[:, 1] * np.roll(side[:, 0], -1)
    if not ((turn > 0).all() or (turn < 0).all()):
        raise UsageError("the four corners must be given one after the other around a convex area")
    return place


def reference_values(source: Source, output: str | Path, frame: int) -> np.ndarray:
    """The values of one frame, as they are composited for that output."""
    from tapkit.video.span import part_of

    return next(iter(frames_of(part_of(source, frame, frame + 1), output))).values
