"""Edits on top of point tracks: stickers and inserts, corner pins, painted frames carried on, stabilisation, removal,
trails, regions and masks.

Any tracker of the registry serves; nothing here is learned, and everything is the same for the same seed.
"""

from tapkit.apps.edit.composite import Look
from tapkit.apps.edit.corrections import Pin, read_pins
from tapkit.apps.edit.follow import EditWarning, Followed, Settings, follow_region, track_back
from tapkit.apps.edit.masks import CarriedMasks, propagate_mask
from tapkit.apps.edit.mesh import Warp
from tapkit.apps.edit.motion import Motion, fit_motion
from tapkit.apps.edit.prepare import Prepared, prepare
from tapkit.apps.edit.propagate import propagate_edit
from tapkit.apps.edit.refine import RefineOptions, refine_tracks
from tapkit.apps.edit.region import Region, points_for
from tapkit.apps.edit.regions import RegionTrack, corner_pin, track_region
from tapkit.apps.edit.remove import CleanPlate, remove_object
from tapkit.apps.edit.stabilise import Stabilised, stabilise
from tapkit.apps.edit.sticker import attach_sticker, insert_video
from tapkit.apps.edit.stmap import write_stmaps
from tapkit.apps.edit.support import Support
from tapkit.apps.edit.trails import TrailStyle, trails
from tapkit.apps.edit.warps import Spline, mls

__all__ = [
    "CarriedMasks",
    "CleanPlate",
    "EditWarning",
    "Followed",
    "Look",
    "Motion",
    "Pin",
    "Prepared",
    "RefineOptions",
    "Region",
    "RegionTrack",
    "Settings",
    "Spline",
    "Stabilised",
    "Support",
    "TrailStyle",
    "Warp",
    "attach_sticker",
    "corner_pin",
    "fit_motion",
    "follow_region",
    "insert_video",
    "mls",
    "points_for",
    "prepare",
    "propagate_edit",
    "propagate_mask",
    "read_pins",
    "refine_tracks",
    "remove_object",
    "stabilise",
    "track_back",
    "track_region",
    "trails",
    "write_stmaps",
]
