"""What is asked for: which scenes, and how they are filmed and written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tapkit.errors import UsageError, did_you_mean

KINDS = ("outdoor", "indoor", "animals", "toys", "ego")
CALIBRATION = "calibration"
"""A small scene for tests and for the table of costs: see generate/blender/calibration.py."""
LAYOUTS = ("pointodyssey", "kubric")
"""In which a clip may be written besides tapkit's folder format."""
PICTURES = ("jpg", "png", "mp4")
Visibility = Literal["rays", "depth"]


@dataclass(frozen=True)
class GenerateSettings:
    """Settings of a set of videos. The same settings and numbers make the same videos."""

    frames: int = 48
    size: tuple[int, int] = (256, 256)
    """(width, height) in pixels."""
    fps: int = 30
    assets: Path | None = None
    """Folder of models, photos, textures, environments; None: all is procedural."""
    samples: int = 16
    """Rays of light per pixel, then denoised."""
    denoise: bool = True
    points: int = 2048
    visibility: str = "rays"
    """rays: against all triangles, exact. depth: PointOdyssey's published rule, with its tolerance of 3 %."""
    pictures: str = "jpg"
    passes: bool = True
    """Whether depth, normals, masks and flow are written too."""
    also: tuple[str, ...] = ()
    """Layouts besides the folder format."""
    device: str = "auto"
    """auto, cpu, gpu."""
    threads: int = 1
    """Of each Blender."""

    def __post_init__(self) -> None:
        if min(self.frames, self.fps, self.samples, self.points, self.threads) < 1:
            raise UsageError("frames, fps, samples, points and threads are 1 at least")
        if min(self.size) < 32:
            raise UsageError(
                f"generated videos are at least 32 pixels wide and high, got {self.size[0]}x{self.size[1]}"
            )
        choices = {
            "visibility": (self.visibility, ("rays", "depth")),
            "pictures": (self.pictures, PICTURES),
            "device": (self.device, ("auto", "cpu", "gpu")),
        }
        for name, (value, known) in choices.items():
            if value not in known:
                raise UsageError(f"{name} is {' or '.join(known)}, not {value!r}{did_you_mean(value, known)}")
        for layout in self.also:
            if layout not in LAYOUTS:
                raise UsageError(f"a layout is {' or '.join(LAYOUTS)}, not {layout!r}{did_you_mean(layout, LAYOUTS)}")
        if self.assets is not None and not self.assets.is_dir():
            raise UsageError(f"{self.assets} is not a folder of assets")


def parse_kinds(text: str) -> tuple[str, ...]:
    """Kinds of scenes from "outdoor,toys" or "all".

    >>> parse_kinds("toys, ego")
    ('toys', 'ego')
    """
    kinds = KINDS if text.strip() == "all" else tuple(each.strip() for each in text.split(",") if each.strip())
    for kind in kinds:
        if kind not in (*KINDS, CALIBRATION):
            raise UsageError(f"there are no {kind!r} scenes, but {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    if not kinds:
        raise UsageError(f"names no kind of scene; they are {', '.join(KINDS)}, or all")
    return kinds
