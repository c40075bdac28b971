"""Masks carried through a video: the signed distance to their border is warped, which keeps that border clean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tapkit.apps.edit.composite import Report
from tapkit.apps.edit.follow import Followed, Settings, Told, follow_region, settings_of
from tapkit.apps.edit.mesh import Box
from tapkit.apps.edit.region import Region, signed_distance
from tapkit.apps.edit.sampling import bicubic
from tapkit.apps.edit.segment import Prompts, Segmenter
from tapkit.apps.edit.support import Occluder, Occlusion, Support
from tapkit.errors import UsageError
from tapkit.video.base import Source
from tapkit.video.using import using
from tapkit.video.writer import VideoWriter

FAR = 32
"""Pixels up to which distances to the border are known."""


class CarriedMasks:
    """The mask on every frame, made when it is asked for."""

    def __init__(self, source: Source, found: Followed, mask: np.ndarray, support: Support | None) -> None:
        self.source, self.found, self._support = source, found, support
        self._distance = signed_distance(mask, FAR)[..., None]
        self.confidence = found.motion.confidence
        """[T], 0..1."""

    def soft(self, t: int, image: np.ndarray | None = None) -> np.ndarray:
        """[H,W] float32: how much of each pixel of frame t is covered, 0..1; nothing where the region is lost.

        `image`: the frame, where it is at hand.
        """
        size = self.source.info.size
        out = np.zeros(size, np.float32)
        motion, warp = self.found.motion, self.found.warp
        if motion.presence[t] <= 0:
            return out
        box = Box.around(motion.path(self.found.region.corners)[t], size, 2 + warp.reach)
        if box is None:
            return out
        places = warp.back(t, box)
        distance = bicubic(self._distance, places, edge=True)[..., 0]
        height, width = size
        beyond = (places[..., 0] < 0) | (places[..., 1] < 0) | (places[..., 0] > width) | (places[..., 1] > height)
        alpha = np.where(beyond, 0, np.clip(distance * _scale(places) + 0.5, 0, 1)).astype(np.float32)
        if self._support is not None:
            seen = self._support.alpha(t, box, lambda: self.source.read(t).image if image is None else image, t)
            alpha = alpha if seen is None else alpha * seen
        out[box.slices] = alpha
        return out

    def at(self, t: int, image: np.ndarray | None = None) -> np.ndarray:
        """[H,W] bool."""
        return np.asarray(self.soft(t, image) > 0.5)


def _scale(places: np.ndarray) -> float:
    """Pixels of the frame for one of the reference frame."""
    if min(places.shape[:2]) < 2:
        return 1.0
    step = np.hypot(*np.moveaxis(np.diff(places[places.shape[0] // 2], axis=0), -1, 0))
    return 1 / max(float(np.median(step)), 1e-3)


def propagate_mask(
    video: Any,
    mask: Any,
    output: str | Path | None = None,
    *,
    frame: int = 0,
    occlusion: Occlusion = "sharp",
    occluder: Occluder | None = None,
    segmenter: Segmenter | None = None,
    settings: Settings | None = None,
    progress: Told = None,
    report: Report | None = None,
    each: Callable[[int, np.ndarray], object] | None = None,
    **options: Any,
) -> np.ndarray:
    """Carry the mask of an object or a surface from one frame to all.

        propagate_mask("clip.mp4", mask, "masks/%05d.png", frame=12)

    Args:
        video: anything `tapkit.open_video` takes, except cameras and streams.
        mask: [H,W], nonzero = inside, on `frame`.
        output: a sequence of pictures or a video, white where the mask is; None: nothing is written.
        occlusion, occluder: see `Support`: what is hidden is taken off.
        segmenter: segmenter(image [H,W,3] uint8, points [n,2], labels [n], box [4]) -> (mask [H,W], score): a model
            such as SAM that is asked on every frame, with visible points inside (label 1) and outside (0). Where its
            mask holds the points and it is sure, it is taken; else the warped mask.
        each: called with every frame's number and its mask [H,W] float32, 0..1.
        settings, progress, report, options: as for `attach_sticker`; `follow` is "mesh" unless it says otherwise.

    Returns the confidence of each frame [T].
    """
    settings = settings_of(settings, {"follow": "mesh", **options} if settings is None else options)
    region = Region.of(mask=mask)
    if output is None and each is None:
        raise UsageError("say where the masks go: output= or each=")
    with using(video) as source:
        inside = region.raster(source.info.size)
        found = follow_region(source, region, frame, settings, progress)
        support = Support(found.prepared, found.warp, occlusion, occluder, source.read(frame).image)
        carried = CarriedMasks(source, found, inside, support)
        masks = _all(carried) if segmenter is None else Prompts(carried, segmenter, settings, inside).all()
        confidence = np.array(found.motion.confidence)
        if output is None:
            for t, alpha, sure in masks:
                confidence[t] = sure
                each(t, alpha)  # type: ignore[misc]
            return confidence
        with VideoWriter(output, source.info, quality="high") as writer:
            for t, alpha, sure in masks:
                confidence[t] = sure
                grey = np.rint(255 * alpha).astype(np.uint8)
                writer.write(np.repeat(grey[..., None], 3, 2), source.info.time_of(t))
                if each is not None:
                    each(t, alpha)
                if report is not None:
                    report(t + 1, source.info.frames)
        return confidence


def _all(carried: CarriedMasks) -> Iterator[tuple[int, np.ndarray, float]]:
    for image in carried.source.frames():
        yield image.index, carried.soft(image.index, image.image), float(carried.confidence[image.index])
