"""A script for Blender: an animated camera, the points as a mesh, and the footage behind the camera."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tapkit.apps.camera.trajectory import Trajectory

SENSOR = 36.0
"""Millimetres across the sensor; what is known is only the angle of view."""
_UPRIGHT = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""From a world with y down to Blender's, with z up."""
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])

_SCRIPT = '''"""Camera of %(name)s, found by tapkit. In Blender: Scripting, Open, Run."""

import json

import bpy
from mathutils import Matrix

DATA = json.loads(r"""%(data)s""")


def main():
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = DATA["size"]
    scene.render.resolution_percentage = 100
    aspect = DATA["pixel_aspect"]
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = max(aspect, 1.0), max(1.0 / aspect, 1.0)
    scene.render.fps, scene.render.fps_base = DATA["fps"]
    scene.frame_start, scene.frame_end = DATA["first"], DATA["first"] + len(DATA["poses"]) - 1
    camera = bpy.data.cameras.new("tapkit camera")
    camera.sensor_fit, camera.sensor_width = "HORIZONTAL", DATA["sensor"]
    seen = bpy.data.objects.new("tapkit camera", camera)
    scene.collection.objects.link(seen)
    scene.camera = seen
    seen.rotation_mode = "QUATERNION"
    before = None
    for index, (pose, lens) in enumerate(zip(DATA["poses"], DATA["lenses"])):
        frame = DATA["first"] + index
        place, turn, _ = Matrix(pose).decompose()
        if before is not None:
            turn.make_compatible(before)
        before = turn.copy()
        seen.location, seen.rotation_quaternion = place, turn
        seen.keyframe_insert("location", frame=frame)
        seen.keyframe_insert("rotation_quaternion", frame=frame)
        if index == 0 or lens != DATA["lenses"][index - 1]:
            camera.lens, camera.shift_x, camera.shift_y = lens
            for name in ("lens", "shift_x", "shift_y"):
                camera.keyframe_insert(name, frame=frame)
    mesh = bpy.data.meshes.new("tapkit points")
    mesh.from_pydata(DATA["points"], [], [])
    scene.collection.objects.link(bpy.data.objects.new("tapkit points", mesh))
    footage(camera)


def footage(camera):
    """The video behind the camera, if it is where it was."""
    import os

    if not DATA["path"] or not os.path.isfile(DATA["path"]):
        return
    clip = bpy.data.movieclips.load(DATA["path"])
    camera.show_background_images = True
    back = camera.background_images.new()
    back.source, back.clip, back.alpha = "MOVIE_CLIP", clip, 1.0


main()
'''


def script(cameras: Trajectory) -> str:
    """The script; lenses are keyed where they change."""
    video = cameras.video
    pose = _UPRIGHT @ cameras.camera_to_world @ _FLIP
    points = cameras.points[cameras.point_valid] @ _UPRIGHT[:3, :3].T
    fx, fy, cx, cy = cameras.intrinsics.T
    width, height = video.width, video.height
    lenses = np.stack([SENSOR * fx / width, 0.5 - cx / width, (cy - height / 2) / width], 1)
    rate = float(video.fps)
    data = {
        "size": [width, height],
        "pixel_aspect": float(fy[0] / fx[0]),
        "fps": [max(round(rate), 1), max(round(rate), 1) / rate],
        "first": 1,
        "sensor": SENSOR,
        "poses": np.round(pose, 9).tolist(),
        "lenses": np.round(lenses, 9).tolist(),
        "points": np.round(points, 6).tolist(),
        "path": str(Path(video.path).resolve()) if video.path else "",
    }
    # A path comes from outside: JSON escapes its quotes, so that none can end the raw string that holds it; a blank
    # keeps an empty text at the end from doing so.
    name = "".join(c if c.isalnum() or c in " ._-" else "_" for c in Path(video.path or "a video").name)
    return _SCRIPT % {"name": name, "data": json.dumps(data) + " "}
