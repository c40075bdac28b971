"""What all edits of a region do first: choose points, track them, refine them, and fit how the region moves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapkit import api, registry
from tapkit.apps.edit.composite import check_frame, check_source
from tapkit.apps.edit.corrections import Pin, check_pins, pin_points
from tapkit.apps.edit.mesh import Warp
from tapkit.apps.edit.models import KINDS
from tapkit.apps.edit.motion import Motion, fit_motion
from tapkit.apps.edit.prepare import Prepared, prepare
from tapkit.apps.edit.refine import refine_tracks
from tapkit.apps.edit.region import Region, points_for, points_in
from tapkit.engine.control import Progress
from tapkit.engine.tracker import Tracker
from tapkit.errors import UsageError
from tapkit.types import Queries, Tracks
from tapkit.video.base import Source

ALIASES = {"position": "translation", "perspective": "homography"}
"""Names that editors use."""
FOLLOWS = ("auto", "position", "similarity", "affine", "perspective", "mesh")
"""How something can follow a region; the names of the motion models (`KINDS`) serve as well."""


class EditWarning(UserWarning):
    """Something that the user of an edit should look at."""


@dataclass(frozen=True)
class Settings:
    """How a region is followed; shared by all edits.

    follow: "auto" (the simplest model that explains the points), "position", "similarity", "affine", "perspective", or
        "mesh": perspective, and what the points know beyond it.
    tracks: points that are tracked already; None: they are chosen in and around the region and tracked.
    tracker: id of a tracker, or one that is loaded.
    device: where it runs.
    points: about how many are tracked; None: 200 to 600, by the size of the region.
    refine: whether their positions are refined against the full-size frames, see `refine_tracks`.
    check: whether they are tracked back as well, and trusted less where that leads elsewhere.
    smooth: sigma of a Gaussian over the paths of the region's corners, frames; 0: none.
    pins: where corners (numbered from 0) or points (by id) really are on some frames.
    seed: of all that is drawn at random.
    """

    follow: str = "auto"
    tracks: Tracks | None = None
    tracker: str | Tracker = registry.DEFAULT
    device: str = "auto"
    points: int | None = None
    refine: bool = False
    check: bool = False
    smooth: float = 0.0
    pins: Sequence[Pin] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.follow not in (*FOLLOWS, *KINDS):
            raise UsageError(f"follow is one of {', '.join(FOLLOWS)}, not {self.follow!r}")
        if not self.smooth >= 0:
            raise UsageError(f"smooth is a number of frames, 0 or more, got {self.smooth}")
        check_pins(self.pins)

    @property
    def kind(self) -> str:
        """The motion model, or auto."""
        return "homography" if self.follow == "mesh" else ALIASES.get(self.follow, self.follow)


@dataclass(frozen=True, eq=False)
class Followed:
    """A region that was followed."""

    region: Region
    prepared: Prepared
    motion: Motion
    warp: Warp


Told = Callable[[Progress], object] | None


def follow_region(source: Source, region: Region, frame: int, settings: Settings, progress: Told = None) -> Followed:
    """Follow a region of `frame` through the video.

    Args:
        source: the video, at its own size; not live.
        progress: called while points are tracked.

    Warns (`EditWarning`) of what should be looked at. Raises `UsageError` for a frame or region outside the video, or
    where no point of the tracks is visible in the region on that frame.
    """
    check_source(source)
    check_frame(source, frame)
    tracks = settings.tracks
    if tracks is None:
        image = source.read(frame).image
        queries = points_for(region, source.info.size, frame, count=settings.points, image=image, seed=settings.seed)
        tracks = track_points(source, queries, settings, progress)
    elif tracks.frames != source.info.frames:
        raise UsageError(f"these tracks have {tracks.frames} frames, the video {source.info.frames}")
    prepared = ready(source, tracks, settings)
    corner_pins = [pin for pin in settings.pins if str(pin.name) in ("0", "1", "2", "3")]
    if len(corner_pins) < len(settings.pins):
        prepared = pin_points(prepared, [pin for pin in settings.pins if pin not in corner_pins])
    rows = points_in(region, prepared.xy[:, frame], prepared.weight[:, frame])
    if not len(rows):
        raise UsageError(
            f"no tracked point is visible in the region on frame {frame}: choose another frame, or track points there"
        )
    motion = fit_motion(
        prepared, rows, region.corners, frame, settings.kind, smooth=settings.smooth, pins=corner_pins,
        picture=lambda t: source.read(t).image, seed=settings.seed,
    )  # fmt: skip
    for note in motion.notes:
        warnings.warn(note, EditWarning, stacklevel=3)
    return Followed(region, prepared, motion, Warp(motion, prepared if settings.follow == "mesh" else None))


def track_points(source: Source, queries: Queries, settings: Settings, progress: Told = None) -> Tracks:
    """Track points both ways, by the tracker of the settings."""
    return tracker_of(settings).track(source, queries, "both", progress=progress)


def tracker_of(settings: Settings) -> Tracker:
    """The tracker of the settings, loaded."""
    given = settings.tracker
    return given if isinstance(given, Tracker) else api.load(given, device=settings.device)


def ready(source: Source, tracks: Tracks, settings: Settings) -> Prepared:
    """Tracks refined, checked and weighted as the settings say."""
    returned = track_back(source, tracks, settings) if settings.check else None
    if settings.refine:
        tracks = refine_tracks(tracks, source)
    card = registry.cards().get(tracks.source.model)
    return prepare(tracks, size=source.info.size, returned=returned, input_size=card.input_size if card else None)


def track_back(source: Source, tracks: Tracks, settings: Settings) -> Tracks:
    """The same points, tracked from where each was last seen back to where it began."""
    seen = tracks.visible_at()
    last = seen.shape[1] - 1 - seen[:, ::-1].argmax(1)
    last = np.where(seen.any(1), last, tracks.queries.t)
    xy = tracks.xy[np.arange(len(tracks)), last]
    size = np.array([tracks.video.width, tracks.video.height], np.float32)
    queries = Queries(last, np.clip(np.nan_to_num(xy), 0, size), tracks.ids)
    return tracker_of(settings).track(source, queries, "both")


def settings_of(settings: Settings | None, options: dict[str, Any]) -> Settings:
    """Settings as given, or made of options. Raises `UsageError` for an unknown option."""
    if settings is not None and options:
        raise UsageError(f"give settings=, or options such as {next(iter(options))}=, not both")
    if settings is not None:
        return settings
    known = Settings.__dataclass_fields__
    for name in options:
        if name not in known:
            raise UsageError(f"there is no option {name!r} of an edit; there are {', '.join(known)}")
    return Settings(**options)
