"""Point tracks by chaining optical flow, as FlyingThings++ does (Harley et al., Particle Video Revisited, ECCV 2022).

    ROOT/NAME/frames/*       ROOT/NAME/forward/*       ROOT/NAME/backward/*       [ROOT/NAME/objects/*]

frames are images; forward, the flow from each frame to the next, and backward, from each to the one before, are .flo,
.pfm or KITTI's .png, one file for each frame that has one, in the order of their names (`tapkit flow --pairs next` and
`--pairs previous` write such folders); objects are images or .pfm with the number of the object at each pixel. The
folders of FlyingThings3D are read as they are released (frames_cleanpass*/, optical_flow/, object_index/ side by side).

Every pixel of the first frame of a clip is carried along by the flow at the nearest pixel. Only tracks count that stay
inside, return by the backward flow, and, where objects are known, never come near the border of their object; so all
that is kept is visible in all frames. Occlusion comes from augmentation (`Augmentation.erase`, `replace`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapkit import storage
from tapkit.datasets.base import Clip, Dataset
from tapkit.datasets.frames import decode_image, image_files, image_size, open_images
from tapkit.errors import StorageError
from tapkit.export.flow_files import read_flo, read_kitti
from tapkit.video.numbers import natural_key

LENGTH = 8
"""Frames of a clip."""
CONSISTENT = 0.5
"""Pixels within which the backward flow must undo the forward one."""
LEAST = 256
"""Tracks that a clip has at least; others are left out."""
MOST = 4096
"""Tracks that are kept of a clip, evenly spread."""
FLOWS = (".flo", ".pfm", ".png")


class FewTracks(StorageError):
    """The flow of a clip agrees with itself almost nowhere."""


class FlowSequence(NamedTuple):
    """The files of one sequence of frames."""

    name: str
    frames: Sequence[Path]
    forward: Sequence[Path]
    """From frame i to i + 1."""
    backward: Sequence[Path]
    """From frame i + 1 to i."""
    objects: Sequence[Path]
    """One for each frame, or none."""


class FlowChains(Dataset):
    """Clips of `LENGTH` frames, one from each frame of a sequence that has enough after it."""

    name = "chains of flow"
    citation = "Harley et al., Particle Video Revisited, ECCV 2022"

    def __init__(self, root: str | Path) -> None:
        """Raises `StorageError` where there is no sequence with frames and flow."""
        self.root = Path(root)
        found = list(sequences(self.root))
        self._clips = {f"{s.name}@{first}": (s, first) for s in found for first in range(len(s.frames) - LENGTH + 1)}
        if not self._clips:
            raise StorageError(
                f"{root} has no sequence of {LENGTH} frames or more with frames/, forward/ and backward/"
            )

    def names(self) -> Sequence[str]:
        """See `Dataset.names`."""
        return list(self._clips)

    def clip(self, name: str) -> Clip:
        """See `Dataset.clip`. Positions are known to half a pixel: the flow is read at the nearest pixel."""
        if name not in self._clips:
            raise self.unknown(name)
        sequence, first = self._clips[name]
        files = sequence.frames[first : first + LENGTH]
        steps = range(first, first + LENGTH - 1)
        forward = [read_flow(sequence.forward[t]) for t in steps]
        backward = [read_flow(sequence.backward[t]) for t in steps]
        objects = [read_objects(p) for p in sequence.objects[first : first + LENGTH]] or None
        size = image_size(files[0])
        if any(field.shape[:2] != size for field in (*forward, *backward)):
            raise StorageError(f"clip {name!r}: the flow has another size than the frames, {size[1]}x{size[0]}")
        xy = chain(forward, backward, objects)
        if len(xy) < LEAST:
            raise FewTracks(f"clip {name!r}: only {len(xy)} tracks are consistent, of {LEAST} that are needed")
        xy = xy[np.linspace(0, len(xy) - 1, min(len(xy), MOST)).astype(np.int64)]
        seen = np.ones(xy.shape[:2], bool)
        stamp = f"{sum(f.stat().st_size for f in files)} bytes of frames"
        return Clip(name, xy, seen, size, lambda: open_images(files), stamp=stamp)


def chain(
    forward: Sequence[np.ndarray], backward: Sequence[np.ndarray], objects: Sequence[np.ndarray] | None = None
) -> np.ndarray:
    """Consistent tracks of the pixels of the first frame: float32 [N,S,2], corner origin, row by row.

    Args:
        forward: flow [H,W,2] from each of S - 1 frames to the next; NaN where it is not known.
        backward: from each of these next frames back.
        objects: numbers [H,W] of the objects on the S frames.
    """
    height, width = forward[0].shape[:2]
    places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2)
    track, alive = [places.astype(np.float32)], np.arange(len(places))
    own = None if objects is None else objects[0].reshape(-1)
    if objects is not None and own is not None:
        alive = alive[_deep(objects[0], places, own)]
        track = [track[0][alive]]
    for step, (there, back) in enumerate(zip(forward, backward, strict=True)):
        here = np.rint(track[-1]).astype(np.int64)
        moved = there[here[:, 1], here[:, 0]]
        after = track[-1] + moved
        near = np.rint(np.nan_to_num(after, nan=-9.0).clip(-9, 1e6)).astype(np.int64)
        kept = ((near >= 0) & (near < (width, height))).all(1)
        near = near.clip(0, (width - 1, height - 1))
        returned = np.linalg.norm(moved + back[near[:, 1], near[:, 0]], axis=1)
        kept &= np.nan_to_num(returned, nan=np.inf) < CONSISTENT
        if objects is not None and own is not None:
            kept &= _deep(objects[step + 1], near, own[alive])
        track, alive = [part[kept] for part in track] + [after[kept]], alive[kept]
    return (np.stack(track, 1) + np.float32(0.5)).astype(np.float32)


def _deep(objects: np.ndarray, places: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Whether all nine pixels around places [N,2] (x, y) are of the object `own` [N]."""
    padded = np.pad(objects, 1, mode="edge")
    x, y = places.T
    around = [padded[y + dy, x + dx] == own for dy in range(3) for dx in range(3)]
    result: np.ndarray = np.logical_and.reduce(around)
    return result


# -- files ----------------------------------------------------------------------------------------


def is_chains(root: str | Path) -> bool:
    """Whether that is a folder of frames with flow."""
    root = Path(root)
    own = root.glob("*/forward") if root.is_dir() else iter(())
    return next(own, None) is not None or (root / "optical_flow").is_dir()


def sequences(root: Path) -> Iterator[FlowSequence]:
    """Sequences of `root` that have frames and flow, in either of the two layouts, by name."""
    if not root.is_dir():
        return
    for folder in sorted(p for p in root.iterdir() if (p / "frames").is_dir() and (p / "forward").is_dir()):
        yield _sequence(folder.name, *(folder / part for part in ("frames", "forward", "backward", "objects")))
    for frames in sorted(root.glob("frames_cleanpass*/*/*/*/*")):
        if frames.is_dir():
            place, eye = frames.parent.relative_to(frames.parents[3]), frames.name
            flow = root / "optical_flow" / place
            parts = (flow / "into_future" / eye, flow / "into_past" / eye, root / "object_index" / place / eye)
            if parts[0].is_dir():
                yield _sequence("-".join([*place.parts, eye]), frames, *parts)


def _sequence(name: str, frames: Path, forward: Path, backward: Path, objects: Path) -> FlowSequence:
    """The files of a sequence. Raises `StorageError` where their numbers do not fit."""
    images, there, back = image_files(frames), _files(forward), _files(backward)
    if len(there) == len(images):  # FlyingThings3D has flow of its last frame into the future, too
        there = there[:-1]
    if len(back) == len(images):  # and of its first one into the past
        back = back[1:]
    if not len(there) == len(back) == len(images) - 1:
        raise StorageError(
            f"sequence {name!r} has {len(images)} frames, but {len(there)} fields of flow forward and {len(back)} "
            "backward; it needs one for each pair of neighbours"
        )
    numbers = _files(objects)
    if numbers and len(numbers) != len(images):
        raise StorageError(f"sequence {name!r} has {len(images)} frames, but objects on {len(numbers)}")
    return FlowSequence(name, images, there, back, numbers)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((p for p in folder.iterdir() if p.suffix.lower() in FLOWS), key=lambda p: natural_key(p.name))


def read_flow(path: Path) -> np.ndarray:
    """A field of flow [H,W,2] float32; NaN where it is not known. Raises `StorageError`."""
    if path.suffix.lower() == ".flo":
        return read_flo(path)
    return read_kitti(path)[0] if path.suffix.lower() == ".png" else read_pfm(path)[..., :2]


def read_objects(path: Path) -> np.ndarray:
    """Numbers of objects [H,W]. Raises `StorageError`."""
    if path.suffix.lower() == ".pfm":
        return read_pfm(path)[..., 0].astype(np.int64)
    image = decode_image(path).astype(np.int64)
    return image if image.ndim == 2 else image @ np.array([1, 256, 65536])


def read_pfm(path: Path) -> np.ndarray:
    """A portable float map, float32 [H,W,C], C = 1 ("Pf") or 3 ("PF"). Raises `StorageError`."""
    with storage.reading(path, "a .pfm file"):
        content = storage.check_file(path).read_bytes()
        head: list[bytes] = []
        rest = content
        while len(head) < 4:
            word, _, rest = rest.partition(b"\n")
            head += word.split()
        kind, width, height, scale = head[0], int(head[1]), int(head[2]), float(head[3])
    channels = {b"PF": 3, b"Pf": 1}.get(kind)
    if channels is None or len(rest) != 4 * width * height * channels or min(width, height) < 1:
        raise StorageError(f"{path} is no .pfm file, or damaged")
    values = np.frombuffer(rest, "<f4" if scale < 0 else ">f4").reshape(height, width, channels)
    return values[::-1].astype(np.float32)  # rows come from the bottom up
