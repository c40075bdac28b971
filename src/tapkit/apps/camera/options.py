"""Settings of camera estimation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tapkit.errors import UsageError

Method = Literal["adjust", "leap"]
METHODS: tuple[Method, ...] = ("adjust", "leap")


@dataclass(frozen=True)
class CameraOptions:
    """Settings of `estimate_cameras`. Errors are in pixels of the video."""

    method: Method = "adjust"
    """"adjust": moving points are voted out, several starts, sliding and global bundle adjustment. "leap": the
    back end of LEAP-VO (CVPR 2024) alone, frame by frame, which needs a focal length and moving points marked."""
    visible: float | None = None
    """Threshold of visibility; None: the tracker's authors' own."""
    confidence: float = 0.5
    """Least confidence of an observation. Where more than half of them are below, the lowest fifth is left out."""
    border: float = 0.02
    """Observations nearer to the border than this share of the image are left out."""
    shortest: int = 3
    """Frames on which a point must be seen to be used."""
    vote: bool = True
    """Whether moving points are found by epipolar votes, where `dynamic` is not given."""
    static_score: float = 0.7
    """Share of pairs of frames in which a static point agrees with their epipolar geometry."""
    epipolar_error: float = 1.5
    """Square root of the Sampson distance up to which a point agrees."""
    window: int = 15
    """Keyframes whose poses a sliding adjustment changes."""
    starts: int = 5
    """Ways in which the first window is begun: from two views (up to 2), and from standing still (the others)."""
    last_error: float = 3.0
    """Observations with a larger reprojection error are no inliers."""
    refine_focal: bool | None = None
    """Whether the focal length is refined; None: where it is not given and the motion allows it."""
    most_keyframes: int = 150
    """Frames that are adjusted together; in longer videos every n-th is, and the others are placed by the points."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"the method must be one of {', '.join(METHODS)}, got {self.method!r}")
        for name in ("confidence", "border", "static_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        for name in ("epipolar_error", "last_error"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be more than 0 pixels, got {getattr(self, name)}")
        for name, least in (("shortest", 2), ("window", 4), ("starts", 1), ("most_keyframes", 8)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be {least} or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class Tolerances:
    """Widths in pixels that follow from how precise the tracks are; at 0.5 pixels of noise they are the usual ones."""

    kernel: float = 2.0
    """Of Cauchy's kernel."""
    first: float = 5.0
    """Reprojection error beyond which an observation is dropped while the window slides."""
    track: float = 2.5
    """Error that a static point's observations rarely have."""
    last: float = 3.0
    """Error beyond which an observation is dropped at the end."""

    @classmethod
    def of(cls, noise: float, most: float = 3.0) -> Tolerances:
        """For a noise in pixels (one axis); NaN: not known. `most`: of `last`."""
        if noise != noise:
            return cls(last=most)

        def within(least: float, value: float, largest: float) -> float:
            return min(max(value, least), largest)

        return cls(
            within(0.4, 4 * noise, 2.0), within(2.0, 10 * noise, 5.0), within(1.0, 5 * noise, 2.5),
            min(within(1.2, 6 * noise, 3.0), most),
        )  # fmt: skip
