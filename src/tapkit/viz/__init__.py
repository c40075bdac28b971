"""Drawing: tracks on footage, contact sheets, palettes."""

from tapkit.viz.contact_sheet import contact_sheet, legend
from tapkit.viz.draw import Drawer, Style, draw_frame, draw_video, result_at
from tapkit.viz.particles import draw_particles

__all__ = ["Drawer", "Style", "contact_sheet", "draw_frame", "draw_particles", "draw_video", "legend", "result_at"]
