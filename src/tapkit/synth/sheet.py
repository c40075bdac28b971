"""Looking at synthetic clips: their frames side by side, with the tracks drawn."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from tapkit.synth.batch import Batch
from tapkit.types import Provenance, Queries, Tracks, VideoInfo
from tapkit.viz.draw import Style, draw_frame


def batch_tracks(batch: Batch, clip: int = 0, points: int | None = None) -> Tracks:
    """The tracks of one clip as tapkit's `Tracks`; each is queried where it is first visible.

    Args:
        batch: from `ClipMaker.batch`.
        clip: which of its clips.
        points: at most so many, the first ones that are visible somewhere.
    """
    xy, visible = batch.xy[clip].cpu().numpy(), batch.visible[clip].cpu().numpy()
    return exact_tracks(xy, visible, tuple(batch.video.shape[-2:]), Fraction(24), points)


def exact_tracks(
    xy: np.ndarray,
    visible: np.ndarray,
    size: tuple[int, int],
    fps: Fraction,
    points: int | None = None,
    model: str = "synth",
) -> Tracks:
    """Known positions as `Tracks`: the first `points` that are seen somewhere, each queried where it first is.

    Args:
        xy: [N,T,2] pixels of the clip; visible: [N,T] bool.
        size: (height, width).
        model: who knows.
    """
    chosen = np.flatnonzero(visible.any(1))[:points]
    xy, visible = xy[chosen], visible[chosen]
    start = visible.argmax(1)
    return Tracks(
        xy=xy,
        visible=visible.astype(np.float32),
        confidence=visible.astype(np.float32),
        valid=np.isfinite(xy).all(-1),
        queries=Queries(start, xy[np.arange(len(xy)), start], np.arange(len(xy)).astype(str)),
        video=VideoInfo(width=size[1], height=size[0], fps=fps, frames=visible.shape[1]),
        source=Provenance(model=model),
    )


def batch_sheet(batches: Sequence[Batch], columns: int = 5, points: int = 48, scale: int = 2) -> np.ndarray:
    """All clips of some batches below each other, `columns` frames of each, tracks drawn -> uint8 [H,W,3].

    Hidden points are hollow.
    """
    rows = []
    for batch in batches:
        frames = np.linspace(0, batch.video.shape[1] - 1, columns).round().astype(int).tolist()
        for clip in range(len(batch.video)):
            enlarged = batch.video[clip].repeat_interleave(scale, 2).repeat_interleave(scale, 3)
            drawn = batch_tracks(
                Batch(enlarged[None], scale * batch.xy[clip, None], batch.visible[clip, None]), 0, points
            )
            images = enlarged.permute(0, 2, 3, 1).cpu().numpy()
            rows.append(np.concatenate([draw_frame(images[f], drawn, f, Style(trail=6)) for f in frames], 1))
    return np.concatenate(rows)
