"""Online TAPIR over the same clip frame by frame, as a live session runs it (no such row in reference_cost.md)."""

from collections.abc import Callable
from typing import Any

import torch

from calls import frames, queries
from tapkit import coords
from tapkit.models.tapir.causal import build_tapir_causal

REFERENCE = "tapir_causal"


def reference_call(parity: Any, **options: Any) -> Callable[[], object]:
    """All points join on the first frame; then one step for each frame."""
    model = build_tapir_causal(parity.weights("tapir_causal"), **options)
    video, points = frames(parity, 24), coords.from_centers(queries(parity)[:, 1:])

    def call() -> None:
        state = model.start((256, 256))
        for t, frame in enumerate(video):
            state, _ = model.step(state, frame, points if t == 0 else torch.zeros(0, 2))

    return call
