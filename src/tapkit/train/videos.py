"""Batches of plain videos without annotation, for networks that learn without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tapkit.errors import StorageError, UsageError, VideoError
from tapkit.train.batch import VALIDATION_SEEDS, Batch, BatchSource
from tapkit.train.config import Stage
from tapkit.video import open_video


class VideoSource:
    """Random short pieces of the videos of a folder (or of one file), squeezed to squares, without points.

    `gap` is the distance in frames between two frames of a piece; videos that are too short for it take a smaller one.
    Validation batches come from `validation`, which has annotation.
    """

    def __init__(self, videos: Path, device: torch.device, gap: int = 1, validation: BatchSource | None = None) -> None:
        """Raises `StorageError` where there is no video of two frames or more."""
        if gap < 1:
            raise UsageError(f"the gap between two frames must be at least 1, got {gap}")
        self.device, self.gap, self.validation = device, gap, validation
        self.videos = _readable(videos)
        count = f"{len(self.videos)} video{'' if len(self.videos) == 1 else 's'}"
        self.description = f"{count} of {Path(videos).resolve().name}, without labels"

    def batch(self, stage: Stage, seed: int) -> Batch:
        """See `BatchSource.batch`: video [B,T,3,S,S] and no points (N = 0), except in validation batches."""
        if seed >= VALIDATION_SEEDS and self.validation is not None:
            return self.validation.batch(stage, seed)
        random = np.random.default_rng(seed)
        pieces = np.stack([self._piece(stage, random) for _ in range(stage.batch)])
        video = torch.from_numpy(pieces).permute(0, 1, 4, 2, 3).contiguous().to(self.device)
        shape = (stage.batch, 0, stage.frames)
        nothing = torch.zeros(shape, dtype=torch.bool, device=self.device)
        return Batch(video, torch.zeros(*shape, 2, device=self.device), nothing, nothing)

    def _piece(self, stage: Stage, random: np.random.Generator) -> np.ndarray:
        """Frames [T,S,S,3]; a video shorter than the stage repeats its last frame."""
        path, count = self.videos[int(random.integers(len(self.videos)))]
        gap = max(min(self.gap, (count - 1) // max(stage.frames - 1, 1)), 1)
        span = gap * (stage.frames - 1)
        first = int(random.integers(max(count - span, 1)))
        with open_video(path) as source:
            found = source.frames(first, first + span + 1, gap, size=(stage.size, stage.size))
            frames = [frame.image for frame in found]
        frames += [frames[-1]] * (stage.frames - len(frames))
        return np.stack(frames)


def _readable(videos: Path) -> list[tuple[Path, int]]:
    """Videos of at least two frames, and how many frames they have."""
    files = [videos] if videos.is_file() else sorted(p for p in videos.rglob("*") if p.is_file())
    found = []
    for file in files:
        try:
            with open_video(file) as source:
                count = source.info.frames
                if count is None:
                    count = sum(1 for _ in source.frames())
        except VideoError:
            continue
        if count >= 2:
            found.append((file, count))
    if not found:
        raise StorageError(f"{videos} holds no readable video of 2 frames or more")
    return found
