"""`tapkit edit`: what artists do with tracks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tapkit.cli import edit_options as e
from tapkit.cli import footage as f
from tapkit.cli import options as o
from tapkit.cli.outputs import Force
from tapkit.errors import UsageError
from tapkit.registry import DEFAULT

edit_app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Edits that follow points: stickers, corner pins, painted frames, stabilising, removing, trails, masks.",
)


@edit_app.command()
def sticker(
    video: e.Video,
    image: Annotated[Path, typer.Argument(help="Picture (with alpha, if it has any) or video to put in.")],
    output: e.Output,
    at: e.At = None,
    quad: e.Quad = None,
    mask: e.Mask = None,
    frame: e.OnFrame = 0,
    width: Annotated[float | None, typer.Option(help="Of the picture at a single --at, pixels. [its own]")] = None,
    follow: e.Follow = "auto",
    tracks: e.Tracks = None,
    shutter: e.Shutter = 0.0,
    adapt: e.Adapt = False,
    linear: e.Linear = True,
    resampling: e.Resampling = "bicubic",
    occlusion: e.Occlusion = "sharp",
    refine: e.Refine = False,
    check: e.Check = False,
    smooth: e.Smooth = 0.0,
    pins: e.Pins = None,
    model: o.Model = DEFAULT,
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Put a picture or a clip onto something, where it stays, behind what passes in front of it.

    tapkit edit sticker clip.mp4 poster.png out.mp4 --quad 330,190,470,190,470,260,330,260

    tapkit edit sticker clip.mp4 hat.png out.mp4 --at 310,122 --width 80 --follow similarity
    """
    from tapkit.apps.edit import Look, attach_sticker

    look = Look(linear, shutter, adapt, resampling=resampling)
    anchor = e.anchor(at, quad, mask)
    with e.Job(video, output, [image, mask, tracks, pins], force, quiet) as job:
        source = job.open(start, end, step, value_range, stream)
        settings = job.settings(follow, tracks, pins, refine, check, smooth, model, weights, device, option)
        attach_sticker(
            source, image, output, **anchor, frame=frame, width=width, look=look, occlusion=occlusion,
            settings=settings, progress=job.progress, report=job.report,
        )  # fmt: skip


@edit_app.command("corner-pin")
def corner_pin(
    video: e.Video,
    output: Annotated[Path, typer.Argument(help="Corner curves: .nk, .txt, .csv, .npz, ..., see --to.")],
    quad: e.Quad = None,
    frame: e.OnFrame = 0,
    to: Annotated[
        str | None, typer.Option("--to", help="Format, as `tapkit export --list` has them. [by the ending of OUTPUT]")
    ] = None,
    follow: Annotated[
        Literal["auto", "position", "similarity", "affine", "perspective"], typer.Option(help="How the quad moves.")
    ] = "perspective",
    tracks: e.Tracks = None,
    refine: e.Refine = False,
    check: e.Check = False,
    smooth: e.Smooth = 0.0,
    pins: e.Pins = None,
    model: o.Model = DEFAULT,
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Follow the four corners of a surface, seen or not, and write their curves for another program.

    tapkit edit corner-pin clip.mp4 pin.nk --quad 330,190,470,190,470,260,330,260

    tapkit edit corner-pin clip.mp4 pin.txt --to after-effects --quad 330,190,470,190,470,260,330,260
    """
    from tapkit.apps.edit import corner_pin as follow_corners
    from tapkit.export import library

    if quad is None:
        raise UsageError("say which surface: --quad with its four corners")
    corners = e.read_quad(quad)
    form, settings_of_format = e.pin_format(output, to, frame)
    with e.Job(video, None, [tracks, pins], force, quiet, files=[output]) as job:
        source = job.open(start, end, step, value_range, stream)
        settings = job.settings(follow, tracks, pins, refine, check, smooth, model, weights, device, option)
        found = follow_corners(source, corners, frame=frame, settings=settings, progress=job.progress)
        if form is None:
            found.save(output)
        else:
            library.find(form, output).write(found, output, when="valid", **settings_of_format)


@edit_app.command()
def propagate(
    video: e.Video,
    edited: Annotated[Path, typer.Argument(help="The frame as it was painted on, or a layer with alpha over it.")],
    output: e.Output,
    frame: Annotated[int, typer.Option("--frame", min=0, help="Which frame was painted on.")] = 0,
    follow: e.Follow = "mesh",
    tracks: e.Tracks = None,
    adapt: e.Adapt = False,
    linear: e.Linear = True,
    resampling: e.Resampling = "bicubic",
    occlusion: e.Occlusion = "sharp",
    refine: e.Refine = False,
    check: e.Check = False,
    smooth: e.Smooth = 0.0,
    pins: e.Pins = None,
    model: o.Model = DEFAULT,
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Carry what was painted on one frame to all the others.

    tapkit edit propagate clip.mp4 painted.png out.mp4 --frame 40
    """
    from tapkit.apps.edit import Look, propagate_edit

    look = Look(linear, 0.0, adapt, resampling=resampling)
    with e.Job(video, output, [edited, tracks, pins], force, quiet) as job:
        source = job.open(start, end, step, value_range, stream)
        settings = job.settings(follow, tracks, pins, refine, check, smooth, model, weights, device, option)
        propagate_edit(
            source, edited, output, frame=frame, look=look, occlusion=occlusion,
            settings=settings, progress=job.progress, report=job.report,
        )  # fmt: skip


@edit_app.command()
def stabilise(
    video: e.Video,
    output: e.Output,
    box: Annotated[
        str | None, typer.Option("--box", metavar="X1,Y1,X2,Y2", help="What is held still. [the static scene]")
    ] = None,
    mask: e.Mask = None,
    frame: Annotated[int, typer.Option("--frame", min=0, help="Reference frame; that of --box and --mask.")] = 0,
    mode: Annotated[
        Literal["lock", "smooth"], typer.Option(help="Hold the picture still, or smooth its path.")
    ] = "smooth",
    motion: Annotated[
        Literal["translation", "similarity", "affine", "perspective"], typer.Option(help="What is taken out.")
    ] = "similarity",
    strength: Annotated[float, typer.Option(help="Of the smoothing: sigma in half seconds.")] = 1.0,
    crop: Annotated[
        Literal["none", "fixed", "adaptive", "inpaint-edges"], typer.Option(help="What is done about the edges.")
    ] = "fixed",
    resampling: e.Resampling = "bicubic",
    tracks: e.Tracks = None,
    refine: e.Refine = False,
    check: e.Check = False,
    model: o.Model = DEFAULT,
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Take the shake out of a video, or lock it to a frame or a region.

    tapkit edit stabilise clip.mp4 steady.mp4

    tapkit edit stabilise clip.mp4 locked.mp4 --mode lock --box 200,80,420,300
    """
    from tapkit.apps.edit import stabilise as steady

    region = {"box": e.numbers("--box", box, 4), "mask": o.read_mask(mask)}
    with e.Job(video, output, [mask, tracks], force, quiet) as job:
        source = job.open(start, end, step, value_range, stream)
        settings = job.settings("auto", tracks, None, refine, check, 0.0, model, weights, device, option)
        found = steady(
            source, output, **region, frame=frame, model=motion, mode=mode, strength=strength, crop=crop,
            resampling=resampling,
            settings=settings, progress=job.progress, report=job.report,
        )  # fmt: skip
        job.say(f"enlarged by {found.zoom.max():.3f}")


@edit_app.command()
def remove(
    video: e.Video,
    folder: Annotated[Path, typer.Argument(help="Folder for the masks and clean plates.")],
    mask: e.Mask = None,
    frame: e.OnFrame = 0,
    fill: Annotated[Path | None, typer.Option("--fill", help="Write the video without the object, too.")] = None,
    tracks: e.Tracks = None,
    refine: e.Refine = False,
    model: o.Model = DEFAULT,
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Write the masks of an object and what is behind it, for an inpainting program, or fill it with that.

    tapkit edit remove clip.mp4 removal --mask car.png --frame 12 --fill without.mp4
    """
    from tapkit.apps.edit import remove_object

    if mask is None:
        raise UsageError("say what is to be removed: --mask with a picture of it")
    with e.Job(video, fill, [mask, tracks], force, quiet, folders=[folder]) as job:
        source = job.open(start, end, step, value_range, stream)
        settings = job.settings("mesh", tracks, None, refine, False, 0.0, model, weights, device, option)
        remove_object(
            source, o.read_mask(mask), folder, frame=frame, output=fill, settings=settings,
            progress=job.progress, report=job.report,
        )  # fmt: skip


@edit_app.command()
def trails(
    video: e.Video,
    tracks: Annotated[Path, typer.Argument(help="Tracks of it (.npz, .zarr, .csv, .parquet).")],
    output: e.Output,
    length: Annotated[int, typer.Option(min=1, help="Frames that a trail is long.")] = 16,
    fade: Annotated[Literal["linear", "quadratic"], typer.Option(help="How it fades.")] = "quadratic",
    color: Annotated[
        Literal["start-y", "id", "time", "speed", "flow"],
        typer.Option(help="By height at the start, point, time, speed, or the flow wheel."),
    ] = "start-y",
    occluded: Annotated[Literal["ring", "hide", "dash"], typer.Option(help="Where a point is not visible.")] = "ring",
    compensate: Annotated[
        bool, typer.Option("--compensate", help="Take out the camera's motion, by the static points.")
    ] = False,
    mask: Annotated[
        Path | None, typer.Option("--mask", help="With --compensate: what is not background on the first frame.")
    ] = None,
    width: Annotated[float | None, typer.Option(help="Of a trail at its point, pixels. [by resolution]")] = None,
    dim: Annotated[float, typer.Option(min=0, max=1, help="Darken the footage by this much.")] = 0.0,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Draw where points have been, in the picture or against the static scene.

    tapkit edit trails clip.mp4 clip.tracks.npz trails.mp4 --length 30 --compensate --color speed
    """
    from tapkit.apps.edit import TrailStyle
    from tapkit.apps.edit import trails as draw_trails
    from tapkit.types import Tracks

    style = TrailStyle(length, fade, color, occluded, width, dim=dim)
    against: Any = None if not compensate else (o.read_mask(mask) if mask is not None else "background")
    with e.Job(video, output, [tracks, mask], force, quiet) as job:
        source = job.open(start, end, step, value_range, stream)
        draw_trails(source, Tracks.load(tracks), output, style, compensate=against, report=job.report)


@edit_app.command()
def region(
    video: e.Video,
    output: Annotated[Path, typer.Argument(help="Polygon, box, transform and confidence of each frame (.json).")],
    polygon: Annotated[
        str | None, typer.Option("--polygon", metavar="X,Y,X,Y,...", help="Vertices on --frame, three at least.")
    ] = None,
    box: Annotated[str | None, typer.Option("--box", metavar="X1,Y1,X2,Y2", help="Left, top, right, bottom.")] = None,
    mask: e.Mask = None,
    frame: e.OnFrame = 0,
    vertices: Annotated[
        Path | None,
        typer.Option("--vertices", help="CSV file t,x,y,id of vertices set by hand (id: their number, from 0)."),
    ] = None,
    points: Annotated[
        Path | None,
        typer.Option("--tracks-out", help="Write the vertices as tracks, too (.npz, .csv): for export."),
    ] = None,
    stmap: Annotated[
        Path | None, typer.Option("--stmap", help="Write the warp as STMaps, too: NAME.####.exr, 32-bit float.")
    ] = None,
    follow: e.Follow = "auto",
    tracks: e.Tracks = None,
    refine: e.Refine = False,
    check: e.Check = False,
    smooth: e.Smooth = 0.0,
    pins: e.Pins = None,
    model: o.Model = DEFAULT,
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Follow a region of one frame, or a shape whose vertices are corrected on some frames.

    tapkit edit region clip.mp4 sign.json --polygon 330,190,470,190,480,260,320,262

    tapkit edit region clip.mp4 face.json --box 200,80,420,300 --follow mesh --stmap face.####.exr
    """
    from tapkit.apps.edit import read_pins, track_region, write_stmaps

    shape = {
        "polygon": None if polygon is None else e.pairs("--polygon", polygon),
        "box": e.numbers("--box", box, 4),
        "mask": o.read_mask(mask),
    }
    set_by_hand = [] if vertices is None else read_pins(str(vertices))
    read = [mask, vertices, tracks, pins]
    with e.Job(video, None, read, force, quiet, files=[output, points], sequences=[stmap]) as job:
        source = job.open(start, end, step, value_range, stream)
        settings = job.settings(follow, tracks, pins, refine, check, smooth, model, weights, device, option)
        found = track_region(
            source, **shape, frame=frame, vertices=set_by_hand, settings=settings, progress=job.progress
        )
        found.write(output)
        if points is not None:
            found.tracks().save(points)
        if stmap is not None:
            write_stmaps(found.followed, stmap, source.info, report=job.report)


@edit_app.command("mask")
def mask_(
    video: e.Video,
    mask: Annotated[Path, typer.Argument(help="Image whose non-black pixels are the object, on --frame.")],
    output: e.Output,
    frame: e.OnFrame = 0,
    follow: e.Follow = "mesh",
    tracks: e.Tracks = None,
    occlusion: e.Occlusion = "sharp",
    refine: e.Refine = False,
    check: e.Check = False,
    smooth: e.Smooth = 0.0,
    pins: e.Pins = None,
    model: o.Model = DEFAULT,
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Carry a mask from one frame to all the others; what is hidden is taken off.

    tapkit edit mask clip.mp4 car.png masks/%05d.png --frame 12
    """
    from tapkit.apps.edit import propagate_mask

    with e.Job(video, output, [mask, tracks, pins], force, quiet) as job:
        source = job.open(start, end, step, value_range, stream)
        settings = job.settings(follow, tracks, pins, refine, check, smooth, model, weights, device, option)
        propagate_mask(
            source, o.read_mask(mask), output, frame=frame, occlusion=occlusion, settings=settings,
            progress=job.progress, report=job.report,
        )  # fmt: skip
