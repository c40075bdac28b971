"""The camera of a video, drawn back onto it: points of the scene as the cameras see them, which must stay in place.

    python examples/camera.py CLIP OUT.mp4 [--fov 60]

Green: a point of the cloud that this frame has seen; blue: one that it has not, at the place where it must be.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tapkit.apps.camera import Trajectory, track_camera, write_cameras
from tapkit.apps.camera.intrinsics import focal_of_view, pixels
from tapkit.apps.camera.rigid import apply
from tapkit.video import open_video
from tapkit.video.writer import VideoWriter


def main() -> None:
    """Find the cameras, write them, and draw what they see."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fov", type=float, help="horizontal angle of view in degrees, where it is known")
    asked = parser.parse_args()
    with open_video(asked.clip) as video:
        lens = None if asked.fov is None else focal_of_view(asked.fov, video.info.width)
        cameras, _ = track_camera(video, lens)
        print(cameras, *cameras.report.notes, sep="\n")
        write_cameras(asked.out.with_suffix(".tum"), cameras)
        with VideoWriter(asked.out, video.info) as writer:
            for frame in video.frames():
                writer.write(drawn(frame.image, cameras, frame.index), frame.time)
    print(asked.out, asked.out.with_suffix(".tum"))


def drawn(image: np.ndarray, cameras: Trajectory, t: int) -> np.ndarray:
    """The points of the cloud on one frame [H,W,3]."""
    image = image.copy()
    height, width = image.shape[:2]
    rows = np.flatnonzero(cameras.point_valid)
    at = apply(cameras.world_to_camera[t], cameras.points[rows])
    x, y = np.floor(pixels(at, cameras.intrinsics[t])).astype(int).T
    inside = (at[:, 2] > 0) & (x >= 1) & (y >= 1) & (x < width - 1) & (y < height - 1)
    for row, left, top in zip(rows[inside], x[inside], y[inside], strict=True):
        image[top - 1 : top + 2, left - 1 : left + 2] = (60, 255, 60) if cameras.inlier[row, t] else (60, 120, 255)
    return image


if __name__ == "__main__":
    main()
