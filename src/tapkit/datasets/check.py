"""What `tapkit data check` says about any benchmark: every clip is read once, with its first and last frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tapkit import coords
from tapkit.datasets.base import Clip, Dataset, Finding
from tapkit.errors import TapkitError
from tapkit.video.base import Source


def check_clips(dataset: Dataset, frames: bool = True) -> Iterator[Finding]:
    """One finding for each clip, and one for each clip that is missing. `frames` False: annotations only."""
    for name, why in dataset.missing().items():
        yield Finding("missing", name, why)
    for name in dataset.names():
        try:
            clip = dataset.clip(name)
            yield from _clip_findings(clip, frames)
        except TapkitError as error:
            yield Finding("damaged", name, str(error))


def _clip_findings(clip: Clip, frames: bool) -> Iterator[Finding]:
    seen = clip.visible.sum(1)
    inside = coords.inside(np.where(clip.visible[..., None], clip.xy, 0.0), clip.size)
    outside = int((clip.visible & ~inside).sum())
    never = int((seen == 0).sum())
    if not len(clip):
        yield Finding("bad", clip.name, "has no tracks")
    if outside:
        yield Finding("note", clip.name, f"{outside} positions are visible but outside the frame")
    if never:
        yield Finding("note", clip.name, f"{never} of {len(clip)} tracks are never visible; they ask nothing")
    if frames:
        with clip.open() as source:
            problem = _frame_problem(clip, source)
        if problem:
            yield Finding("damaged", clip.name, problem)
            return
    size = f"{clip.size[1]}x{clip.size[0]}"
    yield Finding(
        "ok", clip.name, f"{len(clip)} tracks, {clip.frames} frames, {size}, visible {clip.visible.mean():.0%}"
    )


def _frame_problem(clip: Clip, source: Source) -> str:
    """What is wrong with the frames, as a sentence; empty if nothing was found."""
    known = source.info.frames
    if known is not None and known != clip.frames:
        return f"has {known} frames but tracks of {clip.frames}"
    for index in sorted({0, clip.frames - 1}):
        try:
            image = source.read(index).image
        except StopIteration:
            return f"frame {index} cannot be reached; the video ends before"
        if image.shape[:2] != clip.size:
            return f"frame {index} is {image.shape[1]}x{image.shape[0]}, not {clip.size[1]}x{clip.size[0]}"
    return ""
