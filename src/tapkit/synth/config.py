"""What synthetic clips look like: one frozen record of sizes, speeds and shares."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tapkit.errors import UsageError


@dataclass(frozen=True)
class SynthConfig:
    """Settings of a `ClipMaker`. Shares are probabilities per clip unless said otherwise; all are 0 to 1."""

    frames: int = 10
    size: tuple[int, int] = (128, 128)
    """(height, width) in pixels."""
    points: int = 256
    layers: tuple[int, int] = (3, 7)
    """Fewest and most layers over the background; drawn anew for each batch."""
    speed: float = 1.0
    """Factor on all motion. At 1 half of the steps of visible points are longer than 0.7 % of the frame's side."""
    spacing: tuple[float, float] = (3.0, 10.0)
    """Shortest and longest distance in frames between the control points of a motion: short means jerky."""
    bending: float = 0.4
    """Largest gradient of the bending, below 0.6 so that no layer folds."""
    shake: float = 0.25
    """Share with a hand-held camera."""
    rolling: float = 0.15
    """Share whose rows are exposed one after the other."""
    blurred: float = 0.2
    """Share with motion blur; these cost `blur_samples` times as much."""
    blur_samples: int = 5
    solids: float = 0.25
    """Share with textured bodies in perspective."""
    bodies: tuple[int, int] = (1, 1)
    """Fewest and most of them in such a clip."""
    body_size: tuple[float, float] = (0.25, 0.75)
    """Smallest and largest radius of one, in halves of the frame's longer side."""
    animated: float = 0.0
    """Share of bodies that walk, swim or fly, where the bank has some that can; 0: these too are stiff."""
    effects: float = 1.0
    """Strength of light, noise, defocus and compression; 0 leaves what was composited as it is."""
    procedural: float = 0.15
    """Share of layers with a procedural texture, where there are photographs."""
    shapes: int = 384
    """Outlines in the bank; each is turned, stretched and bent anew whenever it is used."""
    pitch: int = 8
    """Size of a cell of the warp mesh in pixels."""
    pixels_at_once: int | None = None
    """Clips and frames are rendered in groups of at most this many pixels (sub-frames counted) to bound memory, but
    of one frame at least; None: as suits the device."""

    def __post_init__(self) -> None:
        shares = ("shake", "rolling", "blurred", "solids", "animated", "procedural")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is a share from 0 to 1, got {getattr(self, name)}")
        if self.frames < 1 or self.points < 1:
            raise UsageError(f"a clip needs a frame and a point at least, got {self.frames} and {self.points}")
        if min(self.size) < 16:
            raise UsageError(f"synthetic clips are at least 16 pixels high and wide, got {self.size[1]}x{self.size[0]}")
        if not 0 <= self.layers[0] <= self.layers[1]:
            raise UsageError(f"layers are (fewest, most), got {self.layers}")
        if not 1 <= self.bodies[0] <= self.bodies[1] or not 0 < self.body_size[0] <= self.body_size[1]:
            raise UsageError(f"bodies and their size are (fewest, most), got {self.bodies} and {self.body_size}")
        if not 0 < self.spacing[0] <= self.spacing[1]:
            raise UsageError(f"spacing is (shortest, longest) in frames, got {self.spacing}")
        if not 0 <= self.bending < 0.6:
            raise UsageError(f"bending is a gradient from 0 to below 0.6, got {self.bending}")
        if self.blur_samples < 1 or self.blur_samples % 2 == 0:
            raise UsageError(f"blur_samples must be odd, so that one lies at mid-exposure, got {self.blur_samples}")
        if self.speed < 0 or self.effects < 0 or self.pitch < 2 or self.shapes < 1:
            raise UsageError("speed and effects cannot be negative; pitch is 2 at least, shapes 1")

    def crowded(self) -> SynthConfig:
        """The same, of several large bodies before few layers: most points lie on what turns and deforms in depth.

        Two of three bodies are animated, where models can be.
        """
        return replace(self, layers=(1, 4), solids=1.0, bodies=(2, 4), body_size=(0.35, 1.0), animated=2 / 3)
