"""Where flow says that a pixel is hidden in the other frame, and the filter that sharpens flow at boundaries."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapkit.errors import require
from tapkit.flow.particle_video.channels import bell, gradient, inside, warped

SIGMA_DIVERGENCE = 0.3
SIGMA_BRIGHTNESS = 20.0
SIGMA_DISTANCE, SIGMA_IMAGE, SIGMA_MOTION = 4.0, 20.0, 1.5
RADIUS, STRIDE = 10, 2
BOUNDARY_BLUR, BOUNDARY = 3.0, 0.05
BATCH = 8192


def visibility(flow: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[h,w] float32, 0..1: low where flow converges or brightness does not fit; 0 where it leaves the frame.

    Args:
        flow: [2,h,w] pixels.
        first, second: brightness [h,w], 0..255.
    """
    divergence = np.minimum(gradient(flow[0])[0] + gradient(flow[1])[1], 0)
    error = first - warped(second[None], flow)[0]
    seen: np.ndarray = bell(divergence, SIGMA_DIVERGENCE) * bell(error, SIGMA_BRIGHTNESS) * inside(flow)
    return seen.astype(np.float32)


def steepness(flow: np.ndarray) -> np.ndarray:
    """[h,w] magnitude of the flow's gradient, blurred by 3 pixels."""
    cv: Any = require("cv2", "particles")
    (ux, vx), (uy, vy) = gradient(flow)
    magnitude = np.sqrt(ux**2 + uy**2 + vx**2 + vy**2).astype(np.float32)
    blurred: np.ndarray = cv.GaussianBlur(magnitude, (0, 0), BOUNDARY_BLUR)
    return blurred


def filtered(flow: np.ndarray, image: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Flow whose boundary pixels are means over what is near, similar in brightness and motion, and visible.

    The neighbourhood (radius 10) is visited at every second pixel.
    """
    height, width = image.shape
    rows, columns = np.nonzero(steepness(flow) > BOUNDARY)
    offsets = np.arange(-RADIUS, RADIUS + 1, STRIDE)
    dy, dx = (o.ravel() for o in np.meshgrid(offsets, offsets, indexing="ij"))
    near = dx**2 + dy**2 <= RADIUS**2
    dy, dx = dy[near], dx[near]
    spatial = bell(np.hypot(dx, dy), SIGMA_DISTANCE).astype(np.float32)
    result = flow.copy()
    for begin in range(0, len(rows), BATCH):
        y, x = rows[begin : begin + BATCH], columns[begin : begin + BATCH]
        v, u = y[:, None] + dy, x[:, None] + dx
        ok = (v >= 0) & (v < height) & (u >= 0) & (u < width)
        v, u = v.clip(0, height - 1), u.clip(0, width - 1)
        around = flow[:, v, u]
        apart = ((around - flow[:, y, x][..., None]) ** 2).sum(0)
        unlike = (image[v, u] - image[y, x][:, None]) ** 2
        exponent = -0.5 * (apart / SIGMA_MOTION**2 + unlike / SIGMA_IMAGE**2)
        weight = np.exp(exponent) * spatial * ok * visible[v, u]
        total = weight.sum(1)
        mean = (around * weight).sum(2) / np.maximum(total, 1e-6)
        result[:, y, x] = np.where(total > 1e-3, mean, flow[:, y, x])
    return result
