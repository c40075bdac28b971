"""Particle Video as a tracker of the whole clip: frames are kept, `track` makes the particles and lets them carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from tapkit import coords
from tapkit.errors import UsageError, require
from tapkit.flow.particle_video.card import CARDS
from tapkit.flow.particle_video.carry import Answer, carry
from tapkit.flow.particle_video.options import ParticleOptions
from tapkit.flow.particle_video.particles import Particles
from tapkit.flow.particle_video.sweeps import Report, Sweeps
from tapkit.models.base import Prediction, Size
from tapkit.types import ModelCard

PARTICLE_BYTES = 36
"""Id, place and look of one particle in one frame."""

FORGIVING = 0.43
"""Exponent that maps a similarity of 0.2 to P(visible) = 0.5."""
KEPT = 0.95
"""What remains of P(visible) each time a point is handed on to other particles."""


class Frames(NamedTuple):
    """What is kept of frames."""

    rgb: Tensor
    """[B,3,h,w] uint8."""


class ParticleVideo:
    """A `ClipModel` on the CPU. The particles do not depend on the queries, so points do not influence each other."""

    card: ModelCard = CARDS[0]

    def __init__(self, config: ParticleOptions) -> None:
        self.config = config
        self.options: Mapping[str, Any] = config.to_json()
        self.report: Report | None = None
        """Called while `track` works, with (frames processed, frames to process)."""
        require("cv2", "particles")
        require("scipy.spatial", "particles")

    @property
    def device(self) -> torch.device:
        """Always the CPU."""
        return torch.device("cpu")

    def to(self, device: torch.device | str) -> Self:
        """Stays on the CPU."""
        return self

    def frame_size(self, size: Size) -> Size | None:
        """See `Model.frame_size`."""
        return coords.shrunk(size, self.config.max_side)

    def encode(self, frames: Tensor) -> Frames:
        """See `ClipModel.encode`: the frames themselves; channels are made from them when they are needed."""
        return Frames(frames)

    def particles(self, frames: Tensor, report: Callable[[int, int], object] | None = None) -> Particles:
        """The particles of a clip [T,3,h,w] uint8; `report` hears of (frames processed, frames to process)."""
        return Sweeps(np.ascontiguousarray(frames.numpy()), self.config, report).run()

    def track(self, features: Frames, size: Size, queries: Tensor) -> Prediction:
        """See `ClipModel.track`."""
        particles = self.particles(features.rgb, self.report)
        answer = carry(particles, features.rgb.numpy(), queries.numpy(), self.config)
        visible, confidence = probabilities(answer)
        return Prediction(torch.from_numpy(answer.xy), torch.from_numpy(visible), torch.from_numpy(confidence))

    def point_bytes(self, frames: int, size: Size) -> int:
        """See `ClipModel.point_bytes`."""
        return 48 * frames

    def frame_bytes(self, size: Size) -> int:
        """See `ClipModel.frame_bytes`: the frame and its share of the particles."""
        pixels = size[0] * size[1]
        return 3 * pixels + round(PARTICLE_BYTES * pixels / self.config.least_spacing**2)


def probabilities(answer: Answer) -> tuple[np.ndarray, np.ndarray]:
    """P(visible) and P(position right) [N,T] from what is known of each track.

    A point is visible while it looks as the query did; each time it had to be handed on makes that less likely.
    """
    visible = answer.similar**FORGIVING * np.maximum(np.clip(answer.alive, 0, 1), KEPT**answer.handed)
    return visible.astype(np.float32), (0.9 * visible).astype(np.float32)


def build(weights: Mapping[str, Tensor] | None = None, **options: Any) -> ParticleVideo:
    """The model; options: `ParticleOptions`. It takes no weights."""
    if weights is not None:
        raise UsageError("particle-video takes no weights")
    asked = {name: value for name, value in options.items() if name != "precision"}  # numbers as the method has them
    return ParticleVideo(ParticleOptions.of(CARDS[0].id, asked))
