"""Whose source is it? What was opened for a call is closed after it; what the caller opened stays open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tapkit.video.base import Source
from tapkit.video.open import open_video


@contextmanager
def using(video: Any) -> Iterator[Source]:
    """The source for anything `open_video` takes; closed at the end only if it was opened here."""
    if isinstance(video, Source):
        yield video
        return
    with open_video(video) as source:
        yield source
