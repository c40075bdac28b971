"""A finished video on disk: tapkit's folder format, and what a renderer knows besides.

OUT/NAME/frames/00000.jpg ...     or video.mp4
OUT/NAME/tracks.npz               as every clip of the folder format (docs/benchmarks/folder_format.md)
OUT/NAME/truth.npz                3D tracks, cameras, both rules of visibility: `TRUTH`
OUT/NAME/passes/00000.npz ...     depth, normal, mask, flow: `write_passes`
OUT/NAME/scene.json, checks.json  what was built, and how its checks went
OUT/NAME/sheet.jpg, overlay.mp4   to look at
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tapkit.datasets.folder import write_arrays
from tapkit.generate.motion import Flow
from tapkit.generate.points import SurfacePoints
from tapkit.generate.take import Part, Passes, Take

TRUTH = "truth.npz"


class Truth(NamedTuple):
    """N tracks of T frames as they are stored; float32, bool."""

    xy: np.ndarray
    """[T,N,2] pixels, corner origin; any number where not valid."""
    world: np.ndarray
    """[T,N,3] in Blender's world: z up."""
    depth: np.ndarray
    """[T,N] along the camera's axis."""
    visible: np.ndarray
    """[T,N] by rays."""
    visible_by_depth: np.ndarray
    """[T,N] by PointOdyssey's published rule."""
    valid: np.ndarray
    """[T,N]"""
    intrinsics: np.ndarray
    """[T,3,3] raster coordinates: the centre of the first pixel is (0.5, 0.5)."""
    extrinsics: np.ndarray
    """[T,4,4] Blender's world to the camera: x right, y down, z forward."""
    part: np.ndarray
    """[N] int64, of `parts`."""
    chosen_on: np.ndarray
    """[N] int64, the frame on which the point was chosen."""


class Video(NamedTuple):
    """All of one video that the layouts are written from."""

    name: str
    seed: int
    fps: Fraction
    size: tuple[int, int]
    """(height, width)"""
    parts: tuple[Part, ...]
    truth: Truth
    visible: np.ndarray
    """[T,N] bool, by the rule that was asked for."""
    take: Take
    """Pictures and passes are read from it frame by frame."""


def truth_of(take: Take, points: SurfacePoints, frames: list[dict[str, np.ndarray]]) -> Truth:
    """Put the frames together: each a dict of the first eight fields for one frame."""
    stacked = {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
    floats = {name: array if array.dtype == bool else array.astype(np.float32) for name, array in stacked.items()}
    return Truth(**floats, part=points.part, chosen_on=points.chosen_on)


def write_tracks(path: Path, video: Video) -> None:
    """tracks.npz of the folder format; positions that are not valid are NaN."""
    known = video.truth.valid.T
    write_arrays(
        path,
        {
            "xy": np.where(known[..., None], video.truth.xy.swapaxes(0, 1), np.float32(np.nan)),
            "visible": video.visible.T,
            "annotated": known,
            "size": np.array(video.size),
            "fps": np.array(video.fps.as_integer_ratio()),
            "seed": np.array(video.seed),
        },
    )


def write_truth(path: Path, video: Video) -> None:
    """truth.npz: the fields of `Truth`, and the parts' names, kinds and indices in the masks."""
    arrays = dict(video.truth._asdict())
    arrays |= {
        "part_name": np.array([part.name for part in video.parts]),
        "part_kind": np.array([part.kind for part in video.parts]),
        "part_index": np.array([part.mask for part in video.parts]),
    }
    write_arrays(path, arrays)


def write_passes(path: Path, passes: Passes, forward: Flow | None, backward: Flow | None) -> None:
    """The data of one frame.

    depth [H,W] float32 (inf: nothing), normal [H,W,3] float32 (Blender's world), mask [H,W] uint16 (`part_index`; 0:
    nothing), and to the next and the last frame flow_forward, flow_backward [H,W,2] float32 (NaN: behind the camera),
    occluded_forward, occluded_backward [H,W] bool; the first frame has no backward flow, the last no forward one.
    """
    arrays = {"depth": passes.depth, "normal": passes.normal, "mask": passes.mask}
    for name, flow in (("forward", forward), ("backward", backward)):
        if flow is not None:
            arrays |= {f"flow_{name}": flow.flow, f"occluded_{name}": flow.occluded}
    write_arrays(path, arrays)
