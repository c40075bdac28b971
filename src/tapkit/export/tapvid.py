"""TAP-Vid pickles, so that annotations become benchmarks: {name: {video, points, occluded}}.

`points` [N,T,2] float32 are normalised to the frame, corner origin; `occluded` [N,T] bool; `video` [T,H,W,3] uint8 or
a list of JPEG files. Reading makes only arrays: a pickle that asks for anything else is refused.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tapkit import coords
from tapkit.errors import StorageError, UsageError
from tapkit.export.format import Format, Job, Option, flag
from tapkit.export.found import Context, Found
from tapkit.export.select import select
from tapkit.types.tapvid_clip import BARE, is_bare, wrong_arrays


def _write(job: Job, target: Path, jpeg: bool = False, video: str = "") -> None:
    """Where a point has no key it is occluded, and its latest known position stands in `points`."""
    held = select(job.tracks, "all").xy
    xy = np.where(job.keys.key[..., None], job.keys.xy, held)
    content = {
        "video": _pictures(job, jpeg, video),
        "points": coords.to_normalized(xy, job.video.size).astype(np.float32),
        "occluded": ~job.keys.shown,
    }
    with open(target, "wb") as file:
        pickle.dump({job.path.stem: content}, file, protocol=4)


def _pictures(job: Job, jpeg: bool, video: str) -> Any:
    from PIL import Image

    from tapkit.video import open_video
    from tapkit.video.span import footage_of

    path = video or job.video.path
    if not path:
        raise UsageError("a TAP-Vid pickle holds the pictures and the tracks do not know their video: give video=PATH")
    count, (height, width) = job.tracks.frames, job.video.size
    pictures: Any = [] if jpeg else np.empty((count, height, width, 3), np.uint8)
    index = -1
    with open_video(video) if video else footage_of(job.video) as source:
        if source.info.size != (height, width):
            raise UsageError(f"{path} is {source.info.width}x{source.info.height}, the tracks are {width}x{height}")
        for index, frame in enumerate(source.frames(0, count)):
            if jpeg:
                packed = io.BytesIO()
                Image.fromarray(frame.image).save(packed, "JPEG", quality=95)
                pictures.append(packed.getvalue())
            else:
                pictures[index] = frame.image
    if index + 1 != count:
        raise UsageError(f"{path} has {index + 1} frames, the tracks have {count}")
    return pictures


def _size(job: Job, jpeg: bool = False, **_: Any) -> float:
    pixels = job.tracks.frames * job.video.width * job.video.height
    return pixels * (0.4 if jpeg else 3.0) + 9.0 * job.keys.key.size


# -- reading ------------------------------------------------------------------------------------------

_HARMLESS = {
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}  # fmt: skip


class _ArraysOnly(pickle.Unpickler):
    """Makes arrays and plain containers; any other name in the file could run code and is an error."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise StorageError(f"the pickle asks for {module}.{name}, which is no array: it is not safe to read")
        return super().find_class(module, name)


def _read(path: Path, context: Context) -> Found:
    """The clip called like the tracked video, or the only one."""
    try:
        with open(path, "rb") as file:
            content = _ArraysOnly(file).load()
    except (pickle.UnpicklingError, EOFError, UnicodeDecodeError, AttributeError) as error:
        raise context.damaged(f"it is no pickle ({error})") from error
    if is_bare(content):
        raise context.damaged(BARE)
    clips = dict(enumerate(content)) if isinstance(content, list) else content
    clip = clips[_choose(list(clips), context)]
    points, occluded = np.asarray(clip["points"], float), np.asarray(clip["occluded"], bool)
    if why := wrong_arrays(points, occluded, len(clip["video"])):
        raise context.damaged(f"its clip {why}")
    height, width = context.size(*_extent(clip["video"]))
    point, frame = np.nonzero(np.isfinite(points).all(-1))
    xy = coords.from_normalized(points[point, frame], (height, width))
    return Found(
        [str(n) for n in range(len(points))], point, frame, xy, 1.0 - occluded[point, frame],
        width=width, height=height, frames=points.shape[1], first=0, positional=True,
    )  # fmt: skip


def _choose(names: list[Any], context: Context) -> Any:
    titles = [str(name) for name in names]
    if "video" not in context.wanted and (context.video is None or not context.video.path):
        here = [name for name in names if str(name) == context.path.stem]
        if len(names) > 1 and here:
            return here[0]
    return names[titles.index(context.one("video", titles))]


def _extent(video: Any) -> tuple[int, int]:
    """(width, height)."""
    from PIL import Image

    if isinstance(video, (list, tuple)) and isinstance(video[0], np.ndarray) and video[0].ndim == 3:
        return int(video[0].shape[1]), int(video[0].shape[0])
    if isinstance(video, (list, tuple)) or np.ndim(video) == 1:
        return Image.open(io.BytesIO(bytes(video[0]))).size
    return int(video.shape[2]), int(video.shape[1])


TAPVID = Format(
    "tapvid", ".pkl", "TAP-Vid pickle with the pictures", _write, _read, occlusion=True, timing="index",
    keeps_empty=True, pictures=True, size=_size, options={
        "jpeg": Option(flag, "yes: pictures as JPEG"),
        "video": Option(str, "the video, where the tracks do not know it"),
    },
)  # fmt: skip
