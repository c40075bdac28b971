"""`tapkit camera`: where the camera was on every frame of a video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tapkit.cli import footage as f
from tapkit.cli import options as o
from tapkit.cli.outputs import Force, beside, claim, present
from tapkit.errors import UsageError
from tapkit.registry import DEFAULT

if TYPE_CHECKING:
    from tapkit.apps.camera import CameraOptions, Trajectory
    from tapkit.types import Tracks
    from tapkit.video.base import Source


def camera(
    video: Annotated[
        str, typer.Argument(help="Video file, folder or pattern of images; or cameras found before (.npz).")
    ],
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to; repeatable. .npz, .tum, .json (NeRF), .chan (Nuke), .py (Blender), .rrd (rerun), .png .svg "
            ".pdf (plot), or a folder (COLMAP). [VIDEO.camera.npz]",
        ),
    ] = None,
    focal: Annotated[float | None, typer.Option(help="Focal length in pixels. [found, where it can be]")] = None,
    fov: Annotated[float | None, typer.Option(help="Horizontal angle of view in degrees, instead.")] = None,
    intrinsics: Annotated[
        str | None, typer.Option(metavar="FX,FY,CX,CY", help="Camera matrix in pixels, instead.")
    ] = None,
    tracks: Annotated[
        Path | None, typer.Option(help="Tracks of this video to use, instead of tracking. Of points all over it.")
    ] = None,
    save_tracks: Annotated[Path | None, typer.Option("--save-tracks", help="Write the tracks, too (.npz).")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Write the frames into this folder, too (for NeRF and COLMAP: images).")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="True cameras (TUM): print ATE and RPE.")] = None,
    method: Annotated[
        Literal["adjust", "leap"],
        typer.Option(help="Votes, several starts and bundle adjustment; the back end of LEAP-VO alone."),
    ] = "adjust",
    points: Annotated[int, typer.Option(help="Points chosen each time.")] = 64,
    every: Annotated[int | None, typer.Option(help="Frames from one time to the next. [4 to 10, by length]")] = None,
    seed: Annotated[int, typer.Option(help="Of the samples drawn.")] = 0,
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
    """Find where the camera was on every frame, and where points are in space.

    Points all over the picture are tracked; those that move by themselves are voted out, the others adjusted together
    with the cameras. Lengths are in an arbitrary unit.

    tapkit camera clip.mp4 -o clip.chan -o clip.png

    tapkit camera clip.mp4 --fov 65 --start 10 --end 90 -o sparse --images images

    tapkit camera clip.camera.npz -o clip.py
    """
    from tapkit.apps.camera import CameraOptions, Trajectory
    from tapkit.apps.camera.files import kind_of, truth_for, write_cameras
    from tapkit.types import Tracks

    targets = output or [beside(video, ".camera.npz")]
    kinds = [kind_of(target) for target in targets]
    present(tracks, truth)
    folders = [path for path, kind in zip(targets, kinds, strict=True) if kind == "colmap"]
    files = [path for path, kind in zip(targets, kinds, strict=True) if kind != "colmap"]
    claim(*files, save_tracks, videos=[images], folders=folders, inputs=[video, tracks, truth, weights], force=force)
    given = _intrinsics(focal, fov, intrinsics)
    settings = CameraOptions(method, seed=seed)
    if method == "leap" and given is None:
        raise UsageError("the method leap needs a focal length (--focal, --fov or --intrinsics): it never refines one")
    found: Trajectory
    if Trajectory.found_in(video):
        if images is not None or save_tracks is not None or given is not None:
            raise UsageError("cameras that were found before are only written anew: give the video for anything else")
        found, known = Trajectory.load(video), None if tracks is None else Tracks.load(tracks)
    else:
        with f.open_footage(video, start, end, step, value_range, stream) as source:
            asked = (model, weights, device, option, points, every)
            used = _tracked(source, asked, quiet) if tracks is None else Tracks.load(tracks)
            found, known = _estimated(source, used, given, settings), used
            if images is not None:
                _write_images(source, images)
    if save_tracks is not None and known is not None:
        known.save(save_tracks)
    for target, kind in zip(targets, kinds, strict=True):
        write_cameras(target, found, kind, tracks=known)
    if not quiet:
        _tell(found)
        for path in (*targets, save_tracks, images):
            if path is not None:
                print(path)
    if truth is not None:
        from tapkit.apps.camera.scores import score_cameras

        scores = score_cameras(found, truth_for(found, truth))
        print(
            f"ATE {scores.ate:.6g} ({100 * scores.relative:.3g} % of a path of {scores.path:.4g}), "
            f"RPE {scores.rpe_translation:.6g} and {scores.rpe_rotation:.4g} degrees"
        )


def _intrinsics(focal: float | None, fov: float | None, text: str | None) -> tuple[str, list[float]] | None:
    """What was said of the lens: its kind and numbers. Raises `UsageError`."""
    said = [name for name, value in (("--focal", focal), ("--fov", fov), ("--intrinsics", text)) if value is not None]
    if len(said) > 1:
        raise UsageError(f"{said[0]} and {said[1]} say the same thing: give one of them")
    if focal is not None:
        if not focal > 0:
            raise UsageError(f"a focal length is a positive number of pixels, got {focal}")
        return "focal", [focal]
    if fov is not None:
        if not 0 < fov < 180:
            raise UsageError(f"an angle of view lies between 0 and 180 degrees, got {fov}")
        return "fov", [fov]
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
        if len(numbers) != 4:
            raise ValueError
    except ValueError as error:
        raise UsageError(f"--intrinsics takes FX,FY,CX,CY such as 820,820,640,360, got {text!r}") from error
    return "matrix", numbers


def _estimated(
    source: Source, tracks: Tracks, given: tuple[str, list[float]] | None, settings: CameraOptions
) -> Trajectory:
    from tapkit.apps.camera import estimate_cameras
    from tapkit.apps.camera.intrinsics import focal_of_view

    if tracks.video.size != source.info.size or tracks.frames != source.info.frames:
        raise UsageError(
            f"the tracks are of {tracks.frames} frames of {tracks.video.width}x{tracks.video.height}, the video has "
            f"{source.info.frames} of {source.info.width}x{source.info.height}"
        )
    lens = None
    if given is not None:
        kind, numbers = given
        lens = numbers if kind == "matrix" else numbers[0]
        lens = focal_of_view(numbers[0], source.info.width) if kind == "fov" else lens
    return estimate_cameras(tracks.with_(video=source.info), lens, options=settings)


def _tracked(source: Source, asked: tuple, quiet: bool) -> Tracks:  # type: ignore[type-arg]
    from tapkit.apps.camera.follow import check_source, follow_scene
    from tapkit.engine.control import Control

    model, weights, device, option, points, every = asked
    check_source(source, points, every)
    tracker = o.load_tracker(model, weights, device, option, quiet)
    with o.progress_of("tracking", quiet) as progress:
        return follow_scene(source, tracker, points, every, Control(progress))


def _write_images(source: Source, folder: Path) -> None:
    from tapkit.video.writer import VideoWriter

    with VideoWriter(folder, source.info) as writer:
        for frame in source.frames():
            writer.write(frame)


def _tell(found: Trajectory) -> None:
    """A line about the result, and what is out of the ordinary."""
    about = found.report
    path = "the camera only turned" if about.degenerate else f"path {found.length:.3g}"
    o.say(
        f"{int(found.placed.sum())} of {found.frames} frames: {path}, turned by up to {found.turned:.3g} degrees; "
        f"{int(found.point_valid.sum())} points; error {about.error:.2f} px; confidence {about.confidence:.2f}"
    )
    if not about.focal_given and about.focal_refined:
        o.say(f"focal length found: {found.intrinsics[0, 0]:.0f} pixels")
    for note in about.notes:
        o.say(note)
