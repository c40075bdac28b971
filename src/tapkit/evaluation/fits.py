"""A method that is fitted to each clip, as a tracker that is measured like any other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import api, registry
from tapkit.engine.fitted import options_of
from tapkit.types import ModelCard, Tracks
from tapkit.video.using import using


class FitsEach:
    """Fits to every clip that it is asked to track, and keeps the fits.

    Args:
        model: id of the method.
        folder: where the fits go; one that is there already (of the same clip, options and seed) is used again.
        device: as for `tapkit.load`.
        fit: preset, minutes, seed.
        options: of the method.
        say: called with a sentence now and then.

    Raises `UsageError` for an unknown preset or option.
    """

    def __init__(
        self,
        model: str,
        folder: Path,
        device: str,
        fit: Mapping[str, Any],
        options: Mapping[str, Any],
        say: Callable[[str], object] | None = None,
    ) -> None:
        self.card: ModelCard = replace(registry.card(model), streaming="offline")
        self.folder, self.device, self.fit, self.given, self.say = folder, device, dict(fit), dict(options), say
        self.options = {**options_of(model, self.fit["preset"], options).to_json(), **self.fit}
        """In force, for the report."""

    def track(self, video: Any, queries: Any, direction: Any = "both") -> Tracks:
        """See `Tracker.track`; the fit comes first, unless there is one."""
        with using(video) as source:
            picture = np.ascontiguousarray(source.peek().image)
            key = hashlib.sha256(f"{source.info.frames} {picture.shape} {self.options}".encode() + picture.tobytes())
            path = self.folder / f"{self.card.id}-{key.hexdigest()[:16]}.fit"
            tracker = api.fit(
                source, path, model=self.card.id, device=self.device, say=self.say, **self.fit, **self.given
            )  # fmt: skip
            return tracker.track(source, queries, direction)
