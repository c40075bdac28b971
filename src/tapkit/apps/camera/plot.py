"""A plot of a trajectory: the path and the points from above and from the side, and how many points agree over time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tapkit import storage
from tapkit.apps.camera.trajectory import Trajectory
from tapkit.errors import UsageError, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
_FRUSTA = 12
"""Frames whose field of view is drawn."""


def plot_cameras(cameras: Trajectory) -> Figure:
    """A Matplotlib figure. Raises `MissingExtra`."""
    require("matplotlib", "plot")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), layout="constrained")
    above, side, below = figure.subplot_mosaic([["above", "side"], ["below", "below"]], height_ratios=[2.6, 1]).values()
    reach = _reach(cameras)
    _draw(above, cameras, (0, 2), reach)
    above.set(xlabel="x, right", ylabel="z, forwards", title="from above")
    _draw(side, cameras, (2, 1), reach)
    side.invert_yaxis()
    side.set(xlabel="z, forwards", ylabel="y, down", title="from the side")
    times = cameras.times()
    below.plot(times, cameras.inlier.sum(0), color="tab:blue")
    below.fill_between(times, 0, cameras.inlier.sum(0), color="tab:blue", alpha=0.15)
    below.set(xlabel="time (s)", ylabel="points that agree", ylim=(0, None))
    for start in np.flatnonzero(~cameras.placed):
        below.axvspan(times[start] - 0.5 / float(cameras.video.fps), times[start] + 0.5 / float(cameras.video.fps),
                      color="tab:red", alpha=0.3, linewidth=0)  # fmt: skip
    for ax in (above, side, below):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
    about = cameras.report
    kind = "the camera only turned" if about.degenerate else f"path {cameras.length:.3g}"
    figure.suptitle(
        f"{kind}, {int(cameras.point_valid.sum())} points, error {about.error:.2f} px, "
        f"confidence {about.confidence:.2f}; unit: median depth of the points",
        fontsize="medium",
    )
    return figure


def write_plot(path: str | Path, cameras: Trajectory) -> Path:
    """`plot_cameras` as a file: .png, .svg or .pdf. Raises `UsageError`, `MissingExtra`, `StorageError`."""
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise UsageError(f"plots of cameras are written as {', '.join(SUFFIXES)}, not as {kind or path.name!r}")
    figure = plot_cameras(cameras)
    from matplotlib import rc_context

    # No file tells when it was made: the same cameras give the same bytes.
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}[kind]
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tapkit"}), storage.atomic(path) as part:
        figure.savefig(part, format=kind[1:], dpi=110, metadata=metadata)
    return path


def _reach(cameras: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """The box [3] that most points and the whole path lie in."""
    path, points = cameras.centres, cameras.points[cameras.point_valid]
    low, high = path.min(0), path.max(0)
    if len(points):
        some = np.quantile(points, [0.02, 0.98], axis=0)
        low, high = np.minimum(low, some[0]), np.maximum(high, some[1])
    margin = 0.05 * max(float((high - low).max()), 1e-3)
    return low - margin, high + margin


def _draw(ax: Axes, cameras: Trajectory, axes: tuple[int, int], reach: tuple[np.ndarray, np.ndarray]) -> None:
    """Points, fields of view and the path, seen along the third axis."""
    one, other = axes
    points = cameras.points[cameras.point_valid]
    ax.scatter(points[:, one], points[:, other], s=3, color="0.55", alpha=0.6, linewidths=0, rasterized=True)
    pose, centres = cameras.camera_to_world, cameras.centres
    size = 0.06 * float(np.max(reach[1] - reach[0]))
    placed = np.flatnonzero(cameras.placed)
    for t in placed[np.linspace(0, len(placed) - 1, min(_FRUSTA, len(placed))).round().astype(int)]:
        fx, fy, *_ = cameras.intrinsics[t]
        x, y = cameras.video.width / 2 / fx * size, cameras.video.height / 2 / fy * size
        corners = np.array([[0, 0, 0], [-x, -y, size], [x, -y, size], [x, y, size], [-x, y, size]])
        seen = corners @ pose[t, :3, :3].T + pose[t, :3, 3]
        order = [0, 1, 2, 0, 3, 4, 0, 1, 4, 3, 2]
        ax.plot(seen[order, one], seen[order, other], color="tab:orange", linewidth=0.6, alpha=0.7)
    ax.plot(centres[placed, one], centres[placed, other], color="tab:red", linewidth=1.6)
    ax.plot(*centres[placed[0], [one, other]], "o", color="tab:red", markersize=5)
    middle, half = (reach[0] + reach[1]) / 2, float(np.max(reach[1] - reach[0])) / 2
    ax.set_xlim(middle[one] - half, middle[one] + half)
    ax.set_ylim(middle[other] - half, middle[other] + half)
    ax.set_aspect("equal", adjustable="box")
