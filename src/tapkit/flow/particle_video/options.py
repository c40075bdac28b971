"""Options of Particle Video; lengths are pixels of the frames as tracked, brightness runs over 0..255."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from tapkit.errors import UsageError
from tapkit.models.options import Options


@dataclass(frozen=True)
class ParticleOptions(Options):
    """Defaults are the papers' where they are known."""

    max_side: int = 480
    """Longer frames are tracked at this length of their longer side."""
    flow: Literal["variational", "dis"] = "dis"
    """Flow that proposes motions: "variational" (the papers') or "dis" (OpenCV's, several times quicker); both get the
    occlusion labels and the bilateral filter."""
    alpha_global: float = 10.0
    """Smoothness everywhere."""
    alpha_local: float = 5.0
    """Additional smoothness where the picture is flat."""
    scale_step: float = 0.75
    """Ratio between neighbouring pyramid scales (the papers: about 0.9)."""
    warps: int = 3
    """Linearisations of the pictures per scale."""
    inner: int = 2
    """Updates of the robust weights per warp."""
    relaxations: int = 12
    """SOR sweeps per update."""
    least_spacing: float = 6.0
    """Lower bound of the distance between particles; the papers' scale map goes down to 1."""
    alpha_distortion: float = 1.5
    """Weight of the relative motion of linked particles."""
    sigma_link: float = 1.5
    """Motion difference at which a link has lost 40 % of its weight, pixels per frame."""
    sigma_time: float = 8.0
    """Width of the temporal filter of a particle's appearance, frames."""
    together: int = 5
    """Frames that are optimised together."""
    outer: int = 2
    """Linearisations in the optimisation of particles (the papers: 10)."""
    most_distortion: float = 1.5
    """Distortion above which a particle ends, pixels per frame."""
    most_change: float = 20.0
    """Mean difference from its own filtered appearance above which a particle ends, 0..255."""
    carriers: int = 6
    """Particles that carry a query."""

    def check(self) -> None:
        """See `Options.check`."""
        if not 1 <= self.least_spacing <= 24:
            raise UsageError(f"least_spacing must lie within 1..24, got {self.least_spacing:g}")
        if not 0.3 <= self.scale_step <= 0.95:
            raise UsageError(f"scale_step must lie within 0.3..0.95, got {self.scale_step:g}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "flow" and not value > 0:
                raise UsageError(f"{field.name} must be positive, got {value:g}")
