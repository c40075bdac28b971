"""Looking at generated videos: a sheet of frames, tracks and passes, and the video with its tracks drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tapkit.datasets.frames import open_images
from tapkit.generate.motion import Flow
from tapkit.generate.store import Video
from tapkit.generate.take import Passes
from tapkit.synth.sheet import exact_tracks
from tapkit.types import Tracks
from tapkit.viz.contact_sheet import contact_sheet
from tapkit.viz.draw import Style, draw_video
from tapkit.viz.flow_wheel import flow_colors
from tapkit.viz.palettes import by_number

SHEET_POINTS, VIDEO_POINTS = 64, 160
COLUMNS, WIDTH = 4, 1200
JPEG_QUALITY = 80


def drawn_tracks(video: Video, count: int) -> Tracks:
    """`count` of the tracks, spread over all: they are in the order of frames and objects."""
    rows = np.unique(np.linspace(0, len(video.truth.part) - 1, min(count, len(video.truth.part))).astype(int))
    xy = np.where(video.truth.valid[:, rows, None], video.truth.xy[:, rows], np.float32(np.nan))
    return exact_tracks(xy.swapaxes(0, 1), video.visible[:, rows].T, video.size, video.fps, model="generate")


def write_sheet(path: Path, video: Video, passes: Passes, flow: Flow | None) -> None:
    """Eight frames with tracks and, below, depth, normals, masks and flow of one frame, as JPEG."""
    with open_images(_pictures(video), video.fps) as source:
        above = contact_sheet(source, drawn_tracks(video, SHEET_POINTS), 8, columns=COLUMNS, width=WIDTH)
    data = np.concatenate(pass_pictures(passes, flow), 1)
    height = round(data.shape[0] * WIDTH / data.shape[1])
    below = np.array(Image.fromarray(data).resize((WIDTH, height), Image.Resampling.LANCZOS))
    Image.fromarray(np.concatenate([above, below])).save(path, format="JPEG", quality=JPEG_QUALITY)


def pass_pictures(passes: Passes, flow: Flow | None) -> list[np.ndarray]:
    """Depth (near is light), normals, masks, and flow where it is not occluded: four pictures [H,W,3] uint8."""
    finite = np.isfinite(passes.depth)
    near = np.zeros(passes.depth.shape, np.float32)
    if finite.any():
        inverse = 1 / passes.depth[finite]
        near[finite] = inverse / np.quantile(inverse, 0.99)
    depth = np.repeat((255 * np.clip(near, 0, 1)).astype(np.uint8)[..., None], 3, -1)
    normal = np.where(finite[..., None], 127.5 * (np.clip(passes.normal, -1, 1) + 1), 0).astype(np.uint8)
    colours = by_number(np.arange(int(passes.mask.max()) + 1))
    mask = np.where(passes.mask[..., None] > 0, colours[passes.mask], 0).astype(np.uint8)
    if flow is None:
        return [depth, normal, mask, np.zeros_like(depth)]
    shown = np.where(flow.occluded[..., None], np.nan, flow.flow)
    length = np.linalg.norm(shown, axis=-1)
    scale = float(np.nanquantile(length, 0.98)) if np.isfinite(length).any() else 1.0
    return [depth, normal, mask, flow_colors(shown, max(scale, 0.1))]


def write_overlay(path: Path, video: Video) -> None:
    """The video with its tracks."""
    with open_images(_pictures(video), video.fps) as source:
        draw_video(source, drawn_tracks(video, VIDEO_POINTS), path, Style(), audio=False)


def _pictures(video: Video) -> list[Path]:
    return [video.take.picture_file(frame) for frame in range(video.take.frames)]
