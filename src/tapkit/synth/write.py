"""Synthetic clips on disk, in tapkit's folder format (docs/benchmarks/folder_format.md)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
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

    A clip appears as a whole; a folder of that name which is no such clip is refused before anything is made.

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
        UsageError: unknown kind, no clip asked for, something else stands where a clip would.
        StorageError: the disk is full or fails.
    """
    if kind not in ("jpg", "png", "mp4"):
        raise UsageError(f"clips are written as jpg, png or mp4, not as {kind!r}")
    if clips < 1 or seed < 0:
        raise UsageError(f"needs at least one clip and a seed that is not negative, got {clips} and {seed}")
    wanted = {number: Path(out) / f"{number:06d}" for number in range(seed, seed + clips)}
    missing = {number: folder for number, folder in wanted.items() if not (folder / TRACKS).is_file()}
    for folder in missing.values():
        _check_free(folder)
    written = []
    for number, folder in missing.items():
        write_batch(folder, maker.batch(1, number), kind, number)
        written.append(folder)
        if report is not None:
            report(folder)
    return written


def write_batch(folder: Path, batch: Batch, kind: Kind, seed: int) -> None:
    """Write the first clip of `batch` as `folder`, all of it or nothing. Raises UsageError if anything is in it."""
    video = batch.video[0].permute(0, 2, 3, 1).cpu().numpy()
    xy, visible = batch.xy[0].cpu().numpy(), batch.visible[0].cpu().numpy()
    _check_free(folder)
    with storage.atomic(folder) as part:
        part.mkdir()
        write_pictures(part, video, kind, (video.shape[1], video.shape[2]), RATE, len(video))
        write_arrays(
            part / TRACKS,
            {
                "xy": xy,
                "visible": visible,
                "annotated": np.isfinite(xy).all(-1),
                "size": np.array(video.shape[1:3]),
                "fps": np.array(RATE.as_integer_ratio()),
                "seed": np.array(seed),
            },
        )


def _check_free(folder: Path) -> None:
    """Raise `UsageError` unless a clip may be put there: where nothing is, or an empty folder."""
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(
            f"{folder} is there already and is no finished clip (it has no {TRACKS}): "
            "it is left as it is; name another folder, or move it away"
        )


def write_pictures(
    folder: Path, pictures: Iterable[np.ndarray], kind: str, size: tuple[int, int], fps: Fraction, count: int
) -> None:
    """Write `count` pictures [H,W,3] uint8 as frames/ of .jpg or .png, or as video.mp4, in `folder`."""
    from PIL import Image

    if kind != "mp4":
        (folder / "frames").mkdir()
        for index, picture in enumerate(pictures):
            Image.fromarray(picture).save(
                folder / "frames" / f"{index:05d}.{kind}", quality=JPEG_QUALITY, subsampling=0
            )
        return
    from tapkit.types import VideoInfo
    from tapkit.video.writer import VideoWriter

    info = VideoInfo(width=size[1], height=size[0], fps=fps, frames=count)
    with VideoWriter(folder / "video.mp4", info, quality="high") as writer:
        for picture in pictures:
            writer.write(picture)
