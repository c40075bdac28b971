"""Predictions as they are stored: a point's frames in blocks of 256, each with a digest for the timeline.

A frame takes 24 bytes: position, P(visible), confidence, the distance between forwards and backwards, and which source
said so (0: nobody). The digest has four bytes for 16 frames: how many have a position, in how many of these the point
is visible, the least confidence, the greatest doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from tapkit.annotate import doubt

FRAMES = 256
"""Of a block."""
CELL = 16
"""Frames that four bytes of a digest stand for."""
FRAME = np.dtype(
    [
        ("x", "<f4"),
        ("y", "<f4"),
        ("visible", "<f4"),
        ("confidence", "<f4"),
        ("disagreement", "<f4"),
        ("source", "<i4"),
    ]
)
Rules = Mapping[int, tuple[str, float]]
"""(rule, threshold) of each source."""
RULES = {"visible": 0, "visible*confidence": 1}


def empty(*shape: int) -> np.ndarray:
    """Frames of which nobody has said anything."""
    frames = np.zeros(shape, FRAME)
    for name in ("x", "y", "visible", "confidence", "disagreement"):
        frames[name] = np.nan
    return frames


def unpack(data: bytes) -> np.ndarray:
    """A block's frames [256], to be looked at only."""
    return np.frombuffer(data, FRAME)


def span(start: int, stop: int) -> range:
    """The blocks that frames start..stop (excluded) lie in.

    >>> list(span(0, 256)), list(span(255, 257))
    ([0], [0, 1])
    """
    return range(start // FRAMES, (stop - 1) // FRAMES + 1)


def shown(frames: np.ndarray, rules: Rules) -> np.ndarray:
    """Which frames say that the point is visible, bool: each by the rule of its source."""
    chance = np.nan_to_num(frames["visible"])
    source = frames["source"]
    result: np.ndarray = np.zeros(frames.shape, bool)
    for each in sources_of(frames):
        rule, threshold = rules[each]
        score = chance * np.nan_to_num(frames["confidence"]) if RULES[rule] else chance
        result |= (source == each) & (score > threshold)
    return result


def sources_of(frames: np.ndarray) -> set[int]:
    """The sources that are named."""
    source = frames["source"]
    if source.size and (source == source.flat[0]).all():
        return {int(source.flat[0])} - {0}
    return set(np.unique(source).tolist()) - {0}


def digests(frames: np.ndarray, rules: Rules, size: tuple[int, int]) -> list[bytes]:
    """The digests of blocks [B,256] of a video of `size` (height, width)."""
    there = frames["source"] > 0
    seen = shown(frames, rules)
    xy = np.stack([frames["x"], frames["y"]], -1)
    doubts = doubt.of_frames(xy, seen, frames["confidence"], frames["disagreement"], size)
    cells = (len(frames), FRAMES // CELL, CELL)
    digest = np.zeros((*cells[:2], 4), np.uint8)
    digest[..., 0] = there.reshape(cells).sum(-1)
    digest[..., 1] = (seen & there).reshape(cells).sum(-1)
    least = np.where(there, np.nan_to_num(frames["confidence"]), 1.0).reshape(cells).min(-1)
    digest[..., 2] = np.floor(least * 255)
    digest[..., 3] = np.ceil(doubts.reshape(cells).max(-1) * 255)
    return [each.tobytes() for each in digest]


def undigest(parts: Iterable[bytes]) -> np.ndarray:
    """Digests as an array [B,16,4] uint8."""
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, FRAMES // CELL, 4)
