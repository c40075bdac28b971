"""Looking at generated videos: a sheet of frames, tracks and passes, and the video with its tracks drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tapkit.datasets.frames import open_images
from tapkit.generate.motion import Flow
from tapkit.generate.store import Video
from tapkit.generate.take import Passes
from tapkit.synth.sheet import exact_tracks
from tapkit.types import Tracks
from tapkit.viz.draw import Style, draw_frame, draw_video
from tapkit.viz.flow_wheel import flow_colors
from tapkit.viz.palettes import by_number

SHEET_POINTS, VIDEO_POINTS = 48, 160
WIDTH = 1280
"""Widest sheet in pixels."""
JPEG_QUALITY = 80


def drawn_tracks(video: Video, count: int) -> Tracks:
    """`count` of the tracks, spread over all: they are in the order of frames and objects."""
    rows = np.unique(np.linspace(0, len(video.truth.part) - 1, min(count, len(video.truth.part))).astype(int))
    xy = np.where(video.truth.valid[:, rows, None], video.truth.xy[:, rows], np.float32(np.nan))
    return exact_tracks(xy.swapaxes(0, 1), video.visible[:, rows].T, video.size, video.fps, model="generate")


def write_sheet(path: Path, video: Video, passes: Passes, flow: Flow | None) -> None:
    """Four frames, the same with tracks, and depth, normals, masks and flow of one frame below each other, as JPEG."""
    chosen = np.linspace(0, video.take.frames - 1, 4).round().astype(int).tolist()
    plain = [_picture(video, frame) for frame in chosen]
    tracks = drawn_tracks(video, SHEET_POINTS)
    drawn = [draw_frame(image, tracks, frame, Style(trail=8)) for image, frame in zip(plain, chosen, strict=True)]
    rows = [np.concatenate(row, 1) for row in (plain, drawn, pass_pictures(passes, flow))]
    sheet = Image.fromarray(np.concatenate(rows))
    sheet.thumbnail((WIDTH, sheet.height), Image.Resampling.LANCZOS)
    sheet.save(path, format="JPEG", quality=JPEG_QUALITY)


def set_sheet(folders: Sequence[Path], width: int = 640) -> np.ndarray:
    """The plain and the drawn frames of many videos below each other [H,width,3] uint8, from their sheets."""
    rows = []
    for folder in folders:
        with Image.open(folder / "sheet.jpg") as sheet:
            upper = sheet.convert("RGB").crop((0, 0, sheet.width, sheet.height * 2 // 3))
        rows.append(
            np.array(upper.resize((width, round(upper.height * width / upper.width)), Image.Resampling.LANCZOS))
        )
    return np.concatenate(rows)


def _picture(video: Video, frame: int) -> np.ndarray:
    with Image.open(video.take.picture_file(frame)) as picture:
        return np.array(picture.convert("RGB"))


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
    mask = np.where(passes.mask[..., None] > 0, 255 * colours[passes.mask], 0).astype(np.uint8)
    if flow is None:
        return [depth, normal, mask, np.zeros_like(depth)]
    shown = np.where(flow.occluded[..., None], np.nan, flow.flow)
    length = np.linalg.norm(shown, axis=-1)
    scale = float(np.nanquantile(length, 0.98)) if np.isfinite(length).any() else 1.0
    return [depth, normal, mask, flow_colors(shown, max(scale, 0.1))]


def write_overlay(path: Path, video: Video) -> None:
    """The video with its tracks."""
    with open_images([video.take.picture_file(n) for n in range(video.take.frames)], video.fps) as source:
        draw_video(source, drawn_tracks(video, VIDEO_POINTS), path, Style(), audio=False)
