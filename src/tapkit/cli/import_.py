"""`tapkit import`: what another program wrote, as tracks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapkit.cli import options as o
from tapkit.cli.outputs import Force, claim, present
from tapkit.errors import UsageError

if TYPE_CHECKING:
    from tapkit.types import VideoInfo


def import_tracks(
    file: Annotated[Path, typer.Argument(help="File (or folder) that the program wrote.")],
    output: Annotated[
        Path | None, typer.Argument(help="Tracks to write (.npz, .zarr, .csv, .parquet). [FILE.tracks.npz]")
    ] = None,
    form: Annotated[str | None, typer.Option("--from", "-f", help="Format. [by the ending of FILE]")] = None,
    original: Annotated[
        Path | None, typer.Option("--original", help="The tracks that were exported: what differs is marked as human.")
    ] = None,
    video: Annotated[
        str | None,
        typer.Option(
            help="The video: for its size and rate, where FILE does not say, and to choose one of FILE's videos."
        ),
    ] = None,
    animal: Annotated[str | None, typer.Option(help="Which animal of FILE. [all, as ANIMAL.POINT]")] = None,
    camera: Annotated[str | None, typer.Option(help="Which camera of FILE (or eye). [the first]")] = None,
    scorer: Annotated[
        str | None, typer.Option(help="Whose positions, where FILE has several scorers. [the first]")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Size of the video in pixels, instead of --video.")
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(help="Frames per second, with --size or --video: 25, 23.976, 24000/1001. [what the video says]"),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Length of the video, with --size. [to the last key]")
    ] = None,
    start_frame: Annotated[
        int | None, typer.Option(help="Number of the first frame in FILE. [as export numbers it]")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="That --original was exported with.")] = None,
    human: Annotated[
        str, typer.Option(help="Positions marked as human keyframes: auto, marks, changed, all or none.")
    ] = "auto",
    force: Force = False,
    quiet: o.Quiet = False,
) -> None:
    """Read tracks that another program wrote; positions that a human set are marked, so that re-tracking keeps them.

    tapkit import shot.nk corrected.npz --from nuke --original clip.tracks.npz
    tapkit import points.txt --from 3de --video clip.mp4
    """
    present(file, original)
    from tapkit.cli.export import spoken
    from tapkit.types import Tracks

    named = video if video is not None and _is_name(video) else None
    video = None if named else video
    target = output or file.with_name(f"{file.stem.removesuffix('.tracks')}.tracks.npz")
    info, rate_known = (None, True) if original is not None else _info(video, size, fps, frames)
    if original is not None and (size, fps, frames) != (None, None, None):
        raise UsageError("--original says what --size, --fps and --frames would: leave them out")
    claim(target, inputs=[file, original, video], force=force)
    exported = None if original is None else Tracks.load(original)
    with spoken(quiet):
        tracks = Tracks.read(
            file, form, original=exported, video=info, rate_known=rate_known, start_frame=start_frame,
            threshold=threshold, human=human, animal=animal, video_name=named, camera=camera, scorer=scorer,
        )  # fmt: skip
    tracks.save(target)
    if not quiet:
        marked = 0 if tracks.keyframe is None else int(tracks.keyframe.sum())
        o.say(f"{len(tracks)} points, {tracks.frames} frames, {marked} positions set by a human")
        print(target)


def _is_name(video: str) -> bool:
    """Whether `--video` is no file here, so that it can only be the name of one of FILE's videos."""
    return not any(mark in video for mark in "*?[%:") and not Path(video).expanduser().exists()


def _info(video: str | None, size: str | None, fps: str | None, frames: int | None) -> tuple[VideoInfo | None, bool]:
    """Facts of the video that the options give, None if they give none; and whether the rate is one of them."""
    from fractions import Fraction

    from tapkit.export.text import parse_rate
    from tapkit.parsing import parse_size
    from tapkit.types import VideoInfo

    rate = None if fps is None else parse_rate(fps)
    if video is not None:
        from tapkit.video import open_video

        if size is not None or frames is not None:
            raise UsageError("--size and --frames go without --video, which says both")
        with open_video(video, fps=rate) as source:
            return source.info, source.rate_known
    if size is None:
        if fps is not None or frames is not None:
            raise UsageError("--fps and --frames go with --size")
        return None, True
    height, width = parse_size(size)
    return VideoInfo(width, height, rate or Fraction(25), frames), rate is not None
