"""Plots of tracks over time and of their paths, by Matplotlib (extra `plot`); PNG, SVG, PDF and HTML."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tapkit import storage
from tapkit.errors import UsageError, require
from tapkit.motion.jumps import jumps
from tapkit.motion.kinematics import PIXELS, Scale, speeds, steps
from tapkit.types import Tracks
from tapkit.viz.palettes import by_number, by_position

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Kind = Literal["x", "y", "speed", "visible", "confidence", "paths"]
KINDS: tuple[Kind, ...] = ("x", "y", "speed", "visible", "confidence", "paths")
SUFFIXES = (".png", ".svg", ".pdf", ".html")
LABELLED = 12
"""Up to how many points have a colour and an entry in the legend each; more are coloured by where they begin."""
COLUMNS = 1200
"""Stretches of frames by whose extremes long curves are drawn; fewer where there are many curves."""


def plot(
    tracks: Tracks,
    kinds: Sequence[Kind] = ("x", "y", "speed"),
    *,
    scale: Scale | str | float = PIXELS,
    threshold: float | None = None,
    hidden: bool = False,
) -> Figure:
    """A Matplotlib figure with one plot below the other, all over the same time axis ("paths": in the frame).

    Args:
        tracks: N points over T frames.
        kinds: of x, y (pixels or the scale's unit), speed (unit per second), visible, confidence (0..1), paths.
        scale: of a pixel.
        threshold: curves are interrupted where points are not visible by it, as in `Tracks.visible_at`.
        hidden: draw positions in frames in which a point was not seen, too.

    Jumps are marked by a small cross. Raises `UsageError`, `MissingExtra`.
    """
    require("matplotlib", "plot")
    from matplotlib.figure import Figure

    wrong = next((kind for kind in kinds if kind not in KINDS), None)
    if wrong is not None or not kinds:
        raise UsageError(f"there is no plot {wrong!r}; there are {', '.join(KINDS)}" if kinds else "nothing to plot")
    if not len(tracks):
        raise UsageError("there are no points to plot")
    figure = Figure(figsize=(9, 0.8 + sum(4.2 if kind == "paths" else 2.2 for kind in kinds)), layout="constrained")
    ratios = [4.2 if kind == "paths" else 2.2 for kind in kinds]
    axes = np.atleast_1d(figure.subplots(len(kinds), 1, height_ratios=ratios))
    drawing = _Drawing(tracks, Scale.of(scale), threshold, hidden)
    for kind, ax in zip(kinds, axes, strict=True):
        drawing.draw(kind, ax)
    timed = [ax for kind, ax in zip(kinds, axes, strict=True) if kind != "paths"]
    for ax in timed[:-1]:
        ax.sharex(timed[-1])
        ax.tick_params(labelbottom=False)
    if timed:
        timed[-1].set_xlabel("time (s)")
    if 1 < len(tracks) <= LABELLED or (len(tracks) == 1 and "paths" not in kinds):
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize="small")
    return figure


def write_plot(tracks: Tracks, path: str | Path, kinds: Sequence[Kind] = ("x", "y", "speed"), **use: Any) -> Path:
    """`plot` as a file: .png, .svg, .pdf, or .html (a page that needs nothing besides itself)."""
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise UsageError(f"plots are written as {', '.join(SUFFIXES)}, not as {path.suffix or path.name!r}")
    figure = plot(tracks, kinds, **use)
    from matplotlib import rc_context

    # Text stays text in SVG, and no file tells when it was made: the same tracks give the same bytes.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tapkit"}), storage.atomic(path) as part:
        if kind == ".html":
            text = io.StringIO()
            figure.savefig(text, format="svg", metadata={"Date": None})
            part.write_text(_page(tracks, text.getvalue()), encoding="utf-8")
        else:
            metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}[kind]
            figure.savefig(part, format=kind[1:], dpi=140, metadata=metadata)
    return path


def _page(tracks: Tracks, svg: str) -> str:
    name = escape(Path(tracks.video.path or "tracks").name.encode("utf-8", "replace").decode())
    drawing = svg[svg.index("<svg") :]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{name}</title><style>body{{font:16px system-ui,sans-serif;margin:2rem auto;max-width:60rem}}"
        "svg{width:100%;height:auto}</style></head><body>"
        f"<h1>{name}</h1><p>{len(tracks)} points, {tracks.frames} frames, {escape(tracks.source.model)}</p>"
        f"{drawing}</body></html>\n"
    )


class _Drawing:
    """What all plots of a figure have in common."""

    def __init__(self, tracks: Tracks, scale: Scale, threshold: float | None, hidden: bool) -> None:
        self.tracks, self.scale = tracks, scale
        self.times = tracks.times()
        known = tracks.valid if hidden else tracks.visible_at(threshold)
        self.xy = np.where(known[..., None], tracks.xy, np.nan).astype(np.float64)
        self.moved = steps(tracks, scale, threshold=threshold, hidden=hidden)
        self.jumps = jumps(tracks, threshold)
        self.few = len(tracks) <= LABELLED
        self.colors = (
            by_number(np.arange(len(tracks))) if self.few else by_position(tracks.queries.xy, tracks.video.size)
        )
        self.alpha = 1.0 if self.few else max(0.2, min(1.0, 60 / len(tracks)))

    def draw(self, kind: Kind, ax: Axes) -> None:
        """One plot."""
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
        if kind == "paths":
            self._paths(ax)
            return
        curves: dict[str, Callable[[], tuple[np.ndarray, str]]] = {
            "x": lambda: (self._axis(0), f"x ({self.scale.unit})"),
            "y": lambda: (self._axis(1), f"y ({self.scale.unit}, down)"),
            "speed": lambda: (speeds(self.moved), f"speed ({self.scale.unit}/s)"),
            "visible": lambda: (np.where(self.tracks.valid, self.tracks.visible, np.nan), "P(visible)"),
            "confidence": lambda: (np.where(self.tracks.valid, self.tracks.confidence, np.nan), "confidence"),
        }
        values, label = curves[kind]()
        columns = max(min(COLUMNS, 200_000 // len(self.tracks)), 200)
        at, curves_of = thinned(self.times, values, columns)
        self._curves(ax, np.broadcast_to(at, curves_of.shape), curves_of, 1.2)
        if kind in ("x", "y", "speed"):
            for jump in self.jumps:
                ax.plot(self.times[jump.frame], values[jump.point, jump.frame], "x", color="0.2", markersize=4)
        else:
            ax.set_ylim(-0.03, 1.03)
        ax.set_ylabel(label)

    def _curves(self, ax: Axes, x: np.ndarray, y: np.ndarray, width: float) -> None:
        """Curves [N,K], interrupted where they are NaN."""
        if self.few:
            for row, name in enumerate(self.tracks.ids.tolist()):
                alone = "." if np.isfinite(y[row]).sum() < 2 else None
                ax.plot(x[row], y[row], color=self.colors[row], linewidth=width, label=_text(name), marker=alone)
            return
        from matplotlib.collections import LineCollection

        # As pixels in SVG and PDF, too: that many curves would make files of a hundred megabytes.
        lines = LineCollection(
            list(np.stack([x, y], 2)), colors=self.colors, alpha=self.alpha, linewidths=width, rasterized=True
        )
        ax.add_collection(lines)
        ax.autoscale_view()

    def _axis(self, axis: int) -> np.ndarray:
        aspect = float(self.tracks.video.pixel_aspect) if axis == 0 else 1.0
        return self.xy[..., axis] * aspect * self.scale.per_pixel

    def _paths(self, ax: Axes) -> None:
        x, y = self._axis(0), self._axis(1)
        self._curves(ax, x, y, 1.0)
        known = np.isfinite(x)
        rows = np.flatnonzero(known.any(1))
        last = known.shape[1] - 1 - known[rows, ::-1].argmax(1)
        ax.scatter(x[rows, last], y[rows, last], s=10, color=self.colors[rows], zorder=3)
        video = self.tracks.video
        ax.set_xlim(0, video.width * float(video.pixel_aspect) * self.scale.per_pixel)
        ax.set_ylim(video.height * self.scale.per_pixel, 0)
        ax.set_aspect("equal")
        ax.set_xlabel(f"x ({self.scale.unit})")
        ax.set_ylabel(f"y ({self.scale.unit}, down); dots: last position seen")


def _text(name: str) -> str:
    """A name as Matplotlib draws it as it is: no formula, and never hidden from the legend by a leading underscore."""
    return "\u200b" + name.replace("$", r"\$") if name.startswith("_") else name.replace("$", r"\$")


def thinned(times: np.ndarray, values: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Curves [N,T] over times [T] as the smallest and the largest value of each of at most `columns` stretches,
    in the order in which they come: what the eye sees is the same. Short ones are left as they are."""
    count, frames = values.shape
    width = -(-frames // columns)
    if width < 4:
        return times, values
    stretches = -(-frames // width)
    padded = np.full((count, stretches * width), np.nan)
    padded[:, :frames] = values
    parts = padded.reshape(count, stretches, width)
    low, high = np.fmin.reduce(parts, axis=2), np.fmax.reduce(parts, axis=2)
    rising = np.where(np.isnan(parts), np.inf, parts).argmin(2) <= np.where(np.isnan(parts), -np.inf, parts).argmax(2)
    both = np.stack([np.where(rising, low, high), np.where(rising, high, low)], 2).reshape(count, -1)
    at = np.minimum(np.arange(stretches)[:, None] * width + np.array([width // 4, 3 * width // 4]), frames - 1).ravel()
    return times[at], both
