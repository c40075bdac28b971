"""Self-checks of a video: its numbers against each other, and against what Cycles rendered.

Tracks come from triangles and rays of our own; depths, masks, positions and colours come from the renderer. What agrees
here was computed twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tapkit import coords
from tapkit.generate.motion import FrameTracks
from tapkit.generate.points import SurfacePoints
from tapkit.generate.rays import Surface, centres
from tapkit.generate.take import Camera, Passes, Take

SILHOUETTE = 0.01
"""Neighbouring pixels whose depths differ by a larger share are not on one surface."""


class Check(NamedTuple):
    """One of them."""

    name: str
    value: float | None
    """What was measured; None: the video shows nothing that it can be measured on."""
    bound: float
    sense: str
    """at most, or at least."""
    unit: str

    @property
    def passed(self) -> bool:
        """Whether the value keeps the bound; what cannot be measured does not fail."""
        if self.value is None:
            return True
        return self.value <= self.bound if self.sense == "at most" else self.value >= self.bound


class Sums:
    """Takes the frames of a video one by one, holds sums and samples of them, and makes the checks."""

    def __init__(self, take: Take, points: SurfacePoints) -> None:
        self.take, self.points = take, points
        self.checker = {i for i, part in enumerate(take.parts) if part.kind == "checker"}
        self.index = np.array([part.mask for part in take.parts])
        self.counts: dict[str, list[int]] = {}
        """What was counted: [that agreed, of all]."""
        self.samples: dict[str, list[np.ndarray]] = {}
        self.colours: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, tracks: FrameTracks, surface: Surface, passes: Passes, picture: np.ndarray) -> None:
        """One frame: `picture` uint8 [H,W,3]."""
        self._pixels(surface, passes)
        self._points(tracks, passes, surface.camera)
        self._rules(tracks, passes)
        if self.checker:
            self._checker(tracks, passes, picture)

    def _count(self, name: str, good: np.ndarray) -> None:
        sums = self.counts.setdefault(name, [0, 0])
        sums[0] += int(good.sum())
        sums[1] += good.size

    def _pixels(self, surface: Surface, passes: Passes) -> None:
        """Every pixel: what our ray meets, and what the renderer saw."""
        hits = surface.cast(centres(self.take.size))
        depth = passes.depth.ravel()
        part = np.where(hits.triangle < 0, -1, self.take.part_of[hits.triangle])
        mask = np.where(part < 0, 0, self.index[part])
        with np.errstate(invalid="ignore"):
            same = np.where(
                np.isinf(depth) | np.isinf(hits.depth),
                np.isinf(depth) == np.isinf(hits.depth),
                np.abs(depth - hits.depth) <= 1e-3 * hits.depth,
            )
        self._count("pixels' depth", same)
        self._count("pixels' mask", mask == passes.mask.ravel())

    def _points(self, tracks: FrameTracks, passes: Passes, camera: Camera) -> None:
        """Visible points: the depth and the position that the renderer has there."""
        rows = np.flatnonzero(tracks.visible)
        xy, depth, world = tracks.xy[rows], tracks.depth[rows], tracks.world[rows]
        around = neighbourhood(passes.depth, xy)
        near, far = around.min(1), around.max(1)  # a floor seen from the side has many depths in one pixel
        self._count("points' depth", (depth >= 0.97 * near) & (depth <= 1.03 * far))
        smooth, position = interpolate(passes, xy)
        pixel = depth[smooth] / camera.intrinsics[0, 0]
        away = np.linalg.norm(position - world[smooth], axis=-1) / pixel
        self.samples.setdefault("position", []).append(away.astype(np.float32))

    def _rules(self, tracks: FrameTracks, passes: Passes) -> None:
        """In the frame; and where the 3x3 pixels around are one surface seen from the front, as the published rule
        needs it: on a floor that is seen from the side, two pixels differ by more than its 5 %."""
        same = tracks.visible == tracks.visible_by_depth
        inside = tracks.valid & coords.inside(np.where(tracks.valid[:, None], tracks.xy, -1.0), self.take.size)
        around = neighbourhood(passes.depth, tracks.xy[inside])
        with np.errstate(invalid="ignore"):
            even = np.ptp(around, axis=-1) <= 0.04 * around.min(-1)
        self._count("rules", same[inside])
        self._count("rules, even", same[inside][even])

    def _checker(self, tracks: FrameTracks, passes: Passes, picture: np.ndarray) -> None:
        """Colours at visible points of the checker, where the pixels around all have the same one."""
        on = np.isin(self.points.part, list(self.checker)) & tracks.visible
        rows = np.flatnonzero(on)
        x, y = (np.clip(np.floor(tracks.xy[rows, i]).astype(int), 0, self.take.size[1 - i] - 1) for i in (0, 1))
        emission = passes.emission.mean(-1)
        around = neighbourhood(emission, tracks.xy[rows])
        plain = np.isclose(around, around[:, :1], rtol=1e-3, atol=1e-4).all(1)
        rows, x, y = rows[plain], x[plain], y[plain]
        self.colours.append((rows, emission[y, x], picture[y, x].mean(-1)))

    def checks(self, reprojection: float) -> list[Check]:
        """All of them. `reprojection`: from `reprojection_error`."""
        away = np.concatenate(self.samples.get("position") or [np.zeros(0, np.float32)])
        emitted, pictured = self._constancy()
        return [
            Check("stored tracks against stored camera and 3D points, worst", reprojection, 1e-3, "at most", "px"),
            Check("pixels whose depth is the renderer's", self._share("pixels' depth"), 0.99, "at least", ""),
            Check("pixels whose object is the renderer's", self._share("pixels' mask"), 0.99, "at least", ""),
            Check("visible points within 3 % of rendered depth", self._share("points' depth"), 0.995, "at least", ""),
            Check("position pass at visible points, median", _quantile(away, 0.5), 0.1, "at most", "px"),
            Check("position pass at visible points, 99 %", _quantile(away, 0.99), 1.0, "at most", "px"),
            Check("constant colour on the checker, emission", emitted, 0.99, "at least", ""),
            Check("constant colour on the checker, picture", pictured, 0.9, "at least", ""),
            Check("rays and published depth rule agree", self._share("rules"), 0.5, "at least", ""),
            Check("the same where depth is even", self._share("rules, even"), 0.9, "at least", ""),
        ]

    def _share(self, name: str) -> float | None:
        good, total = self.counts.get(name, [0, 0])
        return good / total if total else None

    def _constancy(self) -> tuple[float | None, float | None]:
        """Shares of samples on the checker that have their point's usual colour: rendered emission, picture."""
        if not self.colours:
            return None, None
        rows, emission = (np.concatenate([frame[i] for frame in self.colours]) for i in (0, 1))
        if len(rows) < 20 or np.ptp(emission) < 1e-3:
            return None, None
        bright = emission > (emission.min() + emission.max()) / 2
        shown = np.zeros(len(rows), bool)
        start = 0
        for frame_rows, _, frame_picture in self.colours:  # fog and light differ from frame to frame
            own = slice(start, start + len(frame_rows))
            start = own.stop
            two = [frame_picture[bright[own]], frame_picture[~bright[own]]]
            if all(len(each) for each in two):
                shown[own] = frame_picture > (np.median(two[0]) + np.median(two[1])) / 2
            else:
                shown[own] = bright[own]
        usual = np.bincount(rows, bright) * 2 > np.bincount(rows)
        return float((bright == usual[rows]).mean()), float((shown == usual[rows]).mean())


def _quantile(values: np.ndarray, share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None


def neighbourhood(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """The 3x3 pixels about positions [R,2], corner origin, of `image` [H,W] -> [R,9]; the centre is the fifth."""
    height, width = image.shape
    x, y = np.floor(xy).astype(int).T
    near = [
        image[np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)] for dy in (-1, 0, 1) for dx in (-1, 0, 1)
    ]
    return np.stack(near, -1)


def interpolate(passes: Passes, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The position pass between the four pixel centres about each of `xy` [R,2].

    Returns:
        Which rows have four pixels of one object and one depth about them [K], and the positions there [K,3].
    """
    height, width = passes.depth.shape
    low = np.floor(xy - 0.5).astype(int)
    part = xy - 0.5 - low
    inner = ((low >= 0) & (low < [width - 1, height - 1])).all(1)
    x, y = np.clip(low, 0, [width - 2, height - 2]).T
    depth = np.stack([passes.depth[y + dy, x + dx] for dy in (0, 1) for dx in (0, 1)], -1)
    mask = np.stack([passes.mask[y + dy, x + dx] for dy in (0, 1) for dx in (0, 1)], -1)
    with np.errstate(invalid="ignore"):
        smooth = np.ptp(depth, axis=-1) <= SILHOUETTE * depth.min(-1)
    rows = np.flatnonzero(inner & np.isfinite(depth).all(-1) & smooth & (mask == mask[:, :1]).all(-1))
    u, v = part[rows].T
    # Depth is linear in neither: 1/depth is, in the picture of a plane; so are positions over depth.
    weights = np.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v], -1) / depth[rows]
    weights /= weights.sum(-1, keepdims=True)
    corners = np.stack([passes.position[y[rows] + dy, x[rows] + dx] for dy in (0, 1) for dx in (0, 1)], 1)
    return rows, np.einsum("kc,kcd->kd", weights, corners.astype(np.float64))


def reprojection_error(
    world: np.ndarray, xy: np.ndarray, valid: np.ndarray, intrinsics: np.ndarray, extrinsics: np.ndarray
) -> float:
    """The worst distance in pixels between tracks and projected 3D points, as they are stored (float32).

    Args:
        world: [T,N,3], in the world of `extrinsics`.
        xy: [T,N,2], pixels.
        valid: [T,N], entries that are compared; those that are in the frame are asked for.
        intrinsics: [T,3,3].
        extrinsics: [T,4,4], world to camera.
    """
    seen = np.einsum("tij,tnj->tni", extrinsics[:, :3, :3].astype(np.float64), world.astype(np.float64))
    seen += extrinsics[:, None, :3, 3].astype(np.float64)
    flat = np.einsum("tij,tnj->tni", intrinsics.astype(np.float64), seen)
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.linalg.norm(flat[..., :2] / flat[..., 2:] - xy.astype(np.float64), axis=-1)
    return float(away[valid].max()) if valid.any() else 0.0


def table(checks: Iterable[Check]) -> list[str]:
    """A line for each check."""
    lines = []
    for check in checks:
        value = (
            "not seen" if check.value is None else f"{check.value:.3g}" if check.unit else f"{100 * check.value:.2f} %"
        )
        bound = f"{check.bound:g}" if check.unit else f"{100 * check.bound:g} %"
        mark = "ok" if check.passed else "FAILED"
        lines.append(f"{mark:7}{check.name}: {value}{' ' * bool(check.unit)}{check.unit} ({check.sense} {bound})")
    return lines
