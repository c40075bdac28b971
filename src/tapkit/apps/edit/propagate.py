"""An edit painted on one frame, carried to all the others: what was changed there becomes a layer that moves along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tapkit.apps.edit.artwork import Given, read_image, rgba_of
from tapkit.apps.edit.colour import Curve
from tapkit.apps.edit.composite import Look, Painter, Report, check_frame, check_source, composite, curve_of
from tapkit.apps.edit.follow import Followed, Settings, Told, follow_region, settings_of
from tapkit.apps.edit.region import Region, grown
from tapkit.apps.edit.sampling import box_mean
from tapkit.apps.edit.sticker import reference_values
from tapkit.apps.edit.support import Occluder, Occlusion, Support
from tapkit.errors import ShapeError, UsageError
from tapkit.video.using import using

CHANGED = 2 / 255
"""Difference of a channel from which on a pixel was changed."""
AROUND = 2
"""Pixels around what was changed that belong to the layer: it fades out over them."""


def propagate_edit(
    video: Any,
    edited: Any,
    output: str | Path,
    *,
    frame: int = 0,
    look: Look | None = None,
    occlusion: Occlusion = "sharp",
    occluder: Occluder | None = None,
    settings: Settings | None = None,
    progress: Told = None,
    report: Report | None = None,
    **options: Any,
) -> Followed:
    """Carry an edit of one frame to all frames.

        propagate_edit("clip.mp4", "frame_0040_painted.png", "out.mp4", frame=40)

    Args:
        video: anything `tapkit.open_video` takes, except cameras and streams.
        edited: the frame as it was painted on [H,W,3], or a layer with alpha [H,W,4] that lies over it; an array, a PIL
            image or a file, of the video's size.
        output: see `composite`.
        frame: which one was edited.
        look, occlusion, occluder, settings, progress, report, options: as for `attach_sticker`; `follow` is "mesh"
            unless it says otherwise.

    Raises `ShapeError` for an image of another size, `UsageError` for one in which nothing was changed.
    """
    settings = settings_of(settings, {"follow": "mesh", **options} if settings is None else options)
    look = look or Look()
    with using(video) as source:
        check_source(source)
        check_frame(source, frame)
        curve = curve_of(source, output, look.linear_light)
        image, values = source.read(frame).image, reference_values(source, output, frame)
        layer, corner = edit_layer(_given(edited), values, curve)
        mask = np.zeros(source.info.size, bool)
        height, width = layer.shape[:2]
        mask[corner[1] : corner[1] + height, corner[0] : corner[0] + width] = layer[..., 3] > 0.02
        found = follow_region(source, Region.of(mask=mask), frame, settings, progress)
        place = np.array([[1.0, 0, corner[0]], [0, 1, corner[1]], [0, 0, 1]])
        support = Support(found.prepared, found.warp, occlusion, occluder, image)
        painter = Painter(Given(layer), place, found.warp, support, look, curve, found.prepared, values)
        composite(source, output, [painter], report)
        return found


def _given(edited: Any) -> np.ndarray:
    """The edited frame as [H,W,4] float32."""
    if isinstance(edited, (str, Path)):
        edited, _ = read_image(Path(edited))
    return rgba_of(edited)


def edit_layer(edited: np.ndarray, values: np.ndarray, curve: Curve) -> tuple[np.ndarray, tuple[int, int]]:
    """What was edited, as premultiplied light [h,w,4], and where its upper left corner (x, y) is in the frame.

    Args:
        edited: [H,W,4], 0..1: the painted frame, or a layer if some of it is transparent.
        values: of the frame before, [H,W,3].
    """
    if edited.shape[:2] != values.shape[:2]:
        (height, width), (own_height, own_width) = values.shape[:2], edited.shape[:2]
        raise ShapeError(
            f"the edited frame is {own_width}x{own_height}, the video {width}x{height}: they must be alike"
        )
    light = curve.artwork(edited[..., :3])
    if (edited[..., 3] < 1).any():
        alpha = edited[..., 3]
    else:
        before = curve.light(values)
        plain = Curve(curve.depth, False).light(values) if curve.depth is None or not curve.depth.linear else before
        compared = edited[..., :3] if plain is not before else light
        changed = (np.abs(compared - plain) > CHANGED + 1e-6).any(-1)
        core = grown(changed, AROUND)
        # 1 inside, falling to 0 over the last pixels.
        alpha = np.clip(2 * box_mean(grown(changed, AROUND - 1).astype(np.float32), AROUND) - 0.2, 0, 1) * core
        alpha = np.where(changed, 1, alpha)
    rows, columns = np.flatnonzero((alpha > 0).any(1)), np.flatnonzero((alpha > 0).any(0))
    if not len(rows):
        raise UsageError("nothing was changed in the edited frame: it is that frame of the video, or all transparent")
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    alpha = alpha[part][..., None].astype(np.float32)
    return np.concatenate([light[part] * alpha, alpha], 2), (int(columns[0]), int(rows[0]))
