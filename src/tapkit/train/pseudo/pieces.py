"""Which part of a video is labelled: one scene, some frames of it, a crop."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from tapkit.coords import Size
from tapkit.errors import VideoError
from tapkit.train.pseudo.options import LabelOptions
from tapkit.train.sources import bounce
from tapkit.video.base import Source
from tapkit.video.cuts import CutDetector

LOOKED_AT = (144, 256)
"""(height, width) at which cuts are looked for; no larger than the video."""
SHORTEST = 8
"""Frames that a scene must have; shorter pieces than asked for are played forwards and backwards."""


class Scene(NamedTuple):
    """Frames start to stop - 1, between two cuts."""

    start: int
    stop: int

    @property
    def frames(self) -> int:
        """How many there are."""
        return self.stop - self.start


class Piece(NamedTuple):
    """Frames of a video, and a crop of them."""

    times: tuple[int, ...]
    """Frame numbers of the video; they run back where the scene is too short."""
    step: int
    """Frames of the video from one to the next."""
    corner: tuple[int, int]
    """(left, top) of the crop, pixels of the video."""
    size: Size
    """(height, width) of the crop."""

    @property
    def mirrored(self) -> bool:
        """Whether the scene was too short and is played back again."""
        return len(set(self.times)) < len(self.times)


def scenes(source: Source, cuts: bool = True) -> list[Scene]:
    """The scenes of a video, decoded once at a small size. Without `cuts` it is one. Raises `VideoError`."""
    height, width = source.info.size
    small = (min(LOOKED_AT[0], height), min(LOOKED_AT[1], width))
    detect = CutDetector()
    begins, count = [0], 0
    for frame in source.frames(size=small):
        if cuts and detect(torch.from_numpy(np.ascontiguousarray(frame.image)).permute(2, 0, 1)) and count:
            begins.append(count)
        count += 1
    if not count:
        raise VideoError("the video has no frame that can be decoded")
    return [Scene(*pair) for pair in zip(begins, [*begins[1:], count], strict=True)]


def draw(found: list[Scene], size: Size, options: LabelOptions, random: np.random.Generator) -> Piece | str:
    """A piece of a video of these scenes, or why there is none.

    A scene long enough is chosen in proportion to its length, and every k-th frame of it taken, k uniform in
    1..min(`largest_step`, scene / length) - 1 (1 where there is no choice), as CoTracker3 does with whole videos. Where
    all are too short, the longest is played forwards and backwards.
    """
    length = int(random.integers(options.frames[0], options.frames[1] + 1))
    fitting = [scene for scene in found if scene.frames >= length]
    if fitting:
        shares = np.array([scene.frames for scene in fitting], float)
        scene = fitting[int(random.choice(len(fitting), p=shares / shares.sum()))]
    else:
        scene = max(found, key=lambda each: each.frames)
    if scene.frames < min(SHORTEST, length):
        return f"no scene of {min(SHORTEST, length)} frames or more: the longest has {scene.frames}"
    most = min(options.largest_step, scene.frames // length)
    step = int(random.integers(1, most)) if most > 1 else 1
    room = scene.frames - step * (length - 1)
    first = scene.start + int(random.integers(max(room, 1)))
    times = first + step * np.arange(length) if room > 0 else scene.start + bounce(np.arange(length), scene.frames)
    crop = (min(options.size[0], size[0]), min(options.size[1], size[1]))
    left, top = (int(random.integers(size[axis] - crop[axis] + 1)) for axis in (1, 0))
    return Piece(tuple(int(t) for t in times), step, (left, top), crop)


def read(source: Source, piece: Piece) -> np.ndarray:
    """The frames of a piece: uint8 [T,H,W,3]. Raises `VideoError` where the video ends too early."""
    (left, top), (height, width) = piece.corner, piece.size
    first, last = min(piece.times), max(piece.times)
    read = {
        frame.index: np.ascontiguousarray(frame.image[top : top + height, left : left + width])
        for frame in source.frames(first, last + 1, piece.step)
    }
    missing = [t for t in piece.times if t not in read]
    if missing:
        raise VideoError(f"frame {missing[0]} of the video could not be read a second time")
    return np.stack([read[t] for t in piece.times])
