"""Card of Particle Video, whose family lives in `tapkit.flow`."""

from tapkit.flow.particle_video.card import CARDS

__all__ = ["CARDS"]
