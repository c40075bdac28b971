"""Where an edit is to be seen: not where its surface is hidden.

Every place asks the points around it whether they are visible. Where some are not, the frame is compared with the
reference frame, carried there by the motion: what looks as the surface did is seen, what does not is in front of it.
Both votes together make a matte, whose border is then moved to the borders of the picture by a guided filter. A mask of
what stands in front, if there is one, is taken instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from tapkit.apps.edit.mesh import STEP, Box, Warp, smoothstep, typical_spacing
from tapkit.apps.edit.models import apply
from tapkit.apps.edit.prepare import Prepared
from tapkit.apps.edit.sampling import bicubic, box_mean, enlarged, guided
from tapkit.errors import ShapeError, UsageError

Occlusion = Literal["sharp", "soft", "none"]
OCCLUSIONS: tuple[Occlusion, ...] = ("sharp", "soft", "none")
SOFT = (0.1, 0.4)
"""Share of visible points, by weight, from which and up to which a soft edit appears, over three spacings of points."""
SHARP = (0.35, 0.65)
"""The same for a sharp one, over one spacing."""
WIDE = 3.0
LIKE = 0.09
"""Difference of colours, 0..1, up to which a place looks as it did on the reference frame."""
SHADE = (0.55, 1.15)
"""By how much it may have become darker or brighter."""
VOTES = (2.0, 3.0)
"""How much the points and the picture have to say."""
_GREY = np.full(3, 1 / 3, np.float32)
_LARGE = 60_000
"""Pixels of a box from which on pictures are compared at half the size."""
GUIDE = (8, 1e-3)
"""Radius in pixels and epsilon of the guided filter."""

Occluder = Callable[[int, np.ndarray], Any]
"""occluder(frame number, image [H,W,3]) -> mask [H,W], bool or 0..1, of what is in front."""


class Support:
    """How much of an edit is to be seen at each pixel of each frame.

    Args:
        prepared: the tracks.
        warp: of the region; points are where its motion says, visible or not.
        occlusion: "sharp": the border of what hides the points is found in the picture; "soft": the edit fades where
            points are hidden; "none": it is always seen.
        occluder: masks of what is in front, instead; they count in full, and the points are not asked.
        reference_image: the reference frame [H,W,3] uint8, which "sharp" compares the frames with; None: the points
            alone are asked.
    """

    def __init__(
        self,
        prepared: Prepared,
        warp: Warp,
        occlusion: Occlusion = "sharp",
        occluder: Occluder | None = None,
        reference_image: np.ndarray | None = None,
    ) -> None:
        motion = warp.motion
        if occlusion not in OCCLUSIONS:
            raise UsageError(f"occlusion is one of {', '.join(OCCLUSIONS)}, not {occlusion!r}")
        self.occlusion, self.occluder, self.motion, self._warp = occlusion, occluder, motion, warp
        self._before = None
        if reference_image is not None and occlusion == "sharp" and occluder is None:
            self._before = reference_image.astype(np.float32) / 255
        weight, reference = prepared.weight[motion.rows], motion.reference
        there = weight[:, reference] > 0
        self._p = prepared.xy[motion.rows[there], reference]
        # A point whose trust is always middling is as visible as it was on the reference frame.
        share = np.clip(weight[there] / np.maximum(weight[there][:, [reference]], 1e-6), 0, 1)
        self._seen = steady((share > 0.3).astype(float))
        self._spacing = typical_spacing(self._p)

    def alpha(self, t: int, box: Box, image: Callable[[], np.ndarray], number: int) -> np.ndarray | None:
        """How much is seen [h,w] float32, 0..1; None: all of it.

        Args:
            image: gives the frame [H,W,3] uint8, if it is needed.
            number: of the frame, for the occluder.
        """
        if self.occluder is not None:
            mask = np.asarray(self.occluder(number, image()))
            if mask.shape[:2] != image().shape[:2] or mask.ndim != 2:
                raise ShapeError(f"an occluder returns a mask [H,W] of the frame's size, got {list(mask.shape)}")
            return np.asarray(1 - np.clip(mask[box.slices].astype(np.float32), 0, 1))
        if self.occlusion == "none" or not len(self._p) or self._seen[:, t].min() > 0.999:
            return None
        places = apply(self.motion.matrices[t], self._p)
        known = np.isfinite(places).all(-1)
        if not known.any() or self._seen[known, t].min() > 0.999:
            return None
        if self.occlusion == "soft":
            share = self._share(t, box, places, known, WIDE)
            return smoothstep(*SOFT, share).astype(np.float32)
        share = self._share(t, box, places, known, 1.0)
        if share.min() > SHARP[1]:
            return None
        here = image()[box.slices].astype(np.float32) / 255
        if self._before is None:
            rough = smoothstep(*SHARP, share)
        else:
            votes = VOTES[0] * (2 * share - 1) + VOTES[1] * self._alike(t, box, here)
            rough = smoothstep(-0.6, 0.6, votes)
        fine = np.clip(guided(here @ _GREY, rough.astype(np.float32), *GUIDE), 0, 1)
        return smoothstep(0.2, 0.8, fine).astype(np.float32)

    def _alike(self, t: int, box: Box, here: np.ndarray) -> np.ndarray:
        """Whether a box of the frame looks as its surface did on the reference frame: 1 (it does) to -1.5 [h,w]."""
        assert self._before is not None
        places = self._warp.back(t, box)
        half = places.shape[0] * places.shape[1] > _LARGE
        if half:
            places, here = _halved(places), _halved(here)
        before = bicubic(self._before, places, edge=True)
        one, two = ([box_mean(part[..., c], 1 if half else 2) for c in range(3)] for part in (here, before))
        product = one[0] * two[0] + one[1] * two[1] + one[2] * two[2]
        square = two[0] * two[0] + two[1] * two[1] + two[2] * two[2]
        shade = np.clip(product / np.maximum(square, 1e-4), *SHADE)
        gap = sum((a - shade * b) ** 2 for a, b in zip(one, two, strict=True))
        alike = np.clip(1 - box_mean(np.sqrt(gap), 1) / np.float32(LIKE), -1.5, 1)
        if half:
            alike = np.repeat(np.repeat(alike, 2, 0), 2, 1)[: box.size[0], : box.size[1]]
        return np.asarray(alike)

    def _share(self, t: int, box: Box, places: np.ndarray, known: np.ndarray, wide: float) -> np.ndarray:
        """Share of the points around each pixel that are visible [h,w]: near ones count most, at any distance."""
        scale = np.sqrt(max(abs(float(np.linalg.det(self.motion.matrices[t][:2, :2]))), 1e-6))
        reach = max(self._spacing * scale * wide, 1.0)
        grid = box.grid(STEP)
        flat = grid.reshape(-1, 2)
        a = places[known].astype(np.float32)
        kernel = flat @ (-2 * a.T)
        kernel += (flat[:, 0] ** 2 + flat[:, 1] ** 2)[:, None]
        kernel += a[:, 0] ** 2 + a[:, 1] ** 2
        np.maximum(kernel, 0, out=kernel)
        kernel /= np.float32(reach * reach)
        kernel += 1
        kernel *= kernel * kernel
        np.reciprocal(kernel, out=kernel)
        share = (kernel @ self._seen[known, t].astype(np.float32)) / (kernel.sum(1) + np.float32(1e-9))
        return enlarged(share.reshape(*grid.shape[:2], 1), STEP, box.size)[..., 0]


def _halved(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels [h,w,C]; the last row or column twice where a side is odd."""
    if image.shape[0] % 2 or image.shape[1] % 2:
        image = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), "edge")
    top = image[::2, ::2] + image[::2, 1::2]
    return np.asarray(0.25 * (top + image[1::2, ::2] + image[1::2, 1::2]), np.float32)


def steady(seen: np.ndarray) -> np.ndarray:
    """Visibility [N,T], 0 or 1, without single frames that differ, fading over three frames."""
    frames = seen.shape[1]
    if frames < 3:
        return seen
    padded = np.pad(seen, ((0, 0), (1, 1)), "edge")
    middle = np.median(np.stack([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]]), 0)
    padded = np.pad(middle, ((0, 0), (1, 1)), "edge")
    return np.asarray(0.25 * padded[:, :-2] + 0.5 * padded[:, 1:-1] + 0.25 * padded[:, 2:])
