"""`tapkit flow`: optical flow between the frames of a video, as files or as a coloured video."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapkit.cli import options as o
from tapkit.cli.outputs import Force, beside, claim
from tapkit.errors import StorageError, UsageError

if TYPE_CHECKING:
    from tapkit.engine.control import Progress
    from tapkit.flow.base import ClipFlowModel, FlowModel
    from tapkit.flow.stream import PairFlow, Pairs
    from tapkit.video.base import Source


def flow(
    video: Annotated[str, typer.Argument(help="Video file, folder or pattern of images.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A folder, or a video (.mp4, .webm, .gif) of the colours. [VIDEO.flow]"),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", "-f", help="Files of the folder: flo, kitti, exr, colors.")
    ] = "flo",
    pairs: Annotated[
        str, typer.Option("--pairs", help="next, previous, first (the first frame to all), step:K, all:K.")
    ] = "next",
    model: Annotated[
        str, typer.Option("--model", "-m", help="Flow model: dis, raft-small, raft-large, dot ...")
    ] = "dis",
    weights: o.Weights = None,
    device: o.Device = "auto",
    option: o.Option = None,
    scale: Annotated[
        float | None, typer.Option(help="Pixels that are shown in full colour. [a twenty-fifth of the longer side]")
    ] = None,
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Compute optical flow between frames of a clip, one file for each pair; interrupted, the same command continues.

    tapkit flow clip.mp4 -o clip.flow --format kitti

    tapkit flow clip.mp4 -o clip.flow.mp4 --model raft-small
    """
    from tapkit.api import load_flow
    from tapkit.export.dense_files import FLOW_FILES as FORMATS
    from tapkit.flow.stream import Pairs
    from tapkit.video import open_video

    if format not in FORMATS:
        raise UsageError(f"--format is one of {', '.join(FORMATS)}, got {format!r}")
    chosen = Pairs.of(pairs)
    target = output or beside(video, ".flow")
    if target.suffix not in ("", ".flow"):
        claim(videos=[target], inputs=[video, weights], force=force)
    else:
        own = (target / "flow.json").is_file()  # a run that is continued, or refused by `_same_run`
        claim(folders=[target], inputs=[video, weights], force=force or own)
    with open_video(video) as source:  # first of all: a name mistyped must not cost a download of weights
        if source.info.frames is not None and not chosen.any_in(source.info.frames):
            count = "one frame" if source.info.frames == 1 else f"{source.info.frames} frames"
            raise UsageError(f"{video} has {count}, and none of them make a pair of --pairs {pairs}")
        full = scale if scale is not None else max(source.info.size) / 25
        loaded = load_flow(
            model, weights, device, report=None if quiet else o.Download(model), **o.read_options(option)
        )
        with o.progress_of("flow", quiet) as progress:
            if target.suffix not in ("", ".flow"):
                _video(source, loaded, chosen, target, full, progress)
                print(target)
                return
            run: dict[str, Any] = {
                "model": loaded.card.id,
                "options": dict(loaded.options),
                "pairs": pairs,
                "format": format,
            }
            run |= {"video": Path(video).name, "size": list(source.info.size), "scale": full}
            _folder(source, loaded, chosen, target, run, progress)
    print(target)


def _folder(
    source: Source,
    model: FlowModel | ClipFlowModel,
    pairs: Pairs,
    folder: Path,
    run: dict[str, Any],
    progress: Callable[[Progress], object] | None,
) -> None:
    """One file for each pair, NAME FIRST_SECOND; those that are there already stay."""
    from tapkit.export.dense_files import FLOW_FILES
    from tapkit.flow.stream import flows

    _same_run(folder, run, source)
    ending = FLOW_FILES[run["format"]]

    def place(first: int, second: int) -> Path:
        return folder / f"{first:06d}_{second:06d}{ending}"

    for pair in _reported(flows(model, source, pairs, lambda a, b: not place(a, b).exists()), source, progress):
        _save(place(pair.first, pair.second), pair, run["format"], run["scale"])


def _same_run(folder: Path, run: dict[str, Any], source: Source) -> None:
    """Note in the folder what is in it. Raises `StorageError` if that is something else."""
    from tapkit.export.dense_files import NOTE

    note = folder / NOTE
    asked = json.loads(json.dumps(run))
    try:
        if note.exists():
            found = json.loads(note.read_text())
            found.pop("clip", None)  # facts for readers
            if found != asked:
                raise StorageError(f"{folder} holds flow of another model, video or format: choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({**asked, "clip": source.info.to_dict()}, indent=1))
    except (OSError, ValueError, AttributeError) as error:
        if isinstance(error, StorageError):
            raise
        if not isinstance(error, OSError):
            raise StorageError(f"{note} is damaged: choose another folder") from error
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}") from error


def _save(path: Path, pair: PairFlow, format: str, scale: float) -> None:
    from tapkit.export import flow_files
    from tapkit.viz.flow_wheel import flow_colors

    if format == "flo":
        flow_files.write_flo(path, pair.xy)
    elif format == "kitti":
        flow_files.write_kitti(path, pair.xy)
    elif format == "exr":
        flow_files.write_motion_exr(path, pair.xy, pair.occlusion)
    else:
        flow_files.write_picture(path, flow_colors(pair.xy, scale))


def _video(
    source: Source,
    model: FlowModel | ClipFlowModel,
    pairs: Pairs,
    path: Path,
    scale: float,
    progress: Callable[[Progress], object] | None,
) -> None:
    """The colours as a video with the times of the pairs' later frames."""
    from tapkit.flow.stream import flows
    from tapkit.video.writer import VideoWriter
    from tapkit.viz.flow_wheel import flow_colors

    if len(pairs.steps) > 1:
        raise UsageError("a video shows one flow for each frame: choose other --pairs, or a folder")
    with VideoWriter(path, source.info) as out:
        for pair in _reported(flows(model, source, pairs), source, progress):
            later = max(pair.first, pair.second)
            out.write(flow_colors(pair.xy, scale), source.info.time_of(later))


def _reported(
    pairs: Iterator[PairFlow], source: Source, progress: Callable[[Progress], object] | None
) -> Iterator[PairFlow]:
    """The same, with a word about each."""
    from tapkit.engine.control import Progress

    for pair in pairs:
        yield pair
        if progress is not None:
            done = max(pair.first, pair.second) + 1
            progress(Progress(done, source.info.frames, source.info.height * source.info.width, "flow"))
