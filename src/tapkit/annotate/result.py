"""What holds for a point on a frame, after everything that people and trackers said about it. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tapkit.annotate.blocks import Rules, shown
from tapkit.annotate.values import Positions, State


@dataclass(frozen=True, eq=False)
class Said:
    """What people said of one point: K keyframes by frame, and spans of visibility by first frame."""

    t: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """[K] frames, ascending."""
    xy: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    """[K,2] float64."""
    visible: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    """[K]."""
    left: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    """[K,2]: what the prediction that comes from the frames before says here; NaN: there is none."""
    right: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    """[K,2]: what the one from the frames after says."""
    spans: tuple[tuple[int, int, State], ...] = ()
    """(start, stop, state)."""

    def missed(self) -> list[tuple[int, float]]:
        """Keyframes that a prediction arrives beside: (frame, pixels), the worse side."""
        sides = [np.linalg.norm(self.xy - side, axis=1) for side in (self.left, self.right)]
        off = np.fmax(*sides) if len(self.t) else np.zeros(0)
        return [(int(t), float(miss)) for t, miss in zip(self.t, off, strict=True) if np.isfinite(miss)]


def resolve(point: int, said: Said, frames: np.ndarray, start: int, rules: Rules) -> Positions:
    """The result on frames start..start+n, from the predictions `frames` [n] (`blocks.FRAME`)."""
    count = len(frames)
    stop = start + count
    xy = np.stack([frames["x"], frames["y"]], -1).astype(np.float64)
    xy += correction(said, np.arange(start, stop))
    there = np.asarray(np.isfinite(xy).all(-1))
    seen = shown(frames, rules) & there
    chance, confidence = frames["visible"].copy(), frames["confidence"].copy()
    disagreement = frames["disagreement"].copy()
    source = np.where(there, "p", "-")
    inside = (said.t >= start) & (said.t < stop)
    at = said.t[inside] - start
    xy[at], source[at], confidence[at], disagreement[at] = said.xy[inside], "k", 1.0, 0.0
    there[at], seen[at], chance[at] = True, said.visible[inside], said.visible[inside]
    for first, last, state in said.spans:
        span = slice(min(max(first - start, 0), count), min(max(last - start, 0), count))
        seen[span] = (state == "visible") & there[span]
        chance[span] = np.where(there[span], float(state == "visible"), np.nan)
    return Positions(
        point, start, stop, xy.astype(np.float32), seen, chance, confidence, disagreement, "".join(source.tolist())
    )


def correction(said: Said, frames: np.ndarray) -> np.ndarray:
    """What is added to predictions on `frames` [n], so that the path passes through the keyframes: [n,2].

    A prediction misses a keyframe by what it says on the keyframe's own frame. Between two keyframes both misses are
    spread linearly; beyond the first and the last they stay what they are there.
    """
    if not len(said.t):
        return np.zeros((len(frames), 2))
    last = len(said.t) - 1
    before = np.searchsorted(said.t, frames, side="right") - 1
    after = np.searchsorted(said.t, frames, side="left")
    # What comes from the right of the keyframe before, and from the left of the one after.
    from_before = np.nan_to_num(said.xy - said.right)[before.clip(0, last)]
    from_after = np.nan_to_num(said.xy - said.left)[after.clip(0, last)]
    gap = np.maximum(said.t[after.clip(0, last)] - said.t[before.clip(0, last)], 1)
    weight = (frames - said.t[before.clip(0, last)]) / gap
    weight = np.where(before < 0, 1.0, np.where(after > last, 0.0, weight))[:, None]
    added: np.ndarray = (1 - weight) * from_before + weight * from_after
    return added
