"""Synthetic clips on disk, in tapkit's folder format (docs/benchmarks/folder_format.md)."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from tapkit import storage
from tapkit.datasets.folder import TRACKS, write_arrays
from tapkit.errors import UsageError
from tapkit.synth.batch import Batch, ClipMaker

Kind = Literal["jpg", "png", "mp4"]
RATE = Fraction(24)
JPEG_QUALITY = 92


def write_clips(
    maker: ClipMaker,
    out: str | Path,
    clips: int,
    seed: int = 0,
    kind: Kind = "jpg",
    report: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Make clips and write each to `out`/SEED, e.g. `out`/000007. Clips that are there already are kept.

    Clip i is made from the seed `seed` + i alone, so an interrupted run continues where it stopped, and many machines
    can share the work. One clip is held in memory at a time.

    Args:
        maker: makes the clips.
        out: folder, made if need be.
        clips: how many.
        seed: of the first clip.
        kind: frames as .jpg or .png, or video.mp4.
        report: called with each folder that was written.

    Returns:
        The folders written.

    Raises:
        UsageError: unknown kind, no clip asked for.
        StorageError: the disk is full or fails.
    """
    if kind not in ("jpg", "png", "mp4"):
        raise UsageError(f"clips are written as jpg, png or mp4, not as {kind!r}")
    if clips < 1 or seed < 0:
        raise UsageError(f"needs at least one clip and a seed that is not negative, got {clips} and {seed}")
    written = []
    for number in range(seed, seed + clips):
        folder = Path(out) / f"{number:06d}"
        if (folder / TRACKS).is_file():
            continue
        write_batch(folder, maker.batch(1, number), kind, number)
        written.append(folder)
        if report is not None:
            report(folder)
    return written


def write_batch(folder: Path, batch: Batch, kind: Kind, seed: int) -> None:
    """Write the first clip of `batch` to `folder`; tracks.npz comes last, so a folder that has it is complete."""
    video = batch.video[0].permute(0, 2, 3, 1).cpu().numpy()
    if kind == "mp4":
        _write_video(folder / "video.mp4", video)
    else:
        _write_frames(folder / "frames", video, kind)
    xy, visible = batch.xy[0].cpu().numpy(), batch.visible[0].cpu().numpy()
    write_arrays(
        folder / TRACKS,
        {
            "xy": xy,
            "visible": visible,
            "annotated": np.isfinite(xy).all(-1),
            "size": np.array(video.shape[1:3]),
            "fps": np.array(RATE.as_integer_ratio()),
            "seed": np.array(seed),
        },
    )


def _write_frames(folder: Path, video: np.ndarray, kind: Kind) -> None:
    from PIL import Image

    with storage.atomic(folder) as part:
        part.mkdir()
        for index, frame in enumerate(video):
            Image.fromarray(frame).save(part / f"{index:05d}.{kind}", quality=JPEG_QUALITY, subsampling=0)


def _write_video(path: Path, video: np.ndarray) -> None:
    from tapkit.types import VideoInfo
    from tapkit.video.writer import VideoWriter

    storage.make_folder(path.parent)
    count, height, width, _ = video.shape
    info = VideoInfo(width=width, height=height, fps=RATE, frames=count)
    with VideoWriter(path, info, quality="high") as writer:
        for frame in video:
            writer.write(frame)
