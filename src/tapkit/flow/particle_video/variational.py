"""Variational optical flow with occlusion: coarse to fine, robust, five channels (after Brox et al. 2004)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tapkit.errors import require
from tapkit.flow.particle_video.channels import bell, gradient, inside, robust_weight, warped
from tapkit.flow.particle_video.occlusion import filtered, visibility
from tapkit.flow.particle_video.options import ParticleOptions

SIGMA_FLAT = 1.5
MOST_UPDATE = 1.5
COARSEST = 12
FILTER_WIDTH = 200
OVER_RELAXATION = 1.8
BLUR = 0.8


class Motion(NamedTuple):
    """Motion from one frame to another."""

    flow: np.ndarray
    """[2,h,w] float32 pixels."""
    visible: np.ndarray
    """[h,w] float32, 0..1: whether the pixel is seen in the other frame."""


def motion(first: np.ndarray, second: np.ndarray, options: ParticleOptions) -> Motion:
    """Flow and visibility from `first` to `second`, both [5,h,w] channels."""
    if options.flow == "dis":
        flow = _dis(first[0], second[0])
        visible = visibility(flow, first[0], second[0])
        flow = filtered(flow, first[0], visible)
        return Motion(flow, visibility(flow, first[0], second[0]))
    return _variational(first, second, options)


def _dis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """OpenCV's DIS flow; frames below its least size are enlarged by repeating the border."""
    cv: Any = require("cv2", "particles")
    height, width = first.shape
    pad = [(0, max(32 - height, 0)), (0, max(32 - width, 0))]
    pair = [np.pad(g, pad, mode="edge").round().clip(0, 255).astype(np.uint8) for g in (first, second)]
    dis = cv.DISOpticalFlow_create(cv.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow: np.ndarray = dis.calc(*pair, None)[:height, :width].transpose(2, 0, 1)
    return np.ascontiguousarray(flow)


def _variational(first: np.ndarray, second: np.ndarray, options: ParticleOptions) -> Motion:
    """Coarse to fine."""
    sizes = scales(first.shape[1:], options.scale_step)
    flow = np.zeros((2, *sizes[-1]), np.float32)
    for height, width in reversed(sizes):
        before, after = (_resized(image, (height, width)) for image in (first, second))
        flow = _resized(flow, (height, width)) * _ratio(flow, (height, width))
        visible = inside(flow).astype(np.float32)
        for number in range(options.warps):
            if width > FILTER_WIDTH and number:
                visible = visibility(flow, before[0], after[0])
            flow = flow + _update(before, after, flow, visible, options)
        if width > FILTER_WIDTH:
            flow = filtered(flow, before[0], visibility(flow, before[0], after[0]))
    return Motion(flow, visibility(flow, first[0], second[0]))


def scales(size: tuple[int, ...], step: float) -> list[tuple[int, int]]:
    """Sizes of the pyramid from the finest on, down to about 12 pixels."""
    found = [(size[0], size[1])]
    factor = step
    while min(size) * factor >= COARSEST:
        found.append((round(size[0] * factor), round(size[1] * factor)))
        factor *= step
    return found


def _ratio(flow: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[2,1,1]: by how much x and y grow when `flow` is brought to `size`."""
    return np.array([size[1] / flow.shape[2], size[0] / flow.shape[1]], np.float32)[:, None, None]


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[C,h,w] at another size: area averaging and a light blur downwards, linear upwards."""
    cv: Any = require("cv2", "particles")
    shrink = size[0] < image.shape[1] or size[1] < image.shape[2]
    how = cv.INTER_AREA if shrink else cv.INTER_LINEAR
    channels = [cv.resize(np.ascontiguousarray(c), size[::-1], interpolation=how) for c in image]
    if len(image) > 2:  # pictures, not flow
        channels = [cv.GaussianBlur(c, (0, 0), BLUR) for c in channels]
    return np.stack(channels)


def _update(
    before: np.ndarray, after: np.ndarray, flow: np.ndarray, visible: np.ndarray, options: ParticleOptions
) -> np.ndarray:
    """Increment [2,h,w] of the flow from one linearisation of the pictures."""
    moved = warped(after, flow)
    there, here = gradient(moved), gradient(before)
    ix, iy = (0.5 * (a + b) for a, b in zip(there, here, strict=True))
    iz = moved - before
    known = visible * inside(flow)
    alpha = options.alpha_global + options.alpha_local * bell(np.hypot(here[0][0], here[1][0]), SIGMA_FLAT)
    step = np.zeros_like(flow)
    for _ in range(options.inner):
        weight = known * robust_weight((iz + ix * step[0] + iy * step[1]) ** 2)
        total = flow + step
        steep = sum(_forward(total[c], axis) ** 2 for c in (0, 1) for axis in (0, 1))
        smooth = (alpha * robust_weight(np.asarray(steep))).astype(np.float32)
        data = ((weight * ix * ix).sum(0), (weight * ix * iy).sum(0), (weight * iy * iy).sum(0))
        right = (-(weight * ix * iz).sum(0), -(weight * iy * iz).sum(0))
        step = _relaxed(step, flow, data, right, smooth, options.relaxations)
        step = np.clip(step, -MOST_UPDATE, MOST_UPDATE)
    return step


def _forward(image: np.ndarray, axis: int) -> np.ndarray:
    """Forward difference, 0 at the far border."""
    last = np.take(image, [-1], axis)
    return np.diff(image, axis=axis, append=last)


def _relaxed(
    step: np.ndarray,
    flow: np.ndarray,
    data: tuple[np.ndarray, np.ndarray, np.ndarray],
    right: tuple[np.ndarray, np.ndarray],
    smooth: np.ndarray,
    sweeps: int,
) -> np.ndarray:
    """Sweeps of red-black successive over-relaxation over the five-point system, from `step` [2,h,w]."""
    height, width = smooth.shape
    across = np.zeros((height + 2, width + 1), np.float32)
    across[1:-1, 1:-1] = 0.5 * (smooth[:, 1:] + smooth[:, :-1])
    down = np.zeros((height + 1, width + 2), np.float32)
    down[1:-1, 1:-1] = 0.5 * (smooth[1:] + smooth[:-1])
    padded = np.pad(flow + step, ((0, 0), (1, 1), (1, 1)))
    west, east = across[1:-1, :-1], across[1:-1, 1:]
    north, south = down[:-1, 1:-1], down[1:, 1:-1]
    around = west + east + north + south
    a11, a12, a22 = data[0] + around + 1e-6, data[1], data[2] + around + 1e-6
    # The determinant, written so that rounding cannot make it negative: along an edge the data part of it is 0.
    own = around + 1e-6
    inverse = 1 / (np.maximum(data[0] * data[2] - a12 * a12, 0) + own * (data[0] + data[2] + own))
    # Solved for flow + step, so that the right-hand side has the linearisation point in it.
    b1 = right[0] + data[0] * flow[0] + data[1] * flow[1]
    b2 = right[1] + data[1] * flow[0] + data[2] * flow[1]
    places = [(0, 0), (1, 1), (0, 1), (1, 0)]
    parts = [[np.ascontiguousarray(m[r::2, c::2]) for m in (west, east, north, south, a11, a12, a22, inverse, b1, b2)]
             for r, c in places]  # fmt: skip
    for _ in range(sweeps):
        for (r, c), (w, e, n, s, p11, p12, p22, inv, q1, q2) in zip(places, parts, strict=True):
            if not w.size:
                continue
            rows, columns = slice(1 + r, height + 1, 2), slice(1 + c, width + 1, 2)
            left, right_ = slice(c, width, 2), slice(2 + c, width + 2, 2)
            up, low = slice(r, height, 2), slice(2 + r, height + 2, 2)
            near = (w * padded[:, rows, left] + e * padded[:, rows, right_]
                    + n * padded[:, up, columns] + s * padded[:, low, columns])  # fmt: skip
            r1, r2 = q1 + near[0], q2 + near[1]
            here = padded[:, rows, columns]
            here[0] += OVER_RELAXATION * ((p22 * r1 - p12 * r2) * inv - here[0])
            here[1] += OVER_RELAXATION * ((p11 * r2 - p12 * r1) * inv - here[1])
    solved: np.ndarray = padded[:, 1:-1, 1:-1] - flow
    return solved
