"""Pseudo-labels: clips of real videos with the tracks on which a tracker agrees with itself, forwards and backwards.

Synthetic clips lack what real ones have: skin, cloth, water, real light. A tracker (the teacher) follows points through
a piece of a video and back again; where both directions agree, the position is taken as ground truth, everything else
is not counted. The student then learns from augmented crops (BootsTAP: Doersch et al., 2024; CoTracker3: Karaev et al.,
2024, section 3.3; the check: Kalal et al., Forward-Backward Error, ICPR 2010).

    clips = label_videos("videos/", "labelled/", tapkit.load("strand"), count=200)

The clips are in tapkit's folder format, for `tapkit train --data` (docs/training.md). Only use videos whose licence
allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from tapkit import coords
from tapkit.datasets.base import Clip
from tapkit.datasets.folder import write_clip
from tapkit.datasets.frames import shrink
from tapkit.engine.tracker import Tracker
from tapkit.errors import StorageError, UsageError, VideoError
from tapkit.video import open_video

LARGEST = 480
"""Videos are read with their shorter side at most so long."""


@dataclass(frozen=True)
class PseudoLabelSettings:
    """Settings of `label_videos`."""

    frames: int = 24
    points: int = 300
    """Queried on each piece."""
    paces: tuple[int, ...] = (1, 1, 2, 3)
    """Every how many frames of the video one is taken; drawn for each piece."""
    side: int = 320
    """Clips are squares of so many pixels."""
    agree: float = 1.5
    """Forward and backward positions must agree to so many pixels of a 256x256 frame."""
    contrast: float = 4.0
    """Standard deviation in grey levels around a point; points with less are not queried."""
    least: int = 40
    """Pieces on which fewer tracks agree (a cut, a blank wall) are left out."""

    def __post_init__(self) -> None:
        if self.frames < 2 or self.points < 1 or self.side < 64 or min(self.paces, default=0) < 1 or self.agree <= 0:
            raise UsageError(
                "pseudo-labels need 2 frames, 1 point, a side of 64 and a pace of 1 at least, and agree > 0"
            )


def label_videos(
    videos: str | Path,
    out: str | Path,
    teacher: Tracker,
    count: int,
    seed: int = 0,
    settings: PseudoLabelSettings | None = None,
    report: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write up to `count` labelled pieces of videos to `out`/SEED; returns their folders.

    Piece i is drawn from `seed` + i alone; pieces that are there already are kept, so that an interrupted run can be
    repeated.

    Args:
        videos: a file, or a folder (with sub-folders) of them; what cannot be read or is too short is left out.
        out: folder, created if need be.
        teacher: follows the points.
        count: how many pieces are drawn; those without enough agreement are not written.
        seed: of the first piece.
        settings: how pieces are drawn and checked.
        report: called with a line for each piece.

    Raises:
        UsageError: no piece asked for, or a negative seed.
        StorageError: no readable video of enough frames; the disk fails.
    """
    if count < 1 or seed < 0:
        raise UsageError(f"needs at least one piece and a seed that is not negative, got {count} and {seed}")
    chosen, say = settings or PseudoLabelSettings(), report or (lambda _: None)
    found = _lengths(Path(videos), chosen.frames)
    written = []
    for number in range(seed, seed + count):
        folder = Path(out) / f"{number:06d}"
        if (folder / "tracks.npz").is_file():
            written.append(folder)
            continue
        random = np.random.default_rng(number)
        path, first, pace = _draw(found, chosen, random)
        where = f"{number:06d}: {path.name}, frames {first} to {first + pace * (chosen.frames - 1)}"
        labelled = label_piece(read_piece(path, first, chosen.frames, pace), teacher, random, chosen, folder.name)
        if labelled is None:
            say(f"{where}: too few tracks agree")
            continue
        clip, side = labelled
        facts = {"source": path.name, "first": first, "pace": pace, "side": side}
        written.append(write_clip(folder, clip, **{name: np.array(value) for name, value in facts.items()}))
        say(f"{where}: {len(clip)} tracks, {100 * float(np.mean(clip.visible)):.0f} % seen")
    return written


def _lengths(videos: Path, frames: int) -> list[tuple[Path, int]]:
    """Readable videos of at least `frames` frames, and how many they have."""
    files = [videos] if videos.is_file() else sorted(p for p in videos.rglob("*") if p.is_file())
    found = []
    for file in files:
        try:
            with open_video(file) as source:
                count = sum(1 for _ in source.frames())
        except VideoError:
            continue
        if count >= frames:
            found.append((file, count))
    if not found:
        raise StorageError(f"{videos} holds no readable video of {frames} frames or more")
    return found


def _draw(
    found: Sequence[tuple[Path, int]], settings: PseudoLabelSettings, random: np.random.Generator
) -> tuple[Path, int, int]:
    """A video, the first frame and the pace. Long videos are drawn more often, but not in proportion."""
    weights = np.sqrt([count for _, count in found])
    path, count = found[int(random.choice(len(found), p=weights / weights.sum()))]
    longest = (count - 1) // (settings.frames - 1)
    pace = int(random.choice([pace for pace in settings.paces if pace <= longest] or [1]))
    return path, int(random.integers(count - pace * (settings.frames - 1))), pace


def read_piece(path: Path, first: int, frames: int, pace: int) -> np.ndarray:
    """Frames first, first + pace, ... of a video -> uint8 [T,H,W,3], the shorter side at most `LARGEST`."""
    with open_video(path) as source:
        height, width = source.info.size
        scale = min(LARGEST / min(height, width), 1.0)
        size = (round(height * scale), round(width * scale))
        stop = first + pace * (frames - 1) + 1
        return np.stack([shrink(frame.image, size) for frame in source.frames(first, stop, step=pace)])


def label_piece(
    video: np.ndarray, teacher: Tracker, random: np.random.Generator, settings: PseudoLabelSettings, name: str
) -> tuple[Clip, int] | None:
    """The clip of a piece [T,H,W,3], cut to a square, and the side of that; None where too few tracks agree."""
    height, width = video.shape[1:3]
    side = round(min(height, width) * random.uniform(0.6, 1.0))
    corner = np.array([random.integers(width - side + 1), random.integers(height - side + 1)])
    left, top = corner.tolist()
    start = textured_points(video[0, top : top + side, left : left + side], settings, random) + corner.astype(
        np.float32
    )
    if len(start) < settings.least:
        return None
    xy, agreed = forward_backward(video, start, teacher, settings.agree)
    kept = agreed.sum(1) >= max(len(video) // 3, 2)
    if kept.sum() < settings.least:
        return None
    return _square(video, xy[kept], agreed[kept], corner, side, settings, name), side


def textured_points(image: np.ndarray, settings: PseudoLabelSettings, random: np.random.Generator) -> np.ndarray:
    """Random positions [N,2] around which the image has texture."""
    height, width = image.shape[:2]
    grey = torch.from_numpy(image).float().mean(-1)[None, None]
    mean = F.avg_pool2d(grey, 9, 1, 4)
    spread = (F.avg_pool2d(grey.square(), 9, 1, 4) - mean.square()).clamp(min=0).sqrt()[0, 0].numpy()
    places = random.uniform(0, 1, (4 * settings.points, 2)) * [width, height]
    column, row = places.astype(int).T
    chosen: np.ndarray = places[spread[row, column] >= settings.contrast][: settings.points].astype(np.float32)
    return chosen


def forward_backward(
    video: np.ndarray, start: np.ndarray, teacher: Tracker, agree: float
) -> tuple[np.ndarray, np.ndarray]:
    """Track points [N,2] of the first frame to the last and from there back again.

    Returns:
        The mean of both directions [N,T,2], and where both see the point within `agree` of each other [N,T]; nowhere
        for points that do not return to where they started.
    """
    length, height, width = video.shape[:3]
    count = len(start)
    forward = teacher.track(video, np.column_stack([np.zeros(count), start]), "forward")
    end = forward.xy[:, -1]
    within = coords.inside(end, (height, width))
    backward_xy, backward_seen = np.full_like(forward.xy, np.nan), np.zeros((count, length), bool)
    if within.any():
        asked = np.column_stack([np.full(int(within.sum()), length - 1), end[within]])
        backward = teacher.track(video, asked, "backward")
        backward_xy[within], backward_seen[within] = backward.xy, backward.visible_at()
    unit = np.array([256 / width, 256 / height], np.float32)
    apart = np.linalg.norm((forward.xy - backward_xy) * unit, axis=-1)
    near = np.nan_to_num(apart, nan=np.inf) < agree
    agreed = near & forward.visible_at() & backward_seen & near[:, :1]
    mean = np.where(near[..., None], (forward.xy + np.nan_to_num(backward_xy)) / 2, forward.xy)
    mean[:, 0] = start
    return mean.astype(np.float32), agreed


def _square(
    video: np.ndarray,
    xy: np.ndarray,
    agreed: np.ndarray,
    corner: np.ndarray,
    side: int,
    settings: PseudoLabelSettings,
    name: str,
) -> Clip:
    """A square of the piece as a clip. Without agreement nothing counts; what lies outside is not visible."""
    left, top = corner.tolist()
    size = (min(settings.side, side),) * 2
    frames = np.stack([shrink(frame[top : top + side, left : left + side], size) for frame in video])
    moved = coords.resize(xy - corner.astype(np.float32), (side, side), size)
    positions = np.where(agreed[..., None], moved, np.nan)
    visible = agreed & coords.inside(moved, size)
    return Clip(name, positions, visible, size, lambda: open_video(frames), counted=agreed)
