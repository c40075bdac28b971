"""What is run on the device: trackers with the official weights where those are here, else with seeded ones; a clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tapkit import registry, weights
from tapkit.engine.tracker import Tracker
from tapkit.evaluation.speed import synthetic_clip
from tapkit.types import VideoInfo
from tapkit.video.base import Frame, Source, frame_range

SMALL_NETWORKS = {"tapnext": "tapnext_tiny", "tapnext-pp": "tapnext_tiny"}
"""Networks without small options: on the CPU, in small, a manifest of the parity set stands for them."""
WITHOUT_NETWORK = ("lucas-kanade", "flow-chain", "flow-direct", "flowtrack", "particle-video")
"""Trackers that run on the CPU whatever the device."""


@dataclass(frozen=True)
class Subject:
    """A tracker on the device."""

    id: str
    tracker: Tracker
    official: bool
    """Whether its weights are the published ones; seeded ones may answer wildly to small changes."""


def ids() -> list[str]:
    """All trackers with a network."""
    cards = registry.cards().values()
    return [card.id for card in cards if card.streaming != "pairwise" and card.id not in WITHOUT_NETWORK]


def make(name: str, device: torch.device, options: dict[str, Any], small: bool = False) -> Subject:
    """The tracker `name`; `small`: networks that are large whatever the options by stand-ins."""
    card = registry.card(name)
    state, official = None, not card.needs_weights
    if small and name in SMALL_NETWORKS:
        from check_parity import SMALL_SET
        from parity import Parity

        state = Parity(SMALL_SET).weights(SMALL_NETWORKS[name])
    elif not small and (weights.find(card) is not None or not card.needs_weights):
        state, path = weights.given_or_official(card, None)
        official = state is not None or path is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = registry.build(name, state, **options)
    return Subject(name, Tracker(model.to(device)), official)


class Clip(Source):
    """Frames in memory, for the engine; the library for video files is not needed."""

    def __init__(self, frames: list[np.ndarray]) -> None:
        self.images = frames
        height, width = frames[0].shape[:2]
        self.info = VideoInfo(width, height, frames=len(frames))

    def frames(
        self, start: int = 0, stop: int | None = None, step: int = 1, size: tuple[int, int] | None = None
    ) -> Iterator[Frame]:
        """See `Source.frames`."""
        for index in frame_range(len(self.images), start, stop, step):
            image = self.images[index]
            if size is not None and size != image.shape[:2]:
                from tapkit.video.resize import resize_array

                image = resize_array(image, size)
            yield Frame(index, index / 25, image)


def clip(frames: int, size: tuple[int, int]) -> list[np.ndarray]:
    """A moving texture."""
    return list(synthetic_clip(frames, *size))


def points(count: int, size: tuple[int, int]) -> np.ndarray:
    """Queries (0, x, y) [count,3] all over the first frame, never at its very border."""
    xy = np.random.default_rng(0).uniform(0.05, 0.95, (count, 2)) * (size[1], size[0])
    return np.column_stack([np.zeros(count), xy])


def synchronize(device: torch.device) -> None:
    """Wait until everything asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
