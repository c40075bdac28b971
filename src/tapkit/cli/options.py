"""Options that several commands share: which points, which model; and how a run talks while it works."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapkit.engine.progress import progress_of as progress_of  # for the commands, as the next ones
from tapkit.engine.progress import say as say
from tapkit.engine.progress import speed as speed
from tapkit.errors import UsageError
from tapkit.parsing import read_options as read_options  # for the commands, beside the option itself

if TYPE_CHECKING:
    from tapkit.engine.tracker import Tracker
    from tapkit.types import Keyframes, ModelCard, Queries, Tracks
    from tapkit.types.skeleton import Skeleton as Edges
    from tapkit.video.base import Source

Grid = Annotated[int | None, typer.Option("--grid", min=1, help="A regular grid of N x N points.")]
Points = Annotated[
    Path | None,
    typer.Option(
        "--points",
        help="CSV file with columns t,x,y (and id: more lines of one are keyframes of it), or tracks to track again.",
    ),
]
At = Annotated[list[str] | None, typer.Option("--at", metavar="T,X,Y", help="One point: frame,x,y. Repeatable.")]
Mask = Annotated[Path | None, typer.Option("--mask", help="Image whose non-black pixels are to be tracked.")]
Corners = Annotated[int | None, typer.Option("--corners", min=1, help="The N best corners.")]
OnFrame = Annotated[int, typer.Option("--frame", min=0, help="Frame of --grid, --mask and --corners.")]
Model = Annotated[
    str, typer.Option("--model", "-m", help="Tracker; `tapkit models` lists them. Or the folder of a fit.")
]
Weights = Annotated[Path | None, typer.Option("--weights", help="Checkpoint file, instead of the official one.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps; or several: cuda:0,cuda:1.")]
Option = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the model. Repeatable.")
]
Skeleton = Annotated[
    str | None, typer.Option("--skeleton", metavar="A-B,B-C", help="Edges between points, by their ids.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]


def read_points(
    source: Source,
    *,
    grid: int | None,
    points: Path | None,
    at: list[str] | None,
    mask: Path | None,
    corners: int | None,
    frame: int,
) -> Queries:
    """The points that the options ask for; a 16 x 16 grid if they ask for none."""
    from tapkit.api import make_queries

    given = given_points(points, at)
    if grid is None and mask is None and corners is None and given is None:
        grid = 16
    return make_queries(source, given, grid=grid, mask=read_mask(mask), corners=corners, frame=frame)


def given_points(points: Path | None, at: list[str] | None) -> Queries | None:
    """The points of --points and --at; None if there are none."""
    from tapkit.types import Queries

    parts = [_points_of(points)] if points is not None else []
    if at:
        parts.append(Queries.of([_triple(text) for text in at]))
    if len(parts) == 2:
        return Queries.join([parts[0], parts[1].with_ids(f"at{i}" for i in range(len(parts[1])))])
    return parts[0] if parts else None


def read_skeleton(text: str | None, points: Path | None, queries: Queries) -> Edges:
    """The edges that --skeleton names, else those of the tracks that --points names."""
    from tapkit.types import Tracks
    from tapkit.types.skeleton import among, parse_skeleton

    ids = queries.ids.tolist()
    if text is not None:
        return parse_skeleton(text, ids)
    return among(Tracks.load(points).skeleton, ids) if points is not None and _is_tracks(points) else ()


def _is_tracks(path: Path) -> bool:
    return path.suffix.lower() in (".npz", ".zarr")


def _points_of(path: Path) -> Queries:
    from tapkit.types import Keyframes, Tracks

    return Tracks.load(path).queries if _is_tracks(path) else Keyframes.read_csv(path)[0]


def read_keyframes(points: Path | None) -> Keyframes | None:
    """The positions of --points that a human set in tracks, or that a table gives for a point it names more than once;
    None if there are none."""
    from tapkit.types import Keyframes, Tracks

    if points is None:
        return None
    return Tracks.load(points).keyframes() if _is_tracks(points) else Keyframes.read_csv(points)[1]


def _triple(text: str) -> tuple[float, float, float]:
    try:
        t, x, y = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--at takes frame,x,y such as 0,310.5,122, got {text!r}") from error
    return t, x, y


def read_mask(path: Path | None) -> Any:
    """The mask [H,W] bool in an image file: its non-black pixels. Raises `UsageError`."""
    if path is None:
        return None
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L")) > 0
    except (OSError, UnidentifiedImageError) as error:
        raise UsageError(f"the mask {path} cannot be read as an image") from error


def load_tracker(
    model: str, weights: Path | None, device: str, options: list[str] | None, quiet: bool = False
) -> Tracker:
    """The tracker, with a line about its licence if that forbids commercial use, and the download shown."""
    from tapkit import api, registry
    from tapkit.engine.fitted import is_fit

    if is_fit(model):
        return api.load(model, weights, device, **read_options(options))
    card = registry.card(model)
    if not quiet:
        say_licence(card)
    return api.load(model, weights, device, report=None if quiet else Download(card.id), **read_options(options))


def load_tracker_of(
    tracks: Tracks,
    model: str | None,
    weights: Path | None,
    device: str,
    options: list[str] | None,
    quiet: bool = False,
) -> Tracker:
    """The tracker that made these tracks, or `model`, as `load_tracker` does."""
    from tapkit import api, registry

    name = model or tracks.source.model
    if name in registry.cards() and not quiet:
        say_licence(registry.card(name))
    report = None if quiet else Download(name or registry.DEFAULT)
    return api.load_for(tracks, model, weights, device, report, **read_options(options))


def say_licence(card: ModelCard) -> None:
    """A line, if the licence of the weights forbids commercial use."""
    if not card.commercial:
        say(f"note: licence of the weights of {card.id}: {card.weights_licence}; not for commercial use")


class Download:
    """Says how far a download is, at most once a second."""

    def __init__(self, name: str) -> None:
        self.name, self.last = name, 0.0

    def __call__(self, done: int, total: int | None) -> None:
        if time.monotonic() - self.last > 1:
            self.last = time.monotonic()
            say(f"fetching weights of {self.name}: {done >> 20} of {(total or 0) >> 20 or '?'} MB")
