"""`tapkit objects`: boxes of every frame, or of one, to objects with identities."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tapkit.cli import footage as f
from tapkit.cli import options as o
from tapkit.cli.outputs import Force, beside, claim
from tapkit.errors import UsageError
from tapkit.registry import DEFAULT

if TYPE_CHECKING:
    from tapkit.apps.objects import Detections
    from tapkit.engine.control import Control


def objects(
    video: Annotated[str, typer.Argument(help="Video file, folder or pattern of images.")],
    detections: Annotated[
        Path | None,
        typer.Argument(
            help="Detections: MOTChallenge (.txt) or COCO (.json); not needed with --detector, --box, --mask."
        ),
    ] = None,
    detector: Annotated[
        Path | None, typer.Option("--detector", help="ONNX file of a detector of yours (YOLO, RT-DETR, D-FINE).")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CLASS", help="Of --detector: this class. Repeatable.")
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            "--box", metavar="X1,Y1,X2,Y2[,NAME]", help="An object on --frame: left,top,right,bottom. Repeatable."
        ),
    ] = None,
    mask: Annotated[
        list[Path] | None, typer.Option("--mask", help="Image whose non-black pixels are an object. Repeatable.")
    ] = None,
    frame: Annotated[int, typer.Option("--frame", min=0, help="Frame of --box and --mask.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Objects: .txt (MOTChallenge), .json (COCO), .csv. [VIDEO.objects.txt]"),
    ] = None,
    overlay: Annotated[Path | None, typer.Option(help="Write the video with boxes and names, too.")] = None,
    names: Annotated[bool, typer.Option("--names/--no-names", help="Names in the overlay.")] = True,
    interpolated: Annotated[
        bool, typer.Option("--interpolated", help="Write boxes without a detection, carried there by points, too.")
    ] = False,
    model: o.Model = DEFAULT,
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    rule: Annotated[
        Literal["net", "nettrack", "iou"],
        typer.Option(help="Points in boxes; that fused with overlap as NetTrack does; overlap alone."),
    ] = "net",
    points: Annotated[int | None, typer.Option(help="Points in each object. [16; nettrack 9]")] = None,
    high: Annotated[float, typer.Option(help="Score from which on a detection may start an object.")] = 0.5,
    low: Annotated[float, typer.Option(help="Score below which detections are left out.")] = 0.01,
    max_lost: Annotated[int, typer.Option(help="Frames for which an object may be without a detection.")] = 30,
    start: f.Start = None,
    end: f.End = None,
    step: f.Step = 1,
    value_range: f.ValueRange = None,
    stream: f.Stream = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Follow objects: detections of every frame get identities, or boxes of one frame are carried through the video.

    Points are tracked inside each object; the box that they end up in is the same object.

    tapkit objects clip.mp4 detections.txt --overlay boxes.mp4

    tapkit objects clip.mp4 --detector yolo11n.onnx --only dog

    tapkit objects clip.mp4 --box 120,80,260,210,dog -o dog.json --overlay dog.mp4
    """
    from tapkit.apps.objects import ObjectOptions, OnnxDetector, track_objects, write_objects
    from tapkit.apps.objects.files import kind_of

    if (detections is not None) + (detector is not None) + bool(box or mask) != 1:
        raise UsageError("give a file of detections, or --detector, or objects of one frame by --box or --mask")
    if only and detector is None:
        raise UsageError("--only chooses classes of a --detector")
    target = output or beside(video, ".objects.txt")
    kind = kind_of(target)
    settings = ObjectOptions(rule, points, high, low, start=high, max_lost=max_lost)
    claim(target, videos=[overlay], inputs=[video, detections, detector, weights, *(mask or [])], force=force)
    free = detections is None and detector is None
    look = None if detector is None else OnnxDetector(detector, score=max(low, 0.05), only=only)
    with f.open_footage(video, start, end, step, value_range, stream) as source:
        if source.live:
            raise UsageError("objects are followed in files; for a camera see tapkit.apps.objects.PointMOT")
        given: Any = detections or look or {frame: _marked(box or [], mask or [], source.info.size)}
        tracker: Any = model if rule == "iou" else o.load_tracker(model, weights, device, option, quiet)
        with o.progress_of("tracking", quiet) as progress:
            control = _stopping(progress)
            found = track_objects(source, given, tracker=tracker, options=settings, free=free, control=control)
        write_objects(target, found, kind, interpolated or free)
        if overlay is not None:
            from tapkit.apps.objects.drawing import draw_objects

            draw_objects(source, found, overlay, names)
    if not quiet:
        o.say(f"{len(found.ids)} objects in {found.video.frames} frames")
        for path in (target, overlay):
            if path is not None:
                print(path)


def _stopping(progress: Any) -> Control:
    """Ctrl-C ends the video there: what was found so far is written."""
    from tapkit.engine.control import Control

    return Control(progress, interrupt="stop")


def _marked(boxes: list[str], masks: list[Path], size: tuple[int, int]) -> Detections:
    """What the options mark on one frame."""
    import numpy as np

    from tapkit.apps.objects import Detections

    if boxes and masks:
        raise UsageError("mark objects by --box or by --mask, not by both")
    if masks:
        pictures = [o.read_mask(path) for path in masks]
        for path, picture in zip(masks, pictures, strict=True):
            if picture.shape != size:
                height, width = picture.shape
                raise UsageError(f"the mask {path} is {width}x{height}, the video {size[1]}x{size[0]}")
        return Detections.of_masks(np.stack(pictures), 1.0, [path.stem for path in masks])
    rows, labels = [], []
    for text in boxes:
        parts = text.split(",", 4)
        try:
            left, top, right, bottom = (float(part) for part in parts[:4])
        except ValueError as error:
            raise UsageError(f"--box takes left,top,right,bottom such as 120,80,260,210, got {text!r}") from error
        rows.append((left, top, right, bottom))
        labels.append(parts[4] if len(parts) > 4 else "")
    found = Detections.of(rows, 1.0, labels)
    outside = ~found.within(size)
    if outside.any():
        raise UsageError(
            f"the box {boxes[int(np.argmax(outside))]} lies outside the frame, which is {size[1]}x{size[0]} pixels"
        )
    return found
