"""A filmed scene without Blender: a floor, a card that slides before a wall, and what a renderer would have seen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tapkit.generate.rays import Surface, centres
from tapkit.generate.take import Camera

SIZE, FRAMES = (48, 64), 5
WALL = np.array([[-3, 4, -2], [3, 4, -2], [3, 4, 2.2], [-3, 4, 2.2]], np.float32)
CARD = np.array([[-0.5, 2, -0.5], [0.5, 2, -0.5], [0.5, 2, 0.5], [-0.5, 2, 0.5]], np.float32)
QUAD = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
NAMES = (("wall", "static", 1), ("card", "prop", 2), ("edge", "other", 0))
EDGE = np.array([[-9, 3, 1.5], [9, 3, 1.5], [9, 3, 9], [-9, 3, 9]], np.float32)
"""It has no tracks, but hides the upper part of the wall."""


def camera(frame: int) -> Camera:
    """Looks along y, moves to the right; x right, y down, z forward."""
    intrinsics = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    extrinsics[:3, 3] = [-0.05 * frame, 0, 0]
    return Camera(intrinsics, extrinsics, np.array([0.1, 500.0]))


def card(frame: int) -> np.ndarray:
    """The card slides and turns about the axis of view."""
    angle = 0.1 * frame
    turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
    return ((CARD - [0, 2, 0]) @ turn.T + [0.15 * frame - 0.3, 2, 0]).astype(np.float32)


def write_take(folder: Path, depth_factor: float = 1.0) -> Path:
    """The files that Blender would leave; `depth_factor` spoils the depths of the renderer."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"frames": FRAMES, "size": SIZE, "fps": [24, 1], "blender": "none"}
    parts = [{"name": name, "kind": kind, "index": index} for name, kind, index in NAMES]
    (folder / "parts.json").write_text(json.dumps({**about, "parts": parts}))
    arrays = {f"vertices{i}": each for i, each in enumerate((WALL, card(0), EDGE))}
    np.savez(folder / "parts.npz", **arrays, **{f"triangles{i}": QUAD for i in range(3)})
    for frame in range(FRAMES):
        view = camera(frame)
        moved = {} if frame == 0 else {"vertices1": card(frame)}
        np.savez(folder / f"{frame:05d}.npz", **view._asdict(), **moved)
        surface = Surface(np.concatenate([WALL, card(frame), EDGE]), np.concatenate([QUAD, QUAD + 4, QUAD + 8]), view)
        _write_passes(folder / f"{frame:05d}.exr", surface, depth_factor)
        noise = np.random.default_rng(frame).integers(0, 255, (*SIZE, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{frame:05d}.png")
    return folder


def _write_passes(path: Path, surface: Surface, depth_factor: float) -> None:
    import OpenEXR

    hits = surface.cast(centres(SIZE))
    found = hits.triangle >= 0
    index = np.array([1, 1, 2, 2, 0, 0])
    depth = np.where(found, hits.depth * depth_factor, 1e10)
    position = np.where(
        found[:, None],
        surface.camera.centre + np.where(found, hits.depth, 0)[:, None] * surface.camera.rays(centres(SIZE)),
        0,
    )
    channels = {
        "Depth.Z": depth,
        "IndexOB.X": np.where(found, index[hits.triangle], 0),
        **{f"Normal.{axis}": np.full(len(depth), -1.0 * (axis == "Y")) for axis in "XYZ"},
        **{f"Position.{axis}": position[:, i] for i, axis in enumerate("XYZ")},
        **{f"Emit.{axis}": np.zeros(len(depth)) for axis in "RGB"},
    }
    pixels = {f"ViewLayer.{name}": np.float32(value).reshape(SIZE) for name, value in channels.items()}
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, pixels).write(str(path))


def hidden(point: np.ndarray, frame: int) -> bool:
    """By formula: whether the card or the edge lies between the camera and a point of the wall."""
    centre = camera(frame).centre
    toward = point - centre
    for plane, corners in ((2.0, card(frame)), (3.0, EDGE)):
        share = (plane - centre[1]) / toward[1]
        if share < 1 - 1e-6 and _within((centre + share * toward)[[0, 2]], corners[:, [0, 2]].astype(np.float64)):
            return True
    return False


def _within(point: np.ndarray, corners: np.ndarray) -> bool:
    sides = np.roll(corners, -1, 0) - corners
    away = point - corners
    turns = sides[:, 0] * away[:, 1] - sides[:, 1] * away[:, 0]
    return bool((turns >= 0).all() or (turns <= 0).all())
