"""Taking something out: its mask on every frame, and what is behind it, from frames on which it stood elsewhere.

What no frame shows cannot be made up here: an inpainting model is the user's, who gets frame, mask and plate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tapkit import storage
from tapkit.apps.edit.background import background_motion
from tapkit.apps.edit.colour import Curve
from tapkit.apps.edit.composite import Report, check_frame, check_source, composite, curve_of, over
from tapkit.apps.edit.follow import Settings, Told, follow_region, ready, settings_of, track_points
from tapkit.apps.edit.masks import CarriedMasks
from tapkit.apps.edit.mesh import Box, plane_pixels
from tapkit.apps.edit.motion import Motion
from tapkit.apps.edit.region import Region, grown
from tapkit.apps.edit.sampling import bicubic, box_mean
from tapkit.errors import ShapeError, UsageError
from tapkit.types import Queries
from tapkit.video.base import DeepFrame, Source
from tapkit.video.using import using

Inpaint = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]
"""inpaint(image [H,W,3] uint8, mask [H,W] bool, plate [H,W,3] uint8) -> image [H,W,3]."""
PLATE_FRAMES = 15
"""Frames whose median the plate is."""
GRID = 20
"""Points a side by which the background is followed."""
ROOM = 4
"""Pixels by which the mask is made larger before anything is taken from around it."""


@dataclass(frozen=True, eq=False)
class CleanPlate:
    """The background without the object."""

    image: np.ndarray
    """[H,W,3] float32, light in the place of the reference frame; 0 where it is not known."""
    known: np.ndarray
    """[H,W] bool."""
    motion: Motion
    """Of the background."""
    curve: Curve

    def at(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """The plate as frame t would show it: light [H,W,3] and whether it is known [H,W]."""
        height, width = self.known.shape
        places = plane_pixels(np.linalg.inv(self.motion.matrices[t]), Box(0, 0, width, height))
        both = np.concatenate([self.image * self.known[..., None], self.known[..., None].astype(np.float32)], 2)
        moved = bicubic(both, places)
        there = moved[..., 3] > 0.5
        return moved[..., :3] / np.maximum(moved[..., 3:], 0.5), there


def remove_object(
    video: Any,
    mask: Any,
    folder: str | Path | None = None,
    *,
    frame: int = 0,
    output: str | Path | None = None,
    inpaint: Inpaint | None = None,
    settings: Settings | None = None,
    progress: Told = None,
    report: Report | None = None,
    **options: Any,
) -> CleanPlate:
    """Export what is needed to take an object out of a video, or fill it with what is behind it.

        remove_object("clip.mp4", mask, "removal", frame=12, output="without.mp4")

    Args:
        video: anything `tapkit.open_video` takes, except cameras and streams.
        mask: [H,W], nonzero = the object, on `frame`.
        folder: gets `mask/000000.png ...`, `plate/000000.png ...` (the plate as each frame would show it, with alpha
            where it is known) and `plate.png` (in the place of the reference frame).
        output: a video with the object replaced by the plate where that is known.
        inpaint: makes the picture instead, from frame, mask and plate; then nothing need be known.
        settings, progress, report, options: as for `attach_sticker`, for the object's own points.

    Raises `UsageError` where nothing is to be written, and as `propagate_mask`.
    """
    if folder is None and output is None:
        raise UsageError("say what is to be written: folder= for masks and plates, output= for the filled video")
    settings = settings_of(settings, {"follow": "mesh", **options} if settings is None else options)
    region = Region.of(mask=mask)
    with using(video) as source:
        check_source(source)
        check_frame(source, frame)
        inside = region.raster(source.info.size)
        found = follow_region(source, region, frame, settings, progress)
        carried = CarriedMasks(source, found, inside, None)
        plate = clean_plate(source, carried, frame, settings, output or "x.mp4", progress)
        if folder is not None:
            _export(source, carried, plate, Path(folder), report if output is None else None)
        if output is not None:
            composite(source, output, [_Fill(carried, plate, inpaint)], report)
        return plate


def clean_plate(
    source: Source, carried: CarriedMasks, frame: int, settings: Settings, output: str | Path, progress: Told = None
) -> CleanPlate:
    """The temporal median of the background, aligned to the reference frame, without what the masks cover."""
    size, frames = source.info.size, source.info.frames or 1
    mask = carried.at(frame)
    grid = Queries.grid(size, GRID, frame)
    column, row = np.floor(np.clip(grid.xy, 0, (size[1] - 1, size[0] - 1))).astype(int).T
    outside = ~grown(mask, ROOM)[row, column]
    tracks = track_points(source, grid[outside], settings, progress)
    motion = background_motion(ready(source, tracks, settings), frame, mask=grown(mask, ROOM), seed=settings.seed)
    curve = curve_of(source, output, linear=False)
    chosen = np.unique(np.linspace(0, frames - 1, min(PLATE_FRAMES, frames)).astype(int))
    usable = [int(t) for t in chosen if motion.presence[t] > 0]
    stack = []
    plain = Curve(None, False)
    for t in usable:
        image = source.read(t).image
        free = ~grown(carried.soft(t, image) > 0.1, ROOM)
        both = np.concatenate([plain.light(image) * free[..., None], free[..., None].astype(np.float32)], 2)
        places = plane_pixels(motion.matrices[t], Box(0, 0, size[1], size[0]))
        moved = bicubic(both, places)
        moved[moved[..., 3] < 0.95] = np.nan
        stack.append(moved[..., :3].astype(np.float16))
    image, known = _median(stack)
    return CleanPlate(image, known, motion, curve)


def _median(stack: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Medians of what is known of [K] pictures [H,W,3], row by row, and where anything is."""
    height, width = stack[0].shape[:2]
    out, known = np.zeros((height, width, 3), np.float32), np.zeros((height, width), bool)
    for top in range(0, height, 64):
        part = np.stack([each[top : top + 64] for each in stack]).astype(np.float32)
        part = np.sort(part, 0)  # what is not known goes to the end
        count = np.isfinite(part).sum(0)
        low, high = np.maximum((count - 1) // 2, 0), np.clip(count // 2, 0, len(stack) - 1)
        middle = (np.take_along_axis(part, low[None], 0) + np.take_along_axis(part, high[None], 0))[0] / 2
        known[top : top + 64] = count[..., 0] > 0
        out[top : top + 64] = np.where(count > 0, middle, 0)
    return out, known


class _Fill:
    """Puts the plate where the mask is."""

    def __init__(self, carried: CarriedMasks, plate: CleanPlate, inpaint: Inpaint | None) -> None:
        self.carried, self.plate, self.inpaint = carried, plate, inpaint

    def __call__(self, frame: DeepFrame) -> None:
        """Change a frame in place."""
        t, size = frame.index, frame.values.shape[:2]
        image = frame.values if self.plate.curve.depth is None else None
        hole = self.carried.soft(t, image)
        wide = grown(hole > 0.1, ROOM)
        if not wide.any():
            return
        light, known = self.plate.at(t)
        alpha = np.clip(2 * box_mean(wide.astype(np.float32), 2) - 0.5, 0, 1)
        if self.inpaint is not None:
            shown = np.rint(255 * np.clip(light, 0, 1)).astype(np.uint8)
            made = np.asarray(self.inpaint(image if image is not None else shown, wide, shown))
            if made.shape != (*size, 3):
                raise ShapeError(f"inpaint returns a picture [H,W,3] of the frame's size, got {list(made.shape)}")
            light = made.astype(np.float32) / (255 if made.dtype == np.uint8 else 1)
        else:
            alpha = alpha * known
        layer = np.concatenate([light * alpha[..., None], alpha[..., None]], 2).astype(np.float32)
        over(frame.values, Box(0, 0, size[1], size[0]), layer, self.plate.curve)


def _export(source: Source, carried: CarriedMasks, plate: CleanPlate, folder: Path, report: Report | None) -> None:
    """Masks and plates as PNG files, each complete or absent."""
    for name in ("mask", "plate"):
        storage.make_folder(folder / name)

    def save(path: Path, image: np.ndarray) -> None:
        with storage.atomic(path) as part, open(part, "wb") as file:
            Image.fromarray(image).save(file, "png", compress_level=3)

    def shown(light: np.ndarray, known: np.ndarray) -> np.ndarray:
        rgb = np.rint(255 * np.clip(light, 0, 1))
        return np.concatenate([rgb, 255.0 * known[..., None]], 2).astype(np.uint8)

    save(folder / "plate.png", shown(plate.image, plate.known))
    for frame in source.frames():
        number = frame.index + source.info.start_frame
        save(
            folder / "mask" / f"{number:06d}.png",
            np.rint(255 * carried.soft(frame.index, frame.image)).astype(np.uint8),
        )
        save(folder / "plate" / f"{number:06d}.png", shown(*plate.at(frame.index)))
        if report is not None:
            report(frame.index + 1, source.info.frames)
