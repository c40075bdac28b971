"""What the papers of the trackers do to the clips that they are trained on, as data; `distort` does it.

Sources: CoTracker3 (Karaev et al., arXiv:2410.11831, appendix A), PIPs (Harley et al., ECCV 2022,
section 4.1), TAPIR (Doersch et al., ICCV 2023, appendix).
"""

from __future__ import annotations

from dataclasses import dataclass

from tapkit.errors import UsageError


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and ranges; zeros: not at all."""

    erase: float = 0.0
    """For each frame but the first: 1 to 10 rectangles are painted in their own mean colour."""
    replace: float = 0.0
    """For each frame but the first: 1 to 10 rectangles show a piece of another frame, in other colours."""
    colours: float = 0.0
    """For each frame, or (`per_clip`) for all of a clip alike: brightness, contrast, saturation and hue change."""
    per_clip: bool = False
    brightness: float = 0.0
    """Largest change, as a share of the whole range."""
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    """Largest turn, in full circles."""
    grey: float = 0.0
    """For each clip: it loses its colours."""
    blur: float = 0.0
    """For each frame: Gaussian blur with a sigma of 0.1 to 2 pixels."""
    pad: int = 0
    """Black borders of up to so many pixels are laid around the clip before it is scaled."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the clip's size on its first frame."""
    scale_drift: float = 0.0
    """How much that changes from frame to frame at most, smoothed."""
    crop_drift: float = 0.0
    """Pixels by which the view moves from frame to frame at most, smoothed."""
    flip: float = 0.0
    """For each clip: mirrored left to right, and, drawn by itself, top to bottom."""
    transpose: float = 0.0
    """For each clip of squares: rows and columns are exchanged."""

    def __post_init__(self) -> None:
        for name in ("erase", "replace", "colours", "grey", "blur", "flip", "transpose"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"the augmentation's {name} is a probability from 0 to 1, got {getattr(self, name)}")
        if not 0 < self.scale[0] <= self.scale[1] or min(self.pad, self.scale_drift, self.crop_drift) < 0:
            raise UsageError(
                "an augmentation scales by a least and a largest positive factor, and pads and drifts by >= 0"
            )
